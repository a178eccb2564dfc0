// SPDX-License-Identifier: MIT
//
// Wakes, from the sender to the owner's queue: Waker's calls, and WakeBox's. When the owner arms,
// sleeps and hands out is front.cpp's.
#include "squall/waker.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <new>

#include "kept_apart.hpp"
#include "message.hpp"
#include "wake_box.hpp"

namespace squall {

Waker::Waker(const Waker& other) noexcept : box_(other.box_), code_(other.code_) {
    if (box_) box_->add_waker();
}
Waker::~Waker() {
    if (box_) box_->remove_waker();
}
bool Waker::wake(Token token) const noexcept { return box_ && box_->wake(token); }
Error Waker::error() const {
    if (box_) return {};
    return code_ == 0 ? Error(EINVAL, "a Waker", "no Io::waker() made it")
                      : detail::explain_waker(code_);
}

namespace detail {

// --- Its life ------------------------------------------------------------------------------------

WakeBox* WakeBox::create(sys::Kernel* kernel, int event, int& code) noexcept {
    const int fd = copy_apart(kernel, event);
    code = -std::min(fd, 0);
    if (code != 0) return nullptr;
    Descriptor copy(kernel, fd);
    Mapping memory;
    code = -map_alone(sizeof(WakeBox), MADV_WIPEONFORK, memory);
    if (code != 0) return nullptr;
    auto* const box = ::new (memory.get()) WakeBox(kernel, copy.release());
    memory.release();
    box->chunks_[0].store(box->first_chunk_, std::memory_order_relaxed);
    return box;
}

Waker WakeBox::make_waker(WakeBox* box, int code) noexcept {
    if (box) box->add_waker();
    return {box, code};
}

// Relaxed: whoever makes a Waker has the Io, or another.
void WakeBox::add_waker() noexcept {
    if (!is_ours()) return;
    holders_.fetch_add(1, std::memory_order_relaxed);
    wakers_.fetch_add(1, std::memory_order_relaxed);
}

void WakeBox::remove_waker() noexcept {
    if (!is_ours()) return;
    // The last one lets the owner go that has nothing else to wait for. It is counted off, then
    // looks whether the owner is armed; the owner arms, then looks whether there is one. All four
    // are sequentially consistent, so that at least one of the two sees the other.
    if (wakers_.fetch_sub(1, std::memory_order_seq_cst) == 1 &&
        head_.load(std::memory_order_seq_cst) == armed)
        ring();
    let_go();
}

void WakeBox::close() noexcept {
    head_.store(closed, std::memory_order_relaxed);
    let_go();
}

void WakeBox::let_go() noexcept {
    // Release and acquire, of each with all that come after it: what each of them did comes before
    // the last one unmaps it all.
    if (holders_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    for (unsigned chunk = 1; chunk < chunk_count; ++chunk)
        if (Node* const nodes = chunks_[chunk].load(std::memory_order_relaxed))
            sys::munmap(sys::host, nodes, bytes_of(chunk));
    sys::close(kernel_, event_);
    sys::munmap(sys::host, this, sizeof(WakeBox));
}

// --- Nodes ---------------------------------------------------------------------------------------

unsigned WakeBox::chunk_of(std::uint32_t number) noexcept {
    return static_cast<unsigned>(std::bit_width(number / batch));
}
std::uint32_t WakeBox::first_of(unsigned chunk) noexcept {
    return chunk == 0 ? 0 : batch << (chunk - 1);
}
std::size_t WakeBox::bytes_of(unsigned chunk) noexcept {
    return (chunk == 0 ? batch : first_of(chunk)) * sizeof(Node);
}

// Relaxed: whoever has a name has it from a word that was released after its chunk was made.
WakeBox::Node& WakeBox::node(std::uint32_t name) noexcept {
    const std::uint32_t number = name - first_node;
    const unsigned chunk = chunk_of(number);
    return chunks_[chunk].load(std::memory_order_relaxed)[number - first_of(chunk)];
}

// A node's name; 0: there is no memory for one more.
std::uint32_t WakeBox::take_node() noexcept {
    const auto next = [this](std::uint32_t name) -> auto& { return node(name).next; };
    const auto name = pop<std::uint32_t>(free_, next, [](std::uint32_t top) { return top; });
    if (name != 0) return name;
    for (std::uint32_t number = used_.load(std::memory_order_relaxed);;) {
        if (number == nodes_max || !has_chunk(chunk_of(number))) return 0;
        // Relaxed: the number is all that is handed out, and each once.
        if (used_.compare_exchange_weak(number, number + 1, std::memory_order_relaxed))
            return number + first_node;
    }
}

// Makes it where it is not there yet. Of several that do so at once, one does it.
bool WakeBox::has_chunk(unsigned chunk) noexcept {
    // Acquire pairs with the release of who made it: it is zeros before anybody writes to it.
    if (chunks_[chunk].load(std::memory_order_acquire)) return true;
    const long at = sys::mmap(sys::host, bytes_of(chunk), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // Another that makes it may have taken what there was.
    if (sys::is_error(at)) return chunks_[chunk].load(std::memory_order_acquire) != nullptr;
    auto* const nodes = reinterpret_cast<Node*>(static_cast<std::uintptr_t>(at));
    Node* there = nullptr;
    if (!chunks_[chunk].compare_exchange_strong(there, nodes, std::memory_order_acq_rel))
        sys::munmap(sys::host, nodes, bytes_of(chunk));
    return true;
}

void WakeBox::give_back(std::uint32_t name) noexcept {
    std::uint64_t head = free_.load(std::memory_order_relaxed);
    do {
        node(name).next.store(static_cast<std::uint32_t>(head), std::memory_order_relaxed);
        // Release pairs with the acquire in pop(): the next user comes after our use of the node.
    } while (!free_.compare_exchange_weak(head, next_head(head, name), std::memory_order_release,
                                          std::memory_order_relaxed));
}

// --- Sending -------------------------------------------------------------------------------------

bool WakeBox::wake(Token token) noexcept {
    std::uint32_t head = head_.load(std::memory_order_relaxed);
    if (head == closed) return false;
    const std::uint32_t name = take_node();
    if (name == 0) return false;
    Node& added = node(name);
    added.token = token;
    do {
        if (head == closed) return give_back(name), false;
        added.next.store(head, std::memory_order_relaxed);
        // Release pairs with the acquire in take_all(): the owner sees the token, and what this
        // thread did before.
    } while (!head_.compare_exchange_weak(head, name, std::memory_order_release,
                                          std::memory_order_relaxed));
    if (head == armed) ring();
    return true;
}

// An eventfd is never full for a 1, and needs no memory.
void WakeBox::ring() noexcept {
    const std::uint64_t one = 1;
    sys::write(kernel_, event_, &one, sizeof(one));
}

// --- Receiving -----------------------------------------------------------------------------------

bool WakeBox::arm() noexcept {
    std::uint32_t expected = idle;
    return oldest_ == 0 &&
           (head_.compare_exchange_strong(expected, armed, std::memory_order_seq_cst) ||
            expected == armed);
}

void WakeBox::disarm() noexcept {
    std::uint32_t expected = armed;
    head_.compare_exchange_strong(expected, idle, std::memory_order_relaxed);
}

bool WakeBox::has_wakes() const noexcept {
    return oldest_ != 0 || head_.load(std::memory_order_relaxed) >= first_node;
}

bool WakeBox::has_wakers() const noexcept { return wakers_.load(std::memory_order_seq_cst) != 0; }

std::uint32_t WakeBox::collect() noexcept {
    while (queue_tail_ - queue_head_ < batch) {
        if (oldest_ == 0) take_all();
        if (oldest_ == 0) break;
        const std::uint32_t name = oldest_;
        oldest_ = node(name).next.load(std::memory_order_relaxed);
        queue_[queue_tail_ % batch] = {node(name).token, 0, 0};
        ++queue_tail_;
        give_back(name);
    }
    return queue_tail_ - queue_head_;
}

// Takes what was sent since, turned round: the newest is at its top.
void WakeBox::take_all() noexcept {
    if (head_.load(std::memory_order_relaxed) < first_node) return;
    // Acquire pairs with the release in wake().
    std::uint32_t name = head_.exchange(idle, std::memory_order_acquire);
    while (name >= first_node) {
        const std::uint32_t under = node(name).next.load(std::memory_order_relaxed);
        node(name).next.store(oldest_, std::memory_order_relaxed);
        oldest_ = std::exchange(name, under);
    }
}

CompletionQueue WakeBox::make_queue() noexcept {
    return CompletionQueue({&queue_head_, &queue_tail_, queue_, batch});
}

}  // namespace detail

}  // namespace squall
