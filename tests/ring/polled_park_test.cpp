// SPDX-License-Identifier: MIT
//
// Two rings behind one Io: how both are bound to a thread, what their answers come to together, and how both are waited
// for, enter by enter. The kernel is user_kernel.hpp's.
#include <cerrno>
#include <thread>

#include "polled_fixture.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

// --- Binding --------------------------------------------------------------------------------------------------------

TEST_F(PolledTest, BothRingsAreBoundAtTheFirstSubmission) {
    io = make_io({.entries = entries, .file_slots = 1, .polling = Polling::busy});
    trace.take();
    EXPECT_TRUE(io->poll().empty());
    EXPECT_TRUE(io->park().empty());
    EXPECT_EQ(trace.take(), "");
    int refused = companion().fd;
    kernel.on_register = [&refused](const Register& what) {
        return what.fd == refused && what.code == abi::register_enable_rings ? std::optional<long>(-EPERM)
                                                                             : std::nullopt;
    };
    ASSERT_TRUE(io->nop(1));
    EXPECT_EQ(io->poll().error().code(), EPERM);
    EXPECT_EQ(trace.take(), "register ring1 enable 0 -> -1\n");
    refused = polled().fd;
    EXPECT_EQ(io->park().error().code(), EPERM);
    EXPECT_EQ(trace.take(),
              "register ring1 enable 0\ngettid\nregister ring1 ring-fds 1\nregister ring2 enable 0 -> -1\n");
    EXPECT_FALSE(io->features().registered_ring);
    refused = -1;
    EXPECT_EQ(io->poll().size(), 1U);
    EXPECT_EQ(trace.take(), "register ring2 enable 0\ngettid\nregister ring2 ring-fds 1\nenter 7 1 0 registered\n");
    EXPECT_TRUE(io->features().registered_ring);
}

TEST_F(PolledTest, SaysThatItIsRegisteredWhereBothRingsAre) {
    for (const bool of_polled : {false, true}) {
        io = make_io({.entries = entries, .polling = Polling::busy});
        kernel.on_register = [&](const Register& what) {
            return what.code == abi::register_ring_fds && what.fd == (of_polled ? polled() : companion()).fd
                       ? std::optional<long>(-EBUSY)
                       : std::nullopt;
        };
        ASSERT_TRUE(io->nop(1));
        EXPECT_EQ(io->poll().size(), 1U);
        EXPECT_FALSE(io->features().registered_ring);
    }
}

TEST_F(PolledTest, IsItsThreadsAlone) {
    begin();
    ASSERT_TRUE(io->nop(1));
    std::thread([this] {
        EXPECT_EQ(io->poll().error().code(), EEXIST);
        EXPECT_EQ(io->park().error().code(), EEXIST);
        EXPECT_EQ(io->park(1ms).error().code(), EEXIST);
        EXPECT_EQ(io->set_file(file, 0).error().code(), EEXIST);
    }).join();
    kernel.on_enter = nullptr;
    EXPECT_EQ(io->poll().size(), 1U);
    std::thread([this] { EXPECT_EQ(io->park().error().code(), EEXIST); }).join();
    begin(Mode::plain);
    kernel.on_enter = nullptr;
    std::thread([this] {
        ASSERT_TRUE(io->nop(1));
        EXPECT_EQ(io->poll().size(), 1U);
        EXPECT_FALSE(io->park().error());
    }).join();
}

// --- What the kernel answers ----------------------------------------------------------------------------------------

TEST_F(PolledTest, EveryErrnoOfEitherRingIsReportedButThoseThatLoseNothing) {
    for (const bool of_polled : {false, true}) {
        begin();
        for (int code = 1; code < 134; ++code) {
            const bool nothing = code == EINTR || code == EAGAIN || code == EBUSY || code == ETIME;
            ASSERT_TRUE(read(1));
            ASSERT_TRUE(io->nop(2));
            const std::uint64_t retries = io->counters().retries;
            kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
                return (&asked(enter) == &polled()) == of_polled ? std::optional<long>(-code) : std::nullopt;
            };
            {
                const Completions done = io->poll();
                EXPECT_EQ(done.error().code(), nothing ? 0 : code);
                ASSERT_EQ(done.size(), 1U) << "the other ring's";
                EXPECT_EQ(done.begin()->token, of_polled ? 2U : 1U);
            }
            EXPECT_EQ(io->counters().retries - retries, nothing && code != ETIME ? 1U : 0U);
            expect_conserved();
            kernel.on_enter = nullptr;
            EXPECT_EQ(io->poll().size(), 1U);
        }
        // Of two errors, the one that does not go on.
        for (const bool second : {false, true}) {
            ASSERT_TRUE(read(1));
            ASSERT_TRUE(io->nop(2));
            kernel.on_enter = [&](const Enter& enter) {
                return std::optional<long>((&asked(enter) == &polled()) == second ? -EPERM : -EINTR);
            };
            EXPECT_EQ(io->poll().error().code(), EPERM);
            kernel.on_enter = [&](const Enter& enter) {
                return std::optional<long>(&asked(enter) == &polled() ? -EPERM : -ENOSYS);
            };
            EXPECT_EQ(io->poll().error().code(), EPERM) << "the first";
            kernel.on_enter = nullptr;
            EXPECT_EQ(io->poll().size(), 2U);
        }
    }
}

