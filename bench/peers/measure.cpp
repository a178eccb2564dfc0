// SPDX-License-Identifier: MIT
//
// Usage from clocks, getrusage(2) and /proc; system calls from perf_event_open(2); the device from sysfs.
#include "measure.hpp"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <fstream>

namespace peers {

namespace {

double nanoseconds(clockid_t clock) {
    struct timespec now = {};
    ::clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

std::string first_word(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::string word;
    file >> word;
    return word;
}

// tracefs may be mounted nowhere; a mount that is attached to nothing (5.2) serves as well.
std::optional<std::uint64_t> tracepoint() {
    constexpr const char* id = "events/raw_syscalls/sys_enter/id";
    for (const char* const place : {"/sys/kernel/tracing/", "/sys/kernel/debug/tracing/"})
        if (const std::string number = first_word(std::string(place) + id); !number.empty()) return std::stoull(number);
    std::optional<std::uint64_t> found;
    const auto context = static_cast<int>(::syscall(SYS_fsopen, "tracefs", 1 /* FSOPEN_CLOEXEC */));
    if (context < 0) return found;
    if (::syscall(SYS_fsconfig, context, 6 /* FSCONFIG_CMD_CREATE */, nullptr, nullptr, 0) == 0) {
        const auto mount = static_cast<int>(::syscall(SYS_fsmount, context, 1 /* FSMOUNT_CLOEXEC */, 0));
        if (mount >= 0) {
            const std::string number = first_word("/proc/self/fd/" + std::to_string(mount) + "/" + id);
            if (!number.empty()) found = std::stoull(number);
            ::close(mount);
        }
    }
    ::close(context);
    return found;
}

}  // namespace

Usage Usage::before() {
    Usage usage;
    usage.look_at_threads();
    usage.look_at_clocks();
    usage.wall_ns = nanoseconds(CLOCK_MONOTONIC);
    return usage;
}

Usage Usage::after() {
    Usage usage;
    usage.wall_ns = nanoseconds(CLOCK_MONOTONIC);
    usage.look_at_clocks();
    usage.look_at_threads();
    return usage;
}

Usage Usage::since(const Usage& earlier) const {
    return {wall_ns - earlier.wall_ns,   cpu_ns - earlier.cpu_ns,       submitter_ns - earlier.submitter_ns,
            io_wq_ns - earlier.io_wq_ns, sqpoll_ns - earlier.sqpoll_ns, switches - earlier.switches};
}

void Usage::look_at_clocks() {
    cpu_ns = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    submitter_ns = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    struct rusage used = {};
    ::getrusage(RUSAGE_SELF, &used);
    switches = static_cast<double>(used.ru_nvcsw + used.ru_nivcsw);
}

void Usage::look_at_threads() {
    std::error_code ended;  // a thread may end while we look
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", ended)) {
        const std::string name = first_word(thread.path() / "comm");
        double* const sum = name.starts_with("iou-wrk")   ? &io_wq_ns
                            : name.starts_with("iou-sqp") ? &sqpoll_ns
                                                          : nullptr;
        if (!sum) continue;
        const std::string spent = first_word(thread.path() / "schedstat");
        if (!spent.empty()) *sum += std::stod(spent);
    }
}

CallTrace::~CallTrace() {
    for (const int event : events_) ::close(event);
}

bool CallTrace::start() {
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task"))
        if (!first_word(thread.path() / "comm").starts_with("iou-") &&
            !open(std::stoi(thread.path().filename().string()), false))
            return false;
    return true;
}

bool CallTrace::start_at_exec(int pid) { return open(pid, true); }

bool CallTrace::open(int tid, bool at_exec) {
    static const std::optional<std::uint64_t> id = tracepoint();
    if (!id) return false;
    struct perf_event_attr event = {};
    event.type = PERF_TYPE_TRACEPOINT;
    event.size = sizeof event;
    event.config = *id;
    event.inherit = 1;
    event.disabled = at_exec;
    event.enable_on_exec = at_exec;
    const long fd = ::syscall(SYS_perf_event_open, &event, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0) return errno == ESRCH;  // a thread that has ended makes none
    events_.push_back(static_cast<int>(fd));
    return true;
}

std::uint64_t CallTrace::count() const {
    std::uint64_t sum = 0;
    for (const int event : events_) {
        std::uint64_t counted = 0;
        if (::read(event, &counted, sizeof counted) == sizeof counted) sum += counted;
    }
    return sum;
}

bool device_polls(int fd) {
    struct stat status = {};
    if (::fstat(fd, &status) != 0) return false;
    const dev_t device = S_ISBLK(status.st_mode) ? status.st_rdev : status.st_dev;
    const std::string block = "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
    // A partition's queue is its disk's.
    for (const char* const queue : {"/queue/io_poll", "/../queue/io_poll"})
        if (const std::string polls = first_word(block + queue); !polls.empty()) return polls == "1";
    return false;
}

}  // namespace peers
