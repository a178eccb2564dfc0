// SPDX-License-Identifier: MIT
//
// What io_uring_enter's answers mean: one table, which all who enter a ring decide by, and the
// words of Completions::error() too.
#pragma once

#include <cerrno>
#include <cstdint>

namespace squall::detail {

// What an errno says of a ring that was entered, and who deals with it (I9). What the kernel
// consumed of the SQEs it was offered is in the SQ's head, whatever it answers: the rest stays
// queued.
enum class Answer : std::uint8_t {
    done,
    // A signal came first (EINTR), SA_RESTART or not. poll() leaves it to the next call, park()
    // goes on.
    interrupted,
    // No memory for a request, none consumed (EAGAIN); before 5.19 also: the CQ had overflowed, and
    // entering with GETEVENTS flushed it (EBUSY). poll() leaves it to the next call; park() waits
    // for something in flight to finish and give memory back, and reports it when there is nothing.
    out_of_memory,
    // The timeout passed (ETIME). Not an error: there is just nothing to hand out.
    timed_out,

    // What is left is reported, and everything stays queued.
    other_thread,  // EEXIST: another is the submitter; may_enter() asks the kernel only on that one
    forked,        // ESTALE: squall's own, in a child of fork()
    poller_ended,  // EOWNERDEAD (not always, on 5.12 and 5.13: see wake_for)
    filtered,      // EPERM, EACCES, ENOSYS: a seccomp filter or a security module
    ring_closed,   // EBADF, EBADFD, EOPNOTSUPP: the descriptor is closed, or another file's by now
    unknown,       // a bug, or whoever plays the kernel
};

constexpr Answer classify(int code) noexcept {
    switch (code) {
        case 0:
            return Answer::done;
        case EINTR:
            return Answer::interrupted;
        case EAGAIN:
        case EBUSY:
            return Answer::out_of_memory;
        case ETIME:
            return Answer::timed_out;
        case EEXIST:
            return Answer::other_thread;
        case ESTALE:
            return Answer::forked;
        case EOWNERDEAD:
            return Answer::poller_ended;
        case EPERM:
        case EACCES:
        case ENOSYS:
            return Answer::filtered;
        case EBADF:
        case EBADFD:
        case EOPNOTSUPP:
            return Answer::ring_closed;
        default:
            return Answer::unknown;
    }
}
// After these the same may simply be done again: nothing was lost.
constexpr bool is_retryable(int code) noexcept {
    const Answer answer = classify(code);
    return answer == Answer::interrupted || answer == Answer::out_of_memory;
}
// These a poll() does not report.
constexpr bool is_passing(int code) noexcept {
    const Answer answer = classify(code);
    return answer == Answer::done || answer == Answer::timed_out || is_retryable(code);
}

}  // namespace squall::detail
