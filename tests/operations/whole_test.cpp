// SPDX-License-Identifier: MIT
//
// Waiting for one operation among others (Io::wait_for, Io::run), and whole transfers: what they make of short, failed and
// passing results, which a test gives them by changing a completion on its way, and of real files. Each in every mode.
#include "squall/whole.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <set>
#include <thread>

#include "child.hpp"
#include "seam.hpp"
#include "support.hpp"
#include "user_kernel.hpp"

namespace squall {
namespace {

using namespace test;

class OneAtATimeTest : public testing::TestWithParam<Kind> {
protected:
    void expect_conserved() { EXPECT_EQ(io.counters().submitted, io.counters().completed + io.in_flight()); }
    std::int32_t run(Token token, bool (*queue)(Io&, Token)) {
        const auto done = io.run(token, [&](Token own) { return queue(io, own); });
        EXPECT_TRUE(done) << done.error().message();
        EXPECT_EQ(done->token, token);
        expect_conserved();
        return done->res;
    }
    // Queues it, whatever an SQPOLL thread is late with.
    template <class Queue>
    void queued(Queue queue) {
        while (!queue()) (void)io.poll();
    }

    TempDir dir;
    Pipe pipe;
    std::byte byte{};
    Io io = make_io(GetParam(), {.entries = 4});
};
INSTANTIATE_TEST_SUITE_P(Modes, OneAtATimeTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(OneAtATimeTest, RunDoesOneOperationAndReturnsItsCompletion) {
    EXPECT_EQ(run(7, [](Io& on, Token token) { return on.nop(token); }), 0);
    EXPECT_EQ(run(0, [](Io& on, Token token) { return on.fsync(-1, token); }), -EBADF);
    EXPECT_EQ(run(UINT64_MAX, [](Io& on, Token token) { return on.unlink("/no such file", token); }), -ENOENT);
    EXPECT_EQ(io.in_flight(), 0U);
    EXPECT_TRUE(io.poll().empty());
}

TEST_P(OneAtATimeTest, WhatElseCompletesIsKeptInItsOrderForTheNextPoll) {
    queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, 100); });
    for (Token token = 1; token <= 3; ++token) queued([&] { return io.nop(token); });
    EXPECT_EQ(run(50, [](Io& on, Token token) { return on.fsync(-1, token); }), -EBADF);
    EXPECT_EQ(run(51, [](Io& on, Token token) { return on.nop(token); }), 0);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    const auto read = io.wait_for(100);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(read->res, 1);
    EXPECT_EQ(byte, std::byte{'x'});
    EXPECT_EQ(io.in_flight(), 3U);
    std::vector<Token> order;
    for (const Completion& done : drain(io)) order.push_back(done.token);
    EXPECT_EQ(order, (std::vector<Token>{1, 2, 3}));
    expect_conserved();
}

TEST_P(OneAtATimeTest, WaitingWorksInTheBodyOfALoopOverCompletionsWhichGoesOn) {
    for (int round = 0; round < 50; ++round) {
        for (Token token = 1; token <= 3; ++token) queued([&] { return io.nop(token); });
        std::multiset<Token> seen;
        while (seen.size() < 3) {
            for (const Completion& done : io.park()) {
                seen.insert(done.token);
                if (done.token != 2) continue;
                EXPECT_EQ(run(60, [](Io& on, Token token) { return on.fsync(-1, token); }), -EBADF);
                // One that cannot be there until it is waited for.
                queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, 61); });
                std::thread writer([this] { EXPECT_EQ(::write(pipe.write_end, "x", 1), 1); });
                EXPECT_EQ(io.wait_for(61).value().res, 1);
                writer.join();
                EXPECT_EQ(done.token, 2U) << "what is in the range stays as it is";
            }
        }
        EXPECT_EQ(seen, (std::multiset<Token>{1, 2, 3}));
        EXPECT_EQ(io.in_flight(), 0U);
        expect_conserved();
    }
}

TEST_P(OneAtATimeTest, ATokenThatIsNotInFlightIsSaid) {
    EXPECT_EQ(io.wait_for(1).error().code(), ENOENT) << "of an Io that was never used";
    queued([&] { return io.nop(2); });
    EXPECT_EQ(io.wait_for(1).error().message(),
              "Io::wait_for(1): ENOENT (No such file or directory): no operation with this token is in flight");
    EXPECT_EQ(io.wait_for(2).value().res, 0);
    EXPECT_EQ(io.wait_for(2).error().code(), ENOENT);
}

