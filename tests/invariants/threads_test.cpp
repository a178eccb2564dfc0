// SPDX-License-Identifier: MIT
//
// Which threads may use an Io (I8): made anywhere, it belongs to the thread of its first submission, and another is told.
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>

#include "invariant_fixture.hpp"
#include "seam.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

// All but Mode::plain, which is no thread's.
constexpr Kind owned_kinds[] = {
    {Mode::deferred}, {Mode::sqpoll}, {Mode::deferred, Polling::busy}, {Mode::sqpoll, Polling::busy}};

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

// What it queues there is an operation like any other, which only the owner can submit.
TEST(Invariant, I8_ASecondThreadIsToldByPollAndParkWhichSubmitNothing) {
    for (const Kind kind : owned_kinds) {
        Io io = make_io(kind, {.entries = 8, .checks = false});
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

TEST(Invariant, I8_WithChecksASecondThreadIsRefusedAtTheCall) {
    for (const Kind kind : owned_kinds) {
        const Pipe pipe;
        BufferArena arena = make_arena({.count = 1});
        Io io = make_io(kind, {.entries = 8, .arena = &arena, .file_slots = 2, .checks = true});
        EXPECT_TRUE(io.features().checks);
        ASSERT_TRUE(io.set_file(FileSlot(0), pipe.read_end));
        ASSERT_TRUE(io.nop(1));
        drain(io);
        ASSERT_TRUE(io.nop(2)) << "the owner's, in flight meanwhile";
        const Counters before = io.counters();
        std::thread([&] {
            std::array<std::byte, 8> bytes{};
            struct ::statx out {};
            const FixedBuffer lease = *arena.acquire();
            const FileSlot slot(0);
            EXPECT_FALSE(io.nop(50));
            EXPECT_FALSE(io.open("/dev/null", {}, 50));
            EXPECT_FALSE(io.open("/dev/null", {}, slot, 50));
            for (const std::span<std::byte> memory : {std::span<std::byte>(bytes), lease.bytes()}) {
                EXPECT_FALSE(io.read(pipe.read_end, memory, 0, 50));
                EXPECT_FALSE(io.read(slot, memory, 0, 50));
                EXPECT_FALSE(io.write(pipe.write_end, memory, 0, 50));
                EXPECT_FALSE(io.write(slot, memory, 0, 50));
            }
            EXPECT_FALSE(io.fsync(pipe.read_end, 50));
            EXPECT_FALSE(io.fsync(slot, 50));
            EXPECT_FALSE(io.fdatasync(pipe.read_end, 50));
            EXPECT_FALSE(io.fdatasync(slot, 50));
            EXPECT_FALSE(io.statx(pipe.read_end, out, 50));
            EXPECT_FALSE(io.statx("/dev/null", out, 50));
            EXPECT_FALSE(io.rename("nothing", "nowhere", 50));
            EXPECT_FALSE(io.unlink("nothing", 50));
            EXPECT_FALSE(io.close(pipe.read_end, 50));
            EXPECT_FALSE(io.close(slot, 50));
            EXPECT_EQ(io.poll().code(), EEXIST);
            EXPECT_EQ(io.park().code(), EEXIST);
            EXPECT_EQ(io.park(1ns).code(), EEXIST);
            EXPECT_FALSE(io.withdraw());
        }).join();
        EXPECT_EQ(std::memcmp(&before, &io.counters(), sizeof(before)), 0) << "nothing was taken, nothing counted";
        const auto done = drain(io);
        ASSERT_EQ(done.size(), 1U);
        EXPECT_EQ(done[0].token, 2U);
        EXPECT_EQ(result_of(io, io.nop(3)), 0);
    }
}

TEST_P(InvariantTest, I8_ChecksTakeNothingFromTheOwner) {
    Io io = make_io(GetParam(), {.entries = 4, .completion_entries = 8, .checks = true});
    // Queued by one thread and submitted by another, before the ring is anybody's.
    ASSERT_TRUE(io.nop(0));
    std::thread([&io] {
        std::set<Token> seen;
        Token next = 1;
        while (seen.size() < 1000) {
            while (next < 1000 && io.nop(next)) ++next;
            const Completions done = io.park();
            ASSERT_FALSE(done.failed()) << done.error().message();
            for (const Completion& each : done) EXPECT_TRUE(seen.insert(each.token).second);
        }
        EXPECT_EQ(*seen.rbegin(), 999U);
        expect_conserved(io);
    }).join();
}

TEST(Invariant, I8_ChecksAreOnWhereNothingWasOptimisedUnlessTheyAreToldNot) {
    EXPECT_TRUE(make_io({.checks = true}).features().checks);
    EXPECT_FALSE(make_io({.checks = false}).features().checks);
#ifdef __OPTIMIZE__
    EXPECT_FALSE(make_io().features().checks);
#else
    EXPECT_TRUE(make_io().features().checks);
#endif
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
    Io io = make_io({.entries = 8, .checks = false});
    EXPECT_FALSE(io.features().single_issuer);
    ASSERT_TRUE(io.nop(1));
    drain(io);
    std::thread([&io] {
        ASSERT_TRUE(io.nop(2));
        EXPECT_EQ(io.poll().error().code(), EEXIST);
    }).join();
    EXPECT_EQ(drain(io).size(), 1U);
}

}  // namespace
}  // namespace squall
