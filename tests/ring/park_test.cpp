// SPDX-License-Identifier: MIT
//
// Parking, enter by enter: with which arguments park() goes to the kernel, what it makes of each of its answers, how long it
// waits, and when it does not go there at all. The kernel is user_kernel.hpp's.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "drive_fixture.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

TEST_F(Drive, ParkSubmitsAndWaitsInOneEnter) {
    Io io = bound();
    ASSERT_TRUE(io.nop(1));
    ASSERT_TRUE(io.nop(2));
    EXPECT_EQ(io.park().size(), 2U);
    EXPECT_EQ(trace.take(), "enter 7 2 1 getevents registered\n");
    EXPECT_FALSE(kernel.enters.back().timeout);
    ASSERT_TRUE(io.nop(3));
    EXPECT_EQ(io.park(2'500'000'001ns).size(), 1U);
    EXPECT_EQ(trace.take(), "enter 7 1 1 getevents ext-arg registered\n");
    ASSERT_TRUE(kernel.enters.back().timeout);
    EXPECT_EQ(kernel.enters.back().timeout->tv_sec, 2);
    EXPECT_EQ(kernel.enters.back().timeout->tv_nsec, 500'000'001);
}

TEST_F(Drive, ParkTakesWhatHasCompletedWithoutASystemCall) {
    Io io = bound();
    kernel.on_enter = [this](const Enter& enter) { return swallow(kernel, enter); };
    ASSERT_TRUE(io.nop(1));
    EXPECT_TRUE(io.poll().empty());
    trace.take();
    kernel.ring().post(1);
    EXPECT_EQ(io.park().size(), 1U);
    EXPECT_EQ(trace.take(), "");
    EXPECT_TRUE(io.park().empty()) << "nothing is in flight";
    EXPECT_EQ(trace.take(), "");
}

TEST_F(Drive, ParkSubmitsWhatIsQueuedWhateverHasCompleted) {
    LatencyHistograms histograms;
    for (const std::uint32_t every : {0U, 1U}) {  // with a sample on its way there is another way to go
        Io io = make_io({.entries = entries, .sampling = {.every = every, .histograms = &histograms}});
        const auto ring = [this]() -> UserKernel::Ring& { return kernel.ring(kernel.setups.size() - 1); };
        kernel.on_enter = [&](const Enter& enter) { return std::optional<long>(ring().consume(enter.to_submit)); };
        ASSERT_TRUE(io.nop(1));
        EXPECT_TRUE(io.poll().empty());
        ring().post(1);
        ASSERT_TRUE(io.nop(2));
        kernel.enters.clear();
        EXPECT_EQ(io.park().size(), 1U);
        ASSERT_EQ(kernel.enters.size(), 1U);
        EXPECT_EQ(kernel.enters[0].to_submit, 1U);
        EXPECT_EQ(ring().consumed.size(), 2U);
        ring().post(2);
        EXPECT_EQ(io.park().size(), 1U);
        EXPECT_EQ(kernel.enters.size(), 1U);
    }
}

TEST_F(Drive, AParkOfNoTimeIsAPoll) {
    Io io = bound();
    for (const auto timeout : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
        EXPECT_TRUE(io.park(timeout).empty());
        EXPECT_EQ(trace.take(), "") << "nothing is queued";
        ASSERT_TRUE(io.nop(1));
        EXPECT_EQ(io.park(timeout).size(), 1U);
        EXPECT_EQ(trace.take(), "enter 7 1 0 registered\n");
        kernel.on_enter = [this](const Enter& enter) { return swallow(kernel, enter); };
        ASSERT_TRUE(io.nop(2));
        EXPECT_TRUE(io.park(timeout).empty());
        EXPECT_TRUE(io.park(timeout).empty());
        EXPECT_EQ(trace.take(), "enter 7 1 0 registered\n") << "what is in flight is not waited for";
        kernel.ring().post(2);
        EXPECT_EQ(io.park(timeout).size(), 1U);
        kernel.on_enter = [](const Enter&) { return std::optional<long>(-EPERM); };
        ASSERT_TRUE(io.nop(3));
        EXPECT_EQ(io.park(timeout).error().code(), EPERM);
        kernel.on_enter = nullptr;
        EXPECT_EQ(io.poll().size(), 1U);
        trace.take();
    }
}

TEST_F(Drive, ParkGoesOnUntilThereIsACompletion) {
    Io io = bound();
    ASSERT_TRUE(io.nop(1));
    int round = 0;
    kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
        switch (round++) {
            case 0:
                return -EINTR;
            case 1:
                return swallow(kernel, enter);  // an enter may return before anything has completed
            case 2:
                return -EINTR;
            default:
                kernel.ring().post(1);
                return 0;
        }
    };
    const Completions done = io.park();
    ASSERT_EQ(done.size(), 1U);
    EXPECT_FALSE(done.error());
    EXPECT_EQ(trace.take(),
              "enter 7 1 1 getevents registered -> -4\n"
              "enter 7 1 1 getevents registered\n"
              "enter 7 0 1 getevents registered -> -4\n"
              "enter 7 0 1 getevents registered\n");
    EXPECT_EQ(io.counters().retries, 2U);
}

TEST_F(Drive, ParkKeepsItsTimeoutThroughSignals) {
    Io io = bound();
    // Of a park that has time enough, and of one whose time runs out, however late that is noticed.
    for (const std::chrono::nanoseconds timeout : {3'600'000ms, 100ms}) {
        ASSERT_TRUE(io.nop(1));
        kernel.enters.clear();
        const auto before = io.now();
        kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
            (void)swallow(kernel, enter);
            EXPECT_GE(time_of(enter), timeout - (io.now() - before)) << "what is left, and no less";
            if (kernel.enters.size() == 4) return kernel.ring().post(1), 0;
            std::this_thread::sleep_for(40ms);
            return -EINTR;
        };
        std::size_t got = 0;
        {
            const Completions done = io.park(timeout);
            EXPECT_FALSE(done.error());
            got = done.size();
        }
        EXPECT_EQ(got, timeout == 1h ? 1U : 0U);
        EXPECT_GE(io.now() - before, std::min<std::chrono::nanoseconds>(timeout, 120ms));
        EXPECT_EQ(time_of(kernel.enters.at(0)), timeout);
        for (std::size_t i = 1; i < kernel.enters.size(); ++i) {
            EXPECT_GT(time_of(kernel.enters[i]), 0ns) << "an enter was made when the time had run out";
            EXPECT_LE(time_of(kernel.enters[i]), time_of(kernel.enters[i - 1]) - 40ms);
        }
        if (got == 1) continue;
        kernel.on_enter = nullptr;
        kernel.ring().post(1);
        EXPECT_EQ(io.poll().size(), 1U);
    }
}

