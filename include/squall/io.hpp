// SPDX-License-Identifier: MIT
//
// Io: file operations on an io_uring. An operation is queued with a token of the caller's choice,
// poll() or park() sends what is queued and returns what has completed, and a Completion carries
// the token and the kernel's result, untouched.
//
// squall's own words, defined here once. Token: the caller's 64-bit name for an operation,
// user_data to the kernel; any value, no value reserved. poll(): submit and reap, waiting for no
// completion (not IORING_OP_POLL_ADD). park(): the same, but wait for a completion. In flight:
// queued or in the kernel, and not yet handed out. Arena, fixed buffer: arena.hpp.
//
// What every operation promises, said once:
//   Result    true: queued, exactly one completion with this token will be handed out. false: no
//             room, nothing was taken; poll() and try again (with Mode::sqpoll also when nothing is
//             in flight: the kernel thread may complete an operation a moment before it gives the
//             SQ slot back). There is no third outcome: a bad argument is for the kernel to refuse,
//             and its -errno is the completion's `res`.
//   Lifetime  buffers and statx results stay valid and untouched until the completion is handed
//             out, withdraw() has given the operation back, or ~Io has returned (I7). Paths are
//             copied: change or free them as soon as the call returns (I6).
//   Cost      no system call, no allocation, no lock (I4, I5).
//   errno     the variable is neither read nor changed, here or by anything else of squall's: an
//             error is what is returned.
//   Threads   one thread at a time, and from the first poll() or park() with something queued
//             always that one (I8), unless the ring is Mode::plain. An operation queued on another
//             thread is taken, and the owner's next poll() or park() submits it: IoOptions::checks
//             refuses it at the call, and costs a comparison for each operation. When the thread
//             that submitted an operation ends, the operation ends with it: -ECANCELED, or -EFAULT
//             for a buffered read.
//   Fork      in a child of fork() every call returns false and poll() says why (I10); the child
//             may destroy its copy, whose descriptor stays open there until exec or exit.
//   How       the last parameter of each, file.hpp's; {} is the kernel's usual way.
//   Younger   than 5.11 are some: each says since when it is there. Features::has() tells whether
//             this kernel has an operation; where it has not, the completion's `res` is
//             -EOPNOTSUPP, and Io::lacking() says it in words.
//
// What blocks. poll() and park() submit, and Linux does in that call whatever it can do without
// waiting for the device ("in place"); what it cannot it gives to a kernel worker thread (io-wq,
// "by a worker"), at some 5 us of CPU. In place means: before poll() returns, and that may take
// long. Measured on 6.18: 64 MiB of cached read, 12 ms; the close of the last descriptor of an
// unlinked file of 1 GiB, 0.2 s to 2 s; an O_DIRECT transfer for which the disk's queue has no
// request tag left, until it has one. How{.async = true} gives it to a worker at once: the same two
// calls then return within 0.05 ms. With Mode::sqpoll the poller does it, and every poll() returns
// in microseconds; the operations behind it wait instead.
//   in place      nop, timer, deadline, cancel; open of a path that is cached (5.12), without
//                 create or truncate; read from the page cache; O_DIRECT read, and write over
//                 blocks that are allocated (btrfs: without copy-on-write); cached write on xfs
//                 (6.0) and, without copy-on-write, btrfs (6.1); close (not on NFS and FUSE)
//   by a worker   statx, rename, unlink, mkdir, rmdir, link, symlink, fsync, fdatasync, sync_range,
//                 fallocate, truncate, advise (but for NORMAL, RANDOM, SEQUENTIAL), always; open
//                 with create, create_new or truncate, or of a path that is not cached; write that
//                 makes the file longer with O_DIRECT; cached write on ext4; all of it on a file
//                 system that cannot do without blocking, such as tmpfs
// One at a time, what a worker does costs 1.5 to 10 times its system call: `bench/run --operations`
// measures it.
// What is always inlined is so for compilers that would else decide what `how` comes to when the
// program runs, and not before.
// Names such as "READ, 5.6" say which IORING_OP it is and the kernel that brought it; the man page
// is io_uring_enter(2).
#pragma once

#include <sys/stat.h>  // struct ::statx, which the caller provides and reads
#include <sys/uio.h>   // struct ::iovec

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "squall/abi.hpp"
#include "squall/arena.hpp"
#include "squall/blocking.hpp"
#include "squall/completion.hpp"
#include "squall/completions.hpp"
#include "squall/config.hpp"
#include "squall/error.hpp"
#include "squall/file.hpp"
#include "squall/front.hpp"
#include "squall/options.hpp"
#include "squall/sqe.hpp"
#include "squall/waker.hpp"

namespace squall {

class SQUALL_API Io {
public:
    // Makes a ring, with the best set-up that the kernel has, and registers the arena if there is
    // one. May be called on a thread other than the one that will submit (I8). On success the Io,
    // whose features() tell what it got; on failure, without side effects:
    //   EINVAL  an option is out of range, or the kernel is too old; the message names the value
    //           and the rule.
    //   EPERM   io_uring is switched off (the sysctl kernel.io_uring_disabled) or refused by a
    //           seccomp filter, as most container runtimes install; the message says which, and
    //           what the operator can do.
    //   ENOSYS  the kernel is built without io_uring, or a filter pretends so.
    //   ENOMEM  RLIMIT_MEMLOCK is too small for the arena or the ring, or memory is short; the
    //           message gives need, limit and remedy. What counts is below.
    //   EMFILE, ENFILE  no file descriptor is free; a ring needs three while it is made, and keeps
    //           two; with polling five, four. Those that it keeps are 3 or more: where 0 to 2 are
    //           closed, they stay free for what the program puts there.
    //   EOPNOTSUPP  the kernel lacks an operation or a feature that squall cannot do without; the
    //               message names it. Or the arena is memory of a file that cannot be registered.
    //   EFAULT  some of the arena's memory is not mapped any more.
    //   other   what a seccomp filter or a sandbox answers in the kernel's place; the message says
    //           which call it was.
    // Locked memory: an arena counts against RLIMIT_MEMLOCK, and on some kernels (6.18) so does a
    // ring's own memory, unless the process has CAP_IPC_LOCK. That is 64 * SQ entries and 320 + 16
    // * CQ entries bytes, each rounded up to pages: 28 KiB for the default sizes. With polling
    // there is a second ring of as many SQ as CQ entries, and 20 * CQ entries in place of 16. A
    // ring counts until the kernel has freed it, some time after ~Io: 20 ms usually, seconds on a
    // busy machine. So where ENOMEM may come of that, since this process has closed a ring in the
    // last five seconds and would fit under its limit, create() blocks and tries again, for five
    // seconds at most for a ring and five for its arena (with polling, for each of the two).
    // Programs that need an Io for a short while do better to keep some and hand them round
    // (Mode::plain).
    // Rests on io_uring_setup(2) and io_uring_register(2); kernel 5.11, or 5.10 with the stable
    // series' io_uring.
    [[nodiscard]] static Result<Io> create(const IoOptions& options = {});

