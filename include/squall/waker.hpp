// SPDX-License-Identifier: MIT
//
// Waker: how any thread gives an Io a completion, and so wakes its owner from park(). What is kept
// between the two is lib/wake_box.hpp's.
#pragma once

#include <utility>

#include "squall/completion.hpp"
#include "squall/config.hpp"
#include "squall/error.hpp"

namespace squall {

namespace detail {
class WakeBox;
}

// Wakes the Io whose Io::waker() made it. Copies wake the same Io; each thread may have its own, or
// share one. It may outlive the Io, and then wakes nobody.
//
// A wake is a completion without an operation: the caller's token, `res` 0. poll() and park() hand
// wakes out in ranges of their own, by turns with those of operations where there are both, at most
// 256 at a time, those of one thread in the order in which it sent them. They are neither submitted
// nor in flight, and counted as Counters::wakes alone; wait_for() and run() leave them for later.
//
// Thread rule: wake() may be called on any thread, by several at once, and from a signal handler. A
// Waker itself is like any value: one thread assigns it or destroys it while no other uses it.
class SQUALL_API Waker {
public:
    // Wakes nobody.
    Waker() = default;
    Waker(const Waker& other) noexcept;
    Waker(Waker&& other) noexcept
        : box_(std::exchange(other.box_, nullptr)), code_(std::exchange(other.code_, 0)) {}
    Waker& operator=(Waker other) noexcept {
        std::swap(box_, other.box_);
        std::swap(code_, other.code_);
        return *this;
    }
    // With the last of them a park() that had only wakes to wait for returns, empty.
    ~Waker();

    // Whether an Io::waker() made it: not where that failed, for the reason that error() gives. It
    // says nothing about whether the Io is still there: wake() does.
    explicit operator bool() const noexcept { return box_ != nullptr; }
    [[nodiscard]] Error error() const;

    // Gives the Io a completion with this token, and wakes its owner where that is parked. True:
    // the completion will be handed out, once, unless the Io goes before. False, and nothing is
    // done: the Io is gone or belongs to the parent of this process, this Waker wakes nobody, or
    // there is no memory for it (or 2^26 wakes that were not handed out yet).
    // It waits for nobody. One write(2) where the owner is parked, or is to find poll_fd()
    // readable, and nobody has woken it yet. Memory for 256 wakes that were not handed out yet is
    // there; where there are more, one mmap(2) whenever their number has doubled, and that memory
    // is used again, and kept until the Io and its Wakers are gone. Else no system call. A signal
    // handler must not wait for the owner to come: what it interrupts may be the wake that rings.
    bool wake(Token token) const noexcept;  // NOLINT(modernize-use-nodiscard): all but sure

private:
    friend class detail::WakeBox;
    Waker(detail::WakeBox* box, int code) noexcept : box_(box), code_(code) {}

    detail::WakeBox* box_ = nullptr;
    int code_ = 0;
};

}  // namespace squall
