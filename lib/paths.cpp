// SPDX-License-Identifier: MIT
//
// Copies of paths (I6), and the operations on paths that are more than a line in io.hpp. What has
// no path is operands.cpp's.
#include <fcntl.h>

#include <cstdio>
#include <cstring>
#include <new>

#include "squall/io.hpp"

namespace squall {

namespace {

abi::Word address(const void* pointer) noexcept {
    return abi::Word{reinterpret_cast<std::uintptr_t>(pointer)};
}

// Copies a path to where the kernel will read it. A path without a zero within the slot is cut
// there, which the kernel answers with ENAMETOOLONG just as it would answer the whole; a null one
// stays null and is answered with EFAULT.
abi::Word keep(char* slot, const char* path) noexcept {
    if (!path) return {};
    const std::size_t length = ::strnlen(path, detail::path_slot_bytes);
    std::memcpy(slot, path, length < detail::path_slot_bytes ? length + 1 : length);
    return address(slot);
}

}  // namespace

void detail::Front::push(const char* path) noexcept {
    static_assert(abi::at_fdcwd == AT_FDCWD);
    slot().addr = keep(path_slot(0), path);
    push();
}

void detail::Front::push(const char* first, const char* second) noexcept {
    abi::SqeWords& sqe = slot();
    char* const kept = path_slot(0);
    sqe.addr = keep(kept, first);
    sqe.off = keep(kept + path_slot_bytes, second);
    push();
}

bool Io::finish_openat2(const char* path, abi::OpenHow how, std::uint32_t file_index,
                        bool refused) noexcept {
    // openat2 refuses a mode that would not be used.
    if ((how.flags & O_CREAT) == 0 && (how.flags & O_TMPFILE) != O_TMPFILE) how.mode = 0;
    // The kernel copies it when it copies the path, so that it may lie where a second path would.
    const auto* const kept = ::new (front_->path_slot(1)) abi::OpenHow(how);
    abi::Word& op_fd = front_->slot().op_fd;
    op_fd = abi::with_op(op_fd, abi::Op::openat2);
    return finish(path, {.off = address(kept),
                         .len = sizeof(how),
                         .buf_index = static_cast<std::uint16_t>(refused ? 1 : 0),
                         .file_index = file_index});
}

bool Io::finish_link(int fd, Path to) noexcept {
    // AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH (before 6.10).
    char path[32];
    std::snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return finish_link(path, to, AT_SYMLINK_FOLLOW);
}

}  // namespace squall
