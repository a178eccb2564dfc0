// SPDX-License-Identifier: MIT
//
// The part of the kernel's io_uring interface that squall uses, declared by hand so that squall
// compiles on a machine whose kernel headers are older than the feature, and so that no kernel
// macro reaches a consumer. Names are the kernel's with the IORING_ prefix dropped; the numbers are
// the kernel's promise to user space and never change. No call is made here and no state kept;
// tests/protocol/abi_test.cpp holds it against <linux/io_uring.h> wherever both have a name.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "squall/config.hpp"

namespace squall::abi {

// One submission queue entry, struct io_uring_sqe (5.1). The kernel overlays many unions here;
// squall names the members that its operations use. `addr3` and `pad2` are zero for all of
// squall's.
struct Sqe {
    std::uint8_t opcode;
    std::uint8_t flags;  // IOSQE_*
    std::uint16_t ioprio;
    std::int32_t fd;
    // File offset; statx: the result's address; of two paths, the second one's address; openat2:
    // its struct open_how's; ftruncate: the size.
    std::uint64_t off;
    // Buffer, path, pieces, timespec; fallocate: bytes; async_cancel: a user_data.
    std::uint64_t addr;
    // Bytes, pieces; openat, mkdirat, fallocate: mode; statx: mask; of two paths, the second one's
    // directory.
    std::uint32_t len;
    std::uint32_t op_flags;
    std::uint64_t user_data;
    std::uint16_t buf_index;  // which registered buffer, for *_fixed
    std::uint16_t personality;
    // Of openat and close: the index in the file table, plus one; 0: a descriptor (5.15).
    std::uint32_t file_index;
    std::uint64_t addr3;
    std::uint64_t pad2;
};
static_assert(sizeof(Sqe) == 64 && alignof(Sqe) == 8);
static_assert(offsetof(Sqe, fd) == 4 && offsetof(Sqe, off) == 8 && offsetof(Sqe, addr) == 16);
static_assert(offsetof(Sqe, len) == 24 && offsetof(Sqe, op_flags) == 28 &&
              offsetof(Sqe, user_data) == 32);
static_assert(offsetof(Sqe, buf_index) == 40 && offsetof(Sqe, file_index) == 44 &&
              offsetof(Sqe, addr3) == 48);

// The same 64 bytes as the eight words that squall writes: fewer stores than fields. The words are
// of a type of their own so that a compiler knows that filling an SQE changes none of the ring's
// integers and pointers, and keeps those in registers from one operation to the next.
enum class Word : std::uint64_t {};
struct SqeWords {
    Word op_fd;  // opcode, flags, ioprio, fd
    Word off;
    Word addr;
    Word len_flags;  // len, op_flags
    Word user_data;
    Word buffer;  // buf_index, personality, file_index
    Word addr3;
    Word pad2;
};
static_assert(sizeof(SqeWords) == 64 && alignof(SqeWords) == 8);
static_assert(offsetof(SqeWords, len_flags) == offsetof(Sqe, len) &&
              offsetof(SqeWords, buffer) == offsetof(Sqe, buf_index));

// One completion queue entry, struct io_uring_cqe (5.1). Callers see the same bytes as
// squall::Completion.
struct Cqe {
    std::uint64_t user_data;
    std::int32_t res;
    std::uint32_t flags;
};
static_assert(sizeof(Cqe) == 16 && offsetof(Cqe, res) == 8 && offsetof(Cqe, flags) == 12);

// Where the shared words lie inside the mappings, struct io_sqring_offsets and io_cqring_offsets.
struct SqRingOffsets {
    std::uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1;
    std::uint64_t user_addr;
};
struct CqRingOffsets {
    std::uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
    std::uint64_t user_addr;
};
static_assert(sizeof(SqRingOffsets) == 40 && sizeof(CqRingOffsets) == 40);

// In and out of io_uring_setup(2), struct io_uring_params.
struct Params {
    std::uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd,
        resv[3];
    SqRingOffsets sq_off;
    CqRingOffsets cq_off;
};
static_assert(sizeof(Params) == 120 && offsetof(Params, sq_off) == 40 &&
              offsetof(Params, cq_off) == 80);

// struct __kernel_timespec, and the argument of an enter with a timeout, struct
// io_uring_getevents_arg (5.11).
struct Timespec {
    std::int64_t tv_sec;
    std::int64_t tv_nsec;
};
struct GeteventsArg {
    std::uint64_t sigmask;
    std::uint32_t sigmask_sz;
    std::uint32_t min_wait_usec;  // 6.12; zero, and padding before that
    std::uint64_t ts;
};
static_assert(sizeof(Timespec) == 16 && sizeof(GeteventsArg) == 24 &&
              offsetof(GeteventsArg, ts) == 16);

// For register_buffers2, and for register_buffers_update: `nr` entries from `offset` on.
struct RsrcRegister {
    std::uint32_t nr;
    std::uint32_t flags;
    std::uint64_t resv2;
    std::uint64_t data;
    std::uint64_t tags;
};
struct RsrcUpdate2 {
    std::uint32_t offset;
    std::uint32_t resv;
    std::uint64_t data;
    std::uint64_t tags;
    std::uint32_t nr;
    std::uint32_t resv2;
};
// For register_clone_buffers: those of another ring, all of them where `nr` is 0.
struct CloneBuffers {
    std::uint32_t src_fd;
    std::uint32_t flags;
    std::uint32_t src_off;
    std::uint32_t dst_off;
    std::uint32_t nr;
    std::uint32_t pad[3];
};
// Argument of REGISTER_RING_FDS, struct io_uring_rsrc_update (5.18), and of REGISTER_FILES_UPDATE
// (5.5), where `data` is the address of the descriptors.
struct RsrcUpdate {
    std::uint32_t offset;
    std::uint32_t resv;
    std::uint64_t data;
};
static_assert(sizeof(RsrcUpdate) == 16);

// Argument of REGISTER_SYNC_CANCEL, struct io_uring_sync_cancel_reg (6.0).
struct SyncCancelReg {
    std::uint64_t addr;
    std::int32_t fd;
    std::uint32_t flags;
    Timespec timeout;
    std::uint8_t opcode;
    std::uint8_t pad[7];
    std::uint64_t pad2[3];
};
static_assert(sizeof(SyncCancelReg) == 64 && offsetof(SyncCancelReg, timeout) == 16);

// Argument of REGISTER_PROBE, struct io_uring_probe and io_uring_probe_op (5.6), with room for
// every opcode.
struct ProbeOp {
    std::uint8_t op;
    std::uint8_t resv;
    std::uint16_t flags;
    std::uint32_t resv2;
};
struct Probe {
    std::uint8_t last_op;
    std::uint8_t ops_len;
    std::uint16_t resv;
    std::uint32_t resv2[3];
    ProbeOp ops[256];
};
static_assert(sizeof(ProbeOp) == 8 && offsetof(Probe, ops) == 16);

// struct iovec, for REGISTER_BUFFERS.
struct Iovec {
    std::uint64_t base;
    std::uint64_t len;
};
static_assert(sizeof(Iovec) == 16);

// struct open_how, for OPENAT2 and openat2(2) (5.6).
struct OpenHow {
    std::uint64_t flags;
    std::uint64_t mode;
    std::uint64_t resolve;
};
static_assert(sizeof(OpenHow) == 24);

enum class Op : std::uint8_t {
    nop = 0,              // 5.1
    readv = 1,            // 5.1
    writev = 2,           // 5.1
    fsync = 3,            // 5.1
    read_fixed = 4,       // 5.1
    write_fixed = 5,      // 5.1
    sync_file_range = 8,  // 5.2
    timeout = 11,         // 5.4
    async_cancel = 14,    // 5.5
    link_timeout = 15,    // 5.5
    fallocate = 17,       // 5.6
    openat = 18,          // 5.6
    close = 19,           // 5.6
    statx = 21,           // 5.6
    read = 22,            // 5.6
    write = 23,           // 5.6
    fadvise = 24,         // 5.6
    madvise = 25,         // 5.6
    openat2 = 28,         // 5.6
    renameat = 35,        // 5.11
    unlinkat = 36,        // 5.11
    mkdirat = 37,         // 5.15
    symlinkat = 38,       // 5.15
    linkat = 39,          // 5.15
    fsetxattr = 41,       // 5.19; never queued, but a sign of that release
    ftruncate = 55,       // 6.9
    readv_fixed = 60,     // 6.15
    writev_fixed = 61,    // 6.15
};

// Sqe::flags.
inline constexpr std::uint8_t sqe_fixed_file = 1U << 0;  // `fd` is an index in the file table (5.1)
inline constexpr std::uint8_t sqe_io_drain = 1U << 1;    // a barrier (5.2)
inline constexpr std::uint8_t sqe_io_link = 1U << 2;     // the next one begins after it (5.3)
inline constexpr std::uint8_t sqe_io_hardlink = 1U << 3;  // however it ends (5.5)
inline constexpr std::uint8_t sqe_async = 1U << 4;        // straight to a worker thread (5.6)

// Sqe::op_flags of transfers, RWF_*.
inline constexpr std::uint32_t rwf_dsync = 0x02;      // 4.7
inline constexpr std::uint32_t rwf_sync = 0x04;       // 4.7
inline constexpr std::uint32_t rwf_nowait = 0x08;     // 4.14
inline constexpr std::uint32_t rwf_append = 0x10;     // 4.16
inline constexpr std::uint32_t rwf_atomic = 0x40;     // 6.11
inline constexpr std::uint32_t rwf_dontcache = 0x80;  // 6.14

// The words of an SQE out of its members, which lie as the target has them. Two 32-bit members side
// by side:
constexpr Word word(std::uint64_t first, std::uint64_t second,
                    std::endian target = std::endian::native) noexcept {
    return Word{target == std::endian::little ? first | second << 32 : first << 32 | second};
}
constexpr Word op_fd_word(Op op, std::uint8_t flags, std::uint32_t fd, std::uint16_t ioprio = 0,
                          std::endian target = std::endian::native) noexcept {
    const std::uint64_t opcode = static_cast<std::uint8_t>(op);
    const std::uint64_t more = flags;
    const std::uint64_t priority = ioprio;
    return word(target == std::endian::little ? opcode | more << 8 | priority << 16
                                              : opcode << 24 | more << 16 | priority,
                fd, target);
}
constexpr Op op_of(Word op_fd, std::endian target = std::endian::native) noexcept {
    const auto value = static_cast<std::uint64_t>(op_fd);
    return Op{static_cast<std::uint8_t>(target == std::endian::little ? value : value >> 56)};
}
// The same word with another opcode.
constexpr Word with_op(Word op_fd, Op op, std::endian target = std::endian::native) noexcept {
    constexpr std::uint64_t byte = 0xff;
    const int at = target == std::endian::little ? 0 : 56;
    return Word{(static_cast<std::uint64_t>(op_fd) & ~(byte << at)) | static_cast<std::uint64_t>(op)
                                                                          << at};
}
constexpr std::uint8_t flags_of(Word op_fd, std::endian target = std::endian::native) noexcept {
    const auto value = static_cast<std::uint64_t>(op_fd);
    return static_cast<std::uint8_t>(target == std::endian::little ? value >> 8 : value >> 48);
}
// The same word less some of its flags.
constexpr Word without_flags(Word op_fd, unsigned flags,
                             std::endian target = std::endian::native) noexcept {
    const int at = target == std::endian::little ? 8 : 48;
    return Word{static_cast<std::uint64_t>(op_fd) & ~(std::uint64_t{flags} << at)};
}
constexpr std::uint32_t fd_of(Word op_fd, std::endian target = std::endian::native) noexcept {
    const auto value = static_cast<std::uint64_t>(op_fd);
    return static_cast<std::uint32_t>(target == std::endian::little ? value >> 32 : value);
}
constexpr Word buffer_word(std::uint64_t buf_index, std::uint32_t file_index,
                           std::endian target = std::endian::native) noexcept {
    return word(target == std::endian::little ? buf_index : buf_index << 16, file_index, target);
}

// io_uring_setup flags.
inline constexpr std::uint32_t setup_iopoll = 1U << 0;          // 5.1
inline constexpr std::uint32_t setup_sqpoll = 1U << 1;          // 5.1
inline constexpr std::uint32_t setup_sq_aff = 1U << 2;          // 5.1
inline constexpr std::uint32_t setup_cqsize = 1U << 3;          // 5.5
inline constexpr std::uint32_t setup_clamp = 1U << 4;           // 5.6
inline constexpr std::uint32_t setup_attach_wq = 1U << 5;       // 5.6
inline constexpr std::uint32_t setup_r_disabled = 1U << 6;      // 5.10
inline constexpr std::uint32_t setup_submit_all = 1U << 7;      // 5.18
inline constexpr std::uint32_t setup_coop_taskrun = 1U << 8;    // 5.19
inline constexpr std::uint32_t setup_taskrun_flag = 1U << 9;    // 5.19
inline constexpr std::uint32_t setup_single_issuer = 1U << 12;  // 6.0
inline constexpr std::uint32_t setup_defer_taskrun = 1U << 13;  // 6.1
inline constexpr std::uint32_t setup_no_sqarray = 1U << 16;     // 6.6
inline constexpr std::uint32_t setup_hybrid_iopoll = 1U << 17;  // 6.13

// What io_uring_setup reports back in Params::features.
inline constexpr std::uint32_t feat_single_mmap = 1U << 0;      // 5.4
inline constexpr std::uint32_t feat_nodrop = 1U << 1;           // 5.5
inline constexpr std::uint32_t feat_submit_stable = 1U << 2;    // 5.5
inline constexpr std::uint32_t feat_sqpoll_nonfixed = 1U << 7;  // 5.11
inline constexpr std::uint32_t feat_ext_arg = 1U << 8;          // 5.11
inline constexpr std::uint32_t feat_rsrc_tags = 1U << 10;       // 5.13
inline constexpr std::uint32_t feat_linked_file = 1U << 12;     // 5.18
inline constexpr std::uint32_t feat_no_iowait = 1U << 17;       // 6.15

// io_uring_enter flags.
inline constexpr std::uint32_t enter_getevents = 1U << 0;
inline constexpr std::uint32_t enter_sq_wakeup = 1U << 1;
inline constexpr std::uint32_t enter_ext_arg = 1U << 3;          // 5.11
inline constexpr std::uint32_t enter_registered_ring = 1U << 4;  // 5.18
inline constexpr std::uint32_t enter_no_iowait = 1U << 7;        // 6.15

// Bits of the SQ ring's flags word, written by the kernel.
inline constexpr std::uint32_t sq_need_wakeup = 1U << 0;
inline constexpr std::uint32_t sq_cq_overflow = 1U << 1;
inline constexpr std::uint32_t sq_taskrun = 1U << 2;  // 5.19

// io_uring_register codes.
inline constexpr std::uint32_t register_buffers = 0;
inline constexpr std::uint32_t unregister_buffers = 1;
inline constexpr std::uint32_t register_files = 2;
inline constexpr std::uint32_t unregister_files = 3;
inline constexpr std::uint32_t register_eventfd = 4;       // 5.2
inline constexpr std::uint32_t register_files_update = 6;  // 5.5
inline constexpr std::uint32_t register_probe = 8;
inline constexpr std::uint32_t register_enable_rings = 12;      // 5.10
inline constexpr std::uint32_t register_buffers2 = 15;          // 5.13
inline constexpr std::uint32_t register_buffers_update = 16;    // 5.13
inline constexpr std::uint32_t register_iowq_aff = 17;          // 5.14
inline constexpr std::uint32_t unregister_iowq_aff = 18;        // 5.14
inline constexpr std::uint32_t register_iowq_max_workers = 19;  // 5.15
inline constexpr std::uint32_t register_ring_fds = 20;          // 5.18
inline constexpr std::uint32_t unregister_ring_fds = 21;        // 5.18
inline constexpr std::uint32_t register_sync_cancel = 24;       // 6.0
inline constexpr std::uint32_t register_clone_buffers = 30;     // 6.12

// What to map where, as the offset given to mmap(2) on the ring's descriptor.
inline constexpr std::uint64_t off_sq_ring = 0;
inline constexpr std::uint64_t off_cq_ring = 0x8000000;
inline constexpr std::uint64_t off_sqes = 0x10000000;

inline constexpr int at_fdcwd = -100;  // a path is relative to the working directory
inline constexpr std::uint32_t fsync_datasync = 1U << 0;
inline constexpr std::uint16_t op_supported = 1U << 0;      // in ProbeOp::flags
inline constexpr std::uint32_t async_cancel_all = 1U << 0;  // 5.19
inline constexpr std::uint32_t async_cancel_fd = 1U << 1;   // 5.19
inline constexpr std::uint32_t async_cancel_any = 1U << 2;  // 5.19

}  // namespace squall::abi
