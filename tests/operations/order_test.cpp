// SPDX-License-Identifier: MIT
//
// Operations that have to do with one another: chains and barriers, timers and deadlines, what is cancelled while it
// may complete, and the room for a chain. However it comes out, each operation has one completion and no byte is lost.
// Which of two rings is given what is polled_test.cpp's.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "child.hpp"
#include "rings.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

constexpr How linked{.link = true};
constexpr How hard_linked{.hard_link = true};
constexpr How drained{.drain = true};
constexpr How by_worker{.async = true};
constexpr auto never = std::chrono::hours(24);
// The file's position: of a pipe, the only one.
constexpr std::uint64_t here = UINT64_MAX;

using Results = std::map<Token, std::int32_t>;

// Notes what was handed out; each token once.
void note(const Completions& done, const Io& io, Results& results) {
    EXPECT_EQ(io.counters().submitted, io.counters().completed + io.in_flight());
    EXPECT_FALSE(done.error()) << done.error().message();
    for (const Completion& each : done)
        EXPECT_TRUE(results.emplace(each.token, each.res).second) << each.token << " completed twice";
}
// As drain(), by token.
Results finish(Io& io, Results results = {}) {
    while (io.in_flight() > 0 && !testing::Test::HasFailure()) note(io.park(), io, results);
    if (io.in_flight() == 0) until_taken();
    return results;
}
// The tokens in the order in which their operations completed.
std::vector<Token> order_of(Io& io) {
    std::vector<Token> order;
    for (const Completion& done : drain(io)) order.push_back(done.token);
    return order;
}
// With -512, ERESTARTSYS, Linux 6.1 lets an errno of its own out.
bool is_cancelled(std::int32_t res) { return res == -ECANCELED || res == -EINTR || res == -512; }

