// SPDX-License-Identifier: MIT
//
// The part of scale.cpp that makes many files through one ring: opens, writes and closes them, renames and removes them, a
// tenth of them at a time, so that one sees whether the last ones cost more than the first. The same is done by plain
// system calls in a directory beside: the file system has its own opinion of many files.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>

#include "scale.hpp"
#include "squall/squall.hpp"
#include "target.hpp"

namespace squall_bench {

namespace {

constexpr std::uint32_t open_at_once = 512;
constexpr unsigned in_flight_max = 128;
constexpr std::string_view content = "a few bytes, so that each file has a block of its own";

using Path = char[512];
const char* path_of(Path& path, const char* side, const char* kind, std::uint64_t number) {
    std::snprintf(path, sizeof(path), "%s/%s/%s%08llu", settings.dir.c_str(), side, kind,
                  static_cast<unsigned long long>(number));
    return path;
}

struct Range {
    std::uint64_t first;
    std::uint64_t end;
};

void check_written(std::int64_t bytes) {
    if (bytes != static_cast<std::int64_t>(content.size())) give_up("a write was short");
}

// The work by io_uring: `queue` queues the operation on one file, `done` gets its result.
class Ringed {
public:
    static constexpr const char* name = "squall";
    template <class Queue, class Done>
    void each(Range range, Queue queue, Done done) {
        const auto reap = [&](const squall::Completions& completions) {
            if (completions.error()) give_up(completions.error().message());
            for (const squall::Completion& completion : completions) {
                if (!completion.ok())
                    give_up("file " + std::to_string(completion.token) + ": " + completion.error().message());
                done(completion.token, completion.res);
            }
        };
        for (std::uint64_t i = range.first; i < range.end; ++i) {
            while (io_.in_flight() >= in_flight_max) reap(io_.park());
            if (!queue(io_, i)) give_up("a ring is full");
        }
        while (io_.in_flight() > 0) reap(io_.park());
    }
    void open(Range range, int* fds) {
        each(
            range,
            [](squall::Io& io, std::uint64_t i) {
                Path path;
                return io.open(path_of(path, name, "new", i), {.write = true, .create_new = true}, i);
            },
            [range, fds](std::uint64_t i, std::int32_t res) { fds[i - range.first] = res; });
    }
    void write(Range range, const int* fds) {
        each(
            range,
            [range, fds](squall::Io& io, std::uint64_t i) {
                return io.write(fds[i - range.first], std::as_bytes(std::span(content)), 0, i);
            },
            [](std::uint64_t, std::int32_t res) { check_written(res); });
    }
    void close(Range range, const int* fds) {
        each(
            range, [range, fds](squall::Io& io, std::uint64_t i) { return io.close(fds[i - range.first], i); }, ignore);
    }
    void rename(Range range) {
        each(
            range,
            [](squall::Io& io, std::uint64_t i) {
                Path from;
                Path to;
                return io.rename(path_of(from, name, "new", i), path_of(to, name, "old", i), i);
            },
            ignore);
    }
    void unlink(Range range) {
        each(
            range,
            [](squall::Io& io, std::uint64_t i) {
                Path path;
                return io.unlink(path_of(path, name, "old", i), i);
            },
            ignore);
    }

private:
    static void ignore(std::uint64_t, std::int32_t) {}
    squall::Io io_ = must(squall::Io::create());
};

// The same by system calls, one after the other.
class Plain {
public:
    static constexpr const char* name = "system calls";
    void open(Range range, int* fds) {
        each(range, [range, fds](std::uint64_t i) {
            Path path;
            return fds[i - range.first] =
                       ::open(path_of(path, name, "new", i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        });
    }
    void write(Range range, const int* fds) {
        each(range, [range, fds](std::uint64_t i) {
            const ssize_t wrote = ::pwrite(fds[i - range.first], content.data(), content.size(), 0);
            if (wrote >= 0) check_written(wrote);
            return wrote;
        });
    }
    void close(Range range, const int* fds) {
        each(range, [range, fds](std::uint64_t i) { return ::close(fds[i - range.first]); });
    }
    void rename(Range range) {
        each(range, [](std::uint64_t i) {
            Path from;
            Path to;
            return ::rename(path_of(from, name, "new", i), path_of(to, name, "old", i));
        });
    }
    void unlink(Range range) {
        each(range, [](std::uint64_t i) {
            Path path;
            return ::unlink(path_of(path, name, "old", i));
        });
    }

private:
    template <class Call>
    static void each(Range range, Call call) {
        for (std::uint64_t i = range.first; i < range.end; ++i)
            if (call(i) < 0) give_up("file " + std::to_string(i) + ": " + std::strerror(errno));
    }
};

// Adds up what a kind of operation took: time that passed, and CPU time of this thread and of the kernel's workers.
class Spent {
public:
    template <class Work>
    void on(Work work) {
        const auto started = std::chrono::steady_clock::now();
        const double cpu_before = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
        work();
        cpu_ += seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu_before;
        elapsed_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    }
    void settle(benchmark::State& state, const std::string& what, Range range) const {
        const auto count = static_cast<double>(range.end - range.first);
        state.counters[what] = elapsed_ / count * 1e9;
        state.counters[what + "_cpu"] = cpu_ / count * 1e9;
    }

private:
    double elapsed_ = 0;
    double cpu_ = 0;
};

// Opening, writing and closing take turns, since not all files can be open at once; each is timed on its own.
template <class Side>
void create(benchmark::State& state, Side& side, Range range) {
    Spent opening;
    Spent writing;
    Spent closing;
    std::vector<int> fds(open_at_once);
    for (auto _ : state)
        for (Range some = range; some.first < range.end; some.first = some.end) {
            some.end = std::min(some.first + open_at_once, range.end);
            opening.on([&] { side.open(some, fds.data()); });
            writing.on([&] { side.write(some, fds.data()); });
            closing.on([&] { side.close(some, fds.data()); });
        }
    opening.settle(state, "open", range);
    writing.settle(state, "write", range);
    closing.settle(state, "close", range);
}

template <class Work>
void change(benchmark::State& state, const char* what, Range range, Work work) {
    Spent spent;
    for (auto _ : state) spent.on(work);
    spent.settle(state, what, range);
}

template <class Side>
void register_slice(Side& side, const char* phase, Range range) {
    const std::string name = std::string("files/") + Side::name + "/" + phase + "/" + std::to_string(range.end);
    const std::string_view wanted(phase);
    const auto measured = [&side, wanted, range](benchmark::State& state) {
        if (wanted == "create")
            create(state, side, range);
        else if (wanted == "rename")
            change(state, "rename", range, [&side, range] { side.rename(range); });
        else
            change(state, "unlink", range, [&side, range] { side.unlink(range); });
    };
    benchmark::RegisterBenchmark(name.c_str(), measured)->Iterations(1)->UseRealTime();
}

}  // namespace

void register_files() {
    struct statvfs room = {};
    if (::statvfs(settings.dir.c_str(), &room) < 0) give_up("statvfs of " + settings.dir + ": " + std::strerror(errno));
    // A block and an inode each, and twice: by squall and by system calls.
    const std::uint64_t needed = 2 * settings.files;
    if (room.f_bavail * room.f_frsize < needed * 6144 || (room.f_files > 0 && room.f_favail < needed))
        give_up("no room for " + std::to_string(needed) + " small files in " + settings.dir, exit_not_here);
    struct rlimit limit = {};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < open_at_once + 64) {
        limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, open_at_once + 64);
        ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (const char* const side : {Ringed::name, Plain::name})
        if (::mkdir((settings.dir + "/" + side).c_str(), 0700) < 0)
            give_up("cannot make a directory in " + settings.dir + ": " + std::strerror(errno));

    static Ringed ringed;
    static Plain plain;
    for (const char* const phase : {"create", "rename", "unlink"})
        for (std::uint64_t tenth = 0; tenth < 10; ++tenth) {
            const Range range{settings.files * tenth / 10, settings.files * (tenth + 1) / 10};
            register_slice(ringed, phase, range);
            register_slice(plain, phase, range);
        }
}

}  // namespace squall_bench
