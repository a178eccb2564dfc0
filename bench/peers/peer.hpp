// SPDX-License-Identifier: MIT
//
// What a peer is, to those who measure it: an Engine that keeps a cell's transfers in flight for as long as it is told to.
// The load (which buffer, where in the file) and the loop that queues, submits and reaps are here, once, so that peers
// differ in nothing but their own calls. One peer is one row of the list that each of the other files gives; main.cpp
// runs one of them in a process of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../target.hpp"
#include "probe.hpp"
#include "squall/squall.hpp"

namespace peers {

using squall_bench::give_up;

// What is measured: one point of the matrix.
struct Cell {
    bool write = false;
    bool direct = false;
    std::uint64_t size = 4096;
    std::uint32_t depth = 64;  // in flight at most
    std::uint32_t batch = 32;  // queued per submission
};

// What every peer is given. The memory is an arena's for all of them, so that no peer has better pages than it asked for.
struct Bench {
    Cell cell;
    std::string path;
    int fd = -1;
    std::uint64_t places = 0;  // transfers of the cell's size that the file has room for
    std::uint64_t round = 0;
    std::uint32_t threads = 0;  // of a peer that has some; 0: as many as it thinks best
    squall::BufferArena& arena;

    [[nodiscard]] std::span<std::byte> buffer(std::uint32_t slot) const {
        return arena.memory().subspan(slot * cell.size, cell.size);
    }
    // Never more than there is to do.
    [[nodiscard]] std::uint32_t thread_count(std::uint32_t best) const {
        return std::min(cell.depth, threads == 0 ? best : threads);
    }
};

// Whose turn it is: `count` buffers from `first` on, used in turn, so that all of them are, and a place in the file for
// each transfer: the same places for all peers in a round, others in the next. One of several threads gives its number
// and how many they are, and draws places that no other draws.
class Load {
public:
    explicit Load(const Bench& bench) : Load(bench, 0, bench.cell.depth, 0, 1) {}
    Load(const Bench& bench, std::uint32_t first, std::uint32_t count, std::uint64_t stream, std::uint64_t streams)
        : places_(bench.places),
          size_(bench.cell.size),
          first_(first),
          drawn_((bench.round << 32) + stream),
          streams_(streams),
          offset_of_(count),
          free_(count) {
        for (std::uint32_t slot = first; slot < first + count; ++slot) give_back(slot);
    }

    template <class Probe>
    std::uint32_t take(const Probe& probe) {
        const std::uint32_t slot = free_[next_];
        next_ = next_ + 1 == free_.size() ? 0 : next_ + 1;
        --free_count_;
        offset_of_[slot - first_] = probe.place(std::exchange(drawn_, drawn_ + streams_), places_) * size_;
        return slot;
    }
    void give_back(std::uint32_t slot) {
        const std::size_t last = next_ + free_count_++;
        free_[last < free_.size() ? last : last - free_.size()] = slot;
        ++finished_;
    }
    [[nodiscard]] std::uint64_t offset_of(std::uint32_t slot) const { return offset_of_[slot - first_]; }
    [[nodiscard]] std::uint32_t free_count() const { return free_count_; }
    [[nodiscard]] std::uint32_t in_flight() const { return static_cast<std::uint32_t>(free_.size()) - free_count_; }
    [[nodiscard]] std::uint64_t finished() const { return finished_ - free_.size(); }

private:
    std::uint64_t places_;
    std::uint64_t size_;
    std::uint32_t first_;
    std::uint64_t drawn_;
    std::uint64_t streams_;
    std::vector<std::uint64_t> offset_of_;
    std::vector<std::uint32_t> free_;  // round and round: free_count_ of them from next_ on
    std::size_t next_ = 0;
    std::uint32_t free_count_ = 0;
    std::uint64_t finished_ = 0;
};

class Engine {
public:
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    virtual ~Engine() = default;

    // Goes on until the probe has enough, and returns with transfers in flight; the next run takes them up.
    virtual void run(Quiet& probe) = 0;
    virtual void run(Timed& probe) = 0;
    virtual void run(Checked& probe) = 0;
    // Waits for what is in flight.
    virtual void drain(Quiet& probe) = 0;
    virtual void drain(Timed& probe) = 0;
    virtual void drain(Checked& probe) = 0;

