// SPDX-License-Identifier: MIT
//
// Waking an Io from other threads: every wake is a completion, once, in every mode; it ends a park, whatever that waits for,
// and needs no system call where nobody sleeps.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <functional>
#include <optional>
#include <thread>

#include "child.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

class WakerTest : public testing::TestWithParam<Kind> {
protected:
    template <class Queue>
    void queued(Queue queue) {
        while (!queue()) (void)io.poll();
    }
    // A read of a pipe that nobody writes to, in the kernel.
    void begin_a_read_of_nothing(Token token) {
        queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, token); });
        EXPECT_TRUE(io.poll().empty());
    }
    void end_it() {
        ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
        EXPECT_EQ(drain(io).size(), 1U);
    }
    // Wakes with `token` once this thread sleeps.
    std::thread when_asleep(Waker waker, Token token) {
        return std::thread([waker = std::move(waker), token, parked = ::gettid()] {
            until_it_sleeps(parked);
            EXPECT_TRUE(waker.wake(token));
        });
    }
    static std::vector<Token> tokens_of(const Completions& wakes) {
        std::vector<Token> tokens;
        for (const Completion& wake : wakes) {
            EXPECT_EQ(wake.res, 0);
            EXPECT_EQ(wake.flags, 0U);
            tokens.push_back(wake.token);
        }
        return tokens;
    }

    TempDir dir;
    Pipe pipe;
    std::byte byte{};
    Io io = make_io(GetParam(), {.entries = 16, .file_slots = 2});
};
INSTANTIATE_TEST_SUITE_P(Modes, WakerTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// --- What a wake is ------------------------------------------------------------------------------------------------------

TEST_P(WakerTest, AWakeIsACompletionWithItsToken) {
    const Waker waker = io.waker();
    ASSERT_TRUE(waker) << waker.error().message();
    EXPECT_FALSE(waker.error());
    for (const Token token : {Token{0}, Token{7}, ~Token{0}, Token{7}}) EXPECT_TRUE(waker.wake(token));
    EXPECT_EQ(tokens_of(io.poll()), (std::vector<Token>{0, 7, ~Token{0}, 7})) << "in the order in which they were sent";
    EXPECT_TRUE(io.poll().empty());
    EXPECT_TRUE(waker.wake(1));
    EXPECT_EQ(tokens_of(io.park()), std::vector<Token>{1});
}

TEST_P(WakerTest, AWakeIsNoOperation) {
    const Waker waker = io.waker();
    begin_a_read_of_nothing(7);
    EXPECT_TRUE(waker.wake(7));
    EXPECT_EQ(io.in_flight(), 1U);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    EXPECT_EQ(io.wait_for(7)->res, 1) << "the operation, and not the wake";
    EXPECT_EQ(io.wait_for(7).error().code(), ENOENT);
    EXPECT_EQ(io.run(8, [&](Token token) { return io.nop(token); })->res, 0);
    EXPECT_EQ(io.counters().wakes, 0U);
    EXPECT_EQ(tokens_of(io.poll()), std::vector<Token>{7}) << "kept for the next poll";
    EXPECT_EQ(io.counters().wakes, 1U);
    EXPECT_EQ(io.counters().submitted, 2U);
    EXPECT_EQ(io.counters().completed, 2U);
    EXPECT_FALSE(io.withdraw());
}

TEST_P(WakerTest, WakesAndCompletionsTakeTurns) {
    const Waker waker = io.waker();
    // As many wakes at a time as are handed out at a time, and more: they never come to an end, and nops do all the same.
    std::uint64_t wakes = 0;
    std::uint64_t nops = 0;
    std::uint64_t begun = 0;
    const auto look = [&] {
        const Completions done = io.park();
        EXPECT_FALSE(done.empty());
        EXPECT_LE(done.size(), 256U);
        for (const Completion& each : done) ++(each.token == 1 ? wakes : nops);
    };
    for (std::uint64_t round = 0; round < 100; ++round) {
        for (int i = 0; i < 300; ++i) ASSERT_TRUE(waker.wake(1));
        begun += io.nop(2);
        look();
    }
    // An SQPOLL thread may not have come to any yet.
    EXPECT_GE(nops, GetParam().mode == Mode::sqpoll ? 0U : 40U);
    EXPECT_GE(wakes, 40U * 256);
    while (wakes < 100 * 300 || nops < begun) look();
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(io.counters().wakes, wakes);
    EXPECT_EQ(io.counters().completed, nops);
}

// --- Parked --------------------------------------------------------------------------------------------------------------

TEST_P(WakerTest, AParkedOwnerIsWokenWithNothingInFlight) {
    const Waker waker = io.waker();
    for (Token round = 0; round < 20; ++round) {
        std::thread other = when_asleep(waker, round);
        EXPECT_EQ(tokens_of(io.park()), std::vector<Token>{round});
        other.join();
    }
}

TEST_P(WakerTest, AWakeEndsAParkThatWaitsForOperations) {
    const Waker waker = io.waker();
    begin_a_read_of_nothing(1);
    for (Token round = 2; round < 10; ++round) {
        std::thread other = when_asleep(waker, round);
        EXPECT_EQ(tokens_of(round % 2 == 0 ? io.park(8) : io.park(1h)), std::vector<Token>{round});
        other.join();
    }
    std::thread other = when_asleep(waker, 10);
    EXPECT_EQ(tokens_of(io.park({.at_least = 8, .gather = 1h})), std::vector<Token>{10});
    other.join();
    end_it();
}

TEST_P(WakerTest, AParkWaitsForAsManyOperationsAsItIsToWhereNobodyWakes) {
    const Waker waker = io.waker();
    Pipe second;
    std::byte into{};
    begin_a_read_of_nothing(1);
    queued([&] { return io.read(second.read_end, {&into, 1}, 0, 2); });
    std::thread writer([&, parked = ::gettid()] {
        until_it_sleeps(parked);
        ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
        ASSERT_EQ(::write(second.write_end, "x", 1), 1);
    });
    EXPECT_EQ(io.park(2).size(), 2U);
    writer.join();
    queued([&] { return io.nop(3); });
    EXPECT_EQ(io.park(8).size(), 1U) << "all that is in flight";
}

TEST_P(WakerTest, AParkWithATimeoutWaitsItOut) {
    const Waker waker = io.waker();
    auto before = io.now();
    EXPECT_TRUE(io.park(3ms).empty());
    EXPECT_GE(io.now() - before, 3ms);
    begin_a_read_of_nothing(1);
    before = io.now();
    EXPECT_TRUE(io.park(3ms, 2).empty());
    EXPECT_GE(io.now() - before, 3ms);
    EXPECT_TRUE(io.park(0ms).empty());
    EXPECT_TRUE(io.park(1h, 0).empty()) << "which waits for none";
    end_it();
}

TEST_P(WakerTest, TransfersOfAFileInASlotGoOnBesideWakes) {
    const Waker waker = io.waker();
    const std::string path = dir.file("f");
    write_file(path, std::vector<std::byte>(1 << 16));
    ASSERT_EQ(result_of(io, io.open(path, {.read = true}, FileSlot(0), 1)), 0);
    std::vector<std::byte> bytes(4096);
    std::uint64_t reads = 0;
    std::uint64_t begun = 0;
    while (reads < 200) {
        begun += begun < 200 && io.read(FileSlot(0), bytes, begun % 16 * 4096, 2);
        waker.wake(3);
        for (const Completion& done : io.park()) {
            EXPECT_EQ(done.res, done.token == 2 ? 4096 : 0);
            reads += done.token == 2;
        }
    }
}

// --- Many ----------------------------------------------------------------------------------------------------------------

TEST_P(WakerTest, NotOneOfVeryManyIsLostWhileTheOwnerParksPollsAndWorks) {
    constexpr std::uint64_t senders = 4;
    const std::uint64_t each = scaled(100'000);
    std::vector<std::uint64_t> next(senders);
    std::uint64_t left = senders * each;
    std::uint64_t nops = 0;
    std::vector<std::thread> threads;
    for (std::uint64_t sender = 0; sender < senders; ++sender)
        threads.emplace_back([waker = io.waker(), sender, each] {
            for (std::uint64_t i = 0; i < each; ++i) {
                ASSERT_TRUE(waker.wake(sender << 32 | i));
                // So that the owner sleeps between them now and then.
                if (i % 64 == sender) std::this_thread::yield();
            }
        });
    constexpr Token a_nop = ~Token{0};
    for (std::uint64_t round = 0; left > 0; ++round) {
        if (round % 3 == 0 && io.nop(a_nop)) ++nops;
        const Completions done = round % 5 == 0 ? io.poll() : io.park(round % 2 + 1);
        ASSERT_FALSE(done.failed());
        for (const Completion& wake : done) {
            if (wake.token == a_nop) {
                --nops;
                continue;
            }
            ASSERT_EQ(wake.token & UINT32_MAX, next[wake.token >> 32]++) << "of sender " << (wake.token >> 32);
            --left;
        }
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(drain(io).size(), nops);
    EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(io.counters().wakes, senders * each);
    EXPECT_EQ(io.counters().submitted, io.counters().completed);
}

TEST_P(WakerTest, TwoIosThatWakeEachOtherNeverSleepBoth) {
    const std::uint64_t rounds = scaled(5000);
    const auto play = [rounds](Io& own, const Waker& other) {
        for (std::uint64_t round = 0; round < rounds; ++round) {
            std::size_t got = 0;
            while (got == 0) got = own.park().size();
            ASSERT_EQ(got, 1U);
            ASSERT_TRUE(other.wake(round));
        }
    };
    Io second = make_io(GetParam(), {.entries = 2, .file_slots = 1});
    const Waker of_first = io.waker();
    const Waker of_second = second.waker();
    ASSERT_TRUE(of_first.wake(0));
    std::thread thread([&] { play(second, of_first); });
    play(io, of_second);
    thread.join();
    EXPECT_EQ(tokens_of(io.park()).size(), 1U);
}

TEST_P(WakerTest, WakesThatNobodyTakesArePutByAndComeInTheirOrder) {
    const Waker waker = io.waker();
    constexpr Token many = 100'000;
    const std::uint64_t mapped = bytes_mapped();
    for (Token i = 0; i < many; ++i) ASSERT_TRUE(waker.wake(i));
    EXPECT_LE(bytes_mapped() - mapped, 2 * 16 * many);
    const std::uint64_t grown = bytes_mapped();
    for (int again = 0; again < 2; ++again) {
        Token next = 0;
        while (next < many)
            for (const Completion& wake : io.park()) ASSERT_EQ(wake.token, next++);
        for (Token i = 0; again == 0 && i < many; ++i) ASSERT_TRUE(waker.wake(i));
    }
    EXPECT_EQ(bytes_mapped(), grown) << "what has been handed out is used again";
}

// --- What it costs -------------------------------------------------------------------------------------------------------

TEST_P(WakerTest, NobodyMakesASystemCallWhereNobodySleeps) {
    const Waker waker = io.waker();
    ASSERT_EQ(result_of(io, io.nop(1)), 0);
    (void)io.poll();
    const std::uint64_t calls = calls_made();
    const std::uint64_t allocations = allocations_made();
    for (Token i = 0; i < 200; ++i) waker.wake(i);
    EXPECT_EQ(io.park(200).size(), 200U);
    EXPECT_TRUE(io.poll().empty());
    const Waker copy = waker;
    copy.wake(1);
    EXPECT_EQ(io.poll().size(), 1U);
    EXPECT_EQ(calls_made(), calls);
    EXPECT_EQ(allocations_made(), allocations);
}

TEST_P(WakerTest, OneOfManyWakesRings) {
    const Waker waker = io.waker();
    ASSERT_GE(io.poll_fd(), 3);
    for (int round = 0; round < 3; ++round) {
        EXPECT_TRUE(io.poll().empty());
        const std::uint64_t writes = calls_made(SYS_write);
        for (Token i = 0; i < 100; ++i) EXPECT_TRUE(waker.wake(i));
        EXPECT_EQ(calls_made(SYS_write), writes + 1);
        EXPECT_EQ(io.poll().size(), 100U);
    }
}

TEST_P(WakerTest, AParkThatSleepsTakesThreeSystemCallsMore) {
    if (GetParam().mode == Mode::sqpoll || GetParam().polling != Polling::none) return;  // others look, too
    const Waker waker = io.waker();
    constexpr std::uint64_t rounds = 20;
    std::uint64_t before = 0;
    for (std::uint64_t round = 0; round <= rounds; ++round) {
        if (round == 1) before = calls_made();
        ASSERT_TRUE(io.timer(2ms, 1));
        EXPECT_EQ(io.park().size(), 1U);
    }
    // To submit, to sleep, to run what is done, to clear the event; where completions interrupt, one less and one sleep more.
    EXPECT_LE(calls_made() - before, rounds * 5);
}

// --- poll_fd -------------------------------------------------------------------------------------------------------------

TEST_P(WakerTest, AWakeMakesThePollDescriptorReadable) {
    // Whichever is asked for first.
    std::optional<Waker> waker;
    if (GetParam().mode == Mode::plain) waker = io.waker();
    const int fd = io.poll_fd();
    if (!waker) waker = io.waker();
    for (Token round = 0; round < 3; ++round) {
        EXPECT_TRUE(io.poll().empty());
        EXPECT_FALSE(is_readable(fd));
        EXPECT_TRUE(waker->wake(round));
        EXPECT_TRUE(is_readable(fd));
        EXPECT_TRUE(waker->wake(round));
        EXPECT_EQ(io.poll().size(), 2U);
        EXPECT_FALSE(is_readable(fd));
        std::thread other = when_asleep(*waker, round);
        EXPECT_EQ(io.park().size(), 1U);
        other.join();
        expect_quiet(io, fd);
    }
    // More than are handed out at a time, and completions that wait behind them.
    for (Token i = 0; i < 300; ++i) waker->wake(i);
    EXPECT_EQ(io.poll().size(), 256U);
    EXPECT_TRUE(is_readable(fd));
    EXPECT_EQ(io.poll().size(), 44U);
    EXPECT_FALSE(is_readable(fd));
    queued([&] { return io.fsync(-1, 1); });
    waker->wake(1);
    std::size_t got = 0;
    while (got < 2) {
        struct pollfd look = {fd, POLLIN, 0};
        while (::poll(&look, 1, io.in_flight() > 0 && got == 0 ? 0 : -1) < 0 && errno == EINTR) {
        }
        got += io.poll().size();
    }
    EXPECT_TRUE(io.poll().empty());
    expect_quiet(io, fd);
}

TEST_P(WakerTest, AnOwnerThatSleepsInEpollSeesEveryWake) {
    const Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event wanted {};
    wanted.events = EPOLLIN;
    ASSERT_EQ(::epoll_ctl(epoll, EPOLL_CTL_ADD, io.poll_fd(), &wanted), 0);
    const std::uint64_t each = scaled(20'000);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i)
        threads.emplace_back([waker = io.waker(), each] {
            for (Token token = 0; token < each; ++token) {
                ASSERT_TRUE(waker.wake(token));
                if (token % 16 == 0) std::this_thread::yield();
            }
        });
    std::uint64_t got = 0;
    while (got < 2 * each) {
        const std::size_t now = io.poll().size();
        got += now;
        if (now > 0 || got == 2 * each) continue;
        struct epoll_event event {};
        while (::epoll_wait(epoll, &event, 1, -1) < 0 && errno == EINTR) {
        }
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(io.poll().empty());
    expect_quiet(io, io.poll_fd());
}

TEST_P(WakerTest, AParkDoesWithoutASignalThatTheKernelForgets) {
    if (!io.features().deferred_taskrun) return;  // nowhere else is one forgotten
    const Waker waker = io.waker();
    begin_a_read_of_nothing(1);
    int sleeps = 0;
    const Intercept forgets([&](Call& call) -> std::optional<long> {
        if (call.number != SYS_ppoll) return std::nullopt;
        const auto* const timeout = reinterpret_cast<const abi::Timespec*>(call.args[2]);
        EXPECT_NE(timeout, nullptr) << "it would sleep for ever";
        EXPECT_LE(timeout ? timeout->tv_nsec : 0, 10'000'000);
        if (++sleeps == 3) {
            EXPECT_EQ(::write(pipe.write_end, "x", 1), 1);
        }
        reinterpret_cast<struct pollfd*>(call.args[0])->revents = 0;
        return 0;  // the time is up, and nothing was signalled
    });
    EXPECT_EQ(io.park().size(), 1U);
    EXPECT_GE(sleeps, 3) << "and more where a worker reads";
}

// --- Coming and going ----------------------------------------------------------------------------------------------------

TEST_P(WakerTest, AfterItsIoIsGoneAWakerWakesNobodyAndNothingIsLeft) {
    const std::size_t descriptors = descriptors_now();
    const std::uint64_t mapped = bytes_mapped();
    {
        std::optional<Io> passing = make_io(GetParam(), {.entries = 2, .file_slots = 1});
        Waker waker = passing->waker();
        Waker copy = waker;
        const Waker moved = std::move(copy);
        for (Token i = 0; i < 1000; ++i) EXPECT_TRUE(moved.wake(i));
        Io elsewhere = *std::exchange(passing, std::nullopt);
        EXPECT_FALSE(elsewhere.poll().empty()) << "it moves with its Io";
        { const Io last = std::move(elsewhere); }
        EXPECT_FALSE(waker.wake(1));
        EXPECT_FALSE(moved.wake(1));
        waker = io.waker();
        EXPECT_TRUE(waker.wake(2));
        waker = {};
        EXPECT_FALSE(waker);
        EXPECT_FALSE(waker.wake(3));
        EXPECT_EQ(waker.error().message(), "a Waker: EINVAL (Invalid argument): no Io::waker() made it");
        EXPECT_EQ(tokens_of(io.poll()), std::vector<Token>{2}) << "sent before its Waker went";
    }
    EXPECT_EQ(descriptors_now(), descriptors + 2) << "those of `io`";
    EXPECT_GT(bytes_mapped(), mapped);
    io = make_io(GetParam(), {.entries = 16, .file_slots = 2});
    EXPECT_EQ(descriptors_now(), descriptors);
    EXPECT_EQ(bytes_mapped(), mapped);
}

TEST_P(WakerTest, ThreadsThatWakeWhileTheIoGoesFindItThereOrGone) {
    for (std::uint64_t round = 0; round < scaled(40); ++round) {
        std::optional<Io> passing = make_io(GetParam(), {.entries = 2, .file_slots = 1});
        std::atomic<std::uint64_t> sent{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 2; ++i)
            threads.emplace_back([waker = passing->waker(), &sent] {
                while (waker.wake(1)) ++sent;
            });
        while (sent < 50) (void)passing->park(1ms);
        passing.reset();
        for (std::thread& thread : threads) thread.join();
    }
}

TEST_P(WakerTest, WithTheLastWakerAParkThatWaitsForNothingElseReturns) {
    for (int round = 0; round < 5; ++round) {
        std::thread other([waker = io.waker(), parked = ::gettid()]() mutable {
            until_it_sleeps(parked);
            const Waker copy = waker;
            waker = {};
        });
        EXPECT_TRUE(io.park().empty());
        other.join();
    }
    EXPECT_TRUE(io.park().empty()) << "at once: there is none";
    const auto before = io.now();
    EXPECT_TRUE(io.park(2ms).empty());
    EXPECT_GE(io.now() - before, 2ms);
    for (std::uint64_t round = 0; round < scaled(500); ++round) {
        std::thread other([waker = io.waker()]() mutable { waker = {}; });
        EXPECT_TRUE(io.park().empty());
        other.join();
    }
}

TEST_P(WakerTest, AForkedChildWakesNobody) {
    const Waker waker = io.waker();
    EXPECT_TRUE(waker.wake(1));
    const Completions first = io.poll();
    in_child_alone([&] {
        EXPECT_FALSE(waker.wake(2));
        EXPECT_FALSE(Waker(waker).wake(2));
        const Waker none = io.waker();
        EXPECT_FALSE(none);
        EXPECT_EQ(none.error().code(), ESTALE);
        EXPECT_EQ(io.park().code(), ESTALE);
    });
    EXPECT_EQ(tokens_of(first), std::vector<Token>{1});
}

// --- Signals -------------------------------------------------------------------------------------------------------------

// ThreadSanitizer keeps signals back until the program calls what it has replaced.
Completions park_for_a_signal(Io& io) {
#if defined(__SANITIZE_THREAD__)
    ::usleep(0);
    return io.park(1ms);
#else
    return io.park();
#endif
}

const Waker* from_the_handler = nullptr;
std::atomic<std::uint64_t> signals_seen{0};

TEST_P(WakerTest, ASignalHandlerMayWake) {
    const Waker waker = io.waker();
    from_the_handler = &waker;
    signals_seen = 0;
    struct sigaction handler {};
    handler.sa_handler = [](int) { from_the_handler->wake(++signals_seen); };
    struct sigaction before {};
    ASSERT_EQ(::sigaction(SIGUSR1, &handler, &before), 0);
    const std::uint64_t signals = 200;
    // On the owner, asleep or not, and in the midst of a wake of its own.
    std::thread other([&, owner = ::pthread_self()] {
        while (signals_seen < signals) {
            const std::uint64_t seen = signals_seen;
            ASSERT_EQ(::pthread_kill(owner, SIGUSR1), 0);
            while (signals_seen == seen) std::this_thread::yield();
        }
    });
    std::uint64_t of_signals = 0;
    std::uint64_t own = 0;
    std::uint64_t sent = 0;
    std::uint64_t rounds = 0;
    while (of_signals < signals) {
        // Every other round there is nothing but the handler's to wait for.
        if (++rounds % 2 == 0) sent += waker.wake(0);
        for (const Completion& wake : park_for_a_signal(io)) {
            if (wake.token == 0) {
                ++own;
            } else {
                EXPECT_EQ(wake.token, ++of_signals);
            }
        }
    }
    other.join();
    while (own < sent) own += io.park().size();
    ASSERT_EQ(::sigaction(SIGUSR1, &before, nullptr), 0);
}

// --- What fails ----------------------------------------------------------------------------------------------------------

TEST_P(WakerTest, WhereThereIsNoDescriptorOrMemoryForItThatIsSaidAndNothingIsLeft) {
    const std::size_t descriptors = descriptors_now();
    const std::uint64_t mapped = bytes_mapped();
    const auto error_with = [&](const Intercept::Answer& refused) {
        const Intercept none(refused);
        const Waker waker = io.waker();
        EXPECT_FALSE(waker);
        EXPECT_FALSE(waker.wake(1));
        return waker.error().message();
    };
    const std::string two = ": it takes two file descriptors, beside poll_fd() one";
    EXPECT_EQ(error_with(refuse(SYS_eventfd2, -EMFILE)), "Io::waker: EMFILE (Too many open files)" + two);
    EXPECT_EQ(descriptors_now(), descriptors);
    EXPECT_TRUE(contains(error_with(refuse(nr_register, -ENOMEM)), "Io::waker: ENOMEM (Cannot allocate memory)"));
    EXPECT_TRUE(contains(error_with(refuse(nr_register, -EPERM)), "seccomp"));
    EXPECT_EQ(descriptors_now(), descriptors);
    EXPECT_EQ(error_with(refuse(SYS_fcntl, -EINVAL)), "Io::waker: EMFILE (Too many open files)" + two);
    EXPECT_EQ(error_with(refuse(SYS_fcntl, -EMFILE)), "Io::waker: EMFILE (Too many open files)" + two);
    EXPECT_TRUE(contains(error_with(refuse(SYS_mmap, -ENOMEM)), "Io::waker: ENOMEM (Cannot allocate memory)"));
    EXPECT_TRUE(contains(error_with(refuse(SYS_madvise, -EINVAL)), "Io::waker: EINVAL (Invalid argument)"));
    EXPECT_EQ(descriptors_now(), descriptors + 1) << "the event, for the next time";
    EXPECT_EQ(bytes_mapped(), mapped);
    EXPECT_TRUE(io.park().empty()) << "as ever";
    EXPECT_TRUE(io.waker().wake(1));
    EXPECT_EQ(io.poll().size(), 1U);
}

TEST_P(WakerTest, WithoutMemoryForOneMoreWakeItSaysSoAndTheOthersCome) {
    const Waker waker = io.waker();
    {
        const Intercept none(refuse(SYS_mmap, -ENOMEM));
        Token sent = 0;
        while (waker.wake(sent)) ++sent;
        EXPECT_EQ(sent, 256U);
        EXPECT_FALSE(waker.wake(sent));
        EXPECT_EQ(io.poll().size(), 256U);
        for (Token i = 0; i < 256; ++i) EXPECT_TRUE(waker.wake(i)) << "there is room for as many again";
        EXPECT_FALSE(waker.wake(0));
    }
    EXPECT_TRUE(waker.wake(256));
    Token next = 0;
    while (next < 257)
        for (const Completion& wake : io.poll()) EXPECT_EQ(wake.token, next++);
}

TEST_P(WakerTest, OnAThreadThatIsNotTheOwnersItIsRefused) {
    if (GetParam().mode == Mode::plain) return;
    ASSERT_EQ(result_of(io, io.nop(1)), 0);
    const Waker waker = io.waker();
    EXPECT_TRUE(waker.wake(1));
    std::thread([&] {
        const Waker none = io.waker();
        EXPECT_FALSE(none);
        EXPECT_EQ(none.error().code(), EEXIST);
        EXPECT_EQ(io.park().code(), EEXIST);
        EXPECT_EQ(io.poll().code(), EEXIST);
        EXPECT_EQ(io.park(1ms).code(), EEXIST);
    }).join();
    EXPECT_EQ(tokens_of(io.poll()), std::vector<Token>{1}) << "which is the owner's";
}

TEST_P(WakerTest, AFailureOfTheRingIsToldBesideTheWakes) {
    if (GetParam().mode == Mode::sqpoll) return;  // it is entered for nothing
    const Waker waker = io.waker();
    ASSERT_EQ(result_of(io, io.nop(1)), 0);
    ASSERT_TRUE(io.nop(2));
    {
        const Intercept broken(refuse(nr_enter, -EPERM));
        for (Token round = 3; round < 6; ++round) {
            EXPECT_EQ(io.park().code(), EPERM);
            EXPECT_TRUE(waker.wake(round));
            const Completions wakes = round % 2 == 0 ? io.park() : io.poll();
            EXPECT_EQ(wakes.code(), EPERM);
            EXPECT_EQ(tokens_of(wakes), std::vector<Token>{round});
        }
    }
    EXPECT_EQ(io.park().size(), 1U);
    ASSERT_TRUE(io.nop(4));
    const Intercept short_of_memory(refuse(nr_enter, -EAGAIN));
    EXPECT_EQ(io.park().code(), EAGAIN) << "the kernel has nothing whose end would free memory";
    EXPECT_EQ(*io.withdraw(), 4U);
}

TEST_P(WakerTest, WhereItCannotSleepThatIsTold) {
    const Waker waker = io.waker();
    {
        const Intercept refused(refuse(SYS_ppoll, -EPERM));
        EXPECT_EQ(io.park().code(), EPERM);
    }
    const Intercept closed([](Call& call) -> std::optional<long> {
        if (call.number != SYS_ppoll) return std::nullopt;
        reinterpret_cast<struct pollfd*>(call.args[0])->revents = POLLNVAL;
        return 1;
    });
    EXPECT_EQ(io.park().code(), EBADF);
    EXPECT_TRUE(waker.wake(1));
    EXPECT_EQ(io.park().size(), 1U);
}

TEST_P(WakerTest, WhoeverAsksForTheDescriptorOrTheWakerLateIsToldOfWhatWasThere) {
    Io second = make_io(GetParam(), {.entries = 2, .file_slots = 1});
    {
        // The descriptor first, and looked at.
        const int fd = io.poll_fd();
        EXPECT_TRUE(io.poll().empty());
        EXPECT_FALSE(is_readable(fd));
        EXPECT_TRUE(io.waker().wake(1));
        EXPECT_TRUE(is_readable(fd));
        EXPECT_EQ(io.poll().size(), 1U);
    }
    const Waker waker = second.waker();
    std::thread other = when_asleep(waker, 1);
    EXPECT_EQ(second.park().size(), 1U);
    other.join();
    EXPECT_TRUE(waker.wake(2));
    EXPECT_TRUE(is_readable(second.poll_fd()));
    EXPECT_EQ(second.poll().size(), 1U);
}

TEST_P(WakerTest, WithoutAnyWakerLeftAParkSleepsInTheRingAsEver) {
    if (GetParam().mode == Mode::sqpoll || GetParam().polling != Polling::none) return;
    std::optional<Waker> waker = io.waker();
    begin_a_read_of_nothing(2);
    EXPECT_TRUE(waker->wake(1));
    waker.reset();
    EXPECT_EQ(tokens_of(io.park()), std::vector<Token>{1}) << "sent before the last one went";
    const std::uint64_t sleeps = calls_made(SYS_ppoll);
    std::thread writer([&, parked = ::gettid()] {
        until_it_sleeps(parked);
        ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    });
    EXPECT_EQ(io.park().size(), 1U);
    writer.join();
    EXPECT_EQ(calls_made(SYS_ppoll), sleeps);
}

TEST_P(WakerTest, WakesInHandAreLetGoBeforeTheNext) {
    // In the process that dies: a fork leaves a child no Io.
    const auto with_wakes_in_hand = [](const std::function<void(Io&)>& then) {
        Io own = make_io(GetParam(), {.entries = 2, .file_slots = 1});
        const Waker waker = own.waker();
        waker.wake(1);
        const Completions wakes = own.poll();
        then(own);
    };
    const char* const earlier = "poll\\(\\) or park\\(\\) while an earlier Completions is alive";
    EXPECT_DEATH(with_wakes_in_hand([](Io& own) { (void)own.poll(); }), earlier);
    EXPECT_DEATH(with_wakes_in_hand([](Io& own) { (void)own.park(); }), earlier);
    EXPECT_DEATH(with_wakes_in_hand([](Io& own) { const Io moved = std::move(own); }),
                 "an Io is moved while a Completions of it is alive");
}

}  // namespace
}  // namespace squall
