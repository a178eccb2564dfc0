// SPDX-License-Identifier: MIT
//
// WakeBox: what an Io and its Wakers share: the wakes that were sent and not handed out yet, and
// the event that calls the owner when it sleeps. It is mapped for as long as one of them is left,
// in pages that fork() wipes in the child, where it is closed.
//
// The word head_ is all that senders and the owner settle between them. It is the newest wake of a
// stack of them, or one of three values that end it:
//   closed  the Io is gone
//   idle    there is none, and the owner does not sleep
//   armed   there is none, and the owner sleeps or is about to: who puts a wake on top of this
//           rings the event
// The owner takes the whole stack at once. So there is one word whose changes have one order, and
// no wake can fall between "there is none" and "the owner sleeps".
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "free_stack.hpp"
#include "squall/queue.hpp"
#include "squall/waker.hpp"
#include "sys.hpp"

namespace squall::detail {

class WakeBox {
public:
    // Makes one that rings a copy of `event`; null, with an errno in `code`: there is none.
    static WakeBox* create(sys::Kernel* kernel, int event, int& code) noexcept;
    // One more Waker of `box`, or one that cannot wake for the reason `code`.
    static Waker make_waker(WakeBox* box, int code) noexcept;

    // --- The Wakers', any thread
    bool wake(Token token) noexcept;
    void add_waker() noexcept;
    void remove_waker() noexcept;

    // --- The owner's
    // The Io is gone: what was not handed out is dropped. Lets go.
    void close() noexcept;
    // From now on a wake rings the event, and so does the last Waker that goes. False: there are
    // wakes that collect() has not put into the queue.
    bool arm() noexcept;
    void disarm() noexcept;
    [[nodiscard]] bool has_wakers() const noexcept;
    // Whether there are some that collect() has not put into the queue.
    [[nodiscard]] bool has_wakes() const noexcept;
    // Puts as many as there is room for into the queue, oldest first, and returns how many are in
    // it.
    std::uint32_t collect() noexcept;
    // What they are handed out from.
    [[nodiscard]] CompletionQueue make_queue() noexcept;

private:
    struct Node {
        Token token;
        std::atomic<std::uint32_t> next;  // a node's name, or one of the values below
    };
    // A node's name is its number and `first_node`: chunk 0 has the first 256, and each one after
    // it begins where it is as long as all before.
    static constexpr std::uint32_t closed = 0, idle = 1, armed = 2, first_node = 3;
    static constexpr std::uint32_t batch = 256;
    static constexpr unsigned chunk_count = 19;
    static constexpr std::uint32_t nodes_max = batch << (chunk_count - 1);

    WakeBox(sys::Kernel* kernel, int event) noexcept
        : kernel_(kernel), event_(event), self_(this) {}

    static unsigned chunk_of(std::uint32_t number) noexcept;
    static std::uint32_t first_of(unsigned chunk) noexcept;
    static std::size_t bytes_of(unsigned chunk) noexcept;
    [[nodiscard]] Node& node(std::uint32_t name) noexcept;
    bool has_chunk(unsigned chunk) noexcept;
    std::uint32_t take_node() noexcept;
    void give_back(std::uint32_t name) noexcept;
    void take_all() noexcept;
    void ring() noexcept;
    void let_go() noexcept;
    // Not in a child of fork(), where all of this is zeros.
    [[nodiscard]] bool is_ours() const noexcept { return self_ == this; }

    sys::Kernel* const kernel_;
    const int event_;
    WakeBox* const self_;
    std::atomic<std::uint32_t> wakers_{0};
    std::atomic<std::uint32_t> holders_{1};  // of the memory: the Io and its Wakers
    std::atomic<Node*> chunks_[chunk_count]{};
    // What senders and the owner both change.
    alignas(64) std::atomic<std::uint32_t> head_{idle};
    std::atomic<std::uint32_t> used_{0};  // how many nodes ever were
    FreeHead free_{0};                    // those that were, and are free

    // The owner's alone.
    std::uint32_t oldest_ = 0;  // of those taken and not in the queue yet; 0: none
    std::uint32_t queue_head_ = 0;
    std::uint32_t queue_tail_ = 0;
    Completion queue_[batch]{};
    Node first_chunk_[batch]{};
};

}  // namespace squall::detail