TEST_F(Drive, ParkReportsEveryErrnoThatWaitingDoesNotMend) {
    Io io = bound();
    for (int code = 1; code < 134; ++code) {
        ASSERT_TRUE(io.nop(static_cast<Token>(code)));
        int left = 1;
        kernel.on_enter = [code, &left](const Enter&) {
            return left-- > 0 ? std::optional<long>(-code) : std::nullopt;
        };
        if (code != EINTR) {
            const Completions done = io.park();
            // EAGAIN and EBUSY: nothing is in flight whose end would mend it.
            EXPECT_EQ(done.error().code(), code == ETIME ? 0 : code);
            EXPECT_TRUE(done.empty());
            EXPECT_EQ(left, 0) << "errno " << code << ": one enter was to be made";
        }
        expect_conserved(io);
        EXPECT_EQ(io.park().size(), 1U);
    }
}

// One operation is in the kernel and one is queued, for whose request there is no memory.
TEST_F(Drive, ParkWithoutMemoryWaitsForWhatIsInTheKernel) {
    for (const int code : {EAGAIN, EBUSY}) {
        for (const bool timed : {false, true}) {
            Io io = bound();
            const std::size_t number = kernel.setups.size() - 1;
            auto& ring = kernel.ring(number);
            trace.forget();
            kernel.on_enter = [&](const Enter& enter) -> std::optional<long> { return ring.consume(enter.to_submit); };
            ASSERT_TRUE(io.nop(1));
            EXPECT_TRUE(io.poll().empty());
            ASSERT_TRUE(io.nop(2));
            kernel.enters.clear();
            kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
                if (enter.to_submit > 0) return -code;
                ring.post(1);
                return 0;
            };
            {
                const Completions done = timed ? io.park(10s) : io.park();
                EXPECT_FALSE(done.error());
                ASSERT_EQ(done.size(), 1U);
                EXPECT_EQ(done.begin()->token, 1U);
            }
            ASSERT_EQ(kernel.enters.size(), 2U);
            EXPECT_EQ(kernel.enters[0].to_submit, 1U);
            EXPECT_EQ(kernel.enters[1].to_submit, 0U);
            for (const Enter& enter : kernel.enters) {
                EXPECT_EQ(enter.min_complete, 1U);
                EXPECT_EQ(enter.timeout.has_value(), timed);
                EXPECT_TRUE(!timed || time_of(enter) == 10s);
            }
            EXPECT_EQ(io.counters().retries, 1U);
            expect_conserved(io);

            // Nothing but what is queued is left to wait for, however much that is.
            ASSERT_TRUE(io.nop(3));
            kernel.enters.clear();
            EXPECT_EQ(io.park().error().code(), code);
            EXPECT_EQ(kernel.enters.size(), 1U);
            EXPECT_EQ(kernel.enters[0].to_submit, 2U);
            kernel.on_enter = nullptr;
            EXPECT_EQ(io.poll().size(), 2U);
        }
    }
}

