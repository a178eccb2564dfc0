// SPDX-License-Identifier: MIT
//
// Driving a ring, enter by enter: with which arguments poll() goes to the kernel, what it makes of each of its answers, and
// when it does not go there at all. The kernel is user_kernel.hpp's; what comes of it on a real one is in invariants/,
// how a poller is driven is poller_test.cpp's, and park() is park_test.cpp's.
#include <algorithm>
#include <cerrno>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "drive_fixture.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

// --- The first submission -------------------------------------------------------------------------------------------

TEST_F(Drive, BindsTheRingAtTheFirstSubmission) {
    Io io = make_io({.entries = entries});
    abi::RsrcUpdate update{};
    kernel.on_register = [&](const Register& what) -> std::optional<long> {
        if (what.code == abi::register_ring_fds) update = what.as<abi::RsrcUpdate>();
        return std::nullopt;
    };
    trace.take();
    EXPECT_TRUE(io.poll().empty());
    EXPECT_TRUE(io.park().empty());
    EXPECT_TRUE(io.park(0ns).empty());
    EXPECT_EQ(trace.take(), "") << "nothing is queued";
    ASSERT_TRUE(io.nop(1));
    EXPECT_EQ(io.poll().size(), 1U);
    EXPECT_EQ(trace.take(),
              "register ring1 enable 0\n"
              "gettid\n"
              "register ring1 ring-fds 1\n"
              "enter 7 1 0 registered\n");
    EXPECT_TRUE(io.features().registered_ring);
    EXPECT_EQ(update.offset, UINT32_MAX) << "any free place";
    EXPECT_EQ(update.resv, 0U);
    EXPECT_EQ(update.data, static_cast<std::uint64_t>(kernel.ring().fd));
    ASSERT_TRUE(io.nop(2));
    EXPECT_EQ(io.poll().size(), 1U);
    EXPECT_EQ(trace.take(), "enter 7 1 0 registered\n");
}

TEST_F(Drive, TiesAPlainRingToNoThread) {
    Io io = make_io({.entries = entries, .mode = Mode::plain});
    trace.take();
    ASSERT_TRUE(io.nop(1));
    EXPECT_EQ(io.poll().size(), 1U);
    ASSERT_TRUE(io.nop(2));
    EXPECT_EQ(io.park().size(), 1U);
    EXPECT_EQ(trace.take(),
              "register ring1 enable 0\n"
              "enter ring1 1 0\n"
              "enter ring1 1 1 getevents\n");
    EXPECT_FALSE(io.features().registered_ring);
}

TEST_F(Drive, DoesWithoutARegisteredRing) {
    for (const long answer : {-EINVAL, -EBUSY, 0}) {
        UserKernel* const old = &kernel;
        old->on_register = [answer](const Register& what) {
            return what.code == abi::register_ring_fds ? std::optional<long>(answer) : std::nullopt;
        };
        Io io = make_io({.entries = entries});
        trace.take();
        trace.forget();
        ASSERT_TRUE(io.nop(1));
        EXPECT_EQ(io.poll().size(), 1U);
        EXPECT_FALSE(io.features().registered_ring);
        EXPECT_EQ(kernel.enters.back().fd, kernel.ring(kernel.setups.size() - 1).fd);
        EXPECT_EQ(kernel.enters.back().flags, 0U);
    }
}

TEST_F(Drive, TriesAgainToEnableARingThatCouldNotBe) {
    Io io = make_io({.entries = entries});
    trace.take();
    ASSERT_TRUE(io.nop(1));
    kernel.on_register = [](const Register&) { return std::optional<long>(-EACCES); };
    for (const bool parked : {false, true}) {
        const Completions done = parked ? io.park() : io.poll();
        EXPECT_EQ(done.error().code(), EACCES);
        EXPECT_TRUE(done.empty());
        expect_conserved(io);
    }
    EXPECT_EQ(trace.take(), "register ring1 enable 0 -> -13\nregister ring1 enable 0 -> -13\n");
    kernel.on_register = nullptr;
    EXPECT_EQ(io.poll().size(), 1U);
    EXPECT_EQ(kernel.registered(abi::register_enable_rings), 3U);
}