    [[nodiscard]] virtual std::uint64_t finished() const = 0;
    // System calls that it has made for transfers, where it can tell exactly.
    [[nodiscard]] virtual std::optional<std::uint64_t> calls() const = 0;
    // What it came to be, where that is not in its name.
    [[nodiscard]] virtual std::string note() const = 0;
};

[[noreturn]] void transfer_failed(const Bench& bench, std::uint64_t offset, std::int64_t result);

// An engine that has one thread and a queue in front of the kernel. A Queue has
//   queue(slot, offset, finished)           prepares a transfer; one that ends in this call calls finished(slot, result)
//   submit_and_reap(at_least, finished)     submits what is queued, waits for that many (0: not at all; fewer than that is
//                                           no error), and calls finished for all that are there
//   calls(), note()                         as Engine's
template <class Queue>
class Queued final : public Engine {
public:
    template <class... Arguments>
    explicit Queued(const Bench& bench, const Arguments&... arguments)
        : bench_(bench), load_(bench), queue_(bench, arguments...) {}

    void run(Quiet& probe) override { loop(probe); }
    void run(Timed& probe) override { loop(probe); }
    void run(Checked& probe) override { loop(probe); }
    void drain(Quiet& probe) override { finish(probe); }
    void drain(Timed& probe) override { finish(probe); }
    void drain(Checked& probe) override { finish(probe); }

    [[nodiscard]] std::uint64_t finished() const override { return load_.finished(); }
    [[nodiscard]] std::optional<std::uint64_t> calls() const override { return queue_.calls(); }
    [[nodiscard]] std::string note() const override { return queue_.note(); }

private:
    template <class Probe>
    auto finisher(Probe& probe) {
        return [this, &probe](std::uint32_t slot, std::int64_t result) {
            const std::uint64_t offset = load_.offset_of(slot);
            if (result != static_cast<std::int64_t>(bench_.cell.size)) [[unlikely]]
                transfer_failed(bench_, offset, result);
            probe.finished(slot, offset);
            load_.give_back(slot);
        };
    }

    // One submission per batch, and no wait before another batch would exceed the depth: then for just as many as it lacks.
    template <class Probe>
    void loop(Probe& probe) {
        const auto finished = finisher(probe);
        const std::uint32_t batch = bench_.cell.batch;
        while (probe.go_on(batch)) {
            for (std::uint32_t i = 0; i < batch; ++i) {
                const std::uint32_t slot = load_.take(probe);
                const std::uint64_t offset = load_.offset_of(slot);
                probe.queued(slot, offset);
                queue_.queue(slot, offset, finished);
            }
            do {
                const std::uint32_t free = load_.free_count();
                queue_.submit_and_reap(free < batch ? batch - free : 0, finished);
            } while (load_.free_count() < batch);
        }
    }
    template <class Probe>
    void finish(Probe& probe) {
        const auto finished = finisher(probe);
        while (load_.in_flight() != 0) queue_.submit_and_reap(load_.in_flight(), finished);
    }

    const Bench& bench_;
    Load load_;
    Queue queue_;
};

// Of peers that poll the device: gives up where that cannot be.
void needs_polling_device(const Bench& bench);

// Of SQPOLL rings: how often to look for completions, which is the point of such a ring, before waiting for them in the
// kernel all the same, since its thread may have no CPU to run on. Some 100 us.
inline constexpr unsigned looks_max = 2000;
inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

struct Peer {
    const char* name;
    const char* what;  // for a reader of the table
    bool huge_pages;   // its buffers lie on huge pages where the machine has them
    // Empty: not built, for want of the package.
    std::function<std::unique_ptr<Engine>(const Bench&)> make;
    const char* package = nullptr;
};

// The rows of each file, in the order in which a table shows them.
std::vector<Peer> squall_peers();
std::vector<Peer> liburing_peers();
std::vector<Peer> libaio_peers();
std::vector<Peer> posix_aio_peers();
std::vector<Peer> thread_peers();

}  // namespace peers
