// SPDX-License-Identifier: MIT
//
// The ring: SubmissionQueue (the SQ's protocol over plain pointers) and Ring, which owns one io_uring, its mappings and
// its cold paths: set-up, entering the kernel, and letting go. It knows nothing of files; io.hpp fills its SQEs. This
// is a header because the hot path is inline, not because it is API: programs use Io.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "squall/abi.hpp"
#include "squall/completion.hpp"
#include "squall/config.hpp"
#include "squall/error.hpp"
#include "squall/latency.hpp"
#include "squall/msan.hpp"
#include "squall/options.hpp"

namespace squall::detail {

class Pair;
struct ArenaControl;

// The producer's end of the SQ ring. Pointers that begin with k lead to memory the kernel shares; the rest is ours.
//
//            khead (kernel stores)    ktail (we store)
//               v                       v
//      | free  | published, not consumed | queued    | free ...      indices run freely over 2^32 and are masked on use
//                                                    ^       ^
//                                                  next_   stop_
//
// The tail as a number is not kept here but given to the calls that need it: it is how many operations were ever queued,
// which the ring counts anyway (Counters::submitted). stop_ is the last known end of room: never beyond the SQ's entries
// nor the CQ's (I2), nor the end of the array, and moved only when next_ meets it, so that queueing an operation costs one
// comparison and no arithmetic on indices. All-zero means full for ever: what a forked child sees (I10).
class SubmissionQueue {
public:
    using Tail = std::uint64_t;
    struct Memory {
        std::uint32_t* khead;
        std::uint32_t* ktail;
        std::uint32_t* kflags;
        abi::SqeWords* ksqes;
        std::uint32_t entries;  // a power of two
    };

    SubmissionQueue() = default;
    SubmissionQueue(const Memory& memory, Tail tail) noexcept
        : ksqes_(memory.ksqes),
          mask_(memory.entries - 1),
          flushed_(index(tail)),
          kflags_(memory.kflags),
          khead_(memory.khead),
          ktail_(memory.ktail) {}

    // True when there is no room as far as is known; widen() may find some.
    [[nodiscard]] bool full() const noexcept { return next_ == stop_; }

    // Looks again how much room there is; `cq_room` is how many more operations the CQ can answer for. True when some.
    // Requires full().
    bool widen(Tail tail, std::uint32_t cq_room) noexcept {
        // Acquire pairs with the kernel's release of the SQ head (io_commit_sqring): it has read the SQE and copied the
        // path (IORING_FEAT_SUBMIT_STABLE) before we write over them.
        const std::uint32_t sq_room = entries() - (index(tail) - load_acquire(khead_));
        SQUALL_ASSERT(sq_room <= entries(), "the SQ has %u free slots of %u", sq_room, entries());
        const std::uint32_t slot = index(tail) & mask_;
        const std::uint32_t to_end = entries() - slot;
        const std::uint32_t room = sq_room < cq_room ? sq_room : cq_room;
        next_ = ksqes_ + slot;
        stop_ = next_ + (room < to_end ? room : to_end);
        return !full();
    }

    // The slot that the next push() will queue. Requires !full().
    [[nodiscard]] abi::SqeWords& slot() const noexcept { return *next_; }
    [[nodiscard]] std::size_t slot_index() const noexcept { return static_cast<std::size_t>(next_ - ksqes_); }
    void push() noexcept { ++next_; }

    // True when something is queued that the kernel neither consumed nor, awake as an SQPOLL thread, is about to.
    [[nodiscard]] bool unflushed(Tail tail) const noexcept { return index(tail) != flushed_; }

    // Shows the kernel everything queued.
    void publish(Tail tail) noexcept {
        // Release pairs with the kernel's acquire of the SQ tail (io_sqring_entries): the SQEs are written before the
        // tail says that they are there. One store for the whole batch.
        store_release(ktail_, index(tail));
    }
    // The same for a ring whose SQPOLL thread may be about to sleep; true when it must be woken.
    [[nodiscard]] bool publish_and_check_sleep(Tail tail) noexcept {
        // The poller sets NEED_WAKEUP, then looks at the tail once more; we set the tail, then look at NEED_WAKEUP. At
        // least one of the two must see the other's store, which acquire and release cannot give: they let our load
        // pass our own store. Both of ours are sequentially consistent, which forbids just that (on x86 the store is an
        // xchg); the poller has its full barrier between the two (io_sq_thread, smp_mb__after_atomic).
        SharedWord(*ktail_).store(index(tail), std::memory_order_seq_cst);
        return (SharedWord(*kflags_).load(std::memory_order_seq_cst) & abi::sq_need_wakeup) != 0;
    }

