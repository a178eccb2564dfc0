// SPDX-License-Identifier: MIT
//
// Waiting on the clock of a kernel: CLOCK_MONOTONIC.
#pragma once

#include <chrono>

#include "squall/abi.hpp"
#include "sys.hpp"

namespace squall::detail {

inline abi::Timespec to_timespec(std::chrono::nanoseconds duration) noexcept {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
    return {seconds.count(), (duration - seconds).count()};
}

// Sleeps for all of `timeout`, signals or not.
inline void sleep_out(sys::Kernel* kernel, std::chrono::nanoseconds timeout) noexcept {
    const auto started = sys::now(kernel);
    for (auto left = timeout; left.count() > 0; left = timeout - (sys::now(kernel) - started)) {
        const abi::Timespec ts = to_timespec(left);
        if (sys::ppoll(kernel, nullptr, 0, &ts) == 0) return;  // it is over
    }
}

}  // namespace squall::detail
