// SPDX-License-Identifier: MIT
//
// The invariants that everything else rests on, I1 to I10, each by its name. I3, the clean exit, has a file of its own,
// exit_test.cpp; under load and signals they are met again in stress_test.cpp.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "child.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

void expect_conserved(const Io& io) { EXPECT_EQ(io.counters().submitted, io.counters().completed + io.in_flight()); }

class InvariantTest : public testing::TestWithParam<Kind> {
protected:
    Io make(std::uint32_t entries, std::uint32_t completion_entries = 0) {
        return make_io(GetParam(), {.entries = entries, .completion_entries = completion_entries});
    }
    // An SQPOLL thread consumes when it gets round to it; elsewhere a poll() has submitted when it returns.
    static void submit_all(Io& io) {
        (void)io.poll();
        if (io.features().mode == Mode::sqpoll) std::this_thread::sleep_for(20ms);
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, InvariantTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// --- I1 -------------------------------------------------------------------------------------------------------------

TEST_P(InvariantTest, I1_SubmittedIsCompletedPlusInFlightInEveryState) {
    Io io = make(8);
    expect_conserved(io);
    for (Token token = 0; token < 8; ++token) {
        ASSERT_TRUE(io.nop(token));
        expect_conserved(io);
        EXPECT_EQ(io.in_flight(), token + 1);
    }
    EXPECT_EQ(io.counters().submitted, 8U);
    submit_all(io);
    expect_conserved(io);
    drain(io);
    expect_conserved(io);
    EXPECT_EQ(io.in_flight(), 0U);
    EXPECT_EQ(io.counters().completed, 8U);
}

TEST_P(InvariantTest, I1_HoldsAfterEveryErrnoOfEnter) {
    for (int code = 1; code < 134; ++code) {
        Io io = make(8);
        ASSERT_TRUE(io.nop(1));
        std::size_t seen = 0;
        {
            const Intercept refused(refuse(test::nr_enter, -code, 2));
            seen += io.poll().size();  // an SQPOLL thread that is awake needs no enter
            expect_conserved(io);
            seen += io.poll().size();
            expect_conserved(io);
        }
        ASSERT_TRUE(io.nop(2));
        seen += drain(io).size();
        EXPECT_EQ(seen, 2U) << "errno " << code;
        expect_conserved(io);
    }
}

TEST_P(InvariantTest, I1_ADroppedRangeCountsAsDelivered) {
    Io io = make(8);
    for (Token token = 0; token < 5; ++token) ASSERT_TRUE(io.nop(token));
    while (io.in_flight() > 0) (void)io.park();
    EXPECT_EQ(io.counters().completed, 5U);
}

// --- I2 -------------------------------------------------------------------------------------------------------------

TEST_P(InvariantTest, I2_SaysFalseBeforeTheCompletionQueueCouldOverflow) {
    Io io = make(4, 8);
    ASSERT_EQ(io.features().cq_entries, 8U);
    const Pipe pipe;
    std::byte byte{};
    unsigned taken = 0;
    for (int round = 0; round < 100; ++round) {
        if (io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, taken)) ++taken;
        submit_all(io);
        if (taken == 8) break;
    }
    EXPECT_EQ(taken, 8U);
    const std::uint64_t full = io.counters().queue_full;
    EXPECT_FALSE(io.nop(99));
    EXPECT_EQ(io.counters().queue_full, full + 1);
    expect_conserved(io);
    ASSERT_EQ(::write(pipe.write_end, "12345678", 8), 8);
    EXPECT_EQ(drain(io).size(), 8U);
    EXPECT_TRUE(io.nop(1));
    drain(io);
    EXPECT_EQ(io.counters().overflow_flushes, 0U);
}

TEST_P(InvariantTest, I2_CountsCompletionsThatAreStillBeingRead) {
    Io io = make(4, 4);
    for (Token token = 0; token < 4; ++token) ASSERT_TRUE(io.nop(token));
    submit_all(io);
    std::size_t taken = 0;
    {
        const Completions held = io.park();
        while (held.size() + taken < 8 && io.nop(9)) ++taken;
        EXPECT_LE(held.size() + taken, 4U) << "completions would be written over those being read";
    }
    drain(io);
    EXPECT_EQ(io.counters().overflow_flushes, 0U);
}

TEST_P(InvariantTest, I2_SaysFalseExactlyWhenTheSubmissionQueueIsFullAtEverySize) {
    const std::uint32_t step = GetParam().mode == Mode::deferred && GetParam().polling == Polling::none
                                   ? 1
                                   : 61;  // each size makes a ring: one mode tries them all
    for (std::uint32_t entries = 1; entries <= 4096; entries += entries < 70 ? 1 : step) {
        Io io = make(entries);
        const std::uint32_t room = io.features().sq_entries;
        ASSERT_GE(room, entries);
        ASSERT_LT(room, 2 * entries);
        for (std::uint32_t i = 0; i < room; ++i) ASSERT_TRUE(io.nop(i)) << i << " of " << room;
        ASSERT_FALSE(io.nop(room));
        ASSERT_EQ(io.in_flight(), room);
        std::uint64_t sum = 0;
        for (const Completion& completion : drain(io)) sum += completion.token;
        ASSERT_EQ(sum, std::uint64_t{room} * (room - 1) / 2);
    }
}

// Of two rings it is the one that takes what cannot be polled.
TEST_P(InvariantTest, I2_FlushesAnOverflowThatIsFlagged) {
    abi::Params params{};
    char* sq_ring = nullptr;
    std::uint32_t* flags = nullptr;
    const Intercept watch([&](Call& call) -> std::optional<long> {
        if (call.number == test::nr_setup && !sq_ring) {
            const long fd = real(call);
            if (fd >= 0) params = *reinterpret_cast<abi::Params*>(call.args[1]);
            return fd;
        }
        if (call.number == SYS_mmap && call.args[5] == abi::off_sq_ring && static_cast<int>(call.args[4]) >= 0 &&
            !sq_ring) {
            const long at = real(call);
            sq_ring = reinterpret_cast<char*>(at);
            return at;
        }
        if (call.number == test::nr_enter && flags && (*flags & abi::sq_cq_overflow) != 0) {
            EXPECT_NE(call.args[3] & abi::enter_getevents, 0U) << "only GETEVENTS flushes";
            *flags &= ~abi::sq_cq_overflow;
        }
        return std::nullopt;
    });
    Io io = make(4);
    flags = reinterpret_cast<std::uint32_t*>(sq_ring + params.sq_off.flags);
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    EXPECT_TRUE(io.poll().empty());
    *flags |= abi::sq_cq_overflow;
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(*flags & abi::sq_cq_overflow, 0U);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    drain(io);
    EXPECT_EQ(io.counters().overflow_flushes, 1U);
}

// --- I4 -------------------------------------------------------------------------------------------------------------

TEST_P(InvariantTest, I4_AllocatesNothingAfterCreate) {
    const TempDir dir;
    BufferArena arena = make_arena({.count = 4});
    Io io = make_io(GetParam(), {.entries = 16, .arena = &arena});
    const std::string from = dir.file("a");
    const std::string to = dir.file("b");
    const int fd = ::open(from.c_str(), O_RDWR | O_CREAT, 0600);
    ASSERT_GE(fd, 0);
    struct ::statx found;
    const auto everything = [&] {
        FixedBuffer buffer = *arena.acquire();
        std::array<std::byte, 512> stack{};
        io.write(fd, buffer.bytes(), 0, 1);
        io.read(fd, buffer.bytes(), 0, 2);
        io.read(fd, stack, 0, 3);
        io.fsync(fd, 4);
        io.fdatasync(fd, 5);
        io.statx(fd, found, 6);
        io.statx(from.c_str(), found, 7);
        io.open(from.c_str(), {.read = true}, 8);
        io.nop(9);
        for (int done = 0; io.in_flight() > 0; ++done) {
            for (const Completion& completion : done % 2 == 0 ? io.park() : io.park(1s))
                if (completion.token == 8) ::close(completion.res);
            (void)io.poll();
        }
        io.rename(from.c_str(), to.c_str(), 10);
        (void)io.park();
        io.rename(to.c_str(), from.c_str(), 11);
        while (io.in_flight() > 0) (void)io.park();
        io.unlink(to.c_str(), 12);
        while (io.in_flight() > 0) (void)io.park();
        while (io.nop(13)) {
        }
        while (io.in_flight() > 0) (void)io.park();
    };
    const std::uint64_t before = allocations_made();
    for (int i = 0; i < 10; ++i) everything();
    EXPECT_EQ(allocations_made(), before);
    io.close(fd, 14);
    drain(io);
}

// --- I5 -------------------------------------------------------------------------------------------------------------

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
    const std::uint64_t calls = calls_made();
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(calls_made(), calls);
}

