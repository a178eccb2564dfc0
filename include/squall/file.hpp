// SPDX-License-Identifier: MIT
//
// What an operation is done to, and how: FileSlot, File (a descriptor or a FileSlot), Path,
// OpenOptions, StatxOptions, Rename, How and Priority. Plain values; io.hpp says what each
// operation makes of them.
#pragma once

#include <fcntl.h>  // O_*, which are part of the platform's ABI

#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "squall/abi.hpp"
#include "squall/config.hpp"

namespace squall {

// A file in an Io's table of registered files (IoOptions::file_slots), counted from 0. A type of
// its own, so that a slot is never taken for a file descriptor, nor one for the other.
class FileSlot {
public:
    constexpr explicit FileSlot(std::uint32_t number) noexcept
        : index_(number < count_max ? number + 1 : nowhere) {}
    [[nodiscard]] constexpr std::uint32_t number() const noexcept { return index_ - 1; }
    // Where it is in the kernel's table: for squall. Index 0 is squall's own, and no slot's.
    [[nodiscard]] constexpr std::uint32_t table_index() const noexcept { return index_; }
    friend constexpr bool operator==(FileSlot, FileSlot) noexcept = default;

    // More than a table can have: the kernel's limit is 2^20 files (IORING_MAX_FIXED_FILES).
    static constexpr std::uint32_t count_max = (1U << 20) - 1;

private:
    // In no table, and not a number that means something else to the kernel.
    static constexpr std::uint32_t nowhere = 0x7fff'ffff;
    std::uint32_t index_;
};

// A file descriptor, or an engine's own type for one that converts to it.
template <class T>
concept DescriptorLike = std::is_convertible_v<T, int>;

// An open file, as an operation is given it: a descriptor, or a slot of the Io's table. The kernel
// need not look a slot's file up nor hold it for each operation (IOSQE_FIXED_FILE, 5.1). A slot
// that is empty, or not in the table, completes with -EBADF, as a descriptor that is not open does.
class File {
public:
    template <DescriptorLike Descriptor>
    constexpr File(Descriptor&& descriptor) noexcept
        : bits_(word(0, unsigned_of(std::forward<Descriptor>(descriptor)))) {}
    constexpr File(FileSlot slot) noexcept : bits_(word(abi::sqe_fixed_file, slot.table_index())) {}

    // The first word of an SQE that is about it, less what is done: for squall.
    [[nodiscard]] constexpr std::uint64_t bits() const noexcept { return bits_; }
    [[nodiscard]] constexpr bool is_slot() const noexcept {
        return (bits_ & word(abi::sqe_fixed_file, 0)) != 0;
    }
    // The descriptor, or the index in the kernel's table.
    [[nodiscard]] constexpr std::uint32_t number() const noexcept {
        return abi::fd_of(abi::Word{bits_});
    }

private:
    static constexpr std::uint32_t unsigned_of(int fd) noexcept {
        return static_cast<std::uint32_t>(fd);
    }
    static constexpr std::uint64_t word(std::uint8_t flags, std::uint32_t fd) noexcept {
        return static_cast<std::uint64_t>(abi::op_fd_word(abi::Op::nop, flags, fd));
    }
    std::uint64_t bits_;
};

// A string with a terminating zero, as std::string and std::filesystem::path are, or a type of an
// engine's own that converts to one.
template <class T>
concept StringLike = std::convertible_to<const T&, const char*> || requires(const T& string) {
    { string.c_str() } -> std::convertible_to<const char*>;
};

// A path, as an operation is given it: io.open("a", ...) below the working directory, and
// io.open({directory, "a"}, ...) below a directory that is open as `directory` (O_PATH is enough).
// An absolute path is that, whatever stands before it. The string may go as soon as the call
// returns (I6), but `directory` must be open until the completion: a worker looks it up when it
// gets there, and by then its number may be another directory's.
class Path {
public:
    constexpr Path(const char* path) noexcept : below_(path) {}
    constexpr Path(int directory, const char* below) noexcept
        : below_(below), directory_(directory) {}
    template <StringLike String>
    constexpr Path(const String& path) noexcept : below_(text_of(path)) {}
    template <StringLike String>
    constexpr Path(int directory, const String& below) noexcept
        : below_(text_of(below)), directory_(directory) {}

