// SPDX-License-Identifier: MIT
//
// Locked memory that comes back late. Where the kernel counts a ring's own memory against
// RLIMIT_MEMLOCK, it does so until it has freed the ring, some time after the close, and so refuses
// a ring to a program that holds few but makes and unmakes them all the time. Whoever is refused
// then waits a little for what this process has given back. What is refused, and what is said about
// it, is setup.cpp's and message.cpp's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>

#include "clock.hpp"
#include "message.hpp"

namespace squall::detail {

// When this process last closed a ring or gave a part of an arena up, in nanoseconds of the
// monotonic clock; 0: never. Relaxed, here and below: it is a reason to try again, and no memory is
// handed over by it.
extern std::atomic<std::int64_t> locked_memory_returned;
inline void note_locked_memory_returned() noexcept {
    locked_memory_returned.store(sys::now(sys::host).count(), std::memory_order_relaxed);
}

// How long a ring is waited for, and how long after a close there is something to wait for.
// Measured on 6.18 with 8 MiB of locked memory, 8 threads that make and unmake rings, and 8
// spinning processes on 2 CPUs: half of the refusals are over after 20 ms, 99 in 100 after one
// second, all after three.
inline constexpr std::chrono::seconds patience{5};

// Makes an attempt at what needs so many bytes of locked memory, and makes it again while it is
// refused with ENOMEM, in ever longer steps, as long as that may come of memory that is about to be
// given back. Not more often: a refused io_uring_setup leaves the kernel a ring to free, too. The
// answer of the last attempt.
template <class Attempt>
int patiently(std::uint64_t bytes, Attempt attempt) {
    using namespace std::chrono_literals;
    int answer = attempt();
    if (answer != -ENOMEM) return answer;
    const std::chrono::nanoseconds closed{locked_memory_returned.load(std::memory_order_relaxed)};
    if (closed.count() == 0 || sys::now(sys::host) - closed >= patience) return answer;
    if (const auto limit = memlock_limit(); !limit || bytes > *limit) return answer;
    auto step = 1ms;
    for (auto waited = 0ms; waited < patience && answer == -ENOMEM;
         step = std::min(2 * step, 256ms)) {
        sleep_out(sys::host, step);
        waited += step;
        answer = attempt();
    }
    return answer;
}

}  // namespace squall::detail
