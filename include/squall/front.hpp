// SPDX-License-Identifier: MIT
//
// The front: what the inline calls of Io see. It knows where the next SQE is filled, what lies in
// registered memory, and whether the quick way may be taken; what cannot be done inline is a call
// through a table. There are two: lib/single.cpp has one io_uring behind it, lib/polled.cpp two.
// Sampling and IoOptions::checks are the front's own, and so the same above both. Not API.
//
// The invariants, by the numbers that the comments and the tests give them:
//   I1   conservation: Counters::submitted == completed + in flight, in every state, after every
//        error.
//   I2   no overflow: what is queued or in flight never exceeds the CQ's entries; `false` comes
//        first.
//   I3   clean exit: when ~Io has returned the kernel writes to no memory of the caller's.
//   I4   no allocation and no lock after create (but for wakes that nobody takes: waker.hpp).
//   I5   no needless system call: one enter for all that is queued, none where there is no reason.
//   I6   a path may be changed or freed as soon as the call that was given it returns.
//   I7   all other memory is the caller's to keep until the completion is handed out.
//   I8   created anywhere: the thread that submits first owns the ring, not the one that made it.
//   I9   signals and passing errors lose nothing and repeat nothing: lib/answer.hpp says what each
//        means.
//   I10  fork: a child finds zeros in place of fronts and of what arenas know, and no ring and no
//        buffer; use is caught.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "squall/abi.hpp"
#include "squall/completions.hpp"
#include "squall/config.hpp"
#include "squall/counters.hpp"
#include "squall/error.hpp"
#include "squall/file.hpp"
#include "squall/msan.hpp"
#include "squall/options.hpp"
#include "squall/queue.hpp"
#include "squall/registered.hpp"
#include "squall/sampler.hpp"
#include "squall/sqe.hpp"
#include "squall/waker.hpp"

namespace squall::sys {
class Kernel;
}

namespace squall::detail {

class Front;
class Parts;
struct Refusal;
class Readiness;
class Ring;
class WakeBox;

// What a front calls on the ring or rings behind it; a table and not virtual functions, so that a
// wiped page shows as null. Each is called by the front alone, and not in a forked child.
struct FrontCalls {
    // Whether the front's own queues show when there is nothing to do, so that inline code may
    // look.
    bool queues_tell;
    // Points the cursor at the SQE for the operation that begins with `op_fd`. False: there is
    // none.
    bool (*find_room)(Front&, abi::Word op_fd) noexcept;
    // How many operations may be queued now that all go one way, as those of a chain do.
    std::uint32_t (*room)(Front&) noexcept;
    // Whether what is queued next is linked to what was queued last.
    bool (*is_chained)(const Front&) noexcept;
    // Io::poll and park, but for handing out. 0, or the errno that Completions report. Where the
    // queues tell, poll is called only when they want the kernel, and park when they do or lack
    // completions.
    int (*poll)(Front&) noexcept;
    int (*park)(Front&, std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept;
    // Submits, and waits until one completion more is ready than now, whether or not a Completions
    // is alive; not at all where nothing more is in flight. 0 or an errno.
    int (*wait_for_more)(Front&) noexcept;
    // Takes back what Io::withdraw does, and returns the SQE with the caller's token in it; null:
    // none. `only`: nothing but an operation with this token.
    const abi::SqeWords* (*take_back)(Front&, const Token* only) noexcept;
    // Whether a slot may be opened into or closed now.
    bool (*may_change)(Front&, std::uint32_t table_index) noexcept;
    // Puts `fd` into a slot that is in the table, or empties it (-1). 0, -errno, or slot_is_busy.
    int (*set_file)(Front&, std::uint32_t table_index, int fd) noexcept;
    static constexpr int slot_is_busy = 1;  // polled transfers are in flight on it
    // Registers these bytes at an index of the table of parts, or empties it (null). 0 or -errno.
    int (*set_part)(Front&, std::uint32_t index, void* data, std::uint64_t length) noexcept;
    // Whether a poll has something to do that Readiness is not told of.
    bool (*must_look)(Front&) noexcept;
    // Lets go of what is behind the front (I3), and ends it. Its page is the front's to unmap.
    void (*destroy)(Front&) noexcept;
};

// It lives in a page of its own that fork() wipes in the child (MADV_WIPEONFORK, 4.14): there every
// word is zero, so the cursor is full for ever, nothing is in flight, the quick way is closed, and
// the first slow call finds no table and says so, without a check on the hot path (I10).
//
// Thread rule: one thread at a time; the first submission binds it to its thread unless it is
// Mode::plain (I8).
class SQUALL_API Front {
public:
    // Makes the front that `options` ask for, and what is behind it; the caller owns the result and
    // gives it to destroy(). Errors as Io::create's.
    static Result<Front*> create(const IoOptions& options);
    // Lets go of all that is behind it (I3). Aborts, with a message, where returning would leave
    // the kernel writing to the caller's memory.
    static void destroy(Front* front) noexcept;