TEST(Invariant, I5_ParkingOnWhatHasCompletedMakesNoSystemCall) {
    Io io = make_io({.entries = 8, .mode = Mode::sqpoll, .sqpoll_idle = 2s});
    bool without_a_call = false;
    for (int tries = 0; !without_a_call && tries < 50; ++tries) {
        ASSERT_TRUE(io.nop(1));
        drain(io);
        ASSERT_TRUE(io.nop(2));
        EXPECT_TRUE(io.nop(3));
        std::size_t got = io.poll().size();
        std::this_thread::sleep_for(20ms);  // on a busy machine its thread may not have completed them by then
        const std::uint64_t calls = calls_made();
        got += io.park().size();
        without_a_call = got == 2 && calls_made() == calls;
        EXPECT_EQ(got + drain(io).size(), 2U);
    }
    EXPECT_TRUE(without_a_call);
    const std::uint64_t calls = calls_made();
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
    const auto deadline = io.now() + 10s;
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
    const auto deadline = io.now() + 10s;
    for (int polls = 0; !seen && io.now() < deadline; ++polls) {
        (void)io.nop(1);
        for (const Completion& completion : io.poll()) seen = seen || completion.token == 77;
        ASSERT_TRUE(polls < 10'000 || !io.features().taskrun_flag) << "task work is flagged and not run";
    }
    EXPECT_TRUE(seen);
    drain(io);
}

TEST(Invariant, I5_AnAwakeSqpollThreadNeedsNoSystemCall) {
    Io io = make_io({.entries = 64, .mode = Mode::sqpoll, .sqpoll_idle = 2s});
    ASSERT_TRUE(io.nop(0));
    drain(io);
    const std::uint64_t calls = calls_made();
    for (int i = 0; i < 100; ++i) {
        for (Token token = 0; token < 16; ++token) ASSERT_TRUE(io.nop(token));
        while (io.in_flight() > 0) (void)io.poll();
    }
    EXPECT_EQ(calls_made(), calls);
    EXPECT_LE(io.counters().sqpoll_wakeups, 1U);
}

TEST(Invariant, I5_ASleepingSqpollThreadIsWokenWithOneSystemCall) {
    Io io = make_io({.entries = 8, .mode = Mode::sqpoll, .sqpoll_idle = 1ms});
    ASSERT_TRUE(io.nop(0));
    drain(io);
    std::uint64_t woken = 0;
    for (int tries = 0; woken == 0 && tries < 50; ++tries) {
        std::this_thread::sleep_for(20ms);  // on a busy machine its thread may be about to sleep still
        const std::uint64_t wakeups = io.counters().sqpoll_wakeups;
        const std::uint64_t calls = calls_made();
        ASSERT_TRUE(io.nop(1));
        const auto deadline = io.now() + 10s;
        std::size_t got = 0;
        while (got == 0 && io.now() < deadline) got = io.poll().size();
        EXPECT_EQ(got, 1U);
        woken = io.counters().sqpoll_wakeups - wakeups;
        EXPECT_LE(woken, 1U);
        EXPECT_EQ(calls_made(), calls + woken);
    }
    EXPECT_EQ(woken, 1U);
}

// --- I6 -------------------------------------------------------------------------------------------------------------

TEST_P(InvariantTest, I6_APathMayChangeAsSoonAsTheCallReturned) {
    const TempDir dir;
    Io io = make(64);
    for (int round = 0; round < 20; ++round) {
        std::string path = dir.file("f00");
        const std::string pristine = path;
        for (int i = 0; i < 64; ++i) {
            path = pristine;
            path[path.size() - 2] = static_cast<char>('0' + i / 8);
            path[path.size() - 1] = static_cast<char>('0' + i % 8);
            ASSERT_TRUE(io.open(path.c_str(), {.write = true, .create = true}, 1));
            std::fill(path.begin(), path.end(), '!');
        }
        for (const Completion& completion : drain(io)) {
            ASSERT_GE(completion.res, 0);
            ::close(completion.res);
        }
        ASSERT_EQ(io.list_dir(dir.path().c_str())->size(), 64U);
        for (int i = 0; i < 64; ++i) {
            path = pristine;
            path[path.size() - 2] = static_cast<char>('0' + i / 8);
            path[path.size() - 1] = static_cast<char>('0' + i % 8);
            std::string other = path + "x";
            ASSERT_TRUE(i % 2 == 0 ? io.unlink(path.c_str(), 2) : io.rename(path.c_str(), other.c_str(), 3));
            std::fill(path.begin(), path.end(), '!');
            std::fill(other.begin(), other.end(), '?');
        }
        for (const Completion& completion : drain(io)) ASSERT_EQ(completion.res, 0);
        ASSERT_EQ(io.list_dir(dir.path().c_str())->size(), 32U);
        for (const std::string& name : *io.list_dir(dir.path().c_str())) {
            EXPECT_EQ(name.back(), 'x');
            ::unlink(dir.file(name).c_str());
        }
    }
}

// --- I7 -------------------------------------------------------------------------------------------------------------

TEST_P(InvariantTest, I7_ATransferTouchesExactlyTheBytesItWasGiven) {
    const TempDir dir;
    std::vector<std::byte> content(4096);
    fill_pattern(content, 0);
    write_file(dir.file("f"), content);
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY));
    BufferArena arena = make_arena({.buffer_size = 4096, .count = 2});
    Io io = make_io(GetParam(), {.entries = 4, .arena = &arena});
    FixedBuffer lease = *arena.acquire();
    std::vector<std::byte> heap(4096);
    for (const std::span<std::byte> memory : {lease.bytes(), std::span<std::byte>(heap)}) {
        std::memset(memory.data(), 0xee, memory.size());
        EXPECT_EQ(result_of(io, io.read(file, memory.subspan(100, 50), 200, 1)), 50);
        EXPECT_EQ(find_wrong(memory.subspan(100, 50), 200), -1);
        for (std::size_t i = 0; i < memory.size(); ++i)
            ASSERT_TRUE((i >= 100 && i < 150) || memory[i] == std::byte{0xee}) << i;
    }
}