    // Not while a Completions of it is alive. A moved-from Io may only be destroyed or assigned to;
    // what is assigned over is let go as by ~Io.
    Io(Io&& other) noexcept;
    Io& operator=(Io&& other) noexcept;
    // Lets go cleanly (I3): what is queued and was never submitted is dropped, what can be
    // cancelled is cancelled (REGISTER_SYNC_CANCEL, 6.0; older kernels cancel as the ring closes,
    // and with Mode::sqpoll 6.1 may have to, too), and it returns when the kernel has finished with
    // the rest and writes to no memory of the caller's any more. Their completions are not
    // delivered, so reap an open() first, or its descriptor is lost; what is hard-linked to, or
    // drained behind, an operation that is cancelled is done. Files in slots are closed. It
    // may block for as long as a transfer that cannot be cancelled takes and, where the ring is
    // closed to cancel, for as long as a forked child holds the ring's descriptor.
    // Destroy it on the thread that submitted, or after that thread has ended: then, with a read or
    // statx that may be in flight, it waits until the kernel has freed the ring, some 20 to 40 ms.
    // While that thread lives, another thread cannot give the ring's memory and the arena's pinned
    // pages back before it ends, and aborts with a message if operations are in flight, since only
    // their submitter can reap them.
    // exit() and dlclose() may destroy static and thread_local Ios, before or after their arena:
    // arena.hpp says what to mind. The rule about threads holds there too, for a static Io whose
    // submitter goes on.
    ~Io();

    // Opens a file (OPENAT, 5.6, or with OpenOptions::resolve OPENAT2, 5.6; open(2), openat2(2)).
    // On success `res` is the fd, close-on-exec and the caller's to close; on failure -ENAMETOOLONG
    // for a path of 4096 bytes or more, -EFAULT for a null one, -EINVAL for truncate without write
    // or append, with OpenOptions::resolve -EXDEV or -ELOOP for what it forbids.
    [[nodiscard, gnu::always_inline]] bool open(Path path, const OpenOptions& options, Token token,
                                                How how = {}) noexcept {
        return begin(about(abi::Op::openat, path.directory(), how), token) &&
               finish_open(path.below(), options, O_CLOEXEC, 0);
    }
    // The same straight into a slot, without a descriptor (file_index, 5.15). On success `res` is
    // 0, and a file that was in the slot is closed, as by close(); on failure also -EINVAL for a
    // slot that is not in the table and, with polling, for one that is linked to what follows it:
    // there the slot is filled only when the completion is handed out.
    [[nodiscard, gnu::always_inline]] bool open(Path path, const OpenOptions& options,
                                                FileSlot slot, Token token, How how = {}) noexcept {
        // A slot is no descriptor, so there is nothing for an exec to close: the kernel refuses
        // O_CLOEXEC there.
        return front_->may_change(slot.table_index()) &&
               begin(about(abi::Op::openat, path.directory(), how), token) &&
               finish_open(path.below(), options, 0, slot.table_index() + 1);
    }

    // Reads up to into.size() bytes at `offset` (READ, 5.6; READ_FIXED, 5.1, when all of `into`
    // lies in the arena and within one of its 1 GiB regions or, with IoOptions::arena_parts, in one
    // part; pread(2)). Offset 2^64 - 1 means the file's position, as the kernel has it. On success
    // `res` is the bytes read, fewer at the end of the file, 0 beyond it, never more than
    // 0x7ffff000; a short read is delivered as it is. On failure -EINVAL where address, offset or
    // size are not aligned as direct_io_alignment() says that O_DIRECT needs them
    // (transfer_error() explains it), and two that are none of the file's, and nothing was done:
    // queue it again.
    //   -ECANCELED  the kernel could make no thread to run it (signals came too fast, RLIMIT_NPROC
    //           or the cgroup's pids.max is reached), or the thread that submitted it has ended.
    //   -EAGAIN the file is open with O_NONBLOCK and has nothing now, or the kernel or the device
    //           is short of memory or requests: after some other completion, or a while.
    [[nodiscard, gnu::always_inline]] bool read(File file, std::span<std::byte> into,
                                                std::uint64_t offset, Token token,
                                                How how = {}) noexcept {
        return transfer(abi::Op::read, abi::Op::read_fixed, file, into.data(), into.size(), offset,
                        token, how);
    }

    // Writes up to from.size() bytes at `offset` (WRITE, 5.6; WRITE_FIXED, 5.1; pwrite(2));
    // otherwise as read(), -ECANCELED and -EAGAIN (of O_NONBLOCK: no room now) included. On success
    // `res` is the bytes written, fewer when the disk fills up or a limit is met: write the rest,
    // do not count on an fsync that was queued behind. Operations in flight together run in any
    // order: wait for a write's completion before its fsync().
    [[nodiscard, gnu::always_inline]] bool write(File file, std::span<const std::byte> from,
                                                 std::uint64_t offset, Token token,
                                                 How how = {}) noexcept {
        return transfer(abi::Op::write, abi::Op::write_fixed, file, from.data(), from.size(),
                        offset, token, how);
    }

    // The same into several pieces of memory, one after the other (READV, 5.1; READV_FIXED, 6.15,
    // when each piece has bytes and all lie in one region of the arena; preadv(2)). The pieces are
    // memory of the caller's too: they stay as they are until the completion. -EINVAL for more than
    // 1024 (IOV_MAX).
    [[nodiscard]] bool readv(File file, std::span<const struct ::iovec> into, std::uint64_t offset,
                             Token token, How how = {}) noexcept {
        return transfer_pieces(about_transfer(abi::Op::readv, file, how), into, offset, token, how);
    }
    // The same from several pieces (WRITEV, 5.1; WRITEV_FIXED, 6.15; pwritev(2)); as write().
    [[nodiscard]] bool writev(File file, std::span<const struct ::iovec> from, std::uint64_t offset,
                              Token token, How how = {}) noexcept {
        return transfer_pieces(about_transfer(abi::Op::writev, file, how), from, offset, token,
                               how);
    }

