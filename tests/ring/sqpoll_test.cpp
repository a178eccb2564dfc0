// SPDX-License-Identifier: MIT
//
// The SQPOLL thread, played by a thread of the test's over plain memory, so that TSan sees both ends of every barrier in a
// whole Io; and the kernel's own, raced for as it falls asleep. The same protocols are model-checked in model/.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <thread>

#include "support.hpp"
#include "user_kernel.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;
using detail::load_acquire;
using detail::load_relaxed;
using detail::SharedWord;
using detail::store_release;

std::int32_t digest(const char* path) {
    std::uint32_t sum = 0;
    for (; *path; ++path) sum = sum * 31 + static_cast<unsigned char>(*path);
    return static_cast<std::int32_t>(sum & 0x7fff'ffff);
}

// As io_sq_thread: takes what is published, completes it in any order, dozes off, and must be woken. It shares nothing with
// the submitter but the ring: what wakes it is relaxed, and so orders nothing that the ring should have ordered. It uses the
// ring where squall has mapped it, for TSan knows memory by its address.
class Poller {
public:
    Poller() {
        kernel_.on_enter = [this](const Enter& enter) { return answer(enter); };
        kernel_.on_other_call = [this](Call& call) { return watch_mapping(call); };
    }

    // Runs while what this returns is alive, which is for less long than the Io; at its end all that was published is done.
    [[nodiscard]] auto start() {
        params_ = kernel_.ring().params;
        thread_ = std::thread([this] { run(); });
        const auto stop = [](Poller* poller) {
            poller->stop_.store(true, std::memory_order_relaxed);
            poller->thread_.join();
        };
        return std::unique_ptr<Poller, decltype(stop)>(this, stop);
    }
    [[nodiscard]] std::uint64_t refused() const { return refused_; }
    // What it does when it finds nothing: it dozes off when it gets round to it, or has done so on return, or stays awake.
    void may_doze() { stays_up_.store(false, std::memory_order_relaxed); }
    void must_doze() {
        may_doze();
        while (load_relaxed(sq_flags()) == 0) std::this_thread::yield();
    }
    void must_stay_up() {
        stays_up_.store(true, std::memory_order_relaxed);
        while (load_relaxed(sq_flags()) != 0) std::this_thread::yield();
    }

private:
    using Word = std::uint32_t;

    // On the submitter's thread.
    std::optional<long> answer(const Enter& enter) {
        if ((enter.flags & abi::enter_sq_wakeup) != 0) {
            if (++wakes_ % 16 == 0) return ++refused_, -EINTR;
            sleeping_.store(false, std::memory_order_relaxed);
        }
        const auto deadline = std::chrono::steady_clock::now() + 60s;
        while (load_relaxed(cq_tail()) - load_relaxed(cq_head()) < enter.min_complete) {
            std::this_thread::yield();
            if (std::chrono::steady_clock::now() > deadline) {  // what it waits for will never come
                std::fprintf(stderr, "a wake-up is lost: the poller sleeps on what it was shown\n");
                std::abort();
            }
        }
        return 0;
    }
    std::optional<long> watch_mapping(Call& call) {
        if (call.number != SYS_mmap || static_cast<int>(call.args[4]) < 0) return std::nullopt;
        const long at = real(call);
        (call.args[5] == abi::off_sqes ? sqes_ : rings_) = reinterpret_cast<char*>(at);
        return at;
    }
    [[nodiscard]] Word* word(Word offset) const { return reinterpret_cast<Word*>(rings_ + offset); }
    [[nodiscard]] Word* sq_head() const { return word(params_.sq_off.head); }
    [[nodiscard]] Word* sq_tail() const { return word(params_.sq_off.tail); }
    [[nodiscard]] Word* sq_flags() const { return word(params_.sq_off.flags); }
    [[nodiscard]] Word* cq_head() const { return word(params_.cq_off.head); }
    [[nodiscard]] Word* cq_tail() const { return word(params_.cq_off.tail); }
    [[nodiscard]] const abi::Sqe& sqe(Word index) const {
        return reinterpret_cast<const abi::Sqe*>(sqes_)[index % params_.sq_entries];
    }
    [[nodiscard]] Completion& cqe(Word index) const {
        return reinterpret_cast<Completion*>(rings_ + params_.cq_off.cqes)[index % params_.cq_entries];
    }

    void run() {
        for (;;) {
            if (take() || post()) continue;
            if (stop_.load(std::memory_order_relaxed)) return;
            std::this_thread::yield();
            if (!take() && !stays_up_.load(std::memory_order_relaxed)) doze();
        }
    }
    bool take() {
        const Word tail = load_acquire(sq_tail());
        if (sq_head_ == tail) return false;
        for (; sq_head_ != tail; ++sq_head_) taken_.push_back(copy(sqe(sq_head_)));
        store_release(sq_head(), sq_head_);
        return true;
    }
    // What the kernel keeps when it gives the SQE back: the path too (I6).
    struct Taken {
        abi::Sqe sqe;
        std::int32_t path;
    };
    static Taken copy(const abi::Sqe& sqe) {
        const bool has_path = sqe.opcode == static_cast<std::uint8_t>(abi::Op::openat);
        return {sqe, has_path ? digest(reinterpret_cast<const char*>(sqe.addr)) : 0};
    }
    bool post() {
        if (taken_.empty()) return false;
        std::swap(taken_[random_() % taken_.size()], taken_.back());
        const Taken taken = taken_.back();
        taken_.pop_back();
        const Word head = load_acquire(cq_head());
        EXPECT_LT(cq_tail_ - head, params_.cq_entries) << "the CQ overflows";
        cqe(cq_tail_) = {taken.sqe.user_data, result(taken), 0};
        store_release(cq_tail(), ++cq_tail_);
        return true;
    }
    static std::int32_t result(const Taken& taken) {
        const std::span bytes(reinterpret_cast<std::byte*>(taken.sqe.addr), taken.sqe.len);
        switch (static_cast<abi::Op>(taken.sqe.opcode)) {
            case abi::Op::read:
            case abi::Op::read_fixed:
                fill_pattern(bytes, taken.sqe.off, taken.sqe.user_data);
                return static_cast<std::int32_t>(taken.sqe.len);
            case abi::Op::write:
            case abi::Op::write_fixed:
                return find_wrong(bytes, taken.sqe.off, taken.sqe.user_data) < 0
                           ? static_cast<std::int32_t>(taken.sqe.len)
                           : -EIO;
            default:
                return taken.path;
        }
    }
    void doze() {
        sleeping_.store(true, std::memory_order_relaxed);
        SharedWord(*sq_flags()).exchange(abi::sq_need_wakeup, std::memory_order_seq_cst);
        if (SharedWord(*sq_tail()).load(std::memory_order_seq_cst) == sq_head_)
            while (sleeping_.load(std::memory_order_relaxed) && !stop_.load(std::memory_order_relaxed) &&
                   !stays_up_.load(std::memory_order_relaxed))
                std::this_thread::yield();
        SharedWord(*sq_flags()).store(0, std::memory_order_relaxed);
    }

    UserKernel kernel_;
    abi::Params params_{};
    char* rings_ = nullptr;
    char* sqes_ = nullptr;
    std::thread thread_;
    std::atomic<bool> stop_{false};
    std::atomic<bool> sleeping_{false};
    std::atomic<bool> stays_up_{false};
    // The thread's own.
    Word sq_head_ = 0;
    Word cq_tail_ = 0;
    std::vector<Taken> taken_;
    std::minstd_rand random_;
    // The submitter's.
    std::uint64_t wakes_ = 0;
    std::uint64_t refused_ = 0;
};

// How often a submission met a poller that slept, and one that was awake.
struct Meetings {
    std::uint64_t asleep = 0;
    std::uint64_t awake = 0;

    void print() const {
        std::printf("of %llu submissions %llu found the poller asleep\n",
                    static_cast<unsigned long long>(asleep + awake), static_cast<unsigned long long>(asleep));
    }
};

TEST(Sqpoll, EveryByteAndTokenComesThroughPlainMemoryWhileThePollerDozes) {
    constexpr std::uint32_t slots = 32;
    Poller poller;
    BufferArena arena = make_arena({.count = slots / 2});
    Io io = make_io({.entries = 8, .completion_entries = 16, .mode = Mode::sqpoll, .arena = &arena});
    const auto running = poller.start();

    std::minstd_rand random(7);
    struct Slot {
        abi::Op op = abi::Op::nop;
        Token token = 0;
        std::span<std::byte> bytes;
        std::uint64_t offset = 0;
        std::int32_t expected = 0;
        bool busy = false;
    };
    std::vector<Slot> all(slots);
    std::vector<FixedBuffer> leases;
    std::vector<std::vector<std::byte>> heap(slots, std::vector<std::byte>(4096));
    std::uint64_t rounds = 0;
    const auto queue_one = [&](std::uint32_t number) {
        Slot& slot = all[number];
        slot.token = ++rounds * slots + number;
        slot.bytes = (number % 2 == 0 ? leases[number / 2].bytes() : std::span(heap[number])).first(1 + random() % 64);
        slot.offset = random() % 1000;
        slot.expected = static_cast<std::int32_t>(slot.bytes.size());
        char path[16];
        switch (random() % 4) {
            case 0:
                fill_pattern(slot.bytes, slot.offset, slot.token);
                slot.op = abi::Op::write;
                return slot.busy = io.write(3, slot.bytes, slot.offset, slot.token);
            case 1:
                std::snprintf(path, sizeof(path), "%u", static_cast<unsigned>(random()));
                slot.op = abi::Op::openat;
                slot.expected = digest(path);
                slot.busy = io.open(path, {}, slot.token);
                std::memset(path, '#', sizeof(path));  // I6
                return slot.busy;
            default:
                slot.op = abi::Op::read;
                return slot.busy = io.read(3, slot.bytes, slot.offset, slot.token);
        }
    };
    for (std::uint32_t i = 0; i < slots / 2; ++i) leases.push_back(arena.acquire().value());

    std::uint64_t seen = 0;
    std::uint64_t shown = 0;
    const std::uint64_t wanted = scaled(100'000);
    const std::uint64_t wakeups = wanted / 40;
    Meetings met;
    const auto enough = [&] { return seen >= wanted && met.asleep >= wakeups && met.awake >= wakeups; };
    while (!enough() || io.in_flight() > 0) {
        for (std::uint32_t tries = random() % 8; tries > 0 && !enough(); --tries) {
            const std::uint32_t number = random() % slots;
            if (!all[number].busy) (void)queue_one(number);
        }
        const bool park = io.in_flight() > 0 && random() % 4 == 0;
        const bool submits = io.counters().submitted > shown;
        shown = io.counters().submitted;
        const std::uint64_t before = io.counters().sqpoll_wakeups;
        Completions completions = park ? io.park() : io.poll();
        if (submits) ++(io.counters().sqpoll_wakeups > before ? met.asleep : met.awake);
        for (const Completion& done : completions) {
            Slot& slot = all[done.token % slots];
            ASSERT_TRUE(slot.busy && slot.token == done.token) << "token " << done.token;
            ASSERT_EQ(done.res, slot.expected) << "token " << done.token;
            if (slot.op == abi::Op::read) {
                ASSERT_EQ(find_wrong(slot.bytes, slot.offset, slot.token), -1);
            }
            slot.busy = false;
            ++seen;
            if (random() % 4 == 0) (void)queue_one(static_cast<std::uint32_t>(done.token % slots));
        }
        const auto dice = random() % 64;
        if (dice == 0) {
            poller.must_doze();
        } else if (dice == 1) {
            poller.must_stay_up();
        } else if (dice < 8) {
            poller.may_doze();
            std::this_thread::yield();  // long enough for that, perhaps
        }
    }
    EXPECT_EQ(io.counters().completed, seen);
    met.print();
    EXPECT_GT(poller.refused(), 0U);
}

// One ring whose poller sleeps after 1 ms of idling, or where the kernel's ticks are longer after two of them, and one
// submission after another that is aimed at that moment: a little later than the last one where the poller was awake, else
// a little sooner, and more than a little where that does not help. Goes on until there were enough of both: what is not
// near the moment is no race.
Meetings race_for_sleep(std::uint64_t rounds) {
    Io io = make_io({.entries = 4, .mode = Mode::sqpoll, .sqpoll_idle = 1ms});
    std::minstd_rand random(std::random_device{}());
    std::chrono::nanoseconds aim = 5ms;
    Meetings met;
    bool last = false;
    unsigned in_a_row = 0;
    const auto enough = [&] { return met.asleep >= rounds / 50 && met.awake >= rounds / 50; };
    for (std::uint64_t round = 0; round < rounds || (!enough() && round < 50 * rounds); ++round) {
        const std::uint64_t before = io.counters().sqpoll_wakeups;
        EXPECT_TRUE(io.nop(round));
        const auto deadline = io.now() + 60s;
        std::size_t got = 0;
        while (got == 0 && io.now() < deadline) got = random() % 2 == 0 ? io.poll().size() : io.park(60s).size();
        EXPECT_EQ(got, 1U) << "the poller sleeps on round " << round;
        if (got != 1) break;
        const bool slept = io.counters().sqpoll_wakeups > before;
        ++(slept ? met.asleep : met.awake);
        in_a_row = slept == last ? in_a_row + 1 : 0;
        last = slept;
        const std::chrono::nanoseconds step = in_a_row < 8 ? 10us : 10us + aim / 8;
        aim = std::max(0ns, slept ? aim - step : aim + step);
        std::this_thread::sleep_for(aim +
                                    std::chrono::microseconds(random() % 40));  // spinning would starve the pollers
    }
    EXPECT_TRUE(enough()) << met.asleep << " met it asleep, " << met.awake << " awake";
    return met;
}

// A poller spins for some milliseconds before it sleeps, and so a processor has a few hundred races in a second. SQUALL_STRESS
// asks for more: 2000 for two million.
TEST(Sqpoll, NoWakeUpOfASleepingThreadIsLost) {
    const unsigned rings = 2 * std::max(1U, std::thread::hardware_concurrency());
    const std::uint64_t rounds = std::max<std::uint64_t>(scaled(1000) / rings, 1);
    std::vector<Meetings> met(rings);
    std::vector<std::thread> racers;
    for (Meetings& one : met) racers.emplace_back([&one, rounds] { one = race_for_sleep(rounds); });
    for (std::thread& racer : racers) racer.join();
    Meetings all;
    for (const Meetings& one : met) all = {all.asleep + one.asleep, all.awake + one.awake};
    all.print();
}

}  // namespace
}  // namespace squall
