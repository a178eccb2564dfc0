// SPDX-License-Identifier: MIT
//
// What registered (fixed) buffers are worth: random reads with the same memory registered and not, of ordinary and of huge
// pages, at several sizes, out of the page cache or with O_DIRECT; and fixed reads whose bytes are then copied to where an
// engine that does not work in the arena wants them. One process is one round; bench/run makes the rounds, several of them in
// changing order, and report/fixed_buffers.py compares. The target is opened for reading only.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <random>
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

using squall_bench::exit_not_here;  // bench/run goes on without O_DIRECT
using squall_bench::give_up;
using squall_bench::mebibyte;
using squall_bench::warn;

struct Settings {
    std::string target;
    std::string make;  // instead of measuring: write this file
    std::uint64_t span_mib = 256;
    std::uint64_t depth = 64;
    std::uint64_t batch = 32;
    std::uint64_t round = 0;
    double seconds = 0.2;
    bool direct = false;
    bool sequential = false;  // how the page cache is filled
    std::vector<std::uint64_t> sizes{4096};
};
Settings settings;

struct Target {
    int fd = -1;
    std::uint64_t bytes = 0;  // how much of it is read: a multiple of 1 MiB
};
Target target;

// Opened by squall, as a user of it would.
void open_target() {
    auto io = squall::Io::create({.entries = 1});
    if (!io) give_up(io.error().message());
    (void)io->open(settings.target.c_str(), {.read = true, .direct = settings.direct}, 0);
    for (const squall::Completion& completion : io->park()) {
        if (completion.res == -EINVAL && settings.direct)
            give_up("the file system of " + settings.target + " has no O_DIRECT", exit_not_here);
        if (!completion.ok()) give_up("cannot open " + settings.target + ": " + completion.error().message());
        target.fd = completion.res;
    }
    const std::uint64_t largest = *std::max_element(settings.sizes.begin(), settings.sizes.end());
    target.bytes = squall_bench::usable_bytes(target.fd, settings.target, settings.span_mib * mebibyte, largest);
    if (!settings.direct) return;
    const auto alignment = squall::direct_io_alignment(target.fd);
    if (!alignment) give_up(alignment.error().message(), exit_not_here);
    for (const std::uint64_t size : settings.sizes)
        if (size % alignment->offset != 0)
            give_up("a read of " + std::to_string(size) + " bytes breaks the alignment of " +
                    std::to_string(alignment->offset) + " that O_DIRECT on " + settings.target + " asks for");
}

std::optional<squall_bench::PageCache> page_cache;  // for reads out of it
std::uint64_t cache_filled_for = 0;                 // bytes per read

// From nothing, the first time for a size.
void fill_page_cache(std::uint64_t size) {
    if (std::exchange(cache_filled_for, size) != size) {
        if (settings.sequential)
            page_cache->fill_from_end_to_end();
        else
            page_cache->fill_at_random(size, settings.round);
    }
    page_cache->top_up();
}

// --- Reading it -------------------------------------------------------------------------------------------------------

// Keeps `depth` random reads of one size in flight. A read's token is the number of its buffer, which is free again only
// once the completion with that token was handed out. Buffers are used in turn, so that all of them are.
class Reader {
public:
    Reader(squall::Io io, std::span<std::byte> memory, std::uint64_t size)
        : io_(std::move(io)),
          memory_(memory),
          size_(size),
          places_(target.bytes / size),
          offset_of_(settings.depth),
          free_(settings.depth) {
        for (std::uint32_t slot = 0; slot < settings.depth; ++slot) give_back(slot);
    }

    // Waits until a batch of buffers is free, then queues and submits as many reads. False: a read failed.
    template <class Completed>
    bool turn(Completed completed) {
        while (free_count_ < settings.batch)
            if (!reap(io_.park(), completed)) return false;
        for (std::uint64_t i = 0; i < settings.batch; ++i) {
            const std::uint32_t slot = take();
            offset_of_[slot] = squall_bench::random_place(drawn_++, places_) * size_;
            if (!io_.read(target.fd, buffer(slot), offset_of_[slot], slot)) [[unlikely]] {
                failure_ = "the ring has no room for another read";
                return false;
            }
        }
        return reap(io_.poll(), completed);
    }
    template <class Completed>
    bool drain(Completed completed) {
        while (io_.in_flight() != 0)
            if (!reap(io_.park(), completed)) return false;
        return true;
    }

