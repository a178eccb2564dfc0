// SPDX-License-Identifier: MIT
//
// The words of errors, but for those that stand where they arise: from an errno at a known place to
// an Error that an operator can act on. It looks at the machine (sysctl, limits, capabilities) only
// after something was refused, so that success costs nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "squall/error.hpp"
#include "squall/options.hpp"

namespace squall::detail {

inline std::string text(std::uint64_t number) { return std::to_string(number); }

// "name(fd=5)": a call on a descriptor, for Error.
inline std::string call_on(const char* name, int fd) {
    return std::string(name) + "(fd=" + std::to_string(fd) + ")";
}
// io_uring_setup was refused. `code` is a positive errno here and below.
Error explain_setup(int code, const IoOptions& options);
// IORING_REGISTER_BUFFERS of an arena of `bytes` was refused.
Error explain_arena(int code, std::uint64_t bytes, std::size_t regions);
// The same of so many bytes, whatever was about to be done with them.
Error explain_memory(int code, const std::string& doing, std::uint64_t bytes);
// Another io_uring_register was refused.
Error explain_register(int code, const char* what);
// No Waker could be made.
Error explain_waker(int code);
// A table of so many file slots was refused.
Error explain_table(int code, std::uint32_t slots);
// Enabling the ring was.
Error explain_enabling(int code);
// The ring works but lacks what `name` says, which Linux has since 5.`minor`.
Error explain_missing(const char* name, unsigned minor = 11);
// The kernel has no operation `name`, IORING_OP_ less that, with its release, for the call `doing`.
Error explain_lacking(const std::string& doing, const char* name);
// pipe2 was refused.
Error explain_pipe(int code);
// A descriptor that the kernel gave could not be moved above those of standard input, output and
// error.
Error explain_keeping_apart(int code);
// The errno of a completion that failed. The kernel has none that is not the negative of its `res`,
// but whoever plays the kernel may say INT32_MIN.
constexpr int errno_of(std::int32_t res) noexcept { return res == INT32_MIN ? INT32_MAX : -res; }
// What a completion's -errno most likely means to a storage engine, in a sentence; "" when there is
// nothing to add.
const char* advice_for_result(int code) noexcept;
// A mapping of ordinary pages was refused to `doing`.
Error explain_mapping(int code, const std::string& doing);
// madvise was refused, which keeps memory from a forked child.
Error explain_advising(int code, const std::string& doing);

// The limit on locked memory; none where this process may lock all it likes.
std::optional<std::uint64_t> memlock_limit() noexcept;
// What a ring takes of the kernel's memory, and of RLIMIT_MEMLOCK on those that count it: its SQEs
// and its CQEs, each in whole pages, and in one piece where the kernel is to be quick.
struct RingMemory {
    std::uint64_t sq_bytes;
    std::uint64_t cq_bytes;
};
RingMemory ring_memory(const IoOptions& options) noexcept;

}  // namespace squall::detail
