// SPDX-License-Identifier: MIT
//
// What every operation costs through a ring, one at a time and 32 at once, beside the system call that does the same: time,
// CPU time with that of the kernel's workers, context switches, and how much the workers did, which tells whether the kernel
// did it in place. On files of its own in a directory that is given, names and pages in the kernel's caches. What is better
// queued and what is better called, report/operations.py tells.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "build_context.hpp"
#include "squall/squall.hpp"
#include "target.hpp"

namespace {

using squall::FileSlot;
using squall::Io;
using squall_bench::give_up;
using squall_bench::mebibyte;
using squall_bench::scramble;

constexpr std::uint32_t batch = 32;
constexpr std::uint64_t block = 4096;
constexpr std::uint64_t file_blocks = 4096;  // of the large files

struct Settings {
    std::string dir;
    double seconds = 0.01;  // per repetition of an operation done one way
};
Settings settings;

[[noreturn]] void give_up_at(const std::string& what) { give_up(what + ": " + std::strerror(errno)); }

template <class T>
T must(squall::Result<T> result) {
    if (!result) give_up(result.error().message());
    return std::move(result).value();
}

// --- Files ------------------------------------------------------------------------------------------------------------

std::string path_to(const std::string& name) { return settings.dir + "/" + name; }

int open_file(const std::string& path, int flags) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
    if (fd < 0) give_up_at("cannot open " + path);
    return fd;
}

// A large file: those of a process before are used again.
int open_large(const char* name, int flags) {
    const std::string path = path_to(name);
    if (::access(path.c_str(), F_OK) != 0) squall_bench::make_file(path, file_blocks * block);
    return open_file(path, flags);
}

void close_all(std::span<const int> fds) {
    for (const int fd : fds) ::close(fd);
}

using Numbers = std::array<int, batch>;
using Paths = std::array<std::string, batch>;
using Memory = std::unique_ptr<std::byte, decltype(&std::free)>;

Paths paths_of(const std::string& kind) {
    Paths paths;
    for (std::uint32_t i = 0; i < batch; ++i) paths[i] = path_to(kind + std::to_string(i));
    return paths;
}

// What the operations are done with. Operation i of a batch has file i, buffer i, slot i, and a block of a large file.
struct World {
    squall::BufferArena arena = must(squall::BufferArena::create({.buffer_size = block, .count = batch}));
    Io io = must(Io::create({.arena = &arena, .file_slots = 2 * batch}));
    Memory heap{static_cast<std::byte*>(std::aligned_alloc(block, batch* block)), &std::free};
    std::array<struct ::statx, batch> found;
    Numbers results;  // of the last batch

    Paths small = paths_of("small");  // files of one block
    Numbers small_fds;
    Paths other = paths_of("other");  // names that are free before and after
    Numbers fds;                      // opened to be closed
    int cached = open_large("cached", O_RDONLY);
    int written = open_large("written", O_RDWR);
    int grown = open_file(path_to("grown"), O_RDWR | O_CREAT);
    FileSlot cached_slot{batch};
    FileSlot written_slot{batch + 1};
    std::uint64_t draws = 0;
    std::uint64_t first_block = 0;

    World() {
        fill();
        for (std::uint32_t i = 0; i < batch; ++i) {
            ::unlink(other[i].c_str());  // where a process before left it
            small_fds[i] = open_file(small[i], O_RDWR | O_CREAT);
            if (::pwrite(small_fds[i], buffer(i).data(), block, 0) != static_cast<ssize_t>(block))
                give_up_at("cannot write " + small[i]);
        }
        must_set(cached_slot, cached);
        must_set(written_slot, written);
    }

    void must_set(FileSlot slot, int fd) {
        if (const auto set = io.set_file(slot, fd); !set) give_up(set.error().message());
    }
    // Other blocks for the next batch; no two of a batch are the same or neighbours, which the kernel would merge.
    void draw() { first_block = scramble(++draws); }
    [[nodiscard]] std::uint64_t place(std::uint32_t i) const { return (first_block + i * 127) % file_blocks * block; }
    [[nodiscard]] static std::uint64_t end(std::uint32_t i) { return i * block; }
    [[nodiscard]] std::span<std::byte> buffer(std::uint32_t i) const { return {heap.get() + i * block, block}; }
    [[nodiscard]] std::span<std::byte> fixed(std::uint32_t i) const { return arena.memory().subspan(i * block, block); }

