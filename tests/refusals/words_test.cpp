// SPDX-License-Identifier: MIT
//
// Every errno in words: its name, what it means where it came up, and what the operator can do, for each place that may
// refuse. What the machine says of itself (sysctl, limits, capabilities) is the test's own; real refusals are
// refusal_test.cpp's.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "child.hpp"
#include "message.hpp"
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

// Holds the advice on every errno against how it is expected to begin, and what is said of all others, "" being nothing.
void expect_advice(const std::map<int, std::string>& expected, const std::string& doing,
                   const std::function<std::string(int)>& message, const std::string& otherwise = "") {
    for (int code = 1; code <= last_errno; ++code) {
        const std::string advice = advice_in(message(code), doing, code);
        const auto found = expected.find(code);
        if (found == expected.end())
            EXPECT_EQ(advice, otherwise) << std::strerror(code);
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
                                              {EINPROGRESS, "EINPROGRESS"},
                                              {ENODATA, "ENODATA"},
                                              {ENOLCK, "ENOLCK"},
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
          "it was cancelled before it was done: by a cancel or a deadline, since what it is linked to failed, since "
          "the "
          "kernel could make no thread to run it (RLIMIT_NPROC or the pids.max of the cgroup is reached, or signals "
          "came "
          "too fast), or since the submitting thread has exited"},
         {ETIME, "the time has passed"},
         {EALREADY, "it is past being cancelled"},
         {EXDEV, "it would lead from one file system to another, or out of the directory that it must stay below"},
         {ELOOP, "too many symbolic links, or one where none may be followed"},
         {EMFILE, "the process has no file descriptor free: raise RLIMIT_NOFILE"},
         {ENFILE, "the machine has no file descriptor free: raise the sysctl fs.file-max"},
         {EACCES, permission},
         {EPERM, permission},
         {EOPNOTSUPP, "the file system or device does not do this"},
         {ENAMETOOLONG, "a path must be shorter than 4096 bytes"},
         {EAGAIN, "it would have to wait, and was asked not to (nowait, O_NONBLOCK), or " + short_of},
         {ENOMEM, short_of}},
        "operation with token 5", [](int code) {
            return Completion{5, -code, 0}.error().message();
        });
}

