// SPDX-License-Identifier: MIT
//
// Operations of an Io as what a coroutine awaits: an Op's address is its token, and its completion resumes who waits for
// it. Just what the writer needs; reaping is the writer's loop.
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <utility>

#include "squall/squall.hpp"

namespace squall::power {

// One operation. It stays where it is until it was completed and awaited.
class Op {
public:
    Op() = default;
    Op(const Op&) = delete;
    Op& operator=(const Op&) = delete;

    [[nodiscard]] Token token() noexcept { return reinterpret_cast<std::uintptr_t>(this); }
    static Op& of(Token token) noexcept { return *reinterpret_cast<Op*>(static_cast<std::uintptr_t>(token)); }
    // Who is to be resumed, if anybody waits already.
    std::coroutine_handle<> complete(std::int32_t res) noexcept {
        res_ = res;
        done_ = true;
        return waiter_;
    }

    [[nodiscard]] bool await_ready() const noexcept { return done_; }
    void await_suspend(std::coroutine_handle<> waiter) noexcept { waiter_ = waiter; }
    std::int32_t await_resume() noexcept {
        waiter_ = nullptr;
        done_ = false;  // it may be used again
        return res_;
    }

private:
    std::coroutine_handle<> waiter_;
    std::int32_t res_ = 0;
    bool done_ = false;
};

// A coroutine that begins when it is awaited, and then resumes who awaits it; or when it is started, by itself.
class Task {
public:
    struct promise_type {
        std::coroutine_handle<> then = std::noop_coroutine();

        Task get_return_object() noexcept { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
        static std::suspend_always initial_suspend() noexcept { return {}; }
        struct Last {
            static bool await_ready() noexcept { return false; }
            static std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> ended) noexcept {
                return ended.promise().then;
            }
            static void await_resume() noexcept {}
        };
        static Last final_suspend() noexcept { return {}; }
        static void return_void() noexcept {}
        [[noreturn]] static void unhandled_exception() noexcept { std::terminate(); }
    };

    Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
    Task& operator=(Task&&) = delete;
    ~Task() {
        if (coroutine_) coroutine_.destroy();
    }

    void start() { coroutine_.resume(); }

    [[nodiscard]] static bool await_ready() noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> then) noexcept {
        coroutine_.promise().then = then;
        return coroutine_;
    }
    static void await_resume() noexcept {}

private:
    explicit Task(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}
    std::coroutine_handle<promise_type> coroutine_;
};

}  // namespace squall::power