    // Bytes that no file has yet.
    void fill() {
        draw();
        for (std::uint64_t at = 0; at < batch * block; at += sizeof(std::uint64_t)) {
            const std::uint64_t word = scramble(first_block + at);
            std::memcpy(heap.get() + at, &word, sizeof(word));
        }
    }
    void wipe() {
        std::memset(heap.get(), 0x5c, batch * block);
        std::memset(arena.memory().data(), 0x5c, batch * block);
    }
    // Gives up unless the last batch's blocks of `fd` have what is in memory.
    using Where = std::function<std::uint64_t(std::uint32_t)>;
    void compare(int fd, std::byte* memory, const Where& where) const {
        const Memory bytes{static_cast<std::byte*>(std::aligned_alloc(block, block)), &std::free};  // for O_DIRECT
        for (std::uint32_t i = 0; i < batch; ++i)
            if (::pread(fd, bytes.get(), block, static_cast<off_t>(where(i))) != static_cast<ssize_t>(block) ||
                std::memcmp(bytes.get(), memory + i * block, block) != 0)
                give_up("what was moved is not what the file has at " + std::to_string(where(i)));
    }
};

// --- Measuring --------------------------------------------------------------------------------------------------------

double seconds_of(clockid_t clock) {
    struct timespec now = {};
    ::clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Adds up what is spent between go() and stop(). This process has one thread, and the kernel's workers count as threads of
// it: in its CPU time and in its switches.
class Meter {
public:
    void go() {
        count(-1);
        time_ -= seconds_of(CLOCK_MONOTONIC);
        thread_ -= seconds_of(CLOCK_THREAD_CPUTIME_ID);
        process_ -= seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    }
    void stop() {
        process_ += seconds_of(CLOCK_PROCESS_CPUTIME_ID);
        thread_ += seconds_of(CLOCK_THREAD_CPUTIME_ID);
        time_ += seconds_of(CLOCK_MONOTONIC);
        count(1);
    }
    [[nodiscard]] double time() const { return time_; }
    void settle(benchmark::State& state, double operations) const {
        state.counters["time"] = time_ * 1e9 / operations;
        state.counters["cpu"] = process_ * 1e9 / operations;
        state.counters["worker_share"] = std::max(0.0, 1 - thread_ / process_);
        state.counters["sleeps"] = static_cast<double>(sleeps_) / operations;
        state.counters["switches"] = static_cast<double>(switches_) / operations;
    }

private:
    void count(long sign) {
        struct rusage usage = {};
        ::getrusage(RUSAGE_SELF, &usage);
        sleeps_ += sign * usage.ru_nvcsw;
        switches_ += sign * (usage.ru_nvcsw + usage.ru_nivcsw);
    }
    double time_ = 0;
    double thread_ = 0;
    double process_ = 0;
    long sleeps_ = 0;  // switches because a thread had to wait
    long switches_ = 0;
};

// What is done around a stretch of batches, outside the time that counts.
struct Around {
    static constexpr std::int32_t any = -1;  // a descriptor, or a slot's 0
    std::int32_t wanted = 0;                 // the result of each
    int batches = 1;                         // in a stretch: more where nothing need be done in between
    // How many: where one takes long, or leaves something behind in the file system. 0: as many as there is time for.
    int stretches = 0;
    static constexpr int few = 2;
    std::function<void(bool by_ring)> before = [](bool) {};
    std::function<void(bool by_ring)> after = [](bool) {};
};

// At once: 0 for system calls. `call` returns as libc does, `queue` as Io.
template <class Call, class Queue>
void measure(benchmark::State& state, World& world, const std::string& name, const Around& around, Call call,
             Queue queue, std::uint32_t at_once) {
    const auto take = [&](std::uint64_t i, std::int32_t result) {
        world.results[i] = result;
        if (around.wanted == Around::any ? result < 0 : result != around.wanted) [[unlikely]]
            give_up(name + ": " + (result < 0 ? std::strerror(-result) : std::to_string(result) + " bytes moved"));
    };
    const auto one_batch = [&] {
        world.draw();
        if (at_once == 0)
            for (std::uint32_t i = 0; i < batch; ++i) {
                const auto result = static_cast<std::int32_t>(call(i));
                take(i, result < 0 ? -errno : result);
            }
        for (std::uint32_t i = 0; at_once != 0 && i < batch;) {
            for (const std::uint32_t end = i + at_once; i < end; ++i)
                if (!queue(world.io, i)) give_up("a ring is full");
            while (world.io.in_flight() > 0) {
                const squall::Completions done = world.io.park(world.io.in_flight());
                if (done.error()) give_up(done.error().message());
                for (const squall::Completion& completion : done) take(completion.token, completion.res);
            }
        }
    };
    Meter all;
    for (auto _ : state) {
        around.before(at_once != 0);
        const double before = all.time();
        all.go();
        for (int i = 0; i < around.batches; ++i) one_batch();
        all.stop();
        state.SetIterationTime(all.time() - before);
        around.after(at_once != 0);
    }
    all.settle(state, static_cast<double>(state.iterations()) * around.batches * batch);
}

// Registers an operation, done each way.
template <class Call, class Queue>
void add(World& world, const std::string& name, const Around& around, Call call, Queue queue) {
    for (const std::uint32_t at_once : {0U, 1U, batch}) {
        const std::string whole = name + "/" + (at_once == 0 ? "call" : std::to_string(at_once));
        auto* const made = benchmark::RegisterBenchmark(whole.c_str(), [=, &world](benchmark::State& state) {
            measure(state, world, name, around, call, queue, at_once);
        });
        made->UseManualTime();
        if (around.stretches > 0)
            made->Iterations(around.stretches);
        else
            made->MinTime(settings.seconds)->Repetitions(3);
    }
}

// --- Operations -------------------------------------------------------------------------------------------------------

void add_nop(World& world) {
    const auto no_more = [](std::uint32_t) {
        ::getppid();  // about the least that a system call does
        return 0;
    };
    add(world, "nop", {.batches = batch}, no_more, [](Io& io, std::uint32_t i) { return io.nop(i); });
}

void add_opening(World& w) {
    const auto open_small = [&w](std::uint32_t i) { return ::open(w.small[i].c_str(), O_RDONLY | O_CLOEXEC); };
    const auto open_to_be_closed = [&w, open_small] {
        for (std::uint32_t i = 0; i < batch; ++i) w.fds[i] = open_small(i);
    };
    const auto close_small = [&w](std::uint32_t i) { return ::close(w.fds[i]); };
    const auto close_results = [&w](bool) { close_all(w.results); };
    add(w, "open", {.wanted = Around::any, .after = close_results}, open_small,
        [&w](Io& io, std::uint32_t i) { return io.open(w.small[i].c_str(), {.read = true}, i); });
    add(w, "open, into a slot",
        {.wanted = Around::any,
         .after =
             [&w](bool by_ring) {
                 if (!by_ring) return close_all(w.results);
                 for (std::uint32_t i = 0; i < batch; ++i) w.must_set(FileSlot(i), -1);
             }},
        open_small,
        [&w](Io& io, std::uint32_t i) { return io.open(w.small[i].c_str(), {.read = true}, FileSlot(i), i); });
    add(
        w, "open, a new file",
        {.wanted = Around::any,
         .stretches = Around::few,
         .after =
             [&w](bool) {
                 close_all(w.results);
                 for (const std::string& path : w.other) ::unlink(path.c_str());
             }},
        [&w](std::uint32_t i) { return ::open(w.other[i].c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644); },
        [&w](Io& io, std::uint32_t i) { return io.open(w.other[i].c_str(), {.write = true, .create_new = true}, i); });
    add(w, "close", {.before = [open_to_be_closed](bool) { open_to_be_closed(); }}, close_small,
        [&w](Io& io, std::uint32_t i) { return io.close(w.fds[i], i); });
    add(w, "close, of a slot",
        {.before =
             [&w, open_to_be_closed](bool by_ring) {
                 open_to_be_closed();
                 for (std::uint32_t i = 0; by_ring && i < batch; ++i) w.must_set(FileSlot(i), w.fds[i]);
                 if (by_ring) close_all(w.fds);
             }},
        close_small, [](Io& io, std::uint32_t i) { return io.close(FileSlot(i), i); });
}

void add_names(World& w) {
    const Around one_block{.batches = batch, .after = [&w](bool) {
                               for (struct ::statx& found : w.found)
                                   if (std::exchange(found.stx_size, 0) != block) give_up("statx told a wrong size");
                           }};
    add(
        w, "statx, by descriptor", one_block,
        [&w](std::uint32_t i) { return ::statx(w.small_fds[i], "", AT_EMPTY_PATH, Io::statx_default, &w.found[i]); },
        [&w](Io& io, std::uint32_t i) { return io.statx(w.small_fds[i], w.found[i], i); });
    add(
        w, "statx, by path", one_block,
        [&w](std::uint32_t i) { return ::statx(AT_FDCWD, w.small[i].c_str(), 0, Io::statx_default, &w.found[i]); },
        [&w](Io& io, std::uint32_t i) { return io.statx(w.small[i].c_str(), w.found[i], i); });
    add(
        w, "rename", {.after = [&w](bool) { std::swap(w.small, w.other); }},
        [&w](std::uint32_t i) { return ::rename(w.small[i].c_str(), w.other[i].c_str()); },
        [&w](Io& io, std::uint32_t i) { return io.rename(w.small[i].c_str(), w.other[i].c_str(), i); });
    add(
        w, "unlink",
        {.stretches = Around::few,
         .before =
             [&w](bool) {
                 for (const std::string& path : w.other) ::close(open_file(path, O_WRONLY | O_CREAT | O_EXCL));
             }},
        [&w](std::uint32_t i) { return ::unlink(w.other[i].c_str()); },
        [&w](Io& io, std::uint32_t i) { return io.unlink(w.other[i].c_str(), i); });
}

constexpr std::int32_t whole_block = block;

Around reading(World& w, int fd, bool fixed, int batches) {
    return {.wanted = whole_block,
            .batches = batches,
            .before = [&w](bool) { w.wipe(); },
            .after =
                [&w, fd, fixed](bool by_ring) {
                    std::byte* const memory = fixed && by_ring ? w.arena.memory().data() : w.heap.get();
                    w.compare(fd, memory, [&w](std::uint32_t i) { return w.place(i); });
                }};
}

void add_reads(World& w) {
    const auto pread_from = [&w](int fd) {
        return [&w, fd](std::uint32_t i) {
            return ::pread(fd, w.buffer(i).data(), block, static_cast<off_t>(w.place(i)));
        };
    };
    const auto cached = reading(w, w.cached, false, batch);
    add(w, "read, cached", cached, pread_from(w.cached),
        [&w](Io& io, std::uint32_t i) { return io.read(w.cached, w.buffer(i), w.place(i), i); });
    add(w, "read, cached, by slot", cached, pread_from(w.cached),
        [&w](Io& io, std::uint32_t i) { return io.read(w.cached_slot, w.buffer(i), w.place(i), i); });
    add(w, "read, cached, fixed", reading(w, w.cached, true, batch), pread_from(w.cached),
        [&w](Io& io, std::uint32_t i) { return io.read(w.cached, w.fixed(i), w.place(i), i); });
    const int fd = open_large("direct", O_RDONLY | O_DIRECT);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    add(w, "read, O_DIRECT", reading(w, fd, false, 1), pread_from(fd),
        [&w, fd](Io& io, std::uint32_t i) { return io.read(fd, w.buffer(i), w.place(i), i); });
}

Around overwriting(World& w, int fd, int batches) {
    return {.wanted = whole_block,
            .batches = batches,
            .before = [&w](bool) { w.fill(); },
            .after = [&w, fd](bool) { w.compare(fd, w.heap.get(), [&w](std::uint32_t i) { return w.place(i); }); }};
}
Around extending(World& w, int fd) {
    return {.wanted = whole_block,
            .before =
                [&w, fd](bool) {
                    w.fill();
                    if (::ftruncate(fd, 0) < 0) give_up_at("ftruncate");
                },
            .after = [&w, fd](bool) { w.compare(fd, w.heap.get(), &World::end); }};
}

void add_writes(World& w) {
    const auto pwrite_to = [&w](int fd) {
        return [&w, fd](std::uint32_t i) {
            return ::pwrite(fd, w.buffer(i).data(), block, static_cast<off_t>(w.place(i)));
        };
    };
    const auto append_to = [&w](int fd) {
        return [&w, fd](std::uint32_t i) {
            return ::pwrite(fd, w.buffer(i).data(), block, static_cast<off_t>(World::end(i)));
        };
    };
    const auto append_by_ring = [&w](int fd) {
        return [&w, fd](Io& io, std::uint32_t i) { return io.write(fd, w.buffer(i), World::end(i), i); };
    };
    const auto cached = overwriting(w, w.written, batch);
    add(w, "write, cached", cached, pwrite_to(w.written),
        [&w](Io& io, std::uint32_t i) { return io.write(w.written, w.buffer(i), w.place(i), i); });
    add(w, "write, cached, by slot", cached, pwrite_to(w.written),
        [&w](Io& io, std::uint32_t i) { return io.write(w.written_slot, w.buffer(i), w.place(i), i); });
    add(w, "write, cached, extending", extending(w, w.grown), append_to(w.grown), append_by_ring(w.grown));
    const int fd = open_large("directly written", O_RDWR | O_DIRECT);
    add(w, "write, O_DIRECT", overwriting(w, fd, 1), pwrite_to(fd),
        [&w, fd](Io& io, std::uint32_t i) { return io.write(fd, w.buffer(i), w.place(i), i); });
    const int growing = open_file(path_to("directly grown"), O_RDWR | O_CREAT | O_DIRECT);
    add(w, "write, O_DIRECT, extending", extending(w, growing), append_to(growing), append_by_ring(growing));
}

// Of as many files as there are in a batch.
void add_syncs(World& w) {
    Numbers fds;
    for (std::uint32_t i = 0; i < batch; ++i) {
        fds[i] = open_file(path_to("synced" + std::to_string(i)), O_RDWR | O_CREAT);
        if (::pwrite(fds[i], w.heap.get(), block, 0) != static_cast<ssize_t>(block) || ::fsync(fds[i]) < 0)
            give_up_at("cannot write a file");
    }
    const auto write_all = [&w, fds](bool) {
        w.fill();
        for (std::uint32_t i = 0; i < batch; ++i)
            if (::pwrite(fds[i], w.buffer(i).data(), block, 0) != static_cast<ssize_t>(block)) give_up_at("pwrite");
    };
    const auto sync_all = [fds](bool) {
        for (const int fd : fds) ::fsync(fd);
    };
    const auto sync = [fds](std::uint32_t i) { return ::fsync(fds[i]); };
    const auto sync_by_ring = [fds](Io& io, std::uint32_t i) { return io.fsync(fds[i], i); };
    add(w, "fsync, nothing written", {.stretches = Around::few, .before = sync_all}, sync, sync_by_ring);
    add(w, "fsync, after a write", {.stretches = Around::few, .before = write_all}, sync, sync_by_ring);
    add(
        w, "fdatasync, after a write", {.stretches = Around::few, .before = write_all},
        [fds](std::uint32_t i) { return ::fdatasync(fds[i]); },
        [fds](Io& io, std::uint32_t i) { return io.fdatasync(fds[i], i); });
}

void parse_options(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        const std::string_view argument(arguments[i]);
        if (argument.starts_with("--dir=")) {
            settings.dir = argument.substr(6);
        } else if (argument.starts_with("--seconds=")) {
            const char* const end = arguments[i] + argument.size();
            if (std::from_chars(arguments[i] + 10, end, settings.seconds).ptr != end || settings.seconds <= 0)
                give_up("--seconds must be a number above 0", 2);
        } else {
            give_up("unknown option '" + std::string(argument) + "'; bench/run --help lists those of the whole", 2);
        }
    }
    if (settings.dir.empty()) give_up("--dir is needed", 2);
}

}  // namespace

int main(int count, char** arguments) {
    benchmark::Initialize(&count, arguments);
    parse_options(count, arguments);
    squall_bench::add_build_context();
    benchmark::AddCustomContext("dir", settings.dir);
    World world;
    add_nop(world);
    add_opening(world);
    add_names(world);
    add_reads(world);
    add_writes(world);
    add_syncs(world);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::ClearRegisteredBenchmarks();
    return 0;
}
