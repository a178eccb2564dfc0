// SPDX-License-Identifier: MIT
//
// The calls that are not the ring's: they run at once, block, and ask the same kernel that the Io's
// operations are done by. What they ask of a file that is open is stat.cpp's.
#include <dirent.h>
#include <fcntl.h>
#include <sys/statfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "message.hpp"
#include "owned.hpp"
#include "squall/io.hpp"
#include "sys.hpp"

// Younger than some libc headers that squall compiles against.
#ifndef F_SET_RW_HINT
#define F_SET_RW_HINT 1036
#endif

namespace squall {

namespace {

std::string described(Path path) {
    std::string text = path.below() ? '"' + std::string(path.below()) + '"' : "(null)";
    if (path.directory() == abi::at_fdcwd) return text;
    return "{fd=" + std::to_string(path.directory()) + ", " + text + "}";
}

FileType type_of(std::uint8_t dirent_type) noexcept {
    switch (dirent_type) {
        case DT_REG:
            return FileType::regular;
        case DT_DIR:
            return FileType::directory;
        case DT_LNK:
            return FileType::symlink;
        case DT_BLK:
            return FileType::block_device;
        case DT_CHR:
            return FileType::character_device;
        case DT_FIFO:
            return FileType::fifo;
        case DT_SOCK:
            return FileType::socket;
        default:
            return FileType::unknown;
    }
}

// Shows `each` the name and the type of every entry; the order is the file system's own, which
// differs from machine to machine.
template <class Each>
Result<void> for_each_entry(sys::Kernel* kernel, const std::string& doing, Path path, Each each) {
    const int fd =
        sys::openat(kernel, path.directory(), path.below(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return Error(-fd, doing + ": open");
    const detail::Descriptor closed_at_the_end(kernel, fd);
    alignas(8) char entries[8192];
    long got = 0;
    while ((got = sys::getdents64(kernel, fd, entries, sizeof(entries))) > 0) {
        for (long at = 0; at < got;) {
            // struct linux_dirent64: u64 inode, s64 offset, u16 length of this entry, u8 type, the
            // name.
            std::uint16_t length = 0;
            std::memcpy(&length, entries + at + 16, sizeof(length));
            std::uint8_t type = 0;
            std::memcpy(&type, entries + at + 18, sizeof(type));
            const char* const name = entries + at + 19;
            if (std::strcmp(name, ".") != 0 && std::strcmp(name, "..") != 0) each(name, type);
            at += length;
        }
    }
    if (got < 0) return Error(static_cast<int>(-got), doing + ": getdents64");
    return {};
}

int set_lock(sys::Kernel* kernel, int fd, short type) noexcept {
    struct ::flock lock {};  // all of the file
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    return sys::fcntl(kernel, fd, F_OFD_SETLK, &lock);
}

}  // namespace

Result<std::vector<std::string>> Io::list_dir(Path path) const {
    std::vector<std::string> names;
    const auto listed =
        for_each_entry(front_->kernel(), "list_dir(" + described(path) + ")", path,
                       [&names](const char* name, std::uint8_t) { names.emplace_back(name); });
    if (!listed) return listed.error();
    std::sort(names.begin(), names.end());
    return names;
}

Result<std::vector<DirEntry>> Io::list_dir_types(Path path) const {
    std::vector<DirEntry> entries;
    const auto listed = for_each_entry(front_->kernel(), "list_dir_types(" + described(path) + ")",
                                       path, [&entries](const char* name, std::uint8_t type) {
                                           entries.push_back({name, type_of(type)});
                                       });
    if (!listed) return listed.error();
    std::sort(entries.begin(), entries.end(),
              [](const DirEntry& a, const DirEntry& b) { return a.name < b.name; });
    return entries;
}

Result<void> Io::create_dir_all(Path path) const {
    sys::Kernel* const kernel = front_->kernel();
    const std::string doing = "create_dir_all(" + described(path) + ")";
    if (!path.below()) return Error(EFAULT, doing, "the path is null");
    const std::string whole(path.below());
    if (whole.empty()) return Error(ENOENT, doing, "the path is empty");
    for (std::size_t end = whole.find('/', 1);; end = whole.find('/', end + 1)) {
        const std::string upto = whole.substr(0, end);
        int status = sys::mkdirat(kernel, path.directory(), upto.c_str(), 0777);
        // What is there already may be a file, and a parent that may not be written to may be there
        // already.
        if (status < 0) {
            const int fd = sys::openat(kernel, path.directory(), upto.c_str(),
                                       O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
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

Result<void> Io::try_lock(int fd, Lock kind) const {
    const int status = set_lock(front_->kernel(), fd, kind == Lock::shared ? F_RDLCK : F_WRLCK);
    // Which of the two it is depends on the file system.
    if (status == -EAGAIN || status == -EACCES)
        return Error(EAGAIN, detail::call_on("try_lock", fd),
                     "somebody else has a lock on this file");
    if (status < 0)
        return Error(-status, detail::call_on("try_lock", fd),
                     status == -EBADF ? "it is not open for reading, which a shared lock needs, or "
                                        "for writing, which an exclusive one does"
                                      : "");
    return {};
}

Result<void> Io::unlock(int fd) const {
    const int status = set_lock(front_->kernel(), fd, F_UNLCK);
    if (status < 0) return Error(-status, detail::call_on("unlock", fd));
    return {};
}

Result<std::uint64_t> Io::copy_file_range(int from, std::uint64_t from_offset, int to,
                                          std::uint64_t to_offset, std::uint64_t bytes) const {
    const long copied =
        sys::copy_file_range(front_->kernel(), from, &from_offset, to, &to_offset, bytes);
    if (copied < 0)
        return Error(static_cast<int>(-copied), "copy_file_range(from=" + std::to_string(from) +
                                                    ", to=" + std::to_string(to) +
                                                    ", bytes=" + detail::text(bytes) + ")");
    return static_cast<std::uint64_t>(copied);
}

Result<FileSystem> Io::file_system(int fd) const {
    struct ::statfs found {};
    static_assert(sizeof(found) == detail::statfs_bytes);
    const int status = sys::fstatfs(front_->kernel(), fd, &found);
    if (status < 0) return Error(-status, detail::call_on("file_system", fd) + ": fstatfs");
    const auto unit =
        static_cast<std::uint64_t>(found.f_frsize != 0 ? found.f_frsize : found.f_bsize);
    constexpr long read_only = 1;  // ST_RDONLY
    return FileSystem{static_cast<std::uint64_t>(found.f_type),
                      unit,
                      found.f_blocks * unit,
                      found.f_bfree * unit,
                      found.f_bavail * unit,
                      static_cast<std::uint64_t>(found.f_namelen),
                      (found.f_flags & read_only) != 0};
}

Result<void> Io::set_write_life(int fd, WriteLife life) const {
    const auto hint = static_cast<std::uint64_t>(life);
    const int status = sys::fcntl(front_->kernel(), fd, F_SET_RW_HINT, &hint);
    if (status < 0) return Error(-status, detail::call_on("set_write_life", fd));
    return {};
}

std::chrono::nanoseconds Io::now() const noexcept { return sys::now(front_->kernel()); }

std::chrono::sys_time<std::chrono::nanoseconds> Io::time_of_day() const noexcept {
    return std::chrono::sys_time<std::chrono::nanoseconds>(sys::time_of_day(front_->kernel()));
}

}  // namespace squall
