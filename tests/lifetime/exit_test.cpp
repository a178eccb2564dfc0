// SPDX-License-Identifier: MIT
//
// I3, the clean exit: whatever is in flight when an Io is destroyed, its destructor returns, and the kernel then writes
// to no memory of the caller's. Reads of an empty pipe stand for what never completes by itself.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>

#include "rings.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

class ExitTest : public testing::TestWithParam<Kind> {
protected:
    // Queues reads of an empty pipe, some fixed and some not, and shows them to the kernel.
    void read_what_never_comes(Io& io, unsigned count) {
        for (unsigned i = 0; i < count; ++i) {
            const std::span<std::byte> all(memory);
            const std::span<std::byte> into = i % 2 == 0 ? all.subspan(i * 64, 64) : lease.bytes().subspan(i * 64, 64);
            ASSERT_TRUE(io.read(pipe->read_end, into, UINT64_MAX, i));
        }
        (void)io.poll();
        until_taken();
        EXPECT_EQ(io.in_flight(), count);
    }
    // Were a read still alive, it would take these bytes and write them where the Io's caller keeps other things by now.
    // Another pipe takes the place of the one that was read from.
    void expect_that_nobody_reads() {
        std::memset(memory.data(), 0x11, memory.size());
        std::memset(lease.data(), 0x11, lease.size());
        std::vector<std::byte> bytes(64 * 64, std::byte{0x77});
        ASSERT_EQ(::write(pipe->write_end, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
        pipe->until_unread();
        for (const std::span<std::byte> all : {std::span<std::byte>(memory), lease.bytes()})
            for (const std::byte byte : all) ASSERT_EQ(byte, std::byte{0x11});
        EXPECT_EQ(pipe->bytes_within(), static_cast<int>(bytes.size()));
        pipe.emplace();
    }
    Io make() { return make_io(GetParam(), {.entries = 64, .arena = &arena}); }

    std::optional<Pipe> pipe{std::in_place};
    std::vector<std::byte> memory = std::vector<std::byte>(8192);
    BufferArena arena = make_arena({.buffer_size = 8192, .count = 4});
    FixedBuffer lease = *arena.acquire();
};
INSTANTIATE_TEST_SUITE_P(Modes, ExitTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(ExitTest, I3_CancelsReadsThatWouldNeverComplete) {
    for (const unsigned count : {1U, 2U, 64U}) {
        {
            Io io = make();
            read_what_never_comes(io, count);
        }
        expect_that_nobody_reads();
    }
}

TEST_P(ExitTest, I3_DropsWhatWasNeverSubmitted) {
    {
        Io io = make();
        for (Token token = 0; token < 10; ++token) ASSERT_TRUE(io.read(pipe->read_end, memory, UINT64_MAX, token));
    }
    {
        Io io = make();
        read_what_never_comes(io, 3);
        for (Token token = 0; token < 10; ++token) ASSERT_TRUE(io.read(pipe->read_end, memory, UINT64_MAX, token));
    }
    expect_that_nobody_reads();
}

TEST_P(ExitTest, I3_WaitsForTransfersThatCannotBeCancelled) {
    const TempDir dir;
    std::vector<std::byte> content(64 * 8192);
    fill_pattern(content, 0);
    write_file(dir.file("f"), content);
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY | O_DIRECT));
    ASSERT_GE(file, 0);
    for (int round = 0; round < 20; ++round) {
        {
            Io io = make();
            for (Token token = 0; token < 32; ++token) ASSERT_TRUE(io.read(file, lease.bytes(), token * 8192, token));
            (void)io.poll();
        }
        std::memset(lease.data(), 0x22, lease.size());
        std::this_thread::sleep_for(1ms);
        for (const std::byte byte : lease.bytes()) ASSERT_EQ(byte, std::byte{0x22}) << "a transfer ended after ~Io";
    }
}

TEST_P(ExitTest, I3_HoldsWhenAnIoIsReplacedByAnother) {
    Io io = make();
    read_what_never_comes(io, 4);
    io = make();
    expect_that_nobody_reads();
    EXPECT_EQ(result_of(io, io.nop(1)), 0);
}

TEST_P(ExitTest, I3_HoldsWithCompletionsNobodyReaped) {
    Io io = make();
    for (Token token = 0; token < 64; ++token) ASSERT_TRUE(io.nop(token));
    (void)io.poll();
    for (Token token = 0; token < 10; ++token) (void)io.nop(token);
}

// As a kernel before 6.0, which can only cancel everything by closing the ring.
TEST_P(ExitTest, I3_HoldsOnAKernelThatCannotCancelOnRequest) {
    std::optional<Io> io = make();
    read_what_never_comes(*io, 5);
    const Intercept before_6_0([](Call& call) -> std::optional<long> {
        return call.number == test::nr_register && call.args[1] == abi::register_sync_cancel
                   ? std::optional<long>(-EINVAL)
                   : std::nullopt;
    });
    io.reset();
    expect_that_nobody_reads();
}

TEST_P(ExitTest, I3_HoldsWhenTheKernelNoLongerLetsTheRingBeEntered) {
    for (const int code : {EPERM, ENOSYS, EBADF}) {
        std::optional<Io> io = make();
        read_what_never_comes(*io, 5);
        const Intercept filtered([code](Call& call) -> std::optional<long> {
            const bool cancels = call.number == test::nr_register && call.args[1] == abi::register_sync_cancel;
            return call.number == test::nr_enter || cancels ? std::optional<long>(-code) : std::nullopt;
        });
        io.reset();
        expect_that_nobody_reads();
    }
}

TEST_P(ExitTest, I3_HoldsWhenTheSubmittingThreadHasEnded) {
    std::optional<Io> io = make();
    std::thread([&] { read_what_never_comes(*io, 5); }).join();
    io.reset();
    expect_that_nobody_reads();
}

TEST_P(ExitTest, I3_HoldsForTransfersOfAThreadThatHasEnded) {
    const TempDir dir;
    const Fd file(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_DIRECT, 0600));
    ASSERT_GE(file, 0);
    for (int round = 0; round < 10; ++round) {
        std::optional<Io> io = make();
        std::thread([&] {
            for (Token token = 0; token < 32; ++token) ASSERT_TRUE(io->write(file, lease.bytes(), token * 8192, token));
            (void)io->poll();
        }).join();
        io.reset();
        for (Token token = 0; token < 32; ++token) {
            Io reader = make();
            ASSERT_EQ(result_of(reader, reader.read(file, lease.bytes(), token * 8192, 1)) >= 0, true);
        }
    }
}

