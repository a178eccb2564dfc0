// SPDX-License-Identifier: MIT
//
// Processes and threads that come and go in the middle of I/O that is checked byte for byte: fork after fork, threads that
// made a ring or submitted to it and have ended, exec and exit with operations in flight. Each rule by itself is
// threads_test.cpp's (I8) or forks_test.cpp's (I10), and the end of an Io is exit_test.cpp's.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <thread>

#include "blocks.hpp"
#include "child.hpp"
#include "rings.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

class ProcessesTest : public testing::TestWithParam<Kind> {
protected:
    TempDir dir;
};
INSTANTIATE_TEST_SUITE_P(Modes, ProcessesTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// --- fork -----------------------------------------------------------------------------------------------------------

class ForkTest : public ProcessesTest {
protected:
    // Forks again and again with operations in flight; each child does `body`, and the parent goes on meanwhile. The parent
    // is a process of its own, so that its locked memory is that of this ring alone.
    void fork_in_the_middle(int times, const std::function<void(std::optional<Blocks>&)>& body) {
        in_child_alone([&] {
            std::optional<Blocks> blocks;
            blocks.emplace(GetParam(), dir.file("f"));
            const Footprint before = footprint_now();
            for (int round = 0; round < times && !testing::Test::HasFailure(); ++round) {
                blocks->queue();
                if (round % 2 == 0) blocks->take(blocks->io->poll());
                const pid_t child = fork_or_abort();
                if (child == 0) {
                    body(blocks);
                    ::_exit(testing::Test::HasFailure() ? 1 : 0);
                }
                blocks->queue();
                blocks->take(blocks->io->park());
                EXPECT_EQ(status_of(child), 0) << "round " << round;
                blocks->take(blocks->io->poll());
            }
            blocks->drain();
            EXPECT_EQ(footprint_now(), before);
        });
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, ForkTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(ForkTest, ChildrenThatExitAtOnceDisturbNothing) {
    fork_in_the_middle(30, [](std::optional<Blocks>&) {});
}

TEST_P(ForkTest, ChildrenThatExecFindNothingOfTheRing) {
    const std::string seen = dir.file("descriptors");
    const auto exec = [&seen] {
        ::execl("/bin/sh", "sh", "-c", "ls /proc/$$/fd > \"$0\"", seen.c_str(), nullptr);
        ::_exit(127);
    };
    const pid_t child = fork_or_abort();
    if (child == 0) exec();
    ASSERT_EQ(status_of(child), 0);
    const std::vector<std::byte> without_a_ring = read_file(seen);
    EXPECT_NE(without_a_ring.size(), 0U);
    fork_in_the_middle(10, [&exec](std::optional<Blocks>&) { exec(); });
    EXPECT_EQ(read_file(seen), without_a_ring);
}

TEST_P(ForkTest, ChildrenThatDestroyTheirCopiesHarmNothingOfTheirParents) {
    fork_in_the_middle(30, [](std::optional<Blocks>& blocks) {
        EXPECT_FALSE(blocks->io->nop(1));
        EXPECT_EQ(blocks->io->park().error().code(), ESTALE);
        blocks.reset();
    });
}

TEST_P(ForkTest, ChildrenMayHaveRingsOfTheirOwnMeanwhile) {
    fork_in_the_middle(10, [this](std::optional<Blocks>&) {
        Blocks own(GetParam(), dir.file("child"));
        for (int i = 0; i < 20; ++i) {
            own.queue();
            own.take(own.io->park());
        }
        own.drain();
        EXPECT_GE(own.completed(), 20U);
    });
}

// A child may live on while its parent lets go of the ring; before 6.0 the parent then waits for it.
TEST_P(ForkTest, AChildThatLivesOnHoldsNothingUpOnceNothingIsInFlight) {
    std::optional<Blocks> blocks;
    blocks.emplace(GetParam(), dir.file("f"));
    blocks->queue();
    blocks->drain();
    Pipe pipe;
    const pid_t child = fork_or_abort();
    if (child == 0) {
        ::close(std::exchange(pipe.write_end, -1));
        char byte;
        ::_exit(::read(pipe.read_end, &byte, 1) == 0 ? 0 : 1);
    }
    blocks.reset();
    ::close(std::exchange(pipe.write_end, -1));
    EXPECT_EQ(status_of(child), 0);
}

// --- Threads --------------------------------------------------------------------------------------------------------

TEST_P(ProcessesTest, ARingOutlivesTheThreadThatMadeIt) {
    std::optional<Blocks> blocks;
    for (int round = 0; round < 3; ++round) {
        std::thread([&] { blocks.emplace(GetParam(), dir.file("f")); }).join();
        for (int i = 0; i < 20; ++i) {
            blocks->queue();
            blocks->take(blocks->io->park());
        }
        blocks->drain();
        EXPECT_GE(blocks->completed(), 20U);
        blocks.reset();
    }
}

// What the ended thread had in flight is done or, when it would go on, cancelled; only a plain ring has a next one.
TEST_P(ProcessesTest, OperationsOfAThreadThatHasEndedAreDeliveredToTheNextWhereThereMayBeOne) {
    constexpr Token never = 4;
    const Pipe pipe;
    const Fd file(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    std::array<std::byte, 64> bytes{};
    const std::size_t before = descriptors_now();
    {
        Io io = make_io(GetParam(), {.entries = 16});
        std::set<Token> tokens;
        std::thread([&] {
            for (Token token = 0; token < never; ++token) ASSERT_TRUE(io.read(pipe.read_end, bytes, UINT64_MAX, token));
            for (Token token = never; token < 8; ++token) ASSERT_TRUE(io.write(file, bytes, token * 64, token));
            for (const Completion& done : io.poll()) tokens.insert(done.token);
            until_taken();
        }).join();
        if (GetParam().mode == Mode::plain) {
            // What waits for something goes on waiting until that comes.
            const std::vector<char> more(256);
            ASSERT_EQ(::write(pipe.write_end, more.data(), more.size()), static_cast<ssize_t>(more.size()));
            while (io.in_flight() > 0) {
                const Completions done = io.park(60s);
                ASSERT_FALSE(done.error()) << done.error().message();
                ASSERT_FALSE(done.empty()) << "what the ended thread had in flight never ends";
                for (const Completion& each : done) {
                    EXPECT_TRUE(tokens.insert(each.token).second) << each.token;
                    EXPECT_TRUE(each.res == 64 || each.res == -ECANCELED || each.res == -EFAULT) << each.res;
                }
            }
            EXPECT_EQ(tokens.size(), 8U);
            EXPECT_EQ(result_of(io, io.nop(9)), 0);
        } else {
            EXPECT_EQ(io.nop(9), !io.features().checks);
            EXPECT_EQ(io.poll().error().code(), EEXIST);
            EXPECT_EQ(io.park(1ms).error().code(), EEXIST);
        }
        EXPECT_EQ(io.counters().submitted, io.counters().completed + io.in_flight());
    }
    EXPECT_EQ(descriptors_now(), before);
}

// --- exec and exit --------------------------------------------------------------------------------------------------

// Of a process that has gone in the middle of everything, nothing reads from the pipe any more.
class GoneTest : public ProcessesTest {
protected:
    // Runs `go` in a child with reads of the pipe, transfers and submissions in flight; returns the child's status.
    int after(const std::function<void()>& go) {
        const pid_t child = fork_or_abort();
        if (child == 0) {
            Blocks blocks(GetParam(), dir.file("f"), O_DIRECT);
            Io reader = make_io(GetParam(), {.entries = 8});
            std::array<std::byte, 256> bytes{};
            for (Token token = 0; token < 4; ++token)
                EXPECT_TRUE(reader.read(pipe_.read_end, std::span(bytes).subspan(token * 64, 64), UINT64_MAX, token));
            (void)reader.poll();
            until_taken();
            for (int i = 0; i < 5; ++i) {
                blocks.queue();
                blocks.take(blocks.io->poll());
            }
            blocks.queue();
            if (testing::Test::HasFailure()) ::_exit(98);
            go();
            ::_exit(99);
        }
        return status_of(child);
    }
    void expect_that_nobody_reads() {
        const std::vector<std::byte> bytes(256, std::byte{0x77});
        ASSERT_EQ(::write(pipe_.write_end, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
        pipe_.until_unread();
        EXPECT_EQ(pipe_.bytes_within(), static_cast<int>(bytes.size()));
    }

private:
    Pipe pipe_;
};
INSTANTIATE_TEST_SUITE_P(Modes, GoneTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(GoneTest, AProcessThatExitsInTheMiddleEndsAndItsReadsWithIt) {
    EXPECT_EQ(after([] { ::_exit(0); }), 0);
    expect_that_nobody_reads();
}

TEST_P(GoneTest, AProcessThatExecsInTheMiddleGoesOnAsTheOtherProgramWithoutItsReads) {
    EXPECT_EQ(after([] { ::execl("/bin/sh", "sh", "-c", "exit 7", nullptr); }), 7 << 8);
    expect_that_nobody_reads();
}

TEST_P(GoneTest, AnotherThreadThatExecsTakesTheRingsThreadWithIt) {
    EXPECT_EQ(after([] { std::thread([] { ::execl("/bin/sh", "sh", "-c", "exit 7", nullptr); }).join(); }), 7 << 8);
    expect_that_nobody_reads();
}

}  // namespace
}  // namespace squall
