// SPDX-License-Identifier: MIT
//
// The protocols of a ring's two queues over plain pointers, so that the same code runs over a
// kernel's memory and over a test's: SubmissionQueue, CompletionQueue, SqeCursor, where the next
// SQE is filled, and Queues, both of them with the counts of what went through. Nothing here makes
// a system call, and nothing knows what an operation does. Not API.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "squall/abi.hpp"
#include "squall/completion.hpp"
#include "squall/config.hpp"
#include "squall/counters.hpp"

namespace squall::detail {

// Memory-order vocabulary for words shared with the kernel (or with a test's stand-in for it). Each
// use names its pair.
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

// How many operations had been queued: the number of one among all of its ring. The kernel's
// indices are its low 32 bits.
using Sequence = std::uint64_t;

// Where the next SQE is filled. stop_ is the last known end of room: never beyond the SQ's entries
// nor the CQ's (I2), nor the end of the array, and moved only when next_ meets it, so that queueing
// an operation costs one comparison and no arithmetic on indices. All-zero means full for ever:
// what a forked child sees (I10).
class SqeCursor {
public:
    // True when there is no room as far as is known.
    [[nodiscard]] bool full() const noexcept { return next_ == stop_; }
    // The SQE that is filled next. Requires !full().
    [[nodiscard]] abi::SqeWords& slot() const noexcept { return *next_; }
    void advance() noexcept { ++next_; }

    void point_at(std::span<abi::SqeWords> free) noexcept {
        next_ = free.data();
        stop_ = next_ + free.size();
    }
    // Room for no more than `count`.
    void limit(std::uint64_t count) noexcept {
        if (count < static_cast<std::uint64_t>(stop_ - next_)) stop_ = next_ + count;
    }
    // Lets the next operation find it full, and so look for room anew.
    void force_look() noexcept { stop_ = next_; }

private:
    abi::SqeWords* next_ = nullptr;
    abi::SqeWords* stop_ = nullptr;
};

// The producer's end of the SQ ring. Pointers that begin with k lead to memory the kernel shares;
// the rest is ours.
//
//            khead (kernel stores)    ktail (we store)
//               v                       v
//      | free  | published, not consumed | queued  | free ...    indices run freely over 2^32 and
//                                                  ^             are masked on use
//                                                  |
//                                                 tail
//
// The tail is not kept here but given to the calls that need it: it is how many operations were
// ever queued, which is counted anyway (Counters::submitted).
class SubmissionQueue {
public:
    struct Memory {
        std::uint32_t* khead;
        std::uint32_t* ktail;
        std::uint32_t* kflags;
        abi::SqeWords* ksqes;
        std::uint32_t entries;  // a power of two
    };

    SubmissionQueue() = default;
    SubmissionQueue(const Memory& memory, Sequence tail) noexcept
        : ksqes_(memory.ksqes),
          mask_(memory.entries - 1),
          flushed_(index(tail)),
          kflags_(memory.kflags),
          khead_(memory.khead),
          ktail_(memory.ktail) {}

    // The SQEs that may be filled next, as far as they lie side by side; `cq_room` is how many more
    // operations the CQ can answer for.
    [[nodiscard]] std::span<abi::SqeWords> free_sqes(Sequence tail,
                                                     std::uint32_t cq_room) const noexcept {
        // Acquire pairs with the kernel's release of the SQ head (io_commit_sqring): it has read
        // the SQE and copied the path (IORING_FEAT_SUBMIT_STABLE) before we write over them.
        const std::uint32_t sq_room = entries() - (index(tail) - load_acquire(khead_));
        SQUALL_ASSERT(sq_room <= entries(), "the SQ has %u free slots of %u", sq_room, entries());
        const std::uint32_t slot = index(tail) & mask_;
        const std::uint32_t to_end = entries() - slot;
        const std::uint32_t room = sq_room < cq_room ? sq_room : cq_room;
        return {ksqes_ + slot, room < to_end ? room : to_end};
    }

