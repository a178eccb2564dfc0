// SPDX-License-Identifier: MIT
//
// Error itself, and the last line of a program that broke a rule. What an errno means where squall
// meets it is message.cpp's.
#include "squall/error.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "clock.hpp"
#include "message.hpp"
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
        SQUALL_NAME(EINPROGRESS);
        SQUALL_NAME(ENODATA);
        SQUALL_NAME(ENOLCK);
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

// strerror_r is thread-safe, and there are two: GNU's returns the text, POSIX's (musl) fills the
// buffer and returns 0.
[[maybe_unused]] const char* text_of(const char* text, const char*) noexcept { return text; }
[[maybe_unused]] const char* text_of(int status, const char* buffer) noexcept {
    return status == 0 ? buffer : "unknown error";
}

std::string with_errno(const std::string& doing, int code, const std::string& advice) {
    char buffer[128];
    const char* const words = text_of(::strerror_r(code, buffer, sizeof(buffer)), buffer);
    const char* const name = errno_name(code);
    std::string line =
        doing + ": " + (name ? name : "errno " + std::to_string(code)) + " (" + words + ")";
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
    return Error(code, "operation with token " + std::to_string(token),
                 detail::advice_for_result(code));
}

namespace detail {

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
        // The first line is the one that counts, and its thread ends this one too. Unless it hangs,
        // or has jumped away.
        if (first != thread) sleep_out(sys::host, std::chrono::seconds(10));
        std::abort();
    }
    const int place = std::snprintf(abort_line, sizeof(abort_line), "squall: %s:%d: %s: ", file,
                                    line, expression);
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
    // What the hook rests on was made before it was handed in, and is seen by the thread that runs
    // it.
    return detail::abort_hook.exchange(hook, std::memory_order_acq_rel);
}

}  // namespace squall
