// SPDX-License-Identifier: MIT
//
// What squall itself costs per operation: filling one SQE and reaping one CQE, with the kernel's side replaced by a
// stand-in that consumes SQEs and posts CQEs in plain memory. `stand_in` measures the stand-in alone; what the others
// take above that is the library's own. liburing, where it is to be had, runs over the same memory and the same
// stand-in. What the kernel costs is nop_cost.cpp's question; subtracting and comparing is report/own_cost.py's work.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>

#include <benchmark/benchmark.h>

#include "build_context.hpp"
#include "squall/squall.hpp"
#include "sys.hpp"

#ifdef SQUALL_BENCH_LIBURING
#include <liburing.h>
#endif

namespace {

namespace abi = squall::abi;
namespace sys = squall::sys;

constexpr std::uint32_t sq_size = 256;
constexpr std::uint32_t cq_size = 2 * sq_size;
constexpr std::uint32_t batch = 32;
constexpr std::size_t block_bytes = 4096;

// No real descriptor has this number, so nothing that is meant for the stand-in can reach the kernel by mistake.
constexpr int ring_fd = 0x51a11;

// What the two sides share, laid out as the kernel does it (struct io_rings): all the words that move on one line.
struct RingMemory {
    std::uint32_t sq_head, sq_tail, cq_head, cq_tail;
    std::uint32_t sq_mask, cq_mask, sq_entries, cq_entries;
    std::uint32_t sq_dropped, sq_flags, cq_flags, cq_overflow;
    alignas(64) squall::Completion cqes[cq_size];
};

// Of the one ring that is alive at a time; noted by mmap.
RingMemory* ring_memory = nullptr;
abi::Sqe* sqe_memory = nullptr;

long real_call(long number, std::uintptr_t a, std::uintptr_t b, std::uintptr_t c, std::uintptr_t d, std::uintptr_t e,
               std::uintptr_t f) noexcept {
    const long result = ::syscall(number, a, b, c, d, e, f);
    return result == -1 ? -errno : result;
}

long set_up(std::uint32_t entries, abi::Params& params) noexcept {
    if (entries != sq_size || params.cq_entries != cq_size) return -EINVAL;
    params.sq_entries = sq_size;
    params.features = abi::feat_single_mmap | abi::feat_nodrop | abi::feat_submit_stable | abi::feat_ext_arg;
    params.sq_off.head = offsetof(RingMemory, sq_head);
    params.sq_off.tail = offsetof(RingMemory, sq_tail);
    params.sq_off.ring_mask = offsetof(RingMemory, sq_mask);
    params.sq_off.ring_entries = offsetof(RingMemory, sq_entries);
    params.sq_off.flags = offsetof(RingMemory, sq_flags);
    params.cq_off.head = offsetof(RingMemory, cq_head);
    params.cq_off.tail = offsetof(RingMemory, cq_tail);
    params.cq_off.ring_mask = offsetof(RingMemory, cq_mask);
    params.cq_off.ring_entries = offsetof(RingMemory, cq_entries);
    params.cq_off.cqes = offsetof(RingMemory, cqes);
    return ring_fd;
}

long map(std::size_t bytes, std::uint64_t offset) noexcept {
    const long at = real_call(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                              static_cast<std::uintptr_t>(-1), 0);
    if (sys::is_error(at)) return at;
    void* const memory = reinterpret_cast<void*>(at);
    if (offset == abi::off_sqes)
        sqe_memory = static_cast<abi::Sqe*>(memory);
    else
        ring_memory = static_cast<RingMemory*>(memory);
    if (offset == abi::off_sq_ring) {
        ring_memory->sq_entries = sq_size;
        ring_memory->sq_mask = sq_size - 1;
        ring_memory->cq_entries = cq_size;
        ring_memory->cq_mask = cq_size - 1;
    }
    return at;
}

long answer_register(std::uint32_t code, void* arg) noexcept {
    if (code == abi::register_probe) {
        auto* const probe = static_cast<abi::Probe*>(arg);
        probe->last_op = 63;
        for (abi::ProbeOp& op : probe->ops) op.flags = abi::op_supported;
    }
    if (code == abi::register_ring_fds) return 1;
    return 0;
}

// The kernel's part of an enter, and no more: every SQE becomes a CQE whose result says that all its bytes moved.
long consume(std::uint32_t count) noexcept {
    RingMemory& ring = *ring_memory;
    const std::uint32_t sq_head = ring.sq_head;
    const std::uint32_t cq_tail = ring.cq_tail;
    for (std::uint32_t i = 0; i < count; ++i) {
        const abi::Sqe& sqe = sqe_memory[(sq_head + i) & (sq_size - 1)];
        ring.cqes[(cq_tail + i) & (cq_size - 1)] = {sqe.user_data, static_cast<std::int32_t>(sqe.len), 0};
    }
    squall::detail::store_release(&ring.sq_head, sq_head + count);
    squall::detail::store_release(&ring.cq_tail, cq_tail + count);
    return count;
}

// Answers in the kernel's place, through the seam of lib/sys.hpp.
[[gnu::noinline]] long answer(long number, std::uintptr_t a, std::uintptr_t b, std::uintptr_t c, std::uintptr_t d,
                              std::uintptr_t e, std::uintptr_t f) noexcept {
    if (number == sys::nr_io_uring_enter) [[likely]]
        return consume(static_cast<std::uint32_t>(b));
    const auto is_ring = [](std::uintptr_t word) { return static_cast<int>(word) == ring_fd; };
    if (number == sys::nr_io_uring_setup)
        return set_up(static_cast<std::uint32_t>(a), *reinterpret_cast<abi::Params*>(b));
    if (number == sys::nr_io_uring_register)
        return answer_register(static_cast<std::uint32_t>(b), reinterpret_cast<void*>(c));
    if (number == SYS_mmap && is_ring(e)) return map(b, f);
    if (number == SYS_close && is_ring(a)) return 0;
    return real_call(number, a, b, c, d, e, f);
}
[[maybe_unused]] const sys::Replacement installed = sys::replacement = &answer;

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
        sys::io_uring_setup(sq_size, &params);
        sys::mmap(sizeof(RingMemory), PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, abi::off_sq_ring);
        sys::mmap(sq_size * sizeof(abi::Sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, abi::off_sqes);
    }
    ~BareRing() {
        sys::munmap(ring_memory, sizeof(RingMemory));
        sys::munmap(sqe_memory, sq_size * sizeof(abi::Sqe));
    }
    BareRing(const BareRing&) = delete;
    BareRing& operator=(const BareRing&) = delete;
};

