// SPDX-License-Identifier: MIT
//
// Measures one peer at one cell in this process, and prints one JSON object. bench/peers/cell.py runs the processes, in
// an order that changes from round to round, and puts the objects together; report/peers.py compares. What is measured:
//   first     whether the right bytes move (probe.hpp); a peer that fails is measured no further
//   then      a warm-up, and for --seconds the throughput: iops, CPU time, context switches, and system calls as far as the
//             peer counts them itself
//   then      for --latency-seconds the latency of each transfer, as a histogram: [[ns, how many], ...]
//   at last   with --trace-calls, system calls of all threads as the kernel counts them (CallTrace)
// --target is opened for reading only, unless --op=write, whose target must be a file that bench/run has made.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "measure.hpp"
#include "peer.hpp"

namespace peers {

namespace {

using squall_bench::exit_not_here;
using squall_bench::mebibyte;

struct Settings {
    std::string peer;
    std::string target;
    std::string make;        // instead of measuring: write this file
    std::string count_into;  // instead of measuring: run a program, and write its system calls into this file
    bool list = false;       // instead of measuring: the peers
    bool prepare = false;    // instead of measuring: bring the target into the page cache, or out of it
    bool trace_calls = false;
    std::uint64_t span_mib = 256;
    std::uint64_t round = 0;
    std::uint32_t threads = 0;
    double seconds = 0.15;
    double latency_seconds = 0.1;
    Cell cell;
};

std::vector<Peer> all_peers() {
    std::vector<Peer> all = squall_peers();
    const auto add = [&all](std::vector<Peer> more) { all.insert(all.end(), more.begin(), more.end()); };
    [[maybe_unused]] const auto lacks = [&all](const char* package, std::initializer_list<const char*> names) {
        for (const char* const name : names) all.push_back({name, "not built", false, {}, package});
    };
#ifdef SQUALL_BENCH_LIBURING
    add(liburing_peers());
#else
    lacks("liburing-dev", {"liburing", "liburing_best", "liburing_sqpoll", "liburing_iopoll"});
#endif
#ifdef SQUALL_BENCH_LIBAIO
    add(libaio_peers());
#else
    lacks("libaio-dev", {"libaio"});
#endif
    add(posix_aio_peers());
    add(thread_peers());
    return all;
}

void list_peers() {
#ifdef __OPTIMIZE__
    constexpr const char* optimized = "yes";
#else
    constexpr const char* optimized = "no";
#endif
    std::printf("{\"context\": {\"squall_optimized\": \"%s\"", optimized);
#ifdef SQUALL_BENCH_LIBURING
    std::printf(", \"liburing_version\": \"%s\"", SQUALL_BENCH_LIBURING);
#endif
    std::printf("},\n \"peers\": [");
    const char* comma = "";
    for (const Peer& peer : all_peers()) {
        std::printf("%s\n  {\"name\": \"%s\", \"what\": \"%s\"}", comma, peer.name, peer.what);
        comma = ",";
    }
    std::printf("]}\n");
}

int open_target(const Settings& settings) {
    const int flags = (settings.cell.write ? O_RDWR : O_RDONLY) | (settings.cell.direct ? O_DIRECT : 0) | O_CLOEXEC;
    const int fd = ::open(settings.target.c_str(), flags);
    if (fd < 0 && errno == EINVAL && settings.cell.direct)
        give_up("the file system of " + settings.target + " has no O_DIRECT", exit_not_here);
    if (fd < 0) give_up("cannot open " + settings.target + ": " + std::strerror(errno));
    if (settings.cell.direct) {
        const auto alignment = squall::direct_io_alignment(fd);
        if (!alignment) give_up(alignment.error().message(), exit_not_here);
        if (settings.cell.size % alignment->offset != 0)
            give_up("O_DIRECT here asks for multiples of " + std::to_string(alignment->offset) + " bytes",
                    exit_not_here);
    }
    return fd;
}

// The state in which every peer of a cell finds the file. What is about to be overwritten in the page cache is made dirty
// before, or the first to come would pay for that.
void prepare(const Settings& settings) {
    const int fd = open_target(settings);
    const std::uint64_t bytes =
        squall_bench::usable_bytes(fd, settings.target, settings.span_mib * mebibyte, settings.cell.size);
    if (settings.cell.write && ::fsync(fd) != 0) give_up("fsync of " + settings.target + ": " + std::strerror(errno));
    if (settings.cell.direct) {
        // O_DIRECT looks into the page cache first, and would then measure that too.
        ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        return;
    }
    squall_bench::PageCache cache(fd, settings.target, bytes);
    cache.fill_at_random(settings.cell.size, settings.round);
    if (!settings.cell.write) return;
    std::vector<char> piece(4096);
    for (std::uint64_t at = 0; at < bytes; at += piece.size())
        if (::pread(fd, piece.data(), piece.size(), static_cast<off_t>(at)) < 0 ||
            ::pwrite(fd, piece.data(), piece.size(), static_cast<off_t>(at)) < 0)
            give_up("cannot rewrite " + settings.target + ": " + std::strerror(errno));
}

squall::BufferArena make_arena(const Cell& cell, bool huge_pages) {
    squall::ArenaOptions options = {.buffer_size = cell.size, .count = cell.depth, .pages = squall::Pages::base};
    if (huge_pages)
        for (const squall::Pages pages : {squall::Pages::transparent, squall::Pages::hugetlb}) {
            options.pages = pages;
            if (auto arena = squall::BufferArena::create(options)) return *std::move(arena);
        }
    options.pages = squall::Pages::base;
    auto arena = squall::BufferArena::create(options);
    if (!arena) give_up(arena.error().message());
    return *std::move(arena);
}

const char* page_name(squall::Pages pages) {
    return pages == squall::Pages::hugetlb ? "hugetlb" : pages == squall::Pages::transparent ? "huge" : "base";
}

void check(const Bench& bench, Engine& engine) {
    Checked probe(bench, std::max(2 * bench.cell.batch, bench.cell.depth + bench.cell.batch));
    engine.run(probe);
    engine.drain(probe);
    if (const std::string wrong = probe.verdict(); !wrong.empty()) give_up(wrong);
}

void print_throughput(Engine& engine, double seconds) {
    Quiet warm_up(seconds / 5);
    engine.run(warm_up);
    const std::uint64_t finished = engine.finished();
    const std::optional<std::uint64_t> calls = engine.calls();
    Quiet probe(seconds);
    const Usage before = Usage::before();
    engine.run(probe);
    const Usage used = Usage::after().since(before);
    const auto transfers = static_cast<double>(engine.finished() - finished);
    const std::optional<std::uint64_t> calls_after = engine.calls();
    engine.drain(probe);
    if (transfers == 0) give_up("no transfer was finished in " + std::to_string(seconds) + " s");

    std::printf(", \"iops\": %.6g, \"cpu_ns\": %.6g, \"submitter_ns\": %.6g, \"io_wq_ns\": %.6g, \"sqpoll_ns\": %.6g",
                transfers / used.wall_ns * 1e9, used.cpu_ns / transfers, used.submitter_ns / transfers,
                used.io_wq_ns / transfers, used.sqpoll_ns / transfers);
    std::printf(", \"switches\": %.6g, \"transfers\": %.0f", used.switches / transfers, transfers);
    if (calls) std::printf(", \"calls\": %.6g", static_cast<double>(*calls_after - *calls) / transfers);
}

void print_latency(Engine& engine, const Settings& settings) {
    Timed probe(settings.latency_seconds, settings.cell.depth);
    engine.run(probe);
    engine.drain(probe);
    std::printf(", \"latency\": [");
    const char* comma = "";
    probe.latencies().each([&comma](std::uint64_t nanoseconds, std::uint64_t count) {
        std::printf("%s[%llu, %llu]", comma, static_cast<unsigned long long>(nanoseconds),
                    static_cast<unsigned long long>(count));
        comma = ", ";
    });
    std::printf("]");
}

void print_traced_calls(Engine& engine, double seconds) {
    CallTrace trace;
    if (!trace.start()) return;
    const std::uint64_t finished = engine.finished();
    const std::optional<std::uint64_t> calls = engine.calls();
    const std::uint64_t counted = trace.count();
    Quiet probe(seconds);
    engine.run(probe);
    engine.drain(probe);
    const auto traced = static_cast<double>(trace.count() - counted);
    const auto transfers = static_cast<double>(engine.finished() - finished);
    if (transfers == 0) return;
    std::printf(", \"traced_calls\": %.6g, \"traced_transfers\": %.0f", traced / transfers, transfers);
    if (calls) std::printf(", \"calls_while_traced\": %.6g", static_cast<double>(*engine.calls() - *calls) / transfers);
}

void measure(const Settings& settings) {
    const Peer* found = nullptr;
    const std::vector<Peer> all = all_peers();
    for (const Peer& peer : all)
        if (settings.peer == peer.name) found = &peer;
    if (!found) give_up("there is no peer '" + settings.peer + "'; --list shows them", 2);
    if (!found->make) give_up(settings.peer + " was not built: it needs " + found->package, exit_not_here);

    const Cell& cell = settings.cell;
    squall::BufferArena arena = make_arena(cell, found->huge_pages);
    const int fd = open_target(settings);
    const std::uint64_t bytes =
        squall_bench::usable_bytes(fd, settings.target, settings.span_mib * mebibyte, cell.size);
    const Bench bench = {cell, settings.target, fd, bytes / cell.size, settings.round, settings.threads, arena};
    const std::unique_ptr<Engine> engine = found->make(bench);
    std::optional<squall_bench::PageCache> cache;
    if (!cell.direct) cache.emplace(fd, settings.target, bytes).top_up();

    check(bench, *engine);
    std::printf(
        "{\"peer\": \"%s\", \"what\": \"%s\", \"op\": \"%s\", \"kind\": \"%s\", \"size\": %llu, \"depth\": %u, "
        "\"batch\": %u",
        found->name, found->what, cell.write ? "write" : "read", cell.direct ? "direct" : "page_cache",
        static_cast<unsigned long long>(cell.size), cell.depth, cell.batch);
    std::printf(", \"round\": %llu, \"pages\": \"%s\"", static_cast<unsigned long long>(settings.round),
                page_name(arena.pages()));
    print_throughput(*engine, settings.seconds);
    if (settings.latency_seconds > 0) print_latency(*engine, settings);
    if (settings.trace_calls) print_traced_calls(*engine, settings.seconds / 3);
    if (cache) std::printf(", \"resident\": %.6g", cache->resident_share());
    std::printf(", \"note\": \"%s\"}\n", engine->note().c_str());
}

// Runs a program, and counts the system calls of all that it becomes.
int count_calls_of(char** command, const std::string& into) {
    int gate[2];
    if (::pipe2(gate, O_CLOEXEC) != 0) give_up(std::string("pipe: ") + std::strerror(errno));
    const pid_t child = ::fork();
    if (child < 0) give_up(std::string("fork: ") + std::strerror(errno));
    if (child == 0) {
        char go = 0;
        ::close(gate[1]);
        if (::read(gate[0], &go, 1) == 1) ::execvp(command[0], command);
        ::_exit(127);
    }
    CallTrace trace;
    const bool counts = trace.start_at_exec(child);
    if (::write(gate[1], "g", 1) != 1) give_up("the child went away");
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const std::unique_ptr<std::FILE, decltype(&std::fclose)> file(std::fopen(into.c_str(), "w"), &std::fclose);
    if (!file) give_up("cannot write " + into + ": " + std::strerror(errno));
    if (counts) std::fprintf(file.get(), "%llu\n", static_cast<unsigned long long>(trace.count()));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

template <class Number>
void parse(std::string_view text, Number& number, std::string_view option) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code != std::errc() || end != text.data() + text.size() || number < 0)
        give_up(std::string(option) + " is '" + std::string(text) + "': it must be a number from 0 on", 2);
}

bool parse_choice(std::string_view text, std::string_view no, std::string_view yes, std::string_view option) {
    if (text != no && text != yes)
        give_up(std::string(option) + " is '" + std::string(text) + "': it must be " + std::string(no) + " or " +
                    std::string(yes),
                2);
    return text == yes;
}

// Returns where the options end: after "--" there may be a command.
int parse_options(int count, char** arguments, Settings& settings) {
    Cell& cell = settings.cell;
    for (int i = 1; i < count; ++i) {
        const std::string_view argument(arguments[i]);
        const std::size_t equals = std::min(argument.find('='), argument.size());
        const std::string_view name = argument.substr(0, equals);
        const std::string_view value = argument.substr(std::min(equals + 1, argument.size()));
        if (argument == "--") return i + 1;
        if (name == "--peer")
            settings.peer = value;
        else if (name == "--target")
            settings.target = value;
        else if (name == "--make")
            settings.make = value;
        else if (name == "--count-into")
            settings.count_into = value;
        else if (name == "--op")
            cell.write = parse_choice(value, "read", "write", name);
        else if (name == "--kind")
            cell.direct = parse_choice(value, "page_cache", "direct", name);
        else if (name == "--size")
            parse(value, cell.size, name);
        else if (name == "--depth")
            parse(value, cell.depth, name);
        else if (name == "--batch")
            parse(value, cell.batch, name);
        else if (name == "--span-mib")
            parse(value, settings.span_mib, name);
        else if (name == "--round")
            parse(value, settings.round, name);
        else if (name == "--threads")
            parse(value, settings.threads, name);
        else if (name == "--seconds")
            parse(value, settings.seconds, name);
        else if (name == "--latency-seconds")
            parse(value, settings.latency_seconds, name);
        else if (argument == "--list")
            settings.list = true;
        else if (argument == "--prepare")
            settings.prepare = true;
        else if (argument == "--trace-calls")
            settings.trace_calls = true;
        else
            give_up("unknown option '" + std::string(argument) + "'", 2);
    }
    if (cell.size == 0 || cell.size % 512 != 0) give_up("--size must be a multiple of 512", 2);
    if (cell.depth == 0 || cell.batch == 0 || cell.batch > cell.depth)
        give_up("--depth and --batch must be above 0, and --batch at most --depth", 2);
    return count;
}

}  // namespace

}  // namespace peers

int main(int count, char** arguments) {
    peers::Settings settings;
    const int end = peers::parse_options(count, arguments, settings);
    if (settings.list)
        peers::list_peers();
    else if (!settings.make.empty())
        squall_bench::make_file(settings.make, settings.span_mib * squall_bench::mebibyte);
    else if (!settings.count_into.empty() && end < count)
        return peers::count_calls_of(arguments + end, settings.count_into);
    else if (settings.target.empty())
        peers::give_up("--target is needed", 2);
    else if (settings.prepare)
        peers::prepare(settings);
    else
        peers::measure(settings);
    return 0;
}
