// SPDX-License-Identifier: MIT
//
// The words behind explain.hpp: what was refused when a ring was made, why, and what the operator can do. What the
// completions' and a running ring's errnos mean is error.cpp's.
#include "explain.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>

#include "sys.hpp"

namespace squall::detail {

namespace {

std::string text(std::uint64_t number) { return std::to_string(number); }

const char* name(Mode mode) noexcept {
    switch (mode) {
        case Mode::deferred:
            return "deferred";
        case Mode::plain:
            return "plain";
        case Mode::sqpoll:
            return "sqpoll";
    }
    return "unknown";
}

// kernel.io_uring_disabled (6.6): '0' on, '1' off for the unprivileged outside io_uring_group, '2' off; 0 when unknown.
char disabled_by_sysctl() noexcept {
    const int fd = sys::openat("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    char value = 0;
    if (sys::read(fd, &value, 1) != 1) value = 0;
    sys::close(fd);
    return value;
}

std::uint64_t soft_limit(int resource) noexcept {
    std::uint64_t limits[2] = {UINT64_MAX, UINT64_MAX};
    sys::prlimit(resource, limits);
    return limits[0];
}

// CAP_IPC_LOCK lifts RLIMIT_MEMLOCK, but not when it is only held inside a user namespace, as in a rootless container.
bool may_lock_all_memory() noexcept {
    constexpr int at_fdcwd = -100;
    constexpr std::uint64_t initial_namespace = 0xeffffffd;  // PROC_USER_INIT_INO
    struct ::statx user_namespace {};
    if (sys::statx(at_fdcwd, "/proc/self/ns/user", 0, STATX_INO, &user_namespace) < 0) return false;
    if (user_namespace.stx_ino != initial_namespace) return false;
    struct {
        std::uint32_t version;
        std::int32_t pid;
    } header = {0x20080522, 0};  // _LINUX_CAPABILITY_VERSION_3, this thread
    struct {
        std::uint32_t effective, permitted, inheritable;
    } sets[2] = {};
    constexpr std::uint32_t cap_ipc_lock = 1U << 14;
    return sys::capget(&header, sets) >= 0 && (sets[0].effective & cap_ipc_lock) != 0;
}

constexpr const char* raise_memlock =
    "raise it with `ulimit -l` (\"memlock\" in /etc/security/limits.conf, LimitMEMLOCK= in a systemd unit, --ulimit "
    "memlock=-1 "
    "for a container) or grant CAP_IPC_LOCK, which counts only outside user namespaces";

std::string explain_permission(const char* call) {
    switch (disabled_by_sysctl()) {
        case '1':
            return "io_uring is switched off for unprivileged processes (sysctl kernel.io_uring_disabled=1): grant "
                   "CAP_SYS_ADMIN, "
                   "add the user to the group in kernel.io_uring_group, or set the sysctl to 0";
        case '2':
            return "io_uring is switched off on this machine (sysctl kernel.io_uring_disabled=2): the operator must "
                   "set it to 0";
        default:
            return "a seccomp filter or a security module refuses " + std::string(call) +
                   ", as container runtimes do by default: allow io_uring_setup, io_uring_enter and io_uring_register "
                   "in the "
                   "container's seccomp profile (with docker, --security-opt seccomp=PROFILE)";
    }
}

}  // namespace

Error explain_files(int code, const std::string& doing) {
    if (code == ENFILE)
        return Error(code, doing, "the machine has no file descriptor free: raise the sysctl fs.file-max");
    if (code != EMFILE) return Error(code, doing);
    return Error(code, doing,
                 "no file descriptor is free; RLIMIT_NOFILE is " + text(soft_limit(RLIMIT_NOFILE)) +
                     ": raise it with `ulimit -n` (LimitNOFILE= in a systemd unit) or close some");
}

Error explain_keeping_apart(int code) {
    return explain_files(code, "Io::create: fcntl(F_DUPFD_CLOEXEC, 3), which keeps it apart from descriptors 0 to 2");
}

Error explain_mapping(int code, const std::string& doing) {
    if (code == EAGAIN)
        return Error(code, doing,
                     "this process locks all that it maps (mlockall), and RLIMIT_MEMLOCK is " +
                         text(soft_limit(RLIMIT_MEMLOCK)) + "; " + raise_memlock);
    return Error(code, doing, "the machine, the memory cgroup or RLIMIT_AS has no room for it");
}

std::string explain_memory() {
    const std::uint64_t limit = soft_limit(RLIMIT_MEMLOCK);
    if (limit == UINT64_MAX || may_lock_all_memory()) return "the machine or the memory cgroup is short of memory";
    return "a ring's own memory counts against RLIMIT_MEMLOCK on some kernels, which is " + text(limit) +
           " bytes for all rings of this user, those closed a moment ago included; " + raise_memlock;
}

Error explain_setup(int code, const IoOptions& options) {
    std::string doing =
        "Io::create: io_uring_setup(entries=" + text(options.entries) + ", mode=" + name(options.mode) + ")";
    switch (code) {
        case EPERM:
        case EACCES:
            return Error(code, doing, explain_permission("io_uring_setup"));
        case ENOSYS:
            return Error(
                code, doing,
                "this kernel has no io_uring (before 5.1, or built without CONFIG_IO_URING), or a seccomp filter "
                "pretends so");
        case ENOMEM:
            return Error(code, doing, explain_memory());
        case EMFILE:
        case ENFILE:
            return explain_files(code, doing);
        case EAGAIN:
            if (options.mode != Mode::sqpoll) return Error(code, doing);
            return Error(
                code, doing,
                "the kernel may make no thread for it: RLIMIT_NPROC of this user (`ulimit -u`) or the pids.max of "
                "its cgroup (TasksMax= in a systemd unit) is reached: raise it, or use Mode::deferred, which "
                "needs none");
        case EINVAL:
            if (options.mode == Mode::sqpoll && options.sqpoll_cpu)
                return Error(code, doing,
                             "sqpoll_cpu is " + text(*options.sqpoll_cpu) +
                                 ": it must be a CPU that is online and that this process may run on");
            return Error(
                code, doing,
                "the kernel takes no set of flags that squall can work with: squall needs Linux 5.11 or newer");
        default:
            return Error(code, doing);
    }
}

Error explain_arena(int code, std::uint64_t bytes, std::size_t regions) {
    const std::string doing =
        "Io::create: registering an arena of " + text(bytes) + " bytes in " + text(regions) + " regions";
    if (code == EPERM || code == EACCES || code == ENOSYS) return explain_register(code, "IORING_REGISTER_BUFFERS");
    if (code != ENOMEM) return Error(code, doing);
    const std::uint64_t limit = soft_limit(RLIMIT_MEMLOCK);
    if (limit == UINT64_MAX || may_lock_all_memory()) return Error(code, doing, "the kernel has no memory for it");
    return Error(code, doing,
                 "registered memory counts as locked: this needs " + text(bytes) +
                     " bytes beside what this user's rings "
                     "hold, and RLIMIT_MEMLOCK is " +
                     text(limit) + "; " + raise_memlock);
}

Error explain_register(int code, const char* what) {
    const std::string doing = std::string("Io::create: io_uring_register(") + what + ")";
    if (code == EPERM || code == EACCES) return Error(code, doing, explain_permission("io_uring_register"));
    if (code == ENOSYS)
        return Error(code, doing, "a seccomp filter pretends that there is no io_uring_register: allow it");
    if (code == EINVAL) return Error(code, doing, "squall needs Linux 5.11 or newer");
    return Error(code, doing);
}

Error explain_missing(const char* name) {
    return Error(EOPNOTSUPP, "Io::create: checking what the kernel can do",
                 std::string("this kernel lacks ") + name + ", which squall needs; Linux 5.11 and newer have it");
}

}  // namespace squall::detail