// --- I8 -------------------------------------------------------------------------------------------------------------

TEST_P(InvariantTest, I8_MayBeCreatedOnOneThreadAndUsedOnAnother) {
    Io io = make(8);
    std::thread([&io] {
        for (Token token = 0; token < 5; ++token) ASSERT_TRUE(io.nop(token));
        EXPECT_EQ(drain(io).size(), 5U);
        const Io finished = std::move(io);
    }).join();
}

TEST_P(InvariantTest, I8_ParkingWithNothingSubmittedBindsToNoThread) {
    Io io = make(8);
    EXPECT_TRUE(io.park().empty());
    const auto before = io.now();
    EXPECT_TRUE(io.park(10ms).empty());
    EXPECT_GE(io.now() - before, 10ms);
    EXPECT_TRUE(io.poll().empty());
    std::thread([&io] { EXPECT_EQ(result_of(io, io.nop(1)), 0); }).join();
}

TEST(Invariant, I8_ASecondThreadIsToldAndHarmsNothing) {
    for (const Mode mode : {Mode::deferred, Mode::sqpoll}) {
        Io io = make_io(mode, {.entries = 8});
        ASSERT_TRUE(io.nop(1));
        drain(io);
        std::thread([&io] {
            // A ring of this thread's own, so that a registered ring's index would mean something here too.
            Io other = make_io({.entries = 8});
            ASSERT_TRUE(other.nop(50));
            drain(other);
            ASSERT_TRUE(io.nop(2));
            for (const bool parked : {false, true}) {
                const Completions done = parked ? io.park() : io.poll();
                EXPECT_TRUE(done.empty());
                EXPECT_EQ(done.error().code(), EEXIST);
                EXPECT_NE(done.error().message().find("belongs to another thread"), std::string::npos);
            }
            expect_conserved(io);
            EXPECT_EQ(other.in_flight(), 0U);
        }).join();
        const auto done = drain(io);
        ASSERT_EQ(done.size(), 1U);
        EXPECT_EQ(done[0].token, 2U);
    }
}