TEST(Words, SayWhyTheRingCouldNotBeDriven) {
    const std::string no_memory =
        "the kernel has no memory for another request, and nothing is in flight whose end would free some";
    const std::string filter =
        "a seccomp filter or a security module now refuses io_uring_enter: allow io_uring_setup, io_uring_enter and "
        "io_uring_register";
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
    std::string release = "6.18.44-amd64";  // uname's
    long uname = 0;
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
            case SYS_uname: {
                auto& names = *reinterpret_cast<struct ::utsname*>(call.args[0]);
                std::strcpy(names.release, release.c_str());
                return uname;
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

constexpr const char* raise_memlock =
    "raise it with `ulimit -l` (\"memlock\" in /etc/security/limits.conf, LimitMEMLOCK= in a systemd unit, --ulimit "
    "memlock=-1 for a container) or grant CAP_IPC_LOCK, which counts only outside user namespaces";
constexpr const char* in_its_place =
    "a seccomp filter or a sandbox that stands in for the kernel (gVisor, WSL 1) answers in its place: ";
constexpr const char* allow_all =
    "allow io_uring_setup, io_uring_enter and io_uring_register there, or run outside of it";
// Of an errno that no kernel gives there.
std::string stranger(const std::string& call) {
    return "Linux is not known to answer " + call + " so here, and most likely " + in_its_place +
           "allow it there, or run outside of it";
}
std::string filter(const std::string& call) {
    return "a seccomp filter or a security module refuses " + call + ": allow it there";
}
const std::string profile =
    ", as container runtimes do by default: allow io_uring_setup, io_uring_enter and io_uring_register in the "
    "container's "
    "seccomp profile (with docker, --security-opt seccomp=PROFILE)";
const std::string no_descriptor =
    "no file descriptor is free; RLIMIT_NOFILE is 8388608: raise it with `ulimit -n` (LimitNOFILE= in a systemd unit) "
    "or "
    "close some";
const std::string file_max = "the machine has no file descriptor free: raise the sysctl fs.file-max";
const std::string short_of_memory = "the machine or the memory cgroup is short of memory";
const std::string new_enough = std::string("Linux 6.18.44-amd64 takes this, so that ") + in_its_place + allow_all;

TEST(Words, SayWhetherTheKernelIsOldEnoughToRefuseOrSomethingAnswersForIt) {
    const auto age = [](const Machine& machine) {
        const std::string message = on(machine, [] { return detail::explain_register(EINVAL, "WHAT").message(); });
        return advice_in(message, "Io::create: io_uring_register(WHAT)", EINVAL);
    };
    const auto old = [](const std::string& release) {
        return "squall needs Linux 5.11 or newer, or 5.10 with the stable series' io_uring, and this says that it is "
               "Linux " +
               release;
    };
    EXPECT_EQ(age({}), new_enough);
    for (const char* const release : {"5.11.0", "5.11", "5.15.0-91-generic", "6.0.0", "10.1"})
        EXPECT_EQ(age({.release = release}),
                  std::string("Linux ") + release + " takes this, so that " + in_its_place + allow_all);
    for (const char* const release : {"5.10.0-33-amd64", "4.19.0", "4.4.0-19041-Microsoft", "2.6.32", "5.9"})
        EXPECT_EQ(age({.release = release}), old(release));
    const std::string unknown =
        std::string("squall needs Linux 5.11 or newer; where this is, ") + in_its_place + allow_all;
    EXPECT_EQ(age({.uname = -EPERM}), unknown);
    EXPECT_EQ(age({.release = ""}), unknown);
    EXPECT_EQ(age({.release = "a kernel"}), unknown);
    // What came later than the rest.
    const auto lacking = [](const Machine& machine) {
        return advice_in(on(machine, [] { return detail::explain_missing("SOMETHING", 15).message(); }),
                         "Io::create: checking what the kernel can do", EOPNOTSUPP);
    };
    EXPECT_EQ(lacking({}), "it lacks SOMETHING: " + new_enough);
    EXPECT_EQ(lacking({.release = "5.14.0"}),
              "it lacks SOMETHING: squall needs Linux 5.15 or newer, and this says that it is Linux 5.14.0");
}

TEST(Words, SayWhatCanBeDoneAboutMemoryForARing) {
    const auto in_pages = [](std::uint64_t bytes) {
        const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
        return (bytes + page - 1) / page * page;
    };
    const auto pieces = [&](std::uint64_t entries, std::uint64_t sq, std::uint64_t cq) {
        return short_of_memory + ", or has it in pieces too small for this ring, which takes one of " +
               std::to_string(std::max(in_pages(64 * sq), in_pages(320 + 16 * cq))) + " bytes for " +
               std::to_string(entries) +
               " entries: fewer IoOptions::entries need less, and `sysctl vm.compact_memory=1` joins pieces";
    };
    const auto limited = [&](std::uint64_t entries, std::uint64_t sq, std::uint64_t cq) {
        return "a ring's own memory counts against RLIMIT_MEMLOCK on some kernels, which is 8388608 bytes for all "
               "rings "
               "of this user, those closed a moment ago included, and this one takes " +
               std::to_string(in_pages(64 * sq) + in_pages(320 + 16 * cq)) + ": " + raise_memlock + "; or " +
               pieces(entries, sq, cq);
    };
    const auto memory = [](const Machine& machine, const IoOptions& options = {.entries = 256}) {
        const std::string message = on(machine, [&] { return detail::explain_setup(ENOMEM, options).message(); });
        return advice_in(message,
                         "Io::create: io_uring_setup(entries=" + std::to_string(options.entries) + ", mode=deferred)",
                         ENOMEM);
    };
    const std::string with_limit = limited(256, 256, 512);
    const std::string without = pieces(256, 256, 512);
    EXPECT_EQ(memory({}), with_limit);
    EXPECT_EQ(memory({.limit = UINT64_MAX}), without) << "RLIM_INFINITY";
    EXPECT_TRUE(contains(memory({.limit = UINT64_MAX - 1}), "which is 18446744073709551614 bytes"));
    EXPECT_EQ(memory({.prlimit = -EPERM}), without) << "nothing is known of a limit";
    EXPECT_EQ(memory({.capabilities = ipc_lock}), without);
    EXPECT_EQ(memory({.capabilities = ~ipc_lock}), with_limit);
    EXPECT_EQ(memory({.capabilities = ipc_lock, .capget = -EINVAL}), with_limit);
    EXPECT_EQ(memory({.user_namespace = 0xeffffffe, .capabilities = ipc_lock}), with_limit);
    EXPECT_EQ(memory({.statx = -ENOENT, .capabilities = ipc_lock}), with_limit);
    // Rounded up as the kernel does it, and by which of the two pieces is the larger.
    EXPECT_EQ(memory({}, {.entries = 1}), limited(1, 1, 2));
    EXPECT_EQ(memory({}, {.entries = 1025}), limited(1025, 2048, 4096));
    EXPECT_EQ(memory({}, {.entries = 1, .completion_entries = 4097}), limited(1, 1, 8192));
    EXPECT_EQ(memory({}, {.entries = 32768}), limited(32768, 32768, 65536));
    Trace trace;
    (void)memory({});
    EXPECT_EQ(trace.take(), "prlimit 0 memlock\nstatx cwd \"/proc/self/ns/user\" 0x0 0x100\ncapget\n");
}

TEST(Words, SayWhyOrdinaryPagesWereRefused) {
    expect_advice(
        {{ENOMEM, "the machine, the memory cgroup, RLIMIT_AS or the sysctl vm.max_map_count has no room for it"},
         {EAGAIN, std::string("this process locks all that it maps (mlockall), and RLIMIT_MEMLOCK is 8388608; ") +
                      raise_memlock},
         {EHWPOISON, "a page of the machine's memory is broken: see the kernel log"},
         {EPERM, filter("mmap")},
         {EACCES, filter("mmap")},
         {ENOSYS, filter("mmap")}},
        "DOING", [](int code) { return on({}, [code] { return detail::explain_mapping(code, "DOING").message(); }); },
        stranger("mmap"));
}

TEST(Words, SayWhyMemoryCouldNotBeKeptFromAChild) {
    const std::string no_room =
        "the kernel has no memory for it, or the process has as many mappings as the sysctl vm.max_map_count allows";
    expect_advice(
        {{ENOMEM, no_room},
         {EAGAIN, no_room},
         {EINVAL, new_enough},
         {EPERM, filter("madvise")},
         {EACCES, filter("madvise")},
         {ENOSYS, filter("madvise")}},
        "DOING", [](int code) { return on({}, [code] { return detail::explain_advising(code, "DOING").message(); }); },
        stranger("madvise"));
}

TEST(Words, SayWhySettingUpWasRefused) {
    const std::map<int, std::string> expected = {
        {EPERM, "a seccomp filter or a security module refuses io_uring_setup" + profile},
        {EACCES, "a seccomp filter or a security module refuses io_uring_setup" + profile},
        {ENOSYS,
         "this kernel has no io_uring (before 5.1, or built without CONFIG_IO_URING), or a seccomp filter or a sandbox "
         "that stands in for it (gVisor, WSL 1) pretends so"},
        {ENOMEM, "a ring's own memory counts against RLIMIT_MEMLOCK"},
        {EMFILE, no_descriptor},
        {ENFILE, file_max},
        {EINVAL, "the kernel takes no set of flags that squall can work with: " + new_enough}};
    expect_advice(
        expected, "Io::create: io_uring_setup(entries=5, mode=plain)",
        [](int code) {
            return on({},
                      [code] { return detail::explain_setup(code, {.entries = 5, .mode = Mode::plain}).message(); });
        },
        stranger("io_uring_setup"));
    EXPECT_EQ(
        detail::explain_setup(EAGAIN, {.mode = Mode::sqpoll}).message(),
        "Io::create: io_uring_setup(entries=256, mode=sqpoll): EAGAIN (Resource temporarily unavailable): the kernel "
        "may make no thread for it: RLIMIT_NPROC of this user (`ulimit -u`) or the pids.max of its cgroup (TasksMax= "
        "in a systemd unit) is reached: raise it, or use Mode::deferred, which needs none");
    const auto invalid = [](const IoOptions& options) {
        return on({}, [&] { return detail::explain_setup(EINVAL, options).message(); });
    };
    const std::string doing = "Io::create: io_uring_setup(entries=256, mode=sqpoll): EINVAL (Invalid argument): ";
    EXPECT_EQ(invalid({.mode = Mode::sqpoll, .sqpoll_cpu = 0}),
              doing + "sqpoll_cpu is 0: it must be a CPU that is online and that this process may run on");
    EXPECT_TRUE(begins(invalid({.mode = Mode::sqpoll}), doing + "the kernel takes no set of flags"));
    EXPECT_NE(invalid({.sqpoll_cpu = 0}).find("mode=deferred): EINVAL (Invalid argument): the kernel takes"),
              std::string::npos);
    // The second ring of two shares the first's thread.
    for (const int code : {EBADF, ENXIO}) {
        const auto words = [code](Mode mode, Polling polling) {
            const std::string message = detail::explain_setup(code, {.mode = mode, .polling = polling}).message();
            return message.substr(message.rfind("): ") + 3);
        };
        EXPECT_EQ(words(Mode::sqpoll, Polling::busy),
                  "the ring whose thread it was to share was closed by something other than squall");
        EXPECT_EQ(words(Mode::sqpoll, Polling::none), words(Mode::plain, Polling::busy));
    }
    Trace trace;
    on({}, [] { return detail::explain_setup(EMFILE, {}).message(); });
    EXPECT_EQ(trace.take(), "prlimit 0 nofile\n");
    on({}, [] { return detail::explain_setup(EINVAL, {}).message(); });
    EXPECT_EQ(trace.take(), "uname\n");
}

// What io_uring_register answers, whatever is registered.
std::map<int, std::string> of_registering() {
    const std::string filtered = "a seccomp filter or a security module refuses io_uring_register" + profile;
    const std::string closed =
        std::string("the ring's file descriptor was closed or used by something other than squall, or ") +
        in_its_place + "allow io_uring_register there";
    return {{EPERM, filtered},
            {EACCES, filtered},
            {ENOSYS, "a seccomp filter or a sandbox pretends that there is no io_uring_register: allow it"},
            {EINVAL, new_enough},
            {EINTR, "a signal came first, ten thousand times over: let them come less often"},
            {ENOMEM, short_of_memory},
            {EBADF, closed},
            {EBADFD, closed},
            {EOPNOTSUPP, closed}};
}

TEST(Words, SayWhyRegisteringWasRefused) {
    auto expected = of_registering();
    expected[EMFILE] = no_descriptor;
    expect_advice(
        expected, "Io::create: io_uring_register(WHAT)",
        [](int code) { return on({}, [code] { return detail::explain_register(code, "WHAT").message(); }); },
        stranger("io_uring_register"));
    // Without its sysctl: that one is about making rings.
    Trace trace;
    on({.sysctl = "2\n"}, [] { return detail::explain_register(EPERM, "WHAT").message(); });
    EXPECT_EQ(trace.take(), "");
}

TEST(Words, SayWhyEnablingWasRefusedWhenTheRingIsDriven) {
    expect_advice(
        of_registering(), "enabling the ring: io_uring_register(IORING_REGISTER_ENABLE_RINGS)",
        [](int code) {
            return on({}, [code] {
                const Error error = detail::ring_error(code | detail::while_enabling);
                EXPECT_EQ(error.code(), code);
                return error.message();
            });
        },
        stranger("io_uring_register"));
}

TEST(Words, SayWhyATableOfFilesWasRefused) {
    for (int code = 1; code <= last_errno; ++code) {
        const auto refused = [code](std::uint32_t slots) {
            return on({}, [&] { return detail::explain_table(code, slots).message(); });
        };
        const std::string registering =
            on({}, [code] { return detail::explain_register(code, "IORING_REGISTER_FILES").message(); });
        EXPECT_EQ(refused(0), registering);
        const std::string table = "Io::create: registering a table of 77 file slots";
        if (code == EMFILE)
            EXPECT_EQ(advice_in(refused(77), table, code), no_descriptor);
        else if (code == ENOMEM)
            EXPECT_EQ(advice_in(refused(77), table, code), short_of_memory + ": fewer IoOptions::file_slots need less");
        else
            EXPECT_EQ(refused(77), registering);
    }
}

TEST(Words, SayWhyADescriptorWasRefused) {
    const auto with = [](auto explain) {
        return [explain](int code) { return on({}, [&] { return explain(code).message(); }); };
    };
    expect_advice(
        {{EMFILE, no_descriptor},
         {ENFILE,
          "the machine has no file descriptor free (sysctl fs.file-max), or this user has as many pipes as it "
          "may (sysctl fs.pipe-user-pages-hard): raise the one that is reached"},
         {ENOMEM, short_of_memory},
         {EPERM, filter("pipe2")},
         {EACCES, filter("pipe2")},
         {ENOSYS, filter("pipe2")}},
        "Io::create: making a pipe", with(detail::explain_pipe), stranger("pipe2"));
    expect_advice({{EMFILE, no_descriptor},
                   {ENFILE, file_max},
                   {ENOMEM, short_of_memory},
                   {EPERM, filter("fcntl")},
                   {EACCES, filter("fcntl")},
                   {ENOSYS, filter("fcntl")}},
                  "Io::create: fcntl(F_DUPFD_CLOEXEC, 3), which keeps it apart from descriptors 0 to 2",
                  with(detail::explain_keeping_apart), stranger("fcntl"));
}

TEST(Words, SayWhyAnArenaWasRefused) {
    const std::string doing = "Io::create: registering an arena of 123 bytes in 4 regions";
    const auto refused = [](int code) { return detail::explain_arena(code, 123, 4); };
    const auto registering = of_registering();
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
                EXPECT_EQ(
                    advice_in(message, doing, code),
                    "registered memory counts as locked: this needs 123 bytes beside what this user's rings hold, "
                    "those closed a moment ago included, and RLIMIT_MEMLOCK is 8388608; " +
                        std::string(raise_memlock));
                break;
            case EFAULT:
                EXPECT_EQ(advice_in(message, doing, code),
                          "some of its memory is not mapped (was it unmapped by something other than squall?), not "
                          "writable, or a file's that is neither on tmpfs nor on hugetlbfs");
                break;
            case EOPNOTSUPP:
                EXPECT_EQ(
                    advice_in(message, doing, code),
                    "memory of a file can be registered on tmpfs and hugetlbfs alone; or " + registering.at(code));
                break;
            default: {
                const auto found = registering.find(code);
                EXPECT_EQ(advice_in(message, doing, code),
                          found != registering.end() ? found->second : stranger("io_uring_register"));
            }
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
