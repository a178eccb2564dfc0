// SPDX-License-Identifier: MIT
//
// An enter that is interrupted, refused or cut short loses nothing and repeats nothing (I9), and does not hold up the end
// (I3).
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <vector>

#include "invariant_fixture.hpp"
#include "seam.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

TEST_P(InvariantTest, I9_AnInterruptedOrRefusedEnterLosesAndRepeatsNothing) {
    for (const int code : {EINTR, EAGAIN, EBUSY}) {
        for (const bool parked : {false, true}) {
            Io io = make(16);
            for (Token token = 0; token < 16; ++token) ASSERT_TRUE(io.nop(token));
            std::vector<unsigned> seen(16);
            {
                const Intercept interrupted(refuse(test::nr_enter, -code, 3));
                for (int i = 0; i < 3; ++i) {
                    const Completions done = parked && code == EINTR ? io.park() : io.poll();
                    EXPECT_FALSE(done.error()) << done.error().message();
                    for (const Completion& completion : done) ++seen[completion.token];
                    if (io.in_flight() == 0) break;
                }
            }
            for (const Completion& completion : drain(io)) ++seen[completion.token];
            EXPECT_EQ(seen, std::vector<unsigned>(16, 1U)) << std::strerror(code);
            EXPECT_TRUE(io.counters().retries > 0 || GetParam() == Mode::sqpoll);
        }
    }
}

TEST(Invariant, I9_AShortSubmitLeavesTheRestQueued) {
    for (const unsigned at_most : {1U, 3U, 15U}) {
        Io io = make_io({.entries = 16});
        ASSERT_TRUE(io.nop(0));
        drain(io);
        const Intercept short_submit([at_most](Call& call) -> std::optional<long> {
            if (call.number == test::nr_enter && call.args[1] > at_most) call.args[1] = at_most;
            return std::nullopt;
        });
        for (Token token = 0; token < 16; ++token) ASSERT_TRUE(io.nop(token));
        EXPECT_EQ(io.poll().size(), at_most);
        EXPECT_EQ(io.in_flight(), 16 - at_most);
        EXPECT_TRUE(io.nop(16)) << "the slots of those that were consumed are free again";
        std::vector<unsigned> seen(17);
        for (const Completion& completion : drain(io)) ++seen[completion.token];
        for (unsigned token = at_most; token < 17; ++token) EXPECT_EQ(seen[token], 1U) << token;
    }
}

TEST(Invariant, I9_ParkingWithoutMemoryWaitsForWhatIsInFlight) {
    Io io = make_io({.entries = 4});
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    (void)io.poll();
    ASSERT_TRUE(io.nop(2));
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    const Intercept no_memory([](Call& call) -> std::optional<long> {
        return call.number == test::nr_enter && call.args[1] > 0 ? std::optional<long>(-EAGAIN) : std::nullopt;
    });
    const Completions done = io.park();
    ASSERT_EQ(done.size(), 1U);
    EXPECT_EQ(done.begin()->token, 1U);
    EXPECT_FALSE(done.error());
}

TEST(Invariant, I9_ParkingWithoutMemoryAndNothingInFlightSaysSo) {
    Io io = make_io({.entries = 4});
    ASSERT_TRUE(io.nop(2));
    {
        const Intercept no_memory(refuse(test::nr_enter, -EAGAIN));
        const Completions done = io.park();
        EXPECT_EQ(done.error().code(), EAGAIN);
        EXPECT_EQ(io.in_flight(), 1U);
    }
    EXPECT_EQ(drain(io).size(), 1U);
}

TEST_P(InvariantTest, I9_AParkGoesOnAfterASignalAndKeepsItsTimeout) {
    struct ::sigaction action {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGALRM, &action, nullptr);
    const ::itimerval often{{0, 5000}, {0, 5000}};
    const ::itimerval never{};
    Io io = make(4);
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    ::setitimer(ITIMER_REAL, &often, nullptr);
    // Again until a signal has come into a wait: on a busy machine a park may find its time over before it waits.
    for (int tries = 0; io.counters().retries == 0 && tries < 600; ++tries) {
        const auto before = io.now();
        EXPECT_TRUE(io.park(100ms).empty());
        EXPECT_GE(io.now() - before, 100ms);
    }
    ::setitimer(ITIMER_REAL, &never, nullptr);
    EXPECT_GE(io.counters().retries, 1U);
}

