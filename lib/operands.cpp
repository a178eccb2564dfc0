// SPDX-License-Identifier: MIT
//
// The operations that take no path and are more than a line in io.hpp: their SQEs, and what becomes
// of one that the kernel does not have.
#include <fcntl.h>

#include <algorithm>
#include <new>

#include "clock.hpp"
#include "message.hpp"
#include "operations.hpp"
#include "squall/io.hpp"
#include "sys.hpp"

namespace squall {

namespace {

// The kernel has 32 bits for a length that a caller may have in 64: an operation with a buffer
// index, which none of these takes, is refused with EINVAL.
constexpr std::uint16_t refused_if_long(std::uint64_t length) noexcept {
    return length > UINT32_MAX ? 1 : 0;
}

// Whether all pieces lie in one region of registered memory. One without bytes lies in none: the
// kernel takes it from no fixed buffer, nor more in all than one transfer can move.
[[gnu::always_inline]] inline bool are_registered(const detail::RegisteredMemory& memory,
                                                  std::span<const struct ::iovec> pieces) noexcept {
    const auto start = [](const struct ::iovec& piece) {
        return reinterpret_cast<std::uintptr_t>(piece.iov_base);
    };
    std::uint64_t total = 0;
    for (const struct ::iovec& piece : pieces) {
        total += piece.iov_len;
        if (total > detail::transfer_max || !memory.holds(start(piece), piece.iov_len) ||
            memory.region_of(start(piece)) != memory.region_of(start(pieces.front())))
            return false;
    }
    return total > 0;
}

}  // namespace

// `memory`'s regions begin at `first` in the kernel's table.
[[gnu::always_inline]] inline bool Io::fill_pieces(const detail::RegisteredMemory& memory,
                                                   std::uint16_t first,
                                                   std::span<const struct ::iovec> pieces,
                                                   std::uint64_t offset, How how) noexcept {
    detail::Front& front = *front_;
    abi::Word& op_fd = front.slot().op_fd;
    detail::Operands operands = {
        .off = offset,
        .addr = address(pieces.data()),
        .len = static_cast<std::uint32_t>(std::min<std::size_t>(pieces.size(), UINT32_MAX)),
        .op_flags = detail::rw_flags(how)};
    const abi::Op fixed_op =
        abi::op_of(op_fd) == abi::Op::readv ? abi::Op::readv_fixed : abi::Op::writev_fixed;
    if (!how.unregistered && has(fixed_op) && are_registered(memory, pieces)) {
        op_fd = abi::with_op(op_fd, fixed_op);
        operands.buf_index =
            static_cast<std::uint16_t>(first + memory.region_of(address(pieces.front().iov_base)));
        ++front.counters().fixed;
    } else {
        ++front.counters().unregistered;
    }
    return finish(operands);
}

bool Io::finish_pieces(std::span<const struct ::iovec> pieces, std::uint64_t offset,
                       How how) noexcept {
    return fill_pieces(front_->memory(), 0, pieces, offset, how);
}

bool Io::pieces_among_parts(abi::Word op_fd, std::span<const struct ::iovec> pieces,
                            std::uint64_t offset, Token token, How how) noexcept {
    detail::Front& front = *front_;
    if (!front.has_parts() || !front.has_room_among_parts(op_fd)) return false;
    front.slot().op_fd = op_fd;
    front.slot().user_data = abi::Word{token};
    detail::RegisteredMemory part;
    const int index = pieces.empty() ? -1 : front.part_at(address(pieces.front().iov_base), part);
    return fill_pieces(part, static_cast<std::uint16_t>(std::max(index, 0)), pieces, offset, how);
}

bool Io::transfer_among_parts(detail::Front& front, abi::Word op_fd, std::uintptr_t address,
                              std::size_t size, std::uint64_t offset, Token token,
                              std::uint32_t flags, bool unregistered) noexcept {
    if (!front.has_parts() || !front.has_room_among_parts(op_fd)) return false;
    detail::RegisteredMemory part;
    const int index = front.part_at(address, part);
    const abi::Op fixed_op =
        abi::op_of(op_fd) == abi::Op::read ? abi::Op::read_fixed : abi::Op::write_fixed;
    if (unregistered || !part.holds(address, size))
        fill_plain(front, op_fd, address, size, offset, token, flags);
    else
        fill_fixed(front, abi::with_op(op_fd, fixed_op), address, size, offset, token, flags,
                   static_cast<std::uint16_t>(index));
    front.push();
    return true;
}

bool Io::finish_range(std::uint64_t offset, std::uint64_t length, std::uint32_t op_flags) noexcept {
    return finish({.off = offset,
                   .len = static_cast<std::uint32_t>(length),
                   .op_flags = op_flags,
                   .buf_index = refused_if_long(length)});
}

bool Io::finish_advise(std::span<std::byte> memory, int advice) noexcept {
    return finish({.addr = address(memory.data()),
                   .len = static_cast<std::uint32_t>(memory.size()),
                   .op_flags = static_cast<std::uint32_t>(advice),
                   .buf_index = refused_if_long(memory.size())});
}

bool Io::finish_timeout(std::chrono::nanoseconds after) noexcept {
    // The kernel copies it when it consumes the SQE, as it does a path.
    auto* const kept = ::new (front_->path_slot(0)) abi::Timespec(detail::to_timespec(after));
    // Older kernels (5.10) would take a negative time for a very long one.
    const std::uint16_t refused = after.count() < 0 ? 1 : 0;
    return finish({.addr = address(kept), .len = 1, .buf_index = refused});
}

bool Io::finish_cancel(std::uint32_t flags) noexcept {
    if (!front_->features().cancels_many) return finish_refused();
    return finish({.op_flags = flags});
}

bool Io::finish_truncate(std::uint64_t size, How how) noexcept {
    if (has(abi::Op::ftruncate)) return finish({.off = size});
    detail::Front& front = *front_;
    abi::Word& op_fd = front.slot().op_fd;
    if (how.priority != 0 || how.is_for_transfers()) {
        // It has a priority, which the kernel refuses of an fsync as it would of this.
        op_fd = abi::with_op(op_fd, abi::Op::fsync);
        return finish({});
    }
    // What has an order among others cannot be done now, nor can a slot be named; and what failed
    // could not be said in time where a drain holds completions back.
    constexpr unsigned in_order = abi::sqe_io_drain | abi::sqe_io_link | abi::sqe_io_hardlink;
    if ((abi::flags_of(op_fd) & (abi::sqe_fixed_file | in_order)) != 0 || !front.may_answer())
        return finish_refused();
    const int status = sys::ftruncate(front.kernel(), static_cast<int>(abi::fd_of(op_fd)), size);
    op_fd = abi::op_fd_word(abi::Op::nop, 0, UINT32_MAX);
    finish({});
    return status == 0 || front.answer_last(status);
}

bool Io::finish_refused() noexcept {
    // A write to squall's own pipe, at index 0 of each ring's table, with a flag that no kernel
    // has: EOPNOTSUPP, in place, and the end of its chain.
    abi::Word& op_fd = front_->slot().op_fd;
    op_fd = abi::op_fd_word(abi::Op::write, abi::flags_of(op_fd) | abi::sqe_fixed_file, 0);
    return finish({.op_flags = detail::rwf_refused});
}

Error Io::lacking(abi::Op op) const {
    if (has(op)) return {};
    const auto* const row = std::find_if(detail::operations.begin(), detail::operations.end(),
                                         [op](const auto& known) { return known.op == op; });
    if (row == detail::operations.end())
        return Error(EINVAL, "Io::lacking(" + detail::text(static_cast<unsigned>(op)) + ")",
                     "it is none of squall's operations");
    return detail::explain_lacking(std::string("io.") + row->call, row->name);
}

}  // namespace squall
