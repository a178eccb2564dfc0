// SPDX-License-Identifier: MIT
//
// No needless system call (I5): one for all that is queued, none where there is nothing to tell the kernel, and how a poller
// that is awake or asleep needs none or one.
#include <unistd.h>

#include <chrono>

#include "invariant_fixture.hpp"
#include "seam.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

TEST(Invariant, I5_OneEnterForAllThatIsQueuedAndNoOtherSystemCall) {
    for (const Mode mode : {Mode::deferred, Mode::plain}) {
        for (const unsigned batch : {1U, 2U, 32U, 256U}) {
            Io io = make_io(mode, {.entries = 256});
            ASSERT_TRUE(io.nop(0));
            drain(io);  // the first submission binds the ring
            const std::uint64_t calls = calls_made();
            const std::uint64_t enters = io.counters().enters;
            for (Token token = 0; token < batch; ++token) ASSERT_TRUE(io.nop(token));
            EXPECT_EQ(calls_made(), calls) << "queueing makes no system call";
            EXPECT_EQ(io.poll().size(), batch);
            EXPECT_EQ(calls_made(), calls + 1) << batch << " operations";
            EXPECT_EQ(io.counters().enters, enters + 1);
        }
    }
}

TEST_P(InvariantTest, I5_AnIdlePollMakesNoSystemCall) {
    Io io = make(8);
    const std::uint64_t before_first_use = calls_made();
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(calls_made(), before_first_use);
    ASSERT_TRUE(io.nop(1));
    drain(io);
    EXPECT_TRUE(io.poll().empty());  // where a signal came into the wait, whether a poller sleeps is looked at again
    const std::uint64_t calls = calls_made();
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(calls_made(), calls);
}

TEST(Invariant, I5_ParkingOnWhatHasCompletedMakesNoSystemCall) {
    Io io = make_io({.entries = 8, .mode = Mode::sqpoll});
    const Pipe pipe;
    std::byte bytes[2];
    for (std::byte& byte : bytes) ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    EXPECT_TRUE(io.poll().empty());
    until_taken();
    ASSERT_EQ(::write(pipe.write_end, "xy", 2), 2);
    until_completed(2);
    const std::uint64_t calls = calls_made();
    EXPECT_EQ(io.park().size(), 2U);
    EXPECT_TRUE(io.park().empty()) << "nothing in flight: nothing to wait for";
    EXPECT_EQ(calls_made(), calls);
}

TEST(Invariant, I5_PendingTaskWorkIsSeenWithoutASystemCallAndRunWithOne) {
    Io io = make_io();
    if (!io.features().taskrun_flag) GTEST_SKIP() << "no IORING_SETUP_TASKRUN_FLAG (5.19) here";
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    (void)io.poll();
    const std::uint64_t enters = io.counters().enters;
    for (int i = 0; i < 100; ++i) (void)io.poll();
    EXPECT_EQ(io.counters().enters, enters);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    const auto deadline = io.now() + 60s;
    std::size_t got = 0;
    while (got == 0 && io.now() < deadline) got = io.poll().size();
    EXPECT_EQ(got, 1U);
    EXPECT_LE(io.counters().enters, enters + 2);
}

TEST_P(InvariantTest, I5_ALoopThatAlwaysSubmitsSeesWhatTheDeviceHasFinished) {
    Io io = make(8);
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 77));
    submit_all(io);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    bool seen = false;
    const auto deadline = io.now() + 60s;
    for (int polls = 0; !seen && io.now() < deadline; ++polls) {
        (void)io.nop(1);
        for (const Completion& completion : io.poll()) seen = seen || completion.token == 77;
        ASSERT_TRUE(polls < 10'000 || !io.features().taskrun_flag) << "task work is flagged and not run";
    }
    EXPECT_TRUE(seen);
    drain(io);
}

TEST(Invariant, I5_AnAwakeSqpollThreadNeedsNoSystemCall) {
    // Awake for as long as the test may be held up.
    Io io = make_io({.entries = 64, .mode = Mode::sqpoll, .sqpoll_idle = 1h});
    ASSERT_TRUE(io.nop(0));
    drain(io);
    EXPECT_TRUE(io.poll().empty());  // where a signal came into the wait, whether it sleeps is looked at again
    const std::uint64_t calls = calls_made();
    const std::uint64_t wakeups = io.counters().sqpoll_wakeups;
    for (int i = 0; i < 100; ++i) {
        for (Token token = 0; token < 16; ++token) ASSERT_TRUE(io.nop(token));
        while (io.in_flight() > 0) (void)io.poll();
    }
    EXPECT_EQ(calls_made(), calls);
    EXPECT_EQ(io.counters().sqpoll_wakeups, wakeups);
}

TEST(Invariant, I5_ASleepingSqpollThreadIsWokenWithOneSystemCall) {
    Io io = make_io({.entries = 8, .mode = Mode::sqpoll, .sqpoll_idle = 1ms});
    ASSERT_TRUE(io.nop(0));
    drain(io);
    std::uint64_t woken = 0;
    // A process that is stopped at this moment finds it awake.
    for (int tries = 0; woken == 0 && tries < 1000; ++tries) {
        until_asleep();
        const std::uint64_t wakeups = io.counters().sqpoll_wakeups;
        const std::uint64_t calls = calls_made();
        ASSERT_TRUE(io.nop(1));
        const auto deadline = io.now() + 60s;
        std::size_t got = 0;
        while (got == 0 && io.now() < deadline) got = io.poll().size();
        EXPECT_EQ(got, 1U);
        woken = io.counters().sqpoll_wakeups - wakeups;
        EXPECT_LE(woken, 1U);
        EXPECT_EQ(calls_made(), calls + woken);
    }
    EXPECT_EQ(woken, 1U);
}

}  // namespace
}  // namespace squall
