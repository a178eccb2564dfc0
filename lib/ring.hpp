// SPDX-License-Identifier: MIT
//
// Ring: one io_uring and what belongs to it: its descriptor, its mappings, what is registered with
// it, and the thread that owns it. Its queues are given to it by the front that it is behind.
// Set-up is setup.cpp's, entering the kernel enter.hpp's and enter.cpp's, letting go
// teardown.cpp's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "owned.hpp"
#include "squall/abi.hpp"
#include "squall/error.hpp"
#include "squall/options.hpp"
#include "squall/queue.hpp"
#include "squall/registered.hpp"
#include "squall/sqe.hpp"

namespace squall::detail {

struct ArenaControl;

class Ring {
public:
    // A polled ring (IORING_SETUP_IOPOLL) takes only transfers, and its SQEs in any order.
    enum class Role : std::uint8_t { alone, polled };

    // `queues` and `features` are filled by set_up() and belong to whoever made this.
    Ring(sys::Kernel* kernel, Queues& queues, Features& features) noexcept
        : kernel_(kernel), queues_(queues), features_(features) {}
    // Lets go of all but what is in flight: see cancel_and_wait().
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // Makes it, of options that were checked; a polled ring shares its companion's SQPOLL thread,
    // if any. Errors as Io::create's; it is to be destroyed after one too.
    Result<void> set_up(const IoOptions& options, Role role, const Ring* companion);

    // --- Of which thread it is (I8)
    // 0 when this thread may enter the ring now, else what Completions report. Binds it to this
    // thread when it is bound to none.
    int may_enter() noexcept;
    [[nodiscard]] bool is_on_another_thread() const noexcept;
    [[nodiscard]] bool is_bound() const noexcept { return bound_; }

    // --- Entering the kernel
    enum class Offer : bool { nothing, everything };
    // One io_uring_enter: submits what is queued, then waits for `min_complete` completions, for
    // `timeout` at most. Requires that there is something to do: something is queued, or `hints` or
    // `min_complete` is not 0. 0, or an errno: see answer.hpp. `queues` are the ring's own, which
    // who calls this has nearer at hand; `hints` is Queues::hints(), or what is known of it.
    int enter(Queues& queues, Offer offer, std::uint32_t min_complete, const abi::Timespec* timeout,
              std::uint32_t hints) noexcept;
    // The same, not inlined, and 0 where there is nothing to do.
    int enter_once(Offer offer, std::uint32_t min_complete, const abi::Timespec* timeout) noexcept;
    // Goes on for as long as an enter brings as many completions as one can, and flags more.
    void run_task_work_left() noexcept;

    // --- Letting go (I3)
    // Returns when the kernel owes no completion, and so writes to no memory of the caller's any
    // more. Aborts, with a message, where only the thread that submitted could see to that.
    void cancel_and_wait() noexcept;

    // Puts `fd` into the file table, or empties that index (-1). 0 or more, or -errno.
    int update_file(std::uint32_t table_index, int fd) noexcept;

    // Registers these bytes at an index of the table of buffers, or empties it (null). 0 or -errno.
    int update_buffer(std::uint32_t index, void* data, std::uint64_t length) noexcept;

    // io_uring_register. 0 or more, or -errno.
    int do_register(std::uint32_t code, void* arg, std::uint32_t count) noexcept;
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

    // What was registered, where paths are kept for SQEs, and the SQ's index array; null: it has
    // none.
    [[nodiscard]] RegisteredMemory memory() const noexcept { return memory_; }
    [[nodiscard]] char* paths() const noexcept {
        return reinterpret_cast<char*>(path_memory_.get());
    }
    [[nodiscard]] std::uint32_t* sq_array() const noexcept { return sq_array_; }
    [[nodiscard]] bool has_poller() const noexcept { return sqpoll_; }

    // Notes that nothing is in flight where that is so: what is in flight later was queued since.
    void note_if_quiet() noexcept {
        if (queues_.in_flight() == 0) quiet_ = queues_.counters.submitted;
    }

private:
    int may_enter_slowly() noexcept;
    int bind() noexcept;
    int enable() noexcept;
    int enter_beside_poller(std::uint32_t min_complete, const abi::Timespec* timeout,
                            std::uint32_t hints) noexcept;
    std::uint32_t getevents_if_needed(Queues& queues, std::uint32_t hints,
                                      std::uint32_t min_complete) noexcept;
    int call_kernel(Queues& queues, std::uint32_t to_submit, std::uint32_t min_complete,
                    std::uint32_t flags, const abi::Timespec* timeout) noexcept;
    int note_failure(int code) noexcept;

    Result<void> map(const abi::Params& params);
    Result<void> check_operations();
    Result<void> register_arena(const BufferArena& arena, std::uint32_t parts,
                                const Ring* companion);
    void keep(ArenaControl* arena) noexcept;
    Result<void> register_table(std::uint32_t parts);
    Result<void> register_files(std::uint32_t slots);

    bool cancel_by_operation(Sequence& end) noexcept;
    int give_up_registration() noexcept;
    [[nodiscard]] bool may_yet_write() const noexcept;
    void close_and_wait() noexcept;
    void unmap_and_close() noexcept;

    // What entering touches.
    sys::Kernel* const kernel_;
    Queues& queues_;
    // Thread number of the submitter; 0 before the first submission and in Mode::plain.
    std::uint64_t owner_ = 0;
    int enter_fd_ = -1;  // the ring's descriptor, or its index among the owner's registered rings
    std::uint32_t enter_flags_ = 0;
    bool sqpoll_ = false;
    bool bound_ = false;

    // Cold from here on.
    int owner_tid_ = 0;
    Features& features_;
    Sequence quiet_ = 0;  // nothing was in flight when so many had been submitted
    Descriptor fd_;
    Descriptor hang_up_;  // hangs up when the kernel has let go of the ring: see register_files()
    Mapping sq_ring_, cq_ring_, sqe_memory_, path_memory_;
    std::uint32_t* sq_array_ = nullptr;
    RegisteredMemory memory_;
    ArenaControl* arena_ = nullptr;
};

}  // namespace squall::detail