    // True when something is queued that the kernel neither consumed nor, awake as an SQPOLL
    // thread, is about to.
    [[nodiscard]] bool unflushed(Sequence tail) const noexcept { return index(tail) != flushed_; }

    // Shows the kernel everything queued.
    void publish(Sequence tail) noexcept {
        // Release pairs with the kernel's acquire of the SQ tail (io_sqring_entries): the SQEs are
        // written before the tail says that they are there. One store for the whole batch.
        store_release(ktail_, index(tail));
    }
    // The same for a ring whose SQPOLL thread may be about to sleep; true when it must be woken.
    [[nodiscard]] bool publish_and_check_sleep(Sequence tail) noexcept {
        // The poller sets NEED_WAKEUP, then looks at the tail once more; we set the tail, then look
        // at NEED_WAKEUP. At least one of the two must see the other's store, which acquire and
        // release cannot give: they let our load pass our own store. Both of ours are sequentially
        // consistent, which forbids just that (on x86 the store is an xchg); the poller has its
        // full barrier between the two (io_sq_thread, smp_mb__after_atomic).
        SharedWord(*ktail_).store(index(tail), std::memory_order_seq_cst);
        return (SharedWord(*kflags_).load(std::memory_order_seq_cst) & abi::sq_need_wakeup) != 0;
    }

    // Takes the operation back that was queued last, unless the kernel has it: consumed it or, with
    // an SQPOLL thread, may be about to. True when it did: `tail` is then one too many, and
    // queued(tail - 1) is what it was.
    [[nodiscard]] bool take_back(Sequence tail, bool sqpoll) noexcept {
        if (index(tail) == given_away(sqpoll)) return false;
        // An enter that failed may have shown it to the kernel; without a poller the kernel looks
        // only within an enter.
        if (!sqpoll) store_release(ktail_, index(tail - 1));
        return true;
    }

    // Links nothing to the operation that is now the last that was queued, where it is still ours.
    void unlink_last(Sequence tail, bool sqpoll) noexcept {
        if (index(tail) == given_away(sqpoll)) return;
        abi::Word& op_fd = queued(tail - 1).op_fd;
        op_fd = abi::without_flags(op_fd, abi::sqe_io_link | abi::sqe_io_hardlink);
    }

    // Published or queued, and not consumed by the kernel yet. Relaxed, here and below, where the
    // head is only counted by: nothing is written over before free_sqes() has looked at it again.
    [[nodiscard]] std::uint32_t unconsumed(Sequence tail) const noexcept {
        return index(tail) - load_relaxed(khead_);
    }
    // Notes what the kernel has consumed, so that unflushed() is about the rest.
    void note_consumed() noexcept { flushed_ = load_relaxed(khead_); }
    // Notes that an SQPOLL thread which is awake will consume all that is published.
    void note_published(Sequence tail) noexcept { flushed_ = index(tail); }
    // Closes the queue and returns how many of the queued operations the kernel will never consume.
    std::uint32_t close(Sequence tail, bool sqpoll) noexcept {
        flushed_ = index(tail);
        return index(tail) - given_away(sqpoll);
    }

    // The SQE of the operation queued when the tail was `tail`, while the kernel has not consumed
    // it.
    [[nodiscard]] abi::SqeWords& queued(Sequence tail) const noexcept {
        return ksqes_[index(tail) & mask_];
    }
    // Any SQE, by its index in the array.
    [[nodiscard]] abi::SqeWords& at(std::size_t index) const noexcept { return ksqes_[index]; }

    // Relaxed: the flags are hints about what an enter would do, and carry no data. (NEED_WAKEUP is
    // read elsewhere.)
    [[nodiscard]] std::uint32_t flags() const noexcept { return load_relaxed(kflags_); }
    [[nodiscard]] std::uint32_t entries() const noexcept { return mask_ + 1; }

private:
    static std::uint32_t index(Sequence tail) noexcept { return static_cast<std::uint32_t>(tail); }
    // Where the operations that are still ours alone begin: an SQPOLL thread may take what it was
    // shown at any time, an enter leaves what it did not consume.
    [[nodiscard]] std::uint32_t given_away(bool sqpoll) const noexcept {
        return load_relaxed(sqpoll ? ktail_ : khead_);
    }

