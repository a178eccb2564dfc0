// SPDX-License-Identifier: MIT
//
// Random reads of a block device through squall, in the shape of fio's t/io_uring: so many in flight, so many queued per
// submission, reaped when as many are there; fixed buffers or not, polled or not, by registered file. It is meant for a
// device that is never the limit, in a guest (guest.sh): nothing but squall is linked, so that it can be static. It prints
// `IOPS CPU-NS ENTERS-PER-READ POLLED-SHARE` of its best second; report/guest.py makes tables of that.
//
//   device DEVICE interrupt|busy|hybrid fixed|unregistered SIZE DEPTH BATCH SECONDS
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <linux/fs.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "squall/squall.hpp"

namespace {

[[noreturn]] void give_up(const std::string& why) {
    std::fprintf(stderr, "error: %s\n", why.c_str());
    std::exit(1);
}

template <class T>
T made(squall::Result<T> result) {
    if (!result) give_up(result.error().message());
    return std::move(result).value();
}

double cpu_ns() {
    struct ::rusage used {};
    ::getrusage(RUSAGE_SELF, &used);
    const auto ns = [](const ::timeval& time) {
        return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_usec) * 1e3;
    };
    return ns(used.ru_utime) + ns(used.ru_stime);
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 8) give_up("usage: device DEVICE interrupt|busy|hybrid fixed|unregistered SIZE DEPTH BATCH SECONDS");
    const std::string way = arguments[2];
    const bool fixed = std::strcmp(arguments[3], "fixed") == 0;
    const auto size = std::strtoul(arguments[4], nullptr, 10);
    const auto depth = static_cast<std::uint32_t>(std::strtoul(arguments[5], nullptr, 10));
    const auto batch = static_cast<std::uint32_t>(std::strtoul(arguments[6], nullptr, 10));
    const auto seconds = std::strtoul(arguments[7], nullptr, 10);
    const int device = ::open(arguments[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
    std::uint64_t bytes = 0;
    if (device < 0 || ::ioctl(device, BLKGETSIZE64, &bytes) != 0)
        give_up(std::string(arguments[1]) + " is no block device");
    if (size == 0 || size % 512 != 0 || size > bytes || depth == 0 || batch == 0 || batch > depth || seconds == 0)
        give_up("SIZE, DEPTH, BATCH or SECONDS is out of range");

    squall::BufferArena arena =
        made(squall::BufferArena::create({.buffer_size = size, .count = depth, .pages = squall::Pages::base}));
    squall::Io io = made(squall::Io::create({.entries = depth,
                                             .arena = fixed ? &arena : nullptr,
                                             .file_slots = 1,
                                             .polling = way == "hybrid" ? squall::Polling::hybrid
                                                        : way == "busy" ? squall::Polling::busy
                                                                        : squall::Polling::none}));
    constexpr squall::FileSlot slot(0);
    if (const auto set = io.set_file(slot, device); !set) give_up(set.error().message());

    std::byte* const memory = arena.memory().data();
    const std::uint64_t places = bytes / size;
    std::uint64_t state = 1;
    const auto queue = [&](squall::Token token) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        const std::uint64_t offset = (((state >> 32) * places) >> 32) * size;
        return io.read(slot, {memory + token * size, size}, offset, token);
    };

    std::uint32_t spare[32768];  // buffers that no read has
    if (depth > std::size(spare)) give_up("DEPTH is out of range");
    std::uint32_t spares = 0;
    while (spares < depth) {
        spare[spares] = spares;
        ++spares;
    }
    double best = 0;
    double best_cpu = 0;
    for (unsigned long second = 0; second < seconds; ++second) {
        const auto began = io.now();
        const double cpu_before = cpu_ns();
        std::uint64_t reads = 0;
        while (reads % 1024 >= batch || io.now() - began < std::chrono::seconds(1)) {
            for (std::uint32_t i = 0; i < batch && spares > 0; ++i) {
                if (!queue(spare[spares - 1])) break;
                --spares;
            }
            // As t/io_uring does: wait only when no more can be queued.
            for (const squall::Completion& done : io.park(spares == 0 ? batch : 0)) {
                if (done.res != static_cast<std::int32_t>(size)) give_up(done.error().message());
                spare[spares++] = static_cast<std::uint32_t>(done.token);
                ++reads;
            }
        }
        const double iops = static_cast<double>(reads) / std::chrono::duration<double>(io.now() - began).count();
        if (iops > best) {
            best = iops;
            best_cpu = (cpu_ns() - cpu_before) / static_cast<double>(reads);
        }
    }
    const squall::Counters counters = io.counters();
    std::printf("%.0f %.1f %.4f %.4f\n", best, best_cpu,
                static_cast<double>(counters.enters) / static_cast<double>(counters.submitted),
                static_cast<double>(counters.polled) / static_cast<double>(counters.completed));
    return 0;
}
