// SPDX-License-Identifier: MIT
//
// What a ring must give back: Descriptor and Mapping, each released by the kernel that gave it,
// once. All-zero is nothing owned, so that a copy in a forked child's wiped page releases nothing
// (I10).
#pragma once

#include <cstddef>
#include <utility>

#include "sys.hpp"

namespace squall::detail {

class Descriptor {
public:
    Descriptor() = default;
    Descriptor(sys::Kernel* kernel, int fd) noexcept : kernel_(kernel), fd_plus_one_(fd + 1) {}
    Descriptor(Descriptor&& other) noexcept
        : kernel_(other.kernel_), fd_plus_one_(std::exchange(other.fd_plus_one_, 0)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(kernel_, other.kernel_);
        std::swap(fd_plus_one_, other.fd_plus_one_);
        return *this;
    }
    ~Descriptor() { reset(); }

    explicit operator bool() const noexcept { return fd_plus_one_ != 0; }
    [[nodiscard]] int get() const noexcept { return fd_plus_one_ - 1; }
    // Somebody else closes it.
    [[nodiscard]] int release() noexcept { return std::exchange(fd_plus_one_, 0) - 1; }
    void reset() noexcept {
        if (const int fd_plus_one = std::exchange(fd_plus_one_, 0); fd_plus_one != 0)
            sys::close(kernel_, fd_plus_one - 1);
    }

private:
    sys::Kernel* kernel_ = nullptr;
    int fd_plus_one_ = 0;
};

class Mapping {
public:
    Mapping() = default;
    Mapping(sys::Kernel* kernel, long at, std::size_t bytes) noexcept
        : kernel_(kernel),
          at_(reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(at))),
          bytes_(bytes) {}
    Mapping(Mapping&& other) noexcept
        : kernel_(other.kernel_), at_(std::exchange(other.at_, nullptr)), bytes_(other.bytes_) {}
    Mapping& operator=(Mapping&& other) noexcept {
        std::swap(kernel_, other.kernel_);
        std::swap(at_, other.at_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~Mapping() { reset(); }

    [[nodiscard]] std::byte* get() const noexcept { return at_; }
    [[nodiscard]] std::size_t size() const noexcept { return bytes_; }
    // Somebody else unmaps it.
    void release() noexcept { at_ = nullptr; }
    void reset() noexcept {
        if (std::byte* const at = std::exchange(at_, nullptr)) sys::munmap(kernel_, at, bytes_);
    }

private:
    sys::Kernel* kernel_ = nullptr;
    std::byte* at_ = nullptr;
    std::size_t bytes_ = 0;
};

// Maps zeroed pages of this process's own, which a child of fork() gets as `advice` says. 0, or
// -errno.
inline int map_alone(std::size_t bytes, int advice, Mapping& made) noexcept {
    const long at =
        sys::mmap(sys::host, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::is_error(at)) return static_cast<int>(at);
    Mapping pages(sys::host, at, bytes);
    if (const int status = sys::madvise(pages.get(), bytes, advice); status < 0) return status;
    made = std::move(pages);
    return 0;
}

}  // namespace squall::detail
