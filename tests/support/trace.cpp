// SPDX-License-Identifier: MIT
//
// See trace.hpp.
#include "trace.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cstdio>
#include <utility>
#include <vector>

namespace squall::test {

namespace {

using Names = std::vector<std::pair<std::uintptr_t, const char*>>;

std::string hex(std::uintptr_t value) {
    char text[32];
    std::snprintf(text, sizeof(text), "0x%lx", value);
    return text;
}

// By appending: g++ 12 warns of its own operator+ here.
std::string numbered(const char* kind, long number) {
    std::string text(kind);
    return text += std::to_string(number);
}

// The names of the bits in `value`, each after a blank; what has no name as a number.
std::string bits(std::uintptr_t value, const Names& names) {
    std::string text;
    for (const auto& [bit, name] : names) {
        if ((value & bit) != bit) continue;
        text += ' ';
        text += name;
        value &= ~bit;
    }
    if (value != 0) text += ' ', text += hex(value);
    return text;
}

std::string one_of(std::uintptr_t value, const Names& names) {
    for (const auto& [number, name] : names)
        if (number == value) return name;
    return std::to_string(value);
}

const Names protections = {{PROT_READ, "read"}, {PROT_WRITE, "write"}};
const Names map_flags = {{MAP_SHARED, "shared"},       {MAP_PRIVATE, "private"},   {MAP_ANONYMOUS, "anonymous"},
                         {MAP_NORESERVE, "noreserve"}, {MAP_POPULATE, "populate"}, {MAP_HUGETLB, "hugetlb"}};
const Names advices = {{MADV_WIPEONFORK, "wipe-on-fork"}, {MADV_DONTFORK, "dont-fork"}, {MADV_HUGEPAGE, "huge"},
                       {MADV_NOHUGEPAGE, "no-huge"},      {23, "populate-write"},       {25, "collapse"}};
const Names open_flags = {{O_CLOEXEC, "cloexec"}, {O_DIRECTORY, "directory"}, {O_PATH, "path"}};
const Names enter_flags = {{abi::enter_getevents, "getevents"},
                           {abi::enter_sq_wakeup, "wakeup"},
                           {abi::enter_ext_arg, "ext-arg"},
                           {abi::enter_registered_ring, "registered"}};
const Names register_codes = {{abi::register_buffers, "buffers"},
                              {abi::unregister_buffers, "unregister-buffers"},
                              {abi::register_files, "files"},
                              {abi::unregister_files, "unregister-files"},
                              {abi::register_eventfd, "eventfd"},
                              {abi::register_files_update, "files-update"},
                              {abi::register_probe, "probe"},
                              {abi::register_enable_rings, "enable"},
                              {abi::register_iowq_max_workers, "iowq-max-workers"},
                              {abi::register_ring_fds, "ring-fds"},
                              {abi::unregister_ring_fds, "unregister-ring-fds"},
                              {abi::register_sync_cancel, "sync-cancel"},
                              {abi::register_buffers2, "buffers2"},
                              {abi::register_buffers_update, "buffers-update"},
                              {abi::register_clone_buffers, "clone-buffers"}};
const Names requests = {{BLKSSZGET, "BLKSSZGET"}, {BLKPBSZGET, "BLKPBSZGET"}, {BLKGETSIZE64, "BLKGETSIZE64"}};
const Names limits = {{RLIMIT_MEMLOCK, "memlock"}, {RLIMIT_NOFILE, "nofile"}};

const char* text_at(std::uintptr_t address) { return address == 0 ? "(null)" : reinterpret_cast<const char*>(address); }

}  // namespace

Trace::Trace() : witness_([this](const Call& call, long answer) { see(call, answer); }) {}

std::string Trace::take() { return std::exchange(lines_, {}); }

void Trace::forget() {
    mappings_.clear();
    fds_.clear();
    maps_ = rings_ = pipes_ = files_ = 0;
}

void Trace::see(const Call& call, long answer) {
    // Named before the call is put into words, so that its line says what the new thing is called.
    if (answer >= 0 && call.number == nr_setup) fds_[static_cast<int>(answer)] = numbered("ring", ++rings_);
    if (answer >= 0 && call.number == SYS_openat) fds_[static_cast<int>(answer)] = numbered("file", ++files_);
    if (answer >= 0 && call.number == SYS_pipe2) {
        const auto* const ends = reinterpret_cast<const int*>(call.args[0]);
        const std::string name = numbered("pipe", ++pipes_);
        fds_[ends[0]] = name + ".read";
        fds_[ends[1]] = name + ".write";
    }
    // Another number for the same, which keeps its name.
    if (answer >= 0 && call.number == SYS_fcntl && call.args[1] == F_DUPFD_CLOEXEC)
        fds_[static_cast<int>(answer)] = fd(call.args[0]);
    if (!sys::is_error(answer) && call.number == SYS_mmap)
        mappings_[static_cast<std::uintptr_t>(answer)] = {numbered("m", ++maps_), call.args[1]};
    lines_ += words(call, answer);
    if (sys::is_error(answer)) lines_ += numbered(" -> -", -answer);
    lines_ += '\n';
    if (call.number == SYS_close) fds_.erase(static_cast<int>(call.args[0]));
    // What is cut off a mapping's end or start leaves the rest its name; only all of it takes the name away.
    if (const auto found = mappings_.find(call.args[0]);
        call.number == SYS_munmap && found != mappings_.end() && found->second.bytes == call.args[1])
        mappings_.erase(found);
}

std::string Trace::fd(std::uintptr_t number) const {
    const auto found = fds_.find(static_cast<int>(number));
    return found != fds_.end() ? found->second : std::to_string(static_cast<int>(number));
}

std::string Trace::place(std::uintptr_t address) const {
    auto after = mappings_.upper_bound(address);
    if (after == mappings_.begin()) return address == 0 ? "null" : "?";
    const auto& [start, mapping] = *--after;
    if (address - start >= mapping.bytes) return "?";
    return address == start ? mapping.name : mapping.name + "+" + std::to_string(address - start);
}

std::string Trace::words(const Call& call, long answer) {
    const auto& a = call.args;
    const auto number = [&a](int which) { return std::to_string(static_cast<std::int64_t>(a[which])); };
    switch (call.number) {
        case SYS_mmap:
            return (sys::is_error(answer) ? "mmap " : place(static_cast<std::uintptr_t>(answer)) + " = mmap ") +
                   number(1) + bits(a[2], protections) + bits(a[3], map_flags) +
                   (static_cast<int>(a[4]) == -1 ? "" : " of " + fd(a[4]) + " at " + hex(a[5]));
        case SYS_munmap:
            return "munmap " + place(a[0]) + " " + number(1);
        case SYS_madvise:
            return "madvise " + place(a[0]) + " " + number(1) + " " + one_of(a[2], advices);
        case SYS_openat:
            return (answer < 0 ? "open " : fd(static_cast<std::uintptr_t>(answer)) + " = open ") +
                   std::string(text_at(a[1])) + bits(a[2], open_flags) +
                   (static_cast<int>(a[0]) == AT_FDCWD ? "" : " at?");
        case SYS_close:
            return "close " + fd(a[0]);
        case SYS_read:
            return "read " + fd(a[0]) + " " + number(2);
        case SYS_getdents64:
            return "getdents " + fd(a[0]) + " " + number(2);
        case SYS_mkdirat: {
            char mode[16];
            std::snprintf(mode, sizeof(mode), "%04lo", a[2]);
            return std::string("mkdir ") + text_at(a[1]) + " " + mode +
                   (static_cast<int>(a[0]) == AT_FDCWD ? "" : " at?");
        }
        case SYS_statx:
            return "statx " + (static_cast<int>(a[0]) == AT_FDCWD ? std::string("cwd") : fd(a[0])) + " \"" +
                   text_at(a[1]) + "\" " + hex(a[2]) + " " + hex(a[3]);
        case SYS_ioctl:
            return "ioctl " + fd(a[0]) + " " + one_of(a[1], requests);
        case SYS_fcntl:
            return "fcntl " + fd(a[0]) + " " +
                   one_of(a[1], {{F_GETFL, "F_GETFL"}, {F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"}}) +
                   (a[2] == 0 ? "" : " " + number(2));
        case SYS_pipe2:
            return "pipe" + bits(a[1], open_flags);
        case SYS_ppoll: {
            const auto* const timeout = reinterpret_cast<const abi::Timespec*>(a[2]);
            return "ppoll " + number(1) + (timeout ? " for a time" : " for ever");
        }
        case SYS_prlimit64:
            return "prlimit " + number(0) + " " + one_of(a[1], limits) + (a[2] == 0 ? "" : " set?");
        case SYS_capget:
            return "capget";
        case SYS_uname:
            return "uname";
        case SYS_getpid:
            return "getpid";
        case SYS_gettid:
            return "gettid";
        case SYS_tgkill:
            return "tgkill " + number(2);
        case nr_setup:
            return (answer < 0 ? "setup " : fd(static_cast<std::uintptr_t>(answer)) + " = setup ") + number(0);
        case nr_enter:
            return "enter " + ((a[3] & abi::enter_registered_ring) != 0 ? number(0) : fd(a[0])) + " " + number(1) +
                   " " + number(2) + bits(a[3], enter_flags);
        case nr_register:
            return "register " + fd(a[0]) + " " + one_of(a[1], register_codes) + " " + number(3);
        default:
            return "system call " + std::to_string(call.number);
    }
}

}  // namespace squall::test
