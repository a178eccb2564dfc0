// SPDX-License-Identifier: MIT
//
// The system calls that block: pread(2) and pwrite(2) on one thread, on threads that each do their own work, on a pool
// behind one event loop, and preadv2(2) with the flags that its experts use.
#include <sys/uio.h>

#include <barrier>
#include <cerrno>
#include <functional>
#include <thread>

#include "pool.hpp"

namespace peers {

namespace {

// With more threads a pool's sleep and are woken for every transfer, where these find the next one waiting; those that
// have their own work do not wait for any.
constexpr std::uint32_t pool_threads_best = 32;
constexpr std::uint32_t own_threads_best = 64;

class OneThread {
public:
    explicit OneThread(const Bench& bench) : bench_(bench) {}

    template <class Finished>
    void queue(std::uint32_t slot, std::uint64_t offset, const Finished& finished) {
        ++calls_;
        finished(slot, transfer(bench_, slot, offset));
    }
    template <class Finished>
    void submit_and_reap(std::uint32_t, const Finished&) {}

    [[nodiscard]] std::optional<std::uint64_t> calls() const { return calls_; }
    [[nodiscard]] static std::string note() { return "one in flight"; }

private:
    const Bench& bench_;
    std::uint64_t calls_ = 0;
};

class ThreadPool : public Pool {
public:
    explicit ThreadPool(const Bench& bench) : Pool(bench, bench.thread_count(pool_threads_best)) {}
};

// Threads that share nothing but the file, each with its part of the buffers and of the depth: what an engine is that
// gives each request a thread.
class OwnWork final : public Engine {
public:
    explicit OwnWork(const Bench& bench)
        : bench_(bench), threads_(bench.thread_count(own_threads_best)), begin_(threads_ + 1), end_(threads_ + 1) {
        workers_.reserve(threads_);
        for (std::uint32_t i = 0; i < threads_; ++i) {
            const std::uint32_t first = bench.cell.depth * i / threads_;
            const std::uint32_t last = bench.cell.depth * (i + 1) / threads_;
            workers_.push_back({Load(bench, first, last - first, i, threads_), {}});
        }
        for (Worker& worker : workers_) worker.thread = std::thread([this, &worker] { serve(worker); });
    }
    ~OwnWork() override {
        task_ = nullptr;
        begin_.arrive_and_wait();
        for (Worker& worker : workers_) worker.thread.join();
    }

    void run(Quiet& probe) override { loop(probe); }
    void run(Timed& probe) override { loop(probe); }
    void run(Checked& probe) override { loop(probe); }
    // Nothing is in flight after a run.
    void drain(Quiet&) override {}
    void drain(Timed&) override {}
    void drain(Checked&) override {}

    [[nodiscard]] std::uint64_t finished() const override {
        std::uint64_t sum = 0;
        for (const Worker& worker : workers_) sum += worker.load.finished();
        return sum;
    }
    [[nodiscard]] std::optional<std::uint64_t> calls() const override { return finished(); }
    [[nodiscard]] std::string note() const override { return std::to_string(threads_) + " threads"; }

private:
    struct alignas(64) Worker {
        Load load;
        std::thread thread;
    };

    void serve(Worker& self) {
        for (;;) {
            begin_.arrive_and_wait();
            if (!task_) return;
            task_(self);
            end_.arrive_and_wait();
        }
    }

    template <class Probe>
    void loop(Probe& probe) {
        std::vector<Probe> parts(threads_, probe.share(threads_));
        task_ = [this, &parts](Worker& self) {
            Probe& part = parts[static_cast<std::size_t>(&self - workers_.data())];
            while (part.go_on(1)) {
                const std::uint32_t slot = self.load.take(part);
                const std::uint64_t offset = self.load.offset_of(slot);
                part.queued(slot, offset);
                const std::int64_t moved = transfer(bench_, slot, offset);
                if (moved != static_cast<std::int64_t>(bench_.cell.size)) [[unlikely]]
                    transfer_failed(bench_, offset, moved);
                part.finished(slot, offset);
                self.load.give_back(slot);
            }
        };
        begin_.arrive_and_wait();
        end_.arrive_and_wait();
        for (const Probe& part : parts) probe.add(part);
    }

    const Bench& bench_;
    std::uint32_t threads_;
    std::function<void(Worker&)> task_;
    std::vector<Worker> workers_;
    std::barrier<> begin_;
    std::barrier<> end_;
};

// Out of the page cache: what is there is taken at once (RWF_NOWAIT), the rest goes to a pool that is made when it is first
// needed. With O_DIRECT: the device is polled (RWF_HIPRI), for one transfer at a time, since that is all that the call can.
class Preadv2 {
public:
    explicit Preadv2(const Bench& bench) : bench_(bench) {
        // Without that it is pread.
        if (bench.cell.direct) needs_polling_device(bench);
    }

    template <class Finished>
    void queue(std::uint32_t slot, std::uint64_t offset, const Finished& finished) {
        if (at_once_) {
            const std::int64_t moved = call(slot, offset);
            at_once_ = moved != -EOPNOTSUPP;
            if (moved == static_cast<std::int64_t>(bench_.cell.size) || bench_.cell.direct)
                return finished(slot, moved);
        }
        if (!pool_) pool_ = std::make_unique<ThreadPool>(bench_);
        pool_->queue(slot, offset, finished);
    }
    template <class Finished>
    void submit_and_reap(std::uint32_t at_least, const Finished& finished) {
        if (pool_) pool_->submit_and_reap(at_least, finished);
    }

    [[nodiscard]] std::optional<std::uint64_t> calls() const { return calls_ + (pool_ ? *pool_->calls() : 0); }
    [[nodiscard]] std::string note() const {
        return bench_.cell.direct ? "one in flight" : pool_ ? "pool of " + pool_->note() : "";
    }

private:
    std::int64_t call(std::uint32_t slot, std::uint64_t offset) {
        const std::span<std::byte> buffer = bench_.buffer(slot);
        const struct iovec piece = {buffer.data(), buffer.size()};
        const int flags = bench_.cell.direct ? RWF_HIPRI : RWF_NOWAIT;
        const auto at = static_cast<off_t>(offset);
        ++calls_;
        const ssize_t moved = bench_.cell.write ? ::pwritev2(bench_.fd, &piece, 1, at, flags)
                                                : ::preadv2(bench_.fd, &piece, 1, at, flags);
        return moved < 0 ? -errno : moved;
    }

    const Bench& bench_;
    bool at_once_ = true;
    std::uint64_t calls_ = 0;
    std::unique_ptr<ThreadPool> pool_;
};

template <class Queue>
Peer peer(const char* name, const char* what) {
    return {name, what, true, [](const Bench& bench) { return std::make_unique<Queued<Queue>>(bench); }};
}

}  // namespace

std::vector<Peer> thread_peers() {
    return {
        peer<OneThread>("pread", "one thread"),
        {"pread_threads", "a thread per transfer", true,
         [](const Bench& bench) { return std::make_unique<OwnWork>(bench); }},
        peer<ThreadPool>("pread_pool", "a pool behind one event loop"),
        peer<Preadv2>("preadv2", "RWF_NOWAIT and a pool, RWF_HIPRI"),
    };
}

}  // namespace peers