    // Takes the operation back that was queued last, unless the kernel has it: consumed it or, with an SQPOLL thread, may be
    // about to. True when it did: `tail` is then one too many, and queued(tail - 1) is what it was.
    [[nodiscard]] bool take_back(Tail tail, bool sqpoll) noexcept {
        if (index(tail) == given_away(sqpoll)) return false;
        // An enter that failed may have shown it to the kernel; without a poller the kernel looks only within an enter.
        if (!sqpoll) store_release(ktail_, index(tail - 1));
        hold();
        return true;
    }

    // Published or queued, and not consumed by the kernel yet. Relaxed, here and below, where the head is only counted by:
    // nothing is written over before widen() has looked at it again.
    [[nodiscard]] std::uint32_t unconsumed(Tail tail) const noexcept { return index(tail) - load_relaxed(khead_); }
    // Notes what the kernel has consumed, so that unflushed() is about the rest.
    void note_consumed() noexcept { flushed_ = load_relaxed(khead_); }
    // Notes that an SQPOLL thread which is awake will consume all that is published.
    void note_published(Tail tail) noexcept { flushed_ = index(tail); }
    // Lets the next operation find it full, and so look for room anew.
    void hold() noexcept { stop_ = next_; }
    // The slot of the operation queued when the tail was `tail`, while the kernel has not consumed it.
    [[nodiscard]] const abi::SqeWords& queued(Tail tail) const noexcept { return ksqes_[index(tail) & mask_]; }

    // For a pair of rings: any slot, by its place in the array; and room for one operation, in a slot of another queue.
    [[nodiscard]] abi::SqeWords& at(std::size_t place) const noexcept { return ksqes_[place]; }
    void borrow(const SubmissionQueue& other, std::size_t place) noexcept {
        ksqes_ = other.ksqes_;
        next_ = ksqes_ + place;
        stop_ = next_ + 1;
    }
    // Closes the queue and returns how many of the queued operations the kernel will never consume.
    std::uint32_t close(Tail tail, bool sqpoll) noexcept {
        const std::uint32_t end = given_away(sqpoll);
        hold();
        flushed_ = index(tail);
        return index(tail) - end;
    }

    // Relaxed: the flags are hints about what an enter would do, and carry no data. (NEED_WAKEUP is read elsewhere.)
    [[nodiscard]] std::uint32_t flags() const noexcept { return load_relaxed(kflags_); }
    [[nodiscard]] std::uint32_t entries() const noexcept { return mask_ + 1; }

private:
    // The kernel's indices are 32 bits wide.
    static std::uint32_t index(Tail tail) noexcept { return static_cast<std::uint32_t>(tail); }
    // Where the operations that are still ours alone begin: an SQPOLL thread may take what it was shown at any time, an enter
    // leaves what it did not consume.
    [[nodiscard]] std::uint32_t given_away(bool sqpoll) const noexcept {
        return load_relaxed(sqpoll ? ktail_ : khead_);
    }

    abi::SqeWords* next_ = nullptr;
    abi::SqeWords* stop_ = nullptr;
    abi::SqeWords* ksqes_ = nullptr;
    std::uint32_t mask_ = 0;
    std::uint32_t flushed_ = 0;
    std::uint32_t* kflags_ = nullptr;
    std::uint32_t* khead_ = nullptr;
    std::uint32_t* ktail_ = nullptr;
};

// One io_uring and all that belongs to it. It lives in a page of its own that fork() wipes in the child
// (MADV_WIPEONFORK, 4.14): there every word is zero, so the queue is full for ever, nothing is in flight, and the first
// cold path finds its state to be State::wiped and says so, without a check on the hot path (I10).
//
// Thread rule: one thread at a time; the first submission binds the ring to its thread unless it is Mode::plain (I8).
class SQUALL_API Ring {
public:
    // Sets up, maps, probes and registers; the caller owns the result and gives it to destroy(). Errors as
    // Io::create's.
    static Result<Ring*> create(const IoOptions& options);
    // Drains, unmaps and closes (I3). Aborts, with a message, where returning would leave the kernel writing to the
    // caller's memory.
    static void destroy(Ring* ring) noexcept;

