// SPDX-License-Identifier: MIT
//
// Load: millions of operations of random kinds and sizes in batches of random length on real files, checked byte for byte,
// under a storm of signals. SQUALL_STRESS scales the work.
#include <fcntl.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <random>
#include <thread>

#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr double slowdown = 8;
#elif !defined(__OPTIMIZE__)
constexpr double slowdown = 4;
#else
constexpr double slowdown = 1;
#endif

// Ten thousand signals a second for as long as it lives, in the middle of everything.
class SignalStorm {
public:
    SignalStorm() {
        arrived_ = 0;
        struct ::sigaction action {};
        action.sa_handler = [](int) { arrived_ = arrived_ + 1; };
        ::sigaction(SIGALRM, &action, nullptr);
        const ::itimerval often{{0, 100}, {0, 100}};
        ::setitimer(ITIMER_REAL, &often, nullptr);
    }
    ~SignalStorm() {
        const ::itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
    }
    SignalStorm(const SignalStorm&) = delete;
    SignalStorm& operator=(const SignalStorm&) = delete;
    static int arrived() { return arrived_; }

private:
    static volatile std::sig_atomic_t arrived_;
};
volatile std::sig_atomic_t SignalStorm::arrived_ = 0;

// One file of fixed-length records. What a record must hold follows from its number and how often it was written; while
// a record has an operation in flight, no other touches it. Fixed and unregistered memory, whole records and parts.
class Engine {
public:
    static constexpr std::size_t record_bytes = 4096;
    static constexpr std::uint32_t records = 512;
    static constexpr unsigned slots = 96;

    Engine(Kind mode, std::uint64_t seed)
        : random_(seed), io_(make_io(mode, {.entries = 64, .completion_entries = 128, .arena = &arena_})) {
        fd_ = result_of(io_, io_.open(dir_.file("data").c_str(), {.read = true, .write = true, .create = true}, 0));
        EXPECT_GE(fd_, 0);
        for (unsigned i = 0; i < slots; ++i) {
            if (i % 2 == 0) leases_.push_back(arena_.acquire().value());
            heap_.emplace_back(record_bytes);
            free_.push_back(i);
        }
    }
    ~Engine() { ::close(fd_); }
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Until so many have completed since it was made.
    void run(std::uint64_t operations) {
        while (completed_ < operations) {
            const std::uint64_t batch = 1 + random_() % 80;
            for (std::uint64_t i = 0; i < batch && submitted_ < operations && !free_.empty(); ++i)
                if (queue_one()) ++submitted_;
            switch (random_() % 4) {
                case 0:
                    reap(io_.poll());
                    break;
                case 1:
                    reap(io_.park(std::chrono::microseconds(random_() % 200)));
                    break;
                default:
                    reap(io_.park());
            }
            ASSERT_EQ(io_.counters().submitted, io_.counters().completed + io_.in_flight());
            if (testing::Test::HasFailure()) return;
        }
        EXPECT_EQ(io_.in_flight(), 0U);
        EXPECT_EQ(io_.counters().overflow_flushes, 0U);
        EXPECT_GT(io_.counters().fixed, operations / 10);
        EXPECT_GT(io_.counters().unregistered, operations / 10);
        check_the_file();
    }

private:
    enum class Work { read, write, sync, stat, metadata, nop };
    struct Slot {
        Work kind;
        std::uint32_t record;
        std::size_t from;
        std::size_t bytes;
        bool busy = false;
    };

    std::span<std::byte> memory(unsigned slot) {
        return slot % 2 == 0 ? leases_[slot / 2].bytes() : std::span<std::byte>(heap_[slot]);
    }
    std::uint64_t seed_of(std::uint32_t record) const { return record * 1'000'003ULL + versions_[record]; }

    bool queue_one() {
        const unsigned index = free_.back();
        Slot& slot = slots_[index];
        slot = {kind(), static_cast<std::uint32_t>(random_() % records), 0, 0};
        const bool transfers = slot.kind == Work::read || slot.kind == Work::write;
        if (transfers && record_busy_[slot.record]) slot.kind = Work::nop;
        // A token that says which slot, under random high bits: every bit of it must come back.
        const Token token = tokens_[index] = (random_() << 8) | index;
        bool queued = false;
        const std::uint64_t at = slot.record * record_bytes;
        switch (slot.kind) {
            case Work::read:
                slot.from = random_() % record_bytes;
                slot.bytes = 1 + random_() % (record_bytes - slot.from);
                std::memset(memory(index).data(), 0xdd, record_bytes);
                queued = io_.read(fd_, memory(index).subspan(slot.from, slot.bytes), at + slot.from, token);
                break;
            case Work::write:
                ++versions_[slot.record];
                fill_pattern(memory(index), 0, seed_of(slot.record));
                slot.bytes = record_bytes;
                queued = io_.write(fd_, memory(index), at, token);
                if (!queued) --versions_[slot.record];
                break;
            case Work::sync:
                queued = io_.fdatasync(fd_, token);
                break;
            case Work::stat:
                queued = io_.statx(fd_, statx_[index], token);
                break;
            case Work::metadata: {
                std::string none = dir_.file("none" + std::to_string(random_() % 1000));
                queued = random_() % 2 == 0 ? io_.unlink(none.c_str(), token) : io_.open(none.c_str(), {}, token);
                std::fill(none.begin(), none.end(), '#');
                break;
            }
            case Work::nop:
                queued = io_.nop(token);
        }
        if (!queued) return false;
        free_.pop_back();
        slot.busy = true;
        if (slot.kind == Work::read || slot.kind == Work::write) record_busy_[slot.record] = true;
        return true;
    }
    Work kind() {
        const std::uint64_t dice = random_() % 1000;
        return dice < 500   ? Work::read
               : dice < 880 ? Work::write
               : dice < 881 ? Work::sync
               : dice < 890 ? Work::stat
               : dice < 900 ? Work::metadata
                            : Work::nop;
    }