    abi::SqeWords* ksqes_ = nullptr;
    std::uint32_t mask_ = 0;
    std::uint32_t flushed_ = 0;
    std::uint32_t* kflags_ = nullptr;
    std::uint32_t* khead_ = nullptr;
    std::uint32_t* ktail_ = nullptr;
};

// The consumer's end of the CQ ring. Pointers that begin with k lead to memory the kernel shares;
// the rest is ours.
//
//            khead (we store)             ktail (kernel stores)
//               v                           v
//      | free  | taken by a Completions | ready | free ...     indices run freely over 2^32 and are
//                                       ^                      masked on use
//                                     head_ (taken so far)
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

    // Completions that have arrived and are not yet taken.
    [[nodiscard]] std::uint32_t ready() const noexcept {
        // Acquire pairs with the kernel's release of the CQ tail (io_commit_cqring): the CQEs below
        // it, and the bytes that the operations moved, are visible to us before the tail is.
        const std::uint32_t count = load_acquire(ktail_) - head_;
        SQUALL_ASSERT(count <= mask_ + 1, "the CQ holds %u completions and has %u entries", count,
                      mask_ + 1);
        return count;
    }

    // The first of those with this token, or null.
    [[nodiscard]] const Completion* find(Token token) const noexcept {
        for (std::uint32_t at = head_, end = head_ + ready(); at != end; ++at)
            if (kcqes_[at & mask_].token == token) return &kcqes_[at & mask_];
        return nullptr;
    }

    // CQ slots that are neither free nor promised to an operation: those of a Completions still
    // alive.
    [[nodiscard]] std::uint32_t taken() const noexcept {
        // Only we store khead, so a relaxed load of our own word is exact.
        return head_ - load_relaxed(khead_);
    }
    [[nodiscard]] bool is_taken() const noexcept { return taken_; }
    [[nodiscard]] std::uint32_t entries() const noexcept { return mask_ + 1; }

    void must_not_be_taken() const noexcept {
        SQUALL_ASSERT(
            !taken_,
            "poll() or park() while an earlier Completions is alive: let it go out of scope first");
    }
    // Takes the next `count` completions, which stay where they are until advance(). Returns the
    // index of the first.
    std::uint32_t take(std::uint32_t count) noexcept {
        must_not_be_taken();
        taken_ = true;
        const std::uint32_t first = head_;
        head_ += count;
        return first;
    }
    // Moves completion number `i` of those that are ready to the first place; the others keep their
    // order.
    void bring_forward(std::uint32_t i) noexcept {
        const Completion wanted = ready_at(i);
        for (; i > 0; --i) ready_at(i) = ready_at(i - 1);
        ready_at(0) = wanted;
    }
    // Takes the first that is ready out of the queue, also while a Completions is alive, with whose
    // slots its slot is then given back.
    Completion take_one() noexcept {
        const Completion first = ready_at(0);
        ++head_;
        if (!taken_) advance();
        return first;
    }
    // Gives the slots of what was taken back to the kernel.
    void advance() noexcept {
        // Release pairs with the kernel's acquire of the CQ head (io_cqe_cache_refill): our reads
        // of the CQEs are done before the kernel may write over them.
        if (khead_) [[likely]]  // null in a child of fork(), whose parent's CQ it is (I10)
            store_release(khead_, head_);
        taken_ = false;
    }

