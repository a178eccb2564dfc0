// SPDX-License-Identifier: MIT
//
// Time, for timeouts and samples: CLOCK_MONOTONIC, through the vDSO and so without a system call.
#pragma once

#include <chrono>

#include "squall/abi.hpp"
#include "sys.hpp"

namespace squall::detail {

inline std::chrono::nanoseconds monotonic_now() noexcept { return std::chrono::steady_clock::now().time_since_epoch(); }

inline abi::Timespec to_timespec(std::chrono::nanoseconds duration) noexcept {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
    return {seconds.count(), (duration - seconds).count()};
}

// Sleeps for all of `timeout`, signals or not.
inline void sleep_out(std::chrono::nanoseconds timeout) noexcept {
    const auto started = monotonic_now();
    for (auto left = timeout; left.count() > 0; left = timeout - (monotonic_now() - started)) {
        const abi::Timespec ts = to_timespec(left);
        if (sys::ppoll(nullptr, 0, &ts) == 0) return;  // it is over
    }
}

}  // namespace squall::detail