TEST_F(PolledTest, WhatEitherRingCountsIsCounted) {
    begin();
    for (int round = 1; round <= 2; ++round) {
        ASSERT_TRUE(read(1));
        ASSERT_TRUE(io->nop(2));
        polled().sq_flags() = companion().sq_flags() = abi::sq_cq_overflow;
        EXPECT_TRUE(io->poll().empty());
        polled().sq_flags() = companion().sq_flags() = 0;
        complete(polled(), {0});
        complete(companion(), {0});
        EXPECT_EQ(io->poll().size(), 2U);
        // The companion was flagged again when it was asked whether more is to be submitted.
        EXPECT_EQ(io->counters().overflow_flushes, 3U * static_cast<unsigned>(round));
    }
    trace.take();
    polled().sq_flags() = companion().sq_flags() = abi::sq_taskrun;
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "") << "nothing is in flight whose end it could be";

    begin(Mode::sqpoll);
    for (int round = 1; round <= 2; ++round) {
        polled().sq_flags() = companion().sq_flags() = abi::sq_need_wakeup;
        ASSERT_TRUE(read(1));
        ASSERT_TRUE(io->nop(2));
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(trace.take(), "enter 8 1 0 wakeup registered\nenter 7 1 0 wakeup registered\n");
        EXPECT_EQ(polled().finish(1), 1);
        EXPECT_EQ(companion().finish(1), 1);
        EXPECT_EQ(io->poll().size(), 2U);
        EXPECT_EQ(io->counters().sqpoll_wakeups, 2U * static_cast<unsigned>(round));
    }
}

// --- park() ---------------------------------------------------------------------------------------------------------

TEST_F(PolledTest, ParkWaitsInTheRingThatHasSomething) {
    begin();
    // In the companion's, with and without a timeout.
    ASSERT_TRUE(io->nop(1));
    kernel.on_enter = [this](const Enter& enter) -> std::optional<long> {
        const long count = swallow(enter);
        if (enter.min_complete > 0) complete(asked(enter), {0});
        return count;
    };
    EXPECT_EQ(results(io->park()), (Results{{1, 0}}));
    EXPECT_EQ(trace.take(), "enter 7 1 0 registered\nenter 7 0 1 getevents registered\n");
    ASSERT_TRUE(io->nop(2));
    const auto before = io->now();
    EXPECT_EQ(results(io->park(1h)), (Results{{2, 0}}));
    EXPECT_EQ(trace.take(), "enter 7 1 0 registered\nenter 7 0 1 getevents ext-arg registered\n");
    ASSERT_TRUE(kernel.enters.back().timeout);
    EXPECT_LE(time_of(kernel.enters.back()), 1h);
    EXPECT_GE(time_of(kernel.enters.back()), 1h - (io->now() - before));
    // In the polled one's.
    ASSERT_TRUE(read(3));
    EXPECT_EQ(results(io->park()), (Results{{3, 0}}));
    EXPECT_EQ(trace.take(), "enter 8 1 1 getevents registered\n") << "submits and waits at once";
}

TEST_F(PolledTest, ParkLooksAgainAndAgainWhereTheKernelCannotWaitForBoth) {
    begin();
    for (const bool both : {true, false}) {
        // A polled ring knows no timeout either.
        ASSERT_TRUE(read(1));
        ASSERT_TRUE(!both || io->nop(2));
        int looks = 0;
        kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
            EXPECT_EQ(enter.min_complete, 0U) << "it would wait for one of two";
            EXPECT_FALSE(enter.timeout);
            const long count = swallow(enter);
            if (&asked(enter) == &polled() && ++looks == 5) complete(polled(), {7});
            return count;
        };
        EXPECT_EQ(results(both ? io->park() : io->park(1h)), (Results{{1, 7}}));
        EXPECT_EQ(looks, 5);
        if (both) complete(companion(), {8});
        EXPECT_EQ(io->poll().size(), both ? 1U : 0U);
    }
}

