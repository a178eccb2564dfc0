// SPDX-License-Identifier: MIT
//
// What an event loop needs beside poll() and park(): a descriptor to sleep on, a park that gathers, limits for the kernel's
// workers, and several Ios, one for each thread, over one arena. Each in every mode.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "child.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

class LoopTest : public testing::TestWithParam<Kind> {
protected:
    template <class Queue>
    void queued(Queue queue) {
        while (!queue()) (void)io.poll();
    }
    static void until_readable(int fd) {
        struct pollfd look = {fd, POLLIN, 0};
        while (::poll(&look, 1, -1) < 0 && errno == EINTR) {
        }
        EXPECT_EQ(look.revents & POLLIN, POLLIN);
    }
    void put(Pipe& into) { ASSERT_EQ(::write(into.write_end, "x", 1), 1); }

    TempDir dir;
    Pipe pipe;
    Pipe other;
    std::byte byte{};
    std::byte second{};
    Io io = make_io(GetParam(), {.entries = 16, .file_slots = 2});
};
INSTANTIATE_TEST_SUITE_P(Modes, LoopTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// --- poll_fd -----------------------------------------------------------------------------------------------------------

TEST_P(LoopTest, TheDescriptorIsReadableWhenThereIsACompletionAndUntilItIsTaken) {
    const int fd = io.poll_fd();
    ASSERT_GE(fd, 3);
    EXPECT_EQ(io.poll_fd(), fd);
    EXPECT_TRUE(io.poll().empty());
    EXPECT_FALSE(is_readable(fd)) << "nothing was ever queued";
    // With DEFER_TASKRUN some kernels (6.12.117) tell only once of what a pipe brings: see poll_fd().
    const bool by_a_pipe = GetParam().mode != Mode::deferred;
    for (int round = 0; round < 20; ++round) {
        std::thread writer;
        if (by_a_pipe) {
            queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, 7); });
            EXPECT_TRUE(io.poll().empty());
            expect_quiet(io, fd);
            writer = std::thread([this] { put(pipe); });
        } else {
            queued([&] { return io.timer(1ms, 7); });
            (void)io.poll();
        }
        // Some kernels (6.1) call once for nothing.
        std::size_t found = by_a_pipe || io.in_flight() > 0 ? 0 : 1;
        while (found == 0) {
            until_readable(fd);
            for (const Completion& done : io.poll()) {
                EXPECT_EQ(done.res, by_a_pipe ? 1 : -ETIME);
                ++found;
            }
        }
        if (by_a_pipe) writer.join();
        EXPECT_EQ(found, 1U);
        expect_quiet(io, fd);
    }
}

TEST_P(LoopTest, WhatAWaitForLeavesBehindMakesItReadable) {
    const int fd = io.poll_fd();
    queued([&] { return io.fsync(-1, 1); });
    queued([&] { return io.fsync(-1, 2); });
    EXPECT_EQ(io.wait_for(2).value().res, -EBADF);
    until_readable(fd);
    EXPECT_EQ(drain(io).size(), 1U);
    expect_quiet(io, fd);
}

TEST_P(LoopTest, WhatTheKernelDidNotTakeMakesItReadable) {
    if (GetParam().mode == Mode::sqpoll) return;  // its thread takes what it is shown
    ASSERT_EQ(result_of(io, io.nop(1)), 0);
    const int fd = io.poll_fd();
    expect_quiet(io, fd);
    ASSERT_TRUE(io.nop(2));
    {
        const Intercept short_of_memory(refuse(nr_enter, -EAGAIN));
        EXPECT_TRUE(io.poll().empty());
        EXPECT_TRUE(is_readable(fd)) << "or who sleeps on it would sleep for ever";
    }
    EXPECT_EQ(io.poll().size(), 1U);
    expect_quiet(io, fd);
}

