// SPDX-License-Identifier: MIT
//
// The pool's threads, and how they and the loop wait for each other.
#include "pool.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <climits>

namespace peers {

namespace {

void futex(std::atomic<std::uint32_t>& word, int what, std::uint32_t value) {
    ::syscall(SYS_futex, &word, what | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
}

void count(std::atomic<std::uint64_t>& calls) {
    calls.store(calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

std::int64_t transfer(const Bench& bench, std::uint32_t slot, std::uint64_t offset) {
    const std::span<std::byte> buffer = bench.buffer(slot);
    const auto at = static_cast<off_t>(offset);
    const ssize_t moved = bench.cell.write ? ::pwrite(bench.fd, buffer.data(), buffer.size(), at)
                                           : ::pread(bench.fd, buffer.data(), buffer.size(), at);
    return moved < 0 ? -errno : moved;
}

Pool::Pool(const Bench& bench, std::uint32_t threads)
    : bench_(bench),
      jobs_(std::bit_ceil(bench.cell.depth)),
      mask_(jobs_.size() - 1),
      offsets_(bench.cell.depth),
      results_(bench.cell.depth),
      next_(bench.cell.depth),
      workers_(threads) {
    for (Worker& worker : workers_) threads_.emplace_back([this, &worker] { work(worker); });
}

Pool::~Pool() {
    stop_ = true;
    ++call_;
    futex(call_, FUTEX_WAKE, INT_MAX);
    for (std::thread& thread : threads_) thread.join();
}

std::optional<std::uint64_t> Pool::calls() const {
    std::uint64_t sum = loop_calls_;
    for (const Worker& worker : workers_) sum += worker.calls.load(std::memory_order_relaxed);
    return sum;
}

void Pool::hand_over() {
    if (tail_.load(std::memory_order_relaxed) == queued_) return;
    // Sequentially consistent, as a thread's look at the tail after it has said that it sleeps: one of the two sees the
    // other.
    tail_ = queued_;
    wake_worker(loop_calls_);
}

// One thread is on its way at a time: where transfers are quicker than a thread wakes, more would find nothing to do.
void Pool::wake_worker(std::atomic<std::uint64_t>& calls) {
    if (sleeping_ == 0 || waking_.exchange(true)) return;
    ++call_;
    count(calls);
    futex(call_, FUTEX_WAKE, 1);
}

// The slot of a transfer that nobody else has, or none.
std::uint32_t Pool::claim() {
    std::uint64_t head = head_;
    while (head != tail_) {
        // May be overwritten while we look, if another thread has claimed it; then the exchange fails.
        const std::uint32_t slot = jobs_[head & mask_].load(std::memory_order_relaxed);
        if (head_.compare_exchange_weak(head, head + 1)) return slot;
    }
    return none;
}

void Pool::work(Worker& self) {
    for (;;) {
        const std::uint32_t slot = claim();
        if (slot == none) {
            const std::uint32_t call = call_;
            ++sleeping_;
            if (!stop_ && head_ == tail_) {
                count(self.calls);
                futex(call_, FUTEX_WAIT, call);
            }
            --sleeping_;
            waking_ = false;
            if (stop_) return;
            continue;
        }
        if (head_ != tail_) wake_worker(self.calls);
        count(self.calls);
        results_[slot] = transfer(bench_, slot, offsets_[slot]);
        next_[slot] = done_.load(std::memory_order_relaxed);
        while (!done_.compare_exchange_weak(next_[slot], slot, std::memory_order_release, std::memory_order_relaxed)) {
        }
        // Sequentially consistent, as the loop's look at the count after it has said that it waits.
        const std::uint64_t done = ++done_count_;
        if (loop_waits_ != 0 && done >= wake_at_ && loop_waits_.exchange(0) != 0) {
            count(self.calls);
            futex(loop_waits_, FUTEX_WAKE, 1);
        }
    }
}

void Pool::wait_for(std::uint32_t more) {
    wake_at_ = reaped_ + more;
    loop_waits_ = 1;
    if (done_count_ >= wake_at_) {
        loop_waits_ = 0;
        return;
    }
    while (loop_waits_ != 0) {
        count(loop_calls_);
        futex(loop_waits_, FUTEX_WAIT, 1);
    }
}

}  // namespace peers
