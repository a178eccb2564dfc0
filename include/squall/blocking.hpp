// SPDX-License-Identifier: MIT
//
// What the calls of Io that block take and answer with: plain data. The calls are io.hpp's.
#pragma once

#include <cstdint>
#include <string>

#include "squall/config.hpp"

namespace squall {

// What O_DIRECT asks of a transfer: the address a multiple of `memory`, offset and size multiples
// of `offset`. Bytes.
struct DirectIoAlignment {
    // Where it was learnt, best first.
    enum class Source : std::uint8_t {
        statx,         // STATX_DIOALIGN (6.1): the file system's own word
        block_device,  // BLKSSZGET: the device's logical block, for both
        fallback,  // nobody said: 4096 for both, which suits every common device and file system
    };
    std::uint32_t memory;
    std::uint32_t offset;
    Source source;
};

// What a write with How::atomic may be (STATX_WRITE_ATOMIC, 6.11): from `smallest` to `largest`
// bytes, a power of two, at an offset that is a multiple of its size, in at most `pieces` pieces of
// memory, with O_DIRECT.
struct AtomicWriteLimits {
    std::uint32_t smallest;
    std::uint32_t largest;
    std::uint32_t pieces;
};

// What a name in a directory leads to.
enum class FileType : std::uint8_t {
    // The file system does not say (DT_UNKNOWN; some network and FUSE file systems, xfs made
    // without ftype): ask statx() with StatxOptions{.follow = false}.
    unknown,
    regular,
    directory,
    symlink,
    block_device,
    character_device,
    fifo,
    socket,
};
struct DirEntry {
    std::string name;
    FileType type;
};

// A file system, as statfs(2) has it. A figure that it has no answer to is 0.
struct FileSystem {
    std::uint64_t type;             // its magic number, as in <linux/magic.h>: 0xEF53 is ext4
    std::uint64_t block_bytes;      // the unit in which it allocates
    std::uint64_t bytes;            // in all
    std::uint64_t free_bytes;       // of those, free, what is kept for root included
    std::uint64_t available_bytes;  // free to this process if it is not privileged
    std::uint64_t name_max;         // the longest name, in bytes
    bool read_only;
};

enum class Lock : std::uint8_t {
    shared,     // any number of them, and no exclusive one; the descriptor must be open for reading
    exclusive,  // the only one; the descriptor must be open for writing
};

// How long what is written to a file is likely to stay, for a device that keeps apart what will go
// at different times (F_SET_RW_HINT, 4.13; fcntl(2), "File read/write hints").
enum class WriteLife : std::uint8_t { not_set, none, brief, medium, lasting, extreme };

}  // namespace squall
