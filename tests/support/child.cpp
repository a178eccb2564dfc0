// SPDX-License-Identifier: MIT
//
// See child.hpp.
#include "child.hpp"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <ostream>
#include <vector>

#include "seam.hpp"
#include "support.hpp"

namespace squall::test {

pid_t fork_or_abort() {
    const pid_t child = ::fork();
    if (child < 0) {
        std::perror("a test's fork");
        std::abort();
    }
    return child;
}

int status_of(pid_t child) {
    int status = -1;
    for (int tries = 0; tries < 6000; ++tries) {
        if (::waitpid(child, &status, WNOHANG) == child) return status;
        ::usleep(10'000);
    }
    ADD_FAILURE() << "the child hangs";
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return status;
}

void until_it_sleeps(pid_t task) {
    for (int tries = 0; tries < 600'000; ++tries) {
        std::string line;
        std::ifstream stat("/proc/" + std::to_string(task) + "/stat");
        if (!std::getline(stat, line)) return;
        const char state = line.at(line.rfind(')') + 2);
        if (state == 'S' || state == 'Z') return;
        ::usleep(100);
    }
    ADD_FAILURE() << "task " << task << " does not sleep";
}

std::string in_child(const std::function<std::string()>& body) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t parent = ::getpid();
    const pid_t child = fork_or_abort();
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(1);
        ::close(ends[0]);
        const std::string said = body();
        const ssize_t written = ::write(ends[1], said.data(), said.size());
        ::_exit(written == static_cast<ssize_t>(said.size()) && !testing::Test::HasFailure() ? 0 : 1);
    }
    ::close(ends[1]);
    std::string said;
    char piece[512];
    struct pollfd reads = {ends[0], POLLIN, 0};
    bool hangs = false;
    for (ssize_t got = 1; got > 0;) {
        hangs = ::poll(&reads, 1, 240'000) == 0;
        if (hangs) break;
        got = ::read(ends[0], piece, sizeof(piece));
        if (got > 0) said.append(piece, static_cast<std::size_t>(got));
    }
    ::close(ends[0]);
    if (hangs) ::kill(child, SIGKILL);
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_FALSE(hangs) << "the child hangs";
    EXPECT_EQ(status, 0) << "the child failed, having said: " << said;
    return said;
}

void in_child_alone(const std::function<void()>& body) {
    in_child([&] { return body(), std::string(); });
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

namespace {

void install(std::vector<sock_filter> program) {
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ASSERT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

sock_filter load(std::size_t offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)); }
// Goes on when the loaded word is `value`, else skips `over`.
sock_filter unless(std::uint32_t value, std::uint8_t over) {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, over);
}
sock_filter answer(std::uint32_t what) { return BPF_STMT(BPF_RET | BPF_K, what); }

void become(std::uint32_t user) {
    if (::geteuid() != 0) return;
    if (::setgroups(0, nullptr) != 0 || ::setgid(user) != 0 || ::setuid(user) != 0) return;
    // Else its own /proc/self is no longer its to read.
    ::prctl(PR_SET_DUMPABLE, 1);
}

}  // namespace

void refuse_by_seccomp(long number, int code) {
    install({load(offsetof(seccomp_data, nr)), unless(static_cast<std::uint32_t>(number), 1),
             answer(SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(code)), answer(SECCOMP_RET_ALLOW)});
}

void refuse_by_seccomp(long number, int code, unsigned which, std::uint32_t value) {
    // The low half of the argument: little-endian, as all that squall is for.
    install({load(offsetof(seccomp_data, nr)), unless(static_cast<std::uint32_t>(number), 3),
             load(offsetof(seccomp_data, args) + which * 8), unless(value, 1),
             answer(SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(code)), answer(SECCOMP_RET_ALLOW)});
}

void kill_by_seccomp(long number) {
    install({load(offsetof(seccomp_data, nr)), unless(static_cast<std::uint32_t>(number), 1),
             answer(SECCOMP_RET_KILL_PROCESS), answer(SECCOMP_RET_ALLOW)});
}

void become_nobody() {
    become(65534);
    ASSERT_NE(::geteuid(), 0U);
}

void become_a_user_of_its_own() {
    become(1'000'000'000U + static_cast<std::uint32_t>(::getpid()));
    become(65534);
    ASSERT_NE(::geteuid(), 0U);
}

FewDescriptors::FewDescriptors(unsigned count) {
    rlimit limit{};
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    before_ = limit.rlim_cur;
    // Below the highest of these, and above none of them, nothing else is free.
    std::vector<int> free(count + 1);
    for (int& fd : free) fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    limit.rlim_cur = static_cast<rlim_t>(*std::max_element(free.begin(), free.end()));
    for (const int fd : free) ::close(fd);
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
}

FewDescriptors::~FewDescriptors() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = before_;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::ostream& operator<<(std::ostream& out, const Footprint& footprint) {
    return out << footprint.descriptors << " descriptors, " << footprint.rings_mapped << " mappings of rings, "
               << footprint.bytes_mapped << " bytes mapped, " << footprint.locked_kibibytes << " KiB locked";
}

Footprint footprint_now() {
    Footprint now{descriptors_now(), 0, bytes_mapped(), 0};
    std::string line;
    for (std::ifstream maps("/proc/self/maps"); std::getline(maps, line);)
        if (contains(line, "[io_uring]")) ++now.rings_mapped;
    for (std::ifstream status("/proc/self/status"); std::getline(status, line);)
        if (line.starts_with("VmPin:")) now.locked_kibibytes = std::strtoull(line.c_str() + 6, nullptr, 10);
    return now;
}

}  // namespace squall::test
