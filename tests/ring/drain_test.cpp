// SPDX-License-Identifier: MIT
//
// Letting go of a ring, call by call (I3): what the destructor asks of the kernel with operations in flight, what it makes
// of each answer, and that it gives back each thing once. The kernel is user_kernel.hpp's; that a real one then writes to
// no memory of the caller's is exit_test.cpp's.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <set>
#include <thread>
#include <utility>

#include "child.hpp"
#include "support.hpp"
#include "trace.hpp"
#include "user_kernel.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

class Drain : public testing::Test {
protected:
    // A ring with `count` operations that the kernel has taken and does not complete; the trace begins after that.
    void begin(unsigned count, const IoOptions& options = {.entries = 8}) {
        kernel.on_enter = [this](const Enter& enter) { return std::optional<long>(ring().consume(enter.to_submit)); };
        trace.forget();
        io = make_io(options);
        for (Token token = 0; token < count; ++token) ASSERT_TRUE(io->nop(token));
        EXPECT_TRUE(io->poll().empty());
        if (options.mode == Mode::sqpoll) (void)ring().consume(count);
        kernel.enters.clear();
        kernel.registers.clear();
        trace.take();
    }
    UserKernel::Ring& ring() { return kernel.ring(kernel.setups.size() - 1); }
    // One more that the kernel takes and does not complete.
    void queue_in_flight(const std::function<bool()>& queue) {
        ASSERT_TRUE(queue());
        EXPECT_TRUE(io->poll().empty());
    }
    std::string let_go() {
        io.reset();
        return trace.take();
    }

    // What is unmapped and closed, in this order, however it came to that.
    static constexpr const char* unmapped =
        "munmap m2 768\n"
        "munmap m3 512\n"
        "munmap m4 65536\n"
        "close ring1\n";
    static constexpr const char* gone = "munmap m1 4096\n";
    const std::string ordinary =
        std::string("register ring1 unregister-ring-fds 1\n") + unmapped + "close pipe1.read\n" + gone;
    // The ring is closed and the pipe waited for.
    const std::string by_closing = std::string("register ring1 unregister-ring-fds 1\n") + unmapped +
                                   "ppoll 1 for ever\nclose pipe1.read\n" + gone;

    UserKernel kernel;
    Trace trace;
    std::optional<Io> io;
    std::array<std::byte, 8> memory{};
};

TEST_F(Drain, OfAnIdleRingOnlyGivesBackWhatItHas) {
    abi::RsrcUpdate update{};
    kernel.on_register = [&](const Register& what) -> std::optional<long> {
        if (what.code == abi::unregister_ring_fds) update = what.as<abi::RsrcUpdate>();
        return std::nullopt;
    };
    BufferArena arena = make_arena({.count = 4});
    begin(1, {.entries = 8, .arena = &arena});
    ring().post(0);
    EXPECT_EQ(io->poll().size(), 1U);
    EXPECT_EQ(let_go(), "register ring1 unregister-buffers 0\n" + ordinary);
    EXPECT_EQ(update.offset, 7U);
    EXPECT_EQ(update.data, 0U);
}

TEST_F(Drain, ReapsWhatHasCompletedWithoutASystemCall) {
    begin(3);
    for (Token token = 0; token < 3; ++token) ring().post(token);
    EXPECT_EQ(let_go(), ordinary);
    EXPECT_EQ(ring().cq_head(), 3U);
}

TEST_F(Drain, DropsWhatTheKernelWasNeverOffered) {
    begin(0);
    for (Token token = 0; token < 5; ++token) ASSERT_TRUE(io->nop(token));
    EXPECT_EQ(let_go(),
              std::string(unmapped) + "close pipe1.read\n" + gone);  // it was never bound, so has no registered ring
}