    // Makes the data and metadata of completed writes durable (FSYNC, 5.1; fsync(2)). On success
    // `res` is 0. On failure the pages that failed may be marked clean and lost: do not retry,
    // treat what was written since the last success as lost.
    [[nodiscard]] bool fsync(File file, Token token, How how = {}) noexcept {
        return queue(about(abi::Op::fsync, file, how), {}, token);
    }
    // The same without the metadata that is not needed to read the data back (FSYNC with DATASYNC;
    // fdatasync(2)).
    [[nodiscard]] bool fdatasync(File file, Token token, How how = {}) noexcept {
        return queue(about(abi::Op::fsync, file, how), {.op_flags = abi::fsync_datasync}, token);
    }

    // Has the kernel begin to write what of these bytes is dirty in the page cache, or wait for it:
    // `flags` are SYNC_FILE_RANGE_* (SYNC_FILE_RANGE, 5.2; sync_file_range(2)), by default begin
    // and wait. So that an fsync later has less to do: NOT durable, neither the file's metadata nor
    // the disk's cache are written. `length` 0 is to the end of the file; beyond 2^32 - 1: -EINVAL.
    // On success `res` is 0.
    [[nodiscard]] bool sync_range(File file, std::uint64_t offset, std::uint64_t length,
                                  Token token, unsigned flags = sync_range_whole,
                                  How how = {}) noexcept {
        return begin(about(abi::Op::sync_file_range, file, how), token) &&
               finish_range(offset, length, flags);
    }
    // SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER.
    static constexpr unsigned sync_range_whole = 7;

    // Makes room in a file, or takes it away (FALLOCATE, 5.6; fallocate(2)). `mode` is 0, which
    // also makes the file longer, or FALLOC_FL_* of <fcntl.h>: KEEP_SIZE does not; PUNCH_HOLE |
    // KEEP_SIZE gives the blocks back, and zeros are read there; ZERO_RANGE zeros without writing
    // them; ... On success `res` is 0, and durable after an fsync; on failure -EOPNOTSUPP where the
    // file system lacks that mode, -ENOSPC, -EINVAL for a length of 0 or 2^63 and more.
    [[nodiscard]] bool fallocate(File file, int mode, std::uint64_t offset, std::uint64_t length,
                                 Token token, How how = {}) noexcept {
        return queue(about(abi::Op::fallocate, file, how),
                     {.off = offset, .addr = length, .len = static_cast<std::uint32_t>(mode)},
                     token);
    }
    // Makes a file that long: the rest is lost, what is added is zeros (FTRUNCATE, 6.9;
    // ftruncate(2)). On success `res` is 0, and durable after an fsync; on failure -EINVAL where it
    // is no regular file open for writing. On a kernel that lacks it (Features::has(ftruncate)) it
    // is done at once, by the system call, before this returns, and is done also where it is
    // withdrawn; a slot cannot be named to that, and no place be had in a chain, nor while a drain
    // may be in flight: -EOPNOTSUPP.
    [[nodiscard]] bool truncate(File file, std::uint64_t size, Token token, How how = {}) noexcept {
        return begin(about(abi::Op::ftruncate, file, how), token) && finish_truncate(size, how);
    }

    // Says how these bytes of a file will be used (FADVISE, 5.6; posix_fadvise(2)): `advice` is one
    // of POSIX_FADV_*. `length` 0 is to the end of the file; beyond 2^32 - 1: -EINVAL. On success
    // `res` is 0.
    [[nodiscard]] bool advise(File file, std::uint64_t offset, std::uint64_t length, int advice,
                              Token token, How how = {}) noexcept {
        return begin(about(abi::Op::fadvise, file, how), token) &&
               finish_range(offset, length, static_cast<unsigned>(advice));
    }
    // The same of memory (MADVISE, 5.6; madvise(2)): one of MADV_*, of whole pages, at most 2^32 -
    // 1 bytes, else -EINVAL. On success `res` is 0.
    [[nodiscard]] bool advise(std::span<std::byte> memory, int advice, Token token,
                              How how = {}) noexcept {
        return begin(about(abi::Op::madvise, -1, how), token) && finish_advise(memory, advice);
    }

    // Fills `out` (STATX, 5.6; statx(2)). `mask` is the STATX_* that are wanted; the default is the
    // basic ones and the time of birth. The path's last symbolic link is followed. On success `res`
    // is 0, and `out.stx_mask` says what was found. There is none of a slot, which the kernel
    // refuses: keep the descriptor, or use the path. `fd` must stay open until the completion.
    [[nodiscard]] bool statx(int fd, struct ::statx& out, Token token,
                             unsigned mask = statx_default, How how = {}) noexcept {
        // An empty path and AT_EMPTY_PATH: the file that `fd` is.
        return begin(about(abi::Op::statx, fd, how), token) && finish({.off = address(&out),
                                                                       .addr = address(""),
                                                                       .len = mask,
                                                                       .op_flags = AT_EMPTY_PATH});
    }
    [[nodiscard]] bool statx(Path path, struct ::statx& out, Token token,
                             unsigned mask = statx_default, How how = {}) noexcept {
        return begin(about(abi::Op::statx, path.directory(), how), token) &&
               finish(path.below(), {.off = address(&out), .len = mask});
    }
    // The same as `options` say.
    [[nodiscard]] bool statx(Path path, struct ::statx& out, Token token,
                             const StatxOptions& options, How how = {}) noexcept {
        const std::uint32_t flags = options.flags | (options.follow ? 0 : AT_SYMLINK_NOFOLLOW);
        return begin(about(abi::Op::statx, path.directory(), how), token) &&
               finish(path.below(), {.off = address(&out), .len = options.mask, .op_flags = flags});
    }
    static constexpr unsigned statx_default = StatxOptions{}.mask;

    // Renames within a file system, replacing `to` atomically (RENAMEAT, 5.11; rename(2)). On
    // success `res` is 0, and the new name is durable only after an fsync of the directory: open it
    // with read and fsync that.
    [[nodiscard]] bool rename(Path from, Path to, Token token, How how = {}) noexcept {
        return begin(about(abi::Op::renameat, from.directory(), how), token) &&
               finish(from.below(), to.below(), {.len = directory_of(to)});
    }
    // The same, but `taken` says what is done where the new name is taken (renameat2(2)). On
    // failure also -EINVAL where the file system cannot do that.
    [[nodiscard]] bool rename(Path from, Path to, Rename taken, Token token,
                              How how = {}) noexcept {
        return begin(about(abi::Op::renameat, from.directory(), how), token) &&
               finish(from.below(), to.below(),
                      {.len = directory_of(to), .op_flags = static_cast<std::uint32_t>(taken)});
    }