TEST_P(LoopTest, AProgramThatSleepsInEpollSeesEveryOperationThrough) {
    const Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event wanted {};
    wanted.events = EPOLLIN;
    ASSERT_EQ(::epoll_ctl(epoll, EPOLL_CTL_ADD, io.poll_fd(), &wanted), 0);
    const std::string path = dir.file("f");
    std::vector<std::byte> bytes(4096);
    ASSERT_EQ(result_of(io, io.open(path, {.read = true, .write = true, .create = true}, FileSlot(0), 1)), 0);
    const std::uint64_t total = scaled(2000);
    std::uint64_t begun = 0;
    std::uint64_t ended = 0;
    while (ended < total) {
        for (bool room = true; room && begun < total; begun += room) {
            switch (begun % 4) {
                case 0:
                    room = io.write(FileSlot(0), bytes, begun * 64, 10);
                    break;
                case 1:
                    room = io.read(FileSlot(0), bytes, 0, 11);
                    break;
                case 2:
                    room = io.fdatasync(FileSlot(0), 12);
                    break;
                default:
                    room = io.timer(1us, 13);
                    break;
            }
        }
        // Submits; and what has completed by then is no reason to sleep.
        const auto look = [&] {
            std::uint64_t count = 0;
            for (const Completion& done : io.poll()) {
                EXPECT_TRUE(done.ok() || done.token == 13) << done.token << ": " << done.res;
                ++count;
            }
            ended += count;
            return count;
        };
        if (look() > 0 || io.in_flight() == 0) continue;
        struct epoll_event event {};
        while (::epoll_wait(epoll, &event, 1, -1) < 0 && errno == EINTR) {
        }
        (void)look();
    }
    EXPECT_EQ(io.in_flight(), 0U);
    expect_quiet(io, io.poll_fd());
}

TEST_P(LoopTest, TheDescriptorGoesWithItsIoAndIsSaidToBeNoneInAForkedChild) {
    const std::size_t before = descriptors_now();
    {
        Io passing = make_io(GetParam(), {.entries = 2});
        EXPECT_GE(passing.poll_fd(), 3);
    }
    EXPECT_EQ(descriptors_now(), before);
    in_child_alone([this] { EXPECT_EQ(io.poll_fd(), -ESTALE); });
}

TEST_P(LoopTest, WhereThereIsNoDescriptorForItThatIsSaidAndNothingIsLeft) {
    const std::size_t before = descriptors_now();
    {
        const Intercept none(refuse(SYS_eventfd2, -EMFILE));
        EXPECT_EQ(io.poll_fd(), -EMFILE);
    }
    {
        const Intercept none(refuse(nr_register, -ENOMEM));
        EXPECT_EQ(io.poll_fd(), -ENOMEM);
    }
    EXPECT_EQ(descriptors_now(), before);
    EXPECT_GE(io.poll_fd(), 3);
    EXPECT_EQ(descriptors_now(), before + 1);
}

// --- park with a Batch ---------------------------------------------------------------------------------------------------

TEST_P(LoopTest, GatheringReturnsAsSoonAsAsManyAreThere) {
    queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, 1); });
    queued([&] { return io.read(other.read_end, {&second, 1}, 0, 2); });
    (void)io.poll();
    std::thread writer([this] {
        put(pipe);
        put(other);
    });
    EXPECT_EQ(io.park({.at_least = 2, .gather = 1h}).size(), 2U);
    writer.join();
}

TEST_P(LoopTest, WhatIsGatheredWhenTheTimeForItHasPassedIsEnough) {
    queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, 1); });
    queued([&] { return io.read(other.read_end, {&second, 1}, 0, 2); });
    put(pipe);
    const auto before = io.now();
    EXPECT_EQ(io.park({.at_least = 2, .gather = 5ms}).size(), 1U);
    EXPECT_GE(io.now() - before, 5ms);
    put(other);
    EXPECT_EQ(io.park({.at_least = 2, .gather = 1h}).size(), 1U) << "all that is in flight";
}

TEST_P(LoopTest, WithNothingGatheredItWaitsForOne) {
    queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, 1); });
    queued([&] { return io.read(other.read_end, {&second, 1}, 0, 2); });
    const auto before = io.now();
    std::thread writer([&] {
        while (io.now() - before < 3ms) std::this_thread::yield();
        put(pipe);
    });
    EXPECT_EQ(io.park({.at_least = 2, .gather = 1ms}).size(), 1U);
    writer.join();
    EXPECT_EQ(io.park({.at_least = 2, .gather = 1ms, .timeout = 2ms}).size(), 0U);
    put(other);
    EXPECT_EQ(drain(io).size(), 1U);
}