class OrderTest : public testing::TestWithParam<Kind> {
protected:
    // Then chains are refused as wholes more often, and cancels find less.
    void SetUp() override {
        if (!make().features().has(abi::Op::fsetxattr)) GTEST_SKIP() << "this kernel is itself older than 5_19";
    }
    Io make() { return make_io(GetParam(), {.entries = 64, .file_slots = 4}); }
    [[nodiscard]] static bool polls() { return GetParam().polling != Polling::none; }
    // Fails as soon as it begins.
    static bool fail(Io& io, Token token, How how = {}) { return io.read(-1, nowhere, 0, token, how); }
    // Waits until there is a byte.
    static bool read_pipe(Io& io, const Pipe& pipe, std::byte& into, Token token, How how = {}) {
        return io.read(pipe.read_end, {&into, 1}, here, token, how);
    }
    static void write_pipe(const Pipe& pipe, unsigned char byte = 'x') {
        ASSERT_EQ(::write(pipe.write_end, &byte, 1), 1);
    }
    // Submits, also where a poller does that, and notes what has completed by then.
    static void submit(Io& io, Results& results) {
        note(io.poll(), io, results);
        until_taken();
    }
    TempDir dir;
    static inline std::array<std::byte, 64> nowhere{};
};
INSTANTIATE_TEST_SUITE_P(Modes, OrderTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// --- Links ----------------------------------------------------------------------------------------------------------

TEST_P(OrderTest, ThePartsOfAChainRunOneAfterTheOther) {
    Io io = make();
    const Fd fd(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(io.set_file(FileSlot(1), fd));
    std::vector<std::byte> first(4096);
    std::vector<std::byte> second(4096);
    std::vector<std::byte> back(4096);
    const File files[] = {fd, FileSlot(1)};
    for (std::uint64_t round = 0; round < scaled(400); ++round) {
        fill_pattern(first, 0, 2 * round);
        fill_pattern(second, 0, 2 * round + 1);
        const How how = round % 3 == 0 ? hard_linked : linked;
        ASSERT_TRUE(io.write(files[round % 2], first, 0, 1, how));
        ASSERT_TRUE(io.write(files[round / 2 % 2], second, 0, 2, how));
        ASSERT_TRUE(io.read(files[round / 4 % 2], back, 0, 3));
        ASSERT_EQ(order_of(io), (std::vector<Token>{1, 2, 3}));
        ASSERT_EQ(find_wrong(back, 0, 2 * round + 1), -1) << "round " << round;
    }
}

TEST_P(OrderTest, APartThatFailsCancelsWhatFollowsInItsChain) {
    Io io = make();
    constexpr Token parts = 5;
    for (Token failing = 0; failing < parts; ++failing) {
        for (Token part = 0; part < parts; ++part) {
            const How how = part + 1 < parts ? linked : How{};
            ASSERT_TRUE(part == failing ? fail(io, part, how) : io.nop(part, how));
        }
        ASSERT_TRUE(io.nop(parts)) << "behind the chain";
        Results expected;
        for (Token part = 0; part < parts; ++part)
            expected[part] = part < failing ? 0 : part == failing ? -EBADF : -ECANCELED;
        expected[parts] = 0;
        EXPECT_EQ(finish(io), expected);
    }
}

TEST_P(OrderTest, AShortPartCancelsWhatFollowsAndAHardLinkCancelsNothing) {
    Io io = make();
    write_file(dir.file("f"), std::vector<std::byte>(48, std::byte{'a'}));
    const Fd fd(::open(dir.file("f").c_str(), O_RDONLY | O_CLOEXEC));
    std::array<std::byte, 64> bytes{};
    const std::span<std::byte> all = std::span(bytes).first(48);
    ASSERT_TRUE(io.read(fd, all, 0, 1, linked));
    ASSERT_TRUE(io.nop(2));
    EXPECT_EQ(finish(io), (Results{{1, 48}, {2, 0}}));
    ASSERT_TRUE(io.read(fd, bytes, 0, 1, linked));
    ASSERT_TRUE(io.nop(2, linked));
    ASSERT_TRUE(io.nop(3));
    EXPECT_EQ(finish(io), (Results{{1, 48}, {2, -ECANCELED}, {3, -ECANCELED}}));
    ASSERT_TRUE(io.read(fd, bytes, 0, 1, hard_linked));
    ASSERT_TRUE(fail(io, 2, hard_linked));
    ASSERT_TRUE(io.nop(3));
    EXPECT_EQ(finish(io), (Results{{1, 48}, {2, -EBADF}, {3, 0}}));
    // Each part says it of the one behind it alone.
    ASSERT_TRUE(fail(io, 1, hard_linked));
    ASSERT_TRUE(fail(io, 2, linked));
    ASSERT_TRUE(io.nop(3, hard_linked));
    ASSERT_TRUE(io.nop(4));
    const Results done = finish(io);
    EXPECT_EQ(done.at(1), -EBADF);
    EXPECT_EQ(done.at(2), -EBADF);
    EXPECT_EQ(done.at(3), -ECANCELED);
    EXPECT_EQ(done.size(), 4U);
}

TEST_P(OrderTest, AChainGoesAcrossKindsOfOperation) {
    Io io = make();
    const std::vector<std::byte> bytes(512, std::byte{'b'});
    std::vector<std::byte> back(512);
    struct ::statx found {};
    const Fd fd(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(io.set_file(FileSlot(0), fd));
    ASSERT_TRUE(io.write(FileSlot(0), bytes, 0, 1, linked));
    ASSERT_TRUE(io.fdatasync(FileSlot(0), 2, linked));
    ASSERT_TRUE(io.rename(dir.file("f"), dir.file("g"), 3, linked));
    ASSERT_TRUE(io.statx(dir.file("g"), found, 4, STATX_SIZE, linked));
    ASSERT_TRUE(io.read(fd, back, 0, 5, linked));
    ASSERT_TRUE(io.unlink(dir.file("g"), 6, linked));
    ASSERT_TRUE(io.close(FileSlot(0), 7, linked));
    ASSERT_TRUE(io.read(FileSlot(0), back, 0, 8));
    EXPECT_EQ(finish(io), (Results{{1, 512}, {2, 0}, {3, 0}, {4, 0}, {5, 512}, {6, 0}, {7, 0}, {8, -EBADF}}));
    EXPECT_EQ(found.stx_size, 512U);
    EXPECT_EQ(back, bytes);
}

TEST_P(OrderTest, WhatIsLinkedToAnOpenIntoASlotFindsItsFileThereOrWithPollingIsRefused) {
    Io io = make();
    const std::vector<std::byte> bytes(512, std::byte{'c'});
    std::vector<std::byte> back(512);
    for (const How how : {linked, hard_linked}) {
        const std::string path = dir.file(how.link ? "f" : "g");
        const OpenOptions fresh{.read = true, .write = true, .create = true};
        const std::size_t before = descriptors_now();
        ASSERT_TRUE(io.open(path, fresh, FileSlot(2), 1, how));
        ASSERT_TRUE(io.write(FileSlot(2), bytes, 0, 2, how));
        ASSERT_TRUE(io.read(FileSlot(2), back, 0, 3, how));
        ASSERT_TRUE(io.close(FileSlot(2), 4));
        const Results done = finish(io);
        EXPECT_EQ(descriptors_now(), before);
        if (!polls()) {
            EXPECT_EQ(done, (Results{{1, 0}, {2, 512}, {3, 512}, {4, 0}}));
            EXPECT_EQ(back, bytes);
            continue;
        }
        EXPECT_EQ(done.at(1), -EINVAL);
        EXPECT_EQ(::access(path.c_str(), F_OK), -1) << "it was opened all the same";
        if (how.link) {
            EXPECT_EQ(done, (Results{{1, -EINVAL}, {2, -ECANCELED}, {3, -ECANCELED}, {4, -ECANCELED}}));
        }
    }
    // At the end of a chain nothing is linked to it.
    ASSERT_TRUE(io.nop(1, linked));
    ASSERT_TRUE(io.open(dir.file("h"), {.read = true, .write = true, .create = true}, FileSlot(2), 2));
    EXPECT_EQ(finish(io), (Results{{1, 0}, {2, 0}}));
    EXPECT_EQ(result_of(io, io.write(FileSlot(2), bytes, 0, 3)), 512);
}

TEST_P(OrderTest, ChainsSideBySideHaveNothingToDoWithEachOther) {
    Io io = make();
    ASSERT_TRUE(fail(io, 1, linked));
    ASSERT_TRUE(io.nop(2));
    ASSERT_TRUE(io.nop(3, linked));
    ASSERT_TRUE(fail(io, 4, linked));
    ASSERT_TRUE(io.nop(5));
    ASSERT_TRUE(io.nop(6, linked));
    ASSERT_TRUE(io.nop(7));
    EXPECT_EQ(finish(io),
              (Results{{1, -EBADF}, {2, -ECANCELED}, {3, 0}, {4, -EBADF}, {5, -ECANCELED}, {6, 0}, {7, 0}}));
    // One that waits holds none up.
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1, linked));
    ASSERT_TRUE(io.nop(2));
    ASSERT_TRUE(io.nop(3, linked));
    ASSERT_TRUE(io.nop(4));
    Results done;
    while (done.size() < 2) note(io.park(), io, done);
    EXPECT_EQ(done, (Results{{3, 0}, {4, 0}}));
    write_pipe(pipe);
    EXPECT_EQ(finish(io), (Results{{1, 1}, {2, 0}}));
}

TEST_P(OrderTest, AChainEndsWhereItIsSubmitted) {
    Io io = make();
    Results done;
    ASSERT_TRUE(fail(io, 1, linked));
    submit(io, done);
    ASSERT_TRUE(io.nop(2));
    EXPECT_EQ(finish(io, done), (Results{{1, -EBADF}, {2, 0}}));
}

// An older kernel begins what is behind a drained operation when that one begins. (6.1 does, 6.18 does not.)
bool holds_up_what_is_behind(const Io& io) { return io.features().has(abi::Op::readv_fixed); }

// --- Drains ---------------------------------------------------------------------------------------------------------

TEST_P(OrderTest, ADrainedOperationWaitsForAllThatIsBeforeItAndHoldsUpAllThatIsBehindIt) {
    Io io = make();
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1));
    ASSERT_TRUE(io.nop(2));
    ASSERT_TRUE(io.nop(3, drained));
    ASSERT_TRUE(io.nop(4));
    Results done;
    while (done.empty()) note(io.park(), io, done);
    ASSERT_TRUE(io.nop(5)) << "submitted later, and behind it too";
    submit(io, done);
    note(io.poll(), io, done);
    EXPECT_EQ(done, (Results{{2, 0}}));
    write_pipe(pipe);
    std::vector<Token> order = order_of(io);
    ASSERT_EQ(order.size(), 4U);
    EXPECT_EQ(order[0], 1U);
    EXPECT_TRUE(order[1] == 3 || !holds_up_what_is_behind(io)) << order[1];
    EXPECT_EQ(byte, std::byte{'x'});
}

