// SPDX-License-Identifier: MIT
//
// The calls that are not the ring's: they run at once, block, and ask the same kernel that the Io's
// operations are done by.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "message.hpp"
#include "owned.hpp"
#include "squall/io.hpp"
#include "sys.hpp"

namespace squall {

namespace {

// STATX_DIOALIGN (6.1) and the two members of struct statx that it fills are younger than many libc
// headers; their place is the kernel's promise.
constexpr unsigned statx_dioalign = 0x2000;
constexpr std::size_t dio_mem_align_at = 152;
constexpr std::size_t dio_offset_align_at = 156;
static_assert(sizeof(struct ::statx) == 256);

std::string quoted(const char* path) {
    if (!path) return "(null)";
    std::string text(1, '"');
    text += path;
    text += '"';
    return text;
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
    if (status < 0)
        return Error(-status, std::string(doing) + "(fd=" + std::to_string(fd) + "): statx");
    return found;
}

Result<DirectIoAlignment> alignment_of(sys::Kernel* kernel, int fd) {
    using Source = DirectIoAlignment::Source;
    const auto found =
        stat_of(kernel, fd, STATX_BASIC_STATS | statx_dioalign, "direct_io_alignment");
    if (!found) return found.error();
    if ((found->stx_mask & statx_dioalign) != 0) {
        std::uint32_t memory = 0;
        std::uint32_t offset = 0;
        std::memcpy(&memory, reinterpret_cast<const char*>(&*found) + dio_mem_align_at,
                    sizeof(memory));
        std::memcpy(&offset, reinterpret_cast<const char*>(&*found) + dio_offset_align_at,
                    sizeof(offset));
        if (memory == 0 || offset == 0)
            return Error(EOPNOTSUPP, "direct_io_alignment(fd=" + std::to_string(fd) + ")",
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

Result<std::vector<std::string>> Io::list_dir(const char* path) const {
    sys::Kernel* const kernel = front_->kernel();
    const std::string doing = "list_dir(" + quoted(path) + ")";
    const int fd = sys::openat(kernel, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return Error(-fd, doing + ": open");
    const detail::Descriptor closed_at_the_end(kernel, fd);
    std::vector<std::string> names;
    alignas(8) char entries[8192];
    long got = 0;
    while ((got = sys::getdents64(kernel, fd, entries, sizeof(entries))) > 0) {
        for (long at = 0; at < got;) {
            // struct linux_dirent64: u64 inode, s64 offset, u16 length of this entry, u8 type, the
            // name.
            std::uint16_t length = 0;
            std::memcpy(&length, entries + at + 16, sizeof(length));
            const char* const name = entries + at + 19;
            if (std::strcmp(name, ".") != 0 && std::strcmp(name, "..") != 0)
                names.emplace_back(name);
            at += length;
        }
    }
    if (got < 0) return Error(static_cast<int>(-got), doing + ": getdents64");
    // The kernel's order is the file system's hash order, which differs from machine to machine.
    std::sort(names.begin(), names.end());
    return names;
}

Result<void> Io::create_dir_all(const char* path) const {
    sys::Kernel* const kernel = front_->kernel();
    const std::string doing = "create_dir_all(" + quoted(path) + ")";
    if (!path) return Error(EFAULT, doing, "the path is null");
    const std::string whole(path);
    if (whole.empty()) return Error(ENOENT, doing, "the path is empty");
    for (std::size_t end = whole.find('/', 1);; end = whole.find('/', end + 1)) {
        const std::string upto = whole.substr(0, end);
        int status = sys::mkdirat(kernel, upto.c_str(), 0777);
        // What is there already may be a file, and a parent that may not be written to may be there
        // already.
        if (status < 0) {
            const int fd = sys::openat(kernel, upto.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
            if (fd >= 0) {
                sys::close(kernel, fd);
                status = 0;
            } else if (status == -EEXIST) {
                status = fd;
            }
        }
        if (status < 0) return Error(-status, doing + ": mkdir(\"" + upto + "\")");
        if (end == std::string::npos) return {};
    }
}

std::chrono::nanoseconds Io::now() const noexcept { return sys::now(front_->kernel()); }

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
    const std::string doing = "file_size(fd=" + std::to_string(fd) + ")";
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
