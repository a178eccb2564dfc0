// SPDX-License-Identifier: MIT
//
// The reaping half: Completion (one CQE), CompletionQueue (the CQ's protocol over plain pointers, so that the same code
// runs over kernel memory and over a test's) and Completions (the range that poll() and park() return). Completions are
// read where the kernel wrote them; nothing is copied. Submitting, and the system calls, are ring.hpp's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "squall/config.hpp"
#include "squall/error.hpp"

namespace squall {

// The caller's name for an operation, the kernel's user_data. Any value; squall never interprets one.
using Token = std::uint64_t;

// One finished operation: the CQE as the kernel wrote it.
struct Completion {
    Token token;
    std::int32_t res;     // the operation's result, 0 or more, or a negative errno
    std::uint32_t flags;  // IORING_CQE_F_*; none is set for squall's operations

    [[nodiscard]] bool ok() const noexcept { return res >= 0; }
    // What `res` means, in words for an operator; no error when res >= 0. Allocates. For a read or write that failed or
    // came up short, transfer_error() in io.hpp also looks at the file and the buffer.
    [[nodiscard]] SQUALL_API Error error() const;
};
static_assert(sizeof(Completion) == 16);

namespace detail {

// Memory-order vocabulary for words shared with the kernel (or with a test's stand-in for it). Each use names its pair.
using SharedWord = std::atomic_ref<std::uint32_t>;
static_assert(SharedWord::is_always_lock_free);
inline std::uint32_t load_acquire(std::uint32_t* word) noexcept {
    return SharedWord(*word).load(std::memory_order_acquire);
}
inline std::uint32_t load_relaxed(std::uint32_t* word) noexcept {
    return SharedWord(*word).load(std::memory_order_relaxed);
}
inline void store_release(std::uint32_t* word, std::uint32_t value) noexcept {
    SharedWord(*word).store(value, std::memory_order_release);
}

// The consumer's end of the CQ ring. Pointers that begin with k lead to memory the kernel shares; the rest is ours.
//
//            khead (we store)            ktail (kernel stores)
//               v                          v
//      | free  | lent to a Completions | ready | free ...        indices run freely over 2^32 and are masked on use
//                                      ^
//                                    head_ (handed out so far)
//
// All-zero is a valid, empty state that must not be used: it is what a forked child sees (I10).
class CompletionQueue {
public:
    struct Memory {
        std::uint32_t* khead;
        std::uint32_t* ktail;
        Completion* kcqes;
        std::uint32_t entries;  // a power of two
    };

    CompletionQueue() = default;
    explicit CompletionQueue(const Memory& memory) noexcept
        : kcqes_(memory.kcqes),
          ktail_(memory.ktail),
          khead_(memory.khead),
          mask_(memory.entries - 1),
          head_(load_relaxed(memory.khead)) {}

    // Completions that have arrived and are not yet handed out.
    [[nodiscard]] std::uint32_t ready() const noexcept {
        // Acquire pairs with the kernel's release of the CQ tail (io_commit_cqring): the CQEs below it, and the bytes
        // that the operations moved, are visible to us before the tail is.
        const std::uint32_t count = load_acquire(ktail_) - head_;
        SQUALL_ASSERT(count <= mask_ + 1, "the CQ holds %u completions and has %u entries", count, mask_ + 1);
        return count;
    }

    // The first of those with this token, or null.
    [[nodiscard]] const Completion* find(Token token) const noexcept {
        for (std::uint32_t at = head_, end = head_ + ready(); at != end; ++at)
            if (kcqes_[at & mask_].token == token) return &kcqes_[at & mask_];
        return nullptr;
    }

    // CQ slots that are neither free nor promised to an operation: those of a Completions still alive.
    [[nodiscard]] std::uint32_t lent() const noexcept {
        // Only we store khead, so a relaxed load of our own word is exact.
        return head_ - load_relaxed(khead_);
    }
    [[nodiscard]] bool is_lent() const noexcept { return lent_; }
    [[nodiscard]] std::uint32_t entries() const noexcept { return mask_ + 1; }

    void must_not_be_lent() const noexcept {
        SQUALL_ASSERT(!lent_, "poll() or park() while an earlier Completions is alive: let it go out of scope first");
    }
    // Hands out the next `count` completions, which stay where they are until give_back().
    std::uint32_t lend(std::uint32_t count) noexcept {
        must_not_be_lent();
        lent_ = true;
        const std::uint32_t first = head_;
        head_ += count;
        return first;
    }
    void give_back() noexcept {
        // Release pairs with the kernel's acquire of the CQ head (io_cqe_cache_refill): our reads of the CQEs are done
        // before the kernel may write over them.
        if (khead_) [[likely]]  // null in a child of fork(), whose parent's CQ it is (I10)
            store_release(khead_, head_);
        lent_ = false;
    }