    void reap(const Completions& done) {
        ASSERT_FALSE(done.error()) << done.error().message();
        for (const Completion& completion : done) {
            const auto index = static_cast<unsigned>(completion.token & 0xff);
            ASSERT_LT(index, slots);
            ASSERT_EQ(completion.token, tokens_[index]) << "a token came back changed";
            Slot& slot = slots_[index];
            ASSERT_TRUE(slot.busy) << "completed twice";
            slot.busy = false;
            check(slot, index, completion.res);
            free_.push_back(index);
            ++completed_;
        }
    }
    void check(const Slot& slot, unsigned index, std::int32_t result) {
        switch (slot.kind) {
            case Work::read: {
                record_busy_[slot.record] = false;
                const auto bytes = memory(index);
                const auto got = static_cast<std::size_t>(std::max(result, 0));
                // Past the end of the file as it grows, or in a hole before it.
                if (versions_[slot.record] != 0) {
                    ASSERT_EQ(got, slot.bytes);
                    ASSERT_EQ(find_wrong(bytes.subspan(slot.from, got), slot.from, seed_of(slot.record)), -1);
                } else {
                    ASSERT_GE(result, 0);
                    for (const std::byte byte : bytes.subspan(slot.from, got)) ASSERT_EQ(byte, std::byte{0});
                }
                for (std::size_t i = 0; i < slot.from; ++i) ASSERT_EQ(bytes[i], std::byte{0xdd});
                for (std::size_t i = slot.from + got; i < record_bytes; ++i) ASSERT_EQ(bytes[i], std::byte{0xdd});
                break;
            }
            case Work::write:
                record_busy_[slot.record] = false;
                ASSERT_EQ(result, static_cast<std::int32_t>(record_bytes));
                break;
            case Work::metadata:
                ASSERT_EQ(result, -ENOENT);
                break;
            default:
                ASSERT_EQ(result, 0);
        }
    }
    void check_the_file() {
        std::vector<std::byte> bytes(record_bytes);
        for (std::uint32_t record = 0; record < records; ++record) {
            if (versions_[record] == 0) continue;
            ASSERT_EQ(::pread(fd_, bytes.data(), record_bytes, static_cast<off_t>(record * record_bytes)),
                      static_cast<ssize_t>(record_bytes));
            ASSERT_EQ(find_wrong(bytes, 0, seed_of(record)), -1) << "record " << record;
        }
    }

    std::mt19937_64 random_;
    TempDir dir_;
    BufferArena arena_ = make_arena({.buffer_size = record_bytes, .count = slots / 2});
    std::vector<FixedBuffer> leases_;
    std::vector<std::vector<std::byte>> heap_;
    int fd_ = -1;
    std::vector<unsigned> free_;
    Slot slots_[slots] = {};
    Token tokens_[slots] = {};
    struct ::statx statx_[slots] = {};
    std::uint64_t versions_[records] = {};
    bool record_busy_[records] = {};
    std::uint64_t submitted_ = 0;
    std::uint64_t completed_ = 0;
    Io io_;
};

class StressTest : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Modes, StressTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(StressTest, EveryByteIsInItsPlaceAfterMillionsOfOperationsUnderSignals) {
    const std::uint64_t seed = std::random_device()();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Engine engine(GetParam(), seed);
    const SignalStorm storm;
    const bool alone = GetParam().polling == Polling::none;
    const double load = !alone ? 200'000 : GetParam().mode == Mode::deferred ? 1'500'000 : 500'000;
    auto operations = scaled(load / slowdown);
    engine.run(operations);
    // On a machine that has no time for it, few signals may have come by then.
    while (SignalStorm::arrived() <= 10 && !testing::Test::HasFailure()) engine.run(operations += 1000);
}

TEST_P(StressTest, TheCompletionQueueWrapsManyTimesWithoutALoss) {
    Io io = make_io(GetParam(), {.entries = 4, .completion_entries = 8});
    const std::uint64_t total = scaled((GetParam().polling == Polling::none ? 1'000'000 : 200'000) / slowdown);
    std::uint64_t queued = 0;
    std::uint64_t seen = 0;
    std::uint64_t sum = 0;
    while (seen < total) {
        while (queued < total && io.nop(queued)) ++queued;
        for (const Completion& completion : io.park()) {
            sum += completion.token;
            ++seen;
        }
    }
    EXPECT_EQ(sum, total * (total - 1) / 2);
    EXPECT_EQ(io.counters().overflow_flushes, 0U);
}

}  // namespace
}  // namespace squall
