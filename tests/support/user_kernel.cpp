// SPDX-License-Identifier: MIT
//
// See user_kernel.hpp.
#include "user_kernel.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace squall::test {

UserKernel::Ring::Ring(std::uint32_t entries, const abi::Params& asked, const UserKernel& kernel) : params(asked) {
    params.sq_entries = std::bit_ceil(entries);
    params.cq_entries =
        (asked.flags & abi::setup_cqsize) != 0 ? std::bit_ceil(asked.cq_entries) : 2 * params.sq_entries;
    params.features = kernel.features;
    const bool single = (kernel.features & abi::feat_single_mmap) != 0;
    const bool behind = single && kernel.array_behind_cqes;
    const auto cqe_bytes = static_cast<std::uint32_t>(params.cq_entries * sizeof(abi::Cqe));
    const auto array_bytes = static_cast<std::uint32_t>(params.sq_entries * sizeof(std::uint32_t));
    constexpr std::uint32_t start = 0x200;
    params.sq_off = {0x40, 0x80, 0, 0, 0xc0, 0, behind ? start + cqe_bytes : start, 0, 0};
    params.cq_off = {0x100, 0x140, 0, 0, 0, single && !behind ? start + array_bytes : start, 0, 0, 0};
    cq_area_ = single ? abi::off_sq_ring : abi::off_cq_ring;

    bytes_ = abi::off_sqes + params.sq_entries * sizeof(abi::Sqe);
    fd = ::memfd_create("ring", MFD_CLOEXEC);
    void* at = MAP_FAILED;
    if (fd >= 0 && ::ftruncate(fd, static_cast<off_t>(bytes_)) == 0)
        at = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED) std::abort();
    memory_ = static_cast<char*>(at);
}

UserKernel::Ring::~Ring() { ::munmap(memory_, bytes_); }

std::uint32_t UserKernel::Ring::consume(std::uint32_t count) {
    count = std::min(count, __atomic_load_n(&sq_tail(), __ATOMIC_ACQUIRE) - sq_head());
    for (std::uint32_t i = 0; i < count; ++i) {
        std::uint32_t slot = (sq_head() + i) & (params.sq_entries - 1);
        if ((params.flags & abi::setup_no_sqarray) == 0)
            slot = word(abi::off_sq_ring, params.sq_off.array + slot * static_cast<std::uint32_t>(sizeof(slot)));
        std::memcpy(&consumed.emplace_back(), memory_ + abi::off_sqes + slot * sizeof(abi::Sqe), sizeof(abi::Sqe));
    }
    __atomic_store_n(&sq_head(), sq_head() + count, __ATOMIC_RELEASE);
    return count;
}

void UserKernel::Ring::post(Token token, std::int32_t res, std::uint32_t flags) {
    const std::uint32_t slot = cq_tail() & (params.cq_entries - 1);
    const abi::Cqe cqe{token, res, flags};
    std::memcpy(memory_ + cq_area_ + params.cq_off.cqes + slot * sizeof(cqe), &cqe, sizeof(cqe));
    __atomic_store_n(&cq_tail(), cq_tail() + 1, __ATOMIC_RELEASE);
}

long UserKernel::Ring::finish(std::uint32_t count) {
    const std::size_t before = consumed.size();
    count = consume(count);
    for (std::size_t i = before; i < consumed.size(); ++i) post(consumed[i].user_data);
    return count;
}

UserKernel::UserKernel() : intercept_([this](Call& call) { return answer(call); }) {}
UserKernel::~UserKernel() = default;

std::size_t UserKernel::registered(std::uint32_t code) const {
    return static_cast<std::size_t>(
        std::count_if(registers.begin(), registers.end(), [code](const Register& what) { return what.code == code; }));
}

