// SPDX-License-Identifier: MIT
//
// The end of a program that broke a rule: where the line goes, that it is kept where a core dump shows it, and that it ends
// by an abort whatever the hook, other threads and descriptor 2 do. Each end is a child's.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "child.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

// Where a hook or a handler of signals tells what it was given.
int telling = -1;
void tell(const char* line) noexcept {
    const ssize_t written = ::write(telling, line, std::strlen(line)) + ::write(telling, "|", 1);
    if (written != static_cast<ssize_t>(std::strlen(line)) + 1) ::_exit(1);
}

// Runs `body` in a child, which must end by SIGABRT, and returns what was told there.
std::string told_until_abort(const std::function<void()>& body) {
    std::string told;
    {
        Pipe pipe;
        const pid_t child = fork_or_abort();
        if (child == 0) {
            const rlimit no_core{0, 0};
            ::setrlimit(RLIMIT_CORE, &no_core);
            telling = pipe.write_end;
            body();
            ::_exit(0);
        }
        const int status = status_of(child);
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << "status " << status;
        ::close(std::exchange(pipe.write_end, -1));
        char piece[4096];
        for (ssize_t got; (got = ::read(pipe.read_end, piece, sizeof(piece))) > 0;)
            told.append(piece, static_cast<std::size_t>(got));
    }
    return told;
}

void break_a_rule(int operand) { SQUALL_ASSERT(operand < 0, "the operand is %d", operand); }

bool is_the_line(const std::string& text, int operand) {
    return text.starts_with("squall: ") && contains(text, "abort_test.cpp:") &&
           text.ends_with(": operand < 0: the operand is " + std::to_string(operand));
}

// A file that is open as descriptor 2, as open(2) gives it where standard error was closed, and what is in it in the end.
std::string written_to_descriptor_2(const std::function<void()>& body) {
    const TempDir dir;
    const std::string path = dir.file("database");
    told_until_abort([&] {
        ::close(2);
        if (::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600) != 2) ::_exit(1);
        body();
    });
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(Abort, WritesOneLineToDescriptor2WhateverThatIs) {
    const std::string written = written_to_descriptor_2([] { break_a_rule(7); });
    ASSERT_TRUE(written.ends_with('\n'));
    EXPECT_TRUE(is_the_line(written.substr(0, written.size() - 1), 7)) << written;
    EXPECT_EQ(written.find('\n'), written.size() - 1);
}

TEST(Abort, GivesTheLineToTheHookAndWritesNothing) {
    const std::string told = told_until_abort([] {
        on_abort(tell);
        break_a_rule(8);
    });
    ASSERT_TRUE(told.ends_with('|'));
    EXPECT_TRUE(is_the_line(told.substr(0, told.size() - 1), 8)) << told;
    EXPECT_EQ(written_to_descriptor_2([] {
                  on_abort(tell);
                  break_a_rule(8);
              }),
              "");
}

TEST(Abort, SaysWhichHookThereWasBefore) {
    EXPECT_EQ(on_abort(tell), nullptr);
    EXPECT_EQ(on_abort(nullptr), tell);
    EXPECT_EQ(on_abort(nullptr), nullptr);
    const std::string written = written_to_descriptor_2([] {
        on_abort(tell);
        on_abort(nullptr);
        break_a_rule(9);
    });
    EXPECT_TRUE(contains(written, "the operand is 9\n")) << written;
}

TEST(Abort, KeepsTheLineWhereACoreDumpHasIt) {
    EXPECT_STREQ(abort_line, "");
    // Before the hook has it, and still when the signal comes that leaves the core.
    const std::string told = told_until_abort([] {
        std::signal(SIGABRT, [](int) { tell(abort_line); });
        on_abort([](const char* line) noexcept {
            tell(abort_line);
            tell(line == abort_line ? "itself" : "a copy");
        });
        break_a_rule(10);
    });
    const std::size_t first = told.find('|');
    ASSERT_NE(first, std::string::npos);
    const std::string line = told.substr(0, first);
    EXPECT_TRUE(is_the_line(line, 10)) << line;
    EXPECT_EQ(told, line + "|itself|" + line + "|");
}

