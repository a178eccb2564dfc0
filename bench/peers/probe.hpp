// SPDX-License-Identifier: MIT
//
// What looks on while an engine runs: Quiet for throughput, which costs next to nothing; Timed for latency, in a run of
// its own, so that its clock is in nobody's throughput; Checked for whether the right bytes move at all. An engine's loop
// is compiled once for each of them. An engine of several threads gives each its share() of one, and add()s them up.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../target.hpp"

namespace peers {

struct Bench;

// Counts of durations, in buckets that are at most 1/64 apart.
class Histogram {
public:
    void add(std::uint64_t nanoseconds) { ++counts_[index(nanoseconds)]; }
    void add(const Histogram& other) {
        for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    }
    // Calls visit(nanoseconds, count) for each bucket that is not empty, with its middle.
    template <class Visit>
    void each(Visit visit) const {
        for (std::size_t i = 0; i < counts_.size(); ++i)
            if (counts_[i] != 0) visit((lowest(i) + lowest(i + 1)) / 2, counts_[i]);
    }

private:
    static constexpr unsigned fine_bits = 6;
    static constexpr std::uint64_t fine = 1 << fine_bits;
    static constexpr unsigned powers = 36;
    static constexpr std::uint64_t highest = (fine << powers) - 1;  // more than an hour
    static std::size_t index(std::uint64_t value) {
        value = std::min(value, highest);
        if (value < fine) return value;
        const unsigned power = static_cast<unsigned>(std::bit_width(value)) - fine_bits - 1;
        return power * fine + (value >> power);
    }
    static std::uint64_t lowest(std::size_t index) {
        const std::size_t power = index < 2 * fine ? 0 : index / fine - 1;
        return (index - power * fine) << power;
    }
    std::array<std::uint64_t, (powers + 1) * fine> counts_{};
};

// Stops a run when its time is over. It looks at the clock every 20 to 200 us or so, and not at every transfer.
class Until {
public:
    using Clock = std::chrono::steady_clock;
    explicit Until(double seconds)
        : looked_(Clock::now()), end_(looked_ + std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9))) {}

    bool go_on(std::uint32_t transfers) {
        left_ -= transfers;
        return left_ > 0 || look();
    }

private:
    bool look() {
        const Clock::time_point now = Clock::now();
        const auto passed = now - looked_;
        looked_ = now;
        if (passed < std::chrono::microseconds(20))
            interval_ *= 2;
        else if (passed > std::chrono::microseconds(200) && interval_ > 1)
            interval_ /= 2;
        left_ = interval_;
        return now < end_;
    }
    Clock::time_point looked_;
    Clock::time_point end_;
    std::int64_t interval_ = 1;
    std::int64_t left_ = 0;
};

class Quiet {
public:
    explicit Quiet(double seconds) : until_(seconds) {}
    bool go_on(std::uint32_t transfers) { return until_.go_on(transfers); }
    static std::uint64_t place(std::uint64_t drawn, std::uint64_t places) {
        return squall_bench::random_place(drawn, places);
    }
    static void queued(std::uint32_t, std::uint64_t) {}
    static void finished(std::uint32_t, std::uint64_t) {}
    [[nodiscard]] Quiet share(unsigned) const { return *this; }
    static void add(const Quiet&) {}

private:
    Until until_;
};

// From just before a transfer is queued to when it is handed out.
class Timed {
public:
    Timed(double seconds, std::uint32_t depth) : until_(seconds), queued_at_(depth) {}
    bool go_on(std::uint32_t transfers) { return until_.go_on(transfers); }
    static std::uint64_t place(std::uint64_t drawn, std::uint64_t places) { return Quiet::place(drawn, places); }
    void queued(std::uint32_t slot, std::uint64_t) { queued_at_[slot] = Until::Clock::now(); }
    void finished(std::uint32_t slot, std::uint64_t) {
        // What an earlier run left in flight has no time.
        if (queued_at_[slot] == Until::Clock::time_point()) return;
        latencies_.add(static_cast<std::uint64_t>((Until::Clock::now() - queued_at_[slot]).count()));
    }
    [[nodiscard]] Timed share(unsigned) const { return *this; }
    void add(const Timed& other) { latencies_.add(other.latencies_); }
    [[nodiscard]] const Histogram& latencies() const { return latencies_; }

private:
    Until until_;
    std::vector<Until::Clock::time_point> queued_at_;
    Histogram latencies_;
};

// A limited number of transfers, each to a place of its own. What was read is compared with what pread(2) says; what was
// written, which no earlier process can have written, is read back by pread(2) when all is done.
class Checked {
public:
    Checked(const Bench& bench, std::uint64_t transfers);
    bool go_on(std::uint32_t transfers) {
        left_ -= transfers;
        return left_ >= 0 && wrong_.empty();
    }
    static std::uint64_t place(std::uint64_t drawn, std::uint64_t places) { return drawn % places; }
    void queued(std::uint32_t slot, std::uint64_t offset);
    void finished(std::uint32_t slot, std::uint64_t offset);
    [[nodiscard]] Checked share(unsigned threads) const;
    void add(const Checked& other);
    // Empty when all bytes are right.
    [[nodiscard]] std::string verdict() const;

private:
    [[nodiscard]] bool is_in_file(const std::byte* bytes, std::uint64_t offset) const;
    void fill(std::byte* bytes, std::uint64_t offset) const;

    const Bench& bench_;
    std::uint64_t salt_;
    std::int64_t left_;
    std::uint64_t read_right_ = 0;
    std::vector<std::uint64_t> written_;
    std::string wrong_;
};

}  // namespace peers
