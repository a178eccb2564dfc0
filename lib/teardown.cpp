// SPDX-License-Identifier: MIT
//
// Letting go of a ring (I3). What was never shown to the kernel is dropped, what can be cancelled
// is cancelled, and the rest is reaped: cancel_and_wait(). Where that cannot be, the ring is
// closed, which cancels all, and its end is waited for: close_and_wait(). Only then does ~Ring give
// back what the ring has registered, its mappings, its descriptors and its share of the arena.
#include <poll.h>

#include <cerrno>

#include "arena_control.hpp"
#include "clock.hpp"
#include "enter.hpp"
#include "operations.hpp"
#include "patience.hpp"
#include "ring.hpp"
#include "sys.hpp"

namespace squall::detail {

// Closing the ring would only start to end what is in flight, and that goes on for some time.
void Ring::cancel_and_wait() noexcept {
    SubmissionQueue& sq = queues_.sq;
    Counters& counters = queues_.counters;
    const std::uint64_t dropped = sq.close(counters.submitted, sqpoll_);
    const auto owed = [this, dropped] {
        queues_.reap([](const Completion&) {});
        return queues_.in_flight() - dropped;
    };
    if (is_on_another_thread() && owed() != 0) {
        // A thread that was joined may still be on its way out; it is given a second.
        bool owner_lives = true;
        for (int tries = 0; tries < 1000 && owner_lives; ++tries) {
            owner_lives = sys::tgkill(sys::getpid(), owner_tid_, 0) != -ESRCH;
            if (owner_lives) sleep_out(sys::host, std::chrono::milliseconds(1));
        }
        SQUALL_ASSERT(!owner_lives,
                      "an Io is destroyed on thread %d with %llu operations in flight, and only "
                      "thread %d, which "
                      "submitted them, can reap them: destroy it there, or reap first",
                      sys::gettid(), static_cast<unsigned long long>(owed()), owner_tid_);
        if (may_yet_write()) close_and_wait();
        return;
    }
    // What the poller was shown it must consume, also when an attempt to wake it for that had
    // failed.
    if (sqpoll_ && owed() != 0)
        sys::io_uring_enter(kernel_, enter_fd_, wake_for, 0, enter_flags_ | abi::enter_sq_wakeup,
                            nullptr, 0);
    Sequence end = counters.submitted - dropped;
    int fruitless = 0;
    for (bool by_operation = false; owed() != 0;) {
        if (!by_operation) {
            abi::SyncCancelReg cancel{};
            cancel.fd = -1;
            cancel.flags = abi::async_cancel_any | abi::async_cancel_all;
            const int status =
                sys::io_uring_register(kernel_, fd_.get(), abi::register_sync_cancel, &cancel, 1);
            // A count of what was cancelled. 0, ENOENT: all that is left is past cancelling.
            // EALREADY, ETIME: it is under way. All of that ends by itself.
            const bool ends = status >= 0 || status == -ENOENT || status == -EALREADY ||
                              status == -ETIME || status == -EINTR;
            const bool filtered = classify(-status) == Answer::filtered;
            // But not all kernels (6.1) look through the workers of an SQPOLL thread, and one that
            // reads a pipe may wait for ever. Closing the ring cancels that too.
            const bool out_of_reach =
                sqpoll_ && (status == 0 || status == -ENOENT) && ++fruitless > 10;
            if ((!ends || out_of_reach) && (give_up_registration() >= 0 || !filtered))
                return close_and_wait();
            by_operation = !ends;
        }
        if (by_operation && !cancel_by_operation(end)) return close_and_wait();
        // A short wait, so that what was started while the kernel looked for it is cancelled the
        // next time round.
        constexpr abi::Timespec a_moment{0, 10'000'000};
        if (!is_passing(enter_once(Offer::nothing, 1, &a_moment))) return close_and_wait();
    }
}

// Whether something may be in flight whose end would write to memory of the caller's: all that was
// queued since nothing was in flight is looked at, where its SQEs are still there.
bool Ring::may_yet_write() const noexcept {
    const SubmissionQueue& sq = queues_.sq;
    const Sequence submitted = queues_.counters.submitted;
    // The SQEs of a polled ring lie in no order, and are transfers anyway.
    if ((features_.setup_flags & abi::setup_iopoll) != 0 || submitted - quiet_ > sq.entries())
        return true;
    for (Sequence at = quiet_; at != submitted; ++at)
        if (operation(abi::op_of(sq.queued(at).op_fd)).writes_memory) return true;
    return false;
}

// Cancels everything by an operation, where a seccomp filter refuses io_uring_register and so
// closing the ring would not end it: it stays registered. `end` is how far the kernel may look into
// the SQ. False when the ring cannot be entered.
bool Ring::cancel_by_operation(Sequence& end) noexcept {
    // A polled ring knows no such operation, and needs none: transfers of a device end by
    // themselves.
    if ((features_.setup_flags & abi::setup_iopoll) != 0) return true;
    SubmissionQueue& sq = queues_.sq;
    if (sq.unconsumed(end) == 0) {
        abi::SqeWords& sqe = sq.queued(end);
        sqe = {};
        sqe.op_fd = abi::op_fd_word(abi::Op::async_cancel, 0, UINT32_MAX);
        sqe.len_flags = abi::word(0, abi::async_cancel_any | abi::async_cancel_all);
        sq.publish(++end);
        ++queues_.counters.submitted;
        // Lest what was dropped be shown to a poller after all.
        sq.note_published(queues_.counters.submitted);
    }
    const int answer =
        sqpoll_ ? call_kernel(queues_, wake_for, 0, enter_flags_ | abi::enter_sq_wakeup, nullptr)
                : call_kernel(queues_, sq.unconsumed(end), 0, enter_flags_, nullptr);
    return answer >= 0 || is_retryable(-answer);
}

// Gives the ring's index in the thread's table of rings back, if it has one. 0 or more, else
// -errno: it is kept.
int Ring::give_up_registration() noexcept {
    if (!features_.registered_ring) return 0;
    abi::RsrcUpdate update{static_cast<std::uint32_t>(enter_fd_), 0, 0};
    const int status =
        sys::io_uring_register(kernel_, fd_.get(), abi::unregister_ring_fds, &update, 1);
    features_.registered_ring = status < 0;
    return status;
}

// For a kernel that cannot cancel everything on request (before 6.0) or refuses to be entered, and
// for a ring whose thread has ended. A child of fork() that still has the ring's descriptor holds
// this up.
void Ring::close_and_wait() noexcept {
    // Buffers stay registered: kernels before 5.19 unregister them only when no transfer uses them,
    // which is what the close has yet to see to.
    const int status = is_on_another_thread() ? 0 : give_up_registration();
    // It would be a reference to the ring that nobody drops before this thread ends.
    SQUALL_ASSERT(status >= 0,
                  "an Io is destroyed with operations in flight, the kernel may yet write to their "
                  "buffers, and "
                  "it refuses to let go of them (errno %d)",
                  -status);
    unmap_and_close();
    struct pollfd hung_up = {hang_up_.get(), 0, 0};
    int seen = 0;
    do {
        seen = sys::ppoll(kernel_, &hung_up, 1, nullptr);
        SQUALL_ASSERT(seen >= 0 || seen == -EINTR,
                      "an Io is destroyed with operations in flight, the kernel may yet write to "
                      "their buffers, and "
                      "waiting for it to let go failed with errno %d",
                      -seen);
    } while (seen <= 0);
    hang_up_.reset();
}

Ring::~Ring() {
    // Elsewhere than on the owner's thread the kernel refuses all three, or takes the index for one
    // of this thread's rings.
    if (fd_ && !is_on_another_thread()) {
        // The kernel frees a ring some time after it was closed, a quarter of a second even; what
        // counts against a limit is given back now, and so are the caller's files, which may be
        // locked, or on what is to be unmounted.
        if (arena_) sys::io_uring_register(kernel_, fd_.get(), abi::unregister_buffers, nullptr, 0);
        if (features_.file_slots > 0)
            sys::io_uring_register(kernel_, fd_.get(), abi::unregister_files, nullptr, 0);
        give_up_registration();
    }
    unmap_and_close();
    hang_up_.reset();
    // The kernel has nothing in flight there any more, and may have been the last to need that
    // memory.
    if (arena_) let_go(arena_, 1);
}

void Ring::unmap_and_close() noexcept {
    for (Mapping* const mapping : {&sq_ring_, &cq_ring_, &sqe_memory_, &path_memory_})
        mapping->reset();
    if (fd_) {
        fd_.reset();
        note_locked_memory_returned();
    }
}

}  // namespace squall::detail
