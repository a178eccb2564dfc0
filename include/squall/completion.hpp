// SPDX-License-Identifier: MIT
//
// Token and Completion: one finished operation, the CQE as the kernel wrote it. The range of them
// that poll() and park() return is completions.hpp's.
#pragma once

#include <cstdint>

#include "squall/config.hpp"
#include "squall/error.hpp"

namespace squall {

// The caller's name for an operation, the kernel's user_data. Any value; squall never interprets
// one.
using Token = std::uint64_t;

// One finished operation: the CQE as the kernel wrote it.
struct Completion {
    Token token;
    std::int32_t res;     // the operation's result, 0 or more, or a negative errno
    std::uint32_t flags;  // IORING_CQE_F_*; none is set for squall's operations

    [[nodiscard]] bool ok() const noexcept { return res >= 0; }
    // What `res` means, in words for an operator; no error when res >= 0. Allocates. For a read or
    // write that failed or came up short, transfer_error() in io.hpp also looks at the file and the
    // buffer.
    [[nodiscard]] SQUALL_API Error error() const;
};
static_assert(sizeof(Completion) == 16);

}  // namespace squall