TEST(Invariant, I8_ASecondThreadIsToldAlsoWithNothingInFlight) {
    Io io = make_io({.entries = 8});
    ASSERT_TRUE(io.nop(1));
    drain(io);
    std::thread([&io] {
        EXPECT_EQ(io.park().error().code(), EEXIST);
        EXPECT_EQ(io.park(1ms).error().code(), EEXIST);
    }).join();
}

TEST(Invariant, I8_APlainRingMayGoFromThreadToThread) {
    Io io = make_io({.entries = 8, .mode = Mode::plain});
    for (Token token = 0; token < 10; ++token) {
        std::thread([&io, token] {
            ASSERT_TRUE(io.nop(token));
            const auto done = drain(io);
            ASSERT_EQ(done.size(), 1U);
            EXPECT_EQ(done[0].token, token);
        }).join();
    }
}

TEST(Invariant, I8_RefusesASecondThreadOnAKernelThatDoesNotCheck) {
    const Intercept before_6_0([](Call& call) -> std::optional<long> {
        if (call.number != test::nr_setup) return std::nullopt;
        const auto flags = reinterpret_cast<abi::Params*>(call.args[1])->flags;
        return (flags & (abi::setup_single_issuer | abi::setup_no_sqarray)) != 0 ? std::optional<long>(-EINVAL)
                                                                                 : std::nullopt;
    });
    Io io = make_io({.entries = 8});
    EXPECT_FALSE(io.features().single_issuer);
    ASSERT_TRUE(io.nop(1));
    drain(io);
    std::thread([&io] {
        ASSERT_TRUE(io.nop(2));
        EXPECT_EQ(io.poll().error().code(), EEXIST);
    }).join();
    EXPECT_EQ(drain(io).size(), 1U);
}

