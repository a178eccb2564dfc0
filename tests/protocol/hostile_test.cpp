// SPDX-License-Identifier: MIT
//
// A kernel that breaks its word: completions that nobody asked for. squall cannot know what they mean, and the memory of the
// operations in flight is at stake, so it stops with a message before it uses a number that only the kernel vouches for.
// What else a kernel might say is for fuzz/kernel.cpp.
#include <cerrno>

#include "support.hpp"
#include "user_kernel.hpp"

namespace squall {
namespace {

using namespace test;

// An Io of two rings with one file that can be polled, and one read of it in flight in the polled ring.
struct Polled {
    Polled() {
        EXPECT_TRUE(io.set_file(FileSlot(0), 0).has_value());
        kernel.on_enter = [this](const Enter& enter) {
            return kernel.ring_of(enter.fd, true)->consume(enter.to_submit);
        };
        EXPECT_TRUE(io.read(FileSlot(0), bytes, 0, 77));
        EXPECT_TRUE(io.poll().empty());
    }
    UserKernel::Ring& other() { return kernel.ring(0); }
    UserKernel::Ring& polled() { return kernel.ring(1); }

    UserKernel kernel;
    std::byte bytes[8];
    Io io = make_io({.entries = 4, .file_slots = 1, .polling = Polling::busy});
};

// Runs `break_it` on an Io of its own and polls.
template <class Break>
void poll_after(Break break_it) {
    Polled session;
    break_it(session);
    (void)session.io.poll();
}

TEST(Hostile, APolledReadCompletesWhenTheKernelKeepsItsWord) {
    Polled session;
    session.polled().post(0, 8);
    const Completions done = session.io.poll();
    ASSERT_EQ(done.size(), 1U);
    EXPECT_EQ(done.begin()->token, 77U);
}

TEST(HostileDeathTest, ACompletionOfNoOperationStopsTheProgram) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    for (const Token number : {Token{1}, Token{8}, Token{9}, Token{1} << 32, UINT64_MAX})
        EXPECT_DEATH(
            poll_after([number](Polled& session) { session.polled().post(number); }),
            "the kernel completed operation " + std::to_string(number) + ", which is not in flight in the polled ring");
}

TEST(HostileDeathTest, ACompletionInTheWrongRingStopsTheProgram) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(poll_after([](Polled& session) {
                     EXPECT_TRUE(session.io.nop(78));
                     (void)session.io.poll();
                     session.other().post(0);
                 }),
                 "the kernel completed operation 0, which is not in flight in the other ring");
}

TEST(HostileDeathTest, ACompletionThatComesTwiceStopsTheProgram) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    for (const int res : {8, -EOPNOTSUPP})
        EXPECT_DEATH(poll_after([res](Polled& session) {
                         EXPECT_TRUE(session.io.read(FileSlot(0), session.bytes, 0, 78));
                         (void)session.io.poll();
                         session.polled().post(0, res);
                         session.polled().post(0, res);
                     }),
                     "the kernel completed operation 0, which is not in flight in the polled ring");
}

TEST(HostileDeathTest, MoreCompletionsThanOperationsStopTheProgram) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(poll_after([](Polled& session) {
                     session.polled().post(0, 8);
                     session.polled().post(0, 8);
                 }),
                 "the CQ holds 2 completions and 1 operations are in flight");
    EXPECT_DEATH(
        {
            UserKernel kernel;
            const Io io = make_io({.entries = 4});
            kernel.ring().post(1);
        },
        "the CQ holds 1 completions and 0 operations are in flight");
}

}  // namespace
}  // namespace squall