    std::span<std::byte> buffer(std::uint32_t slot) const { return memory_.subspan(slot * size_, size_); }
    std::uint64_t offset_of(std::uint32_t slot) const { return offset_of_[slot]; }
    const squall::Counters& counters() const { return io_.counters(); }
    const std::string& failure() const { return failure_; }

private:
    std::uint32_t take() {
        const std::uint32_t slot = free_[first_];
        first_ = first_ + 1 == free_.size() ? 0 : first_ + 1;
        --free_count_;
        return slot;
    }
    void give_back(std::uint32_t slot) {
        const std::size_t last = first_ + free_count_++;
        free_[last < free_.size() ? last : last - free_.size()] = slot;
    }

    template <class Completed>
    bool reap(squall::Completions completions, Completed completed) {
        for (const squall::Completion& completion : completions) {
            const auto slot = static_cast<std::uint32_t>(completion.token);
            if (completion.res != static_cast<std::int32_t>(size_)) [[unlikely]]
                failure_ = squall::transfer_error(completion, target.fd, buffer(slot), offset_of_[slot]).message();
            completed(slot);
            give_back(slot);
        }
        if (const squall::Error error = completions.error()) failure_ = error.message();
        return failure_.empty();
    }

    squall::Io io_;
    std::span<std::byte> memory_;
    std::uint64_t size_;
    std::uint64_t places_;
    std::uint64_t drawn_ = settings.round << 32;  // the same offsets for all rows of a size, others in the next round
    std::vector<std::uint64_t> offset_of_;
    std::vector<std::uint32_t> free_;  // round and round: free_count_ of them from first_ on
    std::size_t first_ = 0;
    std::size_t free_count_ = 0;
    std::string failure_;
};

// A reader over an arena's memory, which is registered with its ring or not: nothing else differs.
squall::Result<Reader> make_reader(squall::BufferArena& arena, bool fixed, std::uint64_t size) {
    auto io =
        squall::Io::create({.entries = static_cast<std::uint32_t>(settings.depth), .arena = fixed ? &arena : nullptr});
    if (!io) return io.error();
    return Reader(*std::move(io), arena.memory(), size);
}

// Reads through the very path that is about to be measured and compares with what pread(2) says; the buffer is
// overwritten in between, so that the last read's bytes cannot pass for this one's. Empty when all is right.
std::string verify(Reader& reader, std::uint64_t size) {
    const std::unique_ptr<std::byte, decltype(&std::free)> expected(
        static_cast<std::byte*>(std::aligned_alloc(mebibyte, (size + mebibyte - 1) / mebibyte * mebibyte)), &std::free);
    std::string wrong;
    const auto compare = [&](std::uint32_t slot) {
        const std::span<std::byte> found = reader.buffer(slot);
        const std::uint64_t offset = reader.offset_of(slot);
        const ssize_t got = ::pread(target.fd, expected.get(), size, static_cast<off_t>(offset));
        if (got != static_cast<ssize_t>(size) || std::memcmp(found.data(), expected.get(), size) != 0)
            wrong = "a read of " + std::to_string(size) + " bytes at " + std::to_string(offset) +
                    " did not give the file's bytes";
        std::memset(found.data(), 0x5c, size);
    };
    for (std::uint32_t slot = 0; slot < settings.depth; ++slot) std::memset(reader.buffer(slot).data(), 0x5c, size);
    for (std::uint64_t reads = 0; reads < 2 * settings.batch; reads += settings.batch)
        if (!reader.turn(compare)) return reader.failure();
    return reader.drain(compare) ? wrong : reader.failure();
}

// --- What is measured -------------------------------------------------------------------------------------------------

enum class Buffers { unregistered, fixed, copied };  // copied: fixed, and then a memcpy
constexpr std::array<const char*, 3> buffers_names = {"unregistered", "fixed", "copied"};

struct Configuration {
    std::uint64_t size;
    squall::BufferArena* arena;
    Buffers buffers;
    std::span<std::byte> copies;  // where those go: as much memory as the arena has, and not in it
    bool verified = false;
};