TEST_F(Drain, CancelsAllThenWaitsUntilNothingIsOwed) {
    abi::SyncCancelReg asked{};
    begin(2);
    int waits = 0;
    kernel.on_register = [&](const Register& what) -> std::optional<long> {
        if (what.code == abi::register_sync_cancel) asked = what.as<abi::SyncCancelReg>();
        return std::nullopt;
    };
    kernel.on_enter = [&](const Enter&) -> std::optional<long> {
        ring().post(0);
        return ++waits == 1 ? -ETIME : 0;
    };
    for (Token token = 0; token < 3; ++token) ASSERT_TRUE(io->nop(token));  // which the kernel never sees
    EXPECT_EQ(let_go(),
              "register ring1 sync-cancel 1 -> -2\n"
              "enter 7 0 1 getevents ext-arg registered -> -62\n"
              "register ring1 sync-cancel 1 -> -2\n"
              "enter 7 0 1 getevents ext-arg registered\n" +
                  ordinary);
    EXPECT_EQ(asked.fd, -1);
    EXPECT_EQ(asked.flags, abi::async_cancel_any | abi::async_cancel_all);
    EXPECT_EQ(asked.addr, 0U);
    EXPECT_EQ(asked.opcode, 0U);
    for (const Enter& enter : kernel.enters) {
        ASSERT_TRUE(enter.timeout);
        EXPECT_EQ(enter.timeout->tv_sec, 0);
        EXPECT_EQ(enter.timeout->tv_nsec, 10'000'000);
    }
}

TEST_F(Drain, GoesOnAfterEveryAnswerThatMeansWhatIsLeftEndsByItself) {
    for (const long answer : {-ENOENT, -EALREADY, -ETIME, -EINTR, 0, 3}) {
        begin(1);
        int waits = 0;
        kernel.on_register = [&](const Register& what) {
            return what.code == abi::register_sync_cancel ? std::optional<long>(answer) : std::nullopt;
        };
        // Each of these loses nothing either.
        kernel.on_enter = [&](const Enter&) -> std::optional<long> {
            switch (waits++) {
                case 0:
                    return -ETIME;
                case 1:
                    return -EINTR;
                case 2:
                    return -EAGAIN;
                case 3:
                    return -EBUSY;
                default:
                    ring().post(0);
                    return 0;
            }
        };
        const std::string calls = let_go();
        EXPECT_EQ(waits, 5);
        EXPECT_EQ(calls.find("ppoll"), std::string::npos) << "answer " << answer << ": it fell back on closing";
        // An interrupted registration is tried again as it is, many times before it is given up.
        EXPECT_EQ(kernel.registered(abi::register_sync_cancel), answer == -EINTR ? 50'000U : 5U);
    }
}

TEST_F(Drain, ClosesTheRingAndWaitsWhereTheKernelCannotCancel) {
    const std::set<int> by_themselves = {ENOENT, EALREADY, ETIME, EINTR};
    for (int code = 1; code < 134; ++code) {
        if (by_themselves.contains(code)) continue;
        BufferArena arena = make_arena({.count = 4});
        kernel.on_register = nullptr;
        begin(1, {.entries = 8, .arena = &arena, .file_slots = 1});
        kernel.on_register = [&](const Register& what) {
            return what.code == abi::register_sync_cancel ? std::optional<long>(-code) : std::nullopt;
        };
        // Buffers and files are left to the close: old kernels unregister them only when no transfer uses them.
        EXPECT_EQ(let_go(), "register ring1 sync-cancel 1 -> -" + std::to_string(code) + "\n" + by_closing);
        EXPECT_EQ(kernel.enters.size(), 0U);
        // Were the arena still taken for registered, its end would abort.
    }
}

TEST_F(Drain, ClosesTheRingAndWaitsWhereTheKernelCannotBeEntered) {
    const std::set<int> no_loss = {ETIME, EINTR, EAGAIN, EBUSY};
    for (int code = 1; code < 134; ++code) {
        if (no_loss.contains(code)) continue;
        begin(1);
        kernel.on_enter = [code](const Enter&) { return std::optional<long>(-code); };
        EXPECT_EQ(let_go(),
                  "register ring1 sync-cancel 1 -> -2\n"
                  "enter 7 0 1 getevents ext-arg registered -> -" +
                      std::to_string(code) + "\n" + by_closing);
    }
}

// A filter refuses to cancel, and to give the ring's place among the thread's back: closing it would end nothing.
TEST_F(Drain, CancelsByAnOperationWhereAFilterKeepsTheRingRegistered) {
    for (const int code : {EPERM, EACCES, ENOSYS}) {
        kernel.on_register = nullptr;
        begin(2);
        for (Token token = 7; token < 10; ++token) ASSERT_TRUE(io->nop(token));  // which the kernel must never see
        kernel.on_register = [code](const Register&) { return std::optional<long>(-code); };
        int enters = 0;
        kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
            switch (++enters) {
                case 1:
                    return -EAGAIN;  // no memory to cancel with: it is offered again
                case 2:
                    return -ETIME;
                case 3:
                    EXPECT_EQ(ring().consume(enter.to_submit), 1U);
                    ring().post(0);  // one was being finished; the cancelling itself is not
                    return 1;
                case 4:
                    return -ETIME;
                case 5:
                    EXPECT_EQ(ring().consume(enter.to_submit), 1U);
                    for (int owed = 0; owed < 3; ++owed) ring().post(0);
                    return 1;
                default:
                    return 0;
            }
        };
        const std::string refused = " -> -" + std::to_string(code) + "\n";
        const std::string enter = "enter " + std::to_string(ring().index);
        const std::string offered = enter + " 1 0 registered";
        const std::string waited = enter + " 0 1 getevents ext-arg registered";
        const std::string kept = "register ring1 unregister-ring-fds 1" + refused;
        EXPECT_EQ(let_go(), "register ring1 sync-cancel 1" + refused + kept + offered + " -> -11\n" + waited +
                                " -> -62\n" + offered + "\n" + waited + " -> -62\n" + offered + "\n" + waited + "\n" +
                                kept + unmapped + "close pipe1.read\n" + gone);
        ASSERT_EQ(ring().consumed.size(), 4U);
        abi::Sqe cancel{};
        cancel.opcode = static_cast<std::uint8_t>(abi::Op::async_cancel);
        cancel.fd = -1;
        cancel.op_flags = abi::async_cancel_any | abi::async_cancel_all;
        for (const std::size_t which : {2U, 3U})
            EXPECT_EQ(std::memcmp(&ring().consumed[which], &cancel, sizeof(cancel)), 0);
    }
}