TEST_P(OrderTest, ADrainedOperationIsABarrierAmongAllKinds) {
    Io io = make();
    const Fd fd(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(io.set_file(FileSlot(1), fd));
    constexpr Token barrier = 100;
    std::vector<std::byte> bytes(4096);
    const auto crowd = [&](Token from, std::uint64_t round) {
        EXPECT_TRUE(io.write(fd, bytes, 0, from));
        EXPECT_TRUE(io.nop(from + 1, by_worker));
        EXPECT_TRUE(io.read(FileSlot(1), nowhere, 0, from + 2));
        EXPECT_TRUE(io.timer(std::chrono::microseconds(round % 50), from + 3));
        EXPECT_TRUE(io.nop(from + 4, linked));
        EXPECT_TRUE(io.nop(from + 5, by_worker));
    };
    for (std::uint64_t round = 0; round < scaled(200); ++round) {
        std::vector<Token> order;
        crowd(0, round);
        // No room while a polled transfer is in flight.
        while (!io.nop(barrier, drained))
            for (const Completion& done : io.park()) order.push_back(done.token);
        crowd(barrier + 1, round);
        for (const Token token : order_of(io)) order.push_back(token);
        ASSERT_EQ(order.size(), 13U);
        ASSERT_TRUE(order[6] == barrier || !holds_up_what_is_behind(io)) << order[6];
        EXPECT_TRUE(std::all_of(order.begin(), order.begin() + 6, [](Token token) { return token < barrier; }));
    }
}

// --- Timers ---------------------------------------------------------------------------------------------------------

TEST_P(OrderTest, ATimerCompletesWithETimeAndNotBeforeItsTime) {
    Io io = make();
    for (const std::chrono::nanoseconds after : {0ns, 1ns, 999ns, 50'000ns, 3'000'000ns, 10'000'000ns}) {
        const auto before = io.now();
        EXPECT_EQ(result_of(io, io.timer(after, 1)), -ETIME);
        EXPECT_GE(io.now() - before, after);
    }
}

TEST_P(OrderTest, ATimeThatIsNegativeIsRefused) {
    Io io = make();
    for (const std::chrono::nanoseconds after :
         {-1ns, -1'000'000'000ns, -1'500'000'000ns, std::chrono::nanoseconds::min()})
        EXPECT_EQ(result_of(io, io.timer(after, 1)), -EINVAL) << after.count();
}

TEST_P(OrderTest, TimersEndEachAtItsOwnTimeWhateverTheOrderOfTheirQueueing) {
    Io io = make();
    const auto before = io.now();
    ASSERT_TRUE(io.timer(never, 1));
    ASSERT_TRUE(io.timer(std::chrono::nanoseconds::max(), 2));
    for (int i = 5; i > 0; --i) ASSERT_TRUE(io.timer(std::chrono::milliseconds(i), Token{10} + static_cast<Token>(i)));
    for (int left = 5; left > 0;) {
        const Completions done = io.park();
        const auto passed = io.now() - before;
        for (const Completion& each : done) {
            ASSERT_GT(each.token, 10U);
            EXPECT_EQ(each.res, -ETIME);
            EXPECT_GE(passed, std::chrono::milliseconds(each.token - 10));
            --left;
        }
    }
    EXPECT_EQ(io.in_flight(), 2U);
    ASSERT_TRUE(io.cancel(1, 3));
    ASSERT_TRUE(io.cancel(2, 4));
    EXPECT_EQ(finish(io), (Results{{1, -ECANCELED}, {2, -ECANCELED}, {3, 0}, {4, 0}}));
}

TEST_P(OrderTest, ATimerHoldsUpNeitherTheEndOfItsIoNorATakingBack) {
    for (const bool submitted : {false, true}) {
        Io io = make();
        Results done;
        const Pipe pipe;
        std::byte byte{};
        ASSERT_TRUE(io.timer(never, 1));
        ASSERT_TRUE(read_pipe(io, pipe, byte, 2, linked));
        ASSERT_TRUE(io.deadline(never, 3));
        if (submitted) submit(io, done);
        ASSERT_TRUE(io.timer(never, 4));
        EXPECT_EQ(io.withdraw(), Token{4});
        if (submitted) {
            EXPECT_FALSE(io.withdraw());
        }
        EXPECT_EQ(io.in_flight(), 3U);
        EXPECT_TRUE(done.empty());
    }
}

// --- Deadlines ------------------------------------------------------------------------------------------------------

TEST_P(OrderTest, ADeadlineCancelsWhatItIsLinkedTo) {
    Io io = make();
    const Pipe pipe;
    std::byte byte{};
    for (const How how : {linked, hard_linked}) {
        for (const std::chrono::nanoseconds after : {0ns, 1'000ns, 2'000'000ns}) {
            const auto before = io.now();
            ASSERT_TRUE(read_pipe(io, pipe, byte, 1, how));
            ASSERT_TRUE(io.deadline(after, 2));
            const Results done = finish(io);
            EXPECT_GE(io.now() - before, after);
            EXPECT_TRUE(is_cancelled(done.at(1))) << done.at(1);
            EXPECT_EQ(done.at(2), -ETIME);
        }
    }
    // What follows is not begun.
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1, linked));
    ASSERT_TRUE(io.deadline(1ms, 2, linked));
    ASSERT_TRUE(io.nop(3));
    const Results done = finish(io);
    EXPECT_TRUE(is_cancelled(done.at(1)));
    EXPECT_EQ(done.at(2), -ETIME);
    EXPECT_EQ(done.at(3), -ECANCELED);
    EXPECT_EQ(byte, std::byte{});
}

TEST_P(OrderTest, ADeadlineEndsWithWhatCompletesBeforeIt) {
    Io io = make();
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(io.nop(1, linked));
    ASSERT_TRUE(io.deadline(never, 2));
    EXPECT_EQ(finish(io), (Results{{1, 0}, {2, -ECANCELED}}));
    ASSERT_TRUE(fail(io, 1, linked));
    ASSERT_TRUE(io.deadline(never, 2));
    EXPECT_EQ(finish(io), (Results{{1, -EBADF}, {2, -ECANCELED}}));
    Results done;
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1, linked));
    ASSERT_TRUE(io.deadline(never, 2));
    submit(io, done);
    EXPECT_TRUE(done.empty());
    write_pipe(pipe);
    EXPECT_EQ(finish(io), (Results{{1, 1}, {2, -ECANCELED}}));
    EXPECT_EQ(byte, std::byte{'x'});
}

