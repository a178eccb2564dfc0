// SPDX-License-Identifier: MIT
//
// Making a ring: checking what was asked, finding the best set-up that the kernel has, mapping, asking what it can do, and
// registering. Driving a ring and letting go of it are ring.cpp's.
#include <fcntl.h>

#include <cerrno>
#include <new>
#include <string>
#include <vector>

#include "arena_control.hpp"
#include "explain.hpp"
#include "pair.hpp"
#include "patience.hpp"
#include "squall/arena.hpp"
#include "squall/ring.hpp"
#include "sys.hpp"

namespace squall::detail {

constinit std::atomic<std::int64_t> last_ring_closed{0};

namespace {

constexpr std::uint32_t entries_max = 32768;  // IORING_MAX_ENTRIES
constexpr std::uint32_t cq_entries_max = 2 * entries_max;

// The set-up flags that a kernel may lack, newest first. It answers EINVAL without saying which one it meant, so they
// are given up one by one in this order; giving up an older one first would lose more than the kernel lacks.
struct Rung {
    std::uint32_t drop;
    std::uint32_t instead;
};
constexpr Rung ladder[] = {
    {abi::setup_hybrid_iopoll, 0},                           // 6.13
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
    if (options.polling > Polling::hybrid)
        return refuse("polling is " + text(static_cast<unsigned>(options.polling)),
                      "it must be one of squall::Polling's");
    if (options.file_slots > FileSlot::count_max)
        return refuse("file_slots is " + text(options.file_slots), "it must be 0 to " + text(FileSlot::count_max));
    if (options.sampling.every != 0 && !options.sampling.histograms && !options.sampling.hook)
        return refuse("sampling.every is " + text(options.sampling.every),
                      "it needs histograms or a hook to give the samples to");
    if (options.mode == Mode::sqpoll && (options.sqpoll_idle.count() < 1 || options.sqpoll_idle.count() > UINT32_MAX))
        return refuse("sqpoll_idle is " + std::to_string(options.sqpoll_idle.count()) + " ms",
                      "it must be 1 ms to " + text(UINT32_MAX) + " ms");
    return {};
}

void* page_aligned(long address) noexcept { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }

// Descriptors 0 to 2 are the program's, also where it was started without them: what it puts there later, by dup2(2) as
// daemons do, would take the place of squall's. So one that is to be kept goes elsewhere. An error stays what it is.
int kept_apart(int fd) noexcept {
    constexpr int first = 3;
    if (fd < 0 || fd >= first) return fd;
    const int copy = sys::fcntl(fd, F_DUPFD_CLOEXEC, first);
    sys::close(fd);
    return copy == -EINVAL ? -EMFILE : copy;  // how it says that RLIMIT_NOFILE has nothing from `first` on
}

}  // namespace

Result<Ring*> Ring::create(const IoOptions& options) {
    if (auto checked = check(options); !checked) return checked.error();
    if (options.polling != Polling::none) return Pair::create(options);
    auto ring = make(options, Role::alone, nullptr);
    if (ring) (*ring)->make_front(options);
    return ring;
}

// What is asked of the ring that Io sees, and not of those behind a pair.
void Ring::make_front(const IoOptions& options) noexcept {
    sampler_.options = options.sampling;
#ifdef __OPTIMIZE__
    constexpr bool checks_by_default = false;
#else
    constexpr bool checks_by_default = true;
#endif
    checks_ = features_.checks = options.checks.value_or(checks_by_default);
    if (checks_) state_ = State::watched;
}

Result<Ring*> Ring::make(const IoOptions& options, Role role, const Ring* companion) {
    auto blank = make_blank();
    if (!blank) return blank;
    Ring* const ring = *blank;
    if (auto set_up = ring->set_up(options, role, companion); !set_up) {
        ring->unmap(Buffers::unregister);
        sys::munmap(ring, Ring::page_bytes);
        return set_up.error();
    }
    ring->state_ = State::ordinary;
    return ring;
}

Result<Ring*> Ring::make_blank() {
    const long page = sys::mmap(Ring::page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::is_error(page))
        return explain_mapping(static_cast<int>(-page), "Io::create: mapping 4096 bytes for the ring's state");
    // A fork's child must find zeros here, not a copy: the copy would know indices of a ring that it does not share.
    if (const int wiped = sys::madvise(page_aligned(page), Ring::page_bytes, MADV_WIPEONFORK); wiped < 0) {
        sys::munmap(page_aligned(page), Ring::page_bytes);
        return explain_advising(-wiped, "Io::create: madvise(MADV_WIPEONFORK)");
    }
    return ::new (page_aligned(page)) Ring;
}

Result<void> Ring::set_up(const IoOptions& options, Role role, const Ring* companion) {
    abi::Params params{};
    std::uint32_t flags = best_flags(options);
    if (role == Role::polled) {
        // Its SQEs are used in any order, which takes the index array.
        flags = (flags & ~abi::setup_no_sqarray) | abi::setup_iopoll;
        if (options.polling == Polling::hybrid) flags |= abi::setup_hybrid_iopoll;
        if (options.mode == Mode::sqpoll) flags |= abi::setup_attach_wq;
    }
    features_.setup_flags_asked = flags;
    const RingMemory memory = ring_memory(options);
    const auto attempt_once = [&] {
        params = {};
        params.flags = flags;
        params.cq_entries = options.completion_entries != 0 ? options.completion_entries : 2 * options.entries;
        params.sq_thread_idle = static_cast<std::uint32_t>(options.sqpoll_idle.count());
        params.sq_thread_cpu = options.sqpoll_cpu.value_or(0);
        params.wq_fd = companion ? static_cast<std::uint32_t>(companion->fd_) : 0;
        return sys::io_uring_setup(options.entries, &params);
    };
    const auto attempt = [&] { return patiently(memory.sq_bytes + memory.cq_bytes, attempt_once); };
    int fd = attempt();
    for (const Rung& rung : ladder) {
        if (fd != -EINVAL) break;
        if ((flags & rung.drop) == 0) continue;
        flags = (flags & ~rung.drop) | rung.instead;
        fd = attempt();
    }
    if (fd < 0) return explain_setup(-fd, options);
    if (const int kept = kept_apart(fd); kept >= 0)
        fd_ = kept;
    else
        return explain_keeping_apart(-kept);

    features_.mode = options.mode;
    features_.sq_entries = params.sq_entries;
    features_.cq_entries = params.cq_entries;
    features_.setup_flags = flags;
    features_.kernel_features = params.features;
    features_.single_issuer = (flags & abi::setup_single_issuer) != 0;
    features_.deferred_taskrun = (flags & abi::setup_defer_taskrun) != 0;
    features_.taskrun_flag = (flags & abi::setup_taskrun_flag) != 0;
    features_.no_sqarray = (flags & abi::setup_no_sqarray) != 0;
    features_.io_wait = options.io_wait || (params.features & abi::feat_no_iowait) == 0;
    sqpoll_ = options.mode == Mode::sqpoll;

    for (const Feature& feature : required_features)
        if ((params.features & feature.bit) == 0) return explain_missing(feature.name);
    if (sqpoll_ && (params.features & abi::feat_sqpoll_nonfixed) == 0)
        return explain_missing("IORING_FEAT_SQPOLL_NONFIXED (5.11)");
    if (auto mapped = map(params); !mapped) return mapped;
    if (auto checked = check_operations(); !checked) return checked;
    if (auto registered = register_files(options.file_slots); !registered) return registered;
    if (options.arena)
        if (auto registered = register_arena(*options.arena); !registered) return registered;
    return {};
}

Result<void> Ring::map(const abi::Params& params) {
    const auto map_one = [&params](Mapping& mapping, std::size_t bytes, int fd, std::uint64_t offset) -> Result<void> {
        const auto ring = [&params] {
            return "a ring of " + text(params.sq_entries) + " SQ and " + text(params.cq_entries) + " CQ entries";
        };
        const int kind = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED | MAP_POPULATE;
        const long at = sys::mmap(bytes, PROT_READ | PROT_WRITE, kind, fd, offset);
        if (sys::is_error(at)) return explain_mapping(static_cast<int>(-at), "Io::create: mapping " + ring());
        mapping = {page_aligned(at), bytes};
        // I10: no child writes into its parent's ring
        if (const int kept = sys::madvise(mapping.at, bytes, MADV_DONTFORK); kept < 0)
            return explain_advising(-kept, "Io::create: madvise(MADV_DONTFORK) of " + ring());
        return {};
    };
    const bool single = (params.features & abi::feat_single_mmap) != 0;
    const std::size_t cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(abi::Cqe);
    // Without an index array the SQ ring is only its head, which lies before the CQEs.
    std::size_t sq_bytes =
        features_.no_sqarray ? params.cq_off.cqes : params.sq_off.array + params.sq_entries * sizeof(std::uint32_t);
    if (single && sq_bytes < cq_bytes) sq_bytes = cq_bytes;

    auto mapped = map_one(sq_ring_, sq_bytes, fd_, abi::off_sq_ring);
    if (mapped && !single) mapped = map_one(cq_ring_, cq_bytes, fd_, abi::off_cq_ring);
    if (mapped) mapped = map_one(sqe_array_, params.sq_entries * sizeof(abi::SqeWords), fd_, abi::off_sqes);
    // Address space only: a page of it becomes real when the first path is copied there.
    if (mapped) mapped = map_one(path_array_, params.sq_entries * (2 * path_slot_bytes), -1, 0);
    if (!mapped) return mapped;

    char* const sq = static_cast<char*>(sq_ring_.at);
    char* const cq = single ? sq : static_cast<char*>(cq_ring_.at);
    const auto word = [](char* base, std::uint32_t offset) { return reinterpret_cast<std::uint32_t*>(base + offset); };
    if (!features_.no_sqarray) {
        // Slot i is always entry i, so that the array is written once and never looked at again (but by a Pair).
        sq_array_ = word(sq, params.sq_off.array);
        for (std::uint32_t i = 0; i < params.sq_entries; ++i) sq_array_[i] = i;
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

// Registers the file table. Its first place holds one end of a pipe that nothing else holds: the kernel drops it when it
// has let go of the ring for good, and then the other end hangs up. That is what close_and_wait() waits for. It must be
// done now, since later only the submitting thread may register, and that thread may be gone by then.
Result<void> Ring::register_files(std::uint32_t slots) {
    // Opening into a slot cannot be asked for by name, but this came in the same release; zeros change nothing.
    std::uint32_t no_change[2] = {0, 0};
    if (slots > 0 && sys::io_uring_register(fd_, abi::register_iowq_max_workers, no_change, 2) == -EINVAL)
        return explain_missing("opening into a file slot (5.15)", 15);
    int ends[2] = {-1, -1};
    if (const int status = sys::pipe2(ends, O_CLOEXEC); status < 0) return explain_pipe(-status);
    std::vector<std::int32_t> table(std::size_t{slots} + 1, -1);
    table[0] = ends[1];
    const int status = sys::io_uring_register(fd_, abi::register_files, table.data(), slots + 1);
    sys::close(ends[1]);
    if (const int kept = kept_apart(ends[0]); kept >= 0)
        hang_up_ = kept;
    else
        return explain_keeping_apart(-kept);
    if (status < 0) return explain_table(-status, slots);
    features_.file_slots = slots;
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
    const int status = patiently(control->bytes, [&] {
        return sys::io_uring_register(fd_, abi::register_buffers, regions.data(),
                                      static_cast<std::uint32_t>(regions.size()));
    });
    if (status < 0) return explain_arena(-status, control->bytes, regions.size());
    arena_base_ = reinterpret_cast<std::uintptr_t>(control->base);
    arena_bytes_ = control->bytes;
    arena_ = control;
    // Relaxed: the arena is there, and so is a keeper.
    control->keepers.fetch_add(1, std::memory_order_relaxed);
    features_.fixed_regions = static_cast<std::uint32_t>(regions.size());
    return {};
}

}  // namespace squall::detail