std::optional<long> UserKernel::answer(Call& call) {
    const auto number = [&call](int which) { return static_cast<std::uint32_t>(call.args[which]); };
    if (call.number == nr_setup) return set_up(number(0), *reinterpret_cast<abi::Params*>(call.args[1]));
    if (call.number == nr_enter) {
        Enter made{static_cast<int>(call.args[0]), number(1), number(2), number(3), std::nullopt};
        if ((made.flags & abi::enter_ext_arg) != 0 && call.args[5] == sizeof(abi::GeteventsArg)) {
            const auto& arg = *reinterpret_cast<const abi::GeteventsArg*>(call.args[4]);
            if (arg.sigmask == 0 && arg.sigmask_sz == 0 && arg.min_wait_usec == 0)
                made.timeout = *reinterpret_cast<const abi::Timespec*>(arg.ts);
        }
        return enter(made);
    }
    if (call.number == nr_register)
        return do_register({static_cast<int>(call.args[0]), number(1), call.args[2], number(3)});
    const auto given = on_other_call ? on_other_call(call) : std::nullopt;
    // A ring that is given another number is that ring.
    if (given || call.number != SYS_fcntl || call.args[1] != F_DUPFD_CLOEXEC) return given;
    Ring* const ring = ring_of(static_cast<int>(call.args[0]), false);
    const long copy = real(call);
    if (ring && copy >= 0) ring->fd = static_cast<int>(copy);
    return copy;
}

long UserKernel::set_up(std::uint32_t entries, abi::Params& params) {
    setups.push_back(params);
    setup_entries.push_back(entries);
    if (on_setup)
        if (const auto given = on_setup(params)) return *given;
    if ((params.flags & unknown_flags) != 0) {
        std::memset(&params, 0xee, sizeof(params));  // what a refusal leaves there is nobody's to use
        return -EINVAL;
    }
    rings_.push_back(std::make_unique<Ring>(entries, params, *this));
    params = rings_.back()->params;
    return rings_.back()->fd;
}

long UserKernel::enter(const Enter& made) {
    enters.push_back(made);
    if (on_enter)
        if (const auto given = on_enter(made)) return *given;
    Ring* const ring = ring_of(made.fd, (made.flags & abi::enter_registered_ring) != 0);
    if (!ring) return -EBADF;
    return ring->is_polled_by_a_thread() ? wake(made) : ring->finish(made.to_submit);
}

long UserKernel::wake(const Enter& made) {
    if (made.to_submit > 0) return made.to_submit;
    return (made.flags & abi::enter_getevents) != 0 ? 0 : -EOWNERDEAD;
}

UserKernel::Ring* UserKernel::ring_of(int fd, bool registered) {
    // The newest first: the descriptor of one that is gone may be another's by now.
    for (auto ring = rings_.rbegin(); ring != rings_.rend(); ++ring)
        if (fd == (registered ? (*ring)->index : (*ring)->fd)) return ring->get();
    return nullptr;
}

long UserKernel::do_register(const Register& what) {
    registers.push_back(what);
    if (on_register)
        if (const auto given = on_register(what)) return *given;
    switch (what.code) {
        case abi::register_probe: {
            auto& probe = what.as<abi::Probe>();
            probe.last_op = last_op;
            for (std::uint32_t op = 0; op <= last_op && op < what.count; ++op)
                probe.ops[op] = {static_cast<std::uint8_t>(op), 0, abi::op_supported, 0};
            return 0;
        }
        case abi::register_ring_fds: {
            Ring* const ring = ring_of(what.fd, false);
            if (!ring) return -EBADF;
            if (ring_index < 0) return ring_index;
            int free = ring_index;
            while (ring_of(free, true)) ++free;
            ring->index = free;
            what.as<abi::RsrcUpdate>().offset = static_cast<std::uint32_t>(free);
            return 1;
        }
        case abi::unregister_ring_fds:
            if (Ring* const ring = ring_of(static_cast<int>(what.as<abi::RsrcUpdate>().offset), true)) ring->index = -1;
            return 0;
        case abi::register_sync_cancel:
            return -ENOENT;
        default:
            return 0;
    }
}

}  // namespace squall::test
