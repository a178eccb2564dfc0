// SPDX-License-Identifier: MIT
//
// What an arena knows about itself, shared by BufferArena, its leases and the rings it is registered with. It stays
// where it is when the BufferArena moves, in pages that fork() wipes in the child: there `base` is null and nothing is
// free.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "squall/options.hpp"

namespace squall::detail {

struct ArenaControl {
    std::byte* base = nullptr;
    std::size_t bytes = 0;  // of the mapping at base
    std::size_t buffer_size = 0;
    std::size_t count = 0;
    std::size_t page_size = 0;
    std::size_t control_bytes = 0;  // of the mapping that holds this and `next`
    Pages pages = Pages::base;
    std::atomic<std::uint32_t> rings{0};  // registered with, now

    // The free buffers, a stack: `head` is the first one's number plus one (0: none is free) in the low half and a
    // count of changes in the high half; next[i] is the same low half for what lies under buffer i.
    alignas(64) std::atomic<std::uint64_t> head{0};
    std::atomic<std::uint32_t>* next = nullptr;
};

}  // namespace squall::detail
