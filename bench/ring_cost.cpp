// SPDX-License-Identifier: MIT
//
// What a ring costs around its operations: an idle poll(), how soon park() returns once a completion is there, making and
// destroying an Io with and without an arena, leasing buffers. liburing, where it is to be had, does the same where it has
// the like. What an operation costs is own_cost.cpp's and nop_cost.cpp's question.
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "build_context.hpp"
#include "squall/squall.hpp"
#include "sys.hpp"

#ifdef SQUALL_BENCH_LIBURING
#include <liburing.h>
#endif

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

void fail(benchmark::State& state, const squall::Error& error) { state.SkipWithError(error.message().c_str()); }

#ifdef SQUALL_BENCH_LIBURING
// As squall's default ring: what liburing's authors recommend for one thread, without NO_SQARRAY, which is no difference
// here.
int make_peer(struct io_uring& ring, unsigned entries) {
    int status = io_uring_queue_init(entries, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (status == -EINVAL) status = io_uring_queue_init(entries, &ring, 0);
    if (status == 0) io_uring_register_ring_fd(&ring);
    return status;
}
void fail(benchmark::State& state, int status) {
    state.SkipWithError((std::string("liburing: ") + std::strerror(-status)).c_str());
}
#endif

// --- Nothing to do ----------------------------------------------------------------------------------------------------

constexpr int polls = 64;  // in a row, so that the loop around them weighs nothing

// With a read in flight that never completes, as an event loop finds its ring most of the time.
void idle_poll(benchmark::State& state) {
    auto made = squall::Io::create();
    if (!made) return fail(state, made.error());
    squall::Io io = *std::move(made);
    const int never = ::eventfd(0, EFD_CLOEXEC);
    std::uint64_t count = 0;
    (void)io.read(never, std::as_writable_bytes(std::span(&count, 1)), 0, 1);
    std::size_t found = io.poll().size();
    for (auto _ : state) {
        for (int i = 0; i < polls; ++i)
            for (const squall::Completion& completion : io.poll()) found += completion.token;
        benchmark::ClobberMemory();
    }
    if (found != 0 || io.counters().enters != 1) state.SkipWithError("a poll that should be idle was not");
    state.counters["ops"] = polls;
    ::close(never);
}
BENCHMARK(idle_poll)->MinTime(0.02)->Repetitions(9);

#ifdef SQUALL_BENCH_LIBURING
void liburing_idle_peek(benchmark::State& state) {
    struct io_uring ring;
    if (const int status = make_peer(ring, 256); status < 0) return fail(state, status);
    std::uint64_t found = 0;
    for (auto _ : state) {
        for (int i = 0; i < polls; ++i) {
            struct io_uring_cqe* cqe = nullptr;
            if (io_uring_peek_cqe(&ring, &cqe) == 0) found += cqe->user_data;
        }
        benchmark::ClobberMemory();
    }
    if (found != 0) state.SkipWithError("a peek that should find nothing found something");
    state.counters["ops"] = polls;
    io_uring_queue_exit(&ring);
}
BENCHMARK(liburing_idle_peek)->MinTime(0.02)->Repetitions(9);
#endif

// --- Being woken ------------------------------------------------------------------------------------------------------

// A thread that, each time it is armed, waits until the one that made it sleeps, notes the time, and writes to an eventfd
// which the other one waits to be able to read. Each has a CPU of its own where there are two: a wake-up on the waker's own
// CPU is much quicker, and which of the two it is would be the scheduler's mood.
class Waker {
public:
    Waker() {
        ::sched_getaffinity(0, sizeof(allowed_), &allowed_);
        std::size_t last = CPU_SETSIZE - 1;
        while (!CPU_ISSET(last, &allowed_)) --last;
        thread_ = std::thread([this, last] {
            pin(last);
            run();
        });
        std::size_t first = 0;
        while (!CPU_ISSET(first, &allowed_)) ++first;
        pin(first);
    }
    Waker(const Waker&) = delete;
    Waker& operator=(const Waker&) = delete;
    ~Waker() {
        armed_.store(stop, std::memory_order_release);
        thread_.join();
        ::sched_setaffinity(0, sizeof(allowed_), &allowed_);
        ::close(fd_);
        ::close(sleeper_);
    }
    [[nodiscard]] int fd() const { return fd_; }
    void arm() { armed_.store(++rounds_, std::memory_order_release); }
    // From the moment before the write to now. Once per arm().
    [[nodiscard]] Clock::duration since_write() const {
        const Clock::time_point now = Clock::now();
        return now - Clock::time_point(Clock::duration(wrote_at_.load(std::memory_order_acquire)));
    }

private:
    static constexpr std::uint64_t stop = UINT64_MAX;
    static void pin(std::size_t cpu) {
        cpu_set_t only;
        CPU_ZERO(&only);
        CPU_SET(cpu, &only);
        ::sched_setaffinity(0, sizeof(only), &only);
    }
    void run() {
        for (std::uint64_t seen = 0, armed = 0;; seen = armed) {
            while ((armed = armed_.load(std::memory_order_acquire)) == seen) std::this_thread::yield();
            if (armed == stop) return;
            while (!sleeps()) std::this_thread::yield();
            // Its CPU goes idle too, for not always the same time.
            const Clock::time_point until = Clock::now() + std::chrono::microseconds(20 + armed * 37 % 60);
            while (Clock::now() < until) std::this_thread::yield();
            const std::uint64_t one = 1;
            wrote_at_.store(Clock::now().time_since_epoch().count(), std::memory_order_release);
            if (::write(fd_, &one, sizeof(one)) != sizeof(one)) std::perror("eventfd");
        }
    }
    // "PID (NAME) STATE ...", and the name is this program's.
    [[nodiscard]] bool sleeps() const {
        char text[64] = {};
        if (::pread(sleeper_, text, sizeof(text) - 1, 0) <= 0) return true;
        const char* const name_end = std::strrchr(text, ')');
        return name_end && name_end[2] == 'S';
    }

    cpu_set_t allowed_;
    int fd_ = ::eventfd(0, EFD_CLOEXEC);
    int sleeper_ = ::open(("/proc/self/task/" + std::to_string(::gettid()) + "/stat").c_str(), O_RDONLY | O_CLOEXEC);
    std::uint64_t rounds_ = 0;
    std::atomic<std::uint64_t> armed_{0};
    std::atomic<Clock::rep> wrote_at_{0};
    std::thread thread_;
};

// Each iteration is one wake-up. `sleep` returns false when it failed.
template <class Sleep>
void measure_wake_ups(benchmark::State& state, Waker& waker, Sleep sleep) {
    std::vector<double> latencies;
    for (auto _ : state) {
        waker.arm();
        if (!sleep()) return state.SkipWithError("a read of the eventfd failed");
        const double latency = seconds(waker.since_write());
        state.SetIterationTime(latency);
        latencies.push_back(latency * 1e9);
    }
    std::sort(latencies.begin(), latencies.end());
    const auto quantile = [&latencies](std::size_t percent) { return latencies[latencies.size() * percent / 100]; };
    state.counters["ops"] = 1;
    state.counters["p50"] = quantile(50);
    state.counters["p99"] = quantile(99);
}

void wake_park(benchmark::State& state) {
    auto made = squall::Io::create();
    if (!made) return fail(state, made.error());
    squall::Io io = *std::move(made);
    Waker waker;
    std::uint64_t count = 0;
    measure_wake_ups(state, waker, [&] {
        (void)io.read(waker.fd(), std::as_writable_bytes(std::span(&count, 1)), 0, 1);
        const squall::Completions done = io.park();
        return done.size() == 1 && done.begin()->res == sizeof(count);
    });
}
// What the machine takes to wake a thread, without any ring.
void wake_read(benchmark::State& state) {
    Waker waker;
    std::uint64_t count = 0;
    measure_wake_ups(state, waker, [&] { return ::read(waker.fd(), &count, sizeof(count)) == sizeof(count); });
}
BENCHMARK(wake_park)->UseManualTime()->Iterations(500)->Repetitions(5);
BENCHMARK(wake_read)->UseManualTime()->Iterations(500)->Repetitions(5);

#ifdef SQUALL_BENCH_LIBURING
void wake_liburing(benchmark::State& state) {
    struct io_uring ring;
    if (const int status = make_peer(ring, 256); status < 0) return fail(state, status);
    {
        Waker waker;
        std::uint64_t count = 0;
        measure_wake_ups(state, waker, [&] {
            io_uring_prep_read(io_uring_get_sqe(&ring), waker.fd(), &count, sizeof(count), 0);
            struct io_uring_cqe* cqe = nullptr;
            if (io_uring_submit_and_wait(&ring, 1) != 1 || io_uring_peek_cqe(&ring, &cqe) != 0) return false;
            const bool whole = cqe->res == sizeof(count);
            io_uring_cqe_seen(&ring, cqe);
            return whole;
        });
    }
    io_uring_queue_exit(&ring);
}
BENCHMARK(wake_liburing)->UseManualTime()->Iterations(500)->Repetitions(5);
#endif

// --- Making and destroying --------------------------------------------------------------------------------------------

// The time is Io::create's alone; that of the first submission, which binds the ring to its thread, and of ~Io are counters.
void create(benchmark::State& state, squall::BufferArena* arena) {
    Clock::duration first{0};
    Clock::duration destroy{0};
    for (auto _ : state) {
        const Clock::time_point started = Clock::now();
        auto made = squall::Io::create({.arena = arena});
        const Clock::time_point created = Clock::now();
        if (!made) {
            const char* const what = made.error().code() == ENOMEM ? "skipped: " : "";
            return state.SkipWithError((what + made.error().message()).c_str());
        }
        auto io = std::make_optional(*std::move(made));
        const Clock::time_point submitting = Clock::now();
        (void)io->nop(0);
        if (io->park().size() != 1) return state.SkipWithError("a NOP did not complete");
        const Clock::time_point destroying = Clock::now();
        io.reset();
        state.SetIterationTime(seconds(created - started));
        first += destroying - submitting;
        destroy += Clock::now() - destroying;
    }
    state.counters["ops"] = 1;
    state.counters["first"] = benchmark::Counter(seconds(first) * 1e9, benchmark::Counter::kAvgIterations);
    state.counters["destroy"] = benchmark::Counter(seconds(destroy) * 1e9, benchmark::Counter::kAvgIterations);
}

void create_bare(benchmark::State& state) { create(state, nullptr); }

void create_small_arena(benchmark::State& state) {
    auto arena = squall::BufferArena::create({.buffer_size = 4096, .count = 256, .pages = squall::Pages::base});
    if (!arena) return fail(state, arena.error());
    create(state, &*arena);
}

// 1 GiB, the largest that the kernel takes as one buffer.
void create_large_arena(benchmark::State& state, squall::Pages pages) {
    const Clock::time_point started = Clock::now();
    auto arena = squall::BufferArena::create({.buffer_size = 1 << 20, .count = 1024, .pages = pages});
    const Clock::time_point made = Clock::now();
    if (!arena) return state.SkipWithError(("skipped: " + arena.error().message()).c_str());
    create(state, &*arena);
    state.counters["arena"] = seconds(made - started) * 1e9;
}

BENCHMARK(create_bare)->UseManualTime()->Iterations(200)->Repetitions(5);
BENCHMARK(create_small_arena)->UseManualTime()->Iterations(200)->Repetitions(5);
BENCHMARK_CAPTURE(create_large_arena, base, squall::Pages::base)->UseManualTime()->Iterations(2)->Repetitions(3);
BENCHMARK_CAPTURE(create_large_arena, transparent, squall::Pages::transparent)
    ->UseManualTime()
    ->Iterations(2)
    ->Repetitions(3);
BENCHMARK_CAPTURE(create_large_arena, hugetlb, squall::Pages::hugetlb)->UseManualTime()->Iterations(2)->Repetitions(3);

// The system calls that Io::create consists of, with the time that each kind takes.
constexpr struct {
    long number;
    const char* name;
} step_of[] = {
    {squall::sys::nr_io_uring_setup, "io_uring_setup"},
    {squall::sys::nr_io_uring_register, "io_uring_register"},
    {SYS_mmap, "mmap"},
    {SYS_madvise, "madvise"},
    {SYS_pipe2, "pipe2"},
    {-1, "others"},
};
Clock::duration time_of_step[std::size(step_of)];

bool is_timing = false;  // not what letting go of the ring takes, which asks the same kernel

long timed_call(squall::sys::Kernel&, long number, std::uintptr_t a, std::uintptr_t b, std::uintptr_t c,
                std::uintptr_t d, std::uintptr_t e, std::uintptr_t f) noexcept {
    std::size_t step = 0;
    while (step_of[step].number != number && step_of[step].number != -1) ++step;
    const Clock::time_point started = Clock::now();
    const long result = ::syscall(number, a, b, c, d, e, f);
    const long answer = result == -1 ? -errno : result;
    if (is_timing) time_of_step[step] += Clock::now() - started;
    return answer;
}

void create_by_step(benchmark::State& state) {
    std::fill(std::begin(time_of_step), std::end(time_of_step), Clock::duration(0));
    static constinit squall::sys::Kernel timed(&timed_call);
    for (auto _ : state) {
        const Clock::time_point started = Clock::now();
        squall::sys::host = &timed;
        is_timing = true;
        auto io = squall::Io::create();
        is_timing = false;
        squall::sys::host = nullptr;
        state.SetIterationTime(seconds(Clock::now() - started));
        if (!io) return fail(state, io.error());
    }
    state.counters["ops"] = 1;
    for (std::size_t step = 0; step < std::size(step_of); ++step)
        state.counters[std::string("step_") + step_of[step].name] =
            benchmark::Counter(seconds(time_of_step[step]) * 1e9, benchmark::Counter::kAvgIterations);
}
BENCHMARK(create_by_step)->UseManualTime()->Iterations(200)->Repetitions(5);

#ifdef SQUALL_BENCH_LIBURING
void create_liburing(benchmark::State& state) {
    Clock::duration destroy{0};
    for (auto _ : state) {
        struct io_uring ring;
        const Clock::time_point started = Clock::now();
        if (const int status = make_peer(ring, 256); status < 0) return fail(state, status);
        const Clock::time_point destroying = Clock::now();
        io_uring_queue_exit(&ring);
        state.SetIterationTime(seconds(destroying - started));
        destroy += Clock::now() - destroying;
    }
    state.counters["ops"] = 1;
    state.counters["destroy"] = benchmark::Counter(seconds(destroy) * 1e9, benchmark::Counter::kAvgIterations);
}
BENCHMARK(create_liburing)->UseManualTime()->Iterations(200)->Repetitions(5);
#endif

// --- Leasing buffers --------------------------------------------------------------------------------------------------

constexpr int leases = 64;

void acquire_release(benchmark::State& state) {
    static std::optional<squall::BufferArena> arena;  // of all threads; they begin and end the loop together
    if (state.thread_index() == 0) {
        auto made = squall::BufferArena::create();
        if (!made) return fail(state, made.error());
        arena.emplace(*std::move(made));
    }
    std::uint64_t missed = 0;
    for (auto _ : state)
        for (int i = 0; i < leases; ++i) {
            const std::optional<squall::FixedBuffer> buffer = arena->acquire();
            missed += buffer ? 0U : 1U;
            benchmark::ClobberMemory();
        }
    if (missed != 0) state.SkipWithError("an arena with free buffers gave none");
    state.counters["ops"] = benchmark::Counter(leases, benchmark::Counter::kAvgThreads);
    if (state.thread_index() == 0) arena.reset();
}
BENCHMARK(acquire_release)->Name("acquire_release/1")->Threads(1)->MinTime(0.02)->Repetitions(9);
BENCHMARK(acquire_release)->Name("acquire_release/2")->Threads(2)->MinTime(0.02)->Repetitions(9);

}  // namespace

int main(int count, char** arguments) { return squall_bench::run(count, arguments); }
