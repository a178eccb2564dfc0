// SPDX-License-Identifier: MIT
//
// Sampled latencies: one operation in so many is timed from its being queued to its being handed
// out, and goes into the caller's histograms, the caller's trace hook, or both. Opt-in with
// IoOptions::sampling, and free when off: no inline instruction knows of it. When on, what
// is not sampled costs next to nothing (bench/run --nop-cost measures it).
//
// A sample is recognised by its token when it comes back, so that no token value is reserved and no
// table is kept: where several operations in flight have the same token, the first of them to
// complete ends the sample. At most one sample is in flight per Io; the next is taken when it is
// back and `every` operations were queued since the last.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "squall/config.hpp"

namespace squall {

// What an operation does; fdatasync counts as fsync, a transfer by readv or writev, fixed or not,
// as any other, rmdir as unlink, symlink as link, and a deadline as timer.
enum class OpKind : std::uint8_t {
    nop,
    open,
    read,
    write,
    fsync,
    statx,
    rename,
    unlink,
    close,
    fallocate,
    truncate,
    sync_range,
    advise,
    mkdir,
    link,
    timer,
    cancel,
};
inline constexpr std::size_t op_kinds = 17;
// The kind's name as it is spelled above.
[[nodiscard]] SQUALL_API const char* name(OpKind kind) noexcept;

// One sampled operation. Times are CLOCK_MONOTONIC's.
struct Sample {
    std::uint64_t token;  // the operation's Token
    OpKind kind;
    std::int32_t res;                 // as in its Completion
    std::chrono::nanoseconds queued;  // when the call that queued it was made
    // When the poll() or park() that gave it to the kernel began to.
    std::chrono::nanoseconds submitted;
    std::chrono::nanoseconds completed;  // when a poll() or park() found its completion
};

// Counts of durations in buckets a sixteenth of a power of two wide, so that a value is known to 6
// %, from 0 ns to 2^40 ns (18 minutes), and what is longer in the last: some 5 KiB, no allocation.
// Thread rule: one thread at a time, so read it where the Io that records into it is polled, or
// give each Io its own and merge them.
class SQUALL_API LatencyHistogram {
public:
    void record(std::chrono::nanoseconds duration) noexcept;
    void merge(const LatencyHistogram& other) noexcept;
    void clear() noexcept { *this = {}; }

    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    // 0 when empty.
    [[nodiscard]] std::chrono::nanoseconds mean() const noexcept;
    [[nodiscard]] std::chrono::nanoseconds longest() const noexcept { return longest_; }
    // The least duration that `percent` of those recorded do not exceed, to the precision of a
    // bucket and never above longest(). `percent` is 0 to 100, 99.9 for one in a thousand; beyond
    // either end as at it. 0 when empty.
    [[nodiscard]] std::chrono::nanoseconds percentile(double percent) const noexcept;

    // For those who draw it: the buckets in order, each counting durations from lower_bound() up to
    // the next one's.
    static constexpr std::size_t bucket_count = 16 + 36 * 16;
    [[nodiscard]] std::uint64_t bucket(std::size_t number) const noexcept {
        return buckets_[number];
    }
    [[nodiscard]] static std::chrono::nanoseconds lower_bound(std::size_t number) noexcept;

private:
    std::array<std::uint64_t, bucket_count> buckets_{};
    std::uint64_t count_ = 0;
    std::uint64_t sum_ = 0;
    std::chrono::nanoseconds longest_{0};
};

// One histogram for each kind of operation, of the time from queued to completed.
struct LatencyHistograms {
    std::array<LatencyHistogram, op_kinds> of_kind{};
    [[nodiscard]] LatencyHistogram& operator[](OpKind kind) noexcept {
        return of_kind[static_cast<std::size_t>(kind)];
    }
    [[nodiscard]] const LatencyHistogram& operator[](OpKind kind) const noexcept {
        return of_kind[static_cast<std::size_t>(kind)];
    }
};

// What IoOptions::sampling asks for.
struct Sampling {
    // One operation in so many, 1 or more; 1 takes as many as can be had, the next as soon as the
    // last is back. 0: none.
    std::uint32_t every = 0;
    // At least one of the two where `every` is not 0. Both must outlive the Io. The hook is called
    // by the poll() or park() that hands the operation out, before it does; it must not call that
    // Io.
    LatencyHistograms* histograms = nullptr;
    void (*hook)(void* context, const Sample& sample) noexcept = nullptr;
    void* context = nullptr;
};

}  // namespace squall
