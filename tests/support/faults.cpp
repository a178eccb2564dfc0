// SPDX-License-Identifier: MIT
//
// See faults.hpp.
#include "faults.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include "support.hpp"

namespace squall::test {

namespace {

// As the man pages list them, with ENOSYS and EPERM for what a seccomp filter may say of any call that is not as old as
// the hills.
const std::map<long, std::vector<int>> errnos = {
    {SYS_mmap, {EACCES, EAGAIN, EBADF, EINVAL, ENFILE, ENODEV, ENOMEM, EOVERFLOW, EPERM}},
    {SYS_munmap, {EINVAL, ENOMEM}},
    {SYS_madvise, {EACCES, EAGAIN, EBADF, EBUSY, EFAULT, EINVAL, EIO, ENOMEM, EPERM, EHWPOISON}},
    {SYS_openat, {EACCES, EINTR, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENOENT, ENOMEM, ENOTDIR, EPERM}},
    {SYS_close, {EINTR, EIO, ENOSPC, EDQUOT}},
    {SYS_read, {EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR}},
    {SYS_getdents64, {EBADF, EFAULT, EINVAL, EIO, ENOENT, ENOTDIR}},
    {SYS_mkdirat,
     {EACCES, EDQUOT, EEXIST, EFAULT, EINVAL, ELOOP, EMLINK, ENAMETOOLONG, ENOENT, ENOMEM, ENOSPC, ENOTDIR, EPERM,
      EROFS}},
    {SYS_statx, {EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, ENOSYS}},
    {SYS_ioctl, {EBADF, EFAULT, EINVAL, ENOTTY}},
    {SYS_fcntl, {EACCES, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EPERM}},
    {SYS_pipe2, {EFAULT, EINVAL, EMFILE, ENFILE}},
    {SYS_ppoll, {EINTR}},  // the others are refusals to wait, after which going on would not be safe: drain_test.cpp
    {SYS_prlimit64, {EFAULT, EINVAL, EPERM, ESRCH}},
    {SYS_capget, {EFAULT, EINVAL, EPERM, ESRCH}},
    {nr_setup, {EACCES, EFAULT, EINVAL, EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM, EOPNOTSUPP}},
    {nr_enter,
     {EAGAIN, EBADF, EBADFD, EBADR, EBUSY, EEXIST, EFAULT, EINTR, EINVAL, ENOSYS, ENXIO, EOPNOTSUPP, EOWNERDEAD, EPERM,
      ETIME}},
    {nr_register,
     {EACCES, EBADF, EBADFD, EBUSY, EEXIST, EFAULT, EINTR, EINVAL, EMFILE, ENOMEM, ENOSYS, ENXIO, EOPNOTSUPP, EPERM}},
};
// Calls that cannot fail where squall makes them, or of which drain_test.cpp has every answer.
const std::set<long> without = {SYS_gettid, SYS_getpid, SYS_tgkill, SYS_rt_sigprocmask};
// Calls that may do less than they were asked to, the argument that says how much, and the counts that are tried.
struct Count {
    int argument;
    std::vector<long> counts;
};
const std::map<long, Count> counts = {{nr_enter, {1, {0, 1, 2}}}, {SYS_read, {2, {1, 7}}}};

// What all scenarios together have met, which the end of the program's output tells.
std::size_t met_by_all = 0;
class TellsHowMany : public testing::Environment {
    void TearDown() override {
        if (met_by_all > 0) std::printf("%zu failures of system calls were met\n", met_by_all);
    }
};
[[maybe_unused]] const testing::Environment* const telling = testing::AddGlobalTestEnvironment(new TellsHowMany);

struct State {
    bool here = false;
    std::vector<Fault> seen;  // the scenario's calls
    std::optional<Fault> fault;
    bool met = false;

    std::optional<long> answer(Call& call) {
        if (!here) return std::nullopt;
        const std::size_t nth = seen.size();
        seen.push_back(
            {nth, call.number, call.number == nr_register ? static_cast<std::uint32_t>(call.args[1]) : 0, 0});
        if (!fault || fault->nth != nth || fault->number != call.number) return std::nullopt;
        met = true;
        if (fault->answer < 0) {
            // The kernel has closed and unmapped what it says it could not.
            if (call.number == SYS_close || call.number == SYS_munmap) (void)real(call);
            return fault->answer;
        }
        std::uintptr_t& asked = call.args[counts.at(call.number).argument];
        if (asked <= static_cast<std::uintptr_t>(fault->answer)) return std::nullopt;
        asked = static_cast<std::uintptr_t>(fault->answer);
        if (call.number == nr_enter) call.args[2] = 0;  // the kernel waits only when it has taken all it was offered
        return std::nullopt;
    }
};
State state;

// Runs it, with `fault` or without, and looks what it left behind.
void run(const std::function<void(const Fault*)>& scenario, const std::optional<Fault>& fault) {
    state = {};
    state.fault = fault;
    const std::size_t descriptors = descriptors_now();
    const std::uint64_t mapped = bytes_mapped();
    scenario(fault ? &*fault : nullptr);
    EXPECT_EQ(descriptors_now(), descriptors);
    EXPECT_EQ(bytes_mapped(), mapped);
}

}  // namespace

std::string Fault::words() const {
    std::string text = "call " + std::to_string(nth) + " of the scenario, system call " + std::to_string(number);
    if (number == nr_register) text += " code " + std::to_string(code);
    return text + (answer < 0 ? std::string(" answers ") + std::strerror(errno_value())
                              : " is cut to " + std::to_string(answer));
}

FaultsHere::FaultsHere() { state.here = true; }
FaultsHere::~FaultsHere() { state.here = false; }

std::size_t with_every_fault(const std::function<void(const Fault*)>& scenario) {
    const Intercept intercept([](Call& call) { return state.answer(call); });
    run(scenario, std::nullopt);
    if (testing::Test::HasFailure()) return 0;
    const std::vector<Fault> calls = state.seen;
    std::size_t met = 0;
    const auto with = [&](Fault fault, long answer) {
        fault.answer = answer;
        const testing::ScopedTrace trace(__FILE__, __LINE__, fault.words());
        run(scenario, fault);
        // A call may come earlier or later than in the first run, where the kernel's own threads take part.
        if (state.met) ++met, ++met_by_all;
    };
    for (const Fault& call : calls) {
        EXPECT_TRUE(errnos.count(call.number) + without.count(call.number) == 1)
            << "nobody has said how system call " << call.number << " fails";
        if (const auto found = errnos.find(call.number); found != errnos.end())
            for (const int code : found->second) {
                with(call, -code);
                if (testing::Test::HasFailure()) return met;
            }
        if (const auto found = counts.find(call.number); found != counts.end())
            for (const long count : found->second.counts) {
                with(call, count);
                if (testing::Test::HasFailure()) return met;
            }
    }
    run(scenario, std::nullopt);
    return met;
}

}  // namespace squall::test