    // Completion number `i` of those that are ready, for whoever changes it before it is handed
    // out.
    [[nodiscard]] Completion& ready_at(std::uint32_t i) const noexcept {
        return kcqes_[(head_ + i) & mask_];
    }
    [[nodiscard]] const Completion* slots() const noexcept { return kcqes_; }
    [[nodiscard]] std::uint32_t mask() const noexcept { return mask_; }

private:
    Completion* kcqes_ = nullptr;
    std::uint32_t* ktail_ = nullptr;
    std::uint32_t* khead_ = nullptr;
    std::uint32_t mask_ = 0;
    std::uint32_t head_ = 0;
    bool taken_ = false;
};

// Both queues of a ring, and the counts of what went through them. Where one ring is behind a
// front, the front that fills the SQEs and the ring that is entered for them share one.
struct Queues {
    SubmissionQueue sq;
    Counters counters;
    CompletionQueue cq;

    [[nodiscard]] std::uint64_t in_flight() const noexcept {
        return counters.submitted - counters.completed;
    }

    // Of those, what the kernel has consumed.
    [[nodiscard]] std::uint64_t in_kernel() const noexcept {
        return in_flight() - sq.unconsumed(counters.submitted);
    }

    // Why an enter would have to ask for events: task work flagged, or an overflow to flush.
    [[nodiscard]] std::uint32_t hints() const noexcept {
        return sq.flags() & (abi::sq_taskrun | abi::sq_cq_overflow);
    }
    // I5: is there a reason to enter the kernel? Something queued, or one of those.
    [[nodiscard]] bool want_kernel() const noexcept {
        return sq.unflushed(counters.submitted) || hints() != 0;
    }

    // How many more operations the CQ can answer for, beside all that are owed or being read (I2).
    [[nodiscard]] std::uint32_t cq_room() const noexcept {
        const std::uint64_t promised = in_flight() + cq.taken();
        return promised < cq.entries() ? static_cast<std::uint32_t>(cq.entries() - promised) : 0;
    }
    // The SQEs that may be filled next: only while the CQ can hold their completions.
    [[nodiscard]] std::span<abi::SqeWords> free_sqes() const noexcept {
        return sq.free_sqes(counters.submitted, cq_room());
    }
    // How many there are, side by side or not.
    [[nodiscard]] std::uint32_t room() const noexcept {
        const std::uint32_t sq_room = sq.entries() - sq.unconsumed(counters.submitted);
        const std::uint32_t completions = cq_room();
        return sq_room < completions ? sq_room : completions;
    }

    // Takes the operation back that was queued last and returns what it was; null when it is the
    // kernel's.
    abi::SqeWords* take_back(bool sqpoll) noexcept {
        if (!sq.take_back(counters.submitted, sqpoll)) return nullptr;
        sq.unlink_last(--counters.submitted, sqpoll);
        return &sq.queued(counters.submitted);
    }
    // The user_data of the operation that was queued last.
    [[nodiscard]] Token last_token() const noexcept {
        return static_cast<Token>(sq.queued(counters.submitted - 1).user_data);
    }
    // Whether what is queued next is linked to what was queued last.
    [[nodiscard]] bool is_chained() const noexcept {
        return sq.unconsumed(counters.submitted) > 0 &&
               (abi::flags_of(sq.queued(counters.submitted - 1).op_fd) &
                (abi::sqe_io_link | abi::sqe_io_hardlink)) != 0;
    }

    // The next `count` completions are about to be handed out, each an operation's.
    void complete(std::uint32_t count) noexcept {
        SQUALL_ASSERT(count <= in_flight(),
                      "the CQ holds %u completions and %llu operations are in flight", count,
                      static_cast<unsigned long long>(in_flight()));
        counters.completed += count;
    }

    // Hands every completion that has arrived to `each`, and its slot back.
    template <class Each>
    void reap(Each each) noexcept {
        const std::uint32_t count = cq.ready();
        if (count == 0) return;
        complete(count);
        // Taken meanwhile, so that free_sqes() counts their slots.
        for (std::uint32_t first = cq.take(count), i = 0; i < count; ++i)
            each(cq.slots()[(first + i) & cq.mask()]);
        cq.advance();
    }
};

}  // namespace squall::detail