TEST_F(Drain, CancelsByAnOperationThatAPollerTakes) {
    begin(1, {.entries = 8, .mode = Mode::sqpoll});
    for (Token token = 7; token < 10; ++token) ASSERT_TRUE(io->nop(token));  // which it must never see
    kernel.on_register = [](const Register&) { return std::optional<long>(-EPERM); };
    kernel.on_enter = [this](const Enter& enter) -> std::optional<long> {
        if (enter.min_complete == 0) return 0;
        EXPECT_EQ(ring().consume(8), 1U);
        ring().post(0);
        ring().post(0);
        return 0;
    };
    EXPECT_EQ(let_go(), std::string("enter 7 1 0 wakeup registered\n"
                                    "register ring1 sync-cancel 1 -> -1\n"
                                    "register ring1 unregister-ring-fds 1 -> -1\n"
                                    "enter 7 1 0 wakeup registered\n"
                                    "enter 7 0 1 getevents ext-arg registered\n"
                                    "register ring1 unregister-ring-fds 1 -> -1\n") +
                            unmapped + "close pipe1.read\n" + gone);
    EXPECT_EQ(ring().consumed.back().opcode, static_cast<std::uint8_t>(abi::Op::async_cancel));
}

// What a device is asked for by polling ends by itself, and there is no operation that would cancel it.
TEST_F(Drain, LeavesPolledTransfersToTheirEndWhereAFilterKeepsTheRingRegistered) {
    io = make_io({.entries = 8, .file_slots = 1, .polling = Polling::busy});
    ASSERT_TRUE(io->set_file(FileSlot(0), 0));
    std::byte byte{};
    kernel.on_enter = [this](const Enter& enter) { return std::optional<long>(ring().consume(enter.to_submit)); };
    ASSERT_TRUE(io->read(FileSlot(0), {&byte, 1}, 0, 1));
    EXPECT_TRUE(io->poll().empty());
    kernel.enters.clear();
    kernel.on_register = [](const Register&) { return std::optional<long>(-EPERM); };
    int waits = 0;
    kernel.on_enter = [&](const Enter&) -> std::optional<long> {
        if (++waits == 2) ring().post(ring().consumed.back().user_data);
        return 0;
    };
    io.reset();
    EXPECT_EQ(ring().consumed.size(), 1U);
    ASSERT_EQ(kernel.enters.size(), 2U);
    for (const Enter& enter : kernel.enters) EXPECT_EQ(enter.min_complete, 1U);
}

