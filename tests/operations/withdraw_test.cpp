// SPDX-License-Identifier: MIT
//
// Taking back what is queued and not yet the kernel's: which operations come back, in which order, that none of them is
// done, and that the ring goes on as if they had never been queued. What two rings make of it is polled_test.cpp's.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "child.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

std::vector<Token> withdraw_all(Io& io) {
    std::vector<Token> tokens;
    while (const auto token = io.withdraw()) tokens.push_back(*token);
    return tokens;
}

class WithdrawTest : public testing::TestWithParam<Kind> {
protected:
    static void expect_conserved(const Io& io) {
        EXPECT_EQ(io.counters().submitted, io.counters().completed + io.in_flight());
    }
    TempDir dir;
};
INSTANTIATE_TEST_SUITE_P(Modes, WithdrawTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(WithdrawTest, WhatIsQueuedComesBackTheLastFirstAndIsNotDone) {
    const std::string path = dir.file("f");
    write_file(path, std::vector<std::byte>(64, std::byte{'a'}));
    BufferArena arena = make_arena({.count = 2});
    Io io = make_io(GetParam(), {.entries = 16, .arena = &arena});
    const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    for (const bool used : {false, true}) {
        ASSERT_TRUE(!used || result_of(io, io.nop(100)) == 0);
        const std::uint64_t already = io.counters().submitted;
        {
            std::vector<std::byte> bytes(64, std::byte{'b'});
            const FixedBuffer lease = *arena.acquire();
            std::fill(lease.begin(), lease.end(), std::byte{'c'});
            struct ::statx out {};
            ASSERT_TRUE(io.write(fd, bytes, 0, 1));
            ASSERT_TRUE(io.write(fd, lease.bytes(), 0, 2));
            ASSERT_TRUE(io.read(fd, bytes, 0, 3));
            ASSERT_TRUE(io.unlink(path.c_str(), 4));
            ASSERT_TRUE(io.statx(fd, out, 5));
            ASSERT_TRUE(io.close(fd, 5));
            EXPECT_EQ(io.in_flight(), 6U);
            EXPECT_EQ(withdraw_all(io), (std::vector<Token>{5, 5, 4, 3, 2, 1}));
        }
        EXPECT_EQ(io.in_flight(), 0U);
        EXPECT_EQ(io.counters().submitted, already);
        EXPECT_EQ(io.counters().withdrawn, used ? 12U : 6U);
        EXPECT_EQ(io.counters().fixed, 0U);
        EXPECT_EQ(io.counters().unregistered, 0U);
        EXPECT_FALSE(io.withdraw());
        EXPECT_TRUE(io.poll().empty());
        EXPECT_TRUE(io.park().empty()) << "nothing is in flight";
        EXPECT_EQ(read_file(path), std::vector<std::byte>(64, std::byte{'a'}));
    }
    EXPECT_EQ(result_of(io, io.nop(101)), 0);
    EXPECT_EQ(result_of(io, io.close(::dup(fd), 102)), 0);
}

TEST_P(WithdrawTest, TheRoomIsThereAgainAndTheNextOperationsAreTheOnesThatAreDone) {
    const std::string path = dir.file("f");
    Io io = make_io(GetParam(), {.entries = 4, .completion_entries = 8});
    const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    const std::array<std::byte, 1> good{std::byte{'+'}};
    const std::array<std::byte, 1> bad{std::byte{'-'}};
    std::uint64_t place = 0;
    // Each round begins at another place of the queue, and takes back another number of what fills it.
    for (unsigned round = 0; round < 40; ++round) {
        unsigned queued = 0;
        while (io.write(fd, bad, queued, 1000 + queued)) ++queued;
        ASSERT_EQ(queued, 4U);
        const unsigned kept = round % 4;
        for (unsigned left = queued; left > kept; --left) ASSERT_EQ(io.withdraw(), Token{1000 + left - 1});
        for (unsigned i = kept; i > 0; --i) ASSERT_TRUE(io.withdraw());
        expect_conserved(io);
        for (unsigned i = 0; i <= kept; ++i) ASSERT_TRUE(io.write(fd, good, place++, i));
        const auto done = drain(io);
        ASSERT_EQ(done.size(), kept + 1);
        for (const Completion& each : done) EXPECT_LE(each.token, kept);
        expect_conserved(io);
    }
    EXPECT_EQ(read_file(path), std::vector<std::byte>(place, std::byte{'+'}));
}

// The function that queued it may return then: its buffers are nobody's any more.
TEST_P(WithdrawTest, AfterAFailureOfTheRingWhatItLeftQueuedComesBack) {
    const std::string path = dir.file("f");
    write_file(path, std::vector<std::byte>(8, std::byte{'a'}));
    const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    const std::array<std::byte, 8> bytes{};
    for (const bool bound : {false, true}) {
        Io io = make_io(GetParam(), {.entries = 8});
        ASSERT_TRUE(!bound || result_of(io, io.nop(100)) == 0);
        {
            const Intercept refused(refuse(bound ? test::nr_enter : test::nr_register, -EPERM));
            for (Token token = 0; token < 3; ++token) ASSERT_TRUE(io.write(fd, bytes, 0, token));
            const Completions done = io.poll();
            // What a poller was shown is its to do.
            if (bound && GetParam().mode == Mode::sqpoll) {
                EXPECT_FALSE(io.withdraw());
                continue;
            }
            EXPECT_EQ(done.code(), EPERM);
            EXPECT_EQ(withdraw_all(io), (std::vector<Token>{2, 1, 0}));
        }
        EXPECT_EQ(io.in_flight(), 0U);
        EXPECT_EQ(result_of(io, io.nop(101)), 0);
        EXPECT_EQ(read_file(path), std::vector<std::byte>(8, std::byte{'a'}));
    }
}

TEST_P(WithdrawTest, WhatTheKernelHasStaysInFlight) {
    const Pipe pipe;
    Io io = make_io(GetParam(), {.entries = 8});
    std::array<std::byte, 1> byte{};
    ASSERT_TRUE(io.read(pipe.read_end, byte, UINT64_MAX, 1));
    (void)io.poll();
    EXPECT_FALSE(io.withdraw());
    ASSERT_TRUE(io.nop(2));
    EXPECT_EQ(io.withdraw(), Token{2});
    EXPECT_FALSE(io.withdraw());
    EXPECT_EQ(io.in_flight(), 1U);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    EXPECT_EQ(drain(io).size(), 1U);
}

TEST_P(WithdrawTest, ASampleThatIsTakenBackIsNone) {
    LatencyHistograms histograms;
    Io io = make_io(GetParam(), {.entries = 8, .sampling = {.every = 1, .histograms = &histograms}});
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(io.unlink("nothing", 7));
        EXPECT_EQ(io.withdraw(), Token{7});
    }
    ASSERT_EQ(result_of(io, io.nop(7)), 0);
    EXPECT_EQ(histograms[OpKind::unlink].count(), 0U);
    EXPECT_EQ(histograms[OpKind::nop].count(), 1U);
    // The one that is on its way is not the one that comes back.
    ASSERT_TRUE(io.nop(1));
    ASSERT_TRUE(io.unlink("nothing", 2));
    EXPECT_EQ(io.withdraw(), Token{2});
    ASSERT_EQ(drain(io).size(), 1U);
    EXPECT_EQ(histograms[OpKind::nop].count(), 2U);
}

TEST_P(WithdrawTest, NothingComesBackToAnotherThreadOrToAForkedChild) {
    Io io = make_io(GetParam(), {.entries = 8});
    ASSERT_EQ(result_of(io, io.nop(0)), 0);
    ASSERT_TRUE(io.nop(1));
    if (GetParam().mode != Mode::plain) std::thread([&io] { EXPECT_FALSE(io.withdraw()); }).join();
    in_child_alone([&io] { EXPECT_FALSE(io.withdraw()); });
    EXPECT_EQ(io.withdraw(), Token{1});
}

}  // namespace
}  // namespace squall
