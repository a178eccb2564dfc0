// SPDX-License-Identifier: MIT
//
// NOPs through the real kernel, a batch at a time, with squall and, where it is to be had, with liburing in its best
// configuration: what a ring costs when the operation itself costs nothing. Three ways of driving liburing are measured
// and report/nop_cost.py takes the quickest. What the library costs without the kernel is own_cost.cpp's question.
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <benchmark/benchmark.h>

#include "build_context.hpp"
#include "squall/squall.hpp"

#ifdef SQUALL_BENCH_LIBURING
#include <liburing.h>
#endif

namespace {

constexpr std::uint32_t largest_batch = 1024;
// Of a ring: no larger than a batch needs, so that the small batches stay in the caches they would be in.
std::uint32_t entries_for(std::uint32_t batch) { return batch < 256 ? 256 : batch; }

// Unless each token came back exactly once and every NOP succeeded, the figure is void.
class Ledger {
public:
    std::uint64_t next() { return queued_++; }
    void completed(std::uint64_t token, std::int32_t res) {
        tokens_ += token;
        failures_ += static_cast<std::uint64_t>(res != 0);
    }
    void settle(benchmark::State& state, std::uint32_t batch) const {
        const auto operations = static_cast<std::uint64_t>(state.iterations()) * batch;
        if (failures_ != 0 || queued_ != operations || tokens_ != operations * (operations - 1) / 2)
            state.SkipWithError("the completions are not those of the operations that were queued");
        state.counters["ops"] = batch;
    }

private:
    std::uint64_t queued_ = 0;
    std::uint64_t tokens_ = 0;
    std::uint64_t failures_ = 0;
};

// Not inlined, so that both run the very same code.
[[gnu::noinline]] void nops(benchmark::State& state, const squall::Sampling& sampling) {
    const auto batch = static_cast<std::uint32_t>(state.range(0));
    auto created =
        squall::Io::create({.entries = entries_for(batch), .mode = squall::Mode::deferred, .sampling = sampling});
    if (!created) return state.SkipWithError(created.error().message().c_str());
    squall::Io io = *std::move(created);
    Ledger ledger;
    for (auto _ : state) {
        for (std::uint32_t i = 0; i < batch; ++i) (void)io.nop(ledger.next());
        std::uint32_t left = batch;
        do {
            for (const squall::Completion& completion : io.poll()) {
                ledger.completed(completion.token, completion.res);
                --left;
            }
        } while (left != 0);
    }
    ledger.settle(state, batch);
    state.counters["enters_per_op"] =
        static_cast<double>(io.counters().enters) / static_cast<double>(io.counters().submitted);
}

void squall_poll(benchmark::State& state) { nops(state, {}); }

// The same with the latency of one in 1024 taken.
void squall_sampled(benchmark::State& state) {
    squall::LatencyHistograms histograms;
    nops(state, {.every = 1024, .histograms = &histograms});
    if (histograms[squall::OpKind::nop].count() == 0) state.SkipWithError("nothing was sampled");
}

#ifdef SQUALL_BENCH_LIBURING
// The flags that liburing's authors recommend for one thread per ring. A kernel that lacks one answers EINVAL: the
// newest goes first, as in squall. liburing before 2.5 knows no NO_SQARRAY.
int make_ring(struct io_uring& ring, unsigned entries) {
    constexpr unsigned newest_first[] = {
#ifdef IORING_SETUP_NO_SQARRAY
        IORING_SETUP_NO_SQARRAY,
#endif
        IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_SUBMIT_ALL};
    unsigned flags = 0;
    for (const unsigned flag : newest_first) flags |= flag;
    int status = io_uring_queue_init(entries, &ring, flags);
    for (const unsigned flag : newest_first) {
        if (status != -EINVAL) break;
        flags &= ~flag;
        status = io_uring_queue_init(entries, &ring, flags);
    }
    if (status == 0) io_uring_register_ring_fd(&ring);  // the plain descriptor does as well where this is refused
    return status;
}

template <class Submit>
void liburing(benchmark::State& state, Submit submit) {
    const auto batch = static_cast<std::uint32_t>(state.range(0));
    struct io_uring ring;
    if (const int status = make_ring(ring, entries_for(batch)); status < 0)
        return state.SkipWithError((std::string("io_uring_queue_init: ") + std::strerror(-status)).c_str());
    Ledger ledger;
    for (auto _ : state) {
        for (std::uint32_t i = 0; i < batch; ++i) {
            struct io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
            if (!sqe) break;
            io_uring_prep_nop(sqe);
            io_uring_sqe_set_data64(sqe, ledger.next());
        }
        std::uint32_t left = batch;
        do {
            if (submit(&ring, left) < 0) break;
            struct io_uring_cqe* cqe = nullptr;
            unsigned position = 0;
            unsigned count = 0;
            io_uring_for_each_cqe(&ring, position, cqe) {
                ledger.completed(cqe->user_data, cqe->res);
                ++count;
            }
            io_uring_cq_advance(&ring, count);
            left -= count;
        } while (left != 0);
    }
    io_uring_queue_exit(&ring);
    ledger.settle(state, batch);
}

void liburing_submit(benchmark::State& state) {
    liburing(state, [](struct io_uring* ring, unsigned) { return io_uring_submit(ring); });
}
void liburing_submit_and_get_events(benchmark::State& state) {
    liburing(state, [](struct io_uring* ring, unsigned) { return io_uring_submit_and_get_events(ring); });
}
void liburing_submit_and_wait(benchmark::State& state) {
    liburing(state, [](struct io_uring* ring, unsigned left) { return io_uring_submit_and_wait(ring, left); });
}
#endif

}  // namespace

BENCHMARK(squall_poll)->RangeMultiplier(2)->Range(1, largest_batch)->MinTime(0.015)->Repetitions(5);
BENCHMARK(squall_sampled)->Arg(1)->Arg(32)->MinTime(0.015)->Repetitions(5);
#ifdef SQUALL_BENCH_LIBURING
BENCHMARK(liburing_submit)->RangeMultiplier(2)->Range(1, largest_batch)->MinTime(0.015)->Repetitions(5);
BENCHMARK(liburing_submit_and_get_events)->RangeMultiplier(2)->Range(1, largest_batch)->MinTime(0.015)->Repetitions(5);
BENCHMARK(liburing_submit_and_wait)->RangeMultiplier(2)->Range(1, largest_batch)->MinTime(0.015)->Repetitions(5);
#endif

int main(int count, char** arguments) { return squall_bench::run(count, arguments); }