TEST_F(Drain, WaitsOnForTheKernelAfterASignal) {
    begin(1);
    kernel.on_register = [](const Register& what) {
        return what.code == abi::register_sync_cancel ? std::optional<long>(-EINVAL) : std::nullopt;
    };
    int polls = 0;
    kernel.on_other_call = [&polls](Call& call) -> std::optional<long> {
        if (call.number != SYS_ppoll) return std::nullopt;
        EXPECT_EQ(call.args[2], 0U) << "no time-out";
        switch (polls++) {
            case 0:
                return -EINTR;
            case 1:
                return 0;
            default:
                return std::nullopt;
        }
    };
    std::string expected = by_closing;
    expected.replace(expected.find("ppoll"), 0, "ppoll 1 for ever -> -4\nppoll 1 for ever\n");
    EXPECT_EQ(let_go(), "register ring1 sync-cancel 1 -> -22\n" + expected);
}

TEST_F(Drain, WakesAPollerAndWaitsForAllThatItWasShown) {
    begin(0, {.entries = 8, .mode = Mode::sqpoll});
    ASSERT_TRUE(io->nop(1));
    EXPECT_TRUE(io->poll().empty());
    for (Token token = 2; token < 5; ++token) ASSERT_TRUE(io->nop(token));  // which it is never shown
    trace.take();
    kernel.on_enter = [this](const Enter& enter) -> std::optional<long> {
        if (enter.min_complete > 0) (void)ring().finish(8);
        return 0;
    };
    EXPECT_EQ(let_go(),
              "enter 7 1 0 wakeup registered\n"
              "register ring1 sync-cancel 1 -> -2\n"
              "enter 7 0 1 getevents ext-arg registered\n" +
                  ordinary);

    begin(1, {.entries = 8, .mode = Mode::sqpoll});
    ring().post(0);
    EXPECT_EQ(let_go(), ordinary) << "nothing is owed: nobody has to be woken";
}

// A read of a pipe that an SQPOLL thread has given to a worker: Linux 6.1 finds nothing to cancel, and nothing ends.
TEST_F(Drain, ClosesTheRingWhereNothingIsFoundAndNothingEnds) {
    for (const auto& [mode, answer] : {std::pair(Mode::sqpoll, 0), {Mode::sqpoll, -ENOENT}, {Mode::deferred, 0}}) {
        begin(1, {.entries = 8, .mode = mode});
        int asked = 0;
        const long found = answer;
        kernel.on_register = [&](const Register& what) -> std::optional<long> {
            if (what.code != abi::register_sync_cancel) return std::nullopt;
            // Where every worker is looked through, what is not found is past cancelling, however long it takes.
            if (++asked == 100) ring().post(0);
            return found;
        };
        kernel.on_enter = [](const Enter&) { return std::optional<long>(0); };
        const std::string calls = let_go();
        EXPECT_EQ(asked, mode == Mode::sqpoll ? 11 : 100);
        const std::string& end = mode == Mode::sqpoll ? by_closing : ordinary;
        ASSERT_GE(calls.size(), end.size());
        EXPECT_EQ(calls.substr(calls.size() - end.size()), end);
    }
}

// --- On another thread ----------------------------------------------------------------------------------------------

TEST_F(Drain, OnAnotherThreadRegistersNothingAndClosesAll) {
    BufferArena arena = make_arena({.count = 4});
    begin(1, {.entries = 8, .arena = &arena});
    ring().post(0);
    EXPECT_EQ(io->poll().size(), 1U);
    trace.take();
    std::thread([this] { io.reset(); }).join();
    EXPECT_EQ(kernel.registers.size(), 0U) << "the index means another ring there";
    const std::string calls = trace.take();
    EXPECT_EQ(calls.find("ppoll"), std::string::npos);
    EXPECT_NE(calls.find("close ring1\nclose pipe1.read\n"), std::string::npos) << calls;
}

