// SPDX-License-Identifier: MIT
//
// The SQ and CQ protocols over plain memory: no kernel. A thread plays the kernel's side where two sides matter, so that
// TSan sees both ends of every barrier.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "squall/completions.hpp"
#include "squall/queue.hpp"

namespace squall::detail {
namespace {

// What the kernel would have mapped: the words and arrays of one ring.
struct FakeRing {
    FakeRing(std::uint32_t sq_entries, std::uint32_t cq_entries, std::uint32_t start = 0)
        : sq_head(start), sq_tail(start), cq_head(start), cq_tail(start), sqes(sq_entries), cqes(cq_entries) {}

    SubmissionQueue submission_queue() {
        return SubmissionQueue({&sq_head, &sq_tail, &sq_flags, sqes.data(), static_cast<std::uint32_t>(sqes.size())},
                               sq_tail);
    }
    CompletionQueue completion_queue() {
        return CompletionQueue({&cq_head, &cq_tail, cqes.data(), static_cast<std::uint32_t>(cqes.size())});
    }
    // The kernel's side: consumes all that is published and answers each SQE with its own user_data.
    std::uint32_t consume() {
        std::uint32_t head = load_relaxed(&sq_head);
        const std::uint32_t tail = load_acquire(&sq_tail);
        const std::uint32_t count = tail - head;
        for (; head != tail; ++head) post(static_cast<std::uint64_t>(sqes[head % sqes.size()].user_data));
        store_release(&sq_head, head);
        return count;
    }
    void post(std::uint64_t token) {
        const std::uint32_t tail = load_relaxed(&cq_tail);
        ASSERT_LT(tail - load_acquire(&cq_head), cqes.size()) << "the CQ overflows";
        cqes[tail % cqes.size()] = {token, static_cast<std::int32_t>(token & 0xffff), 0};
        store_release(&cq_tail, tail + 1);
    }

    alignas(64) std::uint32_t sq_head;
    alignas(64) std::uint32_t sq_tail;
    alignas(64) std::uint32_t sq_flags = 0;
    alignas(64) std::uint32_t cq_head;
    alignas(64) std::uint32_t cq_tail;
    std::vector<abi::SqeWords> sqes;
    std::vector<Completion> cqes;
};

// The queue with the tail and the cursor that its owner keeps.
struct Producer {
    explicit Producer(FakeRing& ring) : tail(ring.sq_tail), queue(ring.submission_queue()) {}
    void push(std::uint64_t token) {
        cursor.slot().user_data = abi::Word{token};
        cursor.advance();
        ++tail;
    }
    [[nodiscard]] bool full() const { return cursor.full(); }
    bool look(std::uint32_t cq_room) {
        cursor.point_at(queue.free_sqes(tail, cq_room));
        return !cursor.full();
    }
    [[nodiscard]] bool unflushed() const { return queue.unflushed(tail); }
    void publish() { queue.publish(tail); }
    [[nodiscard]] bool publish_and_check_sleep() { return queue.publish_and_check_sleep(tail); }
    [[nodiscard]] std::uint32_t unconsumed() const { return queue.unconsumed(tail); }
    void note_consumed() { queue.note_consumed(); }
    void note_published() { queue.note_published(tail); }
    std::uint32_t close(bool sqpoll) { return queue.close(tail, sqpoll); }

