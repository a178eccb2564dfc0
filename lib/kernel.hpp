// SPDX-License-Identifier: MIT
//
// The kernel seam: what answers a ring's system calls. Each ring, and the front above it, has a
// pointer to one; null is Linux, whose calls sys.hpp makes inline. The ring, its mappings and
// descriptors, files and the clock go through it. What is the process's own (anonymous memory,
// advice on memory, limits, threads, signals, /proc) goes to `host`.
#pragma once

#include <cstdint>

namespace squall::sys {

// Not copied: whatever it stands for is known by where it is.
class Kernel {
public:
    // Answers system call `number` with its six arguments, zero where unused, as Linux would: 0 or
    // more, or -errno. On any thread that may make the call.
    using Call = long (*)(Kernel& self, long number, std::uintptr_t a, std::uintptr_t b,
                          std::uintptr_t c, std::uintptr_t d, std::uintptr_t e,
                          std::uintptr_t f) noexcept;
    constexpr explicit Kernel(Call answers) noexcept : call(answers) {}
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;

    const Call call;
};

// What answers for the process itself, and for each ring that is made while it is this. Null, but
// in a test program. No ring is to be made by another thread while it is set.
extern Kernel* host;

}  // namespace squall::sys
