// SPDX-License-Identifier: MIT
//
// Every errno in words: its name, what it means where it came up, and what the operator can do, for each place that may
// refuse. What the machine says of itself (sysctl, limits, capabilities) is the test's own; real refusals are
// refusal_test.cpp's.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "explain.hpp"
#include "support.hpp"
#include "trace.hpp"

namespace squall {
namespace {

using namespace test;

constexpr int last_errno = 133;  // EHWPOISON

// What stands behind "DOING: NAME (meaning)"; `message` must begin just so, and name the errno.
std::string advice_in(const std::string& message, const std::string& doing, int code) {
    const std::string begin = doing + ": ";
    EXPECT_EQ(message.substr(0, begin.size()), begin);
    const std::string meaning = std::string(" (") + std::strerror(code) + ")";
    const std::size_t at = message.find(meaning, begin.size());
    if (at == std::string::npos) {
        ADD_FAILURE() << message;
        return message;
    }
    const std::string rest = message.substr(at + meaning.size());
    if (rest.empty()) return rest;
    EXPECT_EQ(rest.substr(0, 2), ": ") << message;
    return rest.substr(2);
}

bool begins(const std::string& text, const std::string& with) { return text.compare(0, with.size(), with) == 0; }

// Holds the advice on every errno against how it is expected to begin, "" being none.
void expect_advice(const std::map<int, std::string>& expected, const std::string& doing,
                   const std::function<std::string(int)>& message) {
    for (int code = 1; code <= last_errno; ++code) {
        const std::string advice = advice_in(message(code), doing, code);
        const auto found = expected.find(code);
        if (found == expected.end())
            EXPECT_EQ(advice, "") << std::strerror(code);
        else
            EXPECT_TRUE(begins(advice, found->second)) << std::strerror(code) << ": " << advice;
    }
}

// --- Names ----------------------------------------------------------------------------------------------------------

TEST(Words, NameTheErrnosThatAStorageEngineMeets) {
    const std::map<int, std::string> names = {{EPERM, "EPERM"},
                                              {ENOENT, "ENOENT"},
                                              {EINTR, "EINTR"},
                                              {EIO, "EIO"},
                                              {ENXIO, "ENXIO"},
                                              {EBADF, "EBADF"},
                                              {EAGAIN, "EAGAIN"},
                                              {ENOMEM, "ENOMEM"},
                                              {EACCES, "EACCES"},
                                              {EFAULT, "EFAULT"},
                                              {EBUSY, "EBUSY"},
                                              {EEXIST, "EEXIST"},
                                              {EXDEV, "EXDEV"},
                                              {ENODEV, "ENODEV"},
                                              {ENOTDIR, "ENOTDIR"},
                                              {EISDIR, "EISDIR"},
                                              {EINVAL, "EINVAL"},
                                              {ENFILE, "ENFILE"},
                                              {EMFILE, "EMFILE"},
                                              {ETXTBSY, "ETXTBSY"},
                                              {EFBIG, "EFBIG"},
                                              {ENOSPC, "ENOSPC"},
                                              {ESPIPE, "ESPIPE"},
                                              {EROFS, "EROFS"},
                                              {EMLINK, "EMLINK"},
                                              {EPIPE, "EPIPE"},
                                              {ENAMETOOLONG, "ENAMETOOLONG"},
                                              {ENOSYS, "ENOSYS"},
                                              {ENOTEMPTY, "ENOTEMPTY"},
                                              {ELOOP, "ELOOP"},
                                              {EOVERFLOW, "EOVERFLOW"},
                                              {EBADFD, "EBADFD"},
                                              {EOPNOTSUPP, "EOPNOTSUPP"},
                                              {ETIMEDOUT, "ETIMEDOUT"},
                                              {EALREADY, "EALREADY"},
                                              {ESTALE, "ESTALE"},
                                              {EDQUOT, "EDQUOT"},
                                              {ECANCELED, "ECANCELED"},
                                              {EOWNERDEAD, "EOWNERDEAD"},
                                              {ETIME, "ETIME"}};
    for (int code = 1; code <= last_errno; ++code) {
        const auto name = names.find(code);
        EXPECT_EQ(Error(code, "x").message(),
                  "x: " + (name != names.end() ? name->second : "errno " + std::to_string(code)) + " (" +
                      std::strerror(code) + ")");
    }
    EXPECT_EQ(Error(5000, "x", "y").message(), "x: errno 5000 (Unknown error 5000): y");
}

// --- Completions ----------------------------------------------------------------------------------------------------

TEST(Words, SayWhatAnOperationsErrnoMeans) {
    const std::string permission = "the process lacks the permission, or a security module refuses it";
    const std::string short_of = "the kernel is short of memory or of requests to the device: try again later";
    expect_advice(
        {{EINVAL,
          "the kernel refuses the arguments; of a transfer with O_DIRECT, the address, offset or size is most "
          "likely misaligned: compare them with squall::direct_io_alignment(fd)"},
         {EIO, "the device failed; after a failed write or fsync the data is to be taken as lost"},
         {ENOSPC,
          "the file system or its device is full: a write that says so wrote nothing, and after an fsync that does "
          "the data is to be taken as lost"},
         {EDQUOT, "the user's or project's quota is used up"},
         {EFBIG, "beyond the file system's largest file or RLIMIT_FSIZE"},
         {EROFS, "the file system is read-only"},
         {EBADF, "not an open file descriptor, or not open for this"},
         {EFAULT, "the memory is not mapped"},
         {ECANCELED,
          "it was cancelled before it was done: the kernel could make no thread to run it, since RLIMIT_NPROC or the "
          "pids.max of the cgroup is reached or signals came too fast, or the submitting thread has exited"},
         {EMFILE, "the process has no file descriptor free: raise RLIMIT_NOFILE"},
         {ENFILE, "the machine has no file descriptor free: raise the sysctl fs.file-max"},
         {EACCES, permission},
         {EPERM, permission},
         {EOPNOTSUPP, "the file system or device does not do this"},
         {ENAMETOOLONG, "a path must be shorter than 4096 bytes"},
         {EAGAIN, short_of},
         {ENOMEM, short_of}},
        "operation with token 5", [](int code) {
            return Completion{5, -code, 0}.error().message();
        });
}

TEST(Words, SayWhyTheRingCouldNotBeDriven) {
    const std::string no_memory =
        "the kernel has no memory for another request, and nothing is in flight whose end would free some";
    const std::string filter =
        "a seccomp filter or a security module now refuses io_uring_enter or io_uring_register: allow both";
    const std::string closed = "the ring's file descriptor was closed by something other than squall";
    expect_advice({{EEXIST, "this Io belongs to another thread, the first that submitted on it"},
                   {ESTALE, "this Io was created before a fork(), by the parent process"},
                   {EAGAIN, no_memory},
                   {EBUSY, no_memory},
                   {EPERM, filter},
                   {EACCES, filter},
                   {ENOSYS, filter},
                   {EOWNERDEAD, "the SQPOLL thread has ended: create a new Io"},
                   {EBADF, closed},
                   {EBADFD, closed},
                   {EOPNOTSUPP, closed}},
                  "driving the ring", [](int code) { return detail::ring_error(code).message(); });
}

// --- Making a ring --------------------------------------------------------------------------------------------------

// A machine as the explanations look at it.
struct Machine {
    std::optional<std::string> sysctl = "0\n";  // kernel.io_uring_disabled
    long read = 0;                              // what reading it answers, when that is an error
    std::uint64_t limit = 8 << 20;
    long prlimit = 0;
    std::uint64_t user_namespace = 0xeffffffd;
    long statx = 0;
    std::uint32_t capabilities = 0;
    long capget = 0;
    bool without_stdin = false;  // so that descriptor 0 is free, and what is opened gets it

