// SPDX-License-Identifier: MIT
//
// A thread pool for pread(2) and pwrite(2), as an engine with one event loop would have one: the loop hands a batch over
// with one store and at most one system call, threads take transfers one by one without a lock, wake the next thread only
// when there is more to do, and wake the loop once all that it waits for is done.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "peer.hpp"

namespace peers {

// pread(2) or pwrite(2) of one buffer: bytes or -errno.
std::int64_t transfer(const Bench& bench, std::uint32_t slot, std::uint64_t offset);

class Pool {
public:
    Pool(const Bench& bench, std::uint32_t threads);
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool();

    template <class Finished>
    void queue(std::uint32_t slot, std::uint64_t offset, const Finished&) {
        offsets_[slot] = offset;
        // Relaxed: hand_over() shows it.
        jobs_[queued_++ & mask_].store(slot, std::memory_order_relaxed);
    }
    template <class Finished>
    void submit_and_reap(std::uint32_t at_least, const Finished& finished) {
        hand_over();
        std::uint32_t reaped = 0;
        while ((reaped += reap(finished)) < at_least) wait_for(at_least - reaped);
    }

    // pread and futex, of all threads.
    [[nodiscard]] std::optional<std::uint64_t> calls() const;
    [[nodiscard]] std::string note() const { return std::to_string(threads_.size()) + " threads"; }

private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    struct alignas(64) Worker {
        std::atomic<std::uint64_t> calls = 0;  // one writer
    };

    void work(Worker& self);
    std::uint32_t claim();
    void hand_over();
    void wake_worker(std::atomic<std::uint64_t>& calls);
    void wait_for(std::uint32_t more);

    // All that is done is taken at once.
    template <class Finished>
    std::uint32_t reap(const Finished& finished) {
        std::uint32_t count = 0;
        // Acquire pairs with the threads' release: results and bytes are there.
        for (std::uint32_t slot = done_.exchange(none, std::memory_order_acquire); slot != none; ++count) {
            const std::uint32_t next = next_[slot];
            finished(slot, results_[slot]);
            slot = next;
        }
        reaped_ += count;
        return count;
    }

    const Bench& bench_;
    std::vector<std::atomic<std::uint32_t>> jobs_;
    std::uint64_t mask_;
    std::vector<std::uint64_t> offsets_;
    std::vector<std::int64_t> results_;
    std::vector<std::uint32_t> next_;
    std::vector<Worker> workers_;
    std::uint64_t queued_ = 0;  // the loop's own
    std::uint64_t reaped_ = 0;
    std::atomic<std::uint64_t> loop_calls_ = 0;

    alignas(64) std::atomic<std::uint64_t> tail_ = 0;  // the loop stores
    alignas(64) std::atomic<std::uint64_t> head_ = 0;  // threads claim
    alignas(64) std::atomic<std::uint32_t> sleeping_ = 0;
    std::atomic<bool> waking_ = false;
    std::atomic<std::uint32_t> call_ = 0;  // what sleeping threads wait on
    std::atomic<bool> stop_ = false;
    alignas(64) std::atomic<std::uint32_t> done_ = none;  // a stack, by next_
    std::atomic<std::uint64_t> done_count_ = 0;
    std::atomic<std::uint64_t> wake_at_ = 0;
    std::atomic<std::uint32_t> loop_waits_ = 0;  // what the loop waits on
    std::vector<std::thread> threads_;
};

}  // namespace peers