    // Removes a name (UNLINKAT, 5.11; unlink(2)). On success `res` is 0, durable as rename(); on
    // failure -EISDIR for a directory.
    [[nodiscard]] bool unlink(Path path, Token token, How how = {}) noexcept {
        return begin(about(abi::Op::unlinkat, path.directory(), how), token) &&
               finish(path.below(), detail::Operands{});
    }
    // Removes an empty directory (UNLINKAT with AT_REMOVEDIR, 5.11; rmdir(2)). On success `res` is
    // 0, durable as rename(); on failure -ENOTEMPTY, -ENOTDIR.
    [[nodiscard]] bool rmdir(Path path, Token token, How how = {}) noexcept {
        return begin(about(abi::Op::unlinkat, path.directory(), how), token) &&
               finish(path.below(), {.op_flags = AT_REMOVEDIR});
    }
    // Makes a directory, with the permissions `mode` less the umask (MKDIRAT, 5.15; mkdir(2)). On
    // success `res` is 0, durable after an fsync of the directory above it; on failure -EEXIST.
    [[nodiscard]] bool mkdir(Path path, std::uint32_t mode, Token token, How how = {}) noexcept {
        return begin(about(abi::Op::mkdirat, path.directory(), how), token) &&
               (has(abi::Op::mkdirat) ? finish(path.below(), {.len = mode}) : finish_refused());
    }
    // Gives a file a second name (LINKAT, 5.15; link(2)); of a symbolic link, the link itself. On
    // success `res` is 0, durable as rename(); on failure -EEXIST, -EXDEV, -EPERM of a directory.
    [[nodiscard]] bool link(Path from, Path to, Token token, How how = {}) noexcept {
        return begin(about(abi::Op::linkat, from.directory(), how), token) &&
               finish_link(from.below(), to, 0);
    }
    // The same of an open file: one that was made with O_TMPFILE and so has no name, or none any
    // more that its file system would bring back (-ENOENT). `fd` must stay open until the
    // completion. By /proc/self/fd, so that no capability is needed but a /proc is.
    [[nodiscard]] bool link(int fd, Path to, Token token, How how = {}) noexcept {
        return begin(about(abi::Op::linkat, abi::at_fdcwd, how), token) && finish_link(fd, to);
    }
    // Makes a symbolic link at `path` that leads to `target` (SYMLINKAT, 5.15; symlink(2)). On
    // success `res` is 0, durable as rename(); on failure -EEXIST.
    [[nodiscard]] bool symlink(const char* target, Path path, Token token, How how = {}) noexcept {
        return begin(about(abi::Op::symlinkat, path.directory(), how), token) &&
               (has(abi::Op::symlinkat) ? finish(target, path.below(), {}) : finish_refused());
    }

    // Closes a file descriptor (CLOSE, 5.6; close(2)), or empties a slot (CLOSE with file_index,
    // 5.15). On success `res` is 0; on failure -EBADF where there is none. The number of a
    // descriptor may be reused as soon as this is submitted. Close a file when what was queued on
    // it has completed: reads and writes that were queued before go on, if they are neither async
    // nor linked, drained or behind a drain, but all others look their file up when a worker or
    // their turn comes (measured on 6.18), and fail with -EBADF, or are done to another file that
    // has got the number: an fsync of nothing that succeeds. A slot's file is closed when the last
    // operation that holds it has completed, by an error too late to be reported; what comes later
    // completes with -EBADF, until the slot is filled again.
    [[nodiscard, gnu::always_inline]] bool close(File file, Token token, How how = {}) noexcept {
        if (!file.is_slot()) return queue(about(abi::Op::close, file, how), {}, token);
        return front_->may_change(file.number()) &&
               queue(about(abi::Op::close, 0, how), {.file_index = file.number() + 1}, token);
    }

    // Puts a file that is open as `fd` into a slot, in place of what was there, or empties it (fd
    // -1). Not queued but done at once, by one system call (IORING_REGISTER_FILES_UPDATE, 5.5);
    // operations that hold the slot's file already go on with that, those that look it up later
    // (not submitted yet, or a worker's to do: see close()) go to the new one. On success the table
    // holds the file on its own: `fd` may be closed. On failure:
    //   EBADF   `fd` is not open, or is a ring; the slot is then empty.
    //   EBUSY   with polling: polled transfers are in flight on the slot. Reap them first.
    //   EINVAL  the table has no such slot; the message names both.
    //   EEXIST, ESTALE  as Completions::error().
    // Thread rule: as the operations.
    [[nodiscard]] Result<void> set_file(FileSlot slot, int fd);

    // Registers a part of IoOptions::arena, with IoOptions::arena_parts
    // (IORING_REGISTER_BUFFERS_UPDATE, 5.13): transfers whose bytes all lie in it are fixed from
    // now on. Not queued but done at once, by a system call or two; it pins the pages, and may wait
    // for locked memory as create() does. While it is registered its pages must stay what they are:
    // where something else is mapped there, or they are given back (MADV_DONTNEED), fixed transfers
    // would go on with the old ones. On failure, and nothing has changed:
    //   EINVAL  it has no bytes, or more than 1 GiB, lies outside the arena, or some of it is
    //           registered already; or there are no arena_parts.
    //   ENOBUFS there are as many as arena_parts says.
    //   ENOMEM, EFAULT, EOPNOTSUPP  as create() has them for an arena.
    //   EEXIST, ESTALE  as Completions::code().
    // Thread rule: as the operations.
    [[nodiscard]] Result<void> register_part(std::span<std::byte> part);
    // Gives one up: exactly one that was registered, else ENOENT. Its pages are unpinned when the
    // last transfer that the kernel has begun on it has ended; before 6.4, up to a second after the
    // last one by any part or slot that began before has. Reap what was queued on it first: what
    // the kernel begins later (not submitted yet, or async, linked or drained) may complete with
    // -EFAULT. What else the kernel refuses leaves it registered, with polling perhaps for one of
    // the two rings alone: try again before it is used. Thread rule as above.
    [[nodiscard]] Result<void> unregister_part(std::span<std::byte> part);