TEST_F(Drain, OfAThreadThatHasEndedClosesTheRingAndWaits) {
    std::thread([this] {
        begin(1);
        queue_in_flight([this] { return io->read(0, memory, 0, 1); });
    }).join();
    std::vector<std::uintptr_t> asked;
    kernel.on_other_call = [&asked](Call& call) -> std::optional<long> {
        if (call.number == SYS_tgkill) asked.assign(call.args, call.args + 3);
        return std::nullopt;
    };
    std::string calls = let_go();
    calls = calls.substr(calls.rfind("tgkill"));  // the thread may have been on its way out for a while
    EXPECT_EQ(calls, std::string("tgkill 0 -> -3\n") + unmapped + "ppoll 1 for ever\nclose pipe1.read\n" + gone);
    EXPECT_EQ(kernel.registers.size(), 0U);
    ASSERT_EQ(asked.size(), 3U);
    EXPECT_EQ(asked[0], static_cast<std::uintptr_t>(::getpid()));
    EXPECT_NE(asked[1], static_cast<std::uintptr_t>(::gettid()));
    EXPECT_EQ(asked[2], 0U) << "a signal would be sent";
}

// Nobody waits for the kernel to free a ring where no end of an operation could write to the caller's memory.
TEST_F(Drain, OfAThreadThatHasEndedWaitsOnlyForWhatMayYetWrite) {
    BufferArena arena = make_arena({.count = 1});
    struct ::statx out {};
    using Queue = std::function<bool()>;
    const Queue writing[] = {[&] { return io->read(0, memory, 0, 1); },
                             [&] { return io->read(0, arena.memory(), 0, 1); }, [&] { return io->statx(0, out, 1); },
                             [&] { return io->statx("f", out, 1); }};
    const Queue others[] = {[&] { return io->nop(2); },
                            [&] { return io->open("f", {}, 2); },
                            [&] { return io->write(0, memory, 0, 2); },
                            [&] { return io->write(0, arena.memory(), 0, 2); },
                            [&] { return io->fsync(0, 2); },
                            [&] { return io->rename("f", "g", 2); },
                            [&] { return io->unlink("f", 2); }};
    const auto waits = [this](const std::function<void()>& before) {
        std::thread(before).join();
        // For the ring, and not for the thread, which may be on its way out for a while.
        return let_go().find("ppoll 1 for ever") != std::string::npos;
    };
    const auto queue_others = [&] {
        for (const Queue& other : others) queue_in_flight(other);
    };
    EXPECT_FALSE(waits([&] {
        begin(1, {.entries = 8, .arena = &arena});
        queue_others();
    }));
    for (const Queue& each : writing) {
        EXPECT_TRUE(waits([&] {
            begin(0, {.entries = 8, .arena = &arena});
            queue_others();
            queue_in_flight(each);
        }));
        // It may still be there when its SQE is not.
        EXPECT_TRUE(waits([&] {
            begin(0, {.entries = 8, .arena = &arena});
            queue_in_flight(each);
            queue_others();
            queue_in_flight(others[0]);
        }));
        // What has completed is over, once nothing else was in flight.
        EXPECT_FALSE(waits([&] {
            begin(0, {.entries = 4, .arena = &arena});
            for (int i = 0; i < 4; ++i) queue_in_flight(each);
            for (Token i = 0; i < 4; ++i) ring().post(1);
            EXPECT_EQ(io->poll().size(), 4U);
            queue_in_flight(others[0]);
        }));
    }
    kernel.on_enter = nullptr;
}

TEST_F(Drain, OfAThreadThatHasEndedNeedsNotAskWhenNothingIsOwed) {
    std::thread([this] {
        begin(1);
        ring().post(0);
    }).join();
    EXPECT_EQ(let_go(), std::string(unmapped) + "close pipe1.read\n" + gone);
}

// An Io with one operation that the kernel has consumed and does not complete.
Io with_one_in_flight(UserKernel& kernel) {
    kernel.on_enter = [&](const Enter& enter) { return std::optional<long>(kernel.ring().consume(enter.to_submit)); };
    Io io = make_io({.entries = 4});
    EXPECT_TRUE(io.nop(1));
    EXPECT_TRUE(io.poll().empty());
    return io;
}

// Lets a thread that lives submit an operation, and destroys the Io elsewhere. `answer` is what tgkill says.
void destroy_elsewhere(long answer) {
    UserKernel kernel;
    int asked = 0;
    const auto before = std::chrono::steady_clock::now();
    kernel.on_other_call = [&](Call& call) -> std::optional<long> {
        if (call.number != SYS_tgkill) return std::nullopt;
        if (++asked == 1000 && std::chrono::steady_clock::now() - before > 990ms)
            std::fprintf(stderr, "asked 1000 times in a second\n");
        if (asked > 1000) std::fprintf(stderr, "and once more\n");
        return answer;
    };
    std::optional<Io> io = with_one_in_flight(kernel);
    std::thread([&] { io.reset(); }).join();
}

