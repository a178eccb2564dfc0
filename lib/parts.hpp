// SPDX-License-Identifier: MIT
//
// Parts: which parts of an arena are registered with an Io, and at which index of the kernel's
// table each is (IoOptions::arena_parts). Registering them is the rings'; this keeps the books.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "squall/registered.hpp"

namespace squall::detail {

// Why something cannot be done: an errno, and the rule; 0: it can.
struct Refusal {
    int code;
    const char* rule;
};

class Parts {
public:
    // For `count` parts of `arena`, in a mapping that no child of fork() has. 0, or -errno.
    static int create(std::span<std::byte> arena, std::uint32_t count, Parts*& made) noexcept;
    void destroy() noexcept;

    // The last part that begins at or before `data`, as memory of one region, and its index; -1:
    // there is none.
    [[nodiscard]] int find(std::uintptr_t data, RegisteredMemory& part) const noexcept;

    // Whether these bytes cannot be a part.
    [[nodiscard]] Refusal refuses(std::span<std::byte> bytes) const noexcept;
    // The index that the next part gets. Requires that refuses() does not.
    [[nodiscard]] std::uint32_t next_index() const noexcept { return parts()[used_].index; }
    void add(std::span<std::byte> bytes) noexcept;
    // The index of the part that is exactly these bytes, or -1.
    [[nodiscard]] int index_of(std::span<std::byte> bytes) const noexcept;
    // Requires that it is one.
    void remove(std::span<std::byte> bytes) noexcept;

private:
    struct Part {
        std::uintptr_t begin;
        std::uint64_t length;
        std::uint32_t index;
    };
    Parts(std::span<std::byte> arena, std::uint32_t count) noexcept;

    // In the order of their addresses, and behind the first used_ those indices that are free.
    [[nodiscard]] std::span<Part> parts() const noexcept;
    // How many begin at or before `data`: the last of them is the one that it may lie in.
    [[nodiscard]] std::size_t begun_at(std::uintptr_t data) const noexcept;

    std::uintptr_t arena_;
    std::uint64_t arena_length_;
    std::uint32_t count_;
    std::uint32_t used_ = 0;
};

}  // namespace squall::detail