TEST(Abort, CutsALineThatIsTooLong) {
    const std::string told = told_until_abort([] {
        on_abort(tell);
        const std::string long_words(5000, 'x');
        SQUALL_ASSERT(long_words.empty(), "%s", long_words.c_str());
    });
    ASSERT_EQ(told.size(), abort_line_bytes);  // a '|' in place of the zero
    EXPECT_TRUE(contains(told, ": long_words.empty(): xxxx"));
    EXPECT_TRUE(told.ends_with("x|"));
    // And where the place and the expression alone are.
    const std::string place(2000, 'y');
    EXPECT_EQ(told_until_abort([&] {
                  on_abort(tell);
                  detail::assertion_failed(place.c_str(), 1, "false", "never seen");
              }),
              "squall: " + place.substr(0, abort_line_bytes - 1 - 8) + "|");
}

TEST(Abort, InTheHookItselfEndsTheProgramToo) {
    const std::string told = told_until_abort([] {
        on_abort([](const char* line) noexcept {
            tell(line);
            break_a_rule(12);
        });
        break_a_rule(11);
    });
    EXPECT_TRUE(contains(told, "the operand is 11|")) << told;
    EXPECT_FALSE(contains(told, "12")) << told;
}

TEST(Abort, IsOneWhenNobodyReadsStandardErrorAnyMore) {
    told_until_abort([] {
        std::signal(SIGPIPE, SIG_DFL);
        Pipe pipe;
        ::dup2(pipe.write_end, 2);
        ::close(pipe.read_end);
        break_a_rule(13);
    });
}

TEST(Abort, AllocatesNothing) {
    const std::string told = told_until_abort([] {
        static std::uint64_t before;
        before = allocations_made();
        on_abort([](const char*) noexcept { tell(allocations_made() == before ? "nothing" : "something"); });
        break_a_rule(14);
    });
    EXPECT_EQ(told, "nothing|");
}

// --- Threads --------------------------------------------------------------------------------------------------------

constexpr int threads = 8;
std::atomic<int> on_their_way{0};
int on_its_way(int thread) {
    ++on_their_way;
    return thread;
}

// Waits until all threads but this one sleep, if they ever do.
void wait_for_the_others_to_sleep() noexcept {
    for (int tries = 0; tries < 1000; ++tries) {
        bool asleep = true;
        for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
            if (task.path().filename() == std::to_string(::gettid())) continue;
            std::string stat;
            std::getline(std::ifstream(task.path() / "stat"), stat);
            asleep = asleep && contains(stat, ") S ");
        }
        if (asleep) return;
        ::usleep(1000);
    }
}

TEST(Abort, OfManyThreadsAtOnceTellsTheFirstLineAlone) {
    const std::string told = told_until_abort([] {
        on_abort([](const char* line) noexcept {
            tell(line);
            while (on_their_way < threads) std::this_thread::yield();
            wait_for_the_others_to_sleep();
            tell(abort_line);
        });
        std::vector<std::thread> all;
        for (int thread = 0; thread < threads; ++thread)
            all.emplace_back([thread] { break_a_rule(on_its_way(thread)); });
        for (std::thread& thread : all) thread.join();
    });
    const std::string line = told.substr(0, told.find('|'));
    bool of_one = false;
    for (int thread = 0; thread < threads; ++thread) of_one = of_one || is_the_line(line, thread);
    EXPECT_TRUE(of_one) << line;
    EXPECT_EQ(told, line + "|" + line + "|");
}

TEST(Abort, OfAnotherThreadDoesNotWaitForEverForAHookThatDoesNotReturn) {
    told_until_abort([] {
        // The time that it waits is over at once.
        const Intercept asleep(refuse(SYS_ppoll, 0));
        on_abort([](const char*) noexcept {
            ++on_their_way;
            for (;;) ::pause();
        });
        std::thread hangs([] { break_a_rule(15); });
        while (on_their_way == 0) std::this_thread::yield();
        break_a_rule(16);
        hangs.join();
    });
}

}  // namespace
}  // namespace squall