TEST_F(PolledTest, ParkWaitsForAsManyAsItIsAskedFor) {
    begin();
    for (Token token = 1; token <= 3; ++token) ASSERT_TRUE(io->nop(token));
    std::vector<std::uint32_t> waits;
    kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
        const long count = swallow(enter);
        if (enter.min_complete > 0) {
            waits.push_back(enter.min_complete);
            complete(companion(), {0});  // one at a time, though more were asked for
        }
        return count;
    };
    EXPECT_EQ(io->park(2).size(), 2U);
    EXPECT_EQ(waits, (std::vector<std::uint32_t>{2, 1})) << "less those that are there already";
    EXPECT_EQ(io->park(100).size(), 1U) << "there are no more";
    EXPECT_TRUE(io->park(0).empty());
    for (Token token = 1; token <= 3; ++token) ASSERT_TRUE(read(token));
    waits.clear();
    kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
        const long count = swallow(enter);
        if (enter.min_complete > 0) {
            waits.push_back(enter.min_complete);
            complete(polled(), {0});
        }
        return count;
    };
    EXPECT_EQ(io->park(2).size(), 2U);
    EXPECT_EQ(waits, (std::vector<std::uint32_t>{2, 1})) << "of the polled ring's as well";
    EXPECT_EQ(io->park().size(), 1U);
}

TEST_F(PolledTest, ParkInThePolledRingGoesOnUntilThereIsACompletion) {
    begin();
    for (const int last : {1, 2, 3}) {
        ASSERT_TRUE(read(1));
        int round = 0;
        kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
            if (++round == 1 && last > 1) return -EINTR;
            const long count = swallow(enter);
            if (round == last) complete(polled(), {0});
            return count;
        };
        EXPECT_EQ(results(io->park()), (Results{{1, 0}}));
        const std::string waits[] = {"enter 8 1 1 getevents registered -> -4\n", "enter 8 1 1 getevents registered\n",
                                     "enter 8 0 1 getevents registered\n"};
        EXPECT_EQ(trace.take(), last == 1   ? waits[1]
                                : last == 2 ? waits[0] + waits[1]
                                            : waits[0] + waits[1] + waits[2]);
    }
}

TEST_F(PolledTest, ParkEndsWithItsTimeoutHoweverItWaits) {
    for (const int which : {1, 2, 3}) {
        begin();
        ASSERT_TRUE((which & 1) == 0 || read(1));
        ASSERT_TRUE((which & 2) == 0 || io->nop(2));
        std::chrono::nanoseconds last = 21ms;
        kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
            const long count = swallow(enter);
            if (enter.min_complete == 0) return count;
            EXPECT_TRUE(enter.timeout);
            const auto left = time_of(enter);
            EXPECT_GT(left, 0ns);
            EXPECT_LT(left, last);
            last = left;
            std::this_thread::sleep_for(3ms);
            return -EINTR;
        };
        const auto before = io->now();
        EXPECT_EQ(results(io->park(20ms)), Results{});
        EXPECT_GE(io->now() - before, 20ms);
        if (which & 1) complete(polled(), {0});
        if (which & 2) complete(companion(), {0});
        kernel.on_enter = nullptr;
        EXPECT_FALSE(io->park().empty());
        while (io->in_flight() > 0) (void)io->poll();
    }
    begin();
    const auto before = io->now();
    EXPECT_TRUE(io->park(5ms).empty()) << "nothing is in flight";
    EXPECT_GE(io->now() - before, 5ms);
    EXPECT_EQ(trace.take(), "ppoll 0 for a time\n");
    EXPECT_TRUE(io->park(5ms, 0).empty());
    EXPECT_TRUE(io->park(0ns).empty());
    EXPECT_TRUE(io->park().empty());
    EXPECT_EQ(trace.take(), "");
    ASSERT_TRUE(io->nop(1));
    kernel.on_enter = nullptr;
    EXPECT_EQ(io->park(0ns).size(), 1U);
    EXPECT_EQ(trace.take(), "enter 7 1 0 registered\n");
}

