// SPDX-License-Identifier: MIT
//
// What an operation is done to, and how: FileSlot, File (a descriptor or a FileSlot), OpenOptions
// and How. Plain values; io.hpp says what each operation makes of them.
#pragma once

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
};

// How an operation is done, beside what it does: the last parameter of each. {} is the kernel's
// usual way, and costs nothing.
struct How {
    // Straight to a worker thread of the kernel's (IOSQE_ASYNC, 5.6). Without it the kernel first
    // tries in the poll() or park() that submits (or in the SQPOLL thread), which then takes as
    // long as that lasts: see "what blocks" in io.hpp. With it that call only hands the operation
    // over. It costs a change of threads, some 3 to 10 us of CPU, so it is for what is large or may
    // sleep, not for small reads.
    bool async = false;
};

}  // namespace squall
