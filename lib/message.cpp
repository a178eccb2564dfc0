// SPDX-License-Identifier: MIT
//
// The words of errors: what was refused when a ring was made, why, and what the operator can do;
// what a completion's -errno means to a storage engine; what a running ring's failure means.
#include "message.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>

#include "answer.hpp"
#include "squall/completions.hpp"
#include "sys.hpp"

namespace squall::detail {

namespace {

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

// kernel.io_uring_disabled (6.6): '0' on, '1' off for the unprivileged outside io_uring_group, '2'
// off; 0 when unknown.
char disabled_by_sysctl() noexcept {
    const int fd =
        sys::openat(sys::host, "/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    char value = 0;
    if (sys::read(sys::host, fd, &value, 1) != 1) value = 0;
    sys::close(sys::host, fd);
    return value;
}

std::uint64_t soft_limit(int resource) noexcept {
    std::uint64_t limits[2] = {UINT64_MAX, UINT64_MAX};
    sys::prlimit(resource, limits);
    return limits[0];
}

// CAP_IPC_LOCK lifts RLIMIT_MEMLOCK, but not when it is only held inside a user namespace, as in a
// rootless container.
bool may_lock_all_memory() noexcept {
    constexpr std::uint64_t initial_namespace = 0xeffffffd;  // PROC_USER_INIT_INO
    struct ::statx user_namespace {};
    if (sys::statx(sys::host, abi::at_fdcwd, "/proc/self/ns/user", 0, STATX_INO, &user_namespace) <
        0)
        return false;
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
    "raise it with `ulimit -l` (\"memlock\" in /etc/security/limits.conf, LimitMEMLOCK= in a "
    "systemd unit, --ulimit "
    "memlock=-1 "
    "for a container) or grant CAP_IPC_LOCK, which counts only outside user namespaces";

constexpr const char* in_its_place =
    "a seccomp filter or a sandbox that stands in for the kernel (gVisor, WSL 1) answers in its "
    "place: ";
constexpr const char* allow_the_calls =
    "allow io_uring_setup, io_uring_enter and io_uring_register there, or run outside of it";

// What uname(2) says. For words alone: distributions carry features back, so that it decides
// nothing.
std::string kernel_release() {
    struct ::utsname names {};
    return sys::uname(&names) < 0 ? std::string() : std::string(names.release);
}

// Why the kernel may have refused what Linux takes since 5.`minor`.
std::string explain_age(unsigned minor) {
    const std::string release = kernel_release();
    const std::string needs = "squall needs Linux 5." + text(minor) + " or newer";
    unsigned is_major = 0;
    unsigned is_minor = 0;
    if (std::sscanf(release.c_str(), "%u.%u", &is_major, &is_minor) != 2)
        return needs + "; where this is, " + in_its_place + allow_the_calls;
    if (is_major < 5 || (is_major == 5 && is_minor < minor)) {
        const char* const or_else = minor == 11 ? ", or 5.10 with the stable series' io_uring" : "";
        return needs + or_else + ", and this says that it is Linux " + release;
    }
    return "Linux " + release + " takes this, so that " + in_its_place + allow_the_calls;
}

// What is to be said of an errno that no kernel gives for `call`, as far as is known.
std::string explain_stranger(const char* call) {
    return std::string("Linux is not known to answer ") + call + " so here, and most likely " +
           in_its_place + "allow it there, or run outside of it";
}

// What is to be said where a filter or a security module refuses `call`, and nothing else does.
std::string explain_filter(const char* call) {
    return std::string("a seccomp filter or a security module refuses ") + call +
           ": allow it there";
}
bool from_a_filter(int code) noexcept { return classify(code) == Answer::filtered; }
// Of an errno that says nothing of `call` in particular.
std::string explain_other(int code, const char* call) {
    return from_a_filter(code) ? explain_filter(call) : explain_stranger(call);
}

std::string explain_permission(const char* call) {
    return "a seccomp filter or a security module refuses " + std::string(call) +
           ", as container runtimes do by default: allow io_uring_setup, io_uring_enter and "
           "io_uring_register "
           "in the "
           "container's seccomp profile (with docker, --security-opt seccomp=PROFILE)";
}

std::string explain_setup_permission() {
    switch (disabled_by_sysctl()) {
        case '1':
            return "io_uring is switched off for unprivileged processes (sysctl "
                   "kernel.io_uring_disabled=1): grant "
                   "CAP_SYS_ADMIN, "
                   "add the user to the group in kernel.io_uring_group, or set the sysctl to 0";
        case '2':
            return "io_uring is switched off on this machine (sysctl kernel.io_uring_disabled=2): "
                   "the operator must "
                   "set it to 0";
        default:
            return explain_permission("io_uring_setup");
    }
}

// Of io_uring_register, whatever is registered.
std::string explain_registering(int code) {
    switch (code) {
        case EPERM:
        case EACCES:
            return explain_permission("io_uring_register");
        case ENOSYS:
            return "a seccomp filter or a sandbox pretends that there is no io_uring_register: "
                   "allow it";
        case EINVAL:
            return explain_age(11);
        case EINTR:
            return "a signal came first, ten thousand times over: let them come less often";
        case ENOMEM:
            return "the machine or the memory cgroup is short of memory";
        case EBADF:
        case EBADFD:
        case EOPNOTSUPP:  // the number is another file's by now
            return std::string(
                       "the ring's file descriptor was closed or used by something other than "
                       "squall, or ") +
                   in_its_place + "allow io_uring_register there";
        default:
            return explain_stranger("io_uring_register");
    }
}

// Memory for a ring: a limit, or there is none, or not in one piece. (Kernels have a way without
// such pieces since 6.10, and yet some need one where a memory cgroup counts.)
std::string explain_memory(const IoOptions& options) {
    const RingMemory memory = ring_memory(options);
    std::string short_of =
        "the machine or the memory cgroup is short of memory, or has it in pieces too small for "
        "this ring, which takes "
        "one of " +
        text(std::max(memory.sq_bytes, memory.cq_bytes)) + " bytes for " + text(options.entries) +
        " entries: fewer IoOptions::entries need less, and `sysctl vm.compact_memory=1` joins "
        "pieces";
    const auto limit = memlock_limit();
    if (!limit) return short_of;
    return "a ring's own memory counts against RLIMIT_MEMLOCK on some kernels, which is " +
           text(*limit) +
           " bytes for all rings of this user, those closed a moment ago included, and this one "
           "takes " +
           text(memory.sq_bytes + memory.cq_bytes) + ": " + raise_memlock + "; or " + short_of;
}

constexpr const char* no_file_in_the_machine =
    "the machine has no file descriptor free: raise the sysctl fs.file-max";

// `doing` needs a descriptor: EMFILE, or ENFILE.
Error explain_files(int code, const std::string& doing) {
    if (code == ENFILE) return Error(code, doing, no_file_in_the_machine);
    return Error(code, doing,
                 "no file descriptor is free; RLIMIT_NOFILE is " + text(soft_limit(RLIMIT_NOFILE)) +
                     ": raise it with `ulimit -n` (LimitNOFILE= in a systemd unit) or close some");
}

}  // namespace

std::optional<std::uint64_t> memlock_limit() noexcept {
    const std::uint64_t limit = soft_limit(RLIMIT_MEMLOCK);
    if (limit == UINT64_MAX || may_lock_all_memory()) return std::nullopt;
    return limit;
}

RingMemory ring_memory(const IoOptions& options) noexcept {
    constexpr std::uint64_t before_cqes = 320;  // heads, tails and flags
    const auto in_pages = [](std::uint64_t bytes) {
        const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
        return (bytes + page - 1) / page * page;
    };
    const std::uint64_t sq_entries = std::bit_ceil(options.entries);
    const std::uint64_t cq_entries = options.completion_entries != 0
                                         ? std::bit_ceil(options.completion_entries)
                                         : 2 * sq_entries;
    return {in_pages(sq_entries * sizeof(abi::SqeWords)),
            in_pages(before_cqes + cq_entries * sizeof(abi::Cqe))};
}

Error explain_pipe(int code) {
    const std::string doing = "Io::create: making a pipe";
    switch (code) {
        case EMFILE:
            return explain_files(code, doing);
        case ENFILE:
            return Error(
                code, doing,
                "the machine has no file descriptor free (sysctl fs.file-max), or this user has as "
                "many pipes "
                "as it may (sysctl fs.pipe-user-pages-hard): raise the one that is reached");
        case ENOMEM:
            return Error(code, doing, "the machine or the memory cgroup is short of memory");
        default:
            return Error(code, doing, explain_other(code, "pipe2"));
    }
}

Error explain_keeping_apart(int code) {
    const std::string doing =
        "Io::create: fcntl(F_DUPFD_CLOEXEC, 3), which keeps it apart from descriptors 0 to 2";
    switch (code) {
        case EMFILE:
        case ENFILE:
            return explain_files(code, doing);
        case ENOMEM:
            return Error(code, doing, "the machine or the memory cgroup is short of memory");
        default:
            return Error(code, doing, explain_other(code, "fcntl"));
    }
}

Error explain_mapping(int code, const std::string& doing) {
    switch (code) {
        case ENOMEM:
            return Error(code, doing,
                         "the machine, the memory cgroup, RLIMIT_AS or the sysctl vm.max_map_count "
                         "has no room for it");
        case EAGAIN:
            return Error(code, doing,
                         "this process locks all that it maps (mlockall), and RLIMIT_MEMLOCK is " +
                             text(soft_limit(RLIMIT_MEMLOCK)) + "; " + raise_memlock);
        case EHWPOISON:
            return Error(code, doing,
                         "a page of the machine's memory is broken: see the kernel log");
        default:
            return Error(code, doing, explain_other(code, "mmap"));
    }
}

Error explain_advising(int code, const std::string& doing) {
    switch (code) {
        case ENOMEM:
        case EAGAIN:
            return Error(code, doing,
                         "the kernel has no memory for it, or the process has as many mappings as "
                         "the sysctl "
                         "vm.max_map_count allows");
        case EINVAL:
            return Error(code, doing, explain_age(11));
        default:
            return Error(code, doing, explain_other(code, "madvise"));
    }
}

Error explain_setup(int code, const IoOptions& options) {
    std::string doing = "Io::create: io_uring_setup(entries=" + text(options.entries) +
                        ", mode=" + name(options.mode) + ")";
    switch (code) {
        case EPERM:
        case EACCES:
            return Error(code, doing, explain_setup_permission());
        case ENOSYS:
            return Error(code, doing,
                         "this kernel has no io_uring (before 5.1, or built without "
                         "CONFIG_IO_URING), or a seccomp filter or a "
                         "sandbox that stands in for it (gVisor, WSL 1) pretends so");
        case ENOMEM:
            return Error(code, doing, explain_memory(options));
        case EMFILE:
        case ENFILE:
            return explain_files(code, doing);
        case EAGAIN:
            if (options.mode != Mode::sqpoll) break;
            return Error(code, doing,
                         "the kernel may make no thread for it: RLIMIT_NPROC of this user (`ulimit "
                         "-u`) or the pids.max of "
                         "its cgroup (TasksMax= in a systemd unit) is reached: raise it, or use "
                         "Mode::deferred, which "
                         "needs none");
        case EINVAL:
            if (options.mode == Mode::sqpoll && options.sqpoll_cpu)
                return Error(
                    code, doing,
                    "sqpoll_cpu is " + text(*options.sqpoll_cpu) +
                        ": it must be a CPU that is online and that this process may run on");
            return Error(
                code, doing,
                "the kernel takes no set of flags that squall can work with: " + explain_age(11));
        case EBADF:
        case ENXIO:
            if (options.mode != Mode::sqpoll || options.polling == Polling::none) break;
            return Error(
                code, doing,
                "the ring whose thread it was to share was closed by something other than squall");
        default:
            break;
    }
    return Error(code, doing, explain_stranger("io_uring_setup"));
}

Error explain_arena(int code, std::uint64_t bytes, std::size_t regions) {
    if (from_a_filter(code)) return explain_register(code, "IORING_REGISTER_BUFFERS");
    return explain_memory(code,
                          "Io::create: registering an arena of " + text(bytes) + " bytes in " +
                              text(regions) + " regions",
                          bytes);
}

Error explain_memory(int code, const std::string& doing, std::uint64_t bytes) {
    if (code == EFAULT)
        return Error(
            code, doing,
            "some of its memory is not mapped (was it unmapped by something other than "
            "squall?), not writable, or a file's that is neither on tmpfs nor on hugetlbfs");
    if (code == EOPNOTSUPP)
        return Error(code, doing,
                     "memory of a file can be registered on tmpfs and hugetlbfs alone; or " +
                         explain_registering(code));
    if (code != ENOMEM) return Error(code, doing, explain_registering(code));
    const auto limit = memlock_limit();
    if (!limit) return Error(code, doing, "the kernel has no memory for it");
    return Error(code, doing,
                 "registered memory counts as locked: this needs " + text(bytes) +
                     " bytes beside what this user's rings "
                     "hold, those closed a moment ago included, and RLIMIT_MEMLOCK is " +
                     text(*limit) + "; " + raise_memlock);
}

Error explain_register(int code, const char* what) {
    const std::string doing = std::string("Io::create: io_uring_register(") + what + ")";
    return code == EMFILE ? explain_files(code, doing)
                          : Error(code, doing, explain_registering(code));
}

Error explain_waker(int code) {
    if (code == ESTALE || code == EEXIST) return ring_error(code);
    const std::string doing = "Io::waker";
    if (code == EMFILE || code == ENFILE)
        return Error(code, doing, "it takes two file descriptors, beside poll_fd() one");
    return Error(code, doing, explain_registering(code));
}

Error explain_table(int code, std::uint32_t slots) {
    if (slots == 0 || (code != EMFILE && code != ENOMEM))
        return explain_register(code, "IORING_REGISTER_FILES");
    const std::string doing = "Io::create: registering a table of " + text(slots) + " file slots";
    if (code == EMFILE) return explain_files(code, doing);
    return Error(code, doing,
                 "the machine or the memory cgroup is short of memory: fewer IoOptions::file_slots "
                 "need less");
}

Error explain_enabling(int code) {
    return Error(code, "enabling the ring: io_uring_register(IORING_REGISTER_ENABLE_RINGS)",
                 explain_registering(code));
}

Error explain_missing(const char* name, unsigned minor) {
    return Error(EOPNOTSUPP, "Io::create: checking what the kernel can do",
                 std::string("it lacks ") + name + ": " + explain_age(minor));
}

Error explain_lacking(const std::string& doing, const char* name) {
    const std::string release = kernel_release();
    return Error(EOPNOTSUPP, doing,
                 std::string("it is IORING_OP_") + name + ", which this kernel " +
                     (release.empty() ? "" : "(Linux " + release + ") ") + "does not have");
}

const char* advice_for_result(int code) noexcept {
    switch (code) {
        case EINVAL:
            return "the kernel refuses the arguments; of a transfer with O_DIRECT, the address, "
                   "offset or size is most "
                   "likely misaligned: compare them with squall::direct_io_alignment(fd), or ask "
                   "squall::transfer_error(); of an open with O_DIRECT, the file system has none";
        case EIO:
            return "the device failed; after a failed write or fsync the data is to be taken as "
                   "lost, and an fsync "
                   "that then succeeds does not bring it back";
        case ENOSPC:
            return "the file system or its device is full: a write that says so wrote nothing, and "
                   "after an fsync that "
                   "does the data is to be taken as lost";
        case EDQUOT:
            return "the user's or project's quota is used up";
        case EFBIG:
            return "beyond the file system's largest file or RLIMIT_FSIZE";
        case EROFS:
            return "the file system is read-only; the kernel makes it so after an error of its "
                   "own: see the kernel log";
        case EBADF:
            return "not an open file descriptor, or not open for this";
        case EFAULT:
            return "the memory is not mapped (a buffer was freed early?), or the submitting thread "
                   "has exited";
        case ECANCELED:
            return "it was cancelled before it was done: by a cancel or a deadline, since what it "
                   "is linked to failed, since the kernel could make no thread to run it "
                   "(RLIMIT_NPROC or the pids.max of the cgroup is reached, or signals came too "
                   "fast), or since the submitting thread has exited";
        case EMFILE:
            return "the process has no file descriptor free: raise RLIMIT_NOFILE (`ulimit -n`) or "
                   "close some";
        case ENFILE:
            return no_file_in_the_machine;
        case EACCES:
        case EPERM:
            return "the process lacks the permission, or a security module refuses it";
        case EOPNOTSUPP:
            return "the file system or device does not do this, or the kernel has no such "
                   "operation: see Io::lacking()";
        case ENAMETOOLONG:
            return "a path must be shorter than 4096 bytes, and a name in it at most what the file "
                   "system takes (255, "
                   "usually)";
        case EAGAIN:
            return "it would have to wait, and was asked not to (nowait, O_NONBLOCK), or the "
                   "kernel is short of memory or of requests to the device: try again later";
        case ENOMEM:
            return "the kernel is short of memory or of requests to the device: try again later";
        case ETIME:
            return "the time has passed: what a timer, or a deadline that was met, completes with";
        case EALREADY:
            return "it is past being cancelled, and ends by itself";
        case EXDEV:
            return "it would lead from one file system to another, or out of the directory that it "
                   "must stay below";
        case ELOOP:
            return "too many symbolic links, or one where none may be followed";
        default:
            return "";
    }
}

Error ring_error(int code) {
    if ((code & while_enabling) != 0) return explain_enabling(code & ~while_enabling);
    const std::string doing = "driving the ring";
    switch (classify(code)) {
        case Answer::other_thread:
            return Error(code, doing,
                         "this Io belongs to another thread, the first that submitted on it: call "
                         "it there, or create "
                         "it with Mode::plain to hand it from thread to thread");
        case Answer::forked:
            return Error(code, doing,
                         "this Io was created before a fork(), by the parent process: the child "
                         "must create its own");
        case Answer::out_of_memory:
            return Error(code, doing,
                         "the kernel has no memory for another request, and nothing is in flight "
                         "whose end would free "
                         "some: what is queued stays queued, try again later");
        case Answer::filtered:
            return Error(code, doing,
                         "a seccomp filter or a security module now refuses io_uring_enter: allow "
                         "io_uring_setup, "
                         "io_uring_enter and io_uring_register");
        case Answer::poller_ended:
            return Error(code, doing, "the SQPOLL thread has ended: create a new Io");
        case Answer::ring_closed:
            return Error(code, doing,
                         "the ring's file descriptor was closed by something other than squall");
        case Answer::done:
        case Answer::interrupted:
        case Answer::timed_out:
        case Answer::unknown:
            break;
    }
    return Error(code, doing);
}

}  // namespace squall::detail
