// SPDX-License-Identifier: MIT
//
// Driving a ring whose SQPOLL thread takes the submissions: what it is shown and when it is woken. Here nobody polls but
// the test itself, through user_kernel.hpp; real pollers are in invariants/.
#include <cerrno>

#include "support.hpp"
#include "trace.hpp"
#include "user_kernel.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

class Poller : public testing::Test {
protected:
    static constexpr std::uint32_t entries = 8;
    static Io make() { return make_io({.entries = entries, .mode = Mode::sqpoll}); }

    UserKernel kernel;
    Trace trace;
};

TEST_F(Poller, AnAwakePollerNeedsOnlyTheTail) {
    Io io = make();
    trace.take();
    ASSERT_TRUE(io.nop(0));
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(trace.take(), "register ring1 enable 0\ngettid\nregister ring1 ring-fds 1\n");
    EXPECT_EQ(kernel.ring().sq_tail(), 1U);
    ASSERT_TRUE(io.nop(1));
    ASSERT_TRUE(io.nop(2));
    EXPECT_EQ(kernel.ring().sq_tail(), 1U) << "nothing is published before a poll";
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(kernel.ring().sq_tail(), 3U);
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(kernel.ring().finish(entries), 3);
    EXPECT_EQ(io.poll().size(), 3U);
    ASSERT_TRUE(io.nop(3));
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(kernel.ring().finish(entries), 1);
    EXPECT_EQ(io.park().size(), 1U) << "what has completed is not waited for";
    EXPECT_EQ(trace.take(), "");
    EXPECT_EQ(io.counters().enters, 0U);
    EXPECT_EQ(io.counters().sqpoll_wakeups, 0U);
}

TEST_F(Poller, APollerThatSleepsIsWokenOncePerSubmission) {
    Io io = make();
    ASSERT_TRUE(io.nop(0));
    kernel.ring().sq_flags() = abi::sq_need_wakeup;
    EXPECT_TRUE(io.poll().empty());
    trace.take();
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(trace.take(), "") << "it was woken for all there is";
    ASSERT_TRUE(io.nop(1));
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(trace.take(), "enter 7 1 0 wakeup registered\n");
    EXPECT_EQ(io.counters().sqpoll_wakeups, 2U);
    EXPECT_EQ(io.counters().enters, 2U);
    ASSERT_TRUE(io.nop(2));
    kernel.on_enter = [this](const Enter&) -> std::optional<long> {
        kernel.ring().finish(entries);
        return 0;
    };
    EXPECT_EQ(io.park().size(), 3U);
    EXPECT_EQ(trace.take(), "enter 7 1 1 getevents wakeup registered\n");
    kernel.ring().sq_flags() = 0;
    ASSERT_TRUE(io.nop(3));
    EXPECT_EQ(io.park(1s).size(), 1U);
    EXPECT_EQ(trace.take(), "enter 7 0 1 getevents ext-arg registered\n");
    EXPECT_EQ(io.counters().sqpoll_wakeups, 3U);
}

TEST_F(Poller, AWakeUpThatFailedIsMadeAgain) {
    Io io = make();
    kernel.ring().sq_flags() = abi::sq_need_wakeup;
    ASSERT_TRUE(io.nop(0));
    for (const int code : {EPERM, EINTR, EAGAIN}) {
        kernel.on_enter = [code](const Enter&) { return std::optional<long>(-code); };
        EXPECT_EQ(io.poll().error().code(), code == EPERM ? EPERM : 0);
        EXPECT_EQ(kernel.enters.back().flags, abi::enter_sq_wakeup | abi::enter_registered_ring);
    }
    EXPECT_EQ(kernel.enters.size(), 3U);
    kernel.on_enter = nullptr;
    EXPECT_TRUE(io.poll().empty());
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(kernel.enters.size(), 4U);
    EXPECT_EQ(io.counters().sqpoll_wakeups, 4U);
    EXPECT_EQ(io.counters().retries, 2U);
    EXPECT_EQ(kernel.ring().finish(entries), 1);
    EXPECT_EQ(io.poll().size(), 1U);
}

TEST_F(Poller, APolledRingRunsFlaggedWorkAndWaitsLikeAnyOther) {
    Io io = make();
    ASSERT_TRUE(io.nop(0));
    EXPECT_TRUE(io.poll().empty());
    trace.take();
    kernel.ring().sq_flags() = abi::sq_cq_overflow;
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(trace.take(), "enter 7 0 0 getevents registered\n");
    EXPECT_EQ(io.counters().overflow_flushes, 1U);
    kernel.ring().sq_flags() = 0;
    // The poller has not consumed what it was shown, so there is nothing whose end would give memory back.
    kernel.on_enter = [](const Enter&) { return std::optional<long>(-EAGAIN); };
    EXPECT_EQ(io.park().error().code(), EAGAIN);
    kernel.on_enter = [](const Enter&) { return std::optional<long>(-EOWNERDEAD); };
    EXPECT_EQ(io.park().error().code(), EOWNERDEAD);
    EXPECT_EQ(kernel.ring().finish(entries), 1);
    EXPECT_EQ(io.park().size(), 1U);
}

// What it has consumed may give memory back when it ends; what is queued behind that may not be waited for.
TEST_F(Poller, APolledRingWithoutMemoryWaitsForWhatItsPollerHasConsumed) {
    Io io = make();
    ASSERT_TRUE(io.nop(0));
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(kernel.ring().consume(entries), 1);
    ASSERT_TRUE(io.nop(1));
    trace.take();
    kernel.on_enter = [&](const Enter&) -> std::optional<long> {
        switch (kernel.enters.size()) {
            case 1:
                return -EAGAIN;
            case 2:
                kernel.ring().post(0);
                return 0;
            default:
                return kernel.ring().finish(entries) == 1 ? 0 : -EIO;
        }
    };
    kernel.enters.clear();
    EXPECT_EQ(io.park(2).size(), 2U);
    ASSERT_EQ(kernel.enters.size(), 3U);
    for (const std::size_t i : {0U, 1U, 2U}) EXPECT_EQ(kernel.enters[i].min_complete, i == 1 ? 1U : 2U) << i;
}

}  // namespace
}  // namespace squall