    std::optional<long> operator()(const Call& call) const {
        switch (call.number) {
            case SYS_openat: {
                if (!sysctl) return -ENOENT;
                const int fd = ::memfd_create("sysctl", MFD_CLOEXEC);
                EXPECT_EQ(::pwrite(fd, sysctl->data(), sysctl->size(), 0), static_cast<ssize_t>(sysctl->size()));
                if (!without_stdin || fd == 0) return fd;
                ::dup2(fd, 0);
                ::close(fd);
                return 0;
            }
            case SYS_read:
                return read == 0 ? std::nullopt : std::optional<long>(read);
            case SYS_prlimit64: {
                const std::uint64_t limits[2] = {limit, UINT64_MAX};
                if (prlimit == 0) std::memcpy(reinterpret_cast<void*>(call.args[3]), limits, sizeof(limits));
                return prlimit;
            }
            case SYS_statx: {
                auto& out = *reinterpret_cast<struct ::statx*>(call.args[4]);
                out.stx_ino = user_namespace;
                return statx;
            }
            case SYS_capget: {
                const auto* const header = reinterpret_cast<const std::uint32_t*>(call.args[0]);
                EXPECT_EQ(header[0], 0x20080522U);
                EXPECT_EQ(header[1], 0U) << "another process's";
                const std::uint32_t sets[6] = {capabilities, ~0U, ~0U, ~0U, ~0U, ~0U};
                std::memcpy(reinterpret_cast<void*>(call.args[1]), sets, sizeof(sets));
                return capget;
            }
            default:
                return std::nullopt;
        }
    }
};
constexpr std::uint32_t ipc_lock = 1U << 14;

template <class Explain>
std::string on(const Machine& machine, Explain explain) {
    const Intercept answers{machine};
    return explain();
}

TEST(Words, TellASwitchedOffIoUringFromAFilter) {
    const auto setup = [] { return detail::explain_setup(EPERM, {}).message(); };
    const std::string doing =
        "Io::create: io_uring_setup(entries=256, mode=deferred): EPERM (Operation not permitted): ";
    const std::string filter =
        "a seccomp filter or a security module refuses io_uring_setup, as container runtimes do by default: allow "
        "io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile (with docker, "
        "--security-opt "
        "seccomp=PROFILE)";
    EXPECT_EQ(on({}, setup), doing + filter);
    EXPECT_EQ(on({.sysctl = std::nullopt}, setup), doing + filter);
    EXPECT_EQ(on({.sysctl = ""}, setup), doing + filter);
    EXPECT_EQ(on({.sysctl = "1", .read = -EIO}, setup), doing + filter);
    EXPECT_EQ(on({.sysctl = "1\n"}, setup),
              doing +
                  "io_uring is switched off for unprivileged processes (sysctl kernel.io_uring_disabled=1): grant "
                  "CAP_SYS_ADMIN, add the user to the group in kernel.io_uring_group, or set the sysctl to 0");
    EXPECT_EQ(on({.sysctl = "2\n"}, setup), doing +
                                                "io_uring is switched off on this machine (sysctl "
                                                "kernel.io_uring_disabled=2): the operator must set it to 0");
    EXPECT_EQ(on({.sysctl = "2\n", .without_stdin = true}, setup), on({.sysctl = "2\n"}, setup));
    EXPECT_EQ(::fcntl(0, F_GETFD), -1) << "it was left open";
    EXPECT_EQ(::open("/dev/null", O_RDWR), 0);
    Trace trace;
    on({}, setup);
    EXPECT_EQ(trace.take(), "file1 = open /proc/sys/kernel/io_uring_disabled cloexec\nread file1 1\nclose file1\n");
}

TEST(Words, SayWhatCanBeDoneAboutLockedMemory) {
    const std::string short_of_memory = "the machine or the memory cgroup is short of memory";
    const std::string limited =
        "a ring's own memory counts against RLIMIT_MEMLOCK on some kernels, which is 8388608 bytes for all rings of "
        "this user, "
        "those closed a moment ago included; raise it with `ulimit -l` (\"memlock\" in /etc/security/limits.conf, "
        "LimitMEMLOCK= "
        "in a systemd unit, --ulimit memlock=-1 for a container) or grant CAP_IPC_LOCK, which counts only outside user "
        "namespaces";
    const auto memory = [] { return detail::explain_memory(); };
    EXPECT_EQ(on({}, memory), limited);
    EXPECT_EQ(on({.limit = UINT64_MAX}, memory), short_of_memory) << "RLIM_INFINITY";
    EXPECT_TRUE(begins(on({.limit = UINT64_MAX - 1}, memory), "a ring's own memory counts against RLIMIT_MEMLOCK"));
    EXPECT_EQ(on({.prlimit = -EPERM}, memory), short_of_memory) << "nothing is known of a limit";
    EXPECT_EQ(on({.capabilities = ipc_lock}, memory), short_of_memory);
    EXPECT_EQ(on({.capabilities = ~ipc_lock}, memory), limited);
    EXPECT_EQ(on({.capabilities = ipc_lock, .capget = -EINVAL}, memory), limited);
    EXPECT_EQ(on({.user_namespace = 0xeffffffe, .capabilities = ipc_lock}, memory), limited);
    EXPECT_EQ(on({.statx = -ENOENT, .capabilities = ipc_lock}, memory), limited);
    Trace trace;
    on({}, memory);
    EXPECT_EQ(trace.take(), "prlimit 0 memlock\nstatx cwd \"/proc/self/ns/user\" 0x0 0x100\ncapget\n");
}

TEST(Words, SayWhyOrdinaryPagesWereRefused) {
    for (int code = 1; code <= last_errno; ++code) {
        const std::string message = on({}, [code] { return detail::explain_mapping(code, "DOING").message(); });
        const std::string advice = advice_in(message, "DOING", code);
        if (code == EAGAIN)
            EXPECT_TRUE(
                begins(advice,
                       "this process locks all that it maps (mlockall), and RLIMIT_MEMLOCK is 8388608; raise it "
                       "with `ulimit -l`"))
                << message;
        else
            EXPECT_EQ(advice, "the machine, the memory cgroup or RLIMIT_AS has no room for it");
    }
}

TEST(Words, SayWhySettingUpWasRefused) {
    const std::map<int, std::string> expected = {
        {EPERM, "a seccomp filter or a security module refuses io_uring_setup,"},
        {EACCES, "a seccomp filter or a security module refuses io_uring_setup,"},
        {ENOSYS,
         "this kernel has no io_uring (before 5.1, or built without CONFIG_IO_URING), or a seccomp filter pretends so"},
        {ENOMEM, "a ring's own memory counts against RLIMIT_MEMLOCK"},
        {EMFILE,
         "no file descriptor is free; RLIMIT_NOFILE is 8388608: raise it with `ulimit -n` (LimitNOFILE= in a systemd "
         "unit) or close some"},
        {ENFILE, "the machine has no file descriptor free: raise the sysctl fs.file-max"},
        {EINVAL, "the kernel takes no set of flags that squall can work with: squall needs Linux 5.11 or newer"}};
    expect_advice(expected, "Io::create: io_uring_setup(entries=5, mode=plain)", [](int code) {
        return on({}, [code] { return detail::explain_setup(code, {.entries = 5, .mode = Mode::plain}).message(); });
    });
    EXPECT_EQ(
        detail::explain_setup(EAGAIN, {.mode = Mode::sqpoll}).message(),
        "Io::create: io_uring_setup(entries=256, mode=sqpoll): EAGAIN (Resource temporarily unavailable): the kernel "
        "may make no thread for it: RLIMIT_NPROC of this user (`ulimit -u`) or the pids.max of its cgroup (TasksMax= "
        "in a systemd unit) is reached: raise it, or use Mode::deferred, which needs none");
    const auto invalid = [](const IoOptions& options) { return detail::explain_setup(EINVAL, options).message(); };
    const std::string doing = "Io::create: io_uring_setup(entries=256, mode=sqpoll): EINVAL (Invalid argument): ";
    EXPECT_EQ(invalid({.mode = Mode::sqpoll, .sqpoll_cpu = 0}),
              doing + "sqpoll_cpu is 0: it must be a CPU that is online and that this process may run on");
    EXPECT_TRUE(begins(invalid({.mode = Mode::sqpoll}), doing + "the kernel takes no set of flags"));
    EXPECT_NE(invalid({.sqpoll_cpu = 0}).find("mode=deferred): EINVAL (Invalid argument): the kernel takes"),
              std::string::npos);
    Trace trace;
    on({}, [] { return detail::explain_setup(EMFILE, {}).message(); });
    EXPECT_EQ(trace.take(), "prlimit 0 nofile\n");
}

TEST(Words, SayWhyRegisteringWasRefused) {
    const std::string filter = "a seccomp filter or a security module refuses io_uring_register,";
    const std::map<int, std::string> expected = {
        {EPERM, filter},
        {EACCES, filter},
        {ENOSYS, "a seccomp filter pretends that there is no io_uring_register: allow it"},
        {EINVAL, "squall needs Linux 5.11 or newer"}};
    expect_advice(expected, "Io::create: io_uring_register(WHAT)",
                  [](int code) { return on({}, [code] { return detail::explain_register(code, "WHAT").message(); }); });
}

TEST(Words, SayWhyAnArenaWasRefused) {
    const std::string doing = "Io::create: registering an arena of 123 bytes in 4 regions";
    const auto refused = [](int code) { return detail::explain_arena(code, 123, 4); };
    for (int code = 1; code <= last_errno; ++code) {
        const std::string message = on({}, [&] { return refused(code).message(); });
        switch (code) {
            case EPERM:
            case EACCES:
            case ENOSYS:
                EXPECT_EQ(message,
                          on({}, [&] { return detail::explain_register(code, "IORING_REGISTER_BUFFERS").message(); }));
                break;
            case ENOMEM:
                EXPECT_TRUE(begins(
                    advice_in(message, doing, code),
                    "registered memory counts as locked: this needs 123 bytes beside what this user's rings hold, "
                    "and RLIMIT_MEMLOCK is 8388608; raise it with `ulimit -l`"));
                break;
            default:
                EXPECT_EQ(advice_in(message, doing, code), "") << message;
        }
        EXPECT_EQ(refused(code).code(), code);
    }
    const auto memory = [&] { return refused(ENOMEM).message(); };
    const std::string none = doing + ": ENOMEM (Cannot allocate memory): the kernel has no memory for it";
    EXPECT_EQ(on({.limit = UINT64_MAX}, memory), none);
    EXPECT_EQ(on({.capabilities = ipc_lock}, memory), none);
}

}  // namespace
}  // namespace squall