    [[nodiscard]] constexpr int directory() const noexcept { return directory_; }
    [[nodiscard]] constexpr const char* below() const noexcept { return below_; }

private:
    template <class String>
    static constexpr const char* text_of(const String& string) noexcept {
        if constexpr (std::convertible_to<const String&, const char*>)
            return string;
        else
            return string.c_str();
    }
    const char* below_;
    int directory_ = abi::at_fdcwd;
};

// The flags of open(2) that a storage engine needs. O_CLOEXEC is always added.
struct OpenOptions {
    bool read = false;  // with neither read nor write nor append: read
    bool write = false;
    bool create = false;        // O_CREAT: make the file if it is not there
    bool create_new = false;    // O_CREAT | O_EXCL: make the file, -EEXIST if it is there
    bool truncate = false;      // O_TRUNC; needs write, else the open completes with -EINVAL
    bool append = false;        // O_APPEND, and implies write
    bool direct = false;        // O_DIRECT; see direct_io_alignment()
    bool dsync = false;         // O_DSYNC: each write completes as if an fdatasync followed
    std::uint32_t mode = 0644;  // permissions of a file that is made, before the umask
    // Others of open(2)'s, beside those that are named above: O_EXCL without create claims a block
    // device, O_TMPFILE with write makes a file that link() may give a name, O_DIRECTORY, O_PATH,
    // O_NOFOLLOW, O_NOATIME, O_SYNC, ...
    int flags = 0;
    // RESOLVE_* of openat2(2), <linux/openat2.h>: RESOLVE_BENEATH lets a path that one does not
    // trust lead nowhere but below its directory (else -EXDEV), RESOLVE_NO_SYMLINKS through no link
    // (-ELOOP), ... Not 0: OPENAT2 in place of OPENAT, which refuses a flag that it does not know.
    std::uint64_t resolve = 0;
};

// The flags of open(2) that these come to, less O_CLOEXEC.
[[gnu::always_inline]] inline constexpr int open_flags(const OpenOptions& options) noexcept {
    const bool writes = options.write || options.append;
    return options.flags | (writes ? (options.read ? O_RDWR : O_WRONLY) : O_RDONLY) |
           (options.create || options.create_new ? O_CREAT : 0) |
           (options.create_new ? O_EXCL : 0) | (options.truncate ? O_TRUNC : 0) |
           (options.append ? O_APPEND : 0) | (options.direct ? O_DIRECT : 0) |
           (options.dsync ? O_DSYNC : 0);
}

// What statx() is to look at, and how.
struct StatxOptions {
    // STATX_*: what is wanted; the default is the basic ones and the time of birth.
    std::uint32_t mask = 0xfff;
    // Whether a path's last symbolic link is followed; not: AT_SYMLINK_NOFOLLOW, the link itself.
    bool follow = true;
    // Others of statx(2)'s AT_*: AT_STATX_DONT_SYNC, AT_NO_AUTOMOUNT, ...
    std::uint32_t flags = 0;
};

// What rename() does where the new name is taken.
enum class Rename : std::uint8_t {
    replace,     // the old file loses the name
    no_replace,  // RENAME_NOREPLACE: -EEXIST, and nothing is done
    exchange,    // RENAME_EXCHANGE: the two change names; -ENOENT where the new one is not taken
};

// How an operation is done, beside what it does: the last parameter of each. {} is the kernel's
// usual way, and costs nothing. All of it is the kernel's to refuse, by the completion's `res`.
//
// Links. An operation with `link` is followed by the one that is queued next, and so on to the
// first without: a chain, whose parts run one after the other. What to know of it:
//   Whole     It must be submitted whole. Whatever submits between two parts cuts it there: poll(),
//             park(), wait_for(), run(); so does a part that finds no room, when the next poll()
//             comes (ask Io::has_room() before the first), and a kernel short of memory. Where
//             Features::keeps_chains is false, the kernel cuts it where it likes.
//   Failures  Not every failure ends a chain. These do: a transfer that fails or comes out short,
//             an open, close, cancel, timer or fadvise that fails, a file that is not open,
//             arguments that are refused. But since Linux 6.0 fsync, fdatasync, sync_range,
//             fallocate, truncate, statx, madvise and all operations on names may fail, and what is
//             linked to them is done all the same: never link a rename to the fsync of the new
//             file.
//   Writes    Never link an fsync to its write. A write that comes out short ends the chain, its
//             fsync is cancelled, and what was to be durable needs a second write and a second
//             fsync; and an engine that looks at the fsync's `res` alone has lost data. Queue the
//             fsync when the last write has completed: WholeTransfer in whole.hpp does.
//   Files     What is linked or drained looks its file up when its turn comes: see Io::close().
//   Refused   A part whose arguments are refused (-EINVAL; before 5.19 a file that is not open,
//             too) ends the whole chain, hard links too, and none of it is done.
struct How {
    // The next operation begins when this one is over (IOSQE_IO_LINK, 5.3), and completes with
    // -ECANCELED, and all that follow it, where this one's failure ends a chain.
    bool link : 1 = false;
    // The same, but the next one begins however this one ends (IOSQE_IO_HARDLINK, 5.5).
    bool hard_link : 1 = false;
    // Begins when all that was queued before has completed, and what is queued after it begins when
    // it has (IOSQE_IO_DRAIN, 5.2): a barrier, and as slow as one; what is behind it cannot be
    // cancelled. (On 6.1 what is behind begins as soon as this one does; on 6.18 it waits.) With
    // polling, false (no room) while polled transfers or opens into slots are in flight.
    bool drain : 1 = false;
    // Straight to a worker thread of the kernel's (IOSQE_ASYNC, 5.6). Without it the kernel first
    // tries in the poll() or park() that submits (or in the SQPOLL thread), which then takes as
    // long as that lasts: see "what blocks" in io.hpp. With it that call only hands the operation
    // over. It costs a change of threads, some 3 to 10 us of CPU, so it is for what is large or may
    // sleep, not for small reads.
    bool async : 1 = false;
    // I/O priority, as ioprio_set(2) has it; 0: the thread's own. See Priority,
    // below. Transfers alone have one: all else completes with -EINVAL.
    std::uint16_t priority = 0;