    Front(const Front&) = delete;
    Front& operator=(const Front&) = delete;

    // Is there room for the operation that begins with this word? When not, Counters::queue_full
    // has counted it, or it is a transfer and has_parts().
    [[nodiscard]] bool has_room(abi::Word op_fd) noexcept {
        return !cursor_.full() || find_room(op_fd);
    }
    // The SQE to fill. Requires has_room().
    [[nodiscard]] abi::SqeWords& slot() const noexcept { return cursor_.slot(); }
    // Queues what is in the slot.
    void push() noexcept {
        writes_.queued(cursor_.slot());
        cursor_.advance();
        ++queues_.counters.submitted;
    }
    // The same of an operation on a path, and on two, of which copies are kept until the kernel has
    // made its own (I6).
    void push(const char* path) noexcept;
    void push(const char* first, const char* second) noexcept;
    // Where they are kept.
    [[nodiscard]] char* path_slot(unsigned which) const noexcept {
        const auto index = static_cast<std::size_t>(&cursor_.slot() - sqes_);
        return paths_ + (index * 2 + which) * path_slot_bytes;
    }

    // What inline code finds by itself; where there are parts, nothing.
    [[nodiscard]] const RegisteredMemory& memory() const noexcept { return memory_; }
    // The only part that `data` may lie in, as memory of one region, and its index in the kernel's
    // table; -1: there is none. Requires has_parts().
    [[nodiscard]] int part_at(std::uintptr_t data, RegisteredMemory& part) const noexcept;
    // Io::register_part and Io::unregister_part.
    Result<void> register_part(std::span<std::byte> bytes);
    Result<void> unregister_part(std::span<std::byte> bytes);
    // Whether inline code cannot queue reads and writes: has_room() then has none for them.
    [[nodiscard]] bool has_parts() const noexcept { return parts_ != nullptr; }
    // has_room() for such a one.
    [[nodiscard]] bool has_room_among_parts(abi::Word op_fd) noexcept {
        return may_find_room() && look_for_room(op_fd);
    }

    // Io::has_room.
    [[nodiscard]] std::uint32_t room() noexcept;
    // An operation with How::drain is about to be queued.
    void note_drain() noexcept { drained_ = true; }
    // Whether answer_last() can do its work after the operation in the slot: that is the owner's,
    // is linked to nothing before it, and no drain is in flight.
    [[nodiscard]] bool may_answer() noexcept;
    // Io::withdraw; `only`: nothing but an operation that is known by this.
    std::optional<Token> withdraw(const Token* only = nullptr) noexcept;
    // Io::wait_for.
    Result<Completion> wait_for(Token token);
    // The same of the operation that was queued last, which is taken back where the ring fails.
    Result<Completion> wait_for_last(Token token);
    // Whether this thread can make Io::run's operation come true: no error.
    [[nodiscard]] Error cannot_run() const;
    // Submits what is queued, so that there is room for more; or waits for something to complete
    // where there `had_room` been and yet nothing could be queued. An error: nothing ever will.
    Error make_room(bool had_room);
    // Io::limit_workers and Io::bind_workers.
    Result<WorkerLimits> limit_workers(WorkerLimits limits);
    Result<void> bind_workers(std::span<const unsigned> cpus);
    // Io::poll_fd.
    int poll_fd() noexcept;
    // Io::waker.
    Waker waker() noexcept;
    // For IoOptions::sqpoll_with; -1 in a forked child.
    [[nodiscard]] int ring_fd() const noexcept;
    // Has the NOP that was queued last complete with `res`, or takes it back: false.
    bool answer_last(std::int32_t res) noexcept;
    // Io::set_file.
    Result<void> set_file(FileSlot slot, int fd);
    // Io::park with a Batch.
    [[nodiscard]] Completions park(const Batch& batch) noexcept;
    // Whether the slot may be opened into or closed now: false is as false of has_room().
    [[nodiscard]] bool may_change(std::uint32_t table_index) noexcept {
        return quick_ || may_change_slowly(table_index);
    }

    [[nodiscard]] Completions poll() noexcept {
        Outcome outcome{&queues_, 0};
        if (!quick_) [[unlikely]]
            outcome = poll_slowly();
        else if (queues_.want_kernel())
            outcome.code = poll_behind();
        return hand_out(outcome);
    }
    [[nodiscard]] Completions park(std::size_t at_least,
                                   const std::chrono::nanoseconds* timeout) noexcept {
        Outcome outcome{&queues_, 0};
        if (!quick_) [[unlikely]]
            outcome = park_slowly(at_least, timeout);
        else if (queues_.want_kernel() || queues_.cq.ready() < at_least)
            outcome.code = park_behind(at_least, timeout);
        return hand_out(outcome);
    }

