// SPDX-License-Identifier: MIT
//
// What is counted, and what the counts keep from happening: every operation is in flight or completed (I1), and no queue
// ever overflows (I2).
#include <unistd.h>

#include <optional>

#include "invariant_fixture.hpp"
#include "seam.hpp"

namespace squall {
namespace {

using namespace test;

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
        for (int i = 0; i < 2; ++i) {
            const Intercept refused(refuse(test::nr_enter, -code, 1));
            const Completions done = io.poll();  // an SQPOLL thread that is awake needs no enter
            EXPECT_TRUE(!done.failed() || done.code() == code);
            seen += done.size();
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
    for (Token token = 0; token < 8; ++token) {
        EXPECT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, token)) << token;
        submit_all(io);
    }
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
    Io io = make(4);
    std::uint32_t* first = nullptr;
    for_each_ring([&first](const RingWords& ring) { first = first ? first : ring.sq_flags; });
    const detail::SharedWord flags(*first);  // an SQPOLL thread has flags of its own there
    const auto flagged = [&flags] { return (flags.load(std::memory_order_relaxed) & abi::sq_cq_overflow) != 0; };
    const Intercept watch([&](Call& call) -> std::optional<long> {
        if (call.number == test::nr_enter && flagged()) {
            EXPECT_NE(call.args[3] & abi::enter_getevents, 0U) << "only GETEVENTS flushes";
            flags.fetch_and(~abi::sq_cq_overflow, std::memory_order_relaxed);
        }
        return std::nullopt;
    });
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    EXPECT_TRUE(io.poll().empty());
    flags.fetch_or(abi::sq_cq_overflow, std::memory_order_relaxed);
    EXPECT_TRUE(io.poll().empty());
    EXPECT_FALSE(flagged());
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    drain(io);
    EXPECT_EQ(io.counters().overflow_flushes, 1U);
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

}  // namespace
}  // namespace squall
