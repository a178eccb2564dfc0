// SPDX-License-Identifier: MIT
//
// See stand_in.hpp.
#include "stand_in.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "squall/queue.hpp"
#include "sys.hpp"

namespace squall::stand_in {

RingMemory* ring_memory = nullptr;
abi::Sqe* sqe_memory = nullptr;

namespace {

long real_call(long number, std::uintptr_t a, std::uintptr_t b, std::uintptr_t c, std::uintptr_t d, std::uintptr_t e,
               std::uintptr_t f) noexcept {
    const long result = ::syscall(number, a, b, c, d, e, f);
    return result == -1 ? -errno : result;
}

long set_up(std::uint32_t entries, abi::Params& params) noexcept {
    if (entries != sq_size || params.cq_entries != cq_size) return -EINVAL;
    params.sq_entries = sq_size;
    params.features = abi::feat_single_mmap | abi::feat_nodrop | abi::feat_submit_stable | abi::feat_ext_arg;
    params.sq_off.head = offsetof(RingMemory, sq_head);
    params.sq_off.tail = offsetof(RingMemory, sq_tail);
    params.sq_off.ring_mask = offsetof(RingMemory, sq_mask);
    params.sq_off.ring_entries = offsetof(RingMemory, sq_entries);
    params.sq_off.flags = offsetof(RingMemory, sq_flags);
    params.cq_off.head = offsetof(RingMemory, cq_head);
    params.cq_off.tail = offsetof(RingMemory, cq_tail);
    params.cq_off.ring_mask = offsetof(RingMemory, cq_mask);
    params.cq_off.ring_entries = offsetof(RingMemory, cq_entries);
    params.cq_off.cqes = offsetof(RingMemory, cqes);
    return ring_fd;
}

long map(std::size_t bytes, std::uint64_t offset) noexcept {
    const long at = real_call(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                              static_cast<std::uintptr_t>(-1), 0);
    if (sys::is_error(at)) return at;
    void* const memory = reinterpret_cast<void*>(at);
    if (offset == abi::off_sqes)
        sqe_memory = static_cast<abi::Sqe*>(memory);
    else
        ring_memory = static_cast<RingMemory*>(memory);
    if (offset == abi::off_sq_ring) {
        ring_memory->sq_entries = sq_size;
        ring_memory->sq_mask = sq_size - 1;
        ring_memory->cq_entries = cq_size;
        ring_memory->cq_mask = cq_size - 1;
    }
    return at;
}

long answer_register(std::uint32_t code, void* arg) noexcept {
    if (code == abi::register_probe) {
        auto* const probe = static_cast<abi::Probe*>(arg);
        probe->last_op = 63;
        for (abi::ProbeOp& op : probe->ops) op.flags = abi::op_supported;
    }
    if (code == abi::register_ring_fds) return 1;
    return 0;
}

// The kernel's part of an enter, and no more: every SQE becomes a CQE whose result says that all its bytes moved.
long consume(std::uint32_t count) noexcept {
    RingMemory& ring = *ring_memory;
    const std::uint32_t sq_head = ring.sq_head;
    const std::uint32_t cq_tail = ring.cq_tail;
    for (std::uint32_t i = 0; i < count; ++i) {
        const abi::Sqe& sqe = sqe_memory[(sq_head + i) & (sq_size - 1)];
        ring.cqes[(cq_tail + i) & (cq_size - 1)] = {sqe.user_data, static_cast<std::int32_t>(sqe.len), 0};
    }
    detail::store_release(&ring.sq_head, sq_head + count);
    detail::store_release(&ring.cq_tail, cq_tail + count);
    return count;
}

// Answers in the kernel's place, through the seam of lib/kernel.hpp.
[[gnu::noinline]] long answer(sys::Kernel&, long number, std::uintptr_t a, std::uintptr_t b, std::uintptr_t c,
                              std::uintptr_t d, std::uintptr_t e, std::uintptr_t f) noexcept {
    if (number == sys::nr_io_uring_enter) [[likely]]
        return consume(static_cast<std::uint32_t>(b));
    const auto is_ring = [](std::uintptr_t word) { return static_cast<int>(word) == ring_fd; };
    if (number == sys::nr_io_uring_setup)
        return set_up(static_cast<std::uint32_t>(a), *reinterpret_cast<abi::Params*>(b));
    if (number == sys::nr_io_uring_register)
        return answer_register(static_cast<std::uint32_t>(b), reinterpret_cast<void*>(c));
    if (number == SYS_mmap && is_ring(e)) return map(b, f);
    if (number == SYS_close && is_ring(a)) return 0;
    return real_call(number, a, b, c, d, e, f);
}
constinit sys::Kernel stand_in(&answer);
[[maybe_unused]] const sys::Kernel* const installed = sys::host = &stand_in;

}  // namespace

}  // namespace squall::stand_in
