// SPDX-License-Identifier: MIT
//
// Memory that is registered with a ring: which transfers are fixed, and in which of its regions
// their bytes lie. Registering it is lib/register.cpp's. Not API.
#pragma once

#include <cstdint>

#include "squall/config.hpp"

namespace squall::detail {

// Where a transfer's bytes lie decides whether it is fixed.
class RegisteredMemory {
public:
    // The kernel's limit for one registered buffer is 1 GiB, so that memory is cut into regions.
    static constexpr unsigned region_shift = 30;
    static constexpr std::uint64_t region_bytes = std::uint64_t{1} << region_shift;

    RegisteredMemory() = default;
    RegisteredMemory(std::uintptr_t base, std::uint64_t bytes) noexcept
        : base_(base), bytes_(bytes) {}

    // Whether all of [data, data + length) lies in one region. No bytes at all lie in none.
    [[nodiscard]] bool holds(std::uintptr_t data, std::uint64_t length) const noexcept {
        // Before the memory `first` is close to 2^64, and so in no region with a `last` that is
        // inside.
        const std::uint64_t first = data - base_;
        const std::uint64_t last = first + length - 1;
        return length - 1 < region_bytes && last < bytes_ && (first ^ last) >> region_shift == 0;
    }
    [[nodiscard]] std::uint16_t region_of(std::uintptr_t data) const noexcept {
        return static_cast<std::uint16_t>((data - base_) >> region_shift);
    }

private:
    std::uintptr_t base_ = 0;
    std::uint64_t bytes_ = 0;
};

}  // namespace squall::detail
