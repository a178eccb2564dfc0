// SPDX-License-Identifier: MIT
//
// A stack of what is free, which threads take from and give back to without a lock (Treiber's). Its
// head holds a name (0: none is free) in the low half and a count of changes in the high half; what
// lies under an entry is in a word of the entry's own, which `next` finds by its name.
#pragma once

#include <atomic>
#include <cstdint>

namespace squall::detail {

using FreeHead = std::atomic<std::uint64_t>;

// The head after `head`: another first one, and one change more, which is carried over from the low
// half.
constexpr std::uint64_t next_head(std::uint64_t head, std::uint32_t top) noexcept {
    return (head | UINT32_MAX) + 1 + top;
}

// Takes the top one, and returns what `make` makes of its name; where none is free, a Result of
// nothing.
template <class Result, class Next, class Make>
[[gnu::always_inline]] inline Result pop(FreeHead& stack, Next next, Make make) noexcept {
    // Acquire, here and in the exchange, pairs with the release of who gave it back: the last
    // user's accesses to it, and the word of what lies under it, come before.
    std::uint64_t head = stack.load(std::memory_order_acquire);
    for (;;) {
        const auto top = static_cast<std::uint32_t>(head);
        if (top == 0) return Result();
        // Another thread may take this one meanwhile and what is read here be stale; the count of
        // changes in `head` then differs and the exchange fails. (2^32 changes between these two
        // lines would be needed to miss it.)
        const std::uint32_t under = next(top).load(std::memory_order_relaxed);
        const std::uint64_t changed = next_head(head, under);
        if (stack.compare_exchange_weak(head, changed, std::memory_order_acquire)) return make(top);
    }
}

}  // namespace squall::detail
