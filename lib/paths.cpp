// SPDX-License-Identifier: MIT
//
// The operations that take a path, and statx: their SQEs, and the copies of their paths (I6).
#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>

#include "squall/io.hpp"

namespace squall {

namespace {

std::uint64_t address(const void* pointer) noexcept {
    return reinterpret_cast<std::uintptr_t>(pointer);
}

// Copies a path to where the kernel will read it (I6). A path without a zero within the slot is cut
// there, which the kernel answers with ENAMETOOLONG just as it would answer the whole; a null one
// stays null and is answered with EFAULT.
std::uint64_t keep(char* slot, const char* path) noexcept {
    if (!path) return 0;
    const std::size_t length = ::strnlen(path, detail::path_slot_bytes);
    std::memcpy(slot, path, length < detail::path_slot_bytes ? length + 1 : length);
    return address(slot);
}

}  // namespace

bool Io::finish_open(const char* path, const OpenOptions& options,
                     std::uint32_t file_index) noexcept {
    const bool writes = options.write || options.append;
    static_assert(abi::at_fdcwd == AT_FDCWD);
    const std::uint64_t kept = keep(front_->path_slot(0), path);
    // A slot is no descriptor, so there is nothing for an exec to close: the kernel refuses it
    // there.
    int flags = file_index == 0 ? O_CLOEXEC : 0;
    flags |= writes ? (options.read ? O_RDWR : O_WRONLY) : O_RDONLY;
    if (options.create || options.create_new) flags |= O_CREAT;
    if (options.create_new) flags |= O_EXCL;
    if (options.truncate) flags |= O_TRUNC;
    if (options.append) flags |= O_APPEND;
    if (options.direct) flags |= O_DIRECT;
    if (options.dsync) flags |= O_DSYNC;
    // Linux would truncate a file that is opened for reading only. An openat with a buffer index is
    // refused with EINVAL, so that the refusal is a completion like every other.
    const std::uint16_t refused = options.truncate && !writes ? 1 : 0;
    return finish({.addr = kept,
                   .len = options.mode,
                   .op_flags = static_cast<std::uint32_t>(flags),
                   .buf_index = refused,
                   .file_index = file_index});
}

bool Io::finish_statx(struct ::statx& out, unsigned mask) noexcept {
    static constexpr char empty_path[] = "";  // with AT_EMPTY_PATH: the file that fd is
    return finish({.off = address(&out),
                   .addr = address(empty_path),
                   .len = mask,
                   .op_flags = AT_EMPTY_PATH});
}

bool Io::finish_statx(const char* path, struct ::statx& out, unsigned mask) noexcept {
    return finish({.off = address(&out), .addr = keep(front_->path_slot(0), path), .len = mask});
}

bool Io::finish_rename(const char* from, const char* to) noexcept {
    return finish({.off = keep(front_->path_slot(1), to),
                   .addr = keep(front_->path_slot(0), from),
                   .len = static_cast<std::uint32_t>(abi::at_fdcwd)});
}

bool Io::finish_unlink(const char* path) noexcept {
    return finish({.addr = keep(front_->path_slot(0), path)});
}

}  // namespace squall
