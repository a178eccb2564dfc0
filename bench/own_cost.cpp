// SPDX-License-Identifier: MIT
//
// What squall itself costs per operation: filling one SQE and reaping one CQE, with the kernel's side replaced by a
// stand-in that consumes SQEs and posts CQEs in plain memory. `stand_in` measures the stand-in alone; what the others
// take above that is the library's own. liburing, where it is to be had, runs over the same memory and the same
// stand-in. What the kernel costs is nop_cost.cpp's question; subtracting and comparing is report/own_cost.py's work.
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include <benchmark/benchmark.h>

#include "build_context.hpp"
#include "squall/squall.hpp"
#include "stand_in.hpp"
#include "sys.hpp"

#ifdef SQUALL_BENCH_LIBURING
#include <liburing.h>
#endif

namespace {

namespace abi = squall::abi;
namespace sys = squall::sys;
using squall::stand_in::cq_size;
using squall::stand_in::ring_fd;
using squall::stand_in::ring_memory;
using squall::stand_in::RingMemory;
using squall::stand_in::sq_size;
using squall::stand_in::sqe_memory;

constexpr std::uint32_t batch = 32;
constexpr std::size_t block_bytes = 4096;

// Every benchmark below does the same per operation: token and offset follow from its number, and both fields
// of its completion are read. Unless the sums come out, no operation was lost or mixed up and the figure is void.
struct Sums {
    std::uint64_t tokens = 0;
    std::uint64_t results = 0;
};

void check(benchmark::State& state, const Sums& sums, std::uint32_t bytes) {
    const auto operations = static_cast<std::uint64_t>(state.iterations()) * batch;
    const std::uint64_t tokens = operations * (operations - 1) / 2;
    if (sums.tokens != tokens || sums.results != operations * bytes)
        state.SkipWithError("the completions are not those of the operations that were queued");
    state.counters["ops"] = batch;
}

std::byte buffer[block_bytes];

// A descriptor that the compiler cannot know beforehand, as a program's is not. The stand-in looks at none.
int some_file() {
    int fd = 3;
    benchmark::DoNotOptimize(fd);
    return fd;
}

void fail(benchmark::State& state, const squall::Error& error) { state.SkipWithError(error.message().c_str()); }

// A ring without a library: what liburing is given, and what the stand-in runs over alone.
class BareRing {
public:
    BareRing() {
        abi::Params params{};
        params.cq_entries = cq_size;
        sys::io_uring_setup(sys::host, sq_size, &params);
        sys::mmap(sys::host, sizeof(RingMemory), PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, abi::off_sq_ring);
        sys::mmap(sys::host, sq_size * sizeof(abi::Sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, abi::off_sqes);
    }
    ~BareRing() {
        sys::munmap(sys::host, ring_memory, sizeof(RingMemory));
        sys::munmap(sys::host, sqe_memory, sq_size * sizeof(abi::Sqe));
    }
    BareRing(const BareRing&) = delete;
    BareRing& operator=(const BareRing&) = delete;
};

void stand_in(benchmark::State& state) {
    const BareRing bare;
    std::uint64_t done = 0;
    for (auto _ : state) {
        done += static_cast<std::uint64_t>(sys::io_uring_enter(sys::host, ring_fd, batch, 0, 0, nullptr, 0));
        squall::detail::store_release(&ring_memory->cq_head, ring_memory->cq_tail);
        benchmark::ClobberMemory();
    }
    if (done != static_cast<std::uint64_t>(state.iterations()) * batch)
        state.SkipWithError("the stand-in did not consume what it was offered");
    state.counters["ops"] = batch;
}

template <class Queue>
void with_squall(benchmark::State& state, squall::BufferArena* arena, std::uint32_t bytes, Queue queue) {
    auto created = squall::Io::create({.entries = sq_size, .arena = arena});
    if (!created) return fail(state, created.error());
    squall::Io io = *std::move(created);
    const int fd = some_file();
    Sums sums;
    std::uint64_t token = 0;
    for (auto _ : state) {
        for (std::uint32_t i = 0; i < batch; ++i) queue(io, fd, token++);
        for (const squall::Completion& completion : io.poll()) {
            sums.tokens += completion.token;
            sums.results += static_cast<std::uint32_t>(completion.res);
        }
        benchmark::ClobberMemory();
    }
    check(state, sums, bytes);
}

void squall_nop(benchmark::State& state) {
    with_squall(state, nullptr, 0, [](squall::Io& io, int, std::uint64_t token) { (void)io.nop(token); });
}

void squall_read(benchmark::State& state) {
    with_squall(state, nullptr, block_bytes, [](squall::Io& io, int fd, std::uint64_t token) {
        (void)io.read(fd, {buffer, block_bytes}, token * block_bytes, token);
    });
}

void squall_read_fixed(benchmark::State& state) {
    auto arena = squall::BufferArena::create({.buffer_size = block_bytes, .count = batch});
    if (!arena) return fail(state, arena.error());
    std::byte* const memory = arena->memory().data();
    with_squall(state, &*arena, block_bytes, [memory](squall::Io& io, int fd, std::uint64_t token) {
        (void)io.read(fd, {memory, block_bytes}, token * block_bytes, token);
    });
}

#ifdef SQUALL_BENCH_LIBURING
// liburing's own code, without a change to it. Its system call is inlined and cannot be replaced, but io_uring_submit()
// makes none when, after showing its SQEs, it finds that the kernel has consumed them all: so the stand-in's SQ head is
// moved on first, and back again for the stand-in to find its work. That spares liburing what comes around its call.
template <class Prepare>
void with_liburing(benchmark::State& state, std::uint32_t bytes, Prepare prepare) {
    const BareRing bare;
    RingMemory& memory = *ring_memory;
    struct io_uring ring = {};
    ring.flags = abi::setup_single_issuer | abi::setup_defer_taskrun | abi::setup_no_sqarray;
    ring.features = abi::feat_single_mmap | abi::feat_nodrop | abi::feat_submit_stable | abi::feat_ext_arg;
    ring.ring_fd = ring.enter_ring_fd = -1;
    ring.sq.khead = &memory.sq_head;
    ring.sq.ktail = &memory.sq_tail;
    ring.sq.kflags = &memory.sq_flags;
    ring.sq.kdropped = &memory.sq_dropped;
    ring.sq.sqes = reinterpret_cast<struct io_uring_sqe*>(sqe_memory);
    ring.sq.ring_mask = sq_size - 1;
    ring.sq.ring_entries = sq_size;
    ring.cq.khead = &memory.cq_head;
    ring.cq.ktail = &memory.cq_tail;
    ring.cq.kflags = &memory.cq_flags;
    ring.cq.koverflow = &memory.cq_overflow;
    ring.cq.cqes = reinterpret_cast<struct io_uring_cqe*>(memory.cqes);
    ring.cq.ring_mask = cq_size - 1;
    ring.cq.ring_entries = cq_size;
    const int fd = some_file();
    Sums sums;
    std::uint64_t token = 0;
    for (auto _ : state) {
        for (std::uint32_t i = 0; i < batch; ++i, ++token) {
            struct io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
            if (!sqe) break;
            prepare(sqe, fd, token);
            io_uring_sqe_set_data64(sqe, token);
        }
        const std::uint32_t head = memory.sq_head;
        squall::detail::store_release(&memory.sq_head, head + batch);
        const int waiting = io_uring_submit(&ring);
        squall::detail::store_release(&memory.sq_head, head);
        if (waiting != 0) return state.SkipWithError("io_uring_submit entered the kernel");
        sys::io_uring_enter(sys::host, ring_fd, batch, 0, 0, nullptr, 0);
        struct io_uring_cqe* cqe = nullptr;
        unsigned position = 0;
        unsigned count = 0;
        io_uring_for_each_cqe(&ring, position, cqe) {
            sums.tokens += cqe->user_data;
            sums.results += static_cast<std::uint32_t>(cqe->res);
            ++count;
        }
        io_uring_cq_advance(&ring, count);
        benchmark::ClobberMemory();
    }
    check(state, sums, bytes);
}

void liburing_nop(benchmark::State& state) {
    with_liburing(state, 0, [](struct io_uring_sqe* sqe, int, std::uint64_t) { io_uring_prep_nop(sqe); });
}

void liburing_read(benchmark::State& state) {
    with_liburing(state, block_bytes, [](struct io_uring_sqe* sqe, int fd, std::uint64_t token) {
        io_uring_prep_read(sqe, fd, buffer, block_bytes, token * block_bytes);
    });
}

void liburing_read_fixed(benchmark::State& state) {
    with_liburing(state, block_bytes, [](struct io_uring_sqe* sqe, int fd, std::uint64_t token) {
        io_uring_prep_read_fixed(sqe, fd, buffer, block_bytes, token * block_bytes, 0);
    });
}
#endif

}  // namespace

BENCHMARK(stand_in)->MinTime(0.02)->Repetitions(9);
BENCHMARK(squall_nop)->MinTime(0.02)->Repetitions(9);
BENCHMARK(squall_read)->MinTime(0.02)->Repetitions(9);
BENCHMARK(squall_read_fixed)->MinTime(0.02)->Repetitions(9);
#ifdef SQUALL_BENCH_LIBURING
BENCHMARK(liburing_nop)->MinTime(0.02)->Repetitions(9);
BENCHMARK(liburing_read)->MinTime(0.02)->Repetitions(9);
BENCHMARK(liburing_read_fixed)->MinTime(0.02)->Repetitions(9);
#endif

int main(int count, char** arguments) { return squall_bench::run(count, arguments); }