    // Limits the kernel's worker threads for the calling thread's rings, all of them
    // (IORING_REGISTER_IOWQ_MAX_WORKERS, 5.15). By default bounded ones are limited to the least of
    // SQ entries and four times the CPUs, unbounded ones to RLIMIT_NPROC. On success the limits
    // before. On failure EINVAL for more than 2^31 - 1, EOPNOTSUPP before 5.15; EEXIST, ESTALE as
    // Completions::code(). Thread rule: it binds the Io to its thread, as the first poll() with
    // something queued does (I8); in Mode::plain it is about the thread that made the ring.
    Result<WorkerLimits> limit_workers(WorkerLimits limits) {
        return front_->limit_workers(limits);
    }
    // Has those workers run on these CPUs alone (IORING_REGISTER_IOWQ_AFF, 5.14); none: where the
    // scheduler likes. On failure EINVAL where a CPU is beyond 1023 or not this thread's to run on,
    // or the thread has entered no ring yet (Mode::plain); EEXIST, ESTALE as above.
    Result<void> bind_workers(std::span<const unsigned> cpus) { return front_->bind_workers(cpus); }

    // Does nothing (NOP, 5.1): for measuring, and for going round a loop once more. On success
    // `res` is 0.
    [[nodiscard]] bool nop(Token token, How how = {}) noexcept {
        return queue(about(abi::Op::nop, -1, how), {}, token);
    }

    // Completes when so much time has passed (TIMEOUT, 5.4; CLOCK_MONOTONIC): with -ETIME, or with
    // -ECANCELED where a cancel() came first: to a chain a failure either way, so that what is to
    // come after it needs hard_link. -EINVAL for a negative time.
    [[nodiscard]] bool timer(std::chrono::nanoseconds after, Token token, How how = {}) noexcept {
        return begin(about(abi::Op::timeout, -1, how), token) && finish_timeout(after);
    }
    // Bounds the operation that is queued just before it with How{.link = true}
    // (LINK_TIMEOUT, 5.5): when that has run for so long, the kernel tries to cancel it, as
    // cancel() does and with the same limits: not once a disk is at it. Both complete. Where it was
    // cancelled the operation has -ECANCELED (or -EINTR, where a worker was at it) and this -ETIME;
    // where the operation came first this has -ECANCELED; where it was past cancelling this has
    // -EALREADY or -ENOENT, and the operation ends as ever. -EINVAL where nothing is linked to it.
    [[nodiscard]] bool deadline(std::chrono::nanoseconds after, Token token,
                                How how = {}) noexcept {
        return begin(about(abi::Op::link_timeout, -1, how), token) && finish_timeout(after);
    }

    // Asks the kernel to cancel an operation with the token `what` (ASYNC_CANCEL, 5.5; one, where
    // several have it). It can where the operation waits for what may never come (a pipe, a timer)
    // or for a free worker; it cannot where a disk is at it, nor before its turn has come in a
    // chain or behind a drain. `res` is 0: found, and about to complete with -ECANCELED; -EALREADY:
    // a worker is at it, which was told and may end it with -EINTR (on 6.1 with -512, ERESTARTSYS,
    // which no program should see); -ENOENT: none that could be cancelled. Whatever this says, each
    // operation has its one completion, before or after this one's, and its buffer is not the
    // caller's before. With polling it takes a look at all that is in flight.
    [[nodiscard]] bool cancel(Token what, Token token, How how = {}) noexcept {
        return queue(about(abi::Op::async_cancel, -1, how), {.addr = what}, token);
    }
    // The same of all on a file (5.19: Features::cancels_many). `res` is how often the kernel found
    // something, 0 for nothing; several that wait for a worker count once. What is linked or
    // drained has no file yet, and what a polled ring has is not found. -EBADF where it is not
    // open.
    [[nodiscard]] bool cancel_file(File file, Token token, How how = {}) noexcept {
        return begin(about(abi::Op::async_cancel, file, how), token) &&
               finish_cancel(abi::async_cancel_fd | abi::async_cancel_all);
    }
    // The same of all on this Io, timers and other cancels included (5.19); `res` as cancel_file().
    [[nodiscard]] bool cancel_all(Token token, How how = {}) noexcept {
        return begin(about(abi::Op::async_cancel, -1, how), token) &&
               finish_cancel(abi::async_cancel_any | abi::async_cancel_all);
    }

    // Whether `count` more operations can be queued now: before the first of a chain.
    // Thread rule: as the operations.
    [[nodiscard]] bool has_room(unsigned count) noexcept { return front_->room() >= count; }

    // Takes back the operation that was queued last and that the kernel was not given yet: for a
    // function whose buffers are about to go while poll() or park() fails. No system call.
    //     while (const auto token = io.withdraw()) forget(*token);
    // On success its token: it will not be done, no completion comes for it, its buffer is the
    // caller's again, and it is no longer counted as submitted (I1). Empty: there is none, all that
    // is still in flight is the kernel's. The kernel was given what an enter consumed and, with
    // Mode::sqpoll, all that a poll() or park() showed to the thread, even one that then failed to
    // wake it; nothing takes that back but ~Io. With polling the order is that of each ring alone.
    // What was linked to it is linked to nothing.
    // Thread rule: as the operations; on a thread that is not the ring's, and in a child of fork(),
    // it is empty.
    [[nodiscard]] std::optional<Token> withdraw() noexcept { return front_->withdraw(); }

    // Submits what is queued and returns what has completed; waits for no completion, but for what
    // submitting takes ("What blocks", above). One io_uring_enter(2) when something is queued or
    // the kernel has flagged work to be run, and one more for each further 20 completions where it
    // brings as many at a time (6.13, Mode::deferred); no system call otherwise (I5); with
    // Mode::sqpoll only to wake the thread. Where the kernel took fewer than were queued (short of
    // memory), the rest stays queued for the next call (I9). On failure Completions::failed() is
    // true, and what was not submitted stays queued. Requires that no earlier Completions of this
    // Io is alive.
    [[nodiscard]] Completions poll() noexcept { return front_->poll(); }

    // The same, but blocks until there are at least `at_least` completions, or all that are in
    // flight when those are fewer: waiting for several at once spares wake-ups. A signal does not
    // end it (I9), a wake does (waker()). With nothing queued, nothing in flight and no Waker there
    // is nothing to wait for, and it returns empty at once. 0: as poll().
    [[nodiscard]] Completions park(std::size_t at_least = 1) noexcept {
        return front_->park(at_least, nullptr);
    }
    // The same, but for no longer than `timeout`, which it waits out when nothing is in flight; 0
    // or less: as poll(). Empty, or fewer, when the time ran out. (IORING_ENTER_EXT_ARG, 5.11;
    // CLOCK_MONOTONIC.)
    [[nodiscard]] Completions park(std::chrono::nanoseconds timeout,
                                   std::size_t at_least = 1) noexcept {
        return front_->park(at_least, &timeout);
    }