TEST_P(OneAtATimeTest, RunSubmitsWhatIsQueuedToFindRoomAndSaysWhenThereWillBeNone) {
    const std::uint32_t places = io.features().cq_entries;
    for (std::uint32_t i = 1; i < places; ++i) queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, 100 + i); });
    EXPECT_EQ(run(1, [](Io& on, Token token) { return on.nop(token); }), 0);
    queued([&] { return io.nop(2); });
    const auto refused = io.run(3, [&](Token token) { return io.nop(token); });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), EBUSY) << refused.error().message();
    EXPECT_EQ(io.in_flight(), places);
    // Of an end that nobody writes to any more all are over.
    ::close(std::exchange(pipe.write_end, -1));
    EXPECT_EQ(drain(io).size(), places);
    expect_conserved();
}

TEST_P(OneAtATimeTest, WhatQueuesNothingIsSaid) {
    for (const bool used : {false, true}) {
        EXPECT_TRUE(!used || run(1, [](Io& on, Token token) { return on.nop(token); }) == 0);
        const auto refused = io.run(1, [](Token) { return false; });
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().message(),
                  "Io::run: EINVAL (Invalid argument): there is room, and `queue` queues nothing");
    }
}

// An SQPOLL thread gives a place back a moment after the completion is there, whoever waits for it.
TEST_P(OneAtATimeTest, RoomThatComesBackLateIsWaitedForAndNothingElse) {
    queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, 100); });
    for (Token token = 0; token < scaled(2000); ++token)
        ASSERT_EQ(io.run(token, [&](Token own) { return io.nop(own); }).value().res, 0);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    EXPECT_EQ(io.wait_for(100).value().res, 1);
}

TEST_P(OneAtATimeTest, AllocatesNothing) {
    EXPECT_EQ(run(1, [](Io& on, Token token) { return on.nop(token); }), 0);
    const std::uint64_t before = allocations_made();
    for (Token token = 0; token < 100; ++token)
        EXPECT_EQ(io.run(token, [&](Token own) { return io.nop(own); }).value().res, 0);
    EXPECT_EQ(allocations_made(), before);
}

TEST_P(OneAtATimeTest, WhereTheRingFailsTheOperationIsTakenBackAndNothingElse) {
    EXPECT_EQ(run(1, [](Io& on, Token token) { return on.nop(token); }), 0);
    if (GetParam().mode == Mode::sqpoll) return;  // its thread needs no enter, and so none fails
    queued([&] { return io.nop(2); });
    {
        const Intercept failing(refuse(nr_enter, -EPERM));
        const auto failed = io.run(3, [&](Token token) { return io.nop(token); });
        ASSERT_FALSE(failed);
        EXPECT_EQ(failed.error().code(), EPERM) << failed.error().message();
        EXPECT_EQ(io.in_flight(), 1U);
        EXPECT_EQ(io.counters().withdrawn, 1U);
        // One that was not queued by this call stays.
        EXPECT_EQ(io.wait_for(2).error().code(), EINPROGRESS);
        EXPECT_EQ(io.in_flight(), 1U);
    }
    EXPECT_EQ(io.wait_for(2).value().res, 0);
    expect_conserved();
}

TEST_P(OneAtATimeTest, WhatTheKernelHasIsSaidToBeInProgress) {
    if (GetParam().mode == Mode::sqpoll) return;
    EXPECT_EQ(run(1, [](Io& on, Token token) { return on.nop(token); }), 0);
    // The first enter takes it, and a signal comes; the next one fails.
    int enters = 0;
    {
        const Intercept failing([&](Call& call) -> std::optional<long> {
            if (call.number != nr_enter || ++enters == 1) {
                if (call.number == nr_enter) call.args[2] = 0;  // it is not to wait
                return std::nullopt;
            }
            return -EPERM;
        });
        const auto failed = io.run(3, [&](Token token) { return io.read(pipe.read_end, {&byte, 1}, 0, token); });
        ASSERT_FALSE(failed);
        EXPECT_EQ(failed.error().code(), EINPROGRESS) << failed.error().message();
        EXPECT_NE(failed.error().message().find("EPERM"), std::string::npos);
    }
    EXPECT_EQ(io.in_flight(), 1U);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    EXPECT_EQ(io.wait_for(3).value().res, 1);
}

