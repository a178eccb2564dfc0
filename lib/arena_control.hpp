// SPDX-License-Identifier: MIT
//
// What an arena knows about itself, shared by BufferArena, its leases and the rings it is
// registered with, and mapped for as long as one of them is left. It stays where it is when the
// BufferArena moves, in pages that fork() wipes in the child: there `base` is null, nothing is
// free, and nobody lets go last.
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
    bool is_adopted = false;  // the memory at base is the caller's to unmap
    // Who keeps all of this mapped: the BufferArena, each ring, and each buffer, leased or not. A
    // ring lets go when the kernel has let go of it. The BufferArena lets go for the free buffers,
    // too, and from then on each lease that ends for its own: that way a lease need not be counted
    // while there is a stack to return to.
    std::atomic<std::uint64_t> keepers{0};

    // The free buffers, a stack: `head` is the first one's number plus one (0: none is free) in the
    // low half and a count of changes in the high half; next[i] is the same low half for what lies
    // under buffer i.
    alignas(64) std::atomic<std::uint64_t> head{0};
    std::atomic<std::uint32_t>* next = nullptr;
    // Where buffers are returned to: `base`, and null when the stack is no more.
    std::atomic<std::byte*> home{nullptr};
    // The head when it is no more. It is no buffer's, so that an exchange which expects any other
    // head fails.
    static constexpr std::uint64_t no_stack = UINT32_MAX;
};

// Lets go for so many keepers; with the last of them the arena's memory and its control are
// unmapped.
[[gnu::cold, gnu::noinline]] void let_go(ArenaControl* arena, std::uint64_t keepers) noexcept;

}  // namespace squall::detail
