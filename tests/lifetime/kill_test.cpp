// SPDX-License-Identifier: MIT
//
// kill -9 in the middle of writes that power/writer.hpp makes in every way there is: what was acknowledged is in the files
// afterwards, and nothing that nobody began to write. The page cache outlives a process, so that this is about squall and
// the kernel's end of a ring; what a power cut leaves is power/run's affair.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "child.hpp"
#include "power/truth.hpp"
#include "power/writer.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

// What is done to the writer before it is killed.
enum class Bother { nothing, fork, stop };

struct Killed {
    std::size_t acknowledged = 0;
    power::Verdict verdict;
};

// Starts a writer, kills it after some time, and compares what it left with what it said.
Killed kill_a_writer(Mode mode, Bother bother, power::Lie lie, std::uint64_t seed) {
    const TempDir dir;
    const TempDir aside;
    std::mt19937_64 random(seed);
    const Fd said(::open(aside.file("said").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    power::WriterOptions options{.directory = dir.path(), .said = said, .seed = seed, .mode = mode, .lie = lie};
    if (bother == Bother::fork) {
        // A child that lives on for a while keeps the ring's descriptor, and writes over all that it was left of the parent.
        options.each_turn = [turn = 0U, &random]() mutable {
            if (++turn % 16 != 0 || ::fork() != 0) return;
            std::vector<std::byte> memory(1U << 20, std::byte{0x55});
            ::usleep(static_cast<useconds_t>(random() % 20'000));
            ::_exit(memory.back() == std::byte{0x55} ? 0 : 1);
        };
    }
    const pid_t writer = fork_or_abort();
    if (writer == 0) {
        power::write_verifiably(options);
        ::_exit(0);
    }
    // Not before it has begun, and has said as much as in this round it is to: on a busy machine some time may be too short.
    const auto there = static_cast<off_t>((1 + random() % 64) * sizeof(power::Record));
    for (int tries = 0; tries < 5000 && ::lseek(said, 0, SEEK_END) < there; ++tries) ::usleep(1000);
    const auto some_time = [&random](unsigned below_us) { ::usleep(static_cast<useconds_t>(random() % below_us)); };
    some_time(20'000);
    for (int i = 0; bother == Bother::stop && i < 4; ++i) {
        ::kill(writer, SIGSTOP);
        some_time(2000);
        ::kill(writer, SIGCONT);
        some_time(5000);
    }
    ::kill(writer, SIGKILL);
    int status = 0;
    EXPECT_EQ(::waitpid(writer, &status, 0), writer);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it ended by itself, with status " << status;

    Killed killed;
    power::Truth truth;
    for (const power::Record& record : power::hear(said)) {
        truth.learn(record);
        if (record.kind == power::Kind::durable) ++killed.acknowledged;
    }
    killed.verdict = truth.check(dir.path());
    return killed;
}

struct Way {
    const char* name;
    Mode mode;
    Bother bother;
};
class KillTest : public testing::TestWithParam<Way> {};
INSTANTIATE_TEST_SUITE_P(Ways, KillTest,
                         testing::Values(Way{"deferred", Mode::deferred, Bother::nothing},
                                         Way{"plain", Mode::plain, Bother::nothing},
                                         Way{"sqpoll", Mode::sqpoll, Bother::nothing},
                                         Way{"deferred_forking", Mode::deferred, Bother::fork},
                                         Way{"sqpoll_forking", Mode::sqpoll, Bother::fork},
                                         Way{"deferred_stopped", Mode::deferred, Bother::stop},
                                         Way{"sqpoll_stopped", Mode::sqpoll, Bother::stop}),
                         [](const auto& test) { return test.param.name; });

TEST_P(KillTest, WhatWasAcknowledgedIsThereAfterKill9) {
    std::size_t acknowledged = 0, checked = 0;
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        const Killed killed = kill_a_writer(GetParam().mode, GetParam().bother, power::Lie::none, seed);
        ASSERT_EQ(killed.verdict.all_lost() + killed.verdict.strange, 0U)
            << "seed " << seed << ": " << killed.verdict.first.data();
        acknowledged += killed.acknowledged;
        checked += killed.verdict.checked;
    }
    EXPECT_GT(acknowledged, 0U);
    EXPECT_GT(checked, 0U);
    RecordProperty("acknowledged", static_cast<int>(acknowledged));
    RecordProperty("checked", static_cast<int>(checked));
}

TEST(KillSelfTest, AWriterThatAcknowledgesWhatItHasOnlyQueuedIsFoundOut) {
    for (std::uint64_t seed = 1; seed <= 300; ++seed)
        if (kill_a_writer(Mode::deferred, Bother::nothing, power::Lie::early, seed).verdict.all_lost() != 0) return;
    FAIL() << "300 times nothing was lost";
}

}  // namespace
}  // namespace squall
