// SPDX-License-Identifier: MIT
//
// Makes numbers, choices and names of the bytes that a fuzzer gives. What they are used for is each target's own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

namespace squall::fuzz {

// Zeros when the bytes have run out, so that every input means something.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

    [[nodiscard]] bool empty() const { return rest_.empty(); }

    template <class T>
    T number() {
        static_assert(std::is_integral_v<T>);
        const std::size_t size = std::min(sizeof(T), rest_.size());
        T value{};
        if (size > 0) std::memcpy(&value, rest_.data(), size);
        rest_ = rest_.subspan(size);
        return value;
    }
    // 0 to `last`, at most 255.
    std::uint32_t up_to(std::uint32_t last) { return number<std::uint8_t>() % (last + 1); }
    bool flip() { return up_to(1) != 0; }
    template <class T, std::size_t count>
    T one_of(const T (&of)[count]) {
        return of[up_to(count - 1)];
    }
    // Small, on either side of a border, or anything.
    std::uint64_t size() {
        constexpr std::uint64_t borders[] = {0,        512,      4096,     65536,      1ULL << 20, 0x7ffff000,
                                             1U << 30, 1U << 31, 1U << 31, 1ULL << 32, 1ULL << 63};
        switch (up_to(3)) {
            case 0:
                return up_to(16);
            case 1:
                return one_of(borders) + up_to(4) - 2;
            case 2:
                return number<std::uint16_t>();
            default:
                return number<std::uint64_t>();
        }
    }
    // A name without a slash, and so one below the working directory.
    std::string name() {
        std::string text;
        for (std::uint32_t left = up_to(12); left > 0; --left) text += static_cast<char>(number<std::uint8_t>());
        std::replace(text.begin(), text.end(), '/', '_');
        return text;
    }

private:
    std::span<const std::uint8_t> rest_;
};

}  // namespace squall::fuzz