// --- poll() ---------------------------------------------------------------------------------------------------------

TEST_F(Drive, PollOffersAllThatIsQueuedOnce) {
    Io io = bound();
    for (Token token = 0; token < 5; ++token) ASSERT_TRUE(io.nop(token));
    EXPECT_EQ(trace.take(), "");
    EXPECT_EQ(io.poll().size(), 5U);
    EXPECT_EQ(trace.take(), "enter 7 5 0 registered\n");
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(trace.take(), "");
    EXPECT_EQ(io.counters().enters, 2U);
    EXPECT_EQ(io.counters().retries, 0U);
}

TEST_F(Drive, AParkedThreadCountsAsWaitingForIoWhereThatIsAskedForOrTheKernelKnowsNoOther) {
    for (const bool offered : {false, true}) {
        for (const bool asked : {false, true}) {
            for (const Polling polling : {Polling::none, Polling::busy}) {
                UserKernel* const old = &kernel;
                old->features = offered ? old->features | abi::feat_no_iowait : old->features & ~abi::feat_no_iowait;
                Io io = bound({.entries = entries, .polling = polling, .io_wait = asked});
                EXPECT_EQ(io.features().io_wait, asked || !offered);
                ASSERT_TRUE(io.nop(1));
                EXPECT_EQ(io.park().size(), 1U);
                ASSERT_TRUE(io.nop(2));
                EXPECT_EQ(io.park(1s).size(), 1U);
                EXPECT_TRUE(io.park(1ns).empty());
                for (const Enter& enter : kernel.enters)
                    EXPECT_EQ((enter.flags & abi::enter_no_iowait) == 0, io.features().io_wait);
                EXPECT_GE(kernel.enters.size(), 2U);
            }
        }
    }
}

// A kernel that runs 20 items of task work per enter that waits for none, and flags that there are more (6.13).
class TaskWork : public Drive {
protected:
    // `count` operations of an Io are in the kernel and have finished.
    Io finished(std::uint32_t count) {
        Io io = bound({.entries = 256});
        UserKernel::Ring& ring = kernel.ring(kernel.rings() - 1);
        kernel.on_enter = [&ring](const Enter& enter) { return std::optional<long>(ring.consume(enter.to_submit)); };
        for (Token token = 0; token < count; ++token) EXPECT_TRUE(io.nop(token));
        EXPECT_TRUE(io.poll().empty());
        trace.take();
        ring.sq_flags() = abi::sq_taskrun;
        kernel.on_enter = [&ring, count, done = 0U](const Enter& enter) mutable -> std::optional<long> {
            EXPECT_NE(enter.flags & abi::enter_getevents, 0U);
            for (const std::uint32_t end = std::min(count, done + std::max(20U, enter.min_complete)); done < end;)
                ring.post(done++);
            ring.sq_flags() = done < count ? abi::sq_taskrun : 0U;
            return 0;
        };
        return io;
    }
};

TEST_F(TaskWork, AllThatHasFinishedIsHandedOutByOneCall) {
    constexpr const char* flagged = "enter 7 0 0 getevents registered\n";
    constexpr const char* waiting = "enter 7 0 1 getevents registered\n";
    const auto times = [](std::size_t count, const std::string& line) {
        std::string all;
        while (count-- > 0) all += line;
        return all;
    };
    for (const std::uint32_t count : {1U, 19U, 20U, 21U, 40U, 41U, 100U, 256U}) {
        {
            Io io = finished(count);
            EXPECT_EQ(io.poll().size(), count);
            EXPECT_EQ(trace.take(), times((count + 19) / 20, flagged));
        }
        {
            Io io = finished(count);
            EXPECT_EQ(io.park().size(), count);
            EXPECT_EQ(trace.take(), waiting + times((count + 19) / 20 - 1, flagged));
        }
        {
            Io io = finished(count);
            EXPECT_EQ(io.park(count).size(), count);
            EXPECT_EQ(kernel.enters.back().min_complete, count);
        }
        trace.take();
    }
}

