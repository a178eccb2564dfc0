// SPDX-License-Identifier: MIT
//
// Which threads may use an Io (I8): made anywhere, it belongs to the thread of its first submission, and another is told.
#include <cerrno>
#include <optional>
#include <string>
#include <thread>

#include "invariant_fixture.hpp"
#include "seam.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

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

}  // namespace
}  // namespace squall