    [[nodiscard]] std::uint64_t in_flight() const noexcept { return queues_.in_flight(); }
    [[nodiscard]] const Features& features() const noexcept { return features_; }
    [[nodiscard]] Counters& counters() noexcept { return queues_.counters; }
    [[nodiscard]] const Counters& counters() const noexcept { return queues_.counters; }
    [[nodiscard]] bool has_completions_out() const noexcept {
        return queues_.cq.is_taken() || wakes_.cq.is_taken();
    }
    // What answers its system calls; null: Linux.
    [[nodiscard]] sys::Kernel* kernel() const noexcept { return kernel_; }

protected:
    Front(const FrontCalls& calls, sys::Kernel* kernel, Ring& ring, Readiness& readiness) noexcept
        : calls_(&calls), kernel_(kernel), ring_(&ring), readiness_(&readiness) {}
    ~Front() = default;

    // The page that a front is alone in.
    static Result<void*> map_page();
    static void unmap_page(void* page) noexcept;
    static constexpr std::size_t page_bytes = 4096;
    template <class Kind>
    friend Result<Front*> make_front(const IoOptions& options, sys::Kernel* kernel);

    // What queueing an operation touches.
    SqeCursor cursor_;
    Queues queues_;
    RegisteredMemory memory_;
    abi::SqeWords* sqes_ = nullptr;  // the array that paths_ goes with
    char* paths_ = nullptr;
    // Whether the inline calls may go their quick way: there is a table, its queues tell, no sample
    // is on its way, and nothing is checked.
    bool quick_ = false;

private:
    bool find_room(abi::Word op_fd) noexcept;
    [[nodiscard]] bool may_find_room() const noexcept;
    bool look_for_room(abi::Word op_fd) noexcept;
    [[nodiscard]] Refusal refuses_parts() const noexcept;
    // Through the table, and out of line: what is inline stays small enough for compilers to inline
    // it.
    int poll_behind() noexcept;
    int park_behind(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept;
    // What a poll or park came to: the queue whose completions are handed out, and the errno that
    // Completions report.
    struct Outcome {
        Queues* from;
        int code;
    };
    Outcome poll_slowly() noexcept;
    Outcome park_slowly(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept;
    bool may_change_slowly(std::uint32_t table_index) noexcept;

    void finish(const IoOptions& options) noexcept;
    [[nodiscard]] bool usually_quick() const noexcept {
        return calls_->queues_tell && !features_.checks && !has_poll_fd_ && !wake_box_;
    }
    [[nodiscard]] bool is_forked() const noexcept { return !calls_; }
    [[nodiscard]] bool refuses_this_thread() const noexcept {
        return features_.checks && is_on_another_thread();
    }
    [[nodiscard]] bool is_on_another_thread() const noexcept;
    int register_workers(std::uint32_t code, void* arg, std::uint32_t count) noexcept;
    [[nodiscard]] int turned_away() noexcept;
    [[nodiscard]] int cannot_use() const noexcept;
    Outcome settle(int code) noexcept;
    Queues* choose() noexcept;
    void must_have_none_out() const noexcept;
    Outcome park_for_wakes(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept;
    void settle_poll_fd() noexcept;
    void call_for_a_look() noexcept;
    Result<Completion> wait_for(Token token, const Token* last);
    [[gnu::cold]] int report(int code) noexcept;
    void sample_submitted() noexcept;
    void sample_completed() noexcept;

    [[nodiscard]] Completions hand_out(Outcome outcome) noexcept {
        Queues& from = *outcome.from;
        from.cq.must_not_be_taken();
        const std::uint32_t count = from.cq.ready();
        if (count == 0) return Completions(outcome.code);  // an idle poll stores nothing
        from.complete(count);
        if (&from == &queues_) writes_.completed(queues_.cq, count);
        return Completions(from.cq, count, outcome.code);
    }

    const FrontCalls* calls_ = nullptr;
    sys::Kernel* kernel_ = nullptr;
    // The ring that has an owner, workers and perhaps an SQPOLL thread to ask about, and what that
    // signals for completions once Io::poll_fd or Io::waker was asked for.
    Ring* ring_ = nullptr;
    Readiness* readiness_ = nullptr;
    Sampler sampler_;
    Parts* parts_ = nullptr;       // with IoOptions::arena_parts
    WakeBox* wake_box_ = nullptr;  // once Io::waker was called
    Queues wakes_;                 // those that are to be handed out
    bool wakes_came_last_ = false;
    bool has_poll_fd_ = false;
    bool drained_ = false;                       // since nothing was in flight
    [[no_unique_address]] KernelWrites writes_;  // not a byte, but under MemorySanitizer

protected:
    Features features_;
};

}  // namespace squall::detail