// One of three is in the kernel: for more than that it must not wait, and when that has completed it has nothing to wait for.
TEST_F(Drive, ParkWithoutMemoryHandsOutWhatThereIsWhenNoMoreCanCome) {
    Io io = bound();
    kernel.on_enter = [this](const Enter& enter) { return swallow(kernel, enter); };
    ASSERT_TRUE(io.nop(1));
    EXPECT_TRUE(io.poll().empty());
    ASSERT_TRUE(io.nop(2));
    ASSERT_TRUE(io.nop(3));
    kernel.enters.clear();
    kernel.on_enter = [this](const Enter& enter) -> std::optional<long> {
        if (kernel.enters.size() > 4) return -EPERM;  // it would go on for ever
        if (enter.to_submit > 0) return -EAGAIN;
        EXPECT_EQ(enter.min_complete, 1U);
        kernel.ring().post(1);
        return 0;
    };
    {
        const Completions done = io.park(3);
        EXPECT_EQ(done.error().code(), EAGAIN);
        ASSERT_EQ(done.size(), 1U);
        EXPECT_EQ(done.begin()->token, 1U);
    }
    EXPECT_EQ(kernel.enters.size(), 3U);
    EXPECT_EQ(io.in_flight(), 2U);
    kernel.on_enter = nullptr;
    EXPECT_EQ(io.park(3).size(), 2U);
}

// What it waits for is there already: whether there is memory for the rest is the next call's business.
TEST_F(Drive, ParkWithoutMemoryIsContentWithWhatHasCompletedMeanwhile) {
    Io io = bound();
    for (const bool has_timeout : {false, true}) {
        kernel.on_enter = [this](const Enter& enter) { return swallow(kernel, enter); };
        ASSERT_TRUE(io.nop(1));
        EXPECT_TRUE(io.poll().empty());
        ASSERT_TRUE(io.nop(2));
        kernel.on_enter = [this](const Enter&) -> std::optional<long> {
            kernel.ring().post(1);
            return -EAGAIN;
        };
        {
            const Completions done = has_timeout ? io.park(10s) : io.park();
            EXPECT_FALSE(done.error()) << done.error().message();
            ASSERT_EQ(done.size(), 1U);
        }
        kernel.on_enter = nullptr;
        EXPECT_EQ(io.park().size(), 1U);
    }
}

TEST_F(Drive, ParkWithoutMemoryMakesOfTheSecondEnterWhatItMakesOfAny) {
    struct Case {
        int second;
        int error;
    };
    for (const Case& test : {Case{EPERM, EPERM}, Case{ETIME, 0}, Case{EOWNERDEAD, EOWNERDEAD}}) {
        Io io = bound();
        auto& ring = kernel.ring(kernel.setups.size() - 1);
        kernel.on_enter = [&](const Enter& enter) -> std::optional<long> { return ring.consume(enter.to_submit); };
        ASSERT_TRUE(io.nop(1));
        EXPECT_TRUE(io.poll().empty());
        ASSERT_TRUE(io.nop(2));
        kernel.on_enter = [&](const Enter& enter) {
            return std::optional<long>(enter.to_submit > 0 ? -EAGAIN : -test.second);
        };
        kernel.enters.clear();
        EXPECT_EQ(io.park(10s).error().code(), test.error);
        EXPECT_EQ(kernel.enters.size(), 2U);
        // A signal in the second is followed by another attempt to submit.
        kernel.enters.clear();
        kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
            if (enter.to_submit == 0) return -EINTR;
            if (kernel.enters.size() < 3) return -EAGAIN;
            return ring.finish(enter.to_submit);
        };
        EXPECT_EQ(io.park().size(), 1U);
        EXPECT_EQ(kernel.enters.size(), 3U);
        ring.post(1);
        EXPECT_EQ(io.poll().size(), 1U);
    }
}