TEST_P(LoopTest, ABatchOfOneIsAnyPark) {
    EXPECT_TRUE(io.park(Batch{}).empty()) << "with nothing in flight";
    const auto before = io.now();
    EXPECT_TRUE(io.park({.timeout = 2ms}).empty());
    EXPECT_GE(io.now() - before, 2ms);
    queued([&] { return io.nop(1); });
    EXPECT_EQ(io.park(Batch{}).size(), 1U);
    queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, 1); });
    EXPECT_TRUE(io.park({.at_least = 0, .gather = 1h}).empty()) << "which waits for none";
    put(pipe);
    EXPECT_EQ(drain(io).size(), 1U);
}

// --- Workers -------------------------------------------------------------------------------------------------------------

TEST_P(LoopTest, WorkersAreLimitedAndBoundAndTheLimitsBeforeAreTold) {
    ASSERT_EQ(result_of(io, io.nop(1)), 0);
    ASSERT_TRUE(io.limit_workers({.bounded = 3, .unbounded = 5}));
    const auto limits = io.limit_workers({.unbounded = 6});
    ASSERT_TRUE(limits) << limits.error().message();
    EXPECT_EQ(limits->bounded, 3U);
    EXPECT_EQ(limits->unbounded, 5U);
    EXPECT_EQ(io.limit_workers({})->bounded, 3U) << "0 leaves it as it is";
    EXPECT_EQ(
        io.limit_workers({.bounded = 1U << 31}).error().message(),
        "Io::limit_workers(bounded=2147483648, unbounded=0): EINVAL (Invalid argument): each must be 0 to 2147483647");
    EXPECT_EQ(io.limit_workers({.unbounded = UINT32_MAX}).error().code(), EINVAL);
    cpu_set_t mine;
    ASSERT_EQ(::sched_getaffinity(0, sizeof(mine), &mine), 0);
    unsigned cpu = 0;
    while (!CPU_ISSET(cpu, &mine)) ++cpu;
    const auto bound = io.bind_workers({&cpu, 1});
    ASSERT_TRUE(bound) << bound.error().message();
    EXPECT_TRUE(io.bind_workers({}));
    const unsigned beyond = 1024;
    EXPECT_EQ(io.bind_workers({&beyond, 1}).error().message(),
              "Io::bind_workers: CPU 1024: EINVAL (Invalid argument): it must be 0 to 1023");
    // Operations that workers do go on as ever.
    EXPECT_EQ(result_of(io, io.fsync(-1, 1, {.async = true})), -EBADF);
}

TEST_P(LoopTest, AKernelWithoutLimitsOfWorkersSaysSo) {
    const Intercept old([](Call& call) -> std::optional<long> {
        if (call.number != nr_register) return std::nullopt;
        const auto code = static_cast<std::uint32_t>(call.args[1]);
        return code == abi::register_iowq_max_workers || code == abi::register_iowq_aff ? std::optional<long>(-EINVAL)
                                                                                        : std::nullopt;
    });
    EXPECT_EQ(io.limit_workers({.bounded = 3}).error().code(), EOPNOTSUPP);
    const unsigned first = 0;
    EXPECT_EQ(io.bind_workers({&first, 1}).error().code(), EINVAL);
    in_child_alone([this] {
        EXPECT_EQ(io.limit_workers({}).error().code(), ESTALE);
        EXPECT_EQ(io.bind_workers({}).error().code(), ESTALE);
    });
    if (GetParam().mode == Mode::plain) return;
    ASSERT_EQ(result_of(io, io.nop(1)), 0);
    std::thread([this] { EXPECT_EQ(io.limit_workers({}).error().code(), EEXIST); }).join();
}

// --- Several Ios ---------------------------------------------------------------------------------------------------------

