// SPDX-License-Identifier: MIT
//
// Signals of every kind, ten thousand a second, and a process that is stopped and continued, in the middle of I/O that is
// checked byte for byte: no operation is lost or done twice, no wait ends early, and none outlasts its time. What becomes of
// each answer of an interrupted enter is drive_test.cpp's.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <random>
#include <thread>
#include <utility>

#include "blocks.hpp"
#include "child.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

class SignalsTest : public testing::TestWithParam<Kind> {
protected:
    TempDir dir;
};
INSTANTIATE_TEST_SUITE_P(Modes, SignalsTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// ThreadSanitizer keeps signals back until the program calls what it has replaced. Those that a thread's own mistake raises
// it does not: their handlers run amid its own code, and wait for ever for a lock that the interrupted code holds.
#if defined(__SANITIZE_THREAD__)
constexpr unsigned arrivals_of_each = 0;
constexpr std::array<int, 8> left_out{SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGPIPE, SIGSYS};
#else
constexpr unsigned arrivals_of_each = 10;
constexpr std::array<int, 0> left_out{};
#endif

// Of every signal that a program may catch, how many arrived. The C library keeps two for itself, and two cannot be caught.
std::array<std::atomic<unsigned>, 65> arrived;
static_assert(std::atomic<unsigned>::is_always_lock_free);

std::vector<int> catch_all() {
    std::vector<int> caught;
    for (int number = 1; number <= 64; ++number) {
        if (std::find(left_out.begin(), left_out.end(), number) != left_out.end()) continue;
        struct ::sigaction action {};
        action.sa_handler = [](int which) { arrived[static_cast<std::size_t>(which)].fetch_add(1); };
        action.sa_flags = number % 2 == 0 ? SA_RESTART : 0;
        if (::sigaction(number, &action, nullptr) == 0) caught.push_back(number);
    }
    return caught;
}

// Sends them all in turn to the thread that made it, for as long as it lives.
class Storm {
public:
    explicit Storm(std::vector<int> signals) : signals_(std::move(signals)), target_(::gettid()) {
        sender_ = std::thread([this] {
            ::prctl(PR_SET_TIMERSLACK, 1);
            for (std::size_t i = 0; !stop_; ++i) {
                ::syscall(SYS_tgkill, ::getpid(), target_, signals_[i % signals_.size()]);
                std::this_thread::sleep_for(50us);
            }
        });
    }
    ~Storm() {
        stop_ = true;
        sender_.join();
    }
    Storm(const Storm&) = delete;
    Storm& operator=(const Storm&) = delete;

private:
    std::vector<int> signals_;
    pid_t target_;
    std::atomic<bool> stop_{false};
    std::thread sender_;
};

TEST_P(SignalsTest, EverySignalThatCanBeCaughtArrivesTenThousandTimesASecondAndEveryByteIsInItsPlace) {
    for (const int flags : {0, O_DIRECT}) {
        in_child_alone([&] {
            Blocks blocks(GetParam(), dir.file("f"), flags);
            blocks.may_be_cancelled = true;
            const std::vector<int> signals = catch_all();
            EXPECT_GE(signals.size() + left_out.size(), 60U);
            std::minstd_rand random(1);
            {
                const Storm storm(signals);
                const auto enough = [&] {
                    for (const int number : signals)
                        if (arrived[static_cast<std::size_t>(number)] < arrivals_of_each) return false;
                    return blocks.completed() >= 500;
                };
                while (!enough()) {
                    blocks.queue();
                    const auto how = random() % 4;
                    blocks.take(how == 0   ? blocks.io->poll()
                                : how == 1 ? blocks.io->park(100us)
                                : how == 2 ? blocks.io->park(Blocks::slots)
                                           : blocks.io->park());
                    if (testing::Test::HasFatalFailure()) break;
                }
                blocks.drain();
            }
            EXPECT_EQ(blocks.io->counters().overflow_flushes, 0U);
        });
    }
}

// --- Stopped and continued ------------------------------------------------------------------------------------------

// A process that parks on a pipe and says what came of it in its exit status, and is stopped meanwhile.
class Parked {
public:
    // `park` is given the ring once its one read is in flight, and returns the exit status.
    Parked(Kind kind, const std::function<int(Io&)>& park) {
        const pid_t parent = ::getpid();
        Pipe ready;
        child_ = fork_or_abort();
        if (child_ == 0) {
            if (::getppid() != parent) ::_exit(99);
            Io io = make_io(kind, {.entries = 8});
            std::array<std::byte, 8> bytes{};
            const bool queued = io.read(pipe_.read_end, bytes, UINT64_MAX, 77);
            (void)io.poll();
            const bool said = ::write(ready.write_end, "r", 1) == 1;
            const int status = queued && said ? park(io) : 98;
            ::_exit(status == 0 && testing::Test::HasFailure() ? 97 : status);
        }
        char byte = 0;
        EXPECT_EQ(::read(ready.read_end, &byte, 1), 1);
    }
    ~Parked() {
        if (child_ > 0) {
            ::kill(child_, SIGKILL);
            ::waitpid(child_, nullptr, 0);
        }
    }
    Parked(const Parked&) = delete;
    Parked& operator=(const Parked&) = delete;

    // Stops it in its park, and returns once it is seen to be stopped: true; or false when it has ended.
    bool stop() {
        if (child_ < 0) return false;  // -1 would be every process
        until_it_sleeps(child_);
        EXPECT_EQ(::kill(child_, SIGSTOP), 0);
        EXPECT_EQ(::waitpid(child_, &ended_, WUNTRACED), child_);
        if (WIFSTOPPED(ended_)) return true;
        child_ = -1;
        return false;
    }
    void go_on() { EXPECT_EQ(child_ > 0 ? ::kill(child_, SIGCONT) : -1, 0); }
    bool stop_and_go_on(std::chrono::microseconds stopped) {
        if (!stop()) return false;
        std::this_thread::sleep_for(stopped);
        go_on();
        return true;
    }
    void feed() { ASSERT_EQ(::write(pipe_.write_end, "x", 1), 1); }
    // Waits for its end, for a while.
    int status() { return child_ < 0 ? ended_ : status_of(std::exchange(child_, -1)); }

private:
    Pipe pipe_;
    pid_t child_ = -1;
    int ended_ = -1;
};

// Parks until something comes, once: it must be the one read, with its byte.
int one_completion(Io& io) {
    const Completions done = io.park();
    return done.size() == 1 && done.begin()->token == 77 && done.begin()->res == 1 && io.in_flight() == 0 ? 0 : 1;
}

TEST_P(SignalsTest, AParkGoesOnOverEveryStopOfTheProcess) {
    Parked parked(GetParam(), one_completion);
    for (int round = 0; round < 50; ++round) {
        ASSERT_TRUE(parked.stop_and_go_on(round % 5 * 100us)) << "it ended with status " << parked.status();
        if (round % 3 == 0) std::this_thread::sleep_for(1ms);
    }
    parked.feed();
    EXPECT_EQ(parked.status(), 0);
}

TEST_P(SignalsTest, WhatCompletedWhileTheProcessWasStoppedIsDeliveredOnce) {
    for (int round = 0; round < 10; ++round) {
        Parked parked(GetParam(), one_completion);
        ASSERT_TRUE(parked.stop()) << "it ended with status " << parked.status();
        parked.feed();
        std::this_thread::sleep_for(6ms);
        parked.go_on();
        EXPECT_EQ(parked.status(), 0);
    }
}

TEST_P(SignalsTest, AParkWithATimeoutEndsWhenItsTimeIsOverStoppedOrNot) {
    // Again until its time was over in the last of its stops: on a busy machine it may be so before.
    int stops = 0;
    for (int tries = 0; stops < 6 && tries < 100; ++tries) {
        Parked parked(GetParam(), [](Io& io) {
            const auto before = io.now();
            const bool empty = io.park(800ms).empty();
            return !empty ? 1 : io.now() - before < 800ms ? 2 : 0;
        });
        for (stops = 0; stops < 6 && parked.stop_and_go_on(stops < 5 ? 5ms : 800ms);) ++stops;
        ASSERT_EQ(parked.status(), 0);
    }
    EXPECT_EQ(stops, 6);
}

}  // namespace
}  // namespace squall