// --- Parking with nothing in flight ---------------------------------------------------------------------------------

TEST_F(Drive, AParkBeforeTheFirstSubmissionSleepsSignalsOrNot) {
    Io io = make_io({.entries = entries});
    trace.take();
    std::vector<abi::Timespec> slept;
    kernel.on_other_call = [&](Call& call) -> std::optional<long> {
        if (call.number != SYS_ppoll) return std::nullopt;
        slept.push_back(*reinterpret_cast<const abi::Timespec*>(call.args[2]));
        if (slept.size() > 3) return std::nullopt;
        std::this_thread::sleep_for(1ms);
        return -EINTR;
    };
    const auto before = io.now();
    EXPECT_TRUE(io.park(200ms).empty());
    EXPECT_GE(io.now() - before, 200ms);
    EXPECT_EQ(slept.at(0).tv_nsec, 200'000'000);
    // There may be no time left for another, on a busy machine.
    for (std::size_t i = 1; i < slept.size(); ++i) {
        EXPECT_EQ(slept[i].tv_sec, 0);
        EXPECT_GT(slept[i].tv_nsec, 0);
        EXPECT_LE(slept[i].tv_nsec, slept[i - 1].tv_nsec - (i < 4 ? 1'000'000 : 0));
    }
    EXPECT_EQ(trace.take().substr(0, 25), "ppoll 0 for a time -> -4\n");
    EXPECT_TRUE(io.park(0ns).empty());
    EXPECT_EQ(trace.take(), "");
    // Without a signal it is one call.
    slept.assign(3, {});
    EXPECT_TRUE(io.park(3ms).empty());
    EXPECT_EQ(trace.take(), "ppoll 0 for a time\n");
    EXPECT_EQ(kernel.enters.size(), 0U);
    EXPECT_EQ(kernel.registered(abi::register_enable_rings), 0U) << "the ring still belongs to no thread";
}

TEST_F(Drive, AParkOfABoundRingWithNothingInFlightWaitsInTheKernel) {
    Io io = bound();
    kernel.on_enter = [](const Enter&) { return std::optional<long>(-ETIME); };
    const Completions done = io.park(3s);
    EXPECT_TRUE(done.empty());
    EXPECT_FALSE(done.error());
    EXPECT_EQ(trace.take(), "enter 7 0 1 getevents ext-arg registered -> -62\n");
    EXPECT_EQ(time_of(kernel.enters.at(0)), 3s);
}

TEST_F(Drive, WaitingForNoneTakesNoTimeWhateverTheKernelFlags) {
    Io io = bound();
    for (const std::uint32_t flags : {0U, abi::sq_taskrun}) {
        kernel.ring().sq_flags() = flags;
        EXPECT_TRUE(io.park(1h, 0).empty());
        EXPECT_TRUE(io.park(0).empty());
        EXPECT_EQ(trace.take(), "");
    }
    kernel.ring().sq_flags() = 0;
}

// --- What would be a bug -----------------------------------------------------------------------------------------------

TEST(ParkDeathTest, AbortsOnAParkWhileCompletionsAreReadBeforeItWaits) {
    for (const Polling polling : {Polling::none, Polling::busy}) {
        EXPECT_DEATH(
            {
                UserKernel kernel;
                Io io = make_io({.entries = 4, .polling = polling});
                EXPECT_TRUE(io.nop(1));
                const Completions alive = io.poll();
                EXPECT_TRUE(io.nop(2));
                kernel.on_enter = [](const Enter&) -> std::optional<long> { ::_exit(0); };
                (void)io.park();
            },
            "while an earlier Completions is alive");
    }
}

}  // namespace
}  // namespace squall
