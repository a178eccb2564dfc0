// SPDX-License-Identifier: MIT
//
// squall's own declarations of the kernel's interface against the system's <linux/io_uring.h>, for every name that both
// have. Where the header is older than a name, squall's value stands alone and is covered by the tests that use it.
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/time_types.h>
#include <linux/types.h>
#include <sys/uio.h>

#include <bit>
#include <cstddef>
#include <initializer_list>

#include "squall/abi.hpp"

namespace header {

// A name that the header lacks is found out here, one namespace further out; one that it has hides this.
constexpr long long absent = -1;
[[maybe_unused]] constexpr long long IORING_OP_RENAMEAT = absent, IORING_OP_UNLINKAT = absent;
[[maybe_unused]] constexpr long long IORING_OP_MKDIRAT = absent, IORING_OP_SYMLINKAT = absent;
[[maybe_unused]] constexpr long long IORING_OP_LINKAT = absent, IORING_OP_FSETXATTR = absent;
[[maybe_unused]] constexpr long long IORING_REGISTER_ENABLE_RINGS = absent, IORING_REGISTER_RING_FDS = absent;
[[maybe_unused]] constexpr long long IORING_UNREGISTER_RING_FDS = absent, IORING_REGISTER_SYNC_CANCEL = absent;
[[maybe_unused]] constexpr long long IORING_REGISTER_BUFFERS = absent, IORING_UNREGISTER_BUFFERS = absent;
[[maybe_unused]] constexpr long long IORING_REGISTER_FILES = absent, IORING_REGISTER_PROBE = absent;

namespace system {

#include <linux/io_uring.h>

namespace abi = squall::abi;

struct Pair {
    const char* name;
    long long ours;
    long long theirs;
};

#define SQUALL_OP(ours, theirs) \
    { #theirs, static_cast < long long>(abi::Op::ours), static_cast < long long>(theirs) }
#define SQUALL_VALUE(ours, theirs) \
    { #theirs, static_cast < long long>(abi::ours), static_cast < long long>(theirs) }

constexpr Pair pairs[] = {
    SQUALL_OP(nop, IORING_OP_NOP),
    SQUALL_OP(readv, IORING_OP_READV),
    SQUALL_OP(writev, IORING_OP_WRITEV),
    SQUALL_OP(sync_file_range, IORING_OP_SYNC_FILE_RANGE),
    SQUALL_OP(timeout, IORING_OP_TIMEOUT),
    SQUALL_OP(link_timeout, IORING_OP_LINK_TIMEOUT),
    SQUALL_OP(fallocate, IORING_OP_FALLOCATE),
    SQUALL_OP(fadvise, IORING_OP_FADVISE),
    SQUALL_OP(madvise, IORING_OP_MADVISE),
    SQUALL_OP(openat2, IORING_OP_OPENAT2),
    SQUALL_OP(mkdirat, IORING_OP_MKDIRAT),
    SQUALL_OP(symlinkat, IORING_OP_SYMLINKAT),
    SQUALL_OP(linkat, IORING_OP_LINKAT),
    SQUALL_OP(fsetxattr, IORING_OP_FSETXATTR),
    SQUALL_OP(fsync, IORING_OP_FSYNC),
    SQUALL_OP(read_fixed, IORING_OP_READ_FIXED),
    SQUALL_OP(write_fixed, IORING_OP_WRITE_FIXED),
    SQUALL_OP(async_cancel, IORING_OP_ASYNC_CANCEL),
    SQUALL_OP(openat, IORING_OP_OPENAT),
    SQUALL_OP(close, IORING_OP_CLOSE),
    SQUALL_OP(statx, IORING_OP_STATX),
    SQUALL_OP(read, IORING_OP_READ),
    SQUALL_OP(write, IORING_OP_WRITE),
    SQUALL_OP(renameat, IORING_OP_RENAMEAT),
    SQUALL_OP(unlinkat, IORING_OP_UNLINKAT),
    SQUALL_VALUE(register_buffers, IORING_REGISTER_BUFFERS),
    SQUALL_VALUE(unregister_buffers, IORING_UNREGISTER_BUFFERS),
    SQUALL_VALUE(register_files, IORING_REGISTER_FILES),
    SQUALL_VALUE(unregister_files, IORING_UNREGISTER_FILES),
    SQUALL_VALUE(register_files_update, IORING_REGISTER_FILES_UPDATE),
    SQUALL_VALUE(register_iowq_max_workers, IORING_REGISTER_IOWQ_MAX_WORKERS),
    SQUALL_VALUE(register_probe, IORING_REGISTER_PROBE),
    SQUALL_VALUE(register_enable_rings, IORING_REGISTER_ENABLE_RINGS),
    SQUALL_VALUE(register_ring_fds, IORING_REGISTER_RING_FDS),
    SQUALL_VALUE(unregister_ring_fds, IORING_UNREGISTER_RING_FDS),
    SQUALL_VALUE(register_sync_cancel, IORING_REGISTER_SYNC_CANCEL),
    SQUALL_VALUE(register_eventfd, IORING_REGISTER_EVENTFD),
    SQUALL_VALUE(register_buffers2, IORING_REGISTER_BUFFERS2),
    SQUALL_VALUE(register_buffers_update, IORING_REGISTER_BUFFERS_UPDATE),
    SQUALL_VALUE(setup_iopoll, IORING_SETUP_IOPOLL),
    SQUALL_VALUE(setup_attach_wq, IORING_SETUP_ATTACH_WQ),
    SQUALL_VALUE(setup_sqpoll, IORING_SETUP_SQPOLL),
    SQUALL_VALUE(setup_sq_aff, IORING_SETUP_SQ_AFF),
    SQUALL_VALUE(setup_cqsize, IORING_SETUP_CQSIZE),
    SQUALL_VALUE(setup_clamp, IORING_SETUP_CLAMP),
    SQUALL_VALUE(setup_r_disabled, IORING_SETUP_R_DISABLED),
#ifdef IORING_SETUP_SUBMIT_ALL
    SQUALL_VALUE(setup_submit_all, IORING_SETUP_SUBMIT_ALL),
#endif
#ifdef IORING_SETUP_COOP_TASKRUN
    SQUALL_VALUE(setup_coop_taskrun, IORING_SETUP_COOP_TASKRUN),
    SQUALL_VALUE(setup_taskrun_flag, IORING_SETUP_TASKRUN_FLAG),
    SQUALL_VALUE(sq_taskrun, IORING_SQ_TASKRUN),
#endif
#ifdef IORING_SETUP_SINGLE_ISSUER
    SQUALL_VALUE(setup_single_issuer, IORING_SETUP_SINGLE_ISSUER),
#endif
#ifdef IORING_SETUP_DEFER_TASKRUN
    SQUALL_VALUE(setup_defer_taskrun, IORING_SETUP_DEFER_TASKRUN),
#endif
#ifdef IORING_SETUP_NO_SQARRAY
    SQUALL_VALUE(setup_no_sqarray, IORING_SETUP_NO_SQARRAY),
#endif
#ifdef IORING_SETUP_HYBRID_IOPOLL
    SQUALL_VALUE(setup_hybrid_iopoll, IORING_SETUP_HYBRID_IOPOLL),
#endif
    SQUALL_VALUE(feat_single_mmap, IORING_FEAT_SINGLE_MMAP),
    SQUALL_VALUE(feat_nodrop, IORING_FEAT_NODROP),
    SQUALL_VALUE(feat_submit_stable, IORING_FEAT_SUBMIT_STABLE),
#ifdef IORING_FEAT_SQPOLL_NONFIXED
    SQUALL_VALUE(feat_sqpoll_nonfixed, IORING_FEAT_SQPOLL_NONFIXED),
#endif
#ifdef IORING_FEAT_EXT_ARG
    SQUALL_VALUE(feat_ext_arg, IORING_FEAT_EXT_ARG),
    SQUALL_VALUE(enter_ext_arg, IORING_ENTER_EXT_ARG),
#endif
#ifdef IORING_FEAT_LINKED_FILE
    SQUALL_VALUE(feat_linked_file, IORING_FEAT_LINKED_FILE),
    SQUALL_VALUE(feat_rsrc_tags, IORING_FEAT_RSRC_TAGS),
#endif
    SQUALL_VALUE(enter_getevents, IORING_ENTER_GETEVENTS),
    SQUALL_VALUE(enter_sq_wakeup, IORING_ENTER_SQ_WAKEUP),
#ifdef IORING_ENTER_REGISTERED_RING
    SQUALL_VALUE(enter_registered_ring, IORING_ENTER_REGISTERED_RING),
#endif
    SQUALL_VALUE(sq_need_wakeup, IORING_SQ_NEED_WAKEUP),
    SQUALL_VALUE(sq_cq_overflow, IORING_SQ_CQ_OVERFLOW),
    SQUALL_VALUE(off_sq_ring, IORING_OFF_SQ_RING),
    SQUALL_VALUE(off_cq_ring, IORING_OFF_CQ_RING),
    SQUALL_VALUE(off_sqes, IORING_OFF_SQES),
    SQUALL_VALUE(fsync_datasync, IORING_FSYNC_DATASYNC),
    SQUALL_VALUE(sqe_fixed_file, IOSQE_FIXED_FILE),
    SQUALL_VALUE(sqe_io_drain, IOSQE_IO_DRAIN),
    SQUALL_VALUE(sqe_io_link, IOSQE_IO_LINK),
    SQUALL_VALUE(sqe_io_hardlink, IOSQE_IO_HARDLINK),
    SQUALL_VALUE(sqe_async, IOSQE_ASYNC),
    SQUALL_VALUE(rwf_dsync, RWF_DSYNC),
    SQUALL_VALUE(rwf_sync, RWF_SYNC),
    SQUALL_VALUE(rwf_nowait, RWF_NOWAIT),
    SQUALL_VALUE(rwf_append, RWF_APPEND),
    SQUALL_VALUE(op_supported, IO_URING_OP_SUPPORTED),
#ifdef IORING_ASYNC_CANCEL_ALL
    SQUALL_VALUE(async_cancel_all, IORING_ASYNC_CANCEL_ALL),
    SQUALL_VALUE(async_cancel_fd, IORING_ASYNC_CANCEL_FD),
    SQUALL_VALUE(async_cancel_any, IORING_ASYNC_CANCEL_ANY),
#endif
};

TEST(Abi, HasTheNumbersOfTheSystemHeader) {
    unsigned compared = 0;
    for (const Pair& pair : pairs) {
        if (pair.theirs == absent) continue;
        EXPECT_EQ(pair.ours, pair.theirs) << pair.name;
        ++compared;
    }
    EXPECT_GE(compared, 30U) << "the header is that of a kernel older than any that squall runs on";
}

// Those that headers in use lack, as the kernel's promise to user space has them.
TEST(Abi, HasTheNumbersThatAreYoungerThanManyHeaders) {
    EXPECT_EQ(abi::setup_submit_all, 0x80U);
    EXPECT_EQ(abi::setup_coop_taskrun, 0x100U);
    EXPECT_EQ(abi::setup_taskrun_flag, 0x200U);
    EXPECT_EQ(abi::setup_single_issuer, 0x1000U);
    EXPECT_EQ(abi::setup_defer_taskrun, 0x2000U);
    EXPECT_EQ(abi::setup_no_sqarray, 0x10000U);
    EXPECT_EQ(abi::setup_hybrid_iopoll, 0x20000U);
    EXPECT_EQ(abi::feat_sqpoll_nonfixed, 0x80U);
    EXPECT_EQ(abi::feat_ext_arg, 0x100U);
    EXPECT_EQ(abi::feat_linked_file, 0x1000U);
    EXPECT_EQ(abi::enter_ext_arg, 8U);
    EXPECT_EQ(abi::enter_registered_ring, 0x10U);
    EXPECT_EQ(abi::sq_taskrun, 4U);
    EXPECT_EQ(abi::async_cancel_all, 1U);
    EXPECT_EQ(abi::async_cancel_fd, 2U);
    EXPECT_EQ(abi::async_cancel_any, 4U);
    EXPECT_EQ(abi::rwf_atomic, 0x40U);
    EXPECT_EQ(abi::rwf_dontcache, 0x80U);
    EXPECT_EQ(static_cast<int>(abi::Op::fsetxattr), 41);
    EXPECT_EQ(static_cast<int>(abi::Op::ftruncate), 55);
    EXPECT_EQ(static_cast<int>(abi::Op::readv_fixed), 60);
    EXPECT_EQ(static_cast<int>(abi::Op::writev_fixed), 61);
    EXPECT_EQ(abi::register_ring_fds, 20U);
    EXPECT_EQ(abi::unregister_ring_fds, 21U);
    EXPECT_EQ(abi::register_sync_cancel, 24U);
    EXPECT_EQ(abi::register_clone_buffers, 30U);
    EXPECT_EQ(sizeof(abi::CloneBuffers), 32U);
    EXPECT_EQ(offsetof(abi::CloneBuffers, nr), 16U);
}

// A word is eight bytes of an Sqe, in which each member is where offsetof() says, its bytes as the target has them.
TEST(Abi, PutsTheMembersOfAWordWhereEitherKindOfTargetHasThem) {
    struct Member {
        std::size_t at;
        std::size_t bytes;
        std::uint64_t value;
    };
    const auto word_of = [](std::endian target, std::initializer_list<Member> members) {
        unsigned char memory[8] = {};
        for (const Member& member : members)
            for (std::size_t i = 0; i < member.bytes; ++i) {
                const std::size_t place = target == std::endian::little ? i : member.bytes - 1 - i;
                memory[member.at + place] = static_cast<unsigned char>(member.value >> 8 * i);
            }
        std::uint64_t word = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            const std::size_t place = target == std::endian::little ? i : 7 - i;
            word |= static_cast<std::uint64_t>(memory[place]) << 8 * i;
        }
        return abi::Word{word};
    };
    for (const std::endian target : {std::endian::little, std::endian::big}) {
        EXPECT_EQ(abi::word(0x01234567, 0x89abcdef, target), word_of(target, {{0, 4, 0x01234567}, {4, 4, 0x89abcdef}}));
        const auto op_fd_of = [&](std::uint64_t opcode, std::uint64_t flags) {
            return word_of(target, {{offsetof(abi::Sqe, opcode), 1, opcode},
                                    {offsetof(abi::Sqe, flags), 1, flags},
                                    {offsetof(abi::Sqe, ioprio), 2, 0x4567},
                                    {offsetof(abi::Sqe, fd), 4, 0x89abcdef}});
        };
        const abi::Word op_fd = abi::op_fd_word(abi::Op::unlinkat, 0xa5, 0x89abcdef, 0x4567, target);
        EXPECT_EQ(op_fd, op_fd_of(36, 0xa5));
        EXPECT_EQ(abi::with_op(op_fd, abi::Op::writev_fixed, target), op_fd_of(61, 0xa5));
        EXPECT_EQ(abi::without_flags(op_fd, 0x85, target), op_fd_of(36, 0x20));
        EXPECT_EQ(abi::op_of(op_fd, target), abi::Op::unlinkat);
        EXPECT_EQ(abi::flags_of(op_fd, target), 0xa5);
        EXPECT_EQ(abi::fd_of(op_fd, target), 0x89abcdefU);
        EXPECT_EQ(abi::buffer_word(0xfedc, 0x89abcdef, target), word_of(target, {{0, 2, 0xfedc}, {4, 4, 0x89abcdef}}));
    }
    EXPECT_EQ(abi::word(1, 2), abi::word(1, 2, std::endian::native));
}

#define SQUALL_SAME_PLACE(ours, our_member, theirs, their_member)                      \
    EXPECT_EQ(offsetof(abi::ours, our_member), offsetof(struct theirs, their_member)); \
    EXPECT_EQ(sizeof(abi::ours::our_member), sizeof(theirs::their_member))

TEST(Abi, HasTheLayoutOfTheSystemHeader) {
    EXPECT_EQ(sizeof(abi::Sqe), sizeof(io_uring_sqe));
    SQUALL_SAME_PLACE(Sqe, opcode, io_uring_sqe, opcode);
    SQUALL_SAME_PLACE(Sqe, flags, io_uring_sqe, flags);
    SQUALL_SAME_PLACE(Sqe, ioprio, io_uring_sqe, ioprio);
    SQUALL_SAME_PLACE(Sqe, fd, io_uring_sqe, fd);
    SQUALL_SAME_PLACE(Sqe, off, io_uring_sqe, off);
    SQUALL_SAME_PLACE(Sqe, off, io_uring_sqe, addr2);
    SQUALL_SAME_PLACE(Sqe, addr, io_uring_sqe, addr);
    SQUALL_SAME_PLACE(Sqe, len, io_uring_sqe, len);
    SQUALL_SAME_PLACE(Sqe, op_flags, io_uring_sqe, rw_flags);
    SQUALL_SAME_PLACE(Sqe, op_flags, io_uring_sqe, open_flags);
    SQUALL_SAME_PLACE(Sqe, op_flags, io_uring_sqe, fsync_flags);
    SQUALL_SAME_PLACE(Sqe, op_flags, io_uring_sqe, statx_flags);
    SQUALL_SAME_PLACE(Sqe, user_data, io_uring_sqe, user_data);
    SQUALL_SAME_PLACE(Sqe, buf_index, io_uring_sqe, buf_index);
    SQUALL_SAME_PLACE(Sqe, personality, io_uring_sqe, personality);
    SQUALL_SAME_PLACE(Sqe, file_index, io_uring_sqe, file_index);
#ifdef IORING_SETUP_SINGLE_ISSUER  // 6.0
    SQUALL_SAME_PLACE(Sqe, addr3, io_uring_sqe, addr3);
#endif

    EXPECT_EQ(sizeof(abi::Cqe), sizeof(io_uring_cqe));
    SQUALL_SAME_PLACE(Cqe, user_data, io_uring_cqe, user_data);
    SQUALL_SAME_PLACE(Cqe, res, io_uring_cqe, res);
    SQUALL_SAME_PLACE(Cqe, flags, io_uring_cqe, flags);

    EXPECT_EQ(sizeof(abi::Params), sizeof(io_uring_params));
    SQUALL_SAME_PLACE(Params, sq_entries, io_uring_params, sq_entries);
    SQUALL_SAME_PLACE(Params, cq_entries, io_uring_params, cq_entries);
    SQUALL_SAME_PLACE(Params, flags, io_uring_params, flags);
    SQUALL_SAME_PLACE(Params, sq_thread_cpu, io_uring_params, sq_thread_cpu);
    SQUALL_SAME_PLACE(Params, sq_thread_idle, io_uring_params, sq_thread_idle);
    SQUALL_SAME_PLACE(Params, features, io_uring_params, features);
    SQUALL_SAME_PLACE(Params, wq_fd, io_uring_params, wq_fd);
    SQUALL_SAME_PLACE(Params, resv, io_uring_params, resv);
    SQUALL_SAME_PLACE(Params, sq_off, io_uring_params, sq_off);
    SQUALL_SAME_PLACE(Params, cq_off, io_uring_params, cq_off);

    EXPECT_EQ(sizeof(abi::SqRingOffsets), sizeof(io_sqring_offsets));
    SQUALL_SAME_PLACE(SqRingOffsets, head, io_sqring_offsets, head);
    SQUALL_SAME_PLACE(SqRingOffsets, tail, io_sqring_offsets, tail);
    SQUALL_SAME_PLACE(SqRingOffsets, ring_mask, io_sqring_offsets, ring_mask);
    SQUALL_SAME_PLACE(SqRingOffsets, ring_entries, io_sqring_offsets, ring_entries);
    SQUALL_SAME_PLACE(SqRingOffsets, flags, io_sqring_offsets, flags);
    SQUALL_SAME_PLACE(SqRingOffsets, dropped, io_sqring_offsets, dropped);
    SQUALL_SAME_PLACE(SqRingOffsets, array, io_sqring_offsets, array);
    SQUALL_SAME_PLACE(SqRingOffsets, resv1, io_sqring_offsets, resv1);
    EXPECT_EQ(sizeof(abi::CqRingOffsets), sizeof(io_cqring_offsets));
    SQUALL_SAME_PLACE(CqRingOffsets, head, io_cqring_offsets, head);
    SQUALL_SAME_PLACE(CqRingOffsets, tail, io_cqring_offsets, tail);
    SQUALL_SAME_PLACE(CqRingOffsets, ring_mask, io_cqring_offsets, ring_mask);
    SQUALL_SAME_PLACE(CqRingOffsets, ring_entries, io_cqring_offsets, ring_entries);
    SQUALL_SAME_PLACE(CqRingOffsets, overflow, io_cqring_offsets, overflow);
    SQUALL_SAME_PLACE(CqRingOffsets, cqes, io_cqring_offsets, cqes);
    SQUALL_SAME_PLACE(CqRingOffsets, flags, io_cqring_offsets, flags);
    SQUALL_SAME_PLACE(CqRingOffsets, resv1, io_cqring_offsets, resv1);
#ifdef IORING_SETUP_NO_MMAP  // 6.5
    SQUALL_SAME_PLACE(SqRingOffsets, user_addr, io_sqring_offsets, user_addr);
    SQUALL_SAME_PLACE(CqRingOffsets, user_addr, io_cqring_offsets, user_addr);
#endif

    EXPECT_EQ(sizeof(abi::ProbeOp), sizeof(io_uring_probe_op));
    SQUALL_SAME_PLACE(ProbeOp, op, io_uring_probe_op, op);
    SQUALL_SAME_PLACE(ProbeOp, resv, io_uring_probe_op, resv);
    SQUALL_SAME_PLACE(ProbeOp, flags, io_uring_probe_op, flags);
    SQUALL_SAME_PLACE(ProbeOp, resv2, io_uring_probe_op, resv2);
    SQUALL_SAME_PLACE(Probe, last_op, io_uring_probe, last_op);
    SQUALL_SAME_PLACE(Probe, ops_len, io_uring_probe, ops_len);
    SQUALL_SAME_PLACE(Probe, resv, io_uring_probe, resv);
    SQUALL_SAME_PLACE(Probe, resv2, io_uring_probe, resv2);
    EXPECT_EQ(offsetof(abi::Probe, ops), sizeof(io_uring_probe));

    EXPECT_EQ(sizeof(abi::Timespec), sizeof(__kernel_timespec));
    SQUALL_SAME_PLACE(Timespec, tv_sec, __kernel_timespec, tv_sec);
    SQUALL_SAME_PLACE(Timespec, tv_nsec, __kernel_timespec, tv_nsec);
    EXPECT_EQ(sizeof(abi::OpenHow), sizeof(open_how));
    SQUALL_SAME_PLACE(OpenHow, flags, open_how, flags);
    SQUALL_SAME_PLACE(OpenHow, mode, open_how, mode);
    SQUALL_SAME_PLACE(OpenHow, resolve, open_how, resolve);
    EXPECT_EQ(sizeof(abi::Iovec), sizeof(iovec));
    SQUALL_SAME_PLACE(Iovec, base, iovec, iov_base);
    SQUALL_SAME_PLACE(Iovec, len, iovec, iov_len);
    EXPECT_EQ(sizeof(abi::GeteventsArg), sizeof(io_uring_getevents_arg));
    SQUALL_SAME_PLACE(GeteventsArg, sigmask, io_uring_getevents_arg, sigmask);
    SQUALL_SAME_PLACE(GeteventsArg, sigmask_sz, io_uring_getevents_arg, sigmask_sz);
#ifdef IORING_FEAT_MIN_TIMEOUT  // 6.12
    SQUALL_SAME_PLACE(GeteventsArg, min_wait_usec, io_uring_getevents_arg, min_wait_usec);
#endif
    SQUALL_SAME_PLACE(GeteventsArg, ts, io_uring_getevents_arg, ts);
    EXPECT_EQ(sizeof(abi::RsrcRegister), sizeof(io_uring_rsrc_register));
    SQUALL_SAME_PLACE(RsrcRegister, nr, io_uring_rsrc_register, nr);
    SQUALL_SAME_PLACE(RsrcRegister, flags, io_uring_rsrc_register, flags);
    SQUALL_SAME_PLACE(RsrcRegister, data, io_uring_rsrc_register, data);
    SQUALL_SAME_PLACE(RsrcRegister, tags, io_uring_rsrc_register, tags);

    EXPECT_EQ(sizeof(abi::RsrcUpdate2), sizeof(io_uring_rsrc_update2));
    SQUALL_SAME_PLACE(RsrcUpdate2, offset, io_uring_rsrc_update2, offset);
    SQUALL_SAME_PLACE(RsrcUpdate2, data, io_uring_rsrc_update2, data);
    SQUALL_SAME_PLACE(RsrcUpdate2, tags, io_uring_rsrc_update2, tags);
    SQUALL_SAME_PLACE(RsrcUpdate2, nr, io_uring_rsrc_update2, nr);

    EXPECT_EQ(sizeof(abi::RsrcUpdate), sizeof(io_uring_rsrc_update));
    SQUALL_SAME_PLACE(RsrcUpdate, offset, io_uring_rsrc_update, offset);
    SQUALL_SAME_PLACE(RsrcUpdate, resv, io_uring_rsrc_update, resv);
    SQUALL_SAME_PLACE(RsrcUpdate, data, io_uring_rsrc_update, data);
#ifdef IORING_SETUP_SINGLE_ISSUER  // 6.0 brought both
    EXPECT_EQ(sizeof(abi::SyncCancelReg), sizeof(io_uring_sync_cancel_reg));
    SQUALL_SAME_PLACE(SyncCancelReg, addr, io_uring_sync_cancel_reg, addr);
    SQUALL_SAME_PLACE(SyncCancelReg, fd, io_uring_sync_cancel_reg, fd);
    SQUALL_SAME_PLACE(SyncCancelReg, flags, io_uring_sync_cancel_reg, flags);
    SQUALL_SAME_PLACE(SyncCancelReg, timeout, io_uring_sync_cancel_reg, timeout);
#endif
#ifdef IORING_SETUP_NO_SQARRAY  // 6.6
    SQUALL_SAME_PLACE(SyncCancelReg, opcode, io_uring_sync_cancel_reg, opcode);
    SQUALL_SAME_PLACE(SyncCancelReg, pad, io_uring_sync_cancel_reg, pad);
#endif
}

}  // namespace system
}  // namespace header
