// SPDX-License-Identifier: MIT
//
// BufferArena: equal, block-aligned buffers in one mapping that is registered with the rings it is
// given to, so that transfers to and from it are fixed (IORING_OP_READ_FIXED, WRITE_FIXED): the
// kernel pins the pages once and not at every transfer. FixedBuffer is the lease on one of them.
// Which transfers are fixed is Io's business, by address alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "squall/config.hpp"
#include "squall/error.hpp"
#include "squall/options.hpp"

namespace squall {

namespace detail {
class Ring;
struct ArenaControl;
SQUALL_API void release_buffer(ArenaControl* arena, std::byte* buffer) noexcept;
}  // namespace detail

// One buffer of an arena, leased; destroying it returns it. Its bytes hold whatever the last user
// left there. A lease must not be destroyed while an operation on its memory is in flight (I7). It
// may outlive its arena.
// Thread rule: a lease may be handed to another thread and be destroyed there.
class FixedBuffer {
public:
    FixedBuffer() = default;  // no buffer: data() is null and size() 0
    FixedBuffer(FixedBuffer&& other) noexcept
        : arena_(std::exchange(other.arena_, nullptr)),
          data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)) {}
    FixedBuffer& operator=(FixedBuffer&& other) noexcept {
        if (this != &other) {
            reset();
            arena_ = std::exchange(other.arena_, nullptr);
            data_ = std::exchange(other.data_, nullptr);
            size_ = std::exchange(other.size_, 0);
        }
        return *this;
    }
    ~FixedBuffer() { reset(); }

    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, size_}; }
    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    // A range of bytes, so that a lease can be given where a span is asked for.
    [[nodiscard]] std::byte* begin() const noexcept { return data_; }
    [[nodiscard]] std::byte* end() const noexcept { return data_ + size_; }
    explicit operator bool() const noexcept { return data_ != nullptr; }
    // Returns the buffer to its arena now.
    void reset() noexcept {
        if (arena_)
            detail::release_buffer(std::exchange(arena_, nullptr), std::exchange(data_, nullptr));
        size_ = 0;
    }

private:
    friend class BufferArena;
    FixedBuffer(detail::ArenaControl* arena, std::byte* data, std::size_t size) noexcept
        : arena_(arena), data_(data), size_(size) {}

    detail::ArenaControl* arena_ = nullptr;
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

// The memory is shared: it is unmapped when the arena, the last ring it was given to and the last
// lease are gone, in whatever order and on whichever threads they go.
// Thread rule: acquire() and destroying leases are safe from any threads at once, without a lock;
// creating, moving and destroying the arena are not: nobody else may call it meanwhile.
// After fork() the child has no arena: acquire() finds nothing there and the memory is not mapped
// (MADV_DONTFORK, I10).
//
// At exit() and dlclose() static and thread_local arenas, Ios and leases may be destroyed in any
// order. What to mind:
//   Threads    exit() destroys what is static and what is the calling thread's. A thread that goes
//              on may use its own Io and its leases until the process ends, but not call a static
//              arena, nor use a static Io: end it first, or make an arena that is never destroyed:
//              static BufferArena& arena = *new BufferArena(...).
//   Ios        A static Io must have nothing in flight that another thread submitted which goes on:
//              that aborts (see ~Io), but with Mode::plain.
//   Leases     I7 holds: an Io that has a transfer in flight on a lease goes before it, and so is
//              made after it.
//   Handlers   A function given to atexit() may use what was made before it was registered.
//   dlclose()  No thread may be in the library's code, and no Io or lease be left elsewhere whose
//              squall is the library's: the code would go. What is thread_local there keeps the
//              library loaded until its thread has ended (glibc).
//   quick_exit(), _exit()  Nothing is destroyed, and the kernel ends what is in flight.
class SQUALL_API BufferArena {
public:
    // Maps and touches count * buffer_size bytes, rounded up to whole pages: with Pages::automatic
    // to at most twice as many, or to whole base pages. On success the arena, all of whose buffers
    // are free; on failure, without side effects:
    //   EINVAL  an option is out of range; the message names the value and the rule.
    //   ENOMEM  the memory, or with Pages::hugetlb the reserved huge pages, cannot be had; the
    //           message says which, and how.
    //   EOPNOTSUPP  Pages::transparent where the kernel gave none.
    // Rests on mmap(2) MAP_HUGETLB (2.6.32), madvise(2) MADV_HUGEPAGE, MADV_POPULATE_WRITE (5.14),
    // MADV_COLLAPSE (6.1).
    [[nodiscard]] static Result<BufferArena> create(const ArenaOptions& options = {});

    // The same over memory that the caller has: a buffer pool, a mapping that is bound to a NUMA
    // node, a memfd, huge pages, at any address, of any size. Nothing is mapped but what the arena
    // knows about itself, nothing is touched, and the memory stays the caller's: what is
    // registered and what is leased must stay mapped, and its pages what they are, until the arena
    // and all rings and leases are gone. `buffer_size` 0: there are no leases, acquire() finds
    // none, and the caller keeps the books; else buffers of so many bytes are cut from its start,
    // as aligned as that is. On failure, without side effects:
    //   EINVAL  no memory, or a buffer_size that is out of range; the message names value and rule.
    //   ENOMEM  there is none for what the arena knows about itself.
    // Io::create may then refuse to register it: with EFAULT where something of it is not mapped or
    // not writable, with EFAULT or EOPNOTSUPP where it is a file's, not on tmpfs or hugetlbfs.
    // After fork() the memory is the child's as it would be without squall. Transfers in flight go
    // on in the parent (before Linux 5.12 they may miss what either writes there, so do not fork
    // with any, or keep the memory from the child: MADV_DONTFORK).
    [[nodiscard]] static Result<BufferArena> adopt(std::span<std::byte> memory,
                                                   std::size_t buffer_size = 0);

    BufferArena(BufferArena&& other) noexcept : control_(std::exchange(other.control_, nullptr)) {}
    BufferArena& operator=(BufferArena&& other) noexcept {
        if (this != &other) {
            destroy();
            control_ = std::exchange(other.control_, nullptr);
        }
        return *this;
    }
    ~BufferArena() { destroy(); }

    // Leases a buffer, in O(1) without a system call. On success one that was free, the last one
    // returned first: its lines are likeliest to be in cache. Empty: none is free.
    [[nodiscard]] std::optional<FixedBuffer> acquire() noexcept;

    // Whether all of `bytes` lies in the arena. An empty span does when its address does.
    [[nodiscard]] bool contains(std::span<const std::byte> bytes) const noexcept;

    [[nodiscard]] std::size_t buffer_size() const noexcept;  // bytes
    [[nodiscard]] std::size_t count() const noexcept;        // buffers, leased ones included
    // All that rings register: count() * buffer_size() bytes and what rounding to whole pages
    // added, or what was adopted.
    [[nodiscard]] std::span<std::byte> memory() const noexcept;
    // What the memory is made of, as found after it was touched: never Pages::automatic.
    // Pages::adopted: nobody has looked, and page_size() is the machine's.
    [[nodiscard]] Pages pages() const noexcept;
    // Bytes per page of that kind; hugetlb and transparent pages are one segment each to the kernel
    // (from 6.12 on).
    [[nodiscard]] std::size_t page_size() const noexcept;

private:
    friend class detail::Ring;
    explicit BufferArena(detail::ArenaControl* control) noexcept : control_(control) {}
    void destroy() noexcept;

    detail::ArenaControl* control_ = nullptr;
};

}  // namespace squall
