// SPDX-License-Identifier: MIT
//
// What every other header needs first: the language check, the export macro, and the assertion that
// stays on in every build. It holds no type and no function that a user of squall calls.
#pragma once

#if !defined(__linux__)
#error "squall is io_uring, and io_uring is Linux: this target is something else"
#endif
#if !defined(__LP64__)
#error "squall needs a 64-bit target: the kernel shares 64-bit addresses with it"
#endif
#if !defined(__cplusplus) || __cplusplus < 202002L
#error "squall needs C++20: compile with -std=c++20 or newer (Meson: cpp_std=c++20)"
#endif

// Public symbols stay visible when squall is built as a shared library; everything else is hidden.
#define SQUALL_API __attribute__((visibility("default")))

namespace squall::detail {
// Aborts, with one line that names the place, the expression and the broken rule with its operands:
// see on_abort() in error.hpp.
[[noreturn]] SQUALL_API void assertion_failed(const char* file, int line, const char* expression,
                                              const char* rule, ...)
    __attribute__((format(printf, 4, 5), cold));
}  // namespace squall::detail

// For bugs only, the caller's or squall's own; what the world can do is returned as an Error. It
// does not use <cassert>: whether a storage engine notices that its buffers are in danger must not
// depend on a parent project's NDEBUG.
#define SQUALL_ASSERT(expression, ...)                                                        \
    do {                                                                                      \
        if (!(expression)) [[unlikely]]                                                       \
            ::squall::detail::assertion_failed(__FILE__, __LINE__, #expression, __VA_ARGS__); \
    } while (false)
