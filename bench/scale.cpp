// SPDX-License-Identifier: MIT
//
// Whether squall's cost stays the same when there is more of everything: rings (one per CPU, sharing an arena, a file,
// both or nothing), operations in flight, arena, files. Beside two of these stands the same work by plain system calls, so
// that what the kernel or the file system does not stand is not blamed on the ring. One process measures one part;
// report/scale.py tells what grows.
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "build_context.hpp"
#include "scale.hpp"
#include "squall/squall.hpp"
#include "target.hpp"

squall_bench::Settings squall_bench::settings;

namespace {

using squall_bench::give_up;
using squall_bench::mebibyte;
using squall_bench::must;
using squall_bench::random_place;
using squall_bench::seconds_of;
using squall_bench::settings;
using squall_bench::warn;

constexpr std::uint64_t block = 4096;

// --- Reading ----------------------------------------------------------------------------------------------------------

struct File {
    int fd = -1;
    std::uint64_t bytes = 0;
};

File open_file(const std::string& path, int more_flags) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | more_flags);
    if (fd < 0) give_up("cannot open " + path + ": " + std::strerror(errno));
    return {fd, static_cast<std::uint64_t>(::lseek(fd, 0, SEEK_END))};
}

File make_file(const char* name, std::uint64_t bytes) {
    const std::string path = settings.dir + "/" + name;
    if (::access(path.c_str(), F_OK) != 0) squall_bench::make_file(path, bytes);
    return open_file(path, 0);
}

// Keeps reads of one block in flight, at random places of a file. A read's token is the number of its buffer, which is
// used again only when its completion was handed out. Buffers are used in turn, in an order that leaps about.
class Reader {
public:
    Reader(squall::Io io, const File& file, std::span<std::byte> memory, std::uint32_t depth, std::uint64_t seed)
        : io_(std::move(io)), file_(file), memory_(memory), depth_(depth), drawn_(seed << 32) {
        const auto count = static_cast<std::uint32_t>(memory.size() / block);
        free_.reserve(count);
        // Odd, so that it comes by every one of a power of two.
        for (std::uint32_t i = 0; i < count; ++i) free_.push_back(i * 0x9e3779b1U % count);
    }
    // Queues `batch` reads once that many may be in flight more, and reaps what there is.
    void turn(std::uint32_t batch) {
        while (io_.in_flight() + batch > depth_) reap(io_.park());
        for (std::uint32_t i = 0; i < batch; ++i) {
            const std::uint32_t slot = free_[next_];
            next_ = next_ + 1 == free_.size() ? 0 : next_ + 1;
            const std::uint64_t offset = random_place(drawn_++, file_.bytes / block) * block;
            if (!io_.read(file_.fd, memory_.subspan(slot * block, block), offset, slot)) give_up("a ring is full");
        }
        reap(io_.poll());
    }
    void drain() {
        while (io_.in_flight() > 0) reap(io_.park());
    }

private:
    void reap(const squall::Completions& completions) {
        if (completions.error()) give_up(completions.error().message());
        for (const squall::Completion& completion : completions) {
            if (completion.res != static_cast<std::int32_t>(block))
                give_up("a read returned " + std::to_string(completion.res));
            free_[last_] = static_cast<std::uint32_t>(completion.token);
            last_ = last_ + 1 == free_.size() ? 0 : last_ + 1;
        }
    }

    squall::Io io_;
    File file_;
    std::span<std::byte> memory_;
    std::uint32_t depth_;
    std::uint64_t drawn_;
    std::vector<std::uint32_t> free_;  // round and round: from next_ to last_ they are free
    std::size_t next_ = 0;
    std::size_t last_ = 0;
};

// Counts what the loop in between cost: CPU time of this thread, or of all with the kernel's workers.
class Costs {
public:
    explicit Costs(clockid_t clock) : clock_(clock), started_(seconds_of(clock)) {}
    void settle(benchmark::State& state, std::uint32_t batch) const {
        const double spent = seconds_of(clock_) - started_;
        state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * batch));
        state.counters["cpu"] = benchmark::Counter(spent * 1e9 / batch, benchmark::Counter::kAvgIterations);
    }

private:
    clockid_t clock_;
    double started_;
};

void read_all_the_time(benchmark::State& state, Reader& reader, std::uint32_t batch, clockid_t clock) {
    for (int i = 0; i < 8; ++i) reader.turn(batch);
    const Costs costs(clock);
    for (auto _ : state) reader.turn(batch);
    reader.drain();
    costs.settle(state, batch);
}

// --- More rings: one per thread, and a thread per CPU -------------------------------------------------------------------

constexpr std::uint32_t ring_depth = 32;
std::optional<squall::BufferArena> common_arena;

