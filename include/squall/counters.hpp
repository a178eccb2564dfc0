// SPDX-License-Identifier: MIT
//
// Counters: what an Io has done, counted exactly. Plain data, which Io hands back.
#pragma once

#include <cstdint>

#include "squall/config.hpp"

namespace squall {

// Exact counts since create. submitted == completed + Io::in_flight(), always (I1).
struct Counters {
    // Operations taken by a call that returned true, less those withdrawn.
    std::uint64_t submitted = 0;
    std::uint64_t completed = 0;  // completions handed out
    std::uint64_t withdrawn =
        0;                     // operations taken back by Io::withdraw(), and counted nowhere else
    std::uint64_t wakes = 0;   // handed out by Wakers: no operations, and in no other count
    std::uint64_t enters = 0;  // io_uring_enter calls, failed ones included
    std::uint64_t queue_full = 0;    // calls that returned false
    std::uint64_t fixed = 0;         // reads and writes that went through registered memory
    std::uint64_t unregistered = 0;  // reads and writes that did not
    // Reads and writes completed by the polled ring (IoOptions::polling): the kernel did not refuse
    // to poll for them. That a device was really polled is only certain where it has poll queues
    // (/sys/block/*/queue/io_poll is 1): before 6.12 nothing is refused, and later kernels let some
    // writes pass that they then wait for as ever (ext4 on 6.18).
    std::uint64_t polled = 0;
    // Those that it refused, and that the second ring was given instead.
    std::uint64_t poll_refused = 0;
    // Enters answered EINTR, EAGAIN or EBUSY, whose work was done by a later one.
    std::uint64_t retries = 0;
    std::uint64_t overflow_flushes = 0;  // enters made because the kernel had flagged a CQ overflow
    std::uint64_t sqpoll_wakeups = 0;    // enters made to wake the SQPOLL thread
};

}  // namespace squall
