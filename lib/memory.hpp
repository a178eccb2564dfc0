// SPDX-License-Identifier: MIT
//
// Memory to be registered with rings: one mapping, of the pages that were asked for.
#pragma once

#include <cstddef>
#include <string>

#include "squall/error.hpp"
#include "squall/options.hpp"

namespace squall::detail {

struct Block {
    std::byte* at = nullptr;
    std::size_t bytes = 0;
    std::size_t page_size = 0;
    Pages pages = Pages::base;
    int error = 0;  // a positive errno when `at` is null
};

// Maps and touches at least `wanted` bytes, in whole pages.
Block map_block(std::size_t wanted, Pages pages);
// Why that was refused, in words.
Error explain_block(int code, const std::string& doing, Pages pages, std::size_t wanted);

std::size_t base_page() noexcept;
constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) noexcept {
    return (bytes + unit - 1) / unit * unit;
}

}  // namespace squall::detail
