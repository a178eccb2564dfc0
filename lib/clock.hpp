// SPDX-License-Identifier: MIT
//
// The clock that timeouts and samples are measured with: CLOCK_MONOTONIC, through the vDSO and so without a system call.
#pragma once

#include <chrono>

namespace squall::detail {

inline std::chrono::nanoseconds monotonic_now() noexcept { return std::chrono::steady_clock::now().time_since_epoch(); }

}  // namespace squall::detail