    // Of the mapping that a Ring is alone in.
    static constexpr std::size_t page_bytes = 4096;

    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // Is there room for the operation that begins with this word? When not, `counters.queue_full` has counted it.
    [[nodiscard]] bool has_room(abi::Word op_fd) noexcept { return !sq_.full() || make_room(op_fd); }
    // The slot to fill. Requires has_room().
    [[nodiscard]] abi::SqeWords& slot() const noexcept { return sq_.slot(); }
    // Queues what is in the slot.
    void push() noexcept {
        writes_.queued(sq_.slot());
        sq_.push();
        ++counters_.submitted;
    }
    // Where the two paths of the operation in that slot are kept until the kernel has copied them (I6).
    [[nodiscard]] char* path_slot(unsigned which) const noexcept {
        return paths_ + (sq_.slot_index() * 2 + which) * path_slot_bytes;
    }
    static constexpr std::size_t path_slot_bytes = 4096;  // PATH_MAX, the terminating zero included

    // Whether all of [data, data + length) lies in one registered buffer, and in which: where the memory is decides,
    // nothing else. No bytes at all lie in none.
    [[nodiscard]] bool is_fixed(std::uintptr_t data, std::uint64_t length) const noexcept {
        // Before the arena `first` is close to 2^64, and so in no region with a `last` that is inside.
        const std::uint64_t first = data - arena_base_;
        const std::uint64_t last = first + length - 1;
        return length - 1 < region_bytes && last < arena_bytes_ && (first ^ last) >> region_shift == 0;
    }
    [[nodiscard]] std::uint16_t region_of(std::uintptr_t data) const noexcept {
        return static_cast<std::uint16_t>((data - arena_base_) >> region_shift);
    }
    // The kernel's limit for one registered buffer is 1 GiB.
    static constexpr unsigned region_shift = 30;
    static constexpr std::uint64_t region_bytes = std::uint64_t{1} << region_shift;

    // Io::withdraw.
    std::optional<Token> withdraw() noexcept;
    // Io::set_file.
    Result<void> set_file(FileSlot slot, int fd);
    // Whether the slot may be opened into or closed now: false is as false of has_room().
    bool may_change(FileSlot slot) noexcept { return state_ == State::ordinary || may_change_slowly(slot); }