double cpu_seconds(clockid_t clock) {
    struct timespec now = {};
    ::clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

unsigned io_workers() {
    unsigned found = 0;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream file(thread.path() / "comm");
        std::string name;
        std::getline(file, name);
        found += name.starts_with("iou-wrk") ? 1U : 0U;
    }
    return found;
}

void measure(benchmark::State& state, Configuration& configuration) {
    auto made = make_reader(*configuration.arena, configuration.buffers != Buffers::unregistered, configuration.size);
    if (!made) return state.SkipWithError(made.error().message().c_str());
    Reader& reader = *made;
    const bool copies = configuration.buffers == Buffers::copied;
    const auto completed = [&reader, &configuration, copies](std::uint32_t slot) {
        if (!copies) return;
        const std::span<std::byte> from = reader.buffer(slot);
        std::memcpy(&configuration.copies[slot * from.size()], from.data(), from.size());
    };
    if (!configuration.verified) {
        if (const std::string wrong = verify(reader, configuration.size); !wrong.empty())
            return state.SkipWithError(wrong.c_str());
        configuration.verified = true;
    }
    if (page_cache) fill_page_cache(configuration.size);
    bool well = true;
    for (std::uint64_t queued = 0; queued + settings.batch <= settings.depth; queued += settings.batch)
        well = well && reader.turn(completed);

    const squall::Counters before = reader.counters();
    const double process_before = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    const double thread_before = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    while (well && state.KeepRunningBatch(static_cast<benchmark::IterationCount>(settings.batch)))
        well = reader.turn(completed);
    const double thread = cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - thread_before;
    const double process = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - process_before;
    const squall::Counters& after = reader.counters();

    if (!well || !reader.drain(completed)) return state.SkipWithError(reader.failure().c_str());
    const auto reads = static_cast<double>(after.submitted - before.submitted);
    state.counters["enters_per_op"] = static_cast<double>(after.enters - before.enters) / reads;
    state.counters["fixed_share"] = static_cast<double>(after.fixed - before.fixed) / reads;
    state.counters["resident_share"] = page_cache ? page_cache->resident_share() : 0;
    state.counters["io_workers"] = io_workers();
    state.counters["io_worker_share"] = process > 0 ? (process - thread) / process : 0;
}

// What a mapping of `count` buffers of `size` bytes is backed by, best first.
std::optional<squall::BufferArena> make_huge_arena(std::size_t size) {
    for (const squall::Pages pages : {squall::Pages::hugetlb, squall::Pages::transparent}) {
        auto arena = squall::BufferArena::create({.buffer_size = size, .count = settings.depth, .pages = pages});
        if (arena) return *std::move(arena);
        if (pages == squall::Pages::transparent)
            warn("no huge pages, so their rows are missing: " + arena.error().message());
    }
    return std::nullopt;
}

