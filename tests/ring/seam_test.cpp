// SPDX-License-Identifier: MIT
//
// The kernel seam of lib/kernel.hpp: a ring asks the kernel that it was made with, and that one alone, for all that is not
// the process's own: its set-up and enters, its mappings and descriptors, files, and the time.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

// Linux, but for what a test has it answer, with a count of what it was asked.
class Counting : public sys::Kernel {
public:
    Counting() : Kernel(&ask) {}
    std::map<long, int> asked;
    std::function<std::optional<long>(const test::Call&)> answer = [](const test::Call&) { return std::nullopt; };

    [[nodiscard]] int sum() const {
        int calls = 0;
        for (const auto& [number, count] : asked) calls += count;
        return calls;
    }

private:
    static long ask(Kernel& kernel, long number, std::uintptr_t a, std::uintptr_t b, std::uintptr_t c, std::uintptr_t d,
                    std::uintptr_t e, std::uintptr_t f) noexcept {
        auto& self = static_cast<Counting&>(kernel);
        ++self.asked[number];
        const test::Call made{number, {a, b, c, d, e, f}};
        const auto given = self.answer(made);
        return given ? *given : real(made);
    }
};

// What is made while it lives has this kernel.
class MadeWith {
public:
    explicit MadeWith(sys::Kernel& kernel) : before_(std::exchange(sys::host, &kernel)) {}
    ~MadeWith() { sys::host = before_; }
    MadeWith(const MadeWith&) = delete;
    MadeWith& operator=(const MadeWith&) = delete;

private:
    sys::Kernel* before_;
};

class SeamTest : public testing::TestWithParam<Kind> {
protected:
    // A ring that asks `kernel`, on which nothing has happened yet.
    static Io make_with(Counting& kernel, const IoOptions& options = {.entries = 8}) {
        const MadeWith with(kernel);
        Io io = make_io(GetParam(), options);
        kernel.asked.clear();
        return io;
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, SeamTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(SeamTest, EachRingAsksTheKernelThatItWasMadeWith) {
    Counting first;
    Counting second;
    Io of_first = make_with(first);
    Io of_second = make_with(second);
    ASSERT_TRUE(of_first.nop(1));
    EXPECT_EQ(of_first.park().size(), 1U);
    EXPECT_GE(first.asked[nr_register], 1) << "it was enabled";
    EXPECT_EQ(second.sum(), 0);
    first.asked.clear();
    for (Token token = 0; token < 8; ++token) ASSERT_TRUE(of_second.nop(token));
    for (std::size_t done = 0; done < 8;) done += of_second.park().size();
    EXPECT_GE(second.asked[nr_register], 1);
    EXPECT_EQ(first.sum(), 0);
}

TEST_P(SeamTest, WhatARingHoldsIsGivenBackToItsKernel) {
    Counting kernel;
    std::uint64_t to_host = 0;
    {
        const Io io = make_with(kernel);
        to_host = calls_made(SYS_munmap);
    }
    const int rings = GetParam().polling == Polling::none ? 1 : 2;
    EXPECT_EQ(kernel.asked[SYS_close], 2 * rings) << "the ring's descriptor, and the end of a pipe";
    EXPECT_GE(kernel.asked[SYS_munmap], 2 * rings) << "its queues and its SQEs";
    EXPECT_GE(calls_made(SYS_munmap), to_host + 1) << "but what is the process's own, to the host";
}

TEST_P(SeamTest, BlockingCallsAskTheRingsKernel) {
    Counting kernel;
    const Io io = make_with(kernel);
    // A file that there is in no other kernel.
    constexpr int fd = 1'000'000;
    kernel.answer = [](const Call& call) -> std::optional<long> {
        if (call.number == SYS_fcntl && static_cast<int>(call.args[0]) == fd) return O_RDWR | O_DIRECT;
        if (call.number != SYS_statx || static_cast<int>(call.args[0]) != fd) return std::nullopt;
        auto& found = *reinterpret_cast<struct ::statx*>(call.args[4]);
        found.stx_mode = S_IFREG | 0644;
        found.stx_size = 77;
        found.stx_blksize = 8192;
        return 0;
    };
    EXPECT_EQ(io.file_size(fd).value(), 77U);
    EXPECT_EQ(io.block_size(fd).value(), 8192U);
    EXPECT_EQ(io.direct_io_alignment(fd).value().source, DirectIoAlignment::Source::fallback);
    EXPECT_EQ(direct_io_alignment(fd).error().code(), EBADF) << "which is asked of the host";
    const Completion refused{1, -EINVAL, 0};
    alignas(4096) static std::byte memory[4097];
    const std::span<const std::byte> odd(memory + 1, 4096);
    EXPECT_NE(io.transfer_error(refused, fd, odd, 0).message().find("the address is 1 bytes past"), std::string::npos);
    EXPECT_EQ(transfer_error(refused, fd, odd, 0).message().find("the address is"), std::string::npos);

    const TempDir dir;
    const std::uint64_t others = calls_made();
    kernel.asked.clear();
    ASSERT_TRUE(io.create_dir_all(dir.file("made").c_str()));
    EXPECT_EQ(io.list_dir(dir.path().c_str()).value(), std::vector<std::string>{"made"});
    EXPECT_GE(kernel.asked[SYS_mkdirat], 1);
    EXPECT_EQ(kernel.asked[SYS_openat], kernel.asked[SYS_close]);
    EXPECT_EQ(calls_made(), others) << "nothing is asked of another";
}

// A kernel whose time goes on only while somebody sleeps.
struct Clock {
    std::chrono::nanoseconds now = 1000h;
    std::optional<long> operator()(const Call& call) {
        const auto time = [&call](std::size_t arg) -> abi::Timespec& {
            return *reinterpret_cast<abi::Timespec*>(call.args[arg]);
        };
        if (call.number == SYS_clock_gettime) {
            time(1) = {std::chrono::duration_cast<std::chrono::seconds>(now).count(), (now % 1s).count()};
            return 0;
        }
        if (call.number == SYS_ppoll && call.args[2] != 0) {
            now += std::chrono::seconds(time(2).tv_sec) + std::chrono::nanoseconds(time(2).tv_nsec);
            return 0;
        }
        return std::nullopt;
    }
};

TEST_P(SeamTest, TimeIsTheKernels) {
    Counting kernel;
    std::vector<Sample> samples;
    const auto keep = [](void* context, const Sample& sample) noexcept {
        static_cast<std::vector<Sample>*>(context)->push_back(sample);
    };
    Io io = make_with(kernel, {.entries = 8, .sampling = {.every = 1, .hook = keep, .context = &samples}});
    Clock clock;
    kernel.answer = std::ref(clock);
    EXPECT_EQ(io.now(), 1000h);
    EXPECT_TRUE(io.park(10h).empty()) << "with nothing in flight the time is slept out";
    EXPECT_EQ(io.now(), 1010h);
    ASSERT_TRUE(io.nop(7));
    clock.now += 3s;
    while (io.park().empty()) {
    }
    ASSERT_EQ(samples.size(), 1U);
    EXPECT_EQ(samples[0].token, 7U);
    EXPECT_EQ(samples[0].queued, 1010h);
    EXPECT_EQ(samples[0].submitted - samples[0].queued, 3s);
    EXPECT_EQ(samples[0].completed - samples[0].queued, 3s);
}

}  // namespace
}  // namespace squall