    // The same, but gathers: it waits for `at_least` completions for as long as `gather`, then for
    // one, and for no longer than `timeout` in all; with nothing in flight it waits that out, or
    // returns at once where there is none. For a loop that does better with many at a time, and
    // must not wait for them for ever. (Two enters where `gather` has passed and nothing has come.)
    [[nodiscard]] Completions park(const Batch& batch) noexcept { return front_->park(batch); }

    // A descriptor to sleep on in epoll(7), poll(2), another ring or another library's event loop,
    // beside others: readable (POLLIN) when poll() would find a completion or a wake, and until a
    // poll() or park() has looked. It may be so once for nothing, and is at first. It belongs to
    // the Io: read nothing from it, and do not close it. Submit before sleeping: what is only
    // queued makes nothing readable. With polling it is readable for as long as polled transfers
    // are in flight, for somebody must look. With Mode::deferred some kernels (6.12.117 for one)
    // make it readable for only the first of the reads of pipes and sockets that had to wait: use
    // another mode for those there; files are not concerned. epoll_wait(2) may return -1 with EINTR
    // where completions interrupt (Mode::plain, and before 6.1).
    // The first call makes an eventfd (IORING_REGISTER_EVENTFD, 5.2), a descriptor more, and from
    // then on each poll() and park() makes a read(2) more; -errno where it cannot be had (-EMFILE,
    // -ENFILE, -ENOMEM), or where this thread is not the owner (-EEXIST). Before Linux 5.18 that
    // call waits for all that is in flight: make it before the first operation. Use it
    // level-triggered, not with EPOLLET. In a child of fork() -ESTALE. Thread rule: as the
    // operations; who sleeps on it may be any thread.
    [[nodiscard]] int poll_fd() noexcept { return front_->poll_fd(); }

    // What any thread wakes this Io by: waker.hpp. It costs nothing until the first call, which
    // makes an eventfd as poll_fd() does, with the same limits, and a copy of it; a Waker that
    // could not be had is false, and Waker::error() says why. From then on poll() looks at one word
    // more, and the kernel signals the event for what completes (some 0.1 us). For as long as there
    // is a Waker, park() waits for wakes too, also with nothing in flight, and a wake ends it,
    // however many completions it is to wait for. So it sleeps on the event and not in the ring:
    // where it really sleeps that is three system calls more (ppoll(2), read(2), and one more
    // enter), it wakes up for each completion of those it is to gather, a timeout is as exact as
    // ppoll(2)'s (timer slack, 50 us), and it never counts as waiting for I/O (IoOptions::io_wait).
    // It looks every 50 us where polled transfers or an SQPOLL thread are to be looked after, and
    // every 10 ms with Mode::deferred where anything is in flight, for a read of a pipe that the
    // kernel may not tell of (poll_fd()).
    // Thread rule: as the operations; a Waker may then go to any thread.
    [[nodiscard]] Waker waker() noexcept { return front_->waker(); }

    // Waits until an operation with this token has completed, and hands that completion out alone,
    // whatever else is in flight: what else completes meanwhile is kept, in its order, for the next
    // poll() or park(). For one token among many. It may be called while a Completions is alive,
    // from the body of a loop over it; what is in that range was handed out, and is not found. On
    // success the completion, whose `res` may be a failure of the operation's. On failure:
    //   ENOENT  no operation with this token is in flight: said when all that is has completed, so
    //           do not ask for what was not queued.
    //   EINPROGRESS  the ring failed; the message says how. The operation is in flight: its buffers
    //           must stay as they are, and it may be waited for again.
    //   EEXIST, ESTALE  as Completions::code().
    // Allocates only where it fails. Thread rule: as poll().
    [[nodiscard]] Result<Completion> wait_for(Token token) { return front_->wait_for(token); }
    // The same of one operation, which `queue` queues: for start-up code, tools and clients that do
    // one thing at a time, and for the one write that a loop over completions cannot go on without.
    //     const auto done = io.run(7, [&](Token token) { return io.fsync(fd, token); });
    // It submits what is queued, and waits where polled transfers must end first, until `queue`
    // finds room. Where the ring fails the operation is taken back: it is not done, its buffers are
    // the caller's again, and the error is as Completions::code() has it; EINPROGRESS, as above,
    // where the kernel has it already. On failure also:
    //   EBUSY   the CQ has no place for it: poll() or park() first. It was not queued.
    //   EINVAL  `queue` says false for no reason of the Io's.
    // No other operation in flight may have this token.
    template <std::predicate<Token> Queue>
    [[nodiscard]] Result<Completion> run(Token token, Queue queue) {
        if (Error error = front_->cannot_run()) return error;
        for (;;) {
            // Looked at before: an SQPOLL thread may make room at any time.
            const bool had_room = front_->room() > 0;
            if (queue(token)) return front_->wait_for_last(token);
            if (Error error = front_->make_room(had_room)) return error;
        }
    }

    // Operations queued or in the kernel whose completion was not handed out yet; at most
    // features().cq_entries (I2).
    [[nodiscard]] unsigned in_flight() const noexcept {
        return static_cast<unsigned>(front_->in_flight());
    }
    // What an operation that this kernel does not have comes to, in words for an operator, with the
    // release that brought it; no error where Features::has() it. Allocates.
    [[nodiscard]] Error lacking(abi::Op op) const;

    // Valid, and kept up to date, until the Io is destroyed; moving the Io does not move them.
    [[nodiscard]] const Features& features() const noexcept { return front_->features(); }
    [[nodiscard]] const Counters& counters() const noexcept { return front_->counters(); }

    // The calls below are not the ring's: they run at once, block, may allocate, and return their
    // result. They are here because a storage engine needs them at start-up, and because a
    // simulated disk must answer them too. Any thread.

