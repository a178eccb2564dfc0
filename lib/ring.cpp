// SPDX-License-Identifier: MIT
//
// The ring's cold paths once it is made: binding to the submitting thread, entering the kernel and reading its answers, and
// letting go. Making one is setup.cpp's; what is hot is inline in ring.hpp; what a file is, io.cpp knows.
#include "squall/ring.hpp"

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>

#include "arena_control.hpp"
#include "clock.hpp"
#include "explain.hpp"
#include "pair.hpp"
#include "patience.hpp"
#include "sys.hpp"

namespace squall::detail {

namespace {

// A number per thread that is never used again in the process, unlike a thread's id: what owns a ring must not come back
// as another thread. 0 is nobody, and no thread is; one that has no number yet has one that nobody gets. Without a
// dynamic initialiser, so that reading it is one load.
constexpr std::uint64_t unnumbered = UINT64_MAX;
constinit thread_local std::uint64_t this_thread = unnumbered;
constinit std::atomic<std::uint64_t> last_thread{0};
std::uint64_t thread_number() noexcept {
    if (this_thread == unnumbered) [[unlikely]]
        this_thread = last_thread.fetch_add(1, std::memory_order_relaxed) + 1;
    return this_thread;
}

// Answers of io_uring_enter after which the same is simply done again.
bool nothing_lost(int code) noexcept { return code == EINTR || code == EAGAIN || code == EBUSY; }

// What an enter that wakes an SQPOLL thread is given as its number of SQEs. The kernel only hands the number back; at 0 Linux
// 5.12 and 5.13 would answer EOWNERDEAD where all is well, and so it means that the thread has ended, everywhere.
constexpr std::uint32_t wake_for = 1;

// IO_LOCAL_TW_DEFAULT_MAX (6.13).
constexpr std::uint32_t task_work_max = 20;

// The ring with IoOptions::checks whose failure was the last on this thread, while nobody has looked at that. By thread and
// not by ring, since one of the failures is to be called on a thread that may change nothing of the ring.
constinit thread_local const Ring* failed_unseen = nullptr;

}  // namespace

void failure_seen() noexcept { failed_unseen = nullptr; }

// A failure that is about to be handed out.
int Ring::report(int code) noexcept {
    if (!checks_ || code == 0) return code;
    SQUALL_ASSERT(failed_unseen != this,
                  "poll() or park() fails again, with errno %d, and nobody has looked at the failure before, with "
                  "Completions::failed(): this loop may never end",
                  code & ~while_enabling);
    failed_unseen = this;
    return code;
}

// --- Entering the kernel --------------------------------------------------------------------------------------------

// I2: room for one more operation only while the CQ can hold its completion beside all that are owed or being read.
bool Ring::make_room(abi::Word op_fd) noexcept {
    if (state_ == State::wiped) return false;  // I10
    // Counted nowhere: the counters are the owner's.
    if (checks_ && foreign()) return false;
    if (pair_) {
        if (!pair_->make_room(op_fd)) return false;
        if (sampler_.wants(counters_.submitted)) sampler_.take(abi::op_of(op_fd), counters_.submitted);
        return true;
    }
    if (in_flight() == 0) quiet_ = counters_.submitted;
    const std::uint64_t promised = in_flight() + cq_.lent();
    std::uint64_t room = promised < cq_.entries() ? cq_.entries() - promised : 0;
    // Up to the next one that is to be sampled, so that queueing comes by here for it.
    room = std::min(room, sampler_.room(counters_.submitted));
    // One at a time, so that each comes by here.
    if (checks_) room = std::min<std::uint64_t>(room, 1);
    if (!sq_.widen(counters_.submitted, static_cast<std::uint32_t>(room))) {
        ++counters_.queue_full;
        return false;
    }
    if (sampler_.wants(counters_.submitted)) {
        sampler_.take(abi::op_of(op_fd), counters_.submitted);
        state_ = State::watched;
    }
    return true;
}

bool Ring::foreign() const noexcept { return owner_ != 0 && owner_ != thread_number(); }

// 0 when this thread may enter the ring now, or what error() puts into words.
inline int Ring::may_enter() noexcept {
    // The common case in one comparison: a ring that is owned is alive and bound.
    return owner_ == this_thread ? 0 : may_enter_slowly();
}

int Ring::may_enter_slowly() noexcept {
    // Checked here and not left to the kernel's EEXIST: a registered ring fd is an index into a table of the thread's
    // own, and on another thread the same index may name that thread's ring. Kernels before 6.0 do not check either.
    if (foreign()) return EEXIST;
    return bound_ ? 0 : bind();
}

// Kernels before 5.18 first wait, some 20 ms, for the ring to be quiet, and a signal makes them begin again, with SA_RESTART
// unseen by the caller: a timer that signals more often, a profiler's perhaps, would hold the ring up for ever. So there
// signals wait until it is done.
int Ring::enable() noexcept {
    const bool waits = (features_.kernel_features & abi::feat_linked_file) == 0;
    const std::uint64_t all = ~std::uint64_t{0};
    std::uint64_t before = 0;
    if (waits) sys::set_signal_mask(all, &before);
    const int status = sys::io_uring_register(fd_, abi::register_enable_rings, nullptr, 0);
    if (waits) sys::set_signal_mask(before, nullptr);
    return status < 0 ? -status | while_enabling : 0;
}

// I8: the ring was made disabled; whoever submits first enables it and is its submitter from then on.
int Ring::bind() noexcept {
    if (pair_) {
        if (const int code = pair_->bind(); code != 0) return code;
        bound_ = true;
        if (features_.mode != Mode::plain) owner_ = thread_number();
        return 0;
    }
    if (const int code = enable(); code != 0) return code;
    bound_ = true;
    enter_fd_ = fd_;
    if (!features_.io_wait) enter_flags_ |= abi::enter_no_iowait;
    // The completions of such a ring are found only by an enter that asks for them.
    if ((features_.setup_flags & (abi::setup_iopoll | abi::setup_sqpoll)) == abi::setup_iopoll)
        enter_flags_ |= abi::enter_getevents;
    if (features_.mode == Mode::plain) return 0;  // free to go to another thread, so nothing may be tied to this one
    owner_ = thread_number();
    owner_tid_ = sys::gettid();
    abi::RsrcUpdate update{UINT32_MAX, 0, static_cast<std::uint64_t>(fd_)};
    // Worth some 14 ns per enter and optional: before 5.18, or when the thread's 16 slots are taken, the fd does too.
    if (sys::io_uring_register(fd_, abi::register_ring_fds, &update, 1) == 1) {
        enter_fd_ = static_cast<int>(update.offset);
        enter_flags_ |= abi::enter_registered_ring;
        features_.registered_ring = true;
    }
    return 0;
}

// One io_uring_enter: submits what is queued, then waits for `min_complete` completions, for `timeout` at most. 0 or an
// errno. What each answer means, and who deals with it (I9):
//
//   n >= 0      the kernel consumed n SQEs, which may be fewer than it was offered; the rest stays queued.
//   EINTR       a signal came first, SA_RESTART or not. Nothing was lost. poll() leaves it to the next call, park() goes
//               on.
//   EAGAIN      no memory for a request, none consumed. poll() leaves it to the next call; park() waits for something in
//               flight to finish and give memory back, and reports it when there is nothing.
//   EBUSY       before 5.19: the CQ had overflowed; entering with GETEVENTS flushed it. As EAGAIN.
//   ETIME       the timeout passed. Not an error: there is just nothing to hand out.
//   EEXIST      another thread is the submitter. Reported; may_enter() sees to it that the kernel is not asked.
//   EOWNERDEAD  the SQPOLL thread has ended. Reported. (Not so on 5.12 and 5.13 where nothing is submitted: see wake_for.)
//   else        a seccomp filter (EPERM, ENOSYS), a closed fd (EBADF), a bug. Reported, and everything stays queued.
[[gnu::always_inline]] inline int Ring::enter(Offer offer, std::uint32_t min_complete, const abi::Timespec* timeout,
                                              std::uint32_t hints) noexcept {
    // By a function of its own, so that the other modes have no value of theirs to keep over the call.
    if (sqpoll_) [[unlikely]]
        return enter_beside_poller(min_complete, timeout, hints);
    const std::uint64_t tail = counters_.submitted;
    std::uint32_t to_submit = 0;
    if (offer == Offer::everything) {
        sq_.publish(tail);
        to_submit = sq_.unconsumed(tail);
    }
    const std::uint32_t flags = enter_flags_ | getevents_if_needed(hints, min_complete);
    if (to_submit == 0) [[unlikely]]
        if ((flags & abi::enter_getevents) == 0) return 0;
    const int answer = call_kernel(to_submit, min_complete, flags, timeout);
    sq_.note_consumed();
    return answer >= 0 ? 0 : note_failure(-answer);
}

// The same for Mode::sqpoll.
int Ring::enter_beside_poller(std::uint32_t min_complete, const abi::Timespec* timeout, std::uint32_t hints) noexcept {
    const std::uint64_t tail = counters_.submitted;
    std::uint32_t flags = enter_flags_;
    std::uint32_t to_submit = 0;
    if (sq_.unflushed(tail)) {
        if (sq_.publish_and_check_sleep(tail)) {
            ++counters_.sqpoll_wakeups;
            flags |= abi::enter_sq_wakeup;
            to_submit = wake_for;
        } else {
            sq_.note_published(tail);
        }
    }
    flags |= getevents_if_needed(hints, min_complete);
    // Awake: the published tail was all it needed.
    if ((flags & (abi::enter_getevents | abi::enter_sq_wakeup)) == 0) return 0;
    const int answer = call_kernel(to_submit, min_complete, flags, timeout);
    // After any failure the next enter looks again whether the poller sleeps: to ask once too often costs little.
    if ((flags & abi::enter_sq_wakeup) != 0 && answer >= 0) sq_.note_published(tail);
    return answer >= 0 ? 0 : note_failure(-answer);
}

// Why an enter would have to ask for events.
inline std::uint32_t Ring::hints() const noexcept { return sq_.flags() & (abi::sq_cq_overflow | abi::sq_taskrun); }

// Task work is run, and an overflow flushed, only by an enter that asks for events, even when it submits: else a loop
// that always has something to submit would never see what the device has finished.
inline std::uint32_t Ring::getevents_if_needed(std::uint32_t hints, std::uint32_t min_complete) noexcept {
    if (hints == 0) return min_complete > 0 ? abi::enter_getevents : 0;
    if ((hints & abi::sq_cq_overflow) != 0) [[unlikely]]
        ++counters_.overflow_flushes;
    return abi::enter_getevents;
}

[[gnu::always_inline]] inline int Ring::call_kernel(std::uint32_t to_submit, std::uint32_t min_complete,
                                                    std::uint32_t flags, const abi::Timespec* timeout) noexcept {
    ++counters_.enters;
    if (!timeout) return sys::io_uring_enter(enter_fd_, to_submit, min_complete, flags, nullptr, 0);
    const abi::GeteventsArg arg{0, 0, 0, reinterpret_cast<std::uintptr_t>(timeout)};
    return sys::io_uring_enter(enter_fd_, to_submit, min_complete, flags | abi::enter_ext_arg, &arg, sizeof(arg));
}

int Ring::note_failure(int code) noexcept {
    if (nothing_lost(code)) ++counters_.retries;
    return code;
}

int Ring::enter_once(Offer offer, std::uint32_t min_complete, const abi::Timespec* timeout) noexcept {
    return enter(offer, min_complete, timeout, hints());
}

int Ring::poll_slowly() noexcept {
    if (const int code = may_enter(); code != 0) [[unlikely]]
        return report(code);
    const std::uint32_t flagged = hints();
    if (flagged != 0) [[unlikely]]
        return poll_flagged(flagged);
    const int code = enter(Offer::everything, 0, nullptr, 0);
    return code == 0 ? 0 : outcome(code);
}

// The same where the kernel has flagged work: what has finished by now is to be handed out by this call.
int Ring::poll_flagged(std::uint32_t flagged) noexcept {
    const int code = enter(Offer::everything, 0, nullptr, flagged);
    run_task_work_left();
    return code == 0 ? 0 : outcome(code);
}

// What a poll() reports of an enter that failed.
int Ring::outcome(int code) noexcept { return nothing_lost(code) || code == ETIME ? 0 : report(code); }

// Mode::deferred: an enter that waits for few runs task_work_max items of the task work that posts completions, and leaves
// the flag up where there are more. What has finished is to be handed out by this call, so it is entered again for as long
// as each enter brings as many; what has only just finished is for the next call (I5).
void Ring::run_task_work_left() noexcept {
    std::uint32_t brought = cq_.ready();
    while (brought >= task_work_max && (sq_.flags() & abi::sq_taskrun) != 0) {
        const std::uint32_t before = cq_.ready();
        if (enter_once(Offer::nothing, 0, nullptr) != 0) return;
        brought = cq_.ready() - before;
    }
}

int Ring::park_slowly(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept {
    if (timeout && timeout->count() <= 0) return wants_kernel() ? poll_slowly() : 0;
    if (const int code = wait(at_least, timeout); code != 0) [[unlikely]]
        return report(code);
    return 0;
}

// 0, or the errno that is reported.
[[gnu::always_inline]] inline int Ring::wait(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept {
    // The kernel would take completions that are still being read for new ones, and not wait.
    cq_.must_not_be_lent();
    const std::uint64_t flying = in_flight();
    if (flying == 0) {
        if (!timeout || at_least == 0) return foreign() ? EEXIST : 0;
        // Nothing was ever submitted: the ring belongs to no thread yet, and waiting on it would make it this one's (I8).
        if (!bound_) return sleep_out(*timeout), 0;
    }
    if (const int code = may_enter(); code != 0) return code;
    const auto started = timeout ? monotonic_now() : std::chrono::nanoseconds(0);
    auto left = timeout ? *timeout : std::chrono::nanoseconds(0);
    // With nothing in flight it is the time that is waited for.
    const auto wanted = static_cast<std::uint32_t>(flying == 0 ? 1 : std::min<std::uint64_t>(at_least, flying));
    for (;;) {
        const abi::Timespec ts = timeout ? to_timespec(left) : abi::Timespec{};
        int code = enter(Offer::everything, wanted, timeout ? &ts : nullptr, hints());
        if (code == EAGAIN || code == EBUSY) {
            // Looked at once: where completions interrupt, one may come between two looks.
            const std::uint32_t ready = cq_.ready();
            if (ready >= wanted) return 0;
            // Nothing was consumed, and an enter waits only once it has consumed all it was offered. So offer nothing
            // and wait for what the kernel already has, if it has something that is not done.
            const std::uint64_t consumed = in_flight() - sq_.unconsumed(counters_.submitted);
            if (consumed == ready) return code;
            code = enter_once(Offer::nothing, static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, consumed)),
                              timeout ? &ts : nullptr);
        }
        if (code != 0 && !nothing_lost(code)) return code == ETIME ? 0 : code;
        const std::uint32_t ready = cq_.ready();
        if (ready >= wanted) {
            if (ready >= task_work_max) [[unlikely]]
                run_task_work_left();
            return 0;
        }
        if (timeout) {
            left = *timeout - (monotonic_now() - started);
            if (left.count() <= 0) return 0;
        }
    }
}

// --- Watched: the inline calls come here in a forked child, while a sample is on its way, in front of a pair, and with
// IoOptions::checks
//
// They return an errno and not a Completions, which the inline calls would else have to keep in memory, always; a negative
// one where nothing is to be handed out either.

// What has completed is the owner's to take: not a forked child's nor, where that is checked, another thread's.
int Ring::turned_away() noexcept {
    if (state_ == State::wiped) return ESTALE;  // I10
    return checks_ && foreign() ? report(EEXIST) : 0;
}

int Ring::poll_watched() noexcept {
    if (const int code = turned_away(); code != 0) return -code;
    give_sample();
    const int code = pair_ ? report(pair_->poll()) : wants_kernel() ? poll_slowly() : 0;
    find_sample();
    return code;
}

int Ring::park_watched(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept {
    if (const int code = turned_away(); code != 0) return -code;
    give_sample();
    int code = 0;
    if (pair_)
        code = report(pair_->park(at_least, timeout));
    else if (wants_kernel() || cq_.ready() < at_least)
        code = park_slowly(at_least, timeout);
    find_sample();
    return code;
}

std::optional<Token> Ring::withdraw() noexcept {
    if (state_ == State::wiped || foreign()) return std::nullopt;
    const auto token = pair_ ? pair_->withdraw() : take_back();
    if (!token) return token;
    ++counters_.withdrawn;
    // A sample that was taken back is none, and the next operation is one in its place. A pair has given it its token.
    const bool sampled = pair_ ? sampler_.sample.token == *token : sampler_.place == counters_.submitted;
    if (sampled && sampler_.phase == Sampler::Phase::queued) {
        sampler_.phase = Sampler::Phase::idle;
        sampler_.due = counters_.submitted;
        if (!pair_) state_ = usual();
    }
    return writes_.taken_back(*token);
}

// The same without a pair.
std::optional<Token> Ring::take_back() noexcept {
    if (!sq_.take_back(counters_.submitted, sqpoll_)) return std::nullopt;
    const abi::SqeWords& sqe = sq_.queued(--counters_.submitted);
    uncount(sqe);
    return static_cast<Token>(sqe.user_data);
}

void Ring::uncount(const abi::SqeWords& sqe) noexcept {
    const abi::Op op = abi::op_of(sqe.op_fd);
    if (op == abi::Op::read || op == abi::Op::write) --counters_.unregistered;
    if (op == abi::Op::read_fixed || op == abi::Op::write_fixed) --counters_.fixed;
}

// What was taken when it was queued has its token by now, and is about to be submitted.
void Ring::give_sample() noexcept {
    if (sampler_.phase != Sampler::Phase::queued) return;
    if (pair_)
        pair_->settle();  // which gives it
    else
        sampler_.name(static_cast<std::uint64_t>(sq_.queued(sampler_.place).user_data), sampler_.place);
    sampler_.submit();
}

void Ring::find_sample() noexcept {
    if (sampler_.phase != Sampler::Phase::submitted) return;
    const Completion* const found = cq_.find(sampler_.sample.token);
    if (!found) return;
    sampler_.sample.token = writes_.token_of(sampler_.sample.token);
    sampler_.finish(found->res);
    if (pair_) return;
    state_ = usual();
    sq_.hold();  // the next operation that is queued looks when the next sample is due
}

Result<void> Ring::set_file(FileSlot slot, int fd) {
    const std::string doing = "Io::set_file(slot " + std::to_string(slot.number()) + ", fd=" + std::to_string(fd) + ")";
    if (state_ == State::wiped)
        return Error(ESTALE, doing, "this Io was created before a fork(), by the parent process");
    if (foreign()) return Error(EEXIST, doing, "this Io belongs to another thread, the first that submitted on it");
    if (slot.number() >= features_.file_slots)
        return Error(EINVAL, doing, "IoOptions::file_slots is " + std::to_string(features_.file_slots));
    const int file = fd < 0 ? -1 : fd;
    if (pair_) return pair_->set_file(slot, file, doing);
    if (const int status = update_file(slot.place(), file); status < 0)
        return Error(-status, doing, advice_for_result(-status));
    return {};
}

int Ring::update_file(std::uint32_t place, int fd) noexcept {
    const std::int32_t file = fd;
    abi::RsrcUpdate update{place, 0, reinterpret_cast<std::uintptr_t>(&file)};
    return sys::io_uring_register(fd_, abi::register_files_update, &update, 1);
}

bool Ring::may_change_slowly(FileSlot slot) noexcept {
    if (checks_ && foreign()) return false;
    return !pair_ || pair_->may_change(slot);
}

// --- Letting go (I3) ------------------------------------------------------------------------------------------------

void Ring::destroy(Ring* ring) noexcept {
    if (failed_unseen == ring) failed_unseen = nullptr;
    // In a child of fork() the ring's memory was never mapped, its addresses may be something else's by now, and so may
    // its descriptors' numbers: nothing of it is touched.
    if (ring->state_ != State::wiped) {
        SQUALL_ASSERT(!ring->cq_.is_lent(), "an Io is destroyed while a Completions of it is alive");
        if (ring->pair_) {
            Pair::destroy(ring->pair_);
        } else {
            ring->drain();
            ring->unmap(Buffers::unregister);
        }
        ring->writes_.unmap();
    }
    sys::munmap(ring, Ring::page_bytes);
}

// Returns when the kernel owes no completion, and so writes to no memory of the caller's any more. Closing the ring would
// only start that, and it ends at some later time.
void Ring::drain() noexcept {
    const std::uint64_t dropped = sq_.close(counters_.submitted, sqpoll_);
    const auto owed = [this, dropped] {
        const std::uint32_t count = cq_.ready();
        complete(count);
        cq_.lend(count);
        cq_.give_back();
        return in_flight() - dropped;
    };
    if (foreign() && owed() != 0) {
        // A thread that was joined may still be on its way out; it is given a second.
        bool owner_lives = true;
        for (int tries = 0; tries < 1000 && owner_lives; ++tries) {
            owner_lives = sys::tgkill(sys::getpid(), owner_tid_, 0) != -ESRCH;
            if (owner_lives) sleep_out(std::chrono::milliseconds(1));
        }
        SQUALL_ASSERT(!owner_lives,
                      "an Io is destroyed on thread %d with %llu operations in flight, and only thread %d, which "
                      "submitted them, can reap them: destroy it there, or reap first",
                      sys::gettid(), static_cast<unsigned long long>(owed()), owner_tid_);
        if (may_yet_write()) close_and_wait();
        return;
    }
    // What the poller was shown it must consume, also when an attempt to wake it for that had failed.
    if (sqpoll_ && owed() != 0)
        sys::io_uring_enter(enter_fd_, wake_for, 0, enter_flags_ | abi::enter_sq_wakeup, nullptr, 0);
    std::uint64_t end = counters_.submitted - dropped;
    int fruitless = 0;
    for (bool by_operation = false; owed() != 0;) {
        if (!by_operation) {
            abi::SyncCancelReg cancel{};
            cancel.fd = -1;
            cancel.flags = abi::async_cancel_any | abi::async_cancel_all;
            const int status = sys::io_uring_register(fd_, abi::register_sync_cancel, &cancel, 1);
            // A count of what was cancelled. 0, ENOENT: all that is left is past cancelling. EALREADY, ETIME: it is under
            // way. All of that ends by itself.
            const bool ends =
                status >= 0 || status == -ENOENT || status == -EALREADY || status == -ETIME || status == -EINTR;
            const bool filtered = status == -EPERM || status == -EACCES || status == -ENOSYS;
            // But not all kernels (6.1) look through the workers of an SQPOLL thread, and one that reads a pipe may wait
            // for ever. Closing the ring cancels that too.
            const bool out_of_reach = sqpoll_ && (status == 0 || status == -ENOENT) && ++fruitless > 10;
            if ((!ends || out_of_reach) && (give_up_registration() >= 0 || !filtered)) return close_and_wait();
            by_operation = !ends;
        }
        if (by_operation && !cancel_by_operation(end)) return close_and_wait();
        // A short wait, so that what was started while the kernel looked for it is cancelled the next time round.
        constexpr abi::Timespec a_moment{0, 10'000'000};
        const int code = enter_once(Offer::nothing, 1, &a_moment);
        if (code != 0 && code != ETIME && !nothing_lost(code)) return close_and_wait();
    }
}

// Whether something may be in flight whose end would write to memory of the caller's: all that was queued since nothing was
// in flight is looked at, where its SQEs are still there.
bool Ring::may_yet_write() const noexcept {
    // The SQEs of a polled ring lie in no order, and are transfers anyway.
    if ((features_.setup_flags & abi::setup_iopoll) != 0 || counters_.submitted - quiet_ > sq_.entries()) return true;
    for (std::uint64_t at = quiet_; at != counters_.submitted; ++at) {
        const abi::Op op = abi::op_of(sq_.queued(at).op_fd);
        if (op == abi::Op::read || op == abi::Op::read_fixed || op == abi::Op::statx) return true;
    }
    return false;
}

// Cancels everything by an operation, where a seccomp filter refuses io_uring_register and so closing the ring would not
// end it: it stays registered. `end` is how far the kernel may look into the SQ. False when the ring cannot be entered.
bool Ring::cancel_by_operation(std::uint64_t& end) noexcept {
    // A polled ring knows no such operation, and needs none: transfers of a device end by themselves.
    if ((features_.setup_flags & abi::setup_iopoll) != 0) return true;
    if (sq_.unconsumed(end) == 0) {
        abi::SqeWords& sqe = sq_.at(end & (sq_.entries() - 1));
        sqe = {};
        sqe.op_fd = abi::op_fd_word(abi::Op::async_cancel, 0, UINT32_MAX);
        sqe.len_flags = abi::word(0, abi::async_cancel_any | abi::async_cancel_all);
        sq_.publish(++end);
        ++counters_.submitted;
        sq_.note_published(counters_.submitted);  // lest what was dropped be shown to a poller after all
    }
    const int answer = sqpoll_ ? call_kernel(wake_for, 0, enter_flags_ | abi::enter_sq_wakeup, nullptr)
                               : call_kernel(sq_.unconsumed(end), 0, enter_flags_, nullptr);
    return answer >= 0 || nothing_lost(-answer);
}

// Gives the ring's place in the thread's table of rings back, if it has one. 0 or more, else -errno: it is kept.
int Ring::give_up_registration() noexcept {
    if (!features_.registered_ring) return 0;
    abi::RsrcUpdate update{static_cast<std::uint32_t>(enter_fd_), 0, 0};
    const int status = sys::io_uring_register(fd_, abi::unregister_ring_fds, &update, 1);
    features_.registered_ring = status < 0;
    return status;
}

// For a kernel that cannot cancel everything on request (before 6.0) or refuses to be entered, and for a ring whose thread
// has ended: closes the ring, which cancels all, and waits until the kernel has let go of it. A child of fork() that still
// has the ring's descriptor holds that up.
void Ring::close_and_wait() noexcept {
    // Kernels before 5.19 unregister buffers only when no transfer uses them, which is what the close has yet to see to.
    unmap(Buffers::leave_to_close);
    struct pollfd hung_up = {hang_up_, 0, 0};
    int seen = 0;
    do {
        seen = sys::ppoll(&hung_up, 1, nullptr);
        SQUALL_ASSERT(seen >= 0 || seen == -EINTR,
                      "an Io is destroyed with operations in flight, the kernel may yet write to their buffers, and "
                      "waiting for it to let go failed with errno %d",
                      -seen);
    } while (seen <= 0);
    sys::close(hang_up_);
    hang_up_ = -1;
}

void Ring::unmap(Buffers buffers) noexcept {
    // Elsewhere than on the owner's thread the kernel refuses both, or takes the index for one of this thread's rings.
    if (fd_ >= 0 && !foreign()) {
        // The kernel frees a ring some time after it was closed, a quarter of a second even; what counts against a limit
        // is given back now, and so are the caller's files, which may be locked, or on what is to be unmounted.
        if (arena_ && buffers == Buffers::unregister) sys::io_uring_register(fd_, abi::unregister_buffers, nullptr, 0);
        if (features_.file_slots > 0 && buffers == Buffers::unregister)
            sys::io_uring_register(fd_, abi::unregister_files, nullptr, 0);
        const int status = give_up_registration();
        // It would be a reference to the ring that nobody drops before this thread ends.
        SQUALL_ASSERT(status >= 0 || buffers == Buffers::unregister,
                      "an Io is destroyed with operations in flight, the kernel may yet write to their buffers, and "
                      "it refuses to let go of them (errno %d)",
                      -status);
    }
    for (Mapping* const mapping : {&sq_ring_, &cq_ring_, &sqe_array_, &path_array_}) {
        if (mapping->at) sys::munmap(mapping->at, mapping->bytes);
        *mapping = {};
    }
    if (fd_ >= 0) {
        sys::close(fd_);
        note_ring_closed();
    }
    fd_ = -1;
    if (hang_up_ >= 0 && buffers == Buffers::unregister) {
        sys::close(hang_up_);
        hang_up_ = -1;
    }
    // Not while the kernel may have something in flight there: nobody else may be left to keep that memory mapped.
    if (arena_ && buffers == Buffers::unregister) let_go(std::exchange(arena_, nullptr), 1);
}

}  // namespace squall::detail
