// SPDX-License-Identifier: MIT
//
// Completions: the range that poll() and park() return. Completions are read where the kernel wrote
// them; nothing is copied. The queue that they lie in is queue.hpp's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "squall/completion.hpp"
#include "squall/config.hpp"
#include "squall/error.hpp"
#include "squall/queue.hpp"

namespace squall {

namespace detail {

// IORING_REGISTER_ENABLE_RINGS was refused, which comes to light when the ring is driven:
// Completions carry the errno with this beside it.
inline constexpr int while_enabling = 1 << 16;
SQUALL_API Error ring_error(int code);
// Notes that the last failure of a ring on this thread was looked at (IoOptions::checks).
SQUALL_API void failure_seen() noexcept;

}  // namespace detail

// The completions that one poll() or park() delivered, in the order in which the kernel posted
// them: a forward range of const Completion&, read in place, that may be walked more than once.
// Valid until it is destroyed, which hands the CQ slots back; at most one is alive per Io.
// Everything in it counts as delivered: leaving a loop early drops the rest.
//
// The body of a loop over it may queue operations on the same Io, but not poll, park, move or
// destroy it: that aborts with a message, and so does `done = io.poll()`, which polls while the old
// range is alive.
// Thread rule: the thread that called poll() or park(). It must not outlive its Io. A child of
// fork() may destroy its copy but not walk it.
class [[nodiscard]] Completions {
public:
    class iterator {
    public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = Completion;
        using difference_type = std::ptrdiff_t;
        using pointer = const Completion*;
        using reference = const Completion&;

        iterator() = default;
        reference operator*() const noexcept { return *operator->(); }
        pointer operator->() const noexcept {
            return reinterpret_cast<pointer>(slots_ + (at_ & mask_));
        }
        iterator& operator++() noexcept { return at_ += sizeof(Completion), *this; }
        iterator operator++(int) noexcept {
            iterator before = *this;
            ++*this;
            return before;
        }
        bool operator==(const iterator& other) const noexcept { return at_ == other.at_; }

    private:
        friend class Completions;
        // Counted in bytes, so that going on takes no multiplication; 2^32 is a multiple of every
        // CQ's size in bytes too.
        iterator(const Completion* slots, std::uint32_t mask, std::uint32_t at) noexcept
            : slots_(reinterpret_cast<const std::byte*>(slots)),
              mask_(mask * static_cast<std::uint32_t>(sizeof(Completion))),
              at_(at * static_cast<std::uint32_t>(sizeof(Completion))) {}
        const std::byte* slots_ = nullptr;
        std::uint32_t mask_ = 0;
        std::uint32_t at_ = 0;
    };
    using const_iterator = iterator;
    using value_type = Completion;

    // For the front: takes the next `count` that are ready in `queue`; `code` is what error()
    // reports, 0 for none.
    Completions(detail::CompletionQueue& queue, std::uint32_t count, int code) noexcept
        : queue_(&queue), first_(queue.take(count)), count_(count), code_(code) {}
    // For the front: nothing but an error.
    explicit Completions(int code) noexcept : code_(code) {}

    Completions(Completions&& other) noexcept
        : queue_(std::exchange(other.queue_, nullptr)),
          first_(other.first_),
          count_(std::exchange(other.count_, 0)),
          code_(std::exchange(other.code_, 0)) {}
    Completions& operator=(Completions&& other) noexcept {
        if (this != &other) {
            if (queue_) queue_->advance();
            queue_ = std::exchange(other.queue_, nullptr);
            first_ = other.first_;
            count_ = std::exchange(other.count_, 0);
            code_ = std::exchange(other.code_, 0);
        }
        return *this;
    }
    ~Completions() {
        if (queue_) queue_->advance();
    }

    [[nodiscard]] iterator begin() const noexcept { return at(first_); }
    [[nodiscard]] iterator end() const noexcept { return at(first_ + count_); }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }

    // The ring itself could not be driven: not an operation's failure, which is in its Completion.
    // What was queued stays queued and in flight (I1), the next poll() or park() tries again, and
    // Io::withdraw() takes it back. What had completed by then is handed out all the same: walk the
    // range, then look at this. Look at it in each loop that waits for something: only EAGAIN
    // passes by itself, and a loop that goes on after one of the others never ends. One comparison;
    // IoOptions::checks aborts where it is forgotten.
    [[nodiscard]] bool failed() const noexcept { return code() != 0; }
    // Which failure it was, an errno; 0 when all is well:
    //   EEXIST  called on a thread that is not the ring's owner (I8): go back to that thread, or
    //           use Mode::plain.
    //   ESTALE  called in a child of fork() (I10): create a new Io there.
    //   EAGAIN  the kernel has no memory for a request and nothing is in flight to wait for: try
    //           again later.
    //   other   what io_uring_enter(2) answered, or io_uring_register(2) to the first submission,
    //           which enables the ring; EPERM from a seccomp filter for one. error() says which,
    //           and explains it.
    [[nodiscard]] int code() const noexcept {
        if (code_ == 0) [[likely]]
            return 0;
        detail::failure_seen();
        return code_ & ~detail::while_enabling;
    }
    // The same in words, for an operator; false when all is well. Allocates when it is not.
    [[nodiscard]] Error error() const { return failed() ? detail::ring_error(code_) : Error(); }

private:
    // Always inlined: a compiler that thinks twice makes an idle poll a sixth longer.
    [[nodiscard, gnu::always_inline]] iterator at(std::uint32_t index) const noexcept {
        return queue_ ? iterator(queue_->slots(), queue_->mask(), index)
                      : iterator(nullptr, 0, index);
    }

    detail::CompletionQueue* queue_ = nullptr;
    std::uint32_t first_ = 0;
    std::uint32_t count_ = 0;
    int code_ = 0;
};

}  // namespace squall