TEST_P(OrderTest, ADeadlineThatNothingIsLinkedToIsRefused) {
    Io io = make();
    EXPECT_EQ(result_of(io, io.deadline(1ms, 1)), -EINVAL);
    ASSERT_TRUE(io.nop(1));
    ASSERT_TRUE(io.deadline(1ms, 2));
    EXPECT_EQ(finish(io), (Results{{1, 0}, {2, -EINVAL}}));
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1, linked));
    ASSERT_TRUE(io.deadline(-1ns, 2));
    EXPECT_EQ(finish(io), (Results{{1, -ECANCELED}, {2, -EINVAL}}));
}

// --- Cancelling -----------------------------------------------------------------------------------------------------

TEST_P(OrderTest, AnOperationIsCancelledByItsTokenWhateverThatIs) {
    Io io = make();
    const Pipe pipe;
    std::byte byte{};
    Results done;
    for (const Token token :
         {Token{0}, Token{1}, Token{63}, Token{64}, Token{128}, Token{1} << 32, UINT64_MAX - 1, UINT64_MAX}) {
        for (const bool together : {false, true}) {
            done.clear();
            ASSERT_TRUE(read_pipe(io, pipe, byte, token));
            ASSERT_TRUE(read_pipe(io, pipe, byte, 5));
            if (!together) submit(io, done);
            ASSERT_TRUE(io.cancel(token, token ^ 2));
            while (done.size() < 2) note(io.park(), io, done);
            EXPECT_EQ(done, (Results{{token, -ECANCELED}, {token ^ 2, 0}}));
            write_pipe(pipe);
            EXPECT_EQ(finish(io), (Results{{5, 1}}));
        }
    }
}

TEST_P(OrderTest, ACancelMayHaveTheTokenOfItsTarget) {
    Io io = make();
    const Pipe pipe;
    std::byte byte{};
    for (const Token token : {Token{0}, Token{7}, UINT64_MAX}) {
        ASSERT_TRUE(read_pipe(io, pipe, byte, token));
        ASSERT_TRUE(io.cancel(token, token));
        std::vector<std::int32_t> results;
        for (const Completion& done : drain(io)) {
            EXPECT_EQ(done.token, token);
            results.push_back(done.res);
        }
        std::sort(results.begin(), results.end());
        EXPECT_EQ(results, (std::vector<std::int32_t>{-ECANCELED, 0}));
    }
}

TEST_P(OrderTest, WhereSeveralHaveATokenOneIsCancelled) {
    Io io = make();
    const Pipe pipe;
    std::array<std::byte, 3> bytes{};
    for (std::byte& byte : bytes) ASSERT_TRUE(read_pipe(io, pipe, byte, 1));
    for (std::size_t left = 3; left > 0; --left) {
        ASSERT_TRUE(io.cancel(1, 2));
        std::size_t cancelled = 0;
        for (std::size_t seen = 0; seen < 2;)
            for (const Completion& done : io.park()) {
                ++seen;
                EXPECT_EQ(done.res, done.token == 1 ? -ECANCELED : 0);
                cancelled += done.token == 1 ? 1 : 0;
            }
        EXPECT_EQ(cancelled, 1U);
        EXPECT_EQ(io.in_flight(), left - 1);
    }
}

TEST_P(OrderTest, WhatIsNotInFlightIsNotFound) {
    Io io = make();
    EXPECT_EQ(result_of(io, io.cancel(1, 2)), -ENOENT);
    EXPECT_EQ(result_of(io, io.cancel(2, 2)), -ENOENT) << "not itself";
    ASSERT_EQ(result_of(io, io.nop(1)), 0);
    EXPECT_EQ(result_of(io, io.cancel(1, 2)), -ENOENT) << "what has completed";
    ASSERT_TRUE(io.nop(1));
    ASSERT_TRUE(io.cancel(1, 2));
    EXPECT_EQ(finish(io), (Results{{1, 0}, {2, -ENOENT}})) << "and is not handed out";
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(io.cancel(1, 2));
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1));
    Results done;
    while (done.empty()) note(io.park(), io, done);
    EXPECT_EQ(done, (Results{{2, -ENOENT}})) << "what was queued later";
    write_pipe(pipe);
    EXPECT_EQ(finish(io), (Results{{1, 1}}));
}

TEST_P(OrderTest, WhatIsCancelledCancelsWhatFollowsInItsChain) {
    Io io = make();
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1, linked));
    ASSERT_TRUE(io.nop(2));
    ASSERT_TRUE(io.cancel(1, 3));
    EXPECT_EQ(finish(io), (Results{{1, -ECANCELED}, {2, -ECANCELED}, {3, 0}}));
}

TEST_P(OrderTest, CancelFileFindsAllThatIsInFlightOnAFile) {
    Io io = make();
    const Pipe pipe;
    const Pipe other;
    const FileSlot slot(2);
    std::array<std::byte, 8> bytes{};
    ASSERT_TRUE(io.set_file(slot, pipe.read_end));
    // So that it is known, with polling, that this cannot be polled.
    write_pipe(pipe);
    ASSERT_EQ(result_of(io, io.read(slot, std::span(bytes).first(1), here, 1)), 1);
    const File files[] = {pipe.read_end, slot};
    for (const File& file : files) {
        ASSERT_TRUE(read_pipe(io, pipe, bytes[0], 1));
        ASSERT_TRUE(read_pipe(io, pipe, bytes[1], 2));
        ASSERT_TRUE(io.read(slot, std::span(bytes).subspan(2, 1), here, 3));
        ASSERT_TRUE(read_pipe(io, other, bytes[3], 4));
        ASSERT_TRUE(io.timer(never, 5));
        ASSERT_TRUE(io.cancel_file(file, 6));
        Results done;
        while (done.size() < 4) note(io.park(), io, done);
        EXPECT_EQ(done, (Results{{1, -ECANCELED}, {2, -ECANCELED}, {3, -ECANCELED}, {6, 3}}));
        EXPECT_EQ(io.in_flight(), 2U);
        ASSERT_TRUE(io.cancel_file(file, 6));
        ASSERT_TRUE(io.cancel(5, 7));
        write_pipe(other);
        EXPECT_EQ(finish(io), (Results{{4, 1}, {5, -ECANCELED}, {6, 0}, {7, 0}}));
    }
    const int closed = ::dup(pipe.read_end);
    ::close(closed);
    EXPECT_EQ(result_of(io, io.cancel_file(closed, 1)), -EBADF);
    EXPECT_EQ(result_of(io, io.cancel_file(-1, 1)), -EBADF);
    EXPECT_EQ(result_of(io, io.cancel_file(FileSlot(3), 1)), -EBADF) << "an empty slot";
    EXPECT_EQ(result_of(io, io.cancel_file(FileSlot(4), 1)), -EBADF) << "no slot at all";
}

