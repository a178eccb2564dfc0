// SPDX-License-Identifier: MIT
//
// A child process to take something away from: a privilege, a system call, descriptors. It runs the body of a test, and is
// counted before and after: what a process has that squall could leave behind.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>

namespace squall::test {

// fork(2), or this process ends with a line: whoever went on would wait for, or kill, process -1, which is all of them.
pid_t fork_or_abort();
// The status that waitpid(2) gives of `child`, which ends within a minute: else it is killed, and the test fails.
int status_of(pid_t child);
// Waits until the process, or the thread, sleeps in the kernel or has ended; fails the test after a minute.
void until_it_sleeps(pid_t task);

// Runs `body` in a child process, which may restrict itself as it likes, and returns what it returned. Fails the test when
// a check in the child failed, and when it hangs: after four minutes it is killed. It is also killed when this process is.
std::string in_child(const std::function<std::string()>& body);
// The same for a body that has nothing to say.
void in_child_alone(const std::function<void()>& body);

[[nodiscard]] bool contains(const std::string& text, const std::string& part);

// From now on system call `number` answers `code`, for this thread and its children, as a container's filter does.
void refuse_by_seccomp(long number, int code);
// The same, only when argument `which` of the call, 32 bits wide, is `value`.
void refuse_by_seccomp(long number, int code, unsigned which, std::uint32_t value);

// From now on system call `number` kills this process, by SIGSYS.
void kill_by_seccomp(long number);

// Gives up root, for nobody.
void become_nobody();
// Gives up root, for a user that no other process is: what this user's limits count is this process alone. Where there are
// no such users (a user namespace), for nobody.
void become_a_user_of_its_own();

// Leaves exactly `count` descriptors to be had, for as long as it lives.
class FewDescriptors {
public:
    explicit FewDescriptors(unsigned count);
    ~FewDescriptors();
    FewDescriptors(const FewDescriptors&) = delete;
    FewDescriptors& operator=(const FewDescriptors&) = delete;

private:
    std::uint64_t before_;
};

// What this process holds that a ring or an arena could leave behind.
struct Footprint {
    std::size_t descriptors;
    std::size_t rings_mapped;        // mappings of io_urings
    std::uint64_t bytes_mapped;      // by squall
    std::uint64_t locked_kibibytes;  // pinned by the kernel for it
    friend bool operator==(const Footprint&, const Footprint&) = default;
};
std::ostream& operator<<(std::ostream& out, const Footprint& footprint);
Footprint footprint_now();

}  // namespace squall::test