TEST_F(TaskWork, WhatFinishesMeanwhileIsForTheNextCall) {
    Io io = finished(95);
    // The flag stays up, but no enter brings as much as one can.
    kernel.on_enter = [&, next = Token{0}](const Enter&) mutable -> std::optional<long> {
        for (int i = 0; i < 19; ++i) kernel.ring().post(next++);
        return 0;
    };
    EXPECT_EQ(io.poll().size(), 19U);
    EXPECT_EQ(io.park().size(), 19U);
    EXPECT_EQ(kernel.enters.size(), 3U) << "the submission, and one for each";
    kernel.ring().sq_flags() = 0;
}

TEST_F(TaskWork, WhatWasBroughtIsHandedOutWhenTheNextEnterFails) {
    Io io = finished(100);
    const auto first = kernel.on_enter;
    for (const int code : {EINTR, EAGAIN, EPERM}) {
        kernel.on_enter = [&, again = false](const Enter& enter) mutable {
            return std::exchange(again, true) ? std::optional<long>(-code) : first(enter);
        };
        const Completions done = io.poll();
        EXPECT_EQ(done.size(), 20U);
        EXPECT_FALSE(done.failed()) << "the next call is to say so, if it meets it too";
    }
    kernel.on_enter = first;
    EXPECT_EQ(io.poll().size(), 40U);
}

TEST_F(Drive, PollOffersAgainWhatTheKernelLeft) {
    Io io = bound();
    for (Token token = 1; token <= 5; ++token) ASSERT_TRUE(io.nop(token));
    kernel.on_enter = [this](const Enter& enter) { return kernel.ring().finish(std::min(enter.to_submit, 2U)); };
    EXPECT_EQ(io.poll().size(), 2U);
    ASSERT_TRUE(io.nop(6));
    EXPECT_EQ(io.poll().size(), 2U);
    EXPECT_EQ(io.poll().size(), 2U);
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(trace.take(), "enter 7 5 0 registered\nenter 7 4 0 registered\nenter 7 2 0 registered\n");
    ASSERT_EQ(kernel.ring().consumed.size(), 7U);
    for (Token token = 0; token <= 6; ++token) EXPECT_EQ(kernel.ring().consumed[token].user_data, token);
}

TEST_F(Drive, WhatIsTakenBackIsNotShownToTheKernelAnyMore) {
    Io io = bound();
    for (Token token = 1; token <= 3; ++token) ASSERT_TRUE(io.nop(token));
    kernel.on_enter = [](const Enter&) { return std::optional<long>(-EPERM); };
    EXPECT_EQ(io.poll().code(), EPERM);
    EXPECT_EQ(kernel.ring().sq_tail(), 4U) << "an enter that failed has shown it all";
    EXPECT_EQ(io.withdraw(), Token{3});
    EXPECT_EQ(io.withdraw(), Token{2});
    EXPECT_EQ(kernel.ring().sq_tail(), 2U);
    kernel.on_enter = nullptr;
    const Completions done = io.poll();
    ASSERT_EQ(done.size(), 1U);
    EXPECT_EQ(done.begin()->token, 1U);
}

TEST_F(Drive, PollRunsWorkThatTheKernelFlagged) {
    Io io = bound();
    const std::uint64_t enters = io.counters().enters;
    for (const std::uint32_t flag : {abi::sq_taskrun, abi::sq_cq_overflow}) {
        kernel.ring().sq_flags() = flag;
        kernel.on_enter = nullptr;
        EXPECT_TRUE(io.poll().empty());
        ASSERT_TRUE(io.nop(1));
        EXPECT_EQ(io.poll().size(), 1U);
        EXPECT_EQ(trace.take(), "enter 7 0 0 getevents registered\nenter 7 1 0 getevents registered\n");
        kernel.ring().sq_flags() = 0;
        EXPECT_TRUE(io.poll().empty());
        EXPECT_EQ(trace.take(), "");
    }
    EXPECT_EQ(io.counters().overflow_flushes, 2U);
    EXPECT_EQ(io.counters().enters, enters + 4);
    kernel.ring().sq_flags() = abi::sq_need_wakeup;
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(trace.take(), "") << "of no concern without a poller";
}

