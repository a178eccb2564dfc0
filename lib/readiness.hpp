// SPDX-License-Identifier: MIT
//
// The event behind Io::poll_fd() and Io::waker(), which the kernel signals for each completion and
// a Waker for its wakes. A ring's own descriptor does not do: one with DEFER_TASKRUN wakes nobody
// who polls it (its owner, asleep elsewhere, would have to run the task work that posts the
// completion), of a polled ring nothing is seen from outside, and it cannot be raised for a wake,
// nor for what the kernel did not take yet.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>

#include "clock.hpp"
#include "kept_apart.hpp"
#include "ring.hpp"
#include "sys.hpp"

namespace squall::detail {

class Readiness {
public:
    explicit operator bool() const noexcept { return static_cast<bool>(event_); }

    // The descriptor, which is made and given to `ring` the first time (IORING_REGISTER_EVENTFD,
    // 5.2); or -errno.
    int open(sys::Kernel* kernel, Ring& ring) noexcept {
        if (event_) return event_.get();
        int fd = sys::eventfd2(kernel, 0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0) return fd;
        Descriptor made(kernel, fd);
        if (const int status = keep_apart(kernel, made); status < 0) return status;
        fd = made.get();
        const int status = ring.do_register(abi::register_eventfd, &fd, 1);
        if (status < 0) return status;
        event_ = std::move(made);
        raise(kernel);  // for what was there before
        return fd;
    }

    // Before completions are handed out: it is readable from now on when another comes, or at once
    // when `must_look()` says so. That is asked afterwards: the kernel signals last, so that what
    // it signalled before shows there.
    template <class MustLook>
    void settle(sys::Kernel* kernel, MustLook must_look) noexcept {
        if (raised_ && must_look()) return;
        clear(kernel);
        if (must_look()) raise(kernel);
    }
    // Sleeps until it is readable, for `timeout` at most, or until a signal comes. 0, or an errno.
    int wait(sys::Kernel* kernel, const std::chrono::nanoseconds* timeout) noexcept {
        const abi::Timespec ts = timeout ? to_timespec(*timeout) : abi::Timespec{};
        struct ::pollfd event = {event_.get(), POLLIN, 0};
        const int status = sys::ppoll(kernel, &event, 1, timeout ? &ts : nullptr);
        if ((event.revents & POLLNVAL) != 0) return EBADF;  // somebody has closed it
        return status < 0 && status != -EINTR ? -status : 0;
    }
    // Takes back that it is readable: before what it may be about is looked for.
    void clear(sys::Kernel* kernel) noexcept {
        std::uint64_t count = 0;
        sys::read(kernel, event_.get(), &count, sizeof(count));
        raised_ = false;
    }
    void raise(sys::Kernel* kernel) noexcept {
        const std::uint64_t one = 1;
        sys::write(kernel, event_.get(), &one, sizeof(one));
        raised_ = true;
    }

private:
    Descriptor event_;
    bool raised_ = false;  // by us, and not taken back since
};

}  // namespace squall::detail