    // Of reads and writes alone; on any other operation it completes with -EINVAL. A file system or
    // a kernel that lacks one answers -EOPNOTSUPP.
    bool dsync : 1 = false;     // RWF_DSYNC (4.7): a write completes as if fdatasync() followed
    bool sync : 1 = false;      // RWF_SYNC (4.7): as if fsync() followed
    bool nowait : 1 = false;    // RWF_NOWAIT (4.14): -EAGAIN rather than wait for anything
    bool append : 1 = false;    // RWF_APPEND (4.16): a write goes to the end of the file
    bool atomic : 1 = false;    // RWF_ATOMIC (6.11): all or nothing; see atomic_write_limits()
    bool uncached : 1 = false;  // RWF_DONTCACHE (6.14): leaves nothing in the page cache
    // As if the memory were not the arena's: not fixed.
    bool unregistered : 1 = false;

    // Whether any of those is set: for squall.
    [[nodiscard, gnu::always_inline]] constexpr bool is_for_transfers() const noexcept {
        return dsync || sync || nowait || append || atomic || uncached || unregistered;
    }
};

// Values of How::priority. Levels are 0, the highest, to 7; best effort is the class of a thread
// that has asked for nothing, realtime needs CAP_SYS_NICE (else -EPERM), and idle gets what nobody
// else wants. A device whose scheduler has no priorities (none, kyber) takes no notice.
struct Priority {
    static constexpr std::uint16_t realtime(unsigned level) noexcept { return of(1, level); }
    static constexpr std::uint16_t best_effort(unsigned level) noexcept { return of(2, level); }
    static constexpr std::uint16_t idle() noexcept { return of(3, 0); }

private:
    static constexpr std::uint16_t of(unsigned kind, unsigned level) noexcept {
        return static_cast<std::uint16_t>(kind << 13 | level);
    }
};

}  // namespace squall