TEST_P(OrderTest, CancelAllFindsWhateverCanBeCancelled) {
    Io io = make();
    const Pipe pipe;
    std::array<std::byte, 2> bytes{};
    EXPECT_EQ(result_of(io, io.cancel_all(1)), 0);
    ASSERT_TRUE(read_pipe(io, pipe, bytes[0], 1));
    ASSERT_TRUE(io.timer(never, 2));
    ASSERT_TRUE(read_pipe(io, pipe, bytes[1], 3, linked));
    ASSERT_TRUE(io.nop(4));
    ASSERT_TRUE(io.timer(never, 5));
    ASSERT_TRUE(io.nop(6));
    ASSERT_TRUE(io.cancel_all(7));
    EXPECT_EQ(
        finish(io),
        (Results{{1, -ECANCELED}, {2, -ECANCELED}, {3, -ECANCELED}, {4, -ECANCELED}, {5, -ECANCELED}, {6, 0}, {7, 4}}));
}

// --- Races ----------------------------------------------------------------------------------------------------------

// Writes a byte to a pipe whenever it is told to: at about the moment at which something else happens.
class Writer {
public:
    explicit Writer(int fd) : fd_(fd), thread_([this] { run(); }) {}
    ~Writer() {
        tell(stop);
        thread_.join();
    }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    void go(unsigned char byte) { tell(byte); }
    void until_done() const {
        for (unsigned word = told_.load(); (word & busy) != 0; word = told_.load()) told_.wait(word);
    }

private:
    static constexpr unsigned busy = 1U << 16;
    static constexpr unsigned stop = 1U << 17;
    void tell(unsigned what) {
        told_.store(what | busy);
        told_.notify_all();
    }
    void run() {
        for (;;) {
            told_.wait(0);
            const unsigned word = told_.load();
            if ((word & stop) != 0) return;
            const auto byte = static_cast<unsigned char>(word);
            EXPECT_EQ(::write(fd_, &byte, 1), 1);
            told_.store(0);
            told_.notify_all();
        }
    }
    int fd_;
    std::atomic<unsigned> told_{0};
    std::thread thread_;
};

// So that two things meet at another moment each time.
void dally(std::uint64_t round) {
    std::atomic<unsigned> turns{0};
    while (turns.fetch_add(1, std::memory_order_relaxed) < round * 37 % 900) continue;
}

// What the byte of `pipe` came to: it was read, or is still there, from where it is taken.
void expect_not_lost(const Pipe& pipe, std::int32_t res, std::byte read, unsigned char written) {
    ASSERT_EQ(pipe.bytes_within(), res == 1 ? 0 : 1) << "the read came to " << res;
    if (res == 1) {
        ASSERT_EQ(read, std::byte{written});
        return;
    }
    ASSERT_TRUE(is_cancelled(res)) << res;
    ASSERT_EQ(read, std::byte{}) << "of a read that was cancelled";
    unsigned char left = 0;
    ASSERT_EQ(::read(pipe.read_end, &left, 1), 1);
    ASSERT_EQ(left, written);
}

TEST_P(OrderTest, ACancelAndACompletionMayMeetAtAnyMoment) {
    Io io = make();
    const Pipe pipe;
    Writer writer(pipe.write_end);
    const FileSlot slot(0);
    ASSERT_TRUE(io.set_file(slot, pipe.read_end));
    std::uint64_t read = 0;
    // A poller is slow where threads share few CPUs.
    const std::uint64_t rounds = scaled(GetParam().mode == Mode::sqpoll ? 1000 : 3000);
    for (std::uint64_t round = 0; round < rounds; ++round) {
        const auto byte_written = static_cast<unsigned char>(round % 255 + 1);
        const bool by_other_thread = round % 2 == 0;
        const auto write = [&] {
            if (by_other_thread)
                writer.go(byte_written);
            else
                write_pipe(pipe, byte_written);
        };
        std::byte byte{};
        Results done;
        // With polling, what is known of a file goes when it is put there anew.
        if (round % 16 == 0) {
            ASSERT_TRUE(io.set_file(slot, pipe.read_end));
        }
        const File file = round % 8 < 4 ? File(slot) : File(pipe.read_end);
        const How how = round % 5 == 0 ? by_worker : How{};
        const unsigned moment = static_cast<unsigned>(round / 2 % 4);
        ASSERT_TRUE(io.read(file, {&byte, 1}, here, 1, how));
        if (moment == 0) write();
        if (round % 3 != 0) note(io.poll(), io, done);
        if (moment == 1) write();
        dally(round);
        ASSERT_TRUE(io.cancel(1, 2));
        if (moment == 2) write();
        if (round % 7 == 0) {
            ASSERT_TRUE(io.cancel(1, 3));
            ASSERT_EQ(io.withdraw(), Token{3});
        }
        note(io.poll(), io, done);
        if (moment == 3) write();
        done = finish(io, done);
        writer.until_done();
        ASSERT_EQ(done.size(), 2U);
        ASSERT_NO_FATAL_FAILURE(expect_not_lost(pipe, done.at(1), byte, byte_written));
        ASSERT_TRUE(done.at(2) == 0 || done.at(2) == -EALREADY || done.at(2) == -ENOENT) << done.at(2);
        if (done.at(2) == 0) {
            ASSERT_TRUE(is_cancelled(done.at(1)));
        }
        read += done.at(1) == 1 ? 1U : 0U;
    }
    // Both happen, or nothing was raced.
    RecordProperty("read", std::to_string(read));
    RecordProperty("cancelled", std::to_string(rounds - read));
}