    Sequence tail;
    SubmissionQueue queue;
    SqeCursor cursor;
};

TEST(SubmissionQueue, IsFullUntilItWasAskedToLookForRoom) {
    FakeRing ring(8, 16);
    Producer sq(ring);
    EXPECT_TRUE(sq.full());
    EXPECT_TRUE(sq.look(16));
    EXPECT_FALSE(sq.full());
}

TEST(SubmissionQueue, TakesExactlyItsEntriesAtEverySize) {
    for (std::uint32_t entries = 1; entries <= 32768; entries *= 2) {
        FakeRing ring(entries, 2 * entries);
        Producer sq(ring);
        std::uint32_t taken = 0;
        while (!sq.full() || sq.look(2 * entries - taken)) {
            sq.push(taken);
            ASSERT_LE(++taken, entries);
        }
        EXPECT_EQ(taken, entries);
        sq.publish();
        EXPECT_EQ(ring.consume(), entries);
        EXPECT_TRUE(sq.look(entries));
    }
}

TEST(SubmissionQueue, TakesNoMoreThanTheCompletionQueueHasRoomFor) {
    FakeRing ring(8, 16);
    Producer sq(ring);
    EXPECT_TRUE(sq.look(3));
    for (unsigned i = 0; i < 3; ++i) sq.push(i);
    EXPECT_TRUE(sq.full());
    EXPECT_FALSE(sq.look(0));
    EXPECT_TRUE(sq.look(1));
    sq.push(3);
    EXPECT_TRUE(sq.full());
}

TEST(SubmissionQueue, ShowsTheKernelNothingBeforeItIsPublished) {
    FakeRing ring(8, 16);
    Producer sq(ring);
    ASSERT_TRUE(sq.look(8));
    sq.push(7);
    EXPECT_TRUE(sq.unflushed());
    EXPECT_EQ(ring.consume(), 0U);
    sq.publish();
    EXPECT_EQ(sq.unconsumed(), 1U);
    EXPECT_EQ(ring.consume(), 1U);
    sq.note_consumed();
    EXPECT_FALSE(sq.unflushed());
    EXPECT_EQ(sq.unconsumed(), 0U);
}

TEST(SubmissionQueue, KeepsWhatTheKernelLeft) {
    FakeRing ring(8, 16);
    Producer sq(ring);
    ASSERT_TRUE(sq.look(8));
    for (unsigned i = 0; i < 5; ++i) sq.push(i);
    sq.publish();
    store_release(&ring.sq_head, 2U);  // the kernel took two of five
    sq.note_consumed();
    EXPECT_TRUE(sq.unflushed());
    EXPECT_EQ(sq.unconsumed(), 3U);
    EXPECT_EQ(sq.close(false), 3U);
    EXPECT_FALSE(sq.unflushed());
}

TEST(SubmissionQueue, DropsOnlyWhatAnSqpollThreadWasNotShown) {
    FakeRing ring(8, 16);
    Producer sq(ring);
    ASSERT_TRUE(sq.look(8));
    for (unsigned i = 0; i < 3; ++i) sq.push(i);
    EXPECT_FALSE(sq.publish_and_check_sleep());
    for (unsigned i = 0; i < 2; ++i) sq.push(i);
    EXPECT_EQ(sq.close(true), 2U);
}

TEST(SubmissionQueue, SaysWhenThePollerSleeps) {
    FakeRing ring(8, 16);
    Producer sq(ring);
    EXPECT_FALSE(sq.publish_and_check_sleep());
    store_release(&ring.sq_flags, abi::sq_need_wakeup | abi::sq_taskrun);
    EXPECT_TRUE(sq.publish_and_check_sleep());
    store_release(&ring.sq_flags, abi::sq_taskrun);
    EXPECT_FALSE(sq.publish_and_check_sleep());
}

TEST(SubmissionQueue, StaysFullWhenItIsWiped) {
    const Queues wiped;
    EXPECT_TRUE(SqeCursor().full());
    EXPECT_FALSE(wiped.sq.unflushed(0));
    EXPECT_EQ(wiped.in_flight(), 0U);
}

// Both queues with their counts, as a front has them.
struct Both : Queues {
    explicit Both(FakeRing& ring) {
        sq = ring.submission_queue();
        cq = ring.completion_queue();
        counters.submitted = ring.sq_tail;
        counters.completed = ring.sq_tail;
    }
    void push(std::uint64_t token, std::uint8_t flags = 0) {
        abi::SqeWords& sqe = free_sqes().front();
        sqe.op_fd = abi::op_fd_word(abi::Op::read, flags, 7);
        sqe.user_data = abi::Word{token};
        ++counters.submitted;
    }
    void publish() { sq.publish(counters.submitted); }
    [[nodiscard]] std::uint8_t flags_of_last() const { return abi::flags_of(sq.queued(counters.submitted - 1).op_fd); }
};

TEST(Queues, RoomIsWhatBothQueuesHaveWhereverTheyWrap) {
    for (std::uint32_t start = UINT32_MAX - 9; start != 10; ++start) {
        FakeRing ring(8, 8, start);
        Both queues(ring);
        for (std::uint32_t queued = 0; queued < 8; ++queued) {
            EXPECT_EQ(queues.room(), 8 - queued);
            queues.push(queued);
        }
        EXPECT_EQ(queues.room(), 0U);
        EXPECT_TRUE(queues.free_sqes().empty());
        for (std::uint32_t left = 8; left > 0; --left) {
            ASSERT_NE(queues.take_back(false), nullptr);
            EXPECT_EQ(queues.room(), 9 - left);
        }
    }
}

TEST(Queues, RoomIsForNoMoreThanTheCompletionQueueCanAnswerFor) {
    FakeRing ring(8, 16);
    Both queues(ring);
    for (std::uint32_t i = 0; i < 8; ++i) queues.push(i);
    EXPECT_EQ(queues.room(), 0U) << "the SQ is full";
    queues.publish();
    store_release(&ring.sq_head, 3U);
    EXPECT_EQ(queues.room(), 3U) << "the kernel took so many";
    store_release(&ring.sq_head, 8U);
    EXPECT_EQ(queues.room(), 8U);
    for (std::uint32_t i = 8; i < 14; ++i) queues.push(i);
    EXPECT_EQ(queues.room(), 2U) << "both have as much";
    queues.publish();
    store_release(&ring.sq_head, 14U);
    EXPECT_EQ(queues.room(), 2U) << "the SQ is empty, and the CQ is all but promised";
    for (std::uint32_t i = 0; i < 5; ++i) ring.post(i);
    EXPECT_EQ(queues.room(), 2U) << "what is there is in the CQ";
    {
        queues.complete(5);
        const Completions held(queues.cq, 5, 0);
        EXPECT_EQ(queues.in_flight(), 9U);
        EXPECT_EQ(queues.room(), 2U) << "and is still read";
    }
    EXPECT_EQ(queues.room(), 7U);
}

TEST(Queues, AreChainedWhereTheLastIsLinkedAndStillQueued) {
    FakeRing ring(4, 8, UINT32_MAX - 2);
    Both queues(ring);
    EXPECT_FALSE(queues.is_chained()) << "nothing was ever queued";
    for (const std::uint8_t link : {abi::sqe_io_link, abi::sqe_io_hardlink}) {
        queues.push(1);
        EXPECT_FALSE(queues.is_chained());
        queues.push(2, static_cast<std::uint8_t>(link | abi::sqe_async | abi::sqe_fixed_file));
        EXPECT_TRUE(queues.is_chained());
        queues.publish();
        EXPECT_TRUE(queues.is_chained()) << "it was shown to the kernel, which did not take it";
        queues.push(3, abi::sqe_io_drain);
        EXPECT_FALSE(queues.is_chained()) << "the chain has an end";
        queues.push(4, link);
        EXPECT_TRUE(queues.is_chained());
        queues.publish();
        EXPECT_EQ(ring.consume(), 4U);
        EXPECT_FALSE(queues.is_chained()) << "the kernel has it, and ended the chain there";
        queues.reap([](const Completion&) {});
    }
}

TEST(Queues, WhatIsTakenBackIsLinkedToNothing) {
    for (const std::uint8_t link : {abi::sqe_io_link, abi::sqe_io_hardlink}) {
        constexpr std::uint8_t others = abi::sqe_async | abi::sqe_io_drain | abi::sqe_fixed_file;
        FakeRing ring(4, 8, UINT32_MAX - 1);
        Both queues(ring);
        queues.push(1, link);
        queues.push(2, static_cast<std::uint8_t>(link | others));
        queues.push(3, link);
        const abi::SqeWords* back = queues.take_back(false);
        ASSERT_NE(back, nullptr);
        EXPECT_EQ(back->user_data, abi::Word{3});
        EXPECT_EQ(abi::flags_of(back->op_fd), link) << "it comes back as it was";
        EXPECT_FALSE(queues.is_chained());
        EXPECT_EQ(queues.flags_of_last(), others) << "all else stays";
        EXPECT_EQ(abi::op_of(queues.sq.queued(queues.counters.submitted - 1).op_fd), abi::Op::read);
        EXPECT_EQ(abi::fd_of(queues.sq.queued(queues.counters.submitted - 1).op_fd), 7U);
        EXPECT_EQ(abi::flags_of(queues.sq.queued(queues.counters.submitted - 2).op_fd), link)
            << "nor what is before it";
        // What comes in its place is not linked either.
        queues.push(4);
        back = queues.take_back(false);
        ASSERT_NE(back, nullptr);
        EXPECT_EQ(back->user_data, abi::Word{4});
        ASSERT_NE(queues.take_back(false), nullptr);
        EXPECT_EQ(queues.flags_of_last(), 0U);
        back = queues.take_back(false);
        ASSERT_NE(back, nullptr);
        EXPECT_EQ(back->user_data, abi::Word{1});
        EXPECT_EQ(queues.take_back(false), nullptr);
        EXPECT_EQ(queues.in_flight(), 0U);
    }
}

TEST(Queues, WhatTheKernelHasOrAPollerWasShownStaysAsItIs) {
    FakeRing ring(4, 8);
    Both queues(ring);
    queues.push(1, abi::sqe_io_link);
    queues.publish();
    queues.push(2);
    ASSERT_NE(queues.take_back(true), nullptr);
    EXPECT_EQ(queues.flags_of_last(), abi::sqe_io_link) << "the poller may be reading it";
    EXPECT_EQ(queues.take_back(true), nullptr);
    // Without a poller it is taken back, and is not shown any more.
    queues.push(2);
    ASSERT_NE(queues.take_back(false), nullptr);
    EXPECT_EQ(queues.flags_of_last(), 0U);
    EXPECT_EQ(ring.sq_tail, 1U);
    queues.push(2);
    queues.publish();
    store_release(&ring.sq_head, 1U);
    ring.sqes[0].op_fd = abi::op_fd_word(abi::Op::read, abi::sqe_io_link, 7);
    ASSERT_NE(queues.take_back(false), nullptr);
    EXPECT_EQ(queues.flags_of_last(), abi::sqe_io_link) << "the kernel took it";
    EXPECT_EQ(queues.take_back(false), nullptr);
}

TEST(SubmissionQueueDeathTest, RefusesAHeadThatOvertookTheTail) {
    FakeRing ring(8, 16);
    Producer sq(ring);
    store_release(&ring.sq_head, 1U);
    EXPECT_DEATH((void)sq.look(8), "the SQ has 9 free slots of 8");
}

TEST(CompletionQueue, IsReadInOrderAndInPlace) {
    FakeRing ring(8, 4);
    CompletionQueue cq = ring.completion_queue();
    ring.post(11);
    ring.post(12);
    Completions done(cq, cq.ready(), 0);
    ASSERT_EQ(done.size(), 2U);
    auto at = done.begin();
    EXPECT_EQ(&*at, &ring.cqes[0]);
    EXPECT_EQ(at->token, 11U);
    EXPECT_EQ((++at)->token, 12U);
    EXPECT_EQ(++at, done.end());
}

TEST(CompletionQueue, HandsTheSlotsBackOnlyWhenTheRangeDies) {
    FakeRing ring(8, 4);
    CompletionQueue cq = ring.completion_queue();
    ring.post(1);
    ring.post(2);
    {
        const Completions done(cq, cq.ready(), 0);
        EXPECT_EQ(load_relaxed(&ring.cq_head), 0U);
        EXPECT_EQ(cq.taken(), 2U);
        EXPECT_EQ(cq.ready(), 0U);
    }
    EXPECT_EQ(load_relaxed(&ring.cq_head), 2U);
    EXPECT_EQ(cq.taken(), 0U);
}

TEST(CompletionQueue, MovesARangeWithoutHandingBackTwice) {
    FakeRing ring(8, 4);
    CompletionQueue cq = ring.completion_queue();
    ring.post(1);
    Completions first(cq, cq.ready(), 0);
    Completions second(std::move(first));
    EXPECT_TRUE(cq.is_taken());
    EXPECT_TRUE(first.empty());  // NOLINT: a moved-from range is empty
    EXPECT_EQ(second.size(), 1U);
    second = Completions(0);
    EXPECT_FALSE(cq.is_taken());
    EXPECT_EQ(load_relaxed(&ring.cq_head), 1U);
}

TEST(CompletionQueue, MovesAllThatARangeIs) {
    FakeRing ring(8, 4, UINT32_MAX - 1);  // the indices pass 2^32 within it
    CompletionQueue cq = ring.completion_queue();
    for (std::uint64_t token = 1; token <= 4; ++token) ring.post(token);
    const auto expect = [](const Completions& done, std::vector<std::uint64_t> tokens, int code) {
        std::vector<std::uint64_t> found;
        for (const Completion& completion : done) found.push_back(completion.token);
        EXPECT_EQ(found, tokens);
        EXPECT_EQ(done.size(), tokens.size());
        EXPECT_EQ(done.empty(), tokens.empty());
        EXPECT_EQ(done.error().code(), code);
    };
    { const Completions first(cq, 1, 0); }  // so that what follows does not begin at the queue's start
    Completions from(cq, 2, EPERM);
    Completions made(std::move(from));
    expect(made, {2, 3}, EPERM);
    expect(from, {}, 0);  // NOLINT: a moved-from range is empty
    Completions assigned(EIO);
    assigned = std::move(made);
    expect(assigned, {2, 3}, EPERM);
    expect(made, {}, 0);  // NOLINT
    Completions& same = assigned;
    assigned = std::move(same);
    expect(assigned, {2, 3}, EPERM);
    EXPECT_TRUE(cq.is_taken());
    EXPECT_EQ(load_relaxed(&ring.cq_head), UINT32_MAX);
    assigned = Completions(ESTALE);
    expect(assigned, {}, ESTALE);
    EXPECT_FALSE(cq.is_taken());
    EXPECT_EQ(load_relaxed(&ring.cq_head), 1U);
    EXPECT_EQ(cq.ready(), 1U);
    assigned = Completions(cq, 1, 0);
    assigned = Completions(0);
    EXPECT_EQ(load_relaxed(&ring.cq_head), 2U) << "each range that is assigned over gives back what it had taken";
}

TEST(CompletionQueue, FindsTheFirstWithATokenAmongThoseThatAreReady) {
    FakeRing ring(8, 4, UINT32_MAX - 1);
    CompletionQueue cq = ring.completion_queue();
    EXPECT_EQ(cq.find(0), nullptr);
    for (const std::uint64_t token : {7U, 8U, 7U}) ring.post(token);
    EXPECT_EQ(cq.find(7), &ring.cqes[2]);
    EXPECT_EQ(cq.find(8), &ring.cqes[3]);
    EXPECT_EQ(cq.find(9), nullptr);
    { const Completions first(cq, 1, 0); }
    EXPECT_EQ(cq.find(7), &ring.cqes[0]);
    { const Completions others(cq, 2, 0); }
    EXPECT_EQ(cq.find(7), nullptr) << "it was handed out";
}

TEST(CompletionQueue, WalksForwardOneByOne) {
    FakeRing ring(8, 4);
    CompletionQueue cq = ring.completion_queue();
    ring.post(5);
    ring.post(6);
    const Completions done(cq, cq.ready(), 0);
    auto at = done.begin();
    EXPECT_EQ((at++)->token, 5U);
    EXPECT_EQ((*at).token, 6U);
    EXPECT_NE(at, done.end());
    EXPECT_EQ(++at, done.end());
    EXPECT_EQ(Completions::iterator(), Completions::iterator());
}

TEST(CompletionQueue, GivesNothingBackInAForkedChild) {
    CompletionQueue wiped;
    wiped.advance();  // null is not written to
    EXPECT_FALSE(wiped.is_taken());
}

TEST(CompletionQueue, MayBeWalkedTwice) {
    FakeRing ring(8, 4);
    CompletionQueue cq = ring.completion_queue();
    ring.post(1);
    ring.post(2);
    const Completions done(cq, cq.ready(), 0);
    std::uint64_t sum = 0;
    for (const Completion& completion : done) sum += completion.token;
    for (const Completion& completion : done) sum += completion.token;
    EXPECT_EQ(sum, 6U);
}

TEST(CompletionQueueDeathTest, RefusesASecondRangeWhileOneIsAlive) {
    FakeRing ring(8, 4);
    CompletionQueue cq = ring.completion_queue();
    const Completions alive(cq, 0, 0);
    EXPECT_DEATH((void)Completions(cq, 0, 0), "while an earlier Completions is alive");
}

TEST(CompletionQueueDeathTest, RefusesATailBeyondItsEntries) {
    FakeRing ring(8, 4);
    CompletionQueue cq = ring.completion_queue();
    store_release(&ring.cq_tail, 5U);
    EXPECT_DEATH((void)cq.ready(), "the CQ holds 5 completions and has 4 entries");
}

// In a ring of squall's every CQE is owed to an operation that was queued after its slot had been given back, so that the SQ
// tail orders what advance() does. Here it is alone.
TEST(CompletionQueue, GivesSlotsBackToAKernelThatPostsOfItsOwnAccordOnlyWhenTheyAreRead) {
    constexpr std::uint64_t total = 100'000;
    FakeRing ring(4, 4, UINT32_MAX - 1000);
    std::thread kernel([&ring] {
        for (std::uint64_t token = 0; token < total; ++token) {
            while (load_relaxed(&ring.cq_tail) - load_acquire(&ring.cq_head) == ring.cqes.size())
                std::this_thread::yield();
            ring.post(token);
        }
    });
    CompletionQueue cq = ring.completion_queue();
    std::uint64_t wrong = 0;
    for (std::uint64_t seen = 0; seen < total;) {
        const Completions done(cq, cq.ready(), 0);
        for (const Completion& completion : done) wrong += completion.token != seen++ ? 1U : 0U;
        if (done.empty()) std::this_thread::yield();
    }
    kernel.join();
    EXPECT_EQ(wrong, 0U);
}

// Both ends of both queues, with indices that pass 2^32 on the way. `sleepy`: the stand-in behaves as an SQPOLL thread
// that dozes off whenever it finds nothing, and must be woken.
void run_against_a_kernel(bool sleepy) {
    constexpr std::uint64_t total = 200'000;
    FakeRing ring(16, 32, UINT32_MAX - 1000);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> wakes_given{0};

    std::thread kernel([&] {
        std::uint64_t wakes_seen = 0;
        while (!stop.load(std::memory_order_acquire)) {
            if (ring.consume() > 0) continue;
            if (!sleepy) {
                std::this_thread::yield();
                continue;
            }
            // As io_sq_thread: say that we sleep, look once more, and only then sleep.
            SharedWord flags(ring.sq_flags);
            flags.store(abi::sq_need_wakeup, std::memory_order_seq_cst);
            if (SharedWord(ring.sq_tail).load(std::memory_order_seq_cst) == load_relaxed(&ring.sq_head)) {
                while (wakes_given.load(std::memory_order_acquire) == wakes_seen &&
                       !stop.load(std::memory_order_acquire))
                    std::this_thread::yield();
                wakes_seen = wakes_given.load(std::memory_order_acquire);
            }
            flags.store(0, std::memory_order_seq_cst);
        }
    });

    Producer sq(ring);
    CompletionQueue cq = ring.completion_queue();
    std::uint64_t queued = 0;
    std::uint64_t seen = 0;
    while (seen < total) {
        for (unsigned batch = 0; batch < 7 && queued < total; ++batch) {
            const auto in_flight = static_cast<std::uint32_t>(queued - seen);
            if (sq.full() && !sq.look(cq.entries() - in_flight - cq.taken())) break;
            sq.push(queued++);
        }
        if (sq.unflushed()) {
            if (sleepy) {
                if (sq.publish_and_check_sleep()) wakes_given.fetch_add(1, std::memory_order_release);
                sq.note_published();
            } else {
                sq.publish();
                sq.note_published();
            }
        }
        const std::uint32_t ready = cq.ready();
        const Completions done(cq, ready, 0);
        for (const Completion& completion : done) {
            ASSERT_EQ(completion.token, seen);
            ASSERT_EQ(completion.res, static_cast<std::int32_t>(seen & 0xffff));
            ++seen;
        }
        if (ready == 0) std::this_thread::yield();
    }
    stop.store(true, std::memory_order_release);
    kernel.join();
    EXPECT_EQ(queued, total);
    EXPECT_EQ(wakes_given.load() > 0, sleepy);
}

TEST(Queues, LoseAndRepeatNothingAgainstAConcurrentKernel) { run_against_a_kernel(false); }
TEST(Queues, LoseNoWakeUpAgainstAKernelThreadThatDozesOff) { run_against_a_kernel(true); }

}  // namespace
}  // namespace squall::detail
