// SPDX-License-Identifier: MIT
//
// Fills SQEs: which member lies in which word. It knows no ring. What each operation puts there is
// in io.hpp and, where it takes a path, in lib/paths.cpp. Not API.
#pragma once

#include <cstddef>
#include <cstdint>

#include "squall/abi.hpp"
#include "squall/completion.hpp"
#include "squall/file.hpp"

namespace squall::detail {

// What is kept of a path until the kernel has copied it: PATH_MAX, the terminating zero included.
inline constexpr std::size_t path_slot_bytes = 4096;

// The kernel moves at most so many bytes and reports a short transfer: MAX_RW_COUNT, INT_MAX
// rounded down to a page.
inline constexpr std::size_t transfer_max = 0x7ffff000;

// The first word of an SQE: what is done, how, and to which file.
[[gnu::always_inline]] inline constexpr std::uint8_t sqe_flags(How how) noexcept {
    return static_cast<std::uint8_t>(
        (how.drain ? abi::sqe_io_drain : 0) | (how.link ? abi::sqe_io_link : 0) |
        (how.hard_link ? abi::sqe_io_hardlink : 0) | (how.async ? abi::sqe_async : 0));
}
[[gnu::always_inline]] inline abi::Word about_transfer(abi::Op op, File file, How how) noexcept {
    const abi::Word without_file = abi::op_fd_word(op, sqe_flags(how), 0, how.priority);
    return abi::Word{static_cast<std::uint64_t>(without_file) | file.bits()};
}
// Of what is no transfer, and so has no priority: one is how the kernel is told to refuse it.
[[gnu::always_inline]] inline abi::Word about(abi::Op op, File file, How how) noexcept {
    if (how.is_for_transfers()) how.priority = UINT16_MAX;
    return about_transfer(op, file, how);
}
// Sqe::op_flags of a transfer.
[[gnu::always_inline]] inline constexpr std::uint32_t rw_flags(How how) noexcept {
    return (how.dsync ? abi::rwf_dsync : 0) | (how.sync ? abi::rwf_sync : 0) |
           (how.nowait ? abi::rwf_nowait : 0) | (how.append ? abi::rwf_append : 0) |
           (how.atomic ? abi::rwf_atomic : 0) | (how.uncached ? abi::rwf_dontcache : 0);
}

// A flag that no kernel has, for what is to be refused, and whether a write's SQE is such a one.
inline constexpr std::uint32_t rwf_refused = 1U << 30;
inline bool is_refused(const abi::SqeWords& sqe) noexcept {
    return abi::op_of(sqe.op_fd) == abi::Op::write && sqe.len_flags == abi::word(0, rwf_refused);
}

// The other words, by the names in abi::Sqe.
struct Operands {
    std::uint64_t off = 0;
    std::uint64_t addr = 0;
    std::uint32_t len = 0;
    std::uint32_t op_flags = 0;
    std::uint16_t buf_index = 0;
    std::uint32_t file_index = 0;
};

// Every word of the SQE that any of squall's operations sets is written, once; the last two are
// zero since the kernel mapped them.
inline void fill(abi::SqeWords& sqe, const Operands& operands) noexcept {
    sqe.off = abi::Word{operands.off};
    sqe.addr = abi::Word{operands.addr};
    sqe.len_flags = abi::word(operands.len, operands.op_flags);
    sqe.buffer = abi::buffer_word(operands.buf_index, operands.file_index);
}
inline void fill(abi::SqeWords& sqe, abi::Word op_fd, const Operands& operands,
                 Token token) noexcept {
    sqe.op_fd = op_fd;
    sqe.user_data = abi::Word{token};
    fill(sqe, operands);
}

}  // namespace squall::detail