TEST_P(ExitTest, I3_HoldsUnderSignalsAndShortMemory) {
    std::optional<Io> io = make();
    read_what_never_comes(*io, 5);
    const Intercept bad_times([n = 0](Call& call) mutable -> std::optional<long> {
        if (call.number != test::nr_enter && call.number != test::nr_register) return std::nullopt;
        switch (n++) {
            case 0:
            case 3:
                return -EINTR;
            case 1:
                return call.number == test::nr_enter ? std::optional<long>(-EAGAIN) : std::nullopt;
            case 4:
                return call.number == test::nr_enter ? std::optional<long>(-EBUSY) : std::nullopt;
            default:
                return std::nullopt;
        }
    });
    io.reset();
    expect_that_nobody_reads();
}

TEST_P(ExitTest, I3_LeavesNoDescriptorAndNoMappingBehind) {
    { Io warm_up = make(); }
    const std::size_t descriptors = descriptors_now();
    const std::uint64_t mapped = bytes_mapped();
    for (int round = 0; round < 20; ++round) {
        Io io = make();
        if (round % 2 == 0) read_what_never_comes(io, 3);
    }
    EXPECT_EQ(descriptors_now(), descriptors);
    EXPECT_EQ(bytes_mapped(), mapped);
}

TEST_P(ExitTest, I3_GivesTheThreadsRegisteredRingSlotBack) {
    // A thread has 16 of them; were they lost, the seventeenth ring would do without.
    for (int round = 0; round < 40; ++round) {
        Io io = make();
        ASSERT_TRUE(io.nop(1));
        drain(io);
        if (round == 0 && !io.features().registered_ring && GetParam() != Mode::plain)
            GTEST_SKIP() << "no registered ring fd (5.18) here: there are no slots to give back";
        EXPECT_EQ(io.features().registered_ring, GetParam() != Mode::plain) << "round " << round;
    }
}

TEST(Exit, MayHappenOnAnotherThreadWhenNothingIsInFlight) {
    std::optional<Io> io = make_io({.entries = 8});
    std::thread([&] {
        ASSERT_TRUE(io->nop(1));
        drain(*io);
    }).join();
    io.reset();
    std::optional<Io> unused = make_io({.entries = 8});
    ASSERT_TRUE(unused->nop(1));
    std::thread([&] { unused.reset(); }).join();
}

TEST(Exit, OnAnotherThreadLeavesThatThreadsOwnRingsAlone) {
    std::optional<Io> io = make_io({.entries = 8});
    ASSERT_TRUE(io->nop(1));
    drain(*io);
    std::thread([&] {
        Io own = make_io({.entries = 8});
        ASSERT_TRUE(own.nop(1));
        drain(own);
        io.reset();
        EXPECT_EQ(result_of(own, own.nop(2)), 0);
    }).join();
}

TEST(ExitDeathTest, AbortsOnAnotherThreadWhenSomethingIsInFlight) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            const Pipe pipe;
            std::byte byte{};
            std::optional<Io> io = make_io({.entries = 8});
            EXPECT_TRUE(io->read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
            (void)io->poll();
            std::thread([&] { io.reset(); }).join();
        },
        "destroyed on thread [0-9]+ with 1 operations in flight, and only thread [0-9]+");
}

TEST(ExitDeathTest, AbortsWhenNothingCanEndWhatIsInFlight) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    Io probe = make_io({.entries = 1});
    EXPECT_EQ(result_of(probe, probe.nop(1)), 0);
    if (!probe.features().registered_ring)
        GTEST_SKIP() << "no registered ring fd (5.18) here: closing the ring is enough";
    EXPECT_DEATH(
        {
            const Pipe pipe;
            std::byte byte{};
            std::optional<Io> io = make_io({.entries = 8});
            EXPECT_TRUE(io->read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
            (void)io->poll();
            const Intercept filtered([](Call& call) -> std::optional<long> {
                return call.number == test::nr_enter || call.number == test::nr_register ? std::optional<long>(-EPERM)
                                                                                         : std::nullopt;
            });
            io.reset();
        },
        "the kernel may yet write to their buffers, and it refuses to let go of them");
}

TEST(ExitDeathTest, AbortsWhileCompletionsAreAlive) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            std::optional<Io> io = make_io({.entries = 8});
            (void)io->nop(1);
            const Completions alive = io->park();
            io.reset();
        },
        "destroyed while a Completions of it is alive");
    EXPECT_DEATH(
        {
            Io io = make_io({.entries = 8});
            (void)io.nop(1);
            const Completions alive = io.park();
            const Io moved = std::move(io);
        },
        "moved while a Completions of it is alive");
}

}  // namespace
}  // namespace squall