TEST_P(OrderTest, ADeadlineAndACompletionMayMeetAtAnyMoment) {
    BufferArena arena = make_arena({.count = 4});
    Io io = make_io(GetParam(), {.entries = 64, .arena = &arena, .file_slots = 4});
    const Pipe pipe;
    Writer writer(pipe.write_end);
    std::vector<std::byte> content(4096);
    fill_pattern(content, 0);
    write_file(dir.file("f"), content);
    int opened = ::open(dir.file("f").c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (opened < 0) opened = ::open(dir.file("f").c_str(), O_RDONLY | O_CLOEXEC);
    const Fd fd(opened);
    ASSERT_TRUE(io.set_file(FileSlot(0), fd));
    const FixedBuffer buffer = *arena.acquire();
    for (std::uint64_t round = 0; round < scaled(3000); ++round) {
        const auto byte_written = static_cast<unsigned char>(round % 255 + 1);
        const std::chrono::nanoseconds after{round * 131 % 20'000};
        const bool reads_pipe = round % 4 == 0;
        std::byte byte{};
        Results done;
        const How how{.link = true, .async = round % 3 == 0};
        if (reads_pipe)
            ASSERT_TRUE(read_pipe(io, pipe, byte, 1, how));
        else if (round % 4 == 1)
            ASSERT_TRUE(io.nop(1, how));
        else
            ASSERT_TRUE(io.read(round % 4 == 2 ? File(fd) : File(FileSlot(0)), buffer.bytes(), 0, 1, how));
        ASSERT_TRUE(io.deadline(after, 2));
        note(io.poll(), io, done);
        if (reads_pipe && round % 8 == 0) {
            writer.go(byte_written);
        } else if (reads_pipe) {
            dally(round);
            write_pipe(pipe, byte_written);
        }
        done = finish(io, done);
        writer.until_done();
        ASSERT_EQ(done.size(), 2U);
        if (reads_pipe) {
            ASSERT_NO_FATAL_FAILURE(expect_not_lost(pipe, done.at(1), byte, byte_written));
        } else {
            ASSERT_TRUE(done.at(1) == (round % 4 == 1 ? 0 : 4096) || is_cancelled(done.at(1))) << done.at(1);
        }
        const std::int32_t deadline = done.at(2);
        ASSERT_TRUE(deadline == -ETIME || deadline == -ECANCELED || deadline == -EALREADY || deadline == -ENOENT)
            << deadline;
        if (deadline == -ECANCELED) {
            ASSERT_GE(done.at(1), 0) << "it did not come to its time";
        }
    }
}

// Many operations of all kinds, of which some are taken back, some complete and some are cancelled.
class Crowd {
public:
    Crowd(Io& io, const TempDir& dir) : io_(io) {
        std::vector<std::byte> content(4096);
        write_file(dir.file("f"), content);
        fd_ = ::open(dir.file("f").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
        if (fd_ < 0) fd_ = ::open(dir.file("f").c_str(), O_RDWR | O_CLOEXEC);
        EXPECT_TRUE(io.set_file(FileSlot(0), fd_));
    }
    ~Crowd() { ::close(fd_); }
    Crowd(const Crowd&) = delete;
    Crowd& operator=(const Crowd&) = delete;

    void round(std::uint64_t number) {
        random_.seed(number);
        bytes_.fill({});
        if (number % 8 == 0) {
            EXPECT_TRUE(io_.set_file(FileSlot(1), pipes_[0].read_end));
        }
        owed_.clear();
        int written[pipes] = {};
        for (Token token = 0; token < operations; ++token) {
            if (!io_.has_room(2)) poll();
            queue(token);
            const unsigned chance = random_() % 16;
            if (chance == 0) poll();
            if (chance == 1) withdraw();
            if (chance == 2) {
                const auto which = random_() % pipes;
                ++written[which];
                EXPECT_EQ(::write(pipes_[which].write_end, "x", 1), 1);
            }
            if (chance == 3) cancel_all();
        }
        if (number % 2 == 0) poll();
        while (io_.in_flight() > 0 && !testing::Test::HasFailure()) {
            cancel_all();
            note(io_.park());
        }
        EXPECT_TRUE(owed_.empty()) << owed_.size() << " operations did not complete";
        for (unsigned which = 0; which < pipes; ++which) {
            const int within = pipes_[which].bytes_within();
            const auto read = static_cast<int>(read_[which]);
            EXPECT_EQ(read + within, written[which]) << "round " << number << ": a byte was lost";
            read_[which] = 0;
            std::array<std::byte, operations> left{};
            if (within > 0) {
                EXPECT_EQ(::read(pipes_[which].read_end, left.data(), left.size()), within);
            }
        }
    }

private:
    static constexpr Token operations = 40;
    static constexpr unsigned pipes = 2;
    // Of the second in a pair, and of what cancels.
    static constexpr Token second = 1000;
    static constexpr Token cancelling = 2000;

    void queue(Token token) {
        const auto which = static_cast<unsigned>(random_() % pipes);
        const std::span<std::byte> byte = std::span(bytes_).subspan(token, 1);
        const How how{.async = random_() % 8 == 0};
        switch (random_() % 10) {
            case 0:
                return took(io_.read(pipes_[which].read_end, byte, here, token, how), token, which);
            case 1:
                return took(io_.read(FileSlot(1), byte, here, token, how), token, 0);
            case 2:
                return took(io_.timer(never, token), token);
            case 3:
                return took(io_.timer(std::chrono::microseconds(random_() % 100), token), token);
            case 4:
                return took(io_.nop(token, how), token);
            case 5:
                return took(io_.read(FileSlot(0), page_, 0, token, how), token);
            case 6:
                return took(io_.fsync(fd_, token, how), token);
            case 7:
                return took(io_.statx(fd_, statx_, token), token);
            case 8:
                took(io_.read(pipes_[which].read_end, byte, here, token, linked), token, which);
                return took(io_.nop(token + second), token + second);
            default:
                took(io_.read(pipes_[which].read_end, byte, here, token, linked), token, which);
                return took(io_.deadline(std::chrono::microseconds(random_() % 100), token + second), token + second);
        }
    }
    // What has no room has none for a moment only, with an SQPOLL thread, and is left out.
    void took(bool queued, Token token, std::optional<unsigned> pipe = std::nullopt) {
        if (queued) {
            EXPECT_TRUE(owed_.emplace(token, pipe).second);
        }
    }
    void withdraw() {
        const std::optional<Token> token = io_.withdraw();
        if (token) {
            EXPECT_EQ(owed_.erase(*token), 1U);
        }
        expect_conserved();
    }
    void cancel_all() {
        const Token token = cancelling + random_() % 1'000'000'000;
        if (owed_.count(token) != 0) return;
        // An older kernel cancels one at a time.
        if (io_.features().has(abi::Op::fsetxattr)) return took(io_.cancel_all(token), token);
        if (owed_.empty()) return;
        const auto which = std::next(owed_.begin(), static_cast<std::ptrdiff_t>(random_() % owed_.size()));
        took(io_.cancel(which->first, token), token);
    }
    void poll() { note(io_.poll()); }
    void note(const Completions& done) {
        EXPECT_FALSE(done.error()) << done.error().message();
        for (const Completion& each : done) {
            const auto found = owed_.find(each.token);
            if (found == owed_.end()) {
                ADD_FAILURE() << each.token << " completed twice, or was taken back";
                continue;
            }
            if (const std::optional<unsigned> pipe = found->second) {
                EXPECT_TRUE(each.res == 1 || is_cancelled(each.res)) << each.res;
                EXPECT_EQ(bytes_[each.token] != std::byte{}, each.res == 1);
                read_[*pipe] += each.res == 1 ? 1 : 0;
            }
            owed_.erase(found);
        }
        expect_conserved();
    }
    void expect_conserved() const {
        EXPECT_EQ(io_.counters().submitted, io_.counters().completed + io_.in_flight());
        EXPECT_EQ(io_.in_flight(), owed_.size());
    }

    Io& io_;
    int fd_ = -1;
    Pipe pipes_[pipes];
    std::minstd_rand random_;
    std::map<Token, std::optional<unsigned>> owed_;  // in flight, and the pipe that it reads
    unsigned read_[pipes] = {};
    std::array<std::byte, operations> bytes_{};
    alignas(4096) std::array<std::byte, 4096> page_{};
    struct ::statx statx_ {};
};

TEST_P(OrderTest, ACrowdOfWhichAllIsCancelledHasOneCompletionEach) {
    Io io = make();
    Crowd crowd(io, dir);
    for (std::uint64_t round = 0; round < scaled(200) && !HasFailure(); ++round) crowd.round(round);
}

// --- Room -----------------------------------------------------------------------------------------------------------

class RoomTest : public OrderTest {
protected:
    static constexpr unsigned entries = 8;
    static void expect_room(Io& io, unsigned count) {
        for (unsigned asked = 0; asked <= 2 * entries + 1; ++asked)
            EXPECT_EQ(io.has_room(asked), asked <= count) << asked << " of " << count;
        EXPECT_FALSE(io.has_room(UINT32_MAX));
    }
    Io make(unsigned completion_entries) {
        return make_io(GetParam(), {.entries = entries, .completion_entries = completion_entries});
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, RoomTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(RoomTest, IsThereForExactlyAsManyAsCanBeQueuedWhereverTheQueueWraps) {
    Io io = make(0);
    for (unsigned start = 0; start < 2 * entries + 1; ++start) {
        for (unsigned queued = 0; queued <= entries; ++queued) {
            expect_room(io, entries - queued);
            ASSERT_EQ(io.nop(queued), queued < entries);
        }
        for (unsigned queued = 0; queued < entries; ++queued) {
            ASSERT_TRUE(io.withdraw());
            expect_room(io, queued + 1);
        }
        // A chain of that length is submitted whole, and ends at its first part.
        ASSERT_TRUE(fail(io, 0, linked));
        for (Token part = 1; part < entries; ++part)
            ASSERT_TRUE(io.nop(part, part + 1 < entries ? linked : How{})) << part;
        expect_room(io, 0);
        const Results done = finish(io);
        EXPECT_EQ(done.size(), entries);
        for (const auto& [token, res] : done) ASSERT_EQ(res, token == 0 ? -EBADF : -ECANCELED) << token;
        ASSERT_EQ(result_of(io, io.nop(1)), 0);  // one place further
    }
}

TEST_P(RoomTest, IsNotThereForMoreThanTheCompletionsOfWhatIsInFlightOrStillRead) {
    Io io = make(entries);
    const Pipe pipe;
    std::array<std::byte, entries> bytes{};
    Results done;
    for (unsigned flying = 0; flying < entries; ++flying) {
        expect_room(io, entries - flying);
        ASSERT_TRUE(read_pipe(io, pipe, bytes[flying], flying));
        submit(io, done);
    }
    expect_room(io, 0);
    EXPECT_FALSE(io.nop(99));
    for (unsigned byte = 0; byte < 3; ++byte) write_pipe(pipe);
    unsigned taken = 0;
    while (taken < 3) {
        const Completions held = io.park();
        taken += static_cast<unsigned>(held.size());
        expect_room(io, taken - static_cast<unsigned>(held.size()));
    }
    expect_room(io, 3);
    ASSERT_TRUE(fail(io, 20, linked));
    ASSERT_TRUE(io.nop(21, linked));
    ASSERT_TRUE(io.nop(22));
    expect_room(io, 0);
    while (done.size() < 3) note(io.park(), io, done);
    EXPECT_EQ(done, (Results{{20, -EBADF}, {21, -ECANCELED}, {22, -ECANCELED}}));
    for (unsigned byte = 3; byte < entries; ++byte) write_pipe(pipe);
    EXPECT_EQ(finish(io).size(), entries - 3);
    expect_room(io, entries);
}

TEST_P(RoomTest, IsNotThereInAForkedChildNorOnAThreadThatIsNotTheOwners) {
    Io io = make_io(GetParam(), {.entries = entries, .checks = true});
    expect_room(io, entries);
    ASSERT_EQ(result_of(io, io.nop(0)), 0);
    expect_room(io, entries);
    in_child_alone([&io] { expect_room(io, 0); });
    std::thread([&io] { expect_room(io, GetParam().mode == Mode::plain ? entries : 0); }).join();
    expect_room(io, entries);
    EXPECT_EQ(io.counters().queue_full, 0U) << "nothing was refused";
}

// --- Taking back ----------------------------------------------------------------------------------------------------

TEST_P(OrderTest, WhatIsQueuedInThePlaceOfAPartThatWasTakenBackIsNotLinked) {
    Io io = make();
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(fail(io, 1, linked));
    ASSERT_TRUE(io.nop(2));
    EXPECT_EQ(io.withdraw(), Token{2});
    ASSERT_TRUE(io.nop(3));
    EXPECT_EQ(finish(io), (Results{{1, -EBADF}, {3, 0}}));
    // The parts that are left are a chain as before.
    ASSERT_TRUE(fail(io, 1, linked));
    ASSERT_TRUE(io.nop(2, linked));
    ASSERT_TRUE(io.nop(3, linked));
    EXPECT_EQ(io.withdraw(), Token{3});
    ASSERT_TRUE(io.nop(4));
    EXPECT_EQ(finish(io), (Results{{1, -EBADF}, {2, -ECANCELED}, {4, 0}}));
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1, hard_linked));
    ASSERT_TRUE(io.nop(2));
    EXPECT_EQ(io.withdraw(), Token{2});
    ASSERT_TRUE(io.nop(3));
    Results done;
    while (done.empty()) note(io.park(), io, done);
    EXPECT_EQ(done, (Results{{3, 0}})) << "it waits for nothing";
    write_pipe(pipe);
    EXPECT_EQ(finish(io), (Results{{1, 1}}));
    // A deadline that is taken back bounds nothing, and one in its place has nothing to bound.
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1, linked));
    ASSERT_TRUE(io.deadline(0ns, 2));
    EXPECT_EQ(io.withdraw(), Token{2});
    ASSERT_TRUE(io.deadline(0ns, 3));
    done.clear();
    while (done.empty()) note(io.park(), io, done);
    EXPECT_EQ(done, (Results{{3, -EINVAL}}));
    write_pipe(pipe);
    EXPECT_EQ(finish(io), (Results{{1, 1}}));
}

TEST_P(OrderTest, ADrainThatWasTakenBackHoldsNothingUp) {
    Io io = make();
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1));
    ASSERT_TRUE(io.nop(2, drained));
    EXPECT_EQ(io.withdraw(), Token{2});
    ASSERT_TRUE(io.nop(3));
    Results done;
    while (done.empty()) note(io.park(), io, done);
    EXPECT_EQ(done, (Results{{3, 0}}));
    write_pipe(pipe);
    EXPECT_EQ(finish(io), (Results{{1, 1}}));
}