TEST_P(OneAtATimeTest, AnotherThreadAndAForkedChildAreTold) {
    EXPECT_EQ(run(1, [](Io& on, Token token) { return on.nop(token); }), 0);
    if (GetParam().mode != Mode::plain)
        std::thread([this] { EXPECT_EQ(io.wait_for(1).error().code(), EEXIST); }).join();
    in_child_alone([this] {
        EXPECT_EQ(io.wait_for(1).error().code(), ESTALE);
        EXPECT_EQ(io.run(1, [&](Token token) { return io.nop(token); }).error().code(), ESTALE);
    });
}

// --- Whole transfers ----------------------------------------------------------------------------------------------------

// On a kernel of the test's own, which answers each operation with the next of these results.
class WholeTransferTest : public testing::Test {
protected:
    WholeTransferTest() {
        kernel.on_enter = [this](const Enter& enter) -> std::optional<long> {
            UserKernel::Ring& ring = kernel.ring();
            const std::size_t before = ring.consumed.size();
            const std::uint32_t count = ring.consume(enter.to_submit);
            for (std::size_t i = before; i < ring.consumed.size(); ++i) {
                std::int32_t res = 0;
                if (!results.empty()) {
                    res = results.front();
                    results.pop_front();
                }
                ring.post(ring.consumed[i].user_data, res);
            }
            return count;
        };
    }
    // Drives it as an event loop does, and says what was queued: offset and size of each, or "sync".
    std::vector<std::string> drive(WholeTransfer& transfer) {
        kernel.ring().consumed.clear();
        while (!transfer.is_done()) {
            EXPECT_TRUE(transfer.go_on(io));
            EXPECT_TRUE(transfer.go_on(io)) << "which queues nothing more";
            for (const Completion& done : io.poll()) transfer.take(done);
        }
        EXPECT_EQ(io.in_flight(), 0U);
        std::vector<std::string> queued;
        for (const abi::Sqe& sqe : kernel.ring().consumed) {
            const bool syncs = sqe.opcode == static_cast<std::uint8_t>(abi::Op::fsync);
            queued.push_back(syncs ? "sync" : std::to_string(sqe.off) + "+" + std::to_string(sqe.len));
            if (syncs) continue;
            EXPECT_EQ(sqe.off - offset, sqe.addr - reinterpret_cast<std::uintptr_t>(bytes.data()));
            dsync = (sqe.op_flags & abi::rwf_dsync) != 0;
        }
        return queued;
    }
    using Queued = std::vector<std::string>;

    UserKernel kernel;
    std::deque<std::int32_t> results;
    Io io = make_io({.entries = 4});
    std::vector<std::byte> bytes = std::vector<std::byte>(4096);
    static constexpr std::uint64_t offset = 8192;
    bool dsync = false;
};

TEST_F(WholeTransferTest, IsOneOperationWhereThatMovesAll) {
    results = {4096};
    WholeTransfer read = read_exact(3, bytes, offset, 1);
    EXPECT_EQ(drive(read), (Queued{"8192+4096"}));
    EXPECT_EQ(read.code(), 0);
    EXPECT_EQ(read.moved(), 4096U);
    EXPECT_FALSE(read.error());
    results = {4096};
    WholeTransfer write = write_all(3, bytes, offset, 1);
    EXPECT_EQ(drive(write), (Queued{"8192+4096"}));
    EXPECT_FALSE(dsync);
}

TEST_F(WholeTransferTest, AShortOneGoesOnWhereItEnded) {
    for (const bool reads : {true, false}) {
        results = {1000, 1, 3095};
        WholeTransfer transfer = reads ? read_exact(3, bytes, offset, 1) : write_all(3, bytes, offset, 1);
        EXPECT_EQ(drive(transfer), (Queued{"8192+4096", "9192+3096", "9193+3095"}));
        EXPECT_EQ(transfer.code(), 0);
        EXPECT_EQ(transfer.retries(), 0U);
    }
}

TEST_F(WholeTransferTest, ADirectOneGoesOnAtTheLastMultipleOfItsAlignment) {
    results = {1000, 3584};
    WholeTransfer write = write_all(3, bytes, offset, 1, {.alignment = 512});
    EXPECT_EQ(drive(write), (Queued{"8192+4096", "8704+3584"}));
    EXPECT_EQ(write.code(), 0);
    EXPECT_EQ(write.moved(), 4096U);
}

