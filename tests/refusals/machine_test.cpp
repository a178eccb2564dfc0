// SPDX-License-Identifier: MIT
//
// What takes the whole machine for a moment: the sysctls that switch io_uring off and that reserve huge pages. These run
// alone (see meson.build), put back what they found, and need root; without it they are skipped, and say so.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "child.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

// Sets a sysctl for as long as it lives.
class Sysctl {
public:
    Sysctl(std::string path, long value) : path_(std::move(path)) {
        std::ifstream(path_) >> before_;
        set_ = before_ >= 0 && ::access(path_.c_str(), W_OK) == 0 && write(value);
    }
    ~Sysctl() {
        if (set_) write(before_);
    }
    Sysctl(const Sysctl&) = delete;
    Sysctl& operator=(const Sysctl&) = delete;
    explicit operator bool() const { return set_; }

private:
    bool write(long value) {
        std::ofstream(path_) << value << std::flush;
        long now = -1;
        std::ifstream(path_) >> now;
        return now == value;
    }
    std::string path_;
    long before_ = -1;
    bool set_ = false;
};

constexpr const char* disabled = "/proc/sys/kernel/io_uring_disabled";
constexpr const char* huge_pages = "/proc/sys/vm/nr_hugepages";

TEST(Machine, SaysWhenIoUringIsSwitchedOff) {
    const Sysctl off(disabled, 2);
    if (!off) GTEST_SKIP() << "kernel.io_uring_disabled cannot be set here (6.6, root)";
    const auto io = Io::create();
    ASSERT_FALSE(io);
    EXPECT_EQ(io.error().code(), EPERM);
    EXPECT_NE(io.error().message().find("sysctl kernel.io_uring_disabled=2"), std::string::npos)
        << io.error().message();
}

TEST(Machine, SaysWhenIoUringIsSwitchedOffForTheUnprivileged) {
    const Sysctl off(disabled, 1);
    if (!off) GTEST_SKIP() << "kernel.io_uring_disabled cannot be set here (6.6, root)";
    EXPECT_TRUE(Io::create()) << "root may";
    in_child_alone([] {
        become_nobody();
        const auto io = Io::create();
        ASSERT_FALSE(io);
        EXPECT_EQ(io.error().code(), EPERM);
        EXPECT_TRUE(contains(io.error().message(), "io_uring_disabled=1")) << io.error().message();
        EXPECT_TRUE(contains(io.error().message(), "io_uring_group")) << io.error().message();
    });
}

TEST(Machine, LeavesTheRingsThatAreThereWhenIoUringIsSwitchedOff) {
    for (const Kind kind : every_kind) {
        Io io = make_io(kind, {.entries = 8});
        Io fresh = make_io(kind, {.entries = 8});
        const Pipe pipe;
        std::array<std::byte, 2> bytes{};
        ASSERT_TRUE(io.read(pipe.read_end, bytes, UINT64_MAX, 7));
        (void)io.poll();
        const Sysctl off(disabled, 2);
        if (!off) GTEST_SKIP() << "kernel.io_uring_disabled cannot be set here (6.6, root)";
        EXPECT_FALSE(Io::create());
        ASSERT_EQ(::write(pipe.write_end, "xy", 2), 2);
        const std::vector<Completion> done = drain(io);
        ASSERT_EQ(done.size(), 1U);
        EXPECT_EQ(done[0].token, 7U);
        EXPECT_EQ(done[0].res, 2);
        EXPECT_EQ(result_of(io, io.nop(8)), 0);
        EXPECT_EQ(result_of(fresh, fresh.nop(9)), 0) << "one that was never used before";
    }
}

TEST(Machine, PutsAnArenaInReservedHugePages) {
    const Sysctl reserved(huge_pages, 8);
    if (!reserved) GTEST_SKIP() << "huge pages cannot be reserved here (vm.nr_hugepages, root)";
    {
        BufferArena arena = make_arena({.buffer_size = 4096, .count = 2048, .pages = Pages::hugetlb});
        EXPECT_EQ(arena.pages(), Pages::hugetlb);
        EXPECT_GE(arena.page_size(), 64U << 10);
        Io io = make_io({.arena = &arena});
        FixedBuffer buffer = *arena.acquire();
        std::memset(buffer.data(), 1, buffer.size());
        EXPECT_EQ(make_arena({.count = 256}).pages(), Pages::hugetlb) << "the best there is";
    }
    const auto too_many = BufferArena::create({.buffer_size = 1UL << 30, .count = 1000, .pages = Pages::hugetlb});
    ASSERT_FALSE(too_many);
    EXPECT_EQ(too_many.error().code(), ENOMEM);
    EXPECT_NE(too_many.error().message().find("the arena needs 5120"), std::string::npos) << too_many.error().message();
    EXPECT_NE(too_many.error().message().find("vm.nr_hugepages"), std::string::npos);
}

}  // namespace
}  // namespace squall
