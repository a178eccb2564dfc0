// SPDX-License-Identifier: MIT
//
// Filters of system calls that come down at any moment of a ring's life, for real: before it is made, before its first
// submission, with operations in flight, and before it goes. Each says what was refused, loses no operation, and neither
// hangs nor leaves a reader behind. What is said about each errno of each call is refusal_test.cpp's and words_test.cpp's.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <set>

#include "child.hpp"
#include "rings.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

constexpr int refusals[] = {EPERM, ENOSYS};

class SeccompTest : public testing::TestWithParam<Kind> {
protected:
    // Runs `body` in a child for each errno that a filter answers.
    static void with_each_refusal(const std::function<void(int)>& body) {
        for (const int code : refusals) {
            SCOPED_TRACE(std::strerror(code));
            in_child_alone([&] { body(code); });
        }
    }
    static IoOptions options(BufferArena& arena) {
        return {.entries = 8,
                .mode = GetParam().mode,
                .arena = &arena,
                .file_slots = 2,
                .polling = GetParam().polling,
                .sqpoll_idle = 1000ms};
    }
    // What create says once `refuse` has made a call fail with `code`. It leaves nothing behind.
    static std::string words_when(int code, const std::function<void()>& refuse) {
        BufferArena arena = make_arena({.count = 4});
        const Footprint before = footprint_now();
        refuse();
        std::string words;
        {
            const auto io = Io::create(options(arena));
            if (io) {
                ADD_FAILURE() << "it was made";
                return {};
            }
            EXPECT_EQ(io.error().code(), code);
            words = io.error().message();
        }
        EXPECT_EQ(footprint_now(), before);
        return words;
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, SeccompTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// `words` are about a kernel that is said to be new enough, where it is: 5.`since` or newer.
void expect_that_age_is_not_blamed(const std::string& words, unsigned since = 11) {
    struct ::utsname names {};
    ASSERT_EQ(::uname(&names), 0);
    unsigned major = 0;
    unsigned minor = 0;
    ASSERT_EQ(std::sscanf(names.release, "%u.%u", &major, &minor), 2);
    if (major > 5 || (major == 5 && minor >= since))
        EXPECT_TRUE(contains(
            words, std::string("Linux ") + names.release + " takes this, so that a seccomp filter or a sandbox"))
            << words;
    else
        EXPECT_TRUE(contains(words, std::string("this says that it is Linux ") + names.release)) << words;
}

void expect_conserved(const Io& io) { EXPECT_EQ(io.counters().submitted, io.counters().completed + io.in_flight()); }

// --- While a ring is made -------------------------------------------------------------------------------------------

TEST_P(SeccompTest, ARingThatMayNotBeMadeSaysSoAndLeavesNothingBehind) {
    with_each_refusal([](int code) {
        const std::string words = words_when(code, [code] { refuse_by_seccomp(nr_setup, code); });
        EXPECT_TRUE(contains(words, "seccomp filter")) << words;
    });
}

TEST_P(SeccompTest, EachRegistrationThatIsRefusedIsNamedAndLeavesNothingBehind) {
    struct Step {
        std::uint32_t code;
        const char* name;
    };
    for (const Step& step :
         {Step{abi::register_probe, "IORING_REGISTER_PROBE"}, Step{abi::register_files, "IORING_REGISTER_FILES"},
          Step{abi::register_buffers, "IORING_REGISTER_BUFFERS"}}) {
        SCOPED_TRACE(step.name);
        with_each_refusal([&step](int code) {
            const std::string words = words_when(code, [&] { refuse_by_seccomp(nr_register, code, 1, step.code); });
            EXPECT_TRUE(contains(words, step.name)) << words;
            EXPECT_TRUE(contains(words, "seccomp filter")) << words;
        });
    }
}

TEST_P(SeccompTest, AnyOtherCallThatIsRefusedIsToldFromALimit) {
    struct Step {
        long number;
        const char* name;
        const char* call;
    };
    for (const Step& step :
         {Step{SYS_pipe2, "making a pipe", "pipe2"}, Step{SYS_madvise, "madvise(MADV_WIPEONFORK)", "madvise"}}) {
        SCOPED_TRACE(step.name);
        with_each_refusal([&step](int code) {
            const std::string words = words_when(code, [&] { refuse_by_seccomp(step.number, code); });
            EXPECT_TRUE(contains(words, step.name)) << words;
            EXPECT_TRUE(contains(words, std::string("seccomp filter or a security module refuses ") + step.call))
                << words;
            EXPECT_FALSE(contains(words, "RLIMIT")) << words;
        });
    }
}

// As a filter does that takes the calls for ones that it does not know, and not for ones that it forbids.
TEST_P(SeccompTest, AFilterThatAnswersAsAnOldKernelWouldIsToldFromOne) {
    in_child_alone([] {
        const std::string words = words_when(EINVAL, [] { refuse_by_seccomp(nr_setup, EINVAL); });
        expect_that_age_is_not_blamed(words);
    });
    for (const std::uint32_t code : {abi::register_probe, abi::register_files, abi::register_buffers}) {
        in_child_alone([code] {
            const std::string words = words_when(EINVAL, [code] { refuse_by_seccomp(nr_register, EINVAL, 1, code); });
            expect_that_age_is_not_blamed(words);
        });
    }
    in_child_alone([] {
        const std::string words =
            words_when(EOPNOTSUPP, [] { refuse_by_seccomp(nr_register, EINVAL, 1, abi::register_iowq_max_workers); });
        EXPECT_TRUE(contains(words, "it lacks opening into a file slot (5.15)")) << words;
        expect_that_age_is_not_blamed(words, 15);
    });
    in_child_alone([] {
        const std::string words = words_when(EINVAL, [] { refuse_by_seccomp(SYS_madvise, EINVAL); });
        expect_that_age_is_not_blamed(words);
    });
}

TEST_P(SeccompTest, AnAnswerThatNoKernelGivesIsSaidToBeAnothers) {
    for (const int code : {EOPNOTSUPP, EBADF, EFAULT, EBUSY, E2BIG, EOWNERDEAD}) {
        SCOPED_TRACE(std::strerror(code));
        for (const long number :
             {nr_setup, nr_register, static_cast<long>(SYS_pipe2), static_cast<long>(SYS_madvise)}) {
            SCOPED_TRACE(number);
            in_child_alone([code, number] {
                const std::string words = words_when(code, [code, number] { refuse_by_seccomp(number, code); });
                EXPECT_TRUE(contains(words, "a seccomp filter or a sandbox that stands in for the kernel") ||
                            contains(words, "the ring whose thread it was to share"))
                    << words;
            });
        }
    }
}

// It leaves squall no time for a word; what the operator sees is in the README.
TEST_P(SeccompTest, AFilterThatKillsEndsTheProcessBySigsys) {
    for (const long number : {nr_setup, nr_register, nr_enter}) {
        const pid_t child = fork_or_abort();
        if (child == 0) {
            const rlimit no_core{0, 0};
            ::setrlimit(RLIMIT_CORE, &no_core);
            kill_by_seccomp(number);
            auto io = Io::create({.entries = 8, .mode = GetParam().mode, .polling = GetParam().polling});
            // What an SQPOLL thread that is awake ends at once would need no enter.
            int ends[2] = {-1, -1};
            std::byte byte{};
            if (io && ::pipe2(ends, O_CLOEXEC) == 0) (void)(io->read(ends[0], {&byte, 1}, 0, 1) && io->park().empty());
            ::_exit(0);
        }
        const int status = status_of(child);
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << number << ": status " << status;
    }
}

TEST_P(SeccompTest, ARingThatMayNotBeEnabledKeepsWhatWasQueuedAndGoesWithIt) {
    with_each_refusal([](int code) {
        BufferArena arena = make_arena({.count = 4});
        const Footprint before = footprint_now();
        {
            Io io = make_io(options(arena));
            refuse_by_seccomp(nr_register, code, 1, abi::register_enable_rings);
            for (Token token = 0; token < 8; ++token) ASSERT_TRUE(io.nop(token));
            for (const bool parked : {false, true, false}) {
                const Completions done = parked ? io.park() : io.poll();
                EXPECT_TRUE(done.empty());
                EXPECT_EQ(done.error().code(), code);
                EXPECT_TRUE(contains(done.error().message(), "seccomp filter")) << done.error().message();
                EXPECT_TRUE(contains(done.error().message(), "IORING_REGISTER_ENABLE_RINGS")) << done.error().message();
                EXPECT_EQ(io.in_flight(), 8U);
                expect_conserved(io);
            }
        }
        EXPECT_EQ(footprint_now(), before);
    });
}

TEST_P(SeccompTest, ARingThatMayNotBeRegisteredDoesWithout) {
    with_each_refusal([](int code) {
        BufferArena arena = make_arena({.count = 4});
        const Footprint before = footprint_now();
        {
            Io io = make_io(options(arena));
            refuse_by_seccomp(nr_register, code, 1, abi::register_ring_fds);
            EXPECT_EQ(result_of(io, io.nop(1)), 0);
            EXPECT_FALSE(io.features().registered_ring);
        }
        EXPECT_EQ(footprint_now(), before);
    });
}

// --- With operations in flight --------------------------------------------------------------------------------------

// A ring in the middle of everything: reads that never come, transfers by slot and by descriptor, and what is only queued.
class Busy {
public:
    static constexpr unsigned never = 4;

    explicit Busy(const TempDir& dir, const IoOptions& options, BufferArena& arena) : buffer_(arena.acquire().value()) {
        write_file(dir.file("f"), std::vector<std::byte>(4096));
        fd_ = ::open(dir.file("f").c_str(), O_RDONLY | O_CLOEXEC);
        io.emplace(make_io(options));
        EXPECT_TRUE(io->set_file(FileSlot(0), fd_));
        for (Token token = 0; token < never; ++token)
            EXPECT_TRUE(io->read(pipe_.read_end, buffer_.bytes().subspan(token * 64, 64), UINT64_MAX, token));
        (void)io->poll();
        until_taken();
        EXPECT_EQ(io->in_flight(), never);
    }
    ~Busy() { ::close(fd_); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

    // Queues two operations more, tokens 10 and 11.
    void queue_more() {
        EXPECT_TRUE(io->read(FileSlot(0), buffer_.bytes().subspan(1024, 512), 0, 10));
        EXPECT_TRUE(io->nop(11));
    }
    // Lets the reads that never come, come.
    void feed() {
        const std::vector<std::byte> bytes(never * 64, std::byte{0x77});
        ASSERT_EQ(::write(pipe_.write_end, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    }
    // Whoever still read from the pipe would take what it is fed, and write it where other things are by now.
    void expect_that_nobody_reads() {
        std::memset(buffer_.data(), 0x11, buffer_.size());
        feed();
        pipe_.until_unread();
        for (const std::byte byte : buffer_.bytes()) ASSERT_EQ(byte, std::byte{0x11});
        EXPECT_EQ(pipe_.bytes_within(), static_cast<int>(never * 64));
    }

    std::optional<Io> io;

private:
    Pipe pipe_;
    FixedBuffer buffer_;
    int fd_ = -1;
};

TEST_P(SeccompTest, EnteringThatIsRefusedInTheMiddleIsSaidAndTheRingGoesWithoutAReaderLeft) {
    with_each_refusal([](int code) {
        const TempDir dir;
        BufferArena arena = make_arena({.count = 4});
        const Footprint before = footprint_now();
        {
            Busy busy(dir, options(arena), arena);
            refuse_by_seccomp(nr_enter, code);
            busy.queue_more();
            std::set<Token> tokens;
            int refused = 0;
            for (int i = 0; i < 6; ++i) {
                const Completions done = i % 2 == 0 ? busy.io->poll() : busy.io->park(1ms);
                if (done.error()) {
                    ++refused;
                    EXPECT_EQ(done.error().code(), code);
                    EXPECT_TRUE(contains(done.error().message(), "io_uring_enter")) << done.error().message();
                }
                for (const Completion& each : done) EXPECT_TRUE(tokens.insert(each.token).second) << each.token;
                expect_conserved(*busy.io);
            }
            // A thread of the kernel's that is awake needs no enter to be given work; only waiting for it does.
            EXPECT_TRUE(GetParam().mode == Mode::sqpoll ? refused > 0 : refused == 6) << refused << " times";
            EXPECT_EQ(busy.io->in_flight() + tokens.size(), Busy::never + 2);
            EXPECT_TRUE(busy.io->nop(12)) << "there is room";
            busy.io.reset();
            busy.expect_that_nobody_reads();
        }
        EXPECT_EQ(footprint_now(), before);
    });
}

TEST_P(SeccompTest, ARingThatMayNoLongerRegisterWorksOnToItsEnd) {
    with_each_refusal([](int code) {
        const TempDir dir;
        BufferArena arena = make_arena({.count = 4});
        const std::size_t before = footprint_now().descriptors;
        {
            Busy busy(dir, options(arena), arena);
            refuse_by_seccomp(nr_register, code);
            busy.queue_more();
            busy.feed();
            std::set<Token> tokens;
            for (const Completion& done : drain(*busy.io)) EXPECT_TRUE(tokens.insert(done.token).second) << done.token;
            EXPECT_EQ(tokens.size(), Busy::never + 2);
            const auto set = busy.io->set_file(FileSlot(1), 0);
            EXPECT_EQ(set.error().code(), code);
            expect_conserved(*busy.io);
        }
        EXPECT_EQ(footprint_now().descriptors, before);
    });
}

// As a process does that sandboxes itself once it has set up what it needs.
TEST_P(SeccompTest, ARingThatMayNoLongerRegisterGoesWithoutAReaderLeft) {
    with_each_refusal([](int code) {
        const TempDir dir;
        BufferArena arena = make_arena({.count = 4});
        const std::size_t before = footprint_now().descriptors;
        {
            Busy busy(dir, options(arena), arena);
            refuse_by_seccomp(nr_register, code);
            // What is only queued when the ring goes is never done, whatever the ring itself has yet to ask.
            const std::string victim = dir.file("f");
            while (busy.io->unlink(victim.c_str(), 20)) {
            }
            busy.io.reset();
            EXPECT_EQ(::access(victim.c_str(), F_OK), 0);
            busy.expect_that_nobody_reads();
        }
        EXPECT_EQ(footprint_now().descriptors, before);
    });
}

}  // namespace
}  // namespace squall
