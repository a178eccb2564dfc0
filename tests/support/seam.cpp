// SPDX-License-Identifier: MIT
//
// Stands in for the kernel in the test programs: see seam.hpp.
#include "seam.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>

namespace squall::test {

namespace {

std::array<std::atomic<std::uint64_t>, 1024> counts;
std::atomic<std::uint64_t> mapped{0};
Intercept::Answer* current = nullptr;
Witness::Sees* witness = nullptr;

}  // namespace

long real(const Call& call) noexcept {
    const long result =
        ::syscall(call.number, call.args[0], call.args[1], call.args[2], call.args[3], call.args[4], call.args[5]);
    if (result == -1) return -errno;
    if (call.number == SYS_mmap) mapped.fetch_add(call.args[1]);
    if (call.number == SYS_munmap) mapped.fetch_sub(call.args[1]);
    return result;
}

std::uint64_t calls_made(long number) { return counts.at(static_cast<std::size_t>(number)).load(); }

std::uint64_t calls_made() {
    std::uint64_t sum = 0;
    for (const auto& count : counts) sum += count.load();
    return sum;
}

std::uint64_t bytes_mapped() { return mapped.load(); }

Intercept::Intercept(Answer answer) { current = new Answer(std::move(answer)); }

Intercept::~Intercept() {
    delete current;
    current = nullptr;
}

Witness::Witness(Sees sees) { witness = new Sees(std::move(sees)); }

Witness::~Witness() {
    delete witness;
    witness = nullptr;
}

Intercept::Answer refuse(long number, long result, int times) {
    return [number, result, left = times](Call& call) mutable -> std::optional<long> {
        if (call.number != number || left == 0) return std::nullopt;
        --left;
        return result;
    };
}

namespace {

long answer(long number, std::uintptr_t a, std::uintptr_t b, std::uintptr_t c, std::uintptr_t d, std::uintptr_t e,
            std::uintptr_t f) noexcept {
    counts[static_cast<std::size_t>(number)].fetch_add(1, std::memory_order_relaxed);
    Call made{number, {a, b, c, d, e, f}};
    std::optional<long> given;
    if (current) given = (*current)(made);
    const long result = given ? *given : real(made);
    if (witness) (*witness)(made, result);
    return result;
}

// Before main(), and so before any ring.
[[maybe_unused]] const sys::Replacement installed = sys::replacement = &answer;

}  // namespace

}  // namespace squall::test