void nops_on_rings(benchmark::State& state) {
    squall::Io io = must(squall::Io::create());
    const Costs costs(CLOCK_THREAD_CPUTIME_ID);
    for (auto _ : state) {
        for (std::uint32_t i = 0; i < ring_depth; ++i) (void)io.nop(i);
        if (io.poll().size() != ring_depth) give_up("a NOP did not complete at once");
    }
    costs.settle(state, ring_depth);
}

std::string file_name(bool shared, int thread) { return "ring-" + std::to_string(shared ? 0 : thread); }

void reads_on_rings(benchmark::State& state, bool shared_arena, bool shared_file) {
    const int thread = state.thread_index();
    const File file = open_file(settings.dir + "/" + file_name(shared_file, thread), 0);
    std::optional<squall::BufferArena> own;
    if (!shared_arena) own = must(squall::BufferArena::create({.buffer_size = block, .count = ring_depth}));
    squall::BufferArena& arena = shared_arena ? *common_arena : *own;
    const std::span<std::byte> memory = arena.memory().subspan(
        shared_arena ? static_cast<std::size_t>(thread) * ring_depth * block : 0, ring_depth * block);
    {
        Reader reader(must(squall::Io::create({.arena = &arena})), file, memory, ring_depth,
                      static_cast<std::uint64_t>(thread));
        read_all_the_time(state, reader, ring_depth, CLOCK_THREAD_CPUTIME_ID);
    }
    ::close(file.fd);
}

void preads(benchmark::State& state) {
    const int thread = state.thread_index();
    const File file = open_file(settings.dir + "/" + file_name(true, thread), 0);
    std::vector<std::byte> memory(ring_depth * block);
    std::uint64_t drawn = static_cast<std::uint64_t>(thread) << 32;
    const Costs costs(CLOCK_THREAD_CPUTIME_ID);
    for (auto _ : state)
        for (std::uint32_t i = 0; i < ring_depth; ++i) {
            const auto offset = static_cast<off_t>(random_place(drawn++, file.bytes / block) * block);
            if (::pread(file.fd, memory.data() + i * block, block, offset) != static_cast<ssize_t>(block))
                give_up("a pread failed");
        }
    costs.settle(state, ring_depth);
    ::close(file.fd);
}

void register_rings() {
    cpu_set_t allowed;
    ::sched_getaffinity(0, sizeof(allowed), &allowed);
    const int cpus = CPU_COUNT(&allowed);
    for (int thread = 0; thread < cpus; ++thread)
        ::close(make_file(file_name(false, thread).c_str(), 16 * mebibyte).fd);
    common_arena =
        must(squall::BufferArena::create({.buffer_size = block, .count = ring_depth * static_cast<std::size_t>(cpus)}));

    const auto with_threads = [cpus](benchmark::internal::Benchmark* made) {
        for (int threads = 1; threads < cpus; threads *= 2) made->Threads(threads);
        made->Threads(cpus)->UseRealTime()->MinTime(settings.seconds);
    };
    with_threads(benchmark::RegisterBenchmark("rings/nop", nops_on_rings));
    for (const bool shared_arena : {false, true})
        for (const bool shared_file : {false, true}) {
            const std::string name = std::string("rings/read, ") + (shared_arena ? "one arena, " : "own arenas, ") +
                                     (shared_file ? "one file" : "own files");
            with_threads(benchmark::RegisterBenchmark(name.c_str(), reads_on_rings, shared_arena, shared_file));
        }
    with_threads(benchmark::RegisterBenchmark("rings/pread(2), one file", preads));
}

// --- More in flight -----------------------------------------------------------------------------------------------------

constexpr std::uint32_t depth_max = 4096;

// The same memory for all depths: what more memory costs is the arena's row.
void reads_in_flight(benchmark::State& state, const File& file, bool all_at_once) {
    const auto depth = static_cast<std::uint32_t>(state.range(0));
    auto arena = must(squall::BufferArena::create({.buffer_size = block, .count = depth_max}));
    Reader reader(must(squall::Io::create({.entries = depth, .arena = &arena})), file,
                  arena.memory().first(depth_max * block), depth, 0);
    read_all_the_time(state, reader, all_at_once ? depth : std::min(depth, 32U), CLOCK_PROCESS_CPUTIME_ID);
}