TEST_F(WholeTransferTest, AReadEndsWhereTheFileDoes) {
    results = {1000, 0};
    WholeTransfer read = read_exact(3, bytes, offset, 1);
    EXPECT_EQ(drive(read), (Queued{"8192+4096", "9192+3096"}));
    EXPECT_EQ(read.code(), ENODATA);
    EXPECT_EQ(read.moved(), 1000U);
    EXPECT_EQ(read.error().message(),
              "reading 4096 bytes at offset 8192, of which 1000 are confirmed: ENODATA (No data available): the file "
              "ends there");
    // An O_DIRECT read meets its tail again.
    results = {1000, 488};
    WholeTransfer direct = read_exact(3, bytes, offset, 1, {.alignment = 512});
    EXPECT_EQ(drive(direct), (Queued{"8192+4096", "8704+3584"}));
    EXPECT_EQ(direct.code(), ENODATA);
    EXPECT_EQ(direct.moved(), 1000U);
    // One that is shorter than that says nothing of an end.
    results = {1000, 400, 3584};
    WholeTransfer shorter = read_exact(3, bytes, offset, 1, {.alignment = 512});
    EXPECT_EQ(drive(shorter).size(), 3U);
    EXPECT_EQ(shorter.code(), 0);
    EXPECT_EQ(shorter.retries(), 1U);
}

TEST_F(WholeTransferTest, WhatPassesIsTriedAgainAsOftenAsIsAllowedAndCounted) {
    for (const std::int32_t passing : {-EINTR, -EAGAIN, -ENOMEM, -512}) {
        results = {passing, passing, 4096};
        WholeTransfer write = write_all(3, bytes, offset, 1, {.retries_max = 2});
        EXPECT_EQ(drive(write), (Queued{"8192+4096", "8192+4096", "8192+4096"}));
        EXPECT_EQ(write.code(), 0);
        EXPECT_EQ(write.retries(), 2U);
        results = {passing, passing, passing, 4096};
        WholeTransfer given_up = read_exact(3, bytes, offset, 1, {.retries_max = 2});
        EXPECT_EQ(drive(given_up).size(), 3U);
        EXPECT_EQ(given_up.code(), passing == -512 ? EINTR : -passing);
        EXPECT_EQ(given_up.moved(), 0U);
    }
}

TEST_F(WholeTransferTest, AnyOtherErrorEndsIt) {
    results = {100, -EIO};
    WholeTransfer write = write_durable(3, bytes, offset, 1);
    EXPECT_EQ(drive(write), (Queued{"8192+4096", "8292+3996"})) << "and nothing is made durable";
    EXPECT_EQ(write.code(), EIO);
    EXPECT_EQ(write.moved(), 100U);
    results = {INT32_MIN};
    WholeTransfer odd = write_all(3, bytes, offset, 1);
    drive(odd);
    EXPECT_EQ(odd.code(), INT32_MAX);
}

TEST_F(WholeTransferTest, AWriteThatMovesNothingIsGivenUp) {
    results = {0, 0, 0};
    WholeTransfer write = write_all(3, bytes, offset, 1, {.retries_max = 2});
    EXPECT_EQ(drive(write).size(), 3U);
    EXPECT_EQ(write.code(), EIO);
}

TEST_F(WholeTransferTest, IsMadeDurableOnlyWhenTheLastByteIsConfirmed) {
    results = {4000, -EAGAIN, 96, 0};
    WholeTransfer write = write_durable(3, bytes, offset, 1);
    EXPECT_EQ(drive(write), (Queued{"8192+4096", "12192+96", "12192+96", "sync"}));
    EXPECT_EQ(write.code(), 0);
    EXPECT_FALSE(dsync);
}

TEST_F(WholeTransferTest, AnFdatasyncThatFailsIsNotTriedAgain) {
    for (const std::int32_t failure : {-EIO, -EINTR, -EAGAIN, -ENOMEM, -ENOSPC}) {
        results = {4096, failure, 0};
        WholeTransfer write = write_durable(3, bytes, offset, 1);
        EXPECT_EQ(drive(write), (Queued{"8192+4096", "sync"}));
        EXPECT_EQ(write.code(), -failure);
        EXPECT_EQ(write.moved(), 4096U);
        EXPECT_NE(write.error().message().find("and making them durable"), std::string::npos);
    }
}

TEST_F(WholeTransferTest, MayBeDurableByEachWriteItself) {
    results = {1000, 3096};
    WholeTransfer write = write_durable(3, bytes, offset, 1, {.durability = Durability::dsync});
    EXPECT_EQ(drive(write), (Queued{"8192+4096", "9192+3096"}));
    EXPECT_TRUE(dsync);
    EXPECT_EQ(write.code(), 0);
}