TEST_F(PolledTest, ParkReportsWhatWaitingDoesNotMend) {
    begin();
    for (const int code : {EPERM, EOWNERDEAD, EBADF, ENOSYS}) {
        for (const bool waiting : {false, true}) {
            ASSERT_TRUE(io->nop(1));
            kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
                return (enter.min_complete > 0) == waiting ? -code : swallow(enter);
            };
            EXPECT_EQ(io->park().error().code(), code);
            kernel.on_enter = nullptr;
            if (waiting) complete(companion(), {0});
            EXPECT_EQ(io->poll().size(), 1U);
        }
    }
    // No memory, and nothing in the kernel whose end would give some back; or something.
    for (const int code : {EAGAIN, EBUSY}) {
        kernel.on_enter = [&](const Enter&) { return std::optional<long>(-code); };
        ASSERT_TRUE(io->nop(1));
        EXPECT_EQ(io->park().error().code(), code);
        kernel.on_enter = [this](const Enter& enter) { return std::optional<long>(swallow(enter)); };
        EXPECT_TRUE(io->poll().empty());
        ASSERT_TRUE(io->nop(2));
        kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
            if (enter.min_complete > 0) complete(companion(), {0});
            return enter.to_submit > 0 ? -code : 0;
        };
        EXPECT_EQ(results(io->park()), (Results{{1, 0}}));
        kernel.on_enter = nullptr;
        EXPECT_EQ(io->poll().size(), 1U);
        // Something in the polled ring alone.
        kernel.on_enter = [this](const Enter& enter) { return std::optional<long>(swallow(enter)); };
        ASSERT_TRUE(read(3));
        EXPECT_TRUE(io->poll().empty());
        ASSERT_TRUE(read(4));
        kernel.on_enter = [&, tries = 0](const Enter& enter) mutable -> std::optional<long> {
            if (++tries < 3) return -code;
            complete(polled(), {7});
            return enter.to_submit > 0 ? -code : 0;
        };
        EXPECT_EQ(results(io->park()), (Results{{3, 7}}));
        kernel.on_enter = nullptr;
        EXPECT_EQ(io->poll().size(), 1U);
        ASSERT_TRUE(read(3));
        kernel.on_enter = [&](const Enter&) { return std::optional<long>(-code); };
        EXPECT_EQ(io->park().error().code(), code);
        kernel.on_enter = nullptr;
        EXPECT_EQ(io->poll().size(), 1U);
    }
}

// --- SQPOLL ---------------------------------------------------------------------------------------------------------

TEST_F(PolledTest, WithAPollerParkTakesWhatHasCompletedWithoutASystemCall) {
    begin(Mode::sqpoll);
    ASSERT_TRUE(read(1));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(polled().finish(1), 1);
    EXPECT_EQ(results(io->park()), (Results{{1, 0}}));
    EXPECT_EQ(trace.take(), "");
}

TEST_F(PolledTest, WithAPollerASleeperIsGivenAGlanceAtWhatThePollerFinds) {
    begin(Mode::sqpoll);
    ASSERT_TRUE(read(1));
    ASSERT_TRUE(io->nop(2));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "") << "an awake poller needs only the tails";
    std::vector<Enter> waits;
    kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
        EXPECT_EQ(&asked(enter), &companion());
        waits.push_back(enter);
        if (waits.size() == 3 && polled().finish(1) != 1) return -EBADF;
        return -ETIME;
    };
    EXPECT_EQ(results(io->park()), (Results{{1, 0}}));
    ASSERT_EQ(waits.size(), 3U);
    for (const Enter& wait : waits) {
        EXPECT_EQ(wait.min_complete, 1U);
        ASSERT_TRUE(wait.timeout);
        EXPECT_EQ(wait.timeout->tv_sec, 0);
        EXPECT_EQ(wait.timeout->tv_nsec, 50'000);
    }
    ASSERT_TRUE(read(3));
    waits.clear();
    kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
        waits.push_back(enter);
        return -ETIME;
    };
    // On a busy machine the time may be over before it waits.
    for (int tries = 0; waits.empty() && tries < 1000; ++tries) {
        const auto before = io->now();
        EXPECT_TRUE(io->park(30us).empty());
        EXPECT_GE(io->now() - before, 30us);
    }
    ASSERT_GE(waits.size(), 1U);
    EXPECT_LE(time_of(waits[0]), 30us) << "no longer than it may take";
    // Nothing else is in flight: it is waited for like any other.
    EXPECT_EQ(companion().finish(1), 1);
    EXPECT_EQ(results(io->poll()), (Results{{2, 0}}));
    trace.take();
    const auto before = io->now();
    kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
        EXPECT_EQ(&asked(enter), &polled());
        EXPECT_EQ(enter.min_complete, 1U);
        if (!enter.timeout) return -EBADF;
        EXPECT_LE(time_of(enter), 1h);
        EXPECT_GE(time_of(enter), 1h - (io->now() - before));
        return polled().finish(1) - 1;
    };
    EXPECT_EQ(results(io->park(1h)), (Results{{3, 0}}));
}

}  // namespace
}  // namespace squall