    [[nodiscard]] const Completion* slots() const noexcept { return kcqes_; }
    [[nodiscard]] std::uint32_t mask() const noexcept { return mask_; }

private:
    friend class KernelWrites;
    Completion* kcqes_ = nullptr;
    std::uint32_t* ktail_ = nullptr;
    std::uint32_t* khead_ = nullptr;
    std::uint32_t mask_ = 0;
    std::uint32_t head_ = 0;
    bool lent_ = false;
};

// IORING_REGISTER_ENABLE_RINGS was refused, which comes to light when the ring is driven: Completions carry the errno with
// this beside it.
inline constexpr int while_enabling = 1 << 16;
SQUALL_API Error ring_error(int code);
// Notes that the last failure of a ring on this thread was looked at (IoOptions::checks).
SQUALL_API void failure_seen() noexcept;

}  // namespace detail

// The completions that one poll() or park() delivered, in the order in which the kernel posted them: a forward range of
// const Completion&, read in place, that may be walked more than once. Valid until it is destroyed, which hands the CQ
// slots back; at most one is alive per Io. Everything in it counts as delivered: leaving a loop early drops the rest.
//
// The body of a loop over it may queue operations on the same Io, but not poll, park, move or destroy it: that aborts with
// a message, and so does `done = io.poll()`, which polls while the old range is alive.
// Thread rule: the thread that called poll() or park(). It must not outlive its Io. A child of fork() may destroy its copy
// but not walk it.
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
        pointer operator->() const noexcept { return reinterpret_cast<pointer>(slots_ + (at_ & mask_)); }
        iterator& operator++() noexcept { return at_ += sizeof(Completion), *this; }
        iterator operator++(int) noexcept {
            iterator before = *this;
            ++*this;
            return before;
        }
        bool operator==(const iterator& other) const noexcept { return at_ == other.at_; }

    private:
        friend class Completions;
        // Counted in bytes, so that going on takes no multiplication; 2^32 is a multiple of every CQ's size in bytes too.
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

    // For backends: lends everything that is ready in `queue`; `code` is what error() reports, 0 for none.
    Completions(detail::CompletionQueue& queue, std::uint32_t count, int code) noexcept
        : queue_(&queue), first_(queue.lend(count)), count_(count), code_(code) {}
    // For backends: nothing but an error.
    explicit Completions(int code) noexcept : code_(code) {}

    Completions(Completions&& other) noexcept
        : queue_(std::exchange(other.queue_, nullptr)),
          first_(other.first_),
          count_(std::exchange(other.count_, 0)),
          code_(std::exchange(other.code_, 0)) {}
    Completions& operator=(Completions&& other) noexcept {
        if (this != &other) {
            if (queue_) queue_->give_back();
            queue_ = std::exchange(other.queue_, nullptr);
            first_ = other.first_;
            count_ = std::exchange(other.count_, 0);
            code_ = std::exchange(other.code_, 0);
        }
        return *this;
    }
    ~Completions() {
        if (queue_) queue_->give_back();
    }

    [[nodiscard]] iterator begin() const noexcept { return at(first_); }
    [[nodiscard]] iterator end() const noexcept { return at(first_ + count_); }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }

    // The ring itself could not be driven: not an operation's failure, which is in its Completion. What was queued stays
    // queued and in flight (I1), the next poll() or park() tries again, and Io::withdraw() takes it back. Look at it in each
    // loop that waits for something: only EAGAIN passes by itself, and a loop that goes on after one of the others never
    // ends. One comparison; IoOptions::checks aborts where it is forgotten.
    [[nodiscard]] bool failed() const noexcept { return code() != 0; }
    // Which failure it was, an errno; 0 when all is well:
    //   EEXIST  called on a thread that is not the ring's owner (I8): go back to that thread, or use Mode::plain.
    //   ESTALE  called in a child of fork() (I10): create a new Io there.
    //   EAGAIN  the kernel has no memory for a request and nothing is in flight to wait for: try again later.
    //   other   what io_uring_enter(2) answered, or io_uring_register(2) to the first submission, which enables the ring;
    //           EPERM from a seccomp filter for one. error() says which, and explains it.
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
        return queue_ ? iterator(queue_->slots(), queue_->mask(), index) : iterator(nullptr, 0, index);
    }

    detail::CompletionQueue* queue_ = nullptr;
    std::uint32_t first_ = 0;
    std::uint32_t count_ = 0;
    int code_ = 0;
};

}  // namespace squall