TEST(DrainDeathTest, AbortsUnlessTheSubmitterIsKnownToHaveEnded) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(destroy_elsewhere(-EPERM), testing::KilledBySignal(SIGABRT),
                "asked 1000 times in a second\nsquall: .*destroyed on thread [0-9]+ with 1 operations in flight, and "
                "only thread [0-9]+, which submitted them, can reap them");
}

// --- What would leave the kernel with the caller's memory -----------------------------------------------------------

TEST(DrainDeathTest, AbortsWhenItCannotWaitForTheKernel) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto let_go = [](std::uint32_t refused, long ppoll) {
        UserKernel kernel;
        std::optional<Io> io = with_one_in_flight(kernel);
        kernel.on_register = [refused](const Register& what) {
            return what.code == abi::register_sync_cancel || what.code == refused ? std::optional<long>(-EINVAL)
                                                                                  : std::nullopt;
        };
        kernel.on_other_call = [ppoll](Call& call) {
            return call.number == SYS_ppoll ? std::optional<long>(ppoll) : std::nullopt;
        };
        io.reset();
    };
    EXPECT_DEATH(let_go(abi::register_sync_cancel, -ENOMEM), "waiting for it to let go failed with errno 12");
    EXPECT_DEATH(let_go(abi::unregister_ring_fds, 1), "it refuses to let go of them \\(errno 22\\)");
}

TEST(DrainDeathTest, AbortsWhenAFilterKeepsTheRingAndLetsNothingIn) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto let_go = [](int to_submit, int to_wait) {
        UserKernel kernel;
        std::optional<Io> io = with_one_in_flight(kernel);
        kernel.on_register = [](const Register&) { return std::optional<long>(-EPERM); };
        kernel.on_enter = [=, &kernel](const Enter& enter) {
            if (kernel.enters.size() > 100) ::_exit(0);  // it would go on for ever
            return std::optional<long>(enter.to_submit > 0 ? -to_submit : -to_wait);
        };
        kernel.on_other_call = [](Call& call) {
            return call.number == SYS_ppoll ? std::optional<long>(1) : std::nullopt;
        };
        io.reset();
    };
    EXPECT_DEATH(let_go(EPERM, EPERM), "it refuses to let go of them \\(errno 1\\)");
    EXPECT_DEATH(let_go(EBADF, ETIME), "it refuses to let go of them \\(errno 1\\)");
    EXPECT_DEATH(let_go(EINTR, EBADF), "it refuses to let go of them \\(errno 1\\)");
}

TEST_F(Drain, DoesNotMindThatAnIdleRingCannotBeUnregistered) {
    begin(1);
    ring().post(0);
    kernel.on_register = [](const Register&) { return std::optional<long>(-EPERM); };
    std::string expected = ordinary;
    EXPECT_EQ(let_go(), expected.insert(expected.find('\n'), " -> -1"));
}

// --- fork() ---------------------------------------------------------------------------------------------------------

TEST_F(Drain, InAForkedChildTouchesNothingButItsOwnPage) {
    begin(1);
    in_child_alone([this] { EXPECT_EQ(let_go(), gone); });
    ring().post(0);
    EXPECT_EQ(let_go(), ordinary);
}

TEST_F(Drain, InAForkedChildNoCallReachesTheKernel) {
    begin(1);
    in_child_alone([this] {
        std::byte byte{};
        EXPECT_FALSE(io->nop(1));
        EXPECT_FALSE(io->read(0, {&byte, 1}, 0, 1));
        EXPECT_FALSE(io->open("/", {}, 1));
        EXPECT_FALSE(io->close(0, 1));
        EXPECT_EQ(io->poll().error().code(), ESTALE);
        EXPECT_EQ(io->park().error().code(), ESTALE);
        EXPECT_EQ(io->park(1s).error().code(), ESTALE);
        EXPECT_EQ(io->park(0s).error().code(), ESTALE);
        EXPECT_EQ(io->set_file(FileSlot(0), 0).error().code(), ESTALE);
        EXPECT_EQ(trace.take(), "");
        EXPECT_EQ(io->counters().queue_full, 0U);
    });
    ring().post(0);
}

}  // namespace
}  // namespace squall