TEST_F(WholeTransferTest, NoBytesAreDoneAtOnceButForTheSync) {
    WholeTransfer read = read_exact(3, {}, offset, 1);
    EXPECT_TRUE(read.is_done());
    EXPECT_EQ(read.code(), 0);
    WholeTransfer write = write_durable(3, {}, offset, 1);
    EXPECT_FALSE(write.is_done());
    EXPECT_EQ(drive(write), (Queued{"sync"}));
}

TEST_F(WholeTransferTest, WaitsForRoomWithoutLosingItsPlace) {
    WholeTransfer write = write_all(3, bytes, offset, 1);
    while (io.nop(9)) {
    }
    EXPECT_FALSE(write.go_on(io));
    EXPECT_FALSE(write.is_done());
    (void)io.poll();
    results = {4096};
    EXPECT_EQ(drive(write), (Queued{"8192+4096"}));
}

TEST_F(WholeTransferTest, TakesNoCompletionThatIsNotItsOwn) {
    WholeTransfer write = write_all(3, bytes, offset, 1);
    EXPECT_DEATH(write.take({1, 5, 0}), "has nothing in flight");
    ASSERT_TRUE(write.go_on(io));
    EXPECT_DEATH(write.take({2, 5, 0}), "token 2 is given to a transfer that has token 1");
    EXPECT_DEATH((void)write_all(3, bytes, offset, 1, {.alignment = 3}), "must be a power of two");
    EXPECT_DEATH((void)read_exact(3, bytes, UINT64_MAX, 1, {.alignment = 512}), "at the file's position");
}

class WholeFileTest : public OneAtATimeTest {};
INSTANTIATE_TEST_SUITE_P(Modes, WholeFileTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(WholeFileTest, RunWritesAllDurablyAndReadsAllBackWhateverElseIsInFlight) {
    queued([&] { return io.read(pipe.read_end, {&byte, 1}, 0, 100); });
    const Fd fd(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    std::vector<std::byte> out(100'000);
    std::vector<std::byte> in(out.size());
    fill_pattern(out, 77);
    for (const Durability durability : {Durability::fdatasync, Durability::dsync}) {
        WholeTransfer write = write_durable(fd, out, 77, 1, {.durability = durability});
        const auto written = write.run(io);
        ASSERT_TRUE(written) << written.error().message();
        WholeTransfer read = read_exact(fd, in, 77, 1);
        ASSERT_TRUE(read.run(io));
        EXPECT_EQ(find_wrong(in, 77), -1);
    }
    WholeTransfer beyond = read_exact(fd, in, 50'077, 1);
    EXPECT_EQ(beyond.run(io).error().code(), ENODATA);
    EXPECT_EQ(beyond.moved(), 50'000U);
    WholeTransfer nowhere = write_all(-1, out, 0, 1);
    EXPECT_EQ(nowhere.run(io).error().code(), EBADF);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    EXPECT_EQ(io.wait_for(100).value().res, 1);
    expect_conserved();
}

TEST_P(WholeFileTest, GoesOnAtTheFilesPosition) {
    const Fd fd(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    std::vector<std::byte> out(1000);
    for (const std::uint64_t from : {0U, 1000U}) {
        fill_pattern(out, from);
        WholeTransfer write = write_all(fd, out, UINT64_MAX, 1);
        ASSERT_TRUE(write.run(io));
    }
    EXPECT_EQ(find_wrong(read_file(dir.file("f")), 0), -1);
}

TEST_P(WholeFileTest, MayBeRunAgainAfterTheRingFailed) {
    if (GetParam().mode == Mode::sqpoll) return;
    EXPECT_EQ(run(1, [](Io& on, Token token) { return on.nop(token); }), 0);
    const Fd fd(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    std::vector<std::byte> out(1000);
    fill_pattern(out, 0);
    WholeTransfer write = write_durable(fd, out, 0, 1);
    {
        const Intercept failing(refuse(nr_enter, -EPERM));
        EXPECT_EQ(write.run(io).error().code(), EPERM);
        EXPECT_FALSE(write.is_done());
        EXPECT_EQ(io.in_flight(), 0U);
    }
    ASSERT_TRUE(write.run(io));
    EXPECT_EQ(find_wrong(read_file(dir.file("f")), 0), -1);
}

}  // namespace
}  // namespace squall