void register_depth() {
    static const File cached = make_file("depth", 256 * mebibyte);
    const auto with_depths = [](benchmark::internal::Benchmark* made) {
        made->RangeMultiplier(4)->Range(1, depth_max)->UseRealTime()->MinTime(settings.seconds);
    };
    with_depths(benchmark::RegisterBenchmark("depth/page cache",
                                             [](benchmark::State& state) { reads_in_flight(state, cached, true); }));
    static File direct;
    direct.fd = ::open((settings.dir + "/depth").c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (direct.fd < 0)
        return warn("no O_DIRECT here (" + std::string(std::strerror(errno)) + "), so its rows are missing");
    direct.bytes = cached.bytes;
    with_depths(benchmark::RegisterBenchmark("depth/O_DIRECT",
                                             [](benchmark::State& state) { reads_in_flight(state, direct, false); }));
}

// --- A larger arena -----------------------------------------------------------------------------------------------------

double elapsed_since(std::chrono::steady_clock::time_point started) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

// Each iteration is a batch of reads; making and registering are counters.
void reads_into_arena(benchmark::State& state, const File& file, squall::Pages pages) {
    const auto bytes = static_cast<std::uint64_t>(state.range(0)) * mebibyte;
    auto started = std::chrono::steady_clock::now();
    auto arena = squall::BufferArena::create({.buffer_size = block, .count = bytes / block, .pages = pages});
    if (!arena) return state.SkipWithError(("skipped: " + arena.error().message()).c_str());
    const double made = elapsed_since(started);
    started = std::chrono::steady_clock::now();
    auto io = squall::Io::create({.arena = &*arena});
    if (!io) return state.SkipWithError(("skipped: " + io.error().message()).c_str());
    const double created = elapsed_since(started);
    {
        Reader reader(*std::move(io), file, arena->memory().first(bytes), ring_depth, 0);
        read_all_the_time(state, reader, ring_depth, CLOCK_PROCESS_CPUTIME_ID);
        started = std::chrono::steady_clock::now();
    }
    state.counters["destroy"] = elapsed_since(started) * 1e9;
    state.counters["create"] = created * 1e9;
    state.counters["arena"] = made * 1e9;
}

std::uint64_t available_mib() {
    std::ifstream file("/proc/meminfo");
    std::string word;
    std::uint64_t kib = 0;
    while (file >> word)
        if (word == "MemAvailable:" && file >> kib) return kib / 1024;
    return 0;
}

void register_arena() {
    static const File file = make_file("depth", 256 * mebibyte);
    for (std::uint64_t mib = 1; mib <= settings.arena_mib; mib *= mib < 1024 ? 4 : 2) {
        if (const std::uint64_t room = available_mib(); room < mib + mib / 2 + 512) {
            warn("no arenas of " + std::to_string(mib) + " MiB and more: only " + std::to_string(room) +
                 " MiB of memory are available");
            break;
        }
        for (const squall::Pages pages : {squall::Pages::base, squall::Pages::transparent})
            benchmark::RegisterBenchmark(pages == squall::Pages::base ? "arena/4 KiB pages" : "arena/huge pages",
                                         [pages](benchmark::State& state) { reads_into_arena(state, file, pages); })
                ->Arg(static_cast<std::int64_t>(mib))
                ->Iterations(static_cast<benchmark::IterationCount>(settings.seconds * 40'000))
                ->UseRealTime();
    }
}

// --- Options ------------------------------------------------------------------------------------------------------------

template <class Number>
void parse(std::string_view text, Number& number, const char* option) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code != std::errc() || end != text.data() + text.size() || number <= 0)
        give_up(std::string(option) + " is '" + std::string(text) + "': it must be a number above 0", 2);
}

void parse_options(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        const std::string_view argument(arguments[i]);
        const std::size_t equals = std::min(argument.find('='), argument.size());
        const std::string_view name = argument.substr(0, equals);
        const std::string_view value = argument.substr(std::min(equals + 1, argument.size()));
        if (name == "--part")
            settings.part = value;
        else if (name == "--dir")
            settings.dir = value;
        else if (name == "--files")
            parse(value, settings.files, "--files");
        else if (name == "--arena-mib")
            parse(value, settings.arena_mib, "--arena-mib");
        else if (name == "--seconds")
            parse(value, settings.seconds, "--seconds");
        else
            give_up("unknown option '" + std::string(argument) + "'; bench/run --help lists those of the whole", 2);
    }
    if (settings.dir.empty()) give_up("--dir is needed", 2);
}

}  // namespace

int main(int count, char** arguments) {
    benchmark::Initialize(&count, arguments);
    parse_options(count, arguments);
    squall_bench::add_build_context();
    if (settings.part == "rings")
        register_rings();
    else if (settings.part == "depth")
        register_depth();
    else if (settings.part == "arena")
        register_arena();
    else if (settings.part == "files")
        squall_bench::register_files();
    else
        give_up("--part is '" + settings.part + "': it must be rings, depth, arena or files", 2);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::ClearRegisteredBenchmarks();
    return 0;
}