TEST_F(Drive, PollReportsEveryErrnoButTheFourThatLoseNothing) {
    Io io = bound();
    const std::set<int> nothing = {EINTR, EAGAIN, EBUSY, ETIME};
    std::uint64_t retries = 0;
    for (int code = 1; code < 134; ++code) {
        ASSERT_TRUE(io.nop(static_cast<Token>(code)));
        kernel.on_enter = [code](const Enter&) { return std::optional<long>(-code); };
        {
            const Completions done = io.poll();
            EXPECT_EQ(done.error().code(), nothing.contains(code) ? 0 : code);
            EXPECT_TRUE(done.empty());
        }
        expect_conserved(io);
        EXPECT_EQ(io.in_flight(), 1U);
        if (code == EINTR || code == EAGAIN || code == EBUSY) ++retries;
        EXPECT_EQ(io.counters().retries, retries) << code;
        kernel.on_enter = nullptr;
        const Completions done = io.poll();
        ASSERT_EQ(done.size(), 1U);
        EXPECT_EQ(done.begin()->token, static_cast<Token>(code));
    }
}

TEST_F(Drive, AFileIsPutIntoASlotByOneCallOrTheErrorSaysWhyNot) {
    Io io = bound({.entries = entries, .file_slots = 2});
    std::vector<std::pair<std::uint32_t, std::int32_t>> updates;
    long answer = 1;
    kernel.on_register = [&](const Register& what) -> std::optional<long> {
        if (what.code != abi::register_files_update) return std::nullopt;
        EXPECT_EQ(what.count, 1U);
        EXPECT_EQ(what.as<abi::RsrcUpdate>().resv, 0U);
        updates.emplace_back(what.as<abi::RsrcUpdate>().offset,
                             *reinterpret_cast<const std::int32_t*>(what.as<abi::RsrcUpdate>().data));
        return answer;
    };
    EXPECT_TRUE(io.set_file(FileSlot(1), 5));
    EXPECT_TRUE(io.set_file(FileSlot(0), -7));
    EXPECT_EQ(trace.take(), "register ring1 files-update 1\nregister ring1 files-update 1\n");
    EXPECT_EQ(updates, (std::vector<std::pair<std::uint32_t, std::int32_t>>{{2, 5}, {1, -1}}));
    const auto message = [&io](std::uint32_t slot) { return io.set_file(FileSlot(slot), 5).error().message(); };
    answer = -EBADF;
    EXPECT_EQ(message(1),
              "Io::set_file(slot 1, fd=5): EBADF (Bad file descriptor): not an open file descriptor, or not "
              "open for this");
    trace.take();
    EXPECT_EQ(message(2), "Io::set_file(slot 2, fd=5): EINVAL (Invalid argument): IoOptions::file_slots is 2");
    std::thread([&] {
        EXPECT_EQ(message(1),
                  "Io::set_file(slot 1, fd=5): EEXIST (File exists): this Io belongs to another thread, the "
                  "first that submitted on it");
    }).join();
    EXPECT_EQ(trace.take(), "");
}

// --- Threads -----------------------------------------------------------------------------------------------------------

TEST_F(Drive, AnotherThreadIsTurnedAwayWithoutASystemCall) {
    Io io = bound();
    ASSERT_TRUE(io.nop(1));
    std::thread([&] {
        EXPECT_EQ(io.poll().error().code(), EEXIST);
        EXPECT_EQ(io.park().error().code(), EEXIST);
        EXPECT_EQ(io.park(1s).error().code(), EEXIST);
        EXPECT_EQ(io.park(0s).error().code(), EEXIST);
    }).join();
    EXPECT_EQ(trace.take(), "");
    EXPECT_EQ(io.poll().size(), 1U);
    std::thread([&] {
        EXPECT_EQ(io.poll().code(), io.features().checks ? EEXIST : 0) << "unchecked, there is nothing to do";
        EXPECT_EQ(io.park().error().code(), EEXIST);
        EXPECT_EQ(io.park(1s).error().code(), EEXIST);
        // A number of its own, which no other thread has had: this one's rings are not that one's.
        Io own = make_io({.entries = 1});
        ASSERT_TRUE(own.nop(1));
    }).join();
}

