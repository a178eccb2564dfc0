// SPDX-License-Identifier: MIT
//
// What a process uses: time, switches, and system calls of all its threads, the kernel's own threads for its rings among
// them. What the kernel does elsewhere on its behalf is in no figure here: writeback, and interrupts that find a CPU idle.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace peers {

// Since the process began.
struct Usage {
    double wall_ns = 0;
    double cpu_ns = 0;        // all threads
    double submitter_ns = 0;  // the calling thread
    double io_wq_ns = 0;      // io_uring's workers, those that still live
    double sqpoll_ns = 0;
    double switches = 0;  // voluntary or not

    static Usage before();  // looks at the clock last
    static Usage after();   // looks at the clock first
    [[nodiscard]] Usage since(const Usage& earlier) const;

private:
    void look_at_clocks();
    void look_at_threads();
};

// Counts the system calls that the process's threads make, those of threads to come included, by a tracepoint
// (raw_syscalls:sys_enter), which slows each of them: for a run of its own.
class CallTrace {
public:
    CallTrace() = default;
    CallTrace(const CallTrace&) = delete;
    CallTrace& operator=(const CallTrace&) = delete;
    ~CallTrace();

    // Of this process, from now on. False: the kernel has no such tracepoint, or does not let this user have it.
    bool start();
    // Of a child that is to execute a program, from then on.
    bool start_at_exec(int pid);
    [[nodiscard]] std::uint64_t count() const;

private:
    bool open(int tid, bool at_exec);
    std::vector<int> events_;
};

// Whether the block device beneath an open file has queues that can be polled.
bool device_polls(int fd);

}  // namespace peers
