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

// The first word of an SQE: what is done, how, and to which file.
inline abi::Word about(abi::Op op, File file, How how) noexcept {
    const abi::Word without_file = abi::op_fd_word(op, how.async ? abi::sqe_async : 0, 0);
    return abi::Word{static_cast<std::uint64_t>(without_file) | file.bits()};
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
