// SPDX-License-Identifier: MIT
//
// io_uring_enter, inline for the two that are hot (single.cpp's poll and park). What is rare about
// entering is enter.cpp's, what its answers mean answer.hpp's.
#pragma once

#include <cstdint>

#include "answer.hpp"
#include "ring.hpp"
#include "sys.hpp"

namespace squall::detail {

// The number of SQEs that is given to an enter which wakes an SQPOLL thread. The kernel only hands
// it back, and it must not be 0: Linux 5.12 and 5.13 hand 0 back as EOWNERDEAD, which means that
// the thread has ended.
inline constexpr std::uint32_t wake_for = 1;

// How much task work an enter runs that waits for few: IO_LOCAL_TW_DEFAULT_MAX (6.13).
inline constexpr std::uint32_t task_work_max = 20;

// A number per thread that is never used again in the process, unlike a thread's id: what owns a
// ring must not come back as another thread. 0: no owner, and never a thread's number.
// `unnumbered`: a thread without a number yet, and never an owner. Without a dynamic initialiser,
// and this library's alone, so that reading it is one load.
inline constexpr std::uint64_t unnumbered = UINT64_MAX;
[[gnu::visibility("hidden")]] inline constinit thread_local std::uint64_t this_thread = unnumbered;

inline int Ring::may_enter() noexcept {
    // The common case in one comparison: a ring that is owned is alive and bound.
    return owner_ == this_thread ? 0 : may_enter_slowly();
}

[[gnu::always_inline]] inline int Ring::enter(Queues& queues, Offer offer,
                                              std::uint32_t min_complete,
                                              const abi::Timespec* timeout,
                                              std::uint32_t hints) noexcept {
    // By a function of its own, so that the other modes have no value of theirs to keep over the
    // call.
    if (sqpoll_) [[unlikely]]
        return enter_beside_poller(min_complete, timeout, hints);
    const Sequence tail = queues.counters.submitted;
    std::uint32_t to_submit = 0;
    if (offer == Offer::everything) {
        queues.sq.publish(tail);
        to_submit = queues.sq.unconsumed(tail);
    }
    const std::uint32_t flags = enter_flags_ | getevents_if_needed(queues, hints, min_complete);
    const int answer = call_kernel(queues, to_submit, min_complete, flags, timeout);
    queues.sq.note_consumed();
    return answer >= 0 ? 0 : note_failure(-answer);
}

// Task work is run, and an overflow flushed, only by an enter that asks for events, even when it
// submits: else a loop that always has something to submit would never see what the device has
// finished.
inline std::uint32_t Ring::getevents_if_needed(Queues& queues, std::uint32_t hints,
                                               std::uint32_t min_complete) noexcept {
    if (hints == 0) return min_complete > 0 ? abi::enter_getevents : 0;
    if ((hints & abi::sq_cq_overflow) != 0) [[unlikely]]
        ++queues.counters.overflow_flushes;
    return abi::enter_getevents;
}

[[gnu::always_inline]] inline int Ring::call_kernel(Queues& queues, std::uint32_t to_submit,
                                                    std::uint32_t min_complete, std::uint32_t flags,
                                                    const abi::Timespec* timeout) noexcept {
    ++queues.counters.enters;
    if (!timeout)
        return sys::io_uring_enter(kernel_, enter_fd_, to_submit, min_complete, flags, nullptr, 0);
    const abi::GeteventsArg arg{0, 0, 0, reinterpret_cast<std::uintptr_t>(timeout)};
    return sys::io_uring_enter(kernel_, enter_fd_, to_submit, min_complete,
                               flags | abi::enter_ext_arg, &arg, sizeof(arg));
}

}  // namespace squall::detail