std::size_t pollers_now() {
    std::size_t count = 0;
    for (const std::string& thread : make_io({.entries = 1}).list_dir("/proc/self/task").value()) {
        std::string name(16, '\0');
        const Fd comm(::open(("/proc/self/task/" + thread + "/comm").c_str(), O_RDONLY | O_CLOEXEC));
        const ssize_t got = ::read(comm, name.data(), name.size());
        count += got > 0 && name.rfind("iou-sqp-", 0) == 0;
    }
    return count;
}

TEST(SharedPoller, TakesTheSubmissionsOfEveryIoThatSharesIt) {
    const std::size_t before = pollers_now();
    std::optional<Io> first = make_io({.entries = 4, .mode = Mode::sqpoll});
    std::vector<Io> more;
    for (int i = 0; i < 3; ++i) more.push_back(make_io({.entries = 4, .mode = Mode::sqpoll, .sqpoll_with = &*first}));
    more.push_back(make_io(
        {.entries = 4, .mode = Mode::sqpoll, .file_slots = 1, .polling = Polling::busy, .sqpoll_with = &*first}));
    more.push_back(make_io({.entries = 4, .mode = Mode::sqpoll, .sqpoll_with = &more.back()}));
    for (int round = 0; round < 20; ++round)
        for (Io& each : more) EXPECT_EQ(result_of(each, each.nop(1)), 0);
    EXPECT_EQ(result_of(*first, first->nop(1)), 0);
    EXPECT_EQ(pollers_now(), before + 1);
    for (Io& each : more) EXPECT_FALSE(each.features().keeps_chains);
    EXPECT_TRUE(first->features().keeps_chains);
    first.reset();
    for (Io& each : more) EXPECT_EQ(result_of(each, each.nop(1)), 0) << "it lives on for the others";
}

TEST(SharedPoller, IsRefusedWhereThereIsNone) {
    const Io plain = make_io({.entries = 1, .mode = Mode::plain});
    EXPECT_EQ(
        Io::create({.mode = Mode::sqpoll, .sqpoll_with = &plain}).error().message(),
        "Io::create: sqpoll_with is of mode 1: EINVAL (Invalid argument): it must be an Io with Mode::sqpoll, made by "
        "this process");
    const Io sqpoll = make_io({.entries = 1, .mode = Mode::sqpoll});
    EXPECT_EQ(
        Io::create({.sqpoll_with = &sqpoll}).error().message(),
        "Io::create: sqpoll_with is set and mode is 0: EINVAL (Invalid argument): only with Mode::sqpoll is there a "
        "thread to share");
    in_child_alone(
        [&sqpoll] { EXPECT_EQ(Io::create({.mode = Mode::sqpoll, .sqpoll_with = &sqpoll}).error().code(), EINVAL); });
}

TEST_P(LoopTest, OneIoForEachThreadAndOneArenaForAll) {
    BufferArena arena = make_arena({.count = 64});
    const std::string path = dir.file("shared");
    write_file(path, std::vector<std::byte>(64 << 12));
    const std::uint64_t rounds = scaled(200);
    const auto work = [&](std::uint64_t mine) {
        Io own = make_io(GetParam(), {.entries = 8, .arena = &arena, .file_slots = 1});
        ASSERT_EQ(result_of(own, own.open(path, {.read = true, .write = true}, FileSlot(0), 1)), 0);
        for (std::uint64_t round = 0; round < rounds; ++round) {
            FixedBuffer buffer = arena.acquire().value();
            const std::uint64_t offset = (mine * 16 + round % 16) << 12;
            fill_pattern(buffer.bytes(), offset, round);
            ASSERT_EQ(own.run(2, [&](Token token) { return own.write(FileSlot(0), buffer, offset, token); })->res,
                      4096);
            std::ranges::fill(buffer, std::byte{});
            ASSERT_EQ(own.run(3, [&](Token token) { return own.read(FileSlot(0), buffer, offset, token); })->res, 4096);
            ASSERT_EQ(find_wrong(buffer.bytes(), offset, round), -1);
        }
        EXPECT_EQ(own.counters().fixed, 2 * rounds);
        EXPECT_EQ(own.counters().unregistered, 0U);
    };
    std::vector<std::thread> threads;
    for (std::uint64_t mine = 0; mine < 4; ++mine) threads.emplace_back(work, mine);
    for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace squall
