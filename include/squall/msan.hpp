// SPDX-License-Identifier: MIT
//
// For MemorySanitizer (clang's -fsanitize=memory), which cannot see what the kernel writes: tells
// it, exactly, so that it neither warns of bytes that the kernel filled nor takes for filled what
// lies behind a short read. In all other builds nothing here has a byte or an instruction. Not API.
#pragma once

#include <cstddef>
#include <cstdint>

#include "squall/config.hpp"

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define SQUALL_MSAN 1
#include <sanitizer/msan_interface.h>
#endif
#endif

namespace squall {
template <class T>
class Result;
namespace abi {
struct SqeWords;
}
}  // namespace squall

namespace squall::detail {

class CompletionQueue;

// The kernel has filled `bytes` bytes at `at`.
[[gnu::always_inline]] inline void kernel_wrote([[maybe_unused]] const void* at,
                                                [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(SQUALL_MSAN)
    __msan_unpoison(at, bytes);
#endif
}

// The kernel writes all of a struct statx, and of a struct statfs, or nothing.
inline constexpr std::uint32_t statx_bytes = 256;
inline constexpr std::uint32_t statfs_bytes = 120;

#if defined(SQUALL_MSAN)

// What the operations in flight may write. Tokens need not be unique, so the kernel is given the
// number of a record in place of the caller's token, which is put back into the completion before
// it is handed out.
class KernelWrites {
public:
    // Makes room for as many operations as may be in flight. Errors as Io::create's.
    SQUALL_API Result<void> map(std::uint32_t count);
    SQUALL_API void unmap() noexcept;

    // The operation in `words` is queued.
    SQUALL_API void queued(abi::SqeWords& words) noexcept;
    // The next `count` completions of `queue` are about to be handed out.
    SQUALL_API void completed(const CompletionQueue& queue, std::uint32_t count) noexcept;
    // The operation was taken back: nothing was written. Returns the caller's token.
    std::uint64_t taken_back(std::uint64_t number) noexcept { return over(number); }

    // The caller's token of the operation that is known to the kernel as `number`.
    [[nodiscard]] std::uint64_t token_of(std::uint64_t number) const noexcept {
        return at(number).token;
    }

private:
    struct Record {
        std::uint64_t token = 0;
        std::uint64_t at = 0;
        std::uint32_t bytes = 0;
        bool whole = false;      // all of them when it succeeds, else as many as `res` says
        bool in_pieces = false;  // `at` leads to so many struct iovec
        // Else `next_free` leads to the next that is not, as a number plus one.
        bool in_flight = false;
        std::uint32_t next_free = 0;
        // How many operations had it before: part of the number that the kernel is given.
        std::uint32_t generation = 0;
    };

    // The operation is in flight no more, and its record another's to have. Returns its token.
    std::uint64_t over(std::uint64_t number) noexcept {
        Record& record = at(number);
        record.in_flight = false;
        ++record.generation;
        record.next_free = free_;
        free_ = static_cast<std::uint32_t>(number) + 1;
        return record.token;
    }
    [[nodiscard]] std::uint64_t name_of(std::uint32_t index) const noexcept {
        return std::uint64_t{records_[index].generation} << 32 | index;
    }
    static void wrote_pieces(const Record& record, std::uint32_t moved) noexcept;
    [[nodiscard]] std::uint64_t of_token(std::uint64_t token, std::uint32_t itself) const noexcept;
    [[nodiscard]] Record& at(std::uint64_t number) const noexcept {
        const auto index = static_cast<std::uint32_t>(number);
        SQUALL_ASSERT(index < count_ && records_[index].in_flight && name_of(index) == number,
                      "the kernel completed operation %llu, which is not in flight",
                      static_cast<unsigned long long>(number));
        return records_[index];
    }

    Record* records_ = nullptr;
    std::uint32_t count_ = 0;
    std::uint32_t free_ = 0;
};

#else

class KernelWrites {
public:
    static void unmap() noexcept {}
    [[gnu::always_inline]] static void queued(const abi::SqeWords&) noexcept {}
    [[gnu::always_inline]] static void completed(const CompletionQueue&, std::uint32_t) noexcept {}
    [[gnu::always_inline]] static std::uint64_t taken_back(std::uint64_t token) noexcept {
        return token;
    }
    [[nodiscard, gnu::always_inline]] static std::uint64_t token_of(std::uint64_t token) noexcept {
        return token;
    }
};

#endif

}  // namespace squall::detail