// What has completed is the owner's.
TEST_F(Drive, WithChecksAnotherThreadGetsNoCompletions) {
    Io io = bound({.entries = entries, .checks = true});
    ASSERT_TRUE(io.nop(1));
    kernel.on_enter = [this](const Enter& enter) { return swallow(kernel, enter); };
    EXPECT_TRUE(io.poll().empty());
    kernel.ring().post(1);
    std::thread([&] {
        for (const bool parked : {false, true}) {
            const Completions done = parked ? io.park() : io.poll();
            EXPECT_EQ(done.code(), EEXIST);
            EXPECT_TRUE(done.empty());
        }
    }).join();
    EXPECT_EQ(io.poll().size(), 1U);
}

// --- What would be a bug --------------------------------------------------------------------------------------------

// An Io with something queued, whose every enter fails.
Io failing(UserKernel& kernel, Polling polling, bool checks) {
    kernel.on_enter = [](const Enter&) { return std::optional<long>(-EPERM); };
    Io io = make_io({.entries = 4, .polling = polling, .checks = checks});
    EXPECT_TRUE(io.nop(1));
    return io;
}

TEST(DriveDeathTest, WithChecksAbortsOnAFailureAfterOneThatNobodyLookedAt) {
    constexpr const char* words =
        "poll\\(\\) or park\\(\\) fails again, with errno 1, and nobody has looked at the failure before";
    for (const Polling polling : {Polling::none, Polling::busy}) {
        EXPECT_DEATH(
            {
                UserKernel kernel;
                Io io = failing(kernel, polling, true);
                (void)io.poll();
                (void)io.park();
            },
            words);
        EXPECT_DEATH(
            {
                UserKernel kernel;
                Io io = failing(kernel, polling, true);
                while (io.in_flight() > 0)
                    for (const Completion& done : io.park()) (void)done;
            },
            words);
        EXPECT_DEATH(
            {
                Io io = make_io({.entries = 4, .polling = polling, .checks = true});
                (void)(io.nop(1) && io.park().failed());
                std::thread([&io] {
                    (void)io.poll();
                    (void)io.poll();
                }).join();
            },
            "fails again, with errno 17");
    }
}

TEST(DriveTest, ALookAtEachFailureIsAllThatChecksAskFor) {
    for (const Polling polling : {Polling::none, Polling::busy}) {
        UserKernel kernel;
        Io io = failing(kernel, polling, true);
        for (int i = 0; i < 3; ++i) {
            EXPECT_TRUE(io.poll().failed());
            EXPECT_EQ(io.park().code(), EPERM);
            EXPECT_TRUE(io.park(1s).error());
        }
        // Of one ring at a time, and not of one that is gone.
        Io other = failing(kernel, polling, true);
        (void)io.poll();
        (void)other.poll();
        EXPECT_TRUE(io.poll().failed());
        (void)other.poll();
        other = failing(kernel, polling, true);
        EXPECT_TRUE(other.poll().failed());
        Io unwatched = failing(kernel, polling, false);
        for (int i = 0; i < 3; ++i) (void)unwatched.poll();
    }
}

TEST(DriveDeathTest, AbortsOnAPollWhileCompletionsAreReadAlsoWhenThereIsNoOther) {
    for (const Polling polling : {Polling::none, Polling::busy}) {
        EXPECT_DEATH(
            {
                UserKernel kernel;
                Io io = make_io({.entries = 4, .polling = polling});
                EXPECT_TRUE(io.nop(1));
                const Completions alive = io.poll();
                EXPECT_EQ(alive.size(), 1U);
                (void)io.poll();
            },
            "while an earlier Completions is alive");
    }
}

TEST(DriveDeathTest, AbortsOnMoreCompletionsThanOperations) {
    EXPECT_DEATH(
        {
            UserKernel kernel;
            Io io = make_io({.entries = 4});
            EXPECT_TRUE(io.nop(1));
            kernel.ring().post(1);
            kernel.ring().post(2);
            (void)io.poll();
        },
        "the CQ holds [23] completions and 1 operations are in flight");
}

}  // namespace
}  // namespace squall
