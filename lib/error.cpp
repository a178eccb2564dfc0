// SPDX-License-Identifier: MIT
//
// Errors in words: Error itself, what a completion's -errno means to a storage engine, what a ring's failure means, and
// the last line of a program that broke a rule. What is refused while a ring is made is explained in explain.cpp.
#include "squall/error.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "clock.hpp"
#include "explain.hpp"
#include "squall/completion.hpp"
#include "sys.hpp"

namespace squall {

namespace {

// strerrorname_np is younger (glibc 2.32) than some systems that squall is for, and musl has none.
const char* errno_name(int code) noexcept {
    switch (code) {
#define SQUALL_NAME(e) \
    case e:            \
        return #e
        SQUALL_NAME(EPERM);
        SQUALL_NAME(ENOENT);
        SQUALL_NAME(EINTR);
        SQUALL_NAME(EIO);
        SQUALL_NAME(ENXIO);
        SQUALL_NAME(EBADF);
        SQUALL_NAME(EAGAIN);
        SQUALL_NAME(ENOMEM);
        SQUALL_NAME(EACCES);
        SQUALL_NAME(EFAULT);
        SQUALL_NAME(EBUSY);
        SQUALL_NAME(EEXIST);
        SQUALL_NAME(EXDEV);
        SQUALL_NAME(ENODEV);
        SQUALL_NAME(ENOTDIR);
        SQUALL_NAME(EISDIR);
        SQUALL_NAME(EINVAL);
        SQUALL_NAME(ENFILE);
        SQUALL_NAME(EMFILE);
        SQUALL_NAME(ETXTBSY);
        SQUALL_NAME(EFBIG);
        SQUALL_NAME(ENOSPC);
        SQUALL_NAME(ESPIPE);
        SQUALL_NAME(EROFS);
        SQUALL_NAME(EMLINK);
        SQUALL_NAME(EPIPE);
        SQUALL_NAME(ENAMETOOLONG);
        SQUALL_NAME(ENOSYS);
        SQUALL_NAME(ENOTEMPTY);
        SQUALL_NAME(ELOOP);
        SQUALL_NAME(EOVERFLOW);
        SQUALL_NAME(EBADFD);
        SQUALL_NAME(EOPNOTSUPP);
        SQUALL_NAME(ETIMEDOUT);
        SQUALL_NAME(EALREADY);
        SQUALL_NAME(ESTALE);
        SQUALL_NAME(EDQUOT);
        SQUALL_NAME(ECANCELED);
        SQUALL_NAME(EOWNERDEAD);
        SQUALL_NAME(ETIME);
#undef SQUALL_NAME
        default:
            return nullptr;
    }
}

// strerror_r is thread-safe, and there are two: GNU's returns the text, POSIX's (musl) fills the buffer and returns 0.
[[maybe_unused]] const char* text_of(const char* text, const char*) noexcept { return text; }
[[maybe_unused]] const char* text_of(int status, const char* buffer) noexcept {
    return status == 0 ? buffer : "unknown error";
}

std::string with_errno(const std::string& doing, int code, const std::string& advice) {
    char buffer[128];
    const char* const words = text_of(::strerror_r(code, buffer, sizeof(buffer)), buffer);
    const char* const name = errno_name(code);
    std::string line = doing + ": " + (name ? name : "errno " + std::to_string(code)) + " (" + words + ")";
    if (!advice.empty()) line += ": " + advice;
    return line;
}

}  // namespace

Error::Error(int code, std::string doing, const std::string& advice)
    : code_(code), doing_(std::move(doing)), message_(with_errno(doing_, code, advice)) {
    SQUALL_ASSERT(code > 0, "an Error needs a positive errno value, not %d", code);
}

Error Completion::error() const {
    if (ok()) return {};
    const int code = detail::errno_of(res);
    return Error(code, "operation with token " + std::to_string(token), detail::advice_for_result(code));
}

namespace detail {

const char* advice_for_result(int code) noexcept {
    switch (code) {
        case EINVAL:
            return "the kernel refuses the arguments; of a transfer with O_DIRECT, the address, offset or size is most "
                   "likely misaligned: compare them with squall::direct_io_alignment(fd), or ask "
                   "squall::transfer_error(); of an open with O_DIRECT, the file system has none";
        case EIO:
            return "the device failed; after a failed write or fsync the data is to be taken as lost, and an fsync "
                   "that then succeeds does not bring it back";
        case ENOSPC:
            return "the file system or its device is full: a write that says so wrote nothing, and after an fsync that "
                   "does the data is to be taken as lost";
        case EDQUOT:
            return "the user's or project's quota is used up";
        case EFBIG:
            return "beyond the file system's largest file or RLIMIT_FSIZE";
        case EROFS:
            return "the file system is read-only; the kernel makes it so after an error of its own: see the kernel log";
        case EBADF:
            return "not an open file descriptor, or not open for this";
        case EFAULT:
            return "the memory is not mapped (a buffer was freed early?), or the submitting thread has exited";
        case ECANCELED:
            return "it was cancelled before it was done: the kernel could make no thread to run it, since RLIMIT_NPROC "
                   "or the pids.max of the cgroup is reached or signals came too fast, or the submitting thread has "
                   "exited";
        case EMFILE:
            return "the process has no file descriptor free: raise RLIMIT_NOFILE (`ulimit -n`) or close some";
        case ENFILE:
            return "the machine has no file descriptor free: raise the sysctl fs.file-max";
        case EACCES:
        case EPERM:
            return "the process lacks the permission, or a security module refuses it";
        case EOPNOTSUPP:
            return "the file system or device does not do this";
        case ENAMETOOLONG:
            return "a path must be shorter than 4096 bytes, and a name in it at most what the file system takes (255, "
                   "usually)";
        case EAGAIN:
        case ENOMEM:
            return "the kernel is short of memory or of requests to the device: try again later";
        default:
            return "";
    }
}

Error ring_error(int code) {
    if ((code & while_enabling) != 0) return explain_enabling(code & ~while_enabling);
    const std::string doing = "driving the ring";
    switch (code) {
        case EEXIST:
            return Error(
                code, doing,
                "this Io belongs to another thread, the first that submitted on it: call it there, or create it with "
                "Mode::plain to hand it from thread to thread");
        case ESTALE:
            return Error(code, doing,
                         "this Io was created before a fork(), by the parent process: the child must create its own");
        case EAGAIN:
        case EBUSY:
            return Error(code, doing,
                         "the kernel has no memory for another request, and nothing is in flight whose end would free "
                         "some: what "
                         "is queued stays queued, try again later");
        case EPERM:
        case EACCES:
        case ENOSYS:
            return Error(code, doing,
                         "a seccomp filter or a security module now refuses io_uring_enter: allow io_uring_setup, "
                         "io_uring_enter and "
                         "io_uring_register");
        case EOWNERDEAD:
            return Error(code, doing, "the SQPOLL thread has ended: create a new Io");
        case EBADF:
        case EBADFD:
        case EOPNOTSUPP:  // the number is another file's by now
            return Error(code, doing, "the ring's file descriptor was closed by something other than squall");
        default:
            return Error(code, doing);
    }
}

namespace {

constinit std::atomic<AbortHook> abort_hook{nullptr};
constinit std::atomic<int> aborting_thread{0};

void write_to_stderr(const char* line) noexcept {
    // A reader that is gone must not end the program by SIGPIPE: an abort leaves a core dump.
    std::uint64_t blocked = 0;
    sys::set_signal_mask(~std::uint64_t{0}, &blocked);
    sys::set_signal_mask(blocked | std::uint64_t{1} << (SIGPIPE - 1), nullptr);
    const abi::Iovec parts[] = {{reinterpret_cast<std::uintptr_t>(line), std::strlen(line)},
                                {reinterpret_cast<std::uintptr_t>("\n"), 1}};
    sys::writev(2, parts, 2);
}

}  // namespace

// Without allocating: the program's state is not to be trusted any more.
void assertion_failed(const char* file, int line, const char* expression, const char* rule, ...) {
    const int thread = sys::gettid();
    int first = 0;
    if (!aborting_thread.compare_exchange_strong(first, thread)) {
        // The first line is the one that counts, and its thread ends this one too. Unless it hangs, or has jumped away.
        if (first != thread) sleep_out(std::chrono::seconds(10));
        std::abort();
    }
    const int place = std::snprintf(abort_line, sizeof(abort_line), "squall: %s:%d: %s: ", file, line, expression);
    const auto begun = static_cast<std::size_t>(place < 0 ? 0 : place);
    if (begun < sizeof(abort_line)) {
        std::va_list operands;
        va_start(operands, rule);
        std::vsnprintf(abort_line + begun, sizeof(abort_line) - begun, rule, operands);
        va_end(operands);
    }
    const AbortHook hook = abort_hook.load(std::memory_order_acquire);
    hook ? hook(abort_line) : write_to_stderr(abort_line);
    std::abort();
}

}  // namespace detail

char abort_line[abort_line_bytes];

AbortHook on_abort(AbortHook hook) noexcept {
    // What the hook rests on was made before it was handed in, and is seen by the thread that runs it.
    return detail::abort_hook.exchange(hook, std::memory_order_acq_rel);
}

}  // namespace squall
