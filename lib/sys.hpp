// SPDX-License-Identifier: MIT
//
// System calls, raw: each returns a value of 0 or more, or -errno, and the variable errno is
// neither read nor written. This is the one convention; nothing above knows another. Every call
// goes through call(), to the kernel that it is given, where null is Linux; functions without a
// kernel ask `host`: see kernel.hpp. (The time of Linux is read without a call.)
// Linux's calls are inlined, since a return that the processor mispredicts after the kernel costs
// as much as the rest of the ring; looking whether it is Linux is one load and a branch that is
// never taken. Each call that fills memory tells MemorySanitizer so. What the kernel reads as well
// as fills, such as a ring's parameters, the caller has initialised.
#pragma once

#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <unistd.h>
#endif

#include "kernel.hpp"
#include "squall/abi.hpp"
#include "squall/msan.hpp"

struct statx;
struct statfs;

namespace squall::sys {

// Makes system call `number`.
[[gnu::always_inline]] inline long call(Kernel* kernel, long number, std::uintptr_t a,
                                        std::uintptr_t b, std::uintptr_t c, std::uintptr_t d,
                                        std::uintptr_t e, std::uintptr_t f) noexcept {
    if (kernel) [[unlikely]]
        return kernel->call(*kernel, number, a, b, c, d, e, f);
#if defined(__x86_64__)
    // The kernel clobbers rcx (return address) and r11 (flags), and nothing else; it may read and
    // write any memory.
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
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory", "cc");
    return static_cast<long>(x0);
#else
    // libc's convention ends here: it is turned into ours, and the caller's errno is left as it
    // was.
    const int saved = errno;
    const long result = ::syscall(number, a, b, c, d, e, f);
    const long answer = result == -1 ? -errno : result;
    errno = saved;
    return answer;
#endif
}

// The same numbers on every architecture that squall supports; older libc headers lack the names.
inline constexpr long nr_io_uring_setup = 425;
inline constexpr long nr_io_uring_enter = 426;
inline constexpr long nr_io_uring_register = 427;

namespace detail {
template <class T>
std::uintptr_t word(T* pointer) noexcept {
    return reinterpret_cast<std::uintptr_t>(pointer);
}
inline std::uintptr_t word(int value) noexcept {
    return static_cast<std::uintptr_t>(static_cast<std::intptr_t>(value));
}
template <class... Words>
long invoke(Kernel* kernel, long number, Words... words) noexcept {
    static_assert(sizeof...(words) <= 6);
    const std::uintptr_t a[6] = {static_cast<std::uintptr_t>(words)...};
    return call(kernel, number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
// Both pass a call's result on: a count of bytes that it filled, and 0 or more where it filled all
// `bytes`.
inline long filled(void* at, long result) noexcept {
    if (result > 0) squall::detail::kernel_wrote(at, static_cast<std::size_t>(result));
    return result;
}
inline int filled_if_done(void* at, std::size_t bytes, long result) noexcept {
    if (result >= 0) squall::detail::kernel_wrote(at, bytes);
    return static_cast<int>(result);
}
}  // namespace detail

inline int io_uring_setup(Kernel* kernel, std::uint32_t entries, abi::Params* params) noexcept {
    return static_cast<int>(
        detail::invoke(kernel, nr_io_uring_setup, entries, detail::word(params)));
}
inline int io_uring_enter(Kernel* kernel, int fd, std::uint32_t to_submit,
                          std::uint32_t min_complete, std::uint32_t flags, const void* arg,
                          std::size_t arg_bytes) noexcept {
    return static_cast<int>(call(kernel, nr_io_uring_enter, detail::word(fd), to_submit,
                                 min_complete, flags, detail::word(arg), arg_bytes));
}
// Tried again when a signal comes first, which is never the caller's concern here: kernels before
// 5.19 wait for the ring to be quiet before they register anything, and give up at any signal.
// Bounded, should something answer EINTR for ever.
inline int io_uring_register(Kernel* kernel, int fd, std::uint32_t code, const void* arg,
                             std::uint32_t count) noexcept {
    int status = 0;
    for (int tries = 0; tries < 10'000; ++tries) {
        status = static_cast<int>(detail::invoke(kernel, nr_io_uring_register, detail::word(fd),
                                                 code, detail::word(arg), count));
        if (status != -EINTR) break;
    }
    return status;
}

inline bool is_error(long result) noexcept { return result < 0 && result >= -4095; }
// The address, or -errno: told apart by is_error(), since half of all addresses would be negative
// as a number.
inline long mmap(Kernel* kernel, std::size_t bytes, int protection, int flags, int fd,
                 std::uint64_t offset) noexcept {
    const long at = detail::invoke(kernel, SYS_mmap, 0U, bytes, detail::word(protection),
                                   detail::word(flags), detail::word(fd), offset);
    if (!is_error(at))
        squall::detail::kernel_wrote(reinterpret_cast<void*>(static_cast<std::uintptr_t>(at)),
                                     bytes);
    return at;
}
inline int munmap(Kernel* kernel, void* at, std::size_t bytes) noexcept {
    return static_cast<int>(detail::invoke(kernel, SYS_munmap, detail::word(at), bytes));
}
inline int madvise(void* at, std::size_t bytes, int advice) noexcept {
    return static_cast<int>(
        detail::invoke(host, SYS_madvise, detail::word(at), bytes, detail::word(advice)));
}

inline int openat(Kernel* kernel, int directory, const char* path, int flags,
                  unsigned mode) noexcept {
    return static_cast<int>(detail::invoke(kernel, SYS_openat, detail::word(directory),
                                           detail::word(path), detail::word(flags), mode));
}
inline int openat(Kernel* kernel, const char* path, int flags, unsigned mode) noexcept {
    return openat(kernel, abi::at_fdcwd, path, flags, mode);
}
inline int mkdirat(Kernel* kernel, int directory, const char* path, unsigned mode) noexcept {
    return static_cast<int>(
        detail::invoke(kernel, SYS_mkdirat, detail::word(directory), detail::word(path), mode));
}
inline int close(Kernel* kernel, int fd) noexcept {
    return static_cast<int>(detail::invoke(kernel, SYS_close, detail::word(fd)));
}
inline long read(Kernel* kernel, int fd, void* into, std::size_t bytes) noexcept {
    return detail::filled(
        into, detail::invoke(kernel, SYS_read, detail::word(fd), detail::word(into), bytes));
}
inline long write(Kernel* kernel, int fd, const void* from, std::size_t bytes) noexcept {
    return detail::invoke(kernel, SYS_write, detail::word(fd), detail::word(from), bytes);
}
inline long writev(int fd, const abi::Iovec* parts, int count) noexcept {
    return detail::invoke(host, SYS_writev, detail::word(fd), detail::word(parts),
                          detail::word(count));
}
inline long getdents64(Kernel* kernel, int fd, void* into, std::size_t bytes) noexcept {
    return detail::filled(
        into, detail::invoke(kernel, SYS_getdents64, detail::word(fd), detail::word(into), bytes));
}
inline int statx(Kernel* kernel, int fd, const char* path, int flags, unsigned mask,
                 struct ::statx* out) noexcept {
    return detail::filled_if_done(
        out, squall::detail::statx_bytes,
        detail::invoke(kernel, SYS_statx, detail::word(fd), detail::word(path), detail::word(flags),
                       mask, detail::word(out)));
}
// For requests that answer with a T.
template <class T>
int ioctl(Kernel* kernel, int fd, unsigned long request, T* out) noexcept {
    return detail::filled_if_done(
        out, sizeof(*out),
        detail::invoke(kernel, SYS_ioctl, detail::word(fd), request, detail::word(out)));
}
inline int fcntl(Kernel* kernel, int fd, int command, int arg = 0) noexcept {
    return static_cast<int>(detail::invoke(kernel, SYS_fcntl, detail::word(fd),
                                           detail::word(command), detail::word(arg)));
}
// For commands that read what `argument` points at.
template <class T>
int fcntl(Kernel* kernel, int fd, int command, const T* argument) noexcept {
    return static_cast<int>(detail::invoke(kernel, SYS_fcntl, detail::word(fd),
                                           detail::word(command), detail::word(argument)));
}
inline int fstatfs(Kernel* kernel, int fd, struct ::statfs* out) noexcept {
    return detail::filled_if_done(
        out, squall::detail::statfs_bytes,
        detail::invoke(kernel, SYS_fstatfs, detail::word(fd), detail::word(out)));
}
inline long copy_file_range(Kernel* kernel, int from, std::uint64_t* from_offset, int to,
                            std::uint64_t* to_offset, std::size_t bytes) noexcept {
    return detail::invoke(kernel, SYS_copy_file_range, detail::word(from),
                          detail::word(from_offset), detail::word(to), detail::word(to_offset),
                          bytes, 0U);
}
inline int ftruncate(Kernel* kernel, int fd, std::uint64_t size) noexcept {
    return static_cast<int>(detail::invoke(kernel, SYS_ftruncate, detail::word(fd), size));
}
inline int pipe2(Kernel* kernel, int (&fds)[2], int flags) noexcept {
    return detail::filled_if_done(
        fds, sizeof(fds),
        detail::invoke(kernel, SYS_pipe2, detail::word(fds), detail::word(flags)));
}
inline int eventfd2(Kernel* kernel, unsigned count, int flags) noexcept {
    return static_cast<int>(detail::invoke(kernel, SYS_eventfd2, count, detail::word(flags)));
}
inline int ppoll(Kernel* kernel, void* pollfds, unsigned count,
                 const abi::Timespec* timeout) noexcept {
    return static_cast<int>(detail::invoke(kernel, SYS_ppoll, detail::word(pollfds), count,
                                           detail::word(timeout), 0U, 0U));
}
inline int prlimit(int resource, std::uint64_t (&old)[2]) noexcept {
    return detail::filled_if_done(
        old, sizeof(old),
        detail::invoke(host, SYS_prlimit64, 0U, detail::word(resource), 0U, detail::word(old)));
}
template <class Data>
int capget(void* header, Data& data) noexcept {
    return detail::filled_if_done(
        &data, sizeof(data),
        detail::invoke(host, SYS_capget, detail::word(header), detail::word(&data)));
}
inline int uname(void* names) noexcept {
    return static_cast<int>(detail::invoke(host, SYS_uname, detail::word(names)));
}
inline int getpid() noexcept { return static_cast<int>(detail::invoke(host, SYS_getpid)); }
// Signal 0 asks whether the thread is there.
inline int tgkill(int process, int thread, int signal) noexcept {
    return static_cast<int>(detail::invoke(host, SYS_tgkill, detail::word(process),
                                           detail::word(thread), detail::word(signal)));
}
// Which signals this thread blocks, a bit for each; `before`: those that it blocked.
inline int set_signal_mask(std::uint64_t blocked, std::uint64_t* before) noexcept {
    constexpr int sig_setmask = 2;
    return detail::filled_if_done(
        before, before ? sizeof(*before) : 0,
        detail::invoke(host, SYS_rt_sigprocmask, detail::word(sig_setmask), detail::word(&blocked),
                       detail::word(before), sizeof(blocked)));
}
// CLOCK_MONOTONIC and CLOCK_REALTIME; Linux's through the vDSO, and so without a system call.
namespace detail {
inline std::chrono::nanoseconds clock(Kernel* kernel, int which) noexcept {
    abi::Timespec time{};
    invoke(kernel, SYS_clock_gettime, word(which), word(&time));
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}
}  // namespace detail
inline std::chrono::nanoseconds now(Kernel* kernel) noexcept {
    if (!kernel) [[likely]]
        return std::chrono::steady_clock::now().time_since_epoch();
    return detail::clock(kernel, CLOCK_MONOTONIC);
}
inline std::chrono::nanoseconds time_of_day(Kernel* kernel) noexcept {
    if (!kernel) [[likely]]
        return std::chrono::system_clock::now().time_since_epoch();
    return detail::clock(kernel, CLOCK_REALTIME);
}
inline int gettid() noexcept { return static_cast<int>(detail::invoke(host, SYS_gettid)); }

}  // namespace squall::sys
