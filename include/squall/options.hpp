// SPDX-License-Identifier: MIT
//
// What a caller asks for and what it got: the aggregates given to Io::create and
// BufferArena::create, and Features, which Io hands back. Plain data, for designated
// initialisers; the checks are where they are used.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "squall/abi.hpp"
#include "squall/config.hpp"
#include "squall/file.hpp"
#include "squall/latency.hpp"

namespace squall {

class BufferArena;
class Io;

// How a ring's submissions and completions are driven.
enum class Mode : std::uint8_t {
    // One thread submits, and its completions are posted only when it asks
    // (IORING_SETUP_DEFER_TASKRUN, 6.1; the nearest that an older kernel has). The quickest, and
    // the default.
    deferred,
    // Belongs to no thread: after each call another thread may go on, as long as calls never
    // overlap. But an operation is its submitter's: when a thread ends, what it submitted and is in
    // flight ends with it (-ECANCELED, or -EFAULT for a buffered read; O_DIRECT transfers that the
    // device has go on), so a thread reaps what it submitted, or lives on. Completions interrupt
    // the submitter as on the first io_uring kernels.
    plain,
    // A kernel thread takes submissions from the SQ (IORING_SETUP_SQPOLL), so that a busy loop
    // makes no system call. It burns a core while it polls and takes some 40 us to wake once it
    // slept.
    sqpoll,
};

// Whether transfers are waited for by an interrupt or looked for by polling.
enum class Polling : std::uint8_t {
    none,  // the device interrupts
    // The CPU looks again and again (IORING_SETUP_IOPOLL, 5.1): least latency, and a core that is
    // always busy.
    busy,
    // It sleeps half of what a transfer usually takes, then looks (IORING_SETUP_HYBRID_IOPOLL,
    // 6.13). Asked of an older kernel: as busy, and Features says so.
    hybrid,
};

struct IoOptions {
    // Size of the SQ: how many operations one poll() can submit. 1 to 32768; the kernel rounds up
    // to a power of two.
    std::uint32_t entries = 256;
    // Size of the CQ: how many operations may be queued or in flight together (I2). 0: twice the
    // SQ; else from `entries` (after rounding) to 65536, rounded up to a power of two.
    std::uint32_t completion_entries = 0;
    Mode mode = Mode::deferred;
    // Registered with the ring by create (unless there are `arena_parts`), which must find it
    // there; the ring keeps its memory, and it may be destroyed before the Io. Null: every transfer
    // is unregistered.
    BufferArena* arena = nullptr;
    // Not 0: create registers nothing of the arena, and up to so many parts of it, 1 to 16384, are
    // registered and given up by Io::register_part() and unregister_part() while the Io is used: of
    // a buffer pool that grows and shrinks, or of one that is too large to be locked as a whole. A
    // transfer is then fixed where its bytes lie in one part. To look for it takes some 20 ns of
    // each transfer, and a few of each other operation, which are then queued out of line. With
    // polling a part is locked twice. Needs Linux 5.13.
    std::uint32_t arena_parts = 0;
    // How many files can be registered with the ring, 0 to 2^20 - 1, all slots empty at first;
    // RLIMIT_NOFILE is a limit too. An operation on a FileSlot spares the kernel looking up and
    // holding the file (some 10 to 30 ns). More than 0 needs Linux 5.15.
    std::uint32_t file_slots = 0;
    // Not none: reads and writes of files in a FileSlot are polled where the file, open with
    // O_DIRECT, lies on a device with poll queues; all else (other files, descriptors, other
    // operations) works as ever, by a second ring behind this one Io. Whether a file can be polled
    // is learnt from its first read and its first write after it came into the slot: what the
    // kernel refuses to poll (EOPNOTSUPP) is done by the second ring, and Counters::polled and
    // ::poll_refused tell. A device without poll queues is refused from Linux 6.12 on; an older
    // kernel takes it and waits for its interrupts. In such an Io a poll() with transfers in flight
    // enters the kernel, for that is where polling is done (in Mode::sqpoll its thread does it);
    // open() into a slot and close() of one return false, and set_file() EBUSY, until the polled
    // transfers on that slot have completed. It takes twice the descriptors, before Linux 6.12
    // twice the arena's locked memory, and at most 32768 operations in flight.
    Polling polling = Polling::none;
    // Latencies of one operation in so many, into the caller's histograms or hook; none unless
    // asked for.
    Sampling sampling{};
    // Whether a thread in park() counts as waiting for I/O: in the iowait of top and vmstat, in the
    // load average, in pressure stall information (PSI), and for a CPU frequency governor that
    // speeds a CPU up for such a thread. An event loop that has nothing to do would then look like
    // a disk that is too slow, all of the time, for the kernel cannot tell a read that waits for a
    // peer from one that waits for a disk; so it does not count, as in epoll_wait(2). Say true for
    // an Io that waits for disks alone. Before Linux 6.15 (IORING_ENTER_NO_IOWAIT) it counts,
    // whatever is asked: Features::io_wait.
    bool io_wait = false;
    // Looks for two mistakes that cannot be seen for free. An operation queued on a thread that is
    // not the ring's (I8) is refused at the call: false, and poll() says why; unchecked, it is
    // taken, and submitted by the owner's next poll() or park(). (Mode::plain belongs to no thread,
    // and cannot be checked.) And where poll() or park() fails a second time while nobody has
    // looked at the first failure (Completions::failed()), it aborts with a message: such a loop
    // may never end. Costs a few ns per operation. Empty: where squall was compiled without
    // optimisation, as in a debug build.
    std::optional<bool> checks{};
    // Mode::sqpoll only: another Io of this process in that mode, whose kernel thread takes this
    // one's submissions, too (IORING_SETUP_ATTACH_WQ, 5.6), so that several burn one core; the
    // longest `sqpoll_idle` and its `sqpoll_cpu` count. Needed until create returns. Neither keeps
    // chains then (Features::keeps_chains, which of the other is as old as that). Null: a thread of
    // its own.
    const Io* sqpoll_with = nullptr;
    // Mode::sqpoll only: how long the kernel thread polls an empty SQ before it sleeps, 1 ms or
    // more, and the CPU it is bound to (none: the scheduler decides).
    std::chrono::milliseconds sqpoll_idle{2};
    std::optional<unsigned> sqpoll_cpu{};
};

// What Io::park() waits for where it is to gather completions.
struct Batch {
    // How many are worth to wake up for, or all in flight when those are fewer.
    std::size_t at_least = 1;
    // For how long it waits for so many. After that, and not before, one is enough.
    std::chrono::nanoseconds gather{0};
    // It ends with fewer, or none, when so much has passed in all; empty: it does not.
    std::optional<std::chrono::nanoseconds> timeout{};
};

// How many worker threads (io-wq) the kernel may have for a thread that submits: bounded, for what
// ends by itself, such as operations on files; unbounded, for what may not, such as reads of a
// pipe. 0: leave it as it is.
struct WorkerLimits {
    std::uint32_t bounded = 0;
    std::uint32_t unbounded = 0;
};

// Which pages back an arena.
enum class Pages : std::uint8_t {
    // Asked: the best that can be had of the three below; never an answer. Huge pages of either
    // kind only where rounding up to whole ones at most doubles the arena: of 2 MiB from 1 MiB on,
    // of 512 MiB (arm64 with 64 KiB pages) from 256 MiB on.
    automatic,
    // Asked for by name, a kind is given or there is an error, at any size.
    hugetlb,      // MAP_HUGETLB: pages the operator reserved (vm.nr_hugepages)
    transparent,  // transparent huge pages (madvise)
    base,         // the machine's ordinary pages, 4 KiB on x86-64
    // An answer alone: whatever the memory is made of that BufferArena::adopt() was given.
    adopted,
};

struct ArenaOptions {
    // Bytes per buffer: a multiple of 512, at most 1 GiB. Buffers are aligned to the largest power
    // of two that divides this, up to the page size; a multiple of 4096 suits O_DIRECT on every
    // common device.
    std::size_t buffer_size = 4096;
    // How many buffers, 1 to 2^32 - 2.
    std::size_t count = 256;
    Pages pages = Pages::automatic;
};

// What was asked of the kernel and what it gave. Fixed once create returned, but for
// `registered_ring`.
struct Features {
    Mode mode = Mode::deferred;
    std::uint32_t sq_entries = 0;         // after the kernel's rounding
    std::uint32_t cq_entries = 0;         // operations that may be queued or in flight together
    std::uint32_t setup_flags_asked = 0;  // IORING_SETUP_* of the first attempt
    std::uint32_t setup_flags = 0;        // and of the one that the kernel took
    std::uint32_t kernel_features = 0;    // IORING_FEAT_*
    std::uint32_t last_op = 0;            // the newest opcode the kernel knows
    // A bit for each opcode that it has (IORING_REGISTER_PROBE, 5.6): see has().
    std::array<std::uint64_t, 4> operations{};
    bool single_issuer = false;     // the kernel itself refuses a second submitting thread (6.0)
    bool deferred_taskrun = false;  // completions are posted only when the owner asks (6.1)
    bool taskrun_flag = false;      // an idle poll() sees pending work without a system call (5.19)
    bool no_sqarray = false;        // the SQ has no index array (6.6)
    // Enters go through a registered ring fd (5.18); set by the first submission.
    bool registered_ring = false;
    bool io_wait =
        false;            // a thread in park() counts as waiting for I/O: asked for, or before 6.15
    bool checks = false;  // as IoOptions::checks came to be
    std::uint32_t fixed_regions =
        0;  // arena slices registered with this ring by create, each of at most 1 GiB
    std::uint32_t file_slots = 0;  // FileSlots that may be used, 0 to file_slots - 1
    bool cancels_many = false;     // Io::cancel_file() and cancel_all() (5.19)
    // Whether a chain of links that was submitted whole stays whole. Not where an SQPOLL thread
    // takes the submissions of several rings, 8 of each at a time: IoOptions::sqpoll_with, and
    // polling with Mode::sqpoll.
    bool keeps_chains = true;
    Polling polling = Polling::none;       // what the kernel gave, not what was asked
    std::uint32_t polled_setup_flags = 0;  // IORING_SETUP_* of the polled ring, with polling

    // Whether the kernel has this operation: features.has(squall::abi::Op::ftruncate).
    [[nodiscard]] bool has(abi::Op op) const noexcept {
        const auto number = static_cast<unsigned>(op);
        return (operations[number / 64] >> number % 64 & 1) != 0;
    }
};

}  // namespace squall
