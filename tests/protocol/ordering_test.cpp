// SPDX-License-Identifier: MIT
//
// What one side of a ring, or one user of a buffer, sees of the other's stores, barrier by barrier: each test leaves the
// other thread, which may play the kernel, nothing to go by but the one pair of a store and a load that it is about, so that
// TSan misses the barrier if it is gone, and a store that is passed by a later load shows as a wake-up that was lost.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "squall/arena.hpp"
#include "squall/completions.hpp"
#include "squall/queue.hpp"

namespace squall::detail {
namespace {

constexpr std::uint32_t total = 100'000;

// The consumer reads CQEs in place and gives the slots back; the kernel posts where there is room, and knows of nothing else.
TEST(Ordering, CompletionsAreReadBeforeTheKernelWritesOverThem) {
    constexpr std::uint32_t entries = 4;
    struct {
        alignas(64) std::uint32_t head = UINT32_MAX - 1000;
        alignas(64) std::uint32_t tail = UINT32_MAX - 1000;
        alignas(64) Completion cqes[entries];
    } ring;
    std::thread kernel([&ring] {
        std::uint32_t tail = ring.tail;
        for (std::uint32_t posted = 0; posted < total; ++posted) {
            while (tail - load_acquire(&ring.head) == entries) std::this_thread::yield();
            ring.cqes[tail % entries] = {posted, static_cast<std::int32_t>(posted), 0};
            store_release(&ring.tail, ++tail);
        }
    });
    CompletionQueue queue({&ring.head, &ring.tail, ring.cqes, entries});
    for (std::uint32_t seen = 0; seen < total;) {
        const std::uint32_t ready = queue.ready();
        if (ready == 0) std::this_thread::yield();
        const Completions done(queue, ready, 0);
        for (const Completion& completion : done) {
            ASSERT_EQ(completion.token, seen);
            ASSERT_EQ(completion.res, static_cast<std::int32_t>(seen));
            ++seen;
        }
    }
    kernel.join();
}

// The producer fills SQEs and publishes them; the kernel consumes, and answers by nothing but its head.
void expect_sqes_in_order(bool sqpoll) {
    constexpr std::uint32_t entries = 4;
    struct {
        alignas(64) std::uint32_t head = UINT32_MAX - 1000;
        alignas(64) std::uint32_t tail = UINT32_MAX - 1000;
        alignas(64) std::uint32_t flags = 0;
        alignas(64) abi::SqeWords sqes[entries];
    } ring;
    const Sequence start = ring.tail;
    std::thread kernel([&ring, head = ring.head]() mutable {
        for (std::uint64_t seen = 0; seen < total;) {
            const std::uint32_t tail = load_acquire(&ring.tail);
            if (tail == head) std::this_thread::yield();
            for (; head != tail; ++head, ++seen)
                ASSERT_EQ(static_cast<std::uint64_t>(ring.sqes[head % entries].user_data), seen);
            store_release(&ring.head, head);
        }
    });
    SubmissionQueue queue({&ring.head, &ring.tail, &ring.flags, ring.sqes, entries}, start);
    SqeCursor cursor;
    for (Sequence tail = start; tail - start < total;) {
        if (cursor.full()) {
            cursor.point_at(queue.free_sqes(tail, entries));
            if (cursor.full()) std::this_thread::yield();
            continue;
        }
        cursor.slot().user_data = abi::Word{tail - start};
        cursor.advance();
        ++tail;
        if (sqpoll)
            EXPECT_FALSE(queue.publish_and_check_sleep(tail));
        else
            queue.publish(tail);
    }
    kernel.join();
}

TEST(Ordering, SubmissionsAreWrittenBeforeTheKernelSeesThem) { expect_sqes_in_order(false); }
TEST(Ordering, SubmissionsAreWrittenBeforeAPollerSeesThem) { expect_sqes_in_order(true); }

// The arena's stack alone takes a buffer, and what was written into it, from one thread to the next.
TEST(Ordering, ABufferIsLeftByOneThreadBeforeAnotherHasIt) {
    constexpr std::uint64_t turns = 20'000;
    BufferArena arena = BufferArena::create({.buffer_size = 512, .count = 2}).value();
    const auto take_turns = [&arena] {
        for (std::uint64_t turn = 0; turn < turns;) {
            const auto lease = arena.acquire();
            if (!lease) {
                std::this_thread::yield();
                continue;
            }
            ++*reinterpret_cast<std::uint64_t*>(lease->data());
            ++turn;
        }
    };
    std::thread threads[] = {std::thread(take_turns), std::thread(take_turns), std::thread(take_turns)};
    for (std::thread& thread : threads) thread.join();
    std::uint64_t seen = 0;
    for (std::size_t at = 0; at < 2; ++at)
        seen += *reinterpret_cast<const std::uint64_t*>(arena.memory().data() + at * arena.buffer_size());
    EXPECT_EQ(seen, 3 * turns);
}

// Lets two threads pass at the same moment: each says with its own word that it has come to `step`.
void meet(std::atomic<std::uint32_t>& mine, const std::atomic<std::uint32_t>& other, std::uint32_t step) {
    mine.store(step, std::memory_order_release);
    for (int spins = 1; other.load(std::memory_order_acquire) < step; ++spins)
        if (spins % 200 == 0) std::this_thread::yield();
}
// A few nanoseconds more or less, so that neither is always the first.
void dawdle(std::minstd_rand& random) {
    for (std::atomic<unsigned> left = static_cast<unsigned>(random() >> 8 & 31); left > 0; --left) {
    }
}

// We store the tail and then look whether the poller sleeps; it says that it sleeps and then looks at the tail. Both may
// see the other's word, either may, but never neither: x86 does show that where our load may pass our store.
TEST(Ordering, APollerThatFallsAsleepAndASubmitterDoNotMissEachOther) {
    struct {
        alignas(64) std::uint32_t tail = 0;
        alignas(64) std::uint32_t flags = 0;
        alignas(64) std::uint32_t head = 0;
        alignas(64) std::atomic<std::uint32_t> submitter{0};
        alignas(64) std::atomic<std::uint32_t> poller{0};
        alignas(64) bool saw_tail = false;
        alignas(64) std::atomic<bool> stop{false};
    } words;
    std::thread poller([&words] {
        std::minstd_rand random(1);
        for (std::uint32_t round = 1;; ++round) {
            meet(words.poller, words.submitter, 2 * round);
            if (words.stop.load(std::memory_order_relaxed)) return;
            dawdle(random);
            // As io_sq_thread: an atomic OR, a full barrier, a load.
            SharedWord(words.flags).fetch_or(abi::sq_need_wakeup, std::memory_order_seq_cst);
            words.saw_tail = SharedWord(words.tail).load(std::memory_order_seq_cst) == round;
            meet(words.poller, words.submitter, 2 * round + 1);
        }
    });
    abi::SqeWords sqe{};
    SubmissionQueue queue({&words.head, &words.tail, &words.flags, &sqe, 1}, 0);
    std::minstd_rand random(2);
    std::uint64_t missed = 0;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(3);
    std::uint32_t round = 1;
    for (; round < 1'000'000 && (round % 1024 != 0 || std::chrono::steady_clock::now() < deadline); ++round) {
        words.flags = 0;
        meet(words.submitter, words.poller, 2 * round);
        dawdle(random);
        const bool told_to_wake = queue.publish_and_check_sleep(round);
        meet(words.submitter, words.poller, 2 * round + 1);
        if (!told_to_wake && !words.saw_tail) ++missed;
    }
    words.stop.store(true, std::memory_order_relaxed);
    meet(words.submitter, words.poller, 2 * round);
    poller.join();
    EXPECT_EQ(missed, 0U) << "in " << round - 1 << " attempts";
}

}  // namespace
}  // namespace squall::detail