void measure_all() {
    open_target();
    // O_DIRECT looks into the page cache first, and would then measure that too.
    if (settings.direct)
        ::posix_fadvise(target.fd, 0, 0, POSIX_FADV_DONTNEED);
    else
        page_cache.emplace(target.fd, settings.target, target.bytes);

    const std::uint64_t largest = *std::max_element(settings.sizes.begin(), settings.sizes.end());
    auto base =
        squall::BufferArena::create({.buffer_size = largest, .count = settings.depth, .pages = squall::Pages::base});
    if (!base) give_up(base.error().message());
    auto engine =
        squall::BufferArena::create({.buffer_size = largest, .count = settings.depth, .pages = squall::Pages::base});
    if (!engine) give_up(engine.error().message());
    std::optional<squall::BufferArena> huge = make_huge_arena(largest);
    const char* const huge_kind = !huge ? "none" : huge->pages() == squall::Pages::hugetlb ? "hugetlb" : "transparent";
    benchmark::AddCustomContext("huge_pages", huge_kind);
    std::string sizes;
    for (const std::uint64_t size : settings.sizes) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    benchmark::AddCustomContext("sizes", sizes);
    benchmark::AddCustomContext("depth", std::to_string(settings.depth));
    benchmark::AddCustomContext("batch", std::to_string(settings.batch));
    benchmark::AddCustomContext("span_mib", std::to_string(target.bytes / mebibyte));
    benchmark::AddCustomContext("page_cache_filled", settings.sequential ? "from end to end" : "by such reads");

    // Another order in every round, since a configuration finds what the one before left in caches and in the device. Sizes
    // stay together, for the page cache's sake, and those that are compared are neighbours: the less time between them, the
    // less the machine changes meanwhile.
    std::mt19937_64 order(settings.round);
    const auto coin = [&order] { return (order() & 1) != 0; };
    std::shuffle(settings.sizes.begin(), settings.sizes.end(), order);
    std::vector<Configuration> configurations;
    for (const std::uint64_t size : settings.sizes) {
        std::array<squall::BufferArena*, 2> arenas = {&*base, huge ? &*huge : nullptr};
        if (coin()) std::swap(arenas[0], arenas[1]);
        for (squall::BufferArena* const arena : arenas) {
            if (!arena) continue;
            std::vector<Buffers> ways = {Buffers::unregistered, Buffers::fixed};
            if (coin()) std::swap(ways[0], ways[1]);
            if (arena == &*base) ways.insert(coin() ? ways.begin() : ways.end(), Buffers::copied);
            for (const Buffers buffers : ways) configurations.push_back({size, arena, buffers, engine->memory()});
        }
    }
    for (Configuration& configuration : configurations) {
        const std::string name = std::string(settings.direct ? "direct/" : "page_cache/") +
                                 std::to_string(configuration.size) +
                                 (configuration.arena == &*base ? "/base/" : "/huge/") +
                                 buffers_names[static_cast<std::size_t>(configuration.buffers)];
        benchmark::RegisterBenchmark(name.c_str(),
                                     [&configuration](benchmark::State& state) { measure(state, configuration); })
            // User and system time of all threads, the kernel's own workers for this process among them.
            ->MeasureProcessCPUTime()
            ->UseRealTime()
            ->MinTime(settings.seconds);
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::ClearRegisteredBenchmarks();
}

template <class Number>
void parse(std::string_view text, Number& number, const char* option) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code != std::errc() || end != text.data() + text.size() || number <= 0)
        give_up(std::string(option) + " is '" + std::string(text) + "': it must be a number above 0", 2);
}

void parse_sizes(std::string_view text) {
    settings.sizes.clear();
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        parse(text.substr(at, comma - at), settings.sizes.emplace_back(), "--sizes");
        at = comma + 1;
    }
}

void parse_options(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        const std::string_view argument(arguments[i]);
        const std::size_t equals = std::min(argument.find('='), argument.size());
        const std::string_view name = argument.substr(0, equals);
        const std::string_view value = argument.substr(std::min(equals + 1, argument.size()));
        if (name == "--target")
            settings.target = value;
        else if (name == "--make")
            settings.make = value;
        else if (name == "--span-mib")
            parse(value, settings.span_mib, "--span-mib");
        else if (name == "--depth")
            parse(value, settings.depth, "--depth");
        else if (name == "--batch")
            parse(value, settings.batch, "--batch");
        else if (name == "--round")
            parse(value, settings.round, "--round");
        else if (name == "--seconds")
            parse(value, settings.seconds, "--seconds");
        else if (name == "--sizes")
            parse_sizes(value);
        else if (argument == "--direct")
            settings.direct = true;
        else if (argument == "--sequential")
            settings.sequential = true;
        else
            give_up("unknown option '" + std::string(argument) + "'; bench/run --help lists those of the whole", 2);
    }
    if (settings.batch > settings.depth)
        give_up("--batch is " + std::to_string(settings.batch) + ": it must not exceed --depth, which is " +
                    std::to_string(settings.depth),
                2);
    if (settings.target.empty() == settings.make.empty()) give_up("one of --target and --make is needed", 2);
}

}  // namespace

int main(int count, char** arguments) {
    benchmark::Initialize(&count, arguments);
    parse_options(count, arguments);
    if (!settings.make.empty()) {
        squall_bench::make_file(settings.make, settings.span_mib * mebibyte);
        return 0;
    }
    squall_bench::add_build_context();
    measure_all();
    return 0;
}
