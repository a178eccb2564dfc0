// SPDX-License-Identifier: MIT
//
// What is rare about entering a ring: binding it to the thread that submits first, entering beside
// an SQPOLL thread, and task work that one enter leaves over.
#include "enter.hpp"

#include <algorithm>
#include <atomic>

#include "squall/completions.hpp"

namespace squall::detail {

namespace {

constinit std::atomic<std::uint64_t> last_thread{0};
std::uint64_t thread_number() noexcept {
    if (this_thread == unnumbered) [[unlikely]]
        this_thread = last_thread.fetch_add(1, std::memory_order_relaxed) + 1;
    return this_thread;
}

}  // namespace

bool Ring::is_on_another_thread() const noexcept {
    return owner_ != 0 && owner_ != thread_number();
}

int Ring::may_enter_slowly() noexcept {
    // Checked here and not left to the kernel's EEXIST: a registered ring fd is an index into a
    // table of the thread's own, and on another thread the same index may name that thread's ring.
    // Kernels before 6.0 do not check either.
    if (is_on_another_thread()) return EEXIST;
    return bound_ ? 0 : bind();
}

// Kernels before 5.18 first wait, some 20 ms, for the ring to be quiet, and a signal makes them
// begin again, with SA_RESTART unseen by the caller: a timer that signals more often, a profiler's
// perhaps, would hold the ring up for ever. So there signals wait until it is done.
int Ring::enable() noexcept {
    const bool waits = (features_.kernel_features & abi::feat_linked_file) == 0;
    const std::uint64_t all = ~std::uint64_t{0};
    std::uint64_t before = 0;
    if (waits) sys::set_signal_mask(all, &before);
    const int status =
        sys::io_uring_register(kernel_, fd_.get(), abi::register_enable_rings, nullptr, 0);
    if (waits) sys::set_signal_mask(before, nullptr);
    return status < 0 ? -status | while_enabling : 0;
}

// I8: the ring was made disabled; whoever submits first enables it and is its submitter from then
// on.
int Ring::bind() noexcept {
    if (const int code = enable(); code != 0) return code;
    bound_ = true;
    enter_fd_ = fd_.get();
    if (!features_.io_wait) enter_flags_ |= abi::enter_no_iowait;
    // The completions of a polled ring without an SQPOLL thread are found only by an enter that
    // asks for them.
    if ((features_.setup_flags & (abi::setup_iopoll | abi::setup_sqpoll)) == abi::setup_iopoll)
        enter_flags_ |= abi::enter_getevents;
    if (features_.mode == Mode::plain)
        return 0;  // free to go to another thread, so nothing may be tied to this one
    owner_ = thread_number();
    owner_tid_ = sys::gettid();
    abi::RsrcUpdate update{UINT32_MAX, 0, static_cast<std::uint64_t>(fd_.get())};
    // Worth some 14 ns per enter and optional: before 5.18, or when the thread's 16 slots are
    // taken, the fd does too.
    if (sys::io_uring_register(kernel_, fd_.get(), abi::register_ring_fds, &update, 1) == 1) {
        enter_fd_ = static_cast<int>(update.offset);
        enter_flags_ |= abi::enter_registered_ring;
        features_.registered_ring = true;
    }
    return 0;
}

// enter() for Mode::sqpoll.
int Ring::enter_beside_poller(std::uint32_t min_complete, const abi::Timespec* timeout,
                              std::uint32_t hints) noexcept {
    SubmissionQueue& sq = queues_.sq;
    const Sequence tail = queues_.counters.submitted;
    std::uint32_t flags = enter_flags_;
    std::uint32_t to_submit = 0;
    if (sq.unflushed(tail)) {
        if (sq.publish_and_check_sleep(tail)) {
            ++queues_.counters.sqpoll_wakeups;
            flags |= abi::enter_sq_wakeup;
            to_submit = wake_for;
        } else {
            sq.note_published(tail);
        }
    }
    flags |= getevents_if_needed(queues_, hints, min_complete);
    // Awake: the published tail was all it needed.
    if ((flags & (abi::enter_getevents | abi::enter_sq_wakeup)) == 0) return 0;
    const int answer = call_kernel(queues_, to_submit, min_complete, flags, timeout);
    // After any failure the next enter looks again whether the poller sleeps: to ask once too often
    // costs little.
    if ((flags & abi::enter_sq_wakeup) != 0 && answer >= 0) sq.note_published(tail);
    return answer >= 0 ? 0 : note_failure(-answer);
}

int Ring::note_failure(int code) noexcept {
    if (is_retryable(code)) ++queues_.counters.retries;
    return code;
}

int Ring::enter_once(Offer offer, std::uint32_t min_complete,
                     const abi::Timespec* timeout) noexcept {
    const std::uint32_t hinted = queues_.hints();
    const bool offers =
        offer == Offer::everything && queues_.sq.unconsumed(queues_.counters.submitted) > 0;
    const bool asks = hinted != 0 || min_complete > 0 || (enter_flags_ & abi::enter_getevents) != 0;
    return offers || asks ? enter(queues_, offer, min_complete, timeout, hinted) : 0;
}

// Mode::deferred: an enter that waits for few runs task_work_max items of the task work that posts
// completions, and leaves the flag up where there are more. What has finished is to be handed out
// by this call, so it is entered again for as long as each enter brings as many; what has only just
// finished is for the next call (I5).
void Ring::run_task_work_left() noexcept {
    std::uint32_t brought = queues_.cq.ready();
    while (brought >= task_work_max && (queues_.sq.flags() & abi::sq_taskrun) != 0) {
        const std::uint32_t before = queues_.cq.ready();
        if (enter_once(Offer::nothing, 0, nullptr) != 0) return;
        brought = queues_.cq.ready() - before;
    }
}

int Ring::do_register(std::uint32_t code, void* arg, std::uint32_t count) noexcept {
    return sys::io_uring_register(kernel_, fd_.get(), code, arg, count);
}

int Ring::update_buffer(std::uint32_t index, void* data, std::uint64_t length) noexcept {
    const abi::Iovec bytes{reinterpret_cast<std::uintptr_t>(data), length};
    abi::RsrcUpdate2 update{index, 0, reinterpret_cast<std::uintptr_t>(&bytes), 0, 1, 0};
    return std::min(do_register(abi::register_buffers_update, &update, sizeof(update)), 0);
}

int Ring::update_file(std::uint32_t table_index, int fd) noexcept {
    const std::int32_t file = fd;
    abi::RsrcUpdate update{table_index, 0, reinterpret_cast<std::uintptr_t>(&file)};
    return do_register(abi::register_files_update, &update, 1);
}

}  // namespace squall::detail