    [[nodiscard]] Completions poll() noexcept {
        int code = 0;
        if (state_ != State::ordinary) [[unlikely]] {
            code = poll_watched();
            if (code < 0) return Completions(-code);
        } else if (wants_kernel()) {
            code = poll_slowly();
        }
        return hand_out(code);
    }
    [[nodiscard]] Completions park(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept {
        int code = 0;
        if (state_ != State::ordinary) [[unlikely]] {
            code = park_watched(at_least, timeout);
            if (code < 0) return Completions(-code);
        } else if (wants_kernel() || cq_.ready() < at_least) {
            code = park_slowly(at_least, timeout);
        }
        return hand_out(code);
    }

    [[nodiscard]] std::uint64_t in_flight() const noexcept { return counters_.submitted - counters_.completed; }
    [[nodiscard]] const Features& features() const noexcept { return features_; }
    [[nodiscard]] Counters& counters() noexcept { return counters_; }
    [[nodiscard]] const Counters& counters() const noexcept { return counters_; }
    [[nodiscard]] bool lending() const noexcept { return cq_.is_lent(); }
#if defined(SQUALL_MSAN)
    // The last step of Io::create. Errors as its own.
    Result<void> map_writes() { return writes_.map(features_.cq_entries); }
#endif

private:
    friend class Pair;
    Ring() = default;
    enum class Role : std::uint8_t { alone, polled };
    // The same as create, of options that were checked. A polled ring shares its companion's SQPOLL thread, if any.
    static Result<Ring*> make(const IoOptions& options, Role role, const Ring* companion);
    // One without a ring in the kernel, for a pair.
    static Result<Ring*> make_blank();

    // I5: is there a reason to enter the kernel? Something queued, task work flagged, or an overflow to flush.
    [[nodiscard]] bool wants_kernel() const noexcept {
        return sq_.unflushed(counters_.submitted) || (sq_.flags() & (abi::sq_taskrun | abi::sq_cq_overflow)) != 0;
    }
    [[nodiscard]] Completions hand_out(int code) noexcept {
        cq_.must_not_be_lent();
        const std::uint32_t count = cq_.ready();
        if (count == 0) return Completions(code);  // an idle poll stores nothing
        complete(count);
        writes_.completed(cq_, count);
        return Completions(cq_, count, code);
    }
    void complete(std::uint32_t count) noexcept {
        SQUALL_ASSERT(count <= in_flight(), "the CQ holds %u completions and %llu operations are in flight", count,
                      static_cast<unsigned long long>(in_flight()));
        counters_.completed += count;
    }

    // Hands every completion that has arrived to `take`, and its slot back.
    template <class Take>
    void reap(Take take) noexcept {
        const std::uint32_t count = cq_.ready();
        if (count == 0) return;
        complete(count);
        for (const Completion& done : Completions(cq_, count, 0)) take(done);
    }
    int update_file(std::uint32_t place, int fd) noexcept;

    bool make_room(abi::Word op_fd) noexcept;
    int poll_slowly() noexcept;
    int wait(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept;
    int poll_flagged(std::uint32_t flagged) noexcept;
    [[gnu::cold]] int outcome(int code) noexcept;
    [[gnu::cold]] int report(int code) noexcept;
    void run_task_work_left() noexcept;
    std::optional<Token> take_back() noexcept;
    void uncount(const abi::SqeWords& sqe) noexcept;
    int park_slowly(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept;
    int poll_watched() noexcept;
    int park_watched(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept;
    [[nodiscard]] int turned_away() noexcept;
    bool may_change_slowly(FileSlot slot) noexcept;
    void give_sample() noexcept;
    void find_sample() noexcept;

    int may_enter() noexcept;
    int may_enter_slowly() noexcept;
    int bind() noexcept;
    int enable() noexcept;
    enum class Offer : bool { nothing, everything };
    [[nodiscard]] std::uint32_t hints() const noexcept;
    int enter(Offer offer, std::uint32_t min_complete, const abi::Timespec* timeout, std::uint32_t hints) noexcept;
    int enter_beside_poller(std::uint32_t min_complete, const abi::Timespec* timeout, std::uint32_t hints) noexcept;
    std::uint32_t getevents_if_needed(std::uint32_t hints, std::uint32_t min_complete) noexcept;
    int call_kernel(std::uint32_t to_submit, std::uint32_t min_complete, std::uint32_t flags,
                    const abi::Timespec* timeout) noexcept;
    int note_failure(int code) noexcept;
    int enter_once(Offer offer, std::uint32_t min_complete, const abi::Timespec* timeout) noexcept;  // not inlined
    void make_front(const IoOptions& options) noexcept;
    Result<void> set_up(const IoOptions& options, Role role, const Ring* companion);
    Result<void> map(const abi::Params& params);
    Result<void> check_operations();
    Result<void> register_arena(const BufferArena& arena);
    [[nodiscard]] bool foreign() const noexcept;
    Result<void> register_files(std::uint32_t slots);
    void drain() noexcept;
    bool cancel_by_operation(std::uint64_t& end) noexcept;
    int give_up_registration() noexcept;
    [[nodiscard]] bool may_yet_write() const noexcept;
    void close_and_wait() noexcept;
    enum class Buffers : bool { leave_to_close, unregister };
    void unmap(Buffers buffers) noexcept;

    // What queueing an operation touches.
    SubmissionQueue sq_;
    Counters counters_;
    std::uintptr_t arena_base_ = 0;
    std::uint64_t arena_bytes_ = 0;
    char* paths_ = nullptr;
    // Whether the inline calls may go their quick way.
    enum class State : std::uint8_t {
        wiped,     // a forked child's copy (I10)
        ordinary,  // they may
        watched,   // a sample is on its way, this is the front of a pair, or all is checked
    };
    State state_ = State::wiped;
    [[nodiscard]] State usual() const noexcept { return checks_ ? State::watched : State::ordinary; }
    bool sqpoll_ = false;
    // What reaping touches.
    CompletionQueue cq_;

    // Cold from here on.
    std::uint64_t quiet_ = 0;  // nothing was in flight when so many had been submitted
    std::uint64_t owner_ = 0;  // thread number of the submitter; 0 before the first submission and in Mode::plain
    int owner_tid_ = 0;
    int fd_ = -1;
    int hang_up_ = -1;   // hangs up when the kernel has let go of the ring: see register_files()
    int enter_fd_ = -1;  // fd_, or its index among the owner's registered rings
    std::uint32_t enter_flags_ = 0;
    bool bound_ = false;
    bool checks_ = false;
    Features features_;
    ArenaControl* arena_ = nullptr;
    struct Mapping {
        void* at = nullptr;
        std::size_t bytes = 0;
    };
    Sampler sampler_;
    Pair* pair_ = nullptr;               // with IoOptions::polling; then this is its front
    std::uint32_t* sq_array_ = nullptr;  // the SQ's index array, where it has one
    Mapping sq_ring_, cq_ring_, sqe_array_, path_array_;
    [[no_unique_address]] KernelWrites writes_;  // not a byte, but under MemorySanitizer
};
static_assert(sizeof(Ring) <= Ring::page_bytes);

}  // namespace squall::detail