// Where enabling takes long, a signal would make the kernel begin again.
TEST_P(InvariantTest, I9_SignalsWaitWhileAnOldKernelEnablesTheRing) {
    const auto is_blocked = [](int signal) {
        ::sigset_t blocked;
        return ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked) == 0 && ::sigismember(&blocked, signal) == 1;
    };
    ::sigset_t usr2;
    ::sigemptyset(&usr2);
    ::sigaddset(&usr2, SIGUSR2);
    ::pthread_sigmask(SIG_BLOCK, &usr2, nullptr);
    int enabled = 0;
    const Intercept old([&](Call& call) -> std::optional<long> {
        if (call.number == test::nr_register && call.args[1] == abi::register_enable_rings) {
            ++enabled;
            EXPECT_TRUE(is_blocked(SIGALRM));
        }
        if (call.number != test::nr_setup) return std::nullopt;
        const long fd = real(call);
        reinterpret_cast<abi::Params*>(call.args[1])->features &= ~abi::feat_linked_file;
        return fd;
    });
    Io io = make(4);
    EXPECT_EQ(result_of(io, io.nop(1)), 0);
    EXPECT_GE(enabled, 1);
    EXPECT_FALSE(is_blocked(SIGALRM));
    EXPECT_TRUE(is_blocked(SIGUSR2)) << "as it was before";
    ::pthread_sigmask(SIG_UNBLOCK, &usr2, nullptr);
}

TEST_P(InvariantTest, I9_ATimeoutIsNoError) {
    Io io = make(4);
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    const Completions done = io.park(20ms);
    EXPECT_TRUE(done.empty());
    EXPECT_FALSE(done.error()) << done.error().message();
}

TEST_P(InvariantTest, I9_AParkOfNoTimeSubmits) {
    Io io = make(4);
    ASSERT_TRUE(io.nop(1));
    std::size_t got = 0;
    const auto deadline = io.now() + 60s;
    while (got == 0 && io.now() < deadline) got = io.park(0ns).size();
    EXPECT_EQ(got, 1U);
}

TEST_P(InvariantTest, I3_AWakeUpThatWasRefusedDoesNotHoldUpTheEnd) {
    std::optional<Io> io = make_io(GetParam(), {.entries = 8, .sqpoll_idle = 1ms});
    ASSERT_TRUE(io->nop(0));
    drain(*io);
    until_asleep();
    {
        const Intercept filtered(refuse(test::nr_enter, -EPERM));
        ASSERT_TRUE(io->nop(1));
        (void)io->poll();
    }
    io.reset();
}

TEST_P(InvariantTest, I9_AWakeUpThatWasRefusedIsMadeUpFor) {
    Io io = make_io(GetParam(), {.entries = 8, .sqpoll_idle = 1ms});
    ASSERT_TRUE(io.nop(0));
    drain(io);
    // An SQPOLL thread of a process that is stopped at this moment is awake, and needs no wake-up that could be refused.
    bool was_refused = false;
    for (int tries = 0; !was_refused && tries < 1000; ++tries) {
        until_asleep();
        std::size_t got = 0;
        {
            const Intercept filtered(refuse(test::nr_enter, -EPERM));
            ASSERT_TRUE(io.nop(1));
            const Completions done = io.poll();
            was_refused = done.error().code() == EPERM;
            got = done.size();
            EXPECT_TRUE(was_refused ? done.empty() : !done.error() && io.features().mode == Mode::sqpoll);
        }
        for (const Completion& done : drain(io)) {
            EXPECT_EQ(done.token, 1U);
            ++got;
        }
        EXPECT_EQ(got, 1U);
    }
    EXPECT_TRUE(was_refused);
}

}  // namespace
}  // namespace squall
