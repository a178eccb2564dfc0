// SPDX-License-Identifier: MIT
//
// The ring's cold paths: finding the best set-up that the kernel has, mapping, binding to the submitting thread,
// entering the kernel and reading its answers, and letting go. What is hot is inline in ring.hpp; what a file is,
// io.cpp knows.
#include "squall/ring.hpp"

#include <fcntl.h>
#include <poll.h>

#include <atomic>
#include <cerrno>
#include <new>
#include <string>
#include <vector>

#include "arena_control.hpp"
#include "explain.hpp"
#include "squall/arena.hpp"
#include "sys.hpp"

namespace squall::detail {

namespace {

constexpr std::uint32_t entries_max = 32768;  // IORING_MAX_ENTRIES
constexpr std::uint32_t cq_entries_max = 2 * entries_max;
constexpr std::size_t ring_page_bytes = 4096;
static_assert(sizeof(Ring) <= ring_page_bytes);

// A number per thread that is never used again in the process, unlike a thread's id: what owns a ring must not come back
// as another thread. 0 is nobody. Without a dynamic initialiser, so that reading it is one load.
constinit thread_local std::uint64_t this_thread = 0;
constinit std::atomic<std::uint64_t> last_thread{0};
std::uint64_t thread_number() noexcept {
    if (this_thread == 0) [[unlikely]]
        this_thread = last_thread.fetch_add(1, std::memory_order_relaxed) + 1;
    return this_thread;
}

// The set-up flags that a kernel may lack, newest first. It answers EINVAL without saying which one it meant, so they
// are given up one by one in this order; giving up an older one first would lose more than the kernel lacks.
struct Rung {
    std::uint32_t drop;
    std::uint32_t instead;
};
constexpr Rung ladder[] = {
    {abi::setup_no_sqarray, 0},                              // 6.6
    {abi::setup_defer_taskrun, abi::setup_coop_taskrun},     // 6.1; the next best way not to be interrupted
    {abi::setup_single_issuer, 0},                           // 6.0
    {abi::setup_coop_taskrun | abi::setup_taskrun_flag, 0},  // 5.19
    {abi::setup_submit_all, 0},                              // 5.18
};

std::uint32_t best_flags(const IoOptions& options) noexcept {
    const std::uint32_t always =
        abi::setup_cqsize | abi::setup_clamp | abi::setup_r_disabled | abi::setup_submit_all | abi::setup_no_sqarray;
    switch (options.mode) {
        case Mode::deferred:
            return always | abi::setup_single_issuer | abi::setup_defer_taskrun | abi::setup_taskrun_flag;
        case Mode::plain:
            return always;
        case Mode::sqpoll:
            return always | abi::setup_single_issuer | abi::setup_sqpoll |
                   (options.sqpoll_cpu ? abi::setup_sq_aff : 0U);
    }
    return always;
}

// Without these squall could not keep its promises, so it refuses to start without them.
struct Feature {
    std::uint32_t bit;
    const char* name;
};
constexpr Feature required_features[] = {
    {abi::feat_nodrop, "IORING_FEAT_NODROP (5.5)"},
    {abi::feat_submit_stable, "IORING_FEAT_SUBMIT_STABLE (5.5)"},
    {abi::feat_ext_arg, "IORING_FEAT_EXT_ARG (5.11)"},
};
struct Operation {
    abi::Op op;
    const char* name;
};
constexpr Operation required_operations[] = {
    {abi::Op::nop, "IORING_OP_NOP (5.1)"},
    {abi::Op::fsync, "IORING_OP_FSYNC (5.1)"},
    {abi::Op::read_fixed, "IORING_OP_READ_FIXED (5.1)"},
    {abi::Op::write_fixed, "IORING_OP_WRITE_FIXED (5.1)"},
    {abi::Op::openat, "IORING_OP_OPENAT (5.6)"},
    {abi::Op::close, "IORING_OP_CLOSE (5.6)"},
    {abi::Op::statx, "IORING_OP_STATX (5.6)"},
    {abi::Op::read, "IORING_OP_READ (5.6)"},
    {abi::Op::write, "IORING_OP_WRITE (5.6)"},
    {abi::Op::renameat, "IORING_OP_RENAMEAT (5.11)"},
    {abi::Op::unlinkat, "IORING_OP_UNLINKAT (5.11)"},
};

std::string text(std::uint64_t number) { return std::to_string(number); }

Error refuse(const std::string& value, const std::string& rule) { return Error(EINVAL, "Io::create: " + value, rule); }

Result<void> check(const IoOptions& options) {
    if (options.entries == 0 || options.entries > entries_max)
        return refuse("entries is " + text(options.entries), "it must be 1 to " + text(entries_max));
    if (options.completion_entries != 0) {
        std::uint32_t rounded = 1;
        while (rounded < options.entries) rounded *= 2;
        if (options.completion_entries < rounded || options.completion_entries > cq_entries_max)
            return refuse("completion_entries is " + text(options.completion_entries),
                          "it must be 0 for twice the SQ, or " + text(rounded) +
                              " (entries, rounded up to a power of two) to " + text(cq_entries_max));
    }
    if (options.mode != Mode::deferred && options.mode != Mode::plain && options.mode != Mode::sqpoll)
        return refuse("mode is " + text(static_cast<unsigned>(options.mode)), "it must be one of squall::Mode's");
    if (options.mode == Mode::sqpoll && (options.sqpoll_idle.count() < 1 || options.sqpoll_idle.count() > UINT32_MAX))
        return refuse("sqpoll_idle is " + std::to_string(options.sqpoll_idle.count()) + " ms",
                      "it must be 1 ms to " + text(UINT32_MAX) + " ms");
    return {};
}

abi::Timespec to_timespec(std::chrono::nanoseconds duration) noexcept {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
    return {seconds.count(), (duration - seconds).count()};
}

std::chrono::nanoseconds monotonic_now() noexcept {
    return std::chrono::steady_clock::now().time_since_epoch();  // CLOCK_MONOTONIC, through the vDSO
}

// Signals or not.
void sleep_out(std::chrono::nanoseconds timeout) noexcept {
    const auto started = monotonic_now();
    for (auto left = timeout; left.count() > 0; left = timeout - (monotonic_now() - started)) {
        const abi::Timespec ts = to_timespec(left);
        sys::ppoll(nullptr, 0, &ts);
    }
}

// Answers of io_uring_enter after which the same is simply done again.
bool nothing_lost(int code) noexcept { return code == EINTR || code == EAGAIN || code == EBUSY; }

void* page_aligned(long address) noexcept { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }

}  // namespace

// --- Making one -----------------------------------------------------------------------------------------------------

Result<Ring*> Ring::create(const IoOptions& options) {
    if (auto checked = check(options); !checked) return checked.error();

    const long page = sys::mmap(ring_page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::is_error(page))
        return Error(static_cast<int>(-page), "Io::create: mapping 4096 bytes for the ring's state");
    // A fork's child must find zeros here, not a copy: the copy would know indices of a ring that it does not share.
    if (const int wiped = sys::madvise(page_aligned(page), ring_page_bytes, MADV_WIPEONFORK); wiped < 0) {
        sys::munmap(page_aligned(page), ring_page_bytes);
        return Error(-wiped, "Io::create: madvise(MADV_WIPEONFORK)", "squall needs Linux 5.11 or newer");
    }
    Ring* const ring = ::new (page_aligned(page)) Ring;
    if (auto set_up = ring->set_up(options); !set_up) {
        ring->unmap(Buffers::unregister);
        sys::munmap(ring, ring_page_bytes);
        return set_up.error();
    }
    ring->alive_ = true;
    return ring;
}

Result<void> Ring::set_up(const IoOptions& options) {
    abi::Params params{};
    std::uint32_t flags = best_flags(options);
    features_.setup_flags_asked = flags;
    const auto attempt = [&] {
        params = {};
        params.flags = flags;
        params.cq_entries = options.completion_entries != 0 ? options.completion_entries : 2 * options.entries;
        params.sq_thread_idle = static_cast<std::uint32_t>(options.sqpoll_idle.count());
        params.sq_thread_cpu = options.sqpoll_cpu.value_or(0);
        return sys::io_uring_setup(options.entries, &params);
    };
    int fd = attempt();
    for (const Rung& rung : ladder) {
        if (fd != -EINVAL) break;
        if ((flags & rung.drop) == 0) continue;
        flags = (flags & ~rung.drop) | rung.instead;
        fd = attempt();
    }
    if (fd < 0) return explain_setup(-fd, options);
    fd_ = fd;

    features_.mode = options.mode;
    features_.sq_entries = params.sq_entries;
    features_.cq_entries = params.cq_entries;
    features_.setup_flags = flags;
    features_.kernel_features = params.features;
    features_.single_issuer = (flags & abi::setup_single_issuer) != 0;
    features_.deferred_taskrun = (flags & abi::setup_defer_taskrun) != 0;
    features_.taskrun_flag = (flags & abi::setup_taskrun_flag) != 0;
    features_.no_sqarray = (flags & abi::setup_no_sqarray) != 0;
    sqpoll_ = options.mode == Mode::sqpoll;

    for (const Feature& feature : required_features)
        if ((params.features & feature.bit) == 0) return explain_missing(feature.name);
    if (sqpoll_ && (params.features & abi::feat_sqpoll_nonfixed) == 0)
        return explain_missing("IORING_FEAT_SQPOLL_NONFIXED (5.11)");
    if (auto mapped = map(params); !mapped) return mapped;
    if (auto checked = check_operations(); !checked) return checked;
    if (auto registered = register_hang_up(); !registered) return registered;
    if (options.arena)
        if (auto registered = register_arena(*options.arena); !registered) return registered;
    return {};
}

Result<void> Ring::map(const abi::Params& params) {
    const auto map_one = [](Mapping& mapping, std::size_t bytes, int fd, std::uint64_t offset) -> int {
        const int kind = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED | MAP_POPULATE;
        const long at = sys::mmap(bytes, PROT_READ | PROT_WRITE, kind, fd, offset);
        if (sys::is_error(at)) return static_cast<int>(at);
        mapping = {page_aligned(at), bytes};
        return sys::madvise(mapping.at, bytes, MADV_DONTFORK);  // I10: no child writes into its parent's ring
    };
    const bool single = (params.features & abi::feat_single_mmap) != 0;
    const std::size_t cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(abi::Cqe);
    // Without an index array the SQ ring is only its head, which lies before the CQEs.
    std::size_t sq_bytes =
        features_.no_sqarray ? params.cq_off.cqes : params.sq_off.array + params.sq_entries * sizeof(std::uint32_t);
    if (single && sq_bytes < cq_bytes) sq_bytes = cq_bytes;

    int status = map_one(sq_ring_, sq_bytes, fd_, abi::off_sq_ring);
    if (status >= 0 && !single) status = map_one(cq_ring_, cq_bytes, fd_, abi::off_cq_ring);
    if (status >= 0) status = map_one(sqe_array_, params.sq_entries * sizeof(abi::SqeWords), fd_, abi::off_sqes);
    // Address space only: a page of it becomes real when the first path is copied there.
    if (status >= 0) status = map_one(path_array_, params.sq_entries * 2 * path_slot_bytes, -1, 0);
    if (status < 0)
        return Error(-status,
                     "Io::create: mapping a ring of " + text(params.sq_entries) + " SQ and " + text(params.cq_entries) +
                         " CQ entries",
                     explain_memory());

    char* const sq = static_cast<char*>(sq_ring_.at);
    char* const cq = single ? sq : static_cast<char*>(cq_ring_.at);
    const auto word = [](char* base, std::uint32_t offset) { return reinterpret_cast<std::uint32_t*>(base + offset); };
    if (!features_.no_sqarray) {
        // Slot i is always entry i, so that the array is written once and never looked at again.
        std::uint32_t* const array = word(sq, params.sq_off.array);
        for (std::uint32_t i = 0; i < params.sq_entries; ++i) array[i] = i;
    }
    sq_ = SubmissionQueue({word(sq, params.sq_off.head), word(sq, params.sq_off.tail), word(sq, params.sq_off.flags),
                           static_cast<abi::SqeWords*>(sqe_array_.at), params.sq_entries},
                          0);
    cq_ = CompletionQueue({word(cq, params.cq_off.head), word(cq, params.cq_off.tail),
                           reinterpret_cast<Completion*>(cq + params.cq_off.cqes), params.cq_entries});
    paths_ = static_cast<char*>(path_array_.at);
    return {};
}

// Asks the kernel what it can do, since neither its version nor a header says: distributions carry features back.
Result<void> Ring::check_operations() {
    abi::Probe probe{};
    if (const int status = sys::io_uring_register(fd_, abi::register_probe, &probe, 256); status < 0)
        return explain_register(-status, "IORING_REGISTER_PROBE");
    for (const Operation& operation : required_operations) {
        const auto op = static_cast<std::uint8_t>(operation.op);
        if (op > probe.last_op || (probe.ops[op].flags & abi::op_supported) == 0)
            return explain_missing(operation.name);
    }
    features_.last_op = probe.last_op;
    return {};
}

// Registers one end of a pipe with the ring, and with nothing else: the kernel drops it when it has let go of the ring for
// good, and then the other end hangs up. That is what close_and_wait() waits for. It must be done now, since later only
// the submitting thread may register, and that thread may be gone by then.
Result<void> Ring::register_hang_up() {
    int ends[2];
    if (const int status = sys::pipe2(ends, O_CLOEXEC); status < 0)
        return explain_files(-status, "Io::create: making a pipe");
    const int status = sys::io_uring_register(fd_, abi::register_files, &ends[1], 1);
    sys::close(ends[1]);
    hang_up_ = ends[0];
    if (status < 0) return explain_register(-status, "IORING_REGISTER_FILES");
    return {};
}

Result<void> Ring::register_arena(const BufferArena& arena) {
    ArenaControl* const control = arena.control_;
    SQUALL_ASSERT(control && control->base, "IoOptions::arena was moved from, or made before a fork");
    std::vector<abi::Iovec> regions;
    for (std::uint64_t at = 0; at < control->bytes; at += region_bytes) {
        const std::uint64_t left = control->bytes - at;
        regions.push_back(
            {reinterpret_cast<std::uintptr_t>(control->base) + at, left < region_bytes ? left : region_bytes});
    }
    const int status =
        sys::io_uring_register(fd_, abi::register_buffers, regions.data(), static_cast<std::uint32_t>(regions.size()));
    if (status < 0) return explain_arena(-status, control->bytes, regions.size());
    arena_base_ = reinterpret_cast<std::uintptr_t>(control->base);
    arena_bytes_ = control->bytes;
    arena_ = control;
    control->rings.fetch_add(1, std::memory_order_relaxed);
    features_.fixed_regions = static_cast<std::uint32_t>(regions.size());
    return {};
}

// --- Entering the kernel --------------------------------------------------------------------------------------------

// I2: room for one more operation only while the CQ can hold its completion beside all that are owed or being read.
bool Ring::make_room() noexcept {
    if (!alive_) return false;  // I10
    const std::uint64_t promised = in_flight() + cq_.lent();
    const std::uint32_t cq_room = promised < cq_.entries() ? static_cast<std::uint32_t>(cq_.entries() - promised) : 0;
    if (sq_.widen(counters_.submitted, cq_room)) return true;
    ++counters_.queue_full;
    return false;
}

inline bool Ring::foreign() const noexcept { return owner_ != 0 && owner_ != thread_number(); }

// 0 when this thread may drive the ring now, or the errno that error() reports.
inline int Ring::check_caller() noexcept {
    if (!alive_) return ESTALE;  // I10
    // The kernel would take completions that are still being read for new ones, and park() would not wait.
    SQUALL_ASSERT(!cq_.is_lent(),
                  "poll() or park() while an earlier Completions is alive: let it go out of scope first");
    // Checked here and not left to the kernel's EEXIST: a registered ring fd is an index into a table of the thread's
    // own, and on another thread the same index may name that thread's ring. Kernels before 6.0 do not check either.
    return foreign() ? EEXIST : 0;
}

// I8: the ring was made disabled; whoever submits first enables it and is its submitter from then on.
int Ring::bind() noexcept {
    if (const int status = sys::io_uring_register(fd_, abi::register_enable_rings, nullptr, 0); status < 0)
        return -status;
    bound_ = true;
    enter_fd_ = fd_;
    if (features_.mode == Mode::plain) return 0;  // free to go to another thread, so nothing may be tied to this one
    owner_ = thread_number();
    owner_tid_ = sys::gettid();
    abi::RsrcUpdate update{UINT32_MAX, 0, static_cast<std::uint64_t>(fd_)};
    // Worth some 14 ns per enter and optional: before 5.18, or when the thread's 16 slots are taken, the fd does as
    // well.
    if (sys::io_uring_register(fd_, abi::register_ring_fds, &update, 1) == 1) {
        enter_fd_ = static_cast<int>(update.offset);
        enter_flags_ = abi::enter_registered_ring;
        features_.registered_ring = true;
    }
    return 0;
}

// One io_uring_enter: submits what is queued, then waits for `min_complete` completions, for `timeout` at most. 0 or an
// errno. What each answer means, and who deals with it (I9):
//
//   n >= 0      the kernel consumed n SQEs, which may be fewer than it was offered; the rest stays queued.
//   EINTR       a signal came first, SA_RESTART or not. Nothing was lost. poll() leaves it to the next call, park()
//   goes on. EAGAIN      no memory for a request, none consumed. poll() leaves it to the next call; park() waits for
//   something in
//               flight to finish and give memory back, and reports it when there is nothing.
//   EBUSY       before 5.19: the CQ had overflowed; entering with GETEVENTS flushed it. As EAGAIN.
//   ETIME       the timeout passed. Not an error: there is just nothing to hand out.
//   EEXIST      another thread is the submitter. Reported; ready_to_enter() sees to it that the kernel is not asked.
//   EOWNERDEAD  the SQPOLL thread is gone. Reported.
//   else        a seccomp filter (EPERM, ENOSYS), a closed fd (EBADF), a bug. Reported, and everything stays queued.
[[gnu::always_inline]] inline int Ring::enter(Offer offer, std::uint32_t min_complete,
                                              const abi::Timespec* timeout) noexcept {
    std::uint32_t flags = enter_flags_;
    std::uint32_t to_submit = 0;
    const std::uint64_t tail = counters_.submitted;
    if (sq_.unflushed(tail) && sqpoll_) {
        if (sq_.publish_and_check_sleep(tail)) {
            flags |= abi::enter_sq_wakeup;
            ++counters_.sqpoll_wakeups;
        } else {
            sq_.note_published(tail);
        }
    } else if (sq_.unflushed(tail) && offer == Offer::everything) {
        sq_.publish(tail);
        to_submit = sq_.unconsumed(tail);
    }
    // Task work is run, and an overflow flushed, only by an enter that asks for events, even when it submits: else a loop
    // that always has something to submit would never see what the device has finished.
    const std::uint32_t hints = sq_.flags() & (abi::sq_cq_overflow | abi::sq_taskrun);
    if ((hints & abi::sq_cq_overflow) != 0) ++counters_.overflow_flushes;
    if (min_complete > 0 || hints != 0) flags |= abi::enter_getevents;
    if (flags == enter_flags_ && to_submit == 0) return 0;  // SQPOLL, awake: the published tail was all it needed

    ++counters_.enters;
    int answer = 0;
    if (timeout) {
        const abi::GeteventsArg arg{0, 0, 0, reinterpret_cast<std::uintptr_t>(timeout)};
        answer = sys::io_uring_enter(enter_fd_, to_submit, min_complete, flags | abi::enter_ext_arg, &arg, sizeof(arg));
    } else {
        answer = sys::io_uring_enter(enter_fd_, to_submit, min_complete, flags, nullptr, 0);
    }
    if (to_submit > 0) sq_.note_consumed();
    // The kernel wakes the poller before it waits, so that these two say that it was woken.
    if ((flags & abi::enter_sq_wakeup) != 0 && (answer >= 0 || answer == -EINTR || answer == -ETIME))
        sq_.note_published(tail);
    if (answer >= 0) [[likely]]
        return 0;
    if (nothing_lost(-answer)) ++counters_.retries;
    return -answer;
}

int Ring::poll_slowly() noexcept {
    if (const int code = check_caller(); code != 0) [[unlikely]]
        return code;
    if (!bound_) [[unlikely]]
        if (const int code = bind(); code != 0) return code;
    const int code = enter(Offer::everything, 0, nullptr);
    if (code == 0) [[likely]]
        return 0;
    return nothing_lost(code) || code == ETIME ? 0 : code;
}

int Ring::park_slowly(const std::chrono::nanoseconds* timeout) noexcept {
    if (timeout && timeout->count() <= 0) return wants_kernel() ? poll_slowly() : 0;
    if (const int code = check_caller(); code != 0) return code;
    if (in_flight() == 0) {
        if (!timeout) return 0;
        // Nothing was ever submitted: the ring belongs to no thread yet, and waiting on it would make it this one's (I8).
        if (!bound_) return sleep_out(*timeout), 0;
    }
    if (!bound_)
        if (const int code = bind(); code != 0) return code;
    const auto started = timeout ? monotonic_now() : std::chrono::nanoseconds(0);
    auto left = timeout ? *timeout : std::chrono::nanoseconds(0);
    for (;;) {
        const abi::Timespec ts = to_timespec(left);
        int code = enter(Offer::everything, 1, timeout ? &ts : nullptr);
        if (code == EAGAIN || code == EBUSY) {
            // Nothing was consumed, and an enter waits only once it has consumed all it was offered. So offer nothing
            // and wait for what the kernel already has, if it has something.
            if (in_flight() == sq_.unconsumed(counters_.submitted)) return code;
            code = enter(Offer::nothing, 1, timeout ? &ts : nullptr);
        }
        if (code != 0 && !nothing_lost(code)) return code == ETIME ? 0 : code;
        if (cq_.ready() > 0) return 0;
        if (timeout) {
            left = *timeout - (monotonic_now() - started);
            if (left.count() <= 0) return 0;
        }
    }
}

// --- Letting go (I3) ------------------------------------------------------------------------------------------------

void Ring::destroy(Ring* ring) noexcept {
    // In a child of fork() the ring's memory was never mapped, its addresses may be something else's by now, and so may
    // its descriptors' numbers: nothing of it is touched.
    if (ring->alive_) {
        SQUALL_ASSERT(!ring->cq_.is_lent(), "an Io is destroyed while a Completions of it is alive");
        ring->drain();
        ring->unmap(Buffers::unregister);
    }
    sys::munmap(ring, ring_page_bytes);
}

// Returns when the kernel owes no completion, and so writes to no memory of the caller's any more. Closing the ring would
// only start that, and it ends at some later time.
void Ring::drain() noexcept {
    const std::uint64_t dropped = sq_.close(counters_.submitted, sqpoll_);
    const auto owed = [this, dropped] {
        const std::uint32_t count = cq_.ready();
        counters_.completed += count;
        cq_.lend(count);
        cq_.give_back();
        return in_flight() - dropped;
    };
    if (foreign() && owed() != 0) {
        const bool owner_lives = sys::tgkill(sys::getpid(), owner_tid_, 0) != -ESRCH;
        SQUALL_ASSERT(!owner_lives,
                      "an Io is destroyed on thread %d with %llu operations in flight, and only thread %d, which "
                      "submitted them, can reap them: destroy it there, or reap first",
                      sys::gettid(), static_cast<unsigned long long>(owed()), owner_tid_);
        close_and_wait();
        return;
    }
    for (bool can_cancel = true; owed() != 0;) {
        if (can_cancel) {
            abi::SyncCancelReg cancel{};
            cancel.fd = -1;
            cancel.flags = abi::async_cancel_any | abi::async_cancel_all;
            const int status = sys::io_uring_register(fd_, abi::register_sync_cancel, &cancel, 1);
            // ENOENT: all that is left is past cancelling. EALREADY, ETIME: it is under way. Both end by themselves.
            can_cancel =
                status >= 0 || status == -ENOENT || status == -EALREADY || status == -ETIME || status == -EINTR;
            if (!can_cancel) return close_and_wait();
        }
        // A short wait, so that what was started while the kernel looked for it is cancelled the next time round.
        constexpr abi::Timespec a_moment{0, 10'000'000};
        const int code = enter(Offer::nothing, 1, &a_moment);
        if (code != 0 && code != ETIME && !nothing_lost(code)) return close_and_wait();
    }
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
        // The kernel frees a ring some time after it was closed; what counts against a limit is given back now.
        if (arena_ && buffers == Buffers::unregister) sys::io_uring_register(fd_, abi::unregister_buffers, nullptr, 0);
        if (features_.registered_ring) {
            abi::RsrcUpdate update{static_cast<std::uint32_t>(enter_fd_), 0, 0};
            const int status = sys::io_uring_register(fd_, abi::unregister_ring_fds, &update, 1);
            // It would be a reference to the ring that nobody drops before this thread ends.
            SQUALL_ASSERT(
                status >= 0 || buffers == Buffers::unregister,
                "an Io is destroyed with operations in flight, the kernel may yet write to their buffers, and "
                "it refuses to let go of them (errno %d)",
                -status);
        }
    }
    for (Mapping* const mapping : {&sq_ring_, &cq_ring_, &sqe_array_, &path_array_}) {
        if (mapping->at) sys::munmap(mapping->at, mapping->bytes);
        *mapping = {};
    }
    if (fd_ >= 0) sys::close(fd_);
    fd_ = -1;
    if (hang_up_ >= 0 && buffers == Buffers::unregister) {
        sys::close(hang_up_);
        hang_up_ = -1;
    }
    if (arena_) arena_->rings.fetch_sub(1, std::memory_order_release);
    arena_ = nullptr;
}

}  // namespace squall::detail