void stand_in(benchmark::State& state) {
    const BareRing bare;
    std::uint64_t done = 0;
    for (auto _ : state) {
        done += static_cast<std::uint64_t>(sys::io_uring_enter(ring_fd, batch, 0, 0, nullptr, 0));
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
    with_squall(state, nullptr, 0, [](squall::Io& io, int, std::uint64_t token) { io.nop(token); });
}

void squall_read(benchmark::State& state) {
    with_squall(state, nullptr, block_bytes, [](squall::Io& io, int fd, std::uint64_t token) {
        io.read(fd, {buffer, block_bytes}, token * block_bytes, token);
    });
}

void squall_read_fixed(benchmark::State& state) {
    auto arena = squall::BufferArena::create({.buffer_size = block_bytes, .count = batch});
    if (!arena) return fail(state, arena.error());
    std::byte* const memory = arena->memory().data();
    with_squall(state, &*arena, block_bytes, [memory](squall::Io& io, int fd, std::uint64_t token) {
        io.read(fd, {memory, block_bytes}, token * block_bytes, token);
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
        sys::io_uring_enter(ring_fd, batch, 0, 0, nullptr, 0);
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

int main(int count, char** arguments) {
    benchmark::Initialize(&count, arguments);
    if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 2;
    squall_bench::add_build_context();
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
