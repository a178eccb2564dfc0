// SPDX-License-Identifier: MIT
//
// Making a ring: finding the best set-up that the kernel has, and mapping it. What it can do and
// what is registered with it is register.cpp's, what was asked is checked by front.cpp.
#include <cerrno>
#include <string>

#include "kept_apart.hpp"
#include "message.hpp"
#include "patience.hpp"
#include "ring.hpp"
#include "squall/io.hpp"
#include "sys.hpp"

namespace squall::detail {

constinit std::atomic<std::int64_t> locked_memory_returned{0};

namespace {

// The set-up flags that a kernel may lack, newest first. It answers EINVAL without saying which one
// it meant, so they are given up one by one in this order; giving up an older one first would lose
// more than the kernel lacks.
struct Fallback {
    std::uint32_t drop;
    std::uint32_t instead;
};
constexpr Fallback fallbacks[] = {
    {abi::setup_hybrid_iopoll, 0},  // 6.13
    {abi::setup_no_sqarray, 0},     // 6.6
    {abi::setup_defer_taskrun,
     abi::setup_coop_taskrun},      // 6.1; the next best way not to be interrupted
    {abi::setup_single_issuer, 0},  // 6.0
    {abi::setup_coop_taskrun | abi::setup_taskrun_flag, 0},  // 5.19
    {abi::setup_submit_all, 0},                              // 5.18
};

std::uint32_t best_flags(const IoOptions& options) noexcept {
    const std::uint32_t always = abi::setup_cqsize | abi::setup_clamp | abi::setup_r_disabled |
                                 abi::setup_submit_all | abi::setup_no_sqarray;
    switch (options.mode) {
        case Mode::deferred:
            return always | abi::setup_single_issuer | abi::setup_defer_taskrun |
                   abi::setup_taskrun_flag;
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

}  // namespace

Result<void> Ring::set_up(const IoOptions& options, Role role, const Ring* companion) {
    abi::Params params{};
    std::uint32_t flags = best_flags(options);
    if (role == Role::polled) {
        // Its SQEs are used in any order, which takes the index array.
        flags = (flags & ~abi::setup_no_sqarray) | abi::setup_iopoll;
        if (options.polling == Polling::hybrid) flags |= abi::setup_hybrid_iopoll;
        if (options.mode == Mode::sqpoll) flags |= abi::setup_attach_wq;
    }
    int shared = companion ? companion->fd_.get() : -1;
    if (options.sqpoll_with && !companion) {
        shared = options.sqpoll_with->front_->ring_fd();
        flags |= abi::setup_attach_wq;
    }
    features_.setup_flags_asked = flags;
    const RingMemory memory = ring_memory(options);
    const auto attempt_once = [&] {
        params = {};
        params.flags = flags;
        params.cq_entries =
            options.completion_entries != 0 ? options.completion_entries : 2 * options.entries;
        params.sq_thread_idle = static_cast<std::uint32_t>(options.sqpoll_idle.count());
        params.sq_thread_cpu = options.sqpoll_cpu.value_or(0);
        params.wq_fd = shared < 0 ? 0 : static_cast<std::uint32_t>(shared);
        return sys::io_uring_setup(kernel_, options.entries, &params);
    };
    const auto attempt = [&] { return patiently(memory.sq_bytes + memory.cq_bytes, attempt_once); };
    int fd = attempt();
    for (const Fallback& fallback : fallbacks) {
        if (fd != -EINVAL) break;
        if ((flags & fallback.drop) == 0) continue;
        flags = (flags & ~fallback.drop) | fallback.instead;
        fd = attempt();
    }
    if (fd < 0) return explain_setup(-fd, options);
    fd_ = Descriptor(kernel_, fd);
    if (const int status = keep_apart(kernel_, fd_); status < 0)
        return explain_keeping_apart(-status);

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
    features_.keeps_chains = shared < 0;
    sqpoll_ = options.mode == Mode::sqpoll;

    for (const Feature& feature : required_features)
        if ((params.features & feature.bit) == 0) return explain_missing(feature.name);
    if (sqpoll_ && (params.features & abi::feat_sqpoll_nonfixed) == 0)
        return explain_missing("IORING_FEAT_SQPOLL_NONFIXED (5.11)");
    if (auto mapped = map(params); !mapped) return mapped;
    if (auto checked = check_operations(); !checked) return checked;
    if (auto registered = register_files(options.file_slots); !registered) return registered;
    if (options.arena) return register_arena(*options.arena, options.arena_parts, companion);
    return {};
}

Result<void> Ring::map(const abi::Params& params) {
    const auto map_one = [&params](Mapping& mapping, std::size_t bytes, sys::Kernel* kernel, int fd,
                                   std::uint64_t offset) -> Result<void> {
        const auto ring = [&params] {
            return "a ring of " + text(params.sq_entries) + " SQ and " + text(params.cq_entries) +
                   " CQ entries";
        };
        const int kind =
            fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED | MAP_POPULATE;
        const long at = sys::mmap(kernel, bytes, PROT_READ | PROT_WRITE, kind, fd, offset);
        if (sys::is_error(at))
            return explain_mapping(static_cast<int>(-at), "Io::create: mapping " + ring());
        mapping = Mapping(kernel, at, bytes);
        // I10: no child writes into its parent's ring
        if (const int status = sys::madvise(mapping.get(), bytes, MADV_DONTFORK); status < 0)
            return explain_advising(-status, "Io::create: madvise(MADV_DONTFORK) of " + ring());
        return {};
    };
    const bool single = (params.features & abi::feat_single_mmap) != 0;
    const std::size_t cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(abi::Cqe);
    // Without an index array the SQ ring is only its head, which lies before the CQEs.
    std::size_t sq_bytes = features_.no_sqarray
                               ? params.cq_off.cqes
                               : params.sq_off.array + params.sq_entries * sizeof(std::uint32_t);
    if (single && sq_bytes < cq_bytes) sq_bytes = cq_bytes;

    const int fd = fd_.get();
    auto mapped = map_one(sq_ring_, sq_bytes, kernel_, fd, abi::off_sq_ring);
    if (mapped && !single) mapped = map_one(cq_ring_, cq_bytes, kernel_, fd, abi::off_cq_ring);
    if (mapped)
        mapped = map_one(sqe_memory_, params.sq_entries * sizeof(abi::SqeWords), kernel_, fd,
                         abi::off_sqes);
    // Address space only: a page of it becomes real when the first path is copied there.
    if (mapped)
        mapped = map_one(path_memory_, params.sq_entries * (2 * path_slot_bytes), sys::host, -1, 0);
    if (!mapped) return mapped;

    std::byte* const sq = sq_ring_.get();
    std::byte* const cq = single ? sq : cq_ring_.get();
    const auto word = [](std::byte* base, std::uint32_t offset) {
        return reinterpret_cast<std::uint32_t*>(base + offset);
    };
    if (!features_.no_sqarray) {
        // SQE i is always entry i, so that the array is written once and never looked at again (but
        // of a polled ring).
        sq_array_ = word(sq, params.sq_off.array);
        for (std::uint32_t i = 0; i < params.sq_entries; ++i) sq_array_[i] = i;
    }
    queues_.sq = SubmissionQueue(
        {word(sq, params.sq_off.head), word(sq, params.sq_off.tail), word(sq, params.sq_off.flags),
         reinterpret_cast<abi::SqeWords*>(sqe_memory_.get()), params.sq_entries},
        0);
    queues_.cq = CompletionQueue({word(cq, params.cq_off.head), word(cq, params.cq_off.tail),
                                  reinterpret_cast<Completion*>(cq + params.cq_off.cqes),
                                  params.cq_entries});
    return {};
}

}  // namespace squall::detail
