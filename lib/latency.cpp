// SPDX-License-Identifier: MIT
//
// The arithmetic of LatencyHistogram. The life of a sample is sampler.cpp's.
#include "squall/latency.hpp"

#include <bit>

#include "operations.hpp"

namespace squall {

namespace {

// Sixteen buckets of one nanosecond each, then sixteen for every power of two.
constexpr unsigned sub_bits = 4;
constexpr std::uint64_t subs = 1U << sub_bits;

std::size_t bucket_of(std::uint64_t value) noexcept {
    if (value < subs) return static_cast<std::size_t>(value);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - 1 - sub_bits;
    const std::size_t number = (shift + 1) * subs + ((value >> shift) - subs);
    return number < LatencyHistogram::bucket_count ? number : LatencyHistogram::bucket_count - 1;
}

}  // namespace

const char* name(OpKind kind) noexcept {
    const detail::Operation* row = detail::operations.begin();
    while (row->kind != kind) ++row;  // each kind has one
    return row->call;
}

std::chrono::nanoseconds LatencyHistogram::lower_bound(std::size_t number) noexcept {
    if (number < subs) return std::chrono::nanoseconds(number);
    const std::size_t shift = number / subs - 1;
    return std::chrono::nanoseconds((number % subs + subs) << shift);
}

void LatencyHistogram::record(std::chrono::nanoseconds duration) noexcept {
    const std::uint64_t value =
        duration.count() > 0 ? static_cast<std::uint64_t>(duration.count()) : 0;
    ++buckets_[bucket_of(value)];
    ++count_;
    sum_ += value;
    if (duration > longest_) longest_ = duration;
}

void LatencyHistogram::merge(const LatencyHistogram& other) noexcept {
    for (std::size_t i = 0; i < bucket_count; ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    if (other.longest_ > longest_) longest_ = other.longest_;
}

std::chrono::nanoseconds LatencyHistogram::mean() const noexcept {
    return std::chrono::nanoseconds(count_ == 0 ? 0 : sum_ / count_);
}

std::chrono::nanoseconds LatencyHistogram::percentile(double percent) const noexcept {
    if (count_ == 0) return std::chrono::nanoseconds(0);
    // How many must not exceed it: at least one, so that 0 % is the shortest; a NaN is taken as 0
    // too.
    const double share = percent >= 100 ? 1 : percent > 0 ? percent / 100 : 0;
    const double exact = share * static_cast<double>(count_);
    auto needed = static_cast<std::uint64_t>(exact);
    if (static_cast<double>(needed) < exact || needed == 0) ++needed;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i + 1 < bucket_count; ++i) {
        seen += buckets_[i];
        if (seen >= needed) {
            const std::chrono::nanoseconds last = lower_bound(i + 1) - std::chrono::nanoseconds(1);
            return last < longest_ ? last : longest_;
        }
    }
    return longest_;
}

}  // namespace squall
