// SPDX-License-Identifier: MIT
//
// Io's cold half: its life, the operations that take a path, and the calls that are not the ring's. Reads, writes,
// syncs and closes are inline in io.hpp.
#include "squall/io.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "clock.hpp"
#include "explain.hpp"
#include "sys.hpp"

namespace squall {

namespace {

// STATX_DIOALIGN (6.1) and the two members of struct statx that it fills are younger than many libc headers; their
// place is the kernel's promise.
constexpr unsigned statx_dioalign = 0x2000;
constexpr std::size_t dio_mem_align_at = 152;
constexpr std::size_t dio_offset_align_at = 156;
static_assert(sizeof(struct ::statx) == 256);

std::uint64_t address(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }

// Copies a path to where the kernel will read it (I6). A path without a zero within the slot is cut there, which the
// kernel answers with ENAMETOOLONG just as it would answer the whole; a null one stays null and is answered with
// EFAULT.
std::uint64_t keep(char* slot, const char* path) noexcept {
    if (!path) return 0;
    const std::size_t length = ::strnlen(path, detail::Ring::path_slot_bytes);
    std::memcpy(slot, path, length < detail::Ring::path_slot_bytes ? length + 1 : length);
    return address(slot);
}

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

Result<struct ::statx> stat_of(int fd, unsigned mask, const char* doing) {
    struct ::statx found {};
    const int status = sys::statx(fd, "", AT_EMPTY_PATH, mask, &found);
    if (status < 0) return Error(-status, std::string(doing) + "(fd=" + std::to_string(fd) + "): statx");
    return found;
}

}  // namespace

Io::Io(detail::Ring* ring) noexcept : ring_(ring) {}

Io::Io(Io&& other) noexcept : ring_(std::exchange(other.ring_, nullptr)) {
    SQUALL_ASSERT(!ring_ || !ring_->lending(), "an Io is moved while a Completions of it is alive");
}

Io& Io::operator=(Io&& other) noexcept {
    if (this != &other) {
        destroy();
        ring_ = std::exchange(other.ring_, nullptr);
        SQUALL_ASSERT(!ring_ || !ring_->lending(), "an Io is moved while a Completions of it is alive");
    }
    return *this;
}

Io::~Io() { destroy(); }

void Io::destroy() noexcept {
    if (ring_) detail::Ring::destroy(std::exchange(ring_, nullptr));
}

Result<Io> Io::create(const IoOptions& options) {
    auto ring = detail::Ring::create(options);
    if (!ring) return std::move(ring).error();
#if defined(SQUALL_MSAN)
    if (auto mapped = (*ring)->map_writes(); !mapped) {
        detail::Ring::destroy(*ring);
        return mapped.error();
    }
#endif
    return Io(*ring);
}

bool Io::finish_open(const char* path, const OpenOptions& options, std::uint32_t file_index, int more_flags) noexcept {
    const bool writes = options.write || options.append;
    static_assert(working_directory == AT_FDCWD && close_on_exec == O_CLOEXEC);
    const std::uint64_t kept = keep(ring_->path_slot(0), path);
    int flags = more_flags;
    flags |= writes ? (options.read ? O_RDWR : O_WRONLY) : O_RDONLY;
    if (options.create || options.create_new) flags |= O_CREAT;
    if (options.create_new) flags |= O_EXCL;
    if (options.truncate) flags |= O_TRUNC;
    if (options.append) flags |= O_APPEND;
    if (options.direct) flags |= O_DIRECT;
    if (options.dsync) flags |= O_DSYNC;
    // Linux would truncate a file that is opened for reading only. An openat with a buffer index is refused with
    // EINVAL, so that the refusal is a completion like every other.
    const std::uint16_t refused = options.truncate && !writes ? 1 : 0;
    return finish({.addr = kept,
                   .len = options.mode,
                   .op_flags = static_cast<std::uint32_t>(flags),
                   .buf_index = refused,
                   .file_index = file_index});
}

Result<void> Io::set_file(FileSlot slot, int fd) { return ring_->set_file(slot, fd); }

bool Io::finish_statx(struct ::statx& out, unsigned mask) noexcept {
    static constexpr char empty_path[] = "";  // with AT_EMPTY_PATH: the file that fd is
    return finish({.off = address(&out), .addr = address(empty_path), .len = mask, .op_flags = AT_EMPTY_PATH});
}

bool Io::finish_statx(const char* path, struct ::statx& out, unsigned mask) noexcept {
    return finish({.off = address(&out), .addr = keep(ring_->path_slot(0), path), .len = mask});
}

bool Io::finish_rename(const char* from, const char* to) noexcept {
    return finish({.off = keep(ring_->path_slot(1), to),
                   .addr = keep(ring_->path_slot(0), from),
                   .len = static_cast<std::uint32_t>(working_directory)});
}

bool Io::finish_unlink(const char* path) noexcept { return finish({.addr = keep(ring_->path_slot(0), path)}); }

Result<std::vector<std::string>> Io::list_dir(const char* path) const {
    const std::string doing = "list_dir(" + quoted(path) + ")";
    const int fd = sys::openat(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return Error(-fd, doing + ": open");
    const struct Closer {
        int fd;
        ~Closer() { sys::close(fd); }
    } closer{fd};
    std::vector<std::string> names;
    alignas(8) char entries[8192];
    long got = 0;
    while ((got = sys::getdents64(fd, entries, sizeof(entries))) > 0) {
        for (long at = 0; at < got;) {
            // struct linux_dirent64: u64 inode, s64 offset, u16 length of this entry, u8 type, the name.
            std::uint16_t length = 0;
            std::memcpy(&length, entries + at + 16, sizeof(length));
            const char* const name = entries + at + 19;
            if (std::strcmp(name, ".") != 0 && std::strcmp(name, "..") != 0) names.emplace_back(name);
            at += length;
        }
    }
    if (got < 0) return Error(static_cast<int>(-got), doing + ": getdents64");
    // The kernel's order is the file system's hash order, which differs from machine to machine.
    std::sort(names.begin(), names.end());
    return names;
}

Result<void> Io::create_dir_all(const char* path) const {
    const std::string doing = "create_dir_all(" + quoted(path) + ")";
    if (!path) return Error(EFAULT, doing, "the path is null");
    const std::string whole(path);
    if (whole.empty()) return Error(ENOENT, doing, "the path is empty");
    for (std::size_t end = whole.find('/', 1);; end = whole.find('/', end + 1)) {
        const std::string upto = whole.substr(0, end);
        int status = sys::mkdirat(upto.c_str(), 0777);
        // What is there already may be a file, and a parent that may not be written to may be there already.
        if (status < 0) {
            const int fd = sys::openat(upto.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
            if (fd >= 0) {
                sys::close(fd);
                status = 0;
            } else if (status == -EEXIST) {
                status = fd;
            }
        }
        if (status < 0) return Error(-status, doing + ": mkdir(\"" + upto + "\")");
        if (end == std::string::npos) return {};
    }
}

std::chrono::nanoseconds Io::now() const noexcept { return detail::monotonic_now(); }

Result<std::uint32_t> Io::block_size(int fd) const {
    const auto found = stat_of(fd, STATX_BASIC_STATS, "block_size");
    if (!found) return found.error();
    if (S_ISBLK(found->stx_mode)) {
        unsigned physical = 0;
        if (sys::ioctl(fd, BLKPBSZGET, &physical) >= 0 && physical > 0) return physical;
    }
    return found->stx_blksize;
}

Result<std::uint64_t> Io::file_size(int fd) const {
    const auto found = stat_of(fd, STATX_TYPE | STATX_SIZE, "file_size");
    if (!found) return found.error();
    if (S_ISREG(found->stx_mode)) return found->stx_size;
    const std::string doing = "file_size(fd=" + std::to_string(fd) + ")";
    if (S_ISBLK(found->stx_mode)) {
        std::uint64_t bytes = 0;
        if (const int status = sys::ioctl(fd, BLKGETSIZE64, &bytes); status < 0)
            return Error(-status, doing + ": ioctl(BLKGETSIZE64)");
        return bytes;
    }
    return Error(
        EINVAL, doing,
        std::string("it is ") + kind_of(found->stx_mode) + ", and only a regular file or a block device has a size");
}

Result<DirectIoAlignment> direct_io_alignment(int fd) {
    using Source = DirectIoAlignment::Source;
    const auto found = stat_of(fd, STATX_BASIC_STATS | statx_dioalign, "direct_io_alignment");
    if (!found) return found.error();
    if ((found->stx_mask & statx_dioalign) != 0) {
        std::uint32_t memory = 0;
        std::uint32_t offset = 0;
        std::memcpy(&memory, reinterpret_cast<const char*>(&*found) + dio_mem_align_at, sizeof(memory));
        std::memcpy(&offset, reinterpret_cast<const char*>(&*found) + dio_offset_align_at, sizeof(offset));
        if (memory == 0 || offset == 0)
            return Error(EOPNOTSUPP, "direct_io_alignment(fd=" + std::to_string(fd) + ")",
                         "the file system does no direct I/O on this file (statx says so): open it without `direct`");
        return DirectIoAlignment{memory, offset, Source::statx};
    }
    if (S_ISBLK(found->stx_mode)) {
        int logical = 0;
        if (sys::ioctl(fd, BLKSSZGET, &logical) >= 0 && logical > 0)
            return DirectIoAlignment{static_cast<std::uint32_t>(logical), static_cast<std::uint32_t>(logical),
                                     Source::block_device};
    }
    return DirectIoAlignment{4096, 4096, Source::fallback};
}

Error transfer_error(const Completion& completion, int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
    if (completion.ok() && static_cast<std::size_t>(completion.res) == bytes.size()) return {};
    char given[160];
    std::snprintf(given, sizeof(given), "transfer with token %llu (fd=%d, address=%p, size=%zu, offset=%llu)",
                  static_cast<unsigned long long>(completion.token), fd, static_cast<const void*>(bytes.data()),
                  bytes.size(), static_cast<unsigned long long>(offset));
    if (completion.ok())
        return Error(
            EIO, given,
            "only " + std::to_string(completion.res) +
                " bytes moved: the end of the file for a read, a full disk or a limit for a write, or more than "
                "the 2147479552 that one transfer can move");
    const int code = detail::errno_of(completion.res);
    if (code != EINVAL) return Error(code, given, detail::advice_for_result(code));

    constexpr std::uint64_t file_position = UINT64_MAX;
    if (offset > INT64_MAX && offset != file_position)
        return Error(EINVAL, given, "the offset is beyond 2^63 - 1, the last that a file can have");
    const int flags = sys::fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_DIRECT) == 0)
        return Error(EINVAL, given, "the file is not open with O_DIRECT, so it is not the alignment");
    const auto need = direct_io_alignment(fd);
    if (!need) return Error(EINVAL, given, need.error().message());
    std::string why;
    const auto compare = [&why](const char* what, std::uint64_t value, std::uint32_t unit) {
        if (value % unit == 0) return;
        if (!why.empty()) why += "; ";
        why += std::string(what) + " is " + std::to_string(value % unit) + " bytes past a multiple of " +
               std::to_string(unit);
    };
    compare("the address", address(bytes.data()), need->memory);
    if (offset != file_position) compare("the offset", offset, need->offset);
    compare("the size", bytes.size(), need->offset);
    if (why.empty()) return Error(EINVAL, given, "address, offset and size suit O_DIRECT, so it is something else");
    return Error(EINVAL, given, "O_DIRECT asks for more alignment: " + why);
}

}  // namespace squall
