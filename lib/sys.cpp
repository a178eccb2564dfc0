// SPDX-License-Identifier: MIT
//
// The one place where squall enters the kernel. Only call() is defined here, so that a program which defines it itself
// replaces this whole file when it links the static library.
#include "sys.hpp"

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <unistd.h>

#include <cerrno>
#endif

namespace squall::sys {

long call(long number, std::uintptr_t a, std::uintptr_t b, std::uintptr_t c, std::uintptr_t d, std::uintptr_t e,
          std::uintptr_t f) noexcept {
#if defined(__x86_64__)
    // The kernel clobbers rcx (return address) and r11 (flags), and nothing else; it may read and write any memory.
    long result;
    register std::uintptr_t r10 __asm__("r10") = d;
    register std::uintptr_t r8 __asm__("r8") = e;
    register std::uintptr_t r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register std::uintptr_t x0 __asm__("x0") = a;
    register std::uintptr_t x1 __asm__("x1") = b;
    register std::uintptr_t x2 __asm__("x2") = c;
    register std::uintptr_t x3 __asm__("x3") = d;
    register std::uintptr_t x4 __asm__("x4") = e;
    register std::uintptr_t x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
    return static_cast<long>(x0);
#else
    // libc's convention ends here: it is turned into ours, and the caller's errno is left as it was.
    const int saved = errno;
    const long result = ::syscall(number, a, b, c, d, e, f);
    const long answer = result == -1 ? -errno : result;
    errno = saved;
    return answer;
#endif
}

}  // namespace squall::sys