// --- What two rings, or a poller that serves two, make harder ---------------------------------------------------------

TEST_P(OrderTest, AChainOfAnyLengthIsSubmittedWholeWhereChainsAreKept) {
    Io io = make();
    EXPECT_EQ(io.features().keeps_chains, GetParam().mode != Mode::sqpoll || GetParam().polling == Polling::none);
    if (!io.features().keeps_chains) return;
    constexpr Token parts = 16;
    for (Token part = 0; part < parts; ++part) {
        const How how = part + 1 < parts ? linked : How{};
        ASSERT_TRUE(part == 0 ? fail(io, part, how) : io.nop(part, how));
    }
    for (const auto& [token, res] : finish(io)) EXPECT_EQ(res, token == 0 ? -EBADF : -ECANCELED) << token;
}
TEST_P(OrderTest, ADeadlineBoundsItsOperationWhereverInABatchTheyAre) {
    Io io = make();
    if (!io.features().keeps_chains) return;
    const Pipe pipe;
    std::byte byte{};
    for (Token token = 10; token < 17; ++token) ASSERT_TRUE(io.nop(token));
    ASSERT_TRUE(read_pipe(io, pipe, byte, 1, linked));
    ASSERT_TRUE(io.deadline(1ms, 2));
    Results done;
    while (done.count(2) == 0) note(io.park(), io, done);
    EXPECT_EQ(done.at(2), -ETIME);
    write_pipe(pipe);
    (void)finish(io, done);
}

