// SPDX-License-Identifier: MIT
//
// What statx and ioctl say of an open file: its size, its blocks, what O_DIRECT and an atomic write
// ask of a transfer; and what a transfer that failed has to do with that. They run at once and
// block.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "message.hpp"
#include "squall/io.hpp"
#include "sys.hpp"

namespace squall {

namespace {

// STATX_DIOALIGN (6.1) and the two members of struct statx that it fills are younger than many libc
// headers; their place is the kernel's promise.
constexpr unsigned statx_dioalign = 0x2000;
constexpr std::size_t dio_mem_align_at = 152;
constexpr std::size_t dio_offset_align_at = 156;
// And STATX_WRITE_ATOMIC's (6.11).
constexpr unsigned statx_write_atomic = 0x10000;
constexpr std::size_t atomic_write_unit_min_at = 168;
constexpr std::size_t atomic_write_unit_max_at = 172;
constexpr std::size_t atomic_write_segments_max_at = 176;
static_assert(sizeof(struct ::statx) == 256);

std::uint32_t member_at(const struct ::statx& found, std::size_t at) noexcept {
    std::uint32_t value = 0;
    std::memcpy(&value, reinterpret_cast<const char*>(&found) + at, sizeof(value));
    return value;
}

const char* kind_of(std::uint32_t mode) noexcept {
    if (S_ISDIR(mode)) return "a directory";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return S_ISCHR(mode) ? "a character device" : "no file at all";
}

Result<struct ::statx> stat_of(sys::Kernel* kernel, int fd, unsigned mask, const char* doing) {
    struct ::statx found {};
    const int status = sys::statx(kernel, fd, "", AT_EMPTY_PATH, mask, &found);
    if (status < 0) return Error(-status, detail::call_on(doing, fd) + ": statx");
    return found;
}

Result<DirectIoAlignment> alignment_of(sys::Kernel* kernel, int fd) {
    using Source = DirectIoAlignment::Source;
    const auto found =
        stat_of(kernel, fd, STATX_BASIC_STATS | statx_dioalign, "direct_io_alignment");
    if (!found) return found.error();
    if ((found->stx_mask & statx_dioalign) != 0) {
        const std::uint32_t memory = member_at(*found, dio_mem_align_at);
        const std::uint32_t offset = member_at(*found, dio_offset_align_at);
        if (memory == 0 || offset == 0)
            return Error(EOPNOTSUPP, detail::call_on("direct_io_alignment", fd),
                         "the file system does no direct I/O on this file (statx says so): open it "
                         "without `direct`");
        return DirectIoAlignment{memory, offset, Source::statx};
    }
    if (S_ISBLK(found->stx_mode)) {
        int logical = 0;
        if (sys::ioctl(kernel, fd, BLKSSZGET, &logical) >= 0 && logical > 0)
            return DirectIoAlignment{static_cast<std::uint32_t>(logical),
                                     static_cast<std::uint32_t>(logical), Source::block_device};
    }
    return DirectIoAlignment{4096, 4096, Source::fallback};
}

Error explain_transfer(sys::Kernel* kernel, const Completion& completion, int fd,
                       std::span<const std::byte> bytes, std::uint64_t offset) {
    if (completion.ok() && static_cast<std::size_t>(completion.res) == bytes.size()) return {};
    char given[160];
    std::snprintf(given, sizeof(given),
                  "transfer with token %llu (fd=%d, address=%p, size=%zu, offset=%llu)",
                  static_cast<unsigned long long>(completion.token), fd,
                  static_cast<const void*>(bytes.data()), bytes.size(),
                  static_cast<unsigned long long>(offset));
    if (completion.ok())
        return Error(EIO, given,
                     "only " + std::to_string(completion.res) +
                         " bytes moved: the end of the file for a read, a full disk or a limit for "
                         "a write, or more than "
                         "the 2147479552 that one transfer can move");
    const int code = detail::errno_of(completion.res);
    if (code != EINVAL) return Error(code, given, detail::advice_for_result(code));

    constexpr std::uint64_t file_position = UINT64_MAX;
    if (offset > INT64_MAX && offset != file_position)
        return Error(EINVAL, given, "the offset is beyond 2^63 - 1, the last that a file can have");
    const int flags = sys::fcntl(kernel, fd, F_GETFL);
    if (flags < 0 || (flags & O_DIRECT) == 0)
        return Error(EINVAL, given,
                     "the file is not open with O_DIRECT, so it is not the alignment");
    const auto need = alignment_of(kernel, fd);
    if (!need) return Error(EINVAL, given, need.error().message());
    std::string why;
    const auto compare = [&why](const char* what, std::uint64_t value, std::uint32_t unit) {
        if (value % unit == 0) return;
        if (!why.empty()) why += "; ";
        why += std::string(what) + " is " + std::to_string(value % unit) +
               " bytes past a multiple of " + std::to_string(unit);
    };
    compare("the address", reinterpret_cast<std::uintptr_t>(bytes.data()), need->memory);
    if (offset != file_position) compare("the offset", offset, need->offset);
    compare("the size", bytes.size(), need->offset);
    if (why.empty())
        return Error(EINVAL, given,
                     "address, offset and size suit O_DIRECT, so it is something else");
    return Error(EINVAL, given, "O_DIRECT asks for more alignment: " + why);
}

}  // namespace

Result<std::uint32_t> Io::block_size(int fd) const {
    sys::Kernel* const kernel = front_->kernel();
    const auto found = stat_of(kernel, fd, STATX_BASIC_STATS, "block_size");
    if (!found) return found.error();
    if (S_ISBLK(found->stx_mode)) {
        unsigned physical = 0;
        if (sys::ioctl(kernel, fd, BLKPBSZGET, &physical) >= 0 && physical > 0) return physical;
    }
    return found->stx_blksize;
}

Result<std::uint64_t> Io::file_size(int fd) const {
    sys::Kernel* const kernel = front_->kernel();
    const auto found = stat_of(kernel, fd, STATX_TYPE | STATX_SIZE, "file_size");
    if (!found) return found.error();
    if (S_ISREG(found->stx_mode)) return found->stx_size;
    const std::string doing = detail::call_on("file_size", fd);
    if (S_ISBLK(found->stx_mode)) {
        std::uint64_t bytes = 0;
        if (const int status = sys::ioctl(kernel, fd, BLKGETSIZE64, &bytes); status < 0)
            return Error(-status, doing + ": ioctl(BLKGETSIZE64)");
        return bytes;
    }
    return Error(EINVAL, doing,
                 std::string("it is ") + kind_of(found->stx_mode) +
                     ", and only a regular file or a block device has a size");
}

Result<AtomicWriteLimits> Io::atomic_write_limits(int fd) const {
    const auto found = stat_of(front_->kernel(), fd, STATX_BASIC_STATS | statx_write_atomic,
                               "atomic_write_limits");
    if (!found) return found.error();
    const AtomicWriteLimits limits{member_at(*found, atomic_write_unit_min_at),
                                   member_at(*found, atomic_write_unit_max_at),
                                   member_at(*found, atomic_write_segments_max_at)};
    if ((found->stx_mask & statx_write_atomic) == 0 || limits.largest == 0)
        return Error(
            EOPNOTSUPP, detail::call_on("atomic_write_limits", fd),
            "the file system, its device or the kernel (before 6.11) does no atomic writes "
            "on this file");
    return limits;
}

Result<DirectIoAlignment> Io::direct_io_alignment(int fd) const {
    return alignment_of(front_->kernel(), fd);
}

Error Io::transfer_error(const Completion& completion, int fd, std::span<const std::byte> bytes,
                         std::uint64_t offset) const {
    return explain_transfer(front_->kernel(), completion, fd, bytes, offset);
}

Result<DirectIoAlignment> direct_io_alignment(int fd) { return alignment_of(sys::host, fd); }

Error transfer_error(const Completion& completion, int fd, std::span<const std::byte> bytes,
                     std::uint64_t offset) {
    return explain_transfer(sys::host, completion, fd, bytes, offset);
}

}  // namespace squall
