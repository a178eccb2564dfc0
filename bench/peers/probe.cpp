// SPDX-License-Identifier: MIT
//
// Whether a peer moves the right bytes, which is asked before it is measured.
#include "probe.hpp"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "peer.hpp"

namespace peers {

namespace {

using Block = std::unique_ptr<std::byte, decltype(&std::free)>;
Block make_block(std::uint64_t size) {
    constexpr std::uint64_t page = 4096;
    return {static_cast<std::byte*>(std::aligned_alloc(page, (size + page - 1) / page * page)), &std::free};
}

}  // namespace

Checked::Checked(const Bench& bench, std::uint64_t transfers)
    : bench_(bench),
      salt_(static_cast<std::uint64_t>(Until::Clock::now().time_since_epoch().count())),
      left_(static_cast<std::int64_t>(std::min(transfers, bench.places))) {}

void Checked::queued(std::uint32_t slot, std::uint64_t offset) {
    const std::span<std::byte> buffer = bench_.buffer(slot);
    // So that the last transfer's bytes cannot pass for this one's.
    if (bench_.cell.write)
        fill(buffer.data(), offset);
    else
        std::memset(buffer.data(), 0x5c, buffer.size());
}

void Checked::finished(std::uint32_t slot, std::uint64_t offset) {
    if (bench_.cell.write)
        written_.push_back(offset);
    else if (is_in_file(bench_.buffer(slot).data(), offset))
        ++read_right_;
    else
        wrong_ = "a read of " + std::to_string(bench_.cell.size) + " bytes at " + std::to_string(offset) +
                 " did not give the file's bytes";
}

Checked Checked::share(unsigned threads) const {
    Checked part = *this;
    part.left_ /= threads;
    return part;
}

void Checked::add(const Checked& other) {
    read_right_ += other.read_right_;
    written_.insert(written_.end(), other.written_.begin(), other.written_.end());
    if (wrong_.empty()) wrong_ = other.wrong_;
}

std::string Checked::verdict() const {
    if (!wrong_.empty()) return wrong_;
    const Block expected = make_block(bench_.cell.size);
    for (const std::uint64_t offset : written_) {
        fill(expected.get(), offset);
        if (!is_in_file(expected.get(), offset))
            return "a write of " + std::to_string(bench_.cell.size) + " bytes at " + std::to_string(offset) +
                   " is not in the file";
    }
    return read_right_ + written_.size() == 0 ? "no transfer was made" : "";
}

bool Checked::is_in_file(const std::byte* bytes, std::uint64_t offset) const {
    const std::uint64_t size = bench_.cell.size;
    const Block found = make_block(size);
    return ::pread(bench_.fd, found.get(), size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size) &&
           std::memcmp(found.get(), bytes, size) == 0;
}

void Checked::fill(std::byte* bytes, std::uint64_t offset) const {
    for (std::uint64_t at = 0; at < bench_.cell.size; at += sizeof(std::uint64_t)) {
        const std::uint64_t word = squall_bench::scramble(salt_ + offset + at);
        std::memcpy(bytes + at, &word, sizeof word);
    }
}

}  // namespace peers