    // Lists a directory (getdents64(2)). On success the names in it without "." and "..", in byte
    // order; on failure an errno of open(2) with O_DIRECTORY.
    [[nodiscard]] Result<std::vector<std::string>> list_dir(Path path) const;
    // The same with the type of each, as far as the file system says it.
    [[nodiscard]] Result<std::vector<DirEntry>> list_dir_types(Path path) const;
    // Makes a directory and those above it that are missing, mode 0777 less the umask (mkdir(2)).
    // On success it is there, also where it was before, and not durable: fsync the directory that
    // the topmost new one was made in. On failure an errno of mkdir(2), or ENOTDIR where a file is
    // in the way; what was made before the error stays.
    [[nodiscard]] Result<void> create_dir_all(Path path) const;
    // Takes a lock on the whole of a file, if nobody is in the way (F_OFD_SETLK, 3.15; fcntl(2),
    // "Open file description locks"). On success it is taken; where this open file had one of the
    // other kind, that became this one. On failure EAGAIN where somebody else has one that does not
    // go with it; EBADF where the descriptor is not open, or not for what the kind of lock needs;
    // ENOLCK, EINVAL or EOPNOTSUPP of a file system.
    // It belongs to what open() gave: to that descriptor, its dup(2)s and its copies in children,
    // until the last of them is closed or one is unlocked; another open() of the same file, in this
    // process or another, is somebody else. A POSIX lock (F_SETLK) would be lost as soon as the
    // process closes any descriptor of that file, as a library that just looks at it does. All of
    // them are advice: who does not ask reads and writes as ever.
    [[nodiscard]] Result<void> try_lock(int fd, Lock kind = Lock::exclusive) const;
    // Gives it up, if there is one. On failure EBADF, or another errno of fcntl(2).
    [[nodiscard]] Result<void> unlock(int fd) const;
    // Copies up to `bytes` bytes from one regular file to another, or to elsewhere in the same,
    // within the kernel, sharing the blocks where the file system can (copy_file_range(2), 4.5). On
    // success how many were, fewer where the source ends or a limit is met, 0 at its end. On
    // failure EXDEV across file systems, EINVAL where source and target overlap or one is no
    // regular file, EBADF, ENOSPC, ...: copy by read() and write() then.
    [[nodiscard]] Result<std::uint64_t> copy_file_range(int from, std::uint64_t from_offset, int to,
                                                        std::uint64_t to_offset,
                                                        std::uint64_t bytes) const;
    // What the file system that `fd` lies on is, and how full (fstatfs(2)). `fd` may be open with
    // O_PATH, and a directory. On failure EBADF, or another errno of statfs(2).
    [[nodiscard]] Result<FileSystem> file_system(int fd) const;
    // Says how long what is written to the file `fd` is likely to stay. On failure EBADF, EPERM for
    // a file of another user's, or EINVAL where the kernel has no such hints.
    [[nodiscard]] Result<void> set_write_life(int fd, WriteLife life) const;
    // Nanoseconds since an arbitrary point, never going back (CLOCK_MONOTONIC, clock_gettime(2)).
    [[nodiscard]] std::chrono::nanoseconds now() const noexcept;
    // Nanoseconds since 1970 in UTC, which whoever sets the clock may move (CLOCK_REALTIME).
    [[nodiscard]] std::chrono::sys_time<std::chrono::nanoseconds> time_of_day() const noexcept;
    // Asks how `fd` is best written. On success bytes per block: a block device's physical block
    // (BLKPBSZGET), a file's st_blksize. On failure EBADF, or another errno of statx(2).
    [[nodiscard]] Result<std::uint32_t> block_size(int fd) const;
    // Asks how large the file `fd` is. On success bytes: a regular file's st_size (statx(2)), a
    // block device's capacity (BLKGETSIZE64); extending writes that have completed are in it, those
    // in flight may be. A tenth of the CPU time of statx() above, which Linux hands to a thread of
    // its own. On failure EBADF; another errno of statx(2) or, of a block device, of ioctl(2);
    // EINVAL where it is neither (a directory, a pipe), so that there is no size: the message says
    // what it is.
    [[nodiscard]] Result<std::uint64_t> file_size(int fd) const;
    // What a write with How::atomic to the file `fd` may be. On failure EOPNOTSUPP where file
    // system, device or kernel (before 6.11) do none; EBADF, or another errno of statx(2).
    [[nodiscard]] Result<AtomicWriteLimits> atomic_write_limits(int fd) const;
    // What squall::direct_io_alignment() and transfer_error(), below, say of a descriptor of
    // Linux's, of one of this Io's.
    [[nodiscard]] Result<DirectIoAlignment> direct_io_alignment(int fd) const;
    [[nodiscard]] Error transfer_error(const Completion& completion, int fd,
                                       std::span<const std::byte> bytes,
                                       std::uint64_t offset) const;

private:
    friend class detail::Ring;  // the descriptor of another Io: IoOptions::sqpoll_with
    explicit Io(detail::Front* front) noexcept;

    [[gnu::always_inline]] abi::Word about(abi::Op op, File file, How how) noexcept {
        if (how.drain) front_->note_drain();
        return detail::about(op, file, how);
    }
    [[gnu::always_inline]] abi::Word about_transfer(abi::Op op, File file, How how) noexcept {
        if (how.drain) front_->note_drain();
        return detail::about_transfer(op, file, how);
    }

    static std::uint64_t address(const void* pointer) noexcept {
        return reinterpret_cast<std::uintptr_t>(pointer);
    }
    static std::uint32_t directory_of(Path path) noexcept {
        return static_cast<std::uint32_t>(path.directory());
    }

    // Begins to fill an SQE for an operation whose operands are yet to be made, as a path's copy
    // is; finish() queues it.
    bool begin(abi::Word op_fd, Token token) noexcept {
        detail::Front& front = *front_;
        if (!front.has_room(op_fd)) [[unlikely]]
            return false;
        front.slot().op_fd = op_fd;
        front.slot().user_data = abi::Word{token};
        return true;
    }
    bool finish(const detail::Operands& operands) noexcept {
        detail::Front& front = *front_;
        detail::fill(front.slot(), operands);
        front.push();
        return true;
    }
    // The same of an operation on a path, whose address is `addr`, and on two: `addr` and `off`.
    bool finish(const char* path, const detail::Operands& operands) noexcept {
        detail::fill(front_->slot(), operands);
        front_->push(path);
        return true;
    }
    bool finish(const char* first, const char* second, const detail::Operands& operands) noexcept {
        detail::fill(front_->slot(), operands);
        front_->push(first, second);
        return true;
    }
    // Queues one operation, by one look at where its slot is: begin() and finish() take an
    // instruction more.
    bool queue(abi::Word op_fd, const detail::Operands& operands, Token token) noexcept {
        detail::Front& front = *front_;
        if (!front.has_room(op_fd)) [[unlikely]]
            return false;
        detail::fill(front.slot(), op_fd, operands, token);
        front.push();
        return true;
    }