// --- I9 -------------------------------------------------------------------------------------------------------------

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
    const auto before = io.now();
    EXPECT_TRUE(io.park(100ms).empty());
    const auto took = io.now() - before;
    ::setitimer(ITIMER_REAL, &never, nullptr);
    EXPECT_GE(took, 100ms);
    EXPECT_LT(took, 20s);
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
    const auto deadline = io.now() + 10s;
    while (got == 0 && io.now() < deadline) got = io.park(0ns).size();
    EXPECT_EQ(got, 1U);
}

TEST_P(InvariantTest, I3_AWakeUpThatWasRefusedDoesNotHoldUpTheEnd) {
    std::optional<Io> io = make_io(GetParam(), {.entries = 8, .sqpoll_idle = 1ms});
    ASSERT_TRUE(io->nop(0));
    drain(*io);
    std::this_thread::sleep_for(50ms);
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
    // On a busy machine an SQPOLL thread may not sleep yet, and then needs no wake-up that could be refused.
    bool was_refused = false;
    for (int tries = 0; !was_refused && tries < 50; ++tries) {
        std::this_thread::sleep_for(20ms);
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

// --- I10 ------------------------------------------------------------------------------------------------------------

TEST_P(InvariantTest, I10_AChildOfForkIsToldAndTheParentGoesOn) {
    BufferArena arena = make_arena({.count = 4});
    std::optional<Io> io = make_io(GetParam(), {.entries = 8, .arena = &arena});
    ASSERT_TRUE(io->nop(1));
    drain(*io);
    ASSERT_TRUE(io->nop(2));
    in_child_alone([&] {
        std::byte byte{};
        EXPECT_FALSE(io->nop(3));
        EXPECT_FALSE(io->read(0, {&byte, 1}, 0, 3));
        EXPECT_FALSE(io->open("/", {}, 3));
        EXPECT_FALSE(io->rename("a", "b", 3));
        struct ::statx out {};
        EXPECT_FALSE(io->statx("/", out, 3));
        EXPECT_EQ(io->in_flight(), 0U);
        expect_conserved(*io);
        EXPECT_EQ(io->poll().error().code(), ESTALE);
        EXPECT_EQ(io->park().error().code(), ESTALE);
        EXPECT_EQ(io->park(1ms).error().code(), ESTALE);
        EXPECT_NE(io->poll().error().message().find("fork"), std::string::npos);
        io.reset();
        Io own = make_io(GetParam(), {.entries = 8});
        EXPECT_EQ(result_of(own, own.nop(4)), 0);
    });
    const auto done = drain(*io);
    ASSERT_EQ(done.size(), 1U);
    EXPECT_EQ(done[0].token, 2U);
    EXPECT_EQ(result_of(*io, io->nop(5)), 0);
}

TEST_P(InvariantTest, I10_AChildOfForkMayLeaveALoopOverCompletions) {
    Io io = make(8);
    for (Token token = 0; token < 3; ++token) ASSERT_TRUE(io.nop(token));
    submit_all(io);
    {
        Completions done = io.park();
        in_child_alone([&] { const Completions gone = std::move(done); });
    }
    drain(io);
    EXPECT_EQ(result_of(io, io.nop(5)), 0);
}

TEST(InvariantDeathTest, PollingOrParkingWhileCompletionsAreAliveAborts) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto twice = [](bool park) {
        Io io = make_io({.entries = 8});
        EXPECT_TRUE(io.nop(1));
        const Completions alive = io.poll();
        EXPECT_TRUE(io.nop(2));
        (void)(park ? io.park() : io.poll());
    };
    EXPECT_DEATH(twice(false), "while an earlier Completions is alive");
    EXPECT_DEATH(twice(true), "while an earlier Completions is alive");
    EXPECT_DEATH(
        {
            Io io = make_io({.entries = 8});
            const Pipe pipe;
            std::byte byte{};
            EXPECT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
            EXPECT_TRUE(io.nop(1));
            const Completions alive = io.park();
            (void)io.park();
        },
        "while an earlier Completions is alive");
}

TEST(Invariant, I10_AChildOfForkHasNoArena) {
    std::optional<BufferArena> arena = make_arena({.count = 4});
    std::optional<FixedBuffer> lease = arena->acquire();
    const auto* const address = lease->data();
    in_child_alone([&] {
        EXPECT_FALSE(arena->acquire());
        EXPECT_FALSE(arena->contains({address, 1}));
        unsigned char resident = 0;
        EXPECT_EQ(::mincore(const_cast<std::byte*>(address), 4096, &resident), -1) << "it is mapped";
        lease.reset();
        EXPECT_FALSE(arena->acquire());
        arena.reset();
    });
    lease.reset();
    EXPECT_TRUE(arena->acquire());
}

TEST(Invariant, I10_AChildsExitDoesNotUnmapItsOwnMemory) {
    std::optional<Io> io = make_io({.entries = 64});
    in_child_alone([&] {
        // Likely to land in the holes that the ring's mappings left.
        std::vector<void*> maps;
        for (int i = 0; i < 200; ++i) {
            void* const at = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            std::memset(at, i, 8192);
            maps.push_back(at);
        }
        io.reset();
        for (int i = 0; i < 200; ++i) EXPECT_EQ(*static_cast<unsigned char*>(maps[static_cast<std::size_t>(i)]), i);
    });
}

}  // namespace
}  // namespace squall