TEST_P(OrderTest, ACancelThatRunsLateCancelsNothingElse) {
    Io io = make();
    const Pipe pipe;
    const Pipe before;
    std::array<std::byte, 3> bytes{};
    ASSERT_TRUE(read_pipe(io, pipe, bytes[0], 1));
    ASSERT_TRUE(read_pipe(io, before, bytes[1], 2, hard_linked));
    ASSERT_TRUE(io.cancel(1, 3));
    Results done;
    submit(io, done);
    write_pipe(pipe);
    while (done.empty()) note(io.park(), io, done);
    EXPECT_EQ(done, (Results{{1, 1}}));
    ASSERT_TRUE(read_pipe(io, pipe, bytes[2], 4));
    submit(io, done);
    write_pipe(before);
    while (done.count(3) == 0) note(io.park(), io, done);
    EXPECT_EQ(done.at(3), -ENOENT);
    write_pipe(pipe);
    EXPECT_EQ(finish(io, done).at(4), 1) << "it was cancelled in another's place";
}

// With polling it is in the polled ring, which refuses it a moment later.
TEST_P(OrderTest, AReadOfASlotIsCancelledThoughItIsTheFirst) {
    Io io = make();
    const Pipe pipe;
    std::byte byte{};
    ASSERT_TRUE(io.set_file(FileSlot(0), pipe.read_end));
    ASSERT_TRUE(io.read(FileSlot(0), {&byte, 1}, here, 1));
    ASSERT_TRUE(io.cancel(1, 2));
    Results done;
    while (done.count(2) == 0) note(io.park(), io, done);
    EXPECT_EQ(done.at(2), GetParam().polling == Polling::none ? 0 : -ENOENT);
    EXPECT_EQ(finish(io, done).at(1), -ECANCELED);
}

// --- What a failure ends, and when a file is looked up ---------------------------------------------------------------

// As the manual has it, of Linux 6.0 and later.
TEST_P(OrderTest, OnlySomeFailuresEndAChain) {
    Io io = make();
    if (!io.features().single_issuer && !io.features().has(abi::Op::ftruncate)) return;  // an older kernel, perhaps
    const std::string none = dir.file("none");
    const Pipe pipe;
    struct ::statx out {};
    const auto goes_on = [&](bool queued) {
        EXPECT_TRUE(queued);
        EXPECT_TRUE(io.nop(2));
        const Results done = finish(io);
        EXPECT_LT(done.at(1), 0);
        return done.at(2) == 0;
    };
    EXPECT_TRUE(goes_on(io.fsync(pipe.read_end, 1, linked)));
    EXPECT_TRUE(goes_on(io.fallocate(pipe.write_end, 0, 0, 1, 1, linked)));
    EXPECT_TRUE(goes_on(io.rename(none, none, 1, linked)));
    EXPECT_TRUE(goes_on(io.unlink(none, 1, linked)));
    EXPECT_TRUE(goes_on(io.statx(none, out, 1, StatxOptions{}, linked)));
    EXPECT_FALSE(goes_on(io.open(none, {}, 1, linked)));
    EXPECT_FALSE(goes_on(io.fsync(-1, 1, linked)));
    EXPECT_FALSE(goes_on(io.close(-1, 1, linked)));
    EXPECT_FALSE(goes_on(io.cancel(12345, 1, linked)));
    EXPECT_FALSE(goes_on(io.timer(0ns, 1, linked)));
    EXPECT_TRUE(goes_on(io.timer(0ns, 1, hard_linked)));
}

}  // namespace
}  // namespace squall
