// SPDX-License-Identifier: MIT
//
// What squall says when the world refuses: Error, made for the operator who reads it at three in
// the morning, and Result<T>, a small subset of C++23's std::expected that works without exceptions
// or RTTI. An operation's outcome is not an Error but a Completion's `res`, exactly as the kernel
// gave it; Completion::error() explains that one on request. And where the line goes that a broken
// rule ends the program with: on_abort().
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "squall/config.hpp"

namespace squall {

// An errno value, what was being done, and what to do about it. Making one allocates (it is never
// made on the I/O path); reading one does not.
// Thread rule: a value like std::string, one thread at a time.
class SQUALL_API Error {
public:
    // No error: code() is 0 and the object is false.
    Error() = default;
    // `code` is a positive errno value. `doing` names the attempt with its operands; `advice` is a
    // sentence or two that say why it was refused and what can be done, and may be empty.
    Error(int code, std::string doing, const std::string& advice = {});

    // True when there is an error.
    explicit operator bool() const noexcept { return code_ != 0; }
    // The positive errno value, as in errno(3); 0 when there is no error.
    [[nodiscard]] int code() const noexcept { return code_; }
    // What was being done, with its operands: "io_uring_setup(entries=256)".
    [[nodiscard]] const std::string& doing() const noexcept { return doing_; }
    // One line: what was being done, the errno's name and meaning, why, and what to do. Empty when
    // there is no error.
    [[nodiscard]] const std::string& message() const noexcept { return message_; }

private:
    int code_ = 0;
    std::string doing_;
    std::string message_;
};

template <class T>
class Result;

// What a Result<T> can be made of beside a T and an Error: what converts to a T, and to nothing
// else that a Result is made of.
template <class U, class T>
concept ValueOf = std::is_convertible_v<U&&, T> && !std::is_convertible_v<U&&, Error> &&
                  !std::is_same_v<std::remove_cvref_t<U>, Result<T>> &&
                  !std::is_same_v<std::remove_cvref_t<U>, T>;

// A value or the Error that stood in its way. value(), * and -> require a value, error() requires
// an error; asking for the other one is a bug in the caller and aborts with a message.
template <class T>
class [[nodiscard]] Result {
public:
    using value_type = T;
    using error_type = Error;

    Result(T value) : value_(std::move(value)) {}
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): no copy of a Result is one
    template <ValueOf<T> U>
    Result(U&& value) : value_(std::in_place, std::forward<U>(value)) {}
    Result(Error error) : error_(std::move(error)) {
        SQUALL_ASSERT(error_.code() != 0, "a failed Result has an errno");
    }

    [[nodiscard]] bool has_value() const noexcept { return value_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }

    [[nodiscard]] T& value() & { return expect_value(), *value_; }
    [[nodiscard]] const T& value() const& { return expect_value(), *value_; }
    // From a Result about to die a value, not a reference as std::expected has it: `for (auto& name
    // : *io.list_dir(p))` would otherwise walk a vector that is gone.
    [[nodiscard]] T value() && { return expect_value(), *std::move(value_); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }
    template <class U>
    [[nodiscard]] T value_or(U&& other) const& {
        return has_value() ? *value_ : static_cast<T>(std::forward<U>(other));
    }
    template <class U>
    [[nodiscard]] T value_or(U&& other) && {
        return has_value() ? *std::move(value_) : static_cast<T>(std::forward<U>(other));
    }

    [[nodiscard]] const Error& error() const& { return expect_error(), error_; }
    [[nodiscard]] Error error() && { return expect_error(), std::move(error_); }

private:
    void expect_value() const {
        SQUALL_ASSERT(value_.has_value(), "the Result holds an error: %s",
                      error_.message().c_str());
    }
    void expect_error() const {
        SQUALL_ASSERT(!value_.has_value(), "the Result holds a value, not an error");
    }

    std::optional<T> value_;
    Error error_;
};

// Success without a value, or the Error.
template <>
class [[nodiscard]] Result<void> {
public:
    using value_type = void;
    using error_type = Error;

    Result() = default;
    Result(Error error) : error_(std::move(error)) {
        SQUALL_ASSERT(error_.code() != 0, "a failed Result has an errno");
    }

    [[nodiscard]] bool has_value() const noexcept { return !error_; }
    explicit operator bool() const noexcept { return has_value(); }
    void operator*() const { value(); }
    void value() const {
        SQUALL_ASSERT(has_value(), "the Result holds an error: %s", error_.message().c_str());
    }
    [[nodiscard]] const Error& error() const& {
        SQUALL_ASSERT(!has_value(), "the Result holds a value, not an error");
        return error_;
    }

private:
    Error error_;
};

// --- Where a program ends that broke a rule -----------------------------------------------------

// A caller's bug that would lose data or memory ends the program, in every build, by std::abort(),
// with one line: the place, the expression, and the rule with its operands. What an abort does goes
// through these three.

// The line of the first broken rule, zero-terminated, cut where it is longer; empty before. It is
// there before anything else is done with it, and so in every core dump: `print squall::abort_line`
// in gdb, `x/s &'squall::abort_line'` where there is no debug information, `strings CORE | grep
// ^squall:` where there are no symbols. For reading alone.
inline constexpr std::size_t abort_line_bytes = 1024;
extern SQUALL_API char abort_line[abort_line_bytes];

// What is given the line, without a newline, in place of descriptor 2. It runs on the thread that
// broke the rule, which may be any that calls squall, with the program in a state that is not to be
// trusted: it may write(2), and had better not allocate or lock. When it returns, the program is
// aborted; so it is, without another call of it, when it breaks a rule of squall's itself. Threads
// that break one meanwhile wait for it, but not for longer than ten seconds, and end the program
// then.
using AbortHook = void (*)(const char* line) noexcept;

// Says where the line goes from now on, and returns what was said before; null, as it is at first:
// to descriptor 2, whatever file that is, by one writev(2) of the line and a newline, without
// stdio's lock and without an allocation. A program that may have anything else there, such as one
// that was started with its standard descriptors closed and then opened a database, should say. Any
// thread, at any time.
SQUALL_API AbortHook on_abort(AbortHook hook) noexcept;

}  // namespace squall