    [[gnu::always_inline]] bool transfer(abi::Op op, abi::Op fixed_op, File file, const void* data,
                                         std::size_t size, std::uint64_t offset, Token token,
                                         How how) noexcept {
        detail::Front& front = *front_;
        const abi::Word op_fd = about_transfer(op, file, how);
        const auto address = reinterpret_cast<std::uintptr_t>(data);
        const std::uint32_t flags = detail::rw_flags(how);
        if (!front.has_room(op_fd)) [[unlikely]]
            return transfer_among_parts(front, op_fd, address, size, offset, token, flags,
                                        how.unregistered);
        const detail::RegisteredMemory& memory = front.memory();
        if (!how.unregistered && memory.holds(address, size))
            fill_fixed(front, abi::with_op(op_fd, fixed_op), address, size, offset, token, flags,
                       memory.region_of(address));
        else
            fill_plain(front, op_fd, address, size, offset, token, flags);
        front.push();
        return true;
    }
    [[gnu::always_inline]] static void fill_fixed(detail::Front& front, abi::Word op_fd,
                                                  std::uintptr_t address, std::size_t size,
                                                  std::uint64_t offset, Token token,
                                                  std::uint32_t flags,
                                                  std::uint16_t region) noexcept {
        detail::fill(front.slot(), op_fd,
                     {.off = offset,
                      .addr = address,
                      .len = static_cast<std::uint32_t>(size),
                      .op_flags = flags,
                      .buf_index = region},
                     token);
        ++front.counters().fixed;
    }
    [[gnu::always_inline]] static void fill_plain(detail::Front& front, abi::Word op_fd,
                                                  std::uintptr_t address, std::size_t size,
                                                  std::uint64_t offset, Token token,
                                                  std::uint32_t flags) noexcept {
        // The SQE's 32 bits must not wrap before.
        const std::size_t length = size < detail::transfer_max ? size : detail::transfer_max;
        detail::fill(front.slot(), op_fd,
                     {.off = offset,
                      .addr = address,
                      .len = static_cast<std::uint32_t>(length),
                      .op_flags = flags},
                     token);
        ++front.counters().unregistered;
    }
    // What has_room() has no room for with IoOptions::arena_parts; false without.
    [[gnu::cold]] static bool transfer_among_parts(detail::Front& front, abi::Word op_fd,
                                                   std::uintptr_t address, std::size_t size,
                                                   std::uint64_t offset, Token token,
                                                   std::uint32_t flags, bool unregistered) noexcept;
    [[gnu::always_inline]] bool transfer_pieces(abi::Word op_fd,
                                                std::span<const struct ::iovec> pieces,
                                                std::uint64_t offset, Token token,
                                                How how) noexcept {
        if (!begin(op_fd, token)) [[unlikely]]
            return pieces_among_parts(op_fd, pieces, offset, token, how);
        return finish_pieces(pieces, offset, how);
    }
    [[gnu::cold]] bool pieces_among_parts(abi::Word op_fd, std::span<const struct ::iovec> pieces,
                                          std::uint64_t offset, Token token, How how) noexcept;

    // What these put into an SQE that was begun, which is then queued: true. `file_index` is 0 for
    // a descriptor.
    [[gnu::always_inline]] bool finish_open(const char* path, const OpenOptions& options,
                                            int more_flags, std::uint32_t file_index) noexcept {
        // Linux would truncate a file that is opened for reading only. An openat with a buffer
        // index is refused with EINVAL, so that the refusal is a completion like every other.
        const bool refused = options.truncate && !options.write && !options.append;
        const auto flags = static_cast<std::uint32_t>(open_flags(options) | more_flags);
        if (options.resolve != 0)
            return finish_openat2(path, {flags, options.mode, options.resolve}, file_index,
                                  refused);
        return finish(path, {.len = options.mode,
                             .op_flags = flags,
                             .buf_index = static_cast<std::uint16_t>(refused ? 1 : 0),
                             .file_index = file_index});
    }
    bool finish_openat2(const char* path, abi::OpenHow how, std::uint32_t file_index,
                        bool refused) noexcept;
    bool finish_link(int fd, Path to) noexcept;
    bool finish_link(const char* from, Path to, std::uint32_t flags) noexcept {
        if (!has(abi::Op::linkat)) return finish_refused();
        return finish(from, to.below(), {.len = directory_of(to), .op_flags = flags});
    }
    bool finish_pieces(std::span<const struct ::iovec> pieces, std::uint64_t offset,
                       How how) noexcept;
    bool fill_pieces(const detail::RegisteredMemory& memory, std::uint16_t first,
                     std::span<const struct ::iovec> pieces, std::uint64_t offset,
                     How how) noexcept;
    bool finish_truncate(std::uint64_t size, How how) noexcept;
    bool finish_advise(std::span<std::byte> memory, int advice) noexcept;
    bool finish_timeout(std::chrono::nanoseconds after) noexcept;
    bool finish_cancel(std::uint32_t flags) noexcept;
    bool finish_range(std::uint64_t offset, std::uint64_t length, std::uint32_t op_flags) noexcept;
    // Where the kernel lacks what is begun: it completes with -EOPNOTSUPP.
    bool finish_refused() noexcept;
    [[nodiscard]] bool has(abi::Op op) const noexcept { return front_->features().has(op); }
    void destroy() noexcept;

    detail::Front* front_ = nullptr;
};

// Asks what O_DIRECT needs of the file open as `fd`, opened with O_DIRECT or not. On success the
// alignment; on failure EBADF, another errno of statx(2), or EOPNOTSUPP where the file system says
// that it does no direct I/O on this file. Any thread; blocks as a stat does.
[[nodiscard]] SQUALL_API Result<DirectIoAlignment> direct_io_alignment(int fd);

// Says for an operator what became of a read or write whose completion is `completion`: no error
// when all bytes moved; else the errno, or EIO for a short transfer, with what `fd`, address,
// offset and size have to do with it: which one breaks O_DIRECT's alignment, and by how much.
// Requires what was given to the operation. Any thread; allocates and makes system calls.
[[nodiscard]] SQUALL_API Error transfer_error(const Completion& completion, int fd,
                                              std::span<const std::byte> bytes,
                                              std::uint64_t offset);

}  // namespace squall
