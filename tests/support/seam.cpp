// SPDX-License-Identifier: MIT
//
// Stands in for the kernel in the test programs: see seam.hpp.
#include "seam.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <mutex>
#include <vector>

namespace squall::test {

namespace {

std::array<std::atomic<std::uint64_t>, 1024> counts;
std::atomic<std::uint64_t> mapped{0};
Intercept::Answer* current = nullptr;
Witness::Sees* witness = nullptr;

// A ring from its set-up until it is unmapped.
struct Made {
    pid_t process;
    int fd;
    abi::Params params;
    char* sq_ring = nullptr;
    char* cq_ring = nullptr;
};
// Never destroyed: at the end of a process other threads may still make calls.
std::vector<Made>& all_rings() {
    static std::vector<Made>& rings = *new std::vector<Made>;
    return rings;
}
std::mutex rings_lock;

void note_made(const Call& call, long answer) {
    const auto& a = call.args;
    if (call.number == nr_setup && answer >= 0) {
        const std::lock_guard lock(rings_lock);
        all_rings().push_back({::getpid(), static_cast<int>(answer), *reinterpret_cast<const abi::Params*>(a[1])});
    } else if (call.number == SYS_mmap && static_cast<int>(a[4]) >= 0 && !sys::is_error(answer)) {
        const std::lock_guard lock(rings_lock);
        // The newest first: the descriptor of one that is gone may be another's by now.
        auto& rings = all_rings();
        const auto made = std::find_if(rings.rbegin(), rings.rend(),
                                       [&a](const Made& ring) { return ring.fd == static_cast<int>(a[4]); });
        if (made == rings.rend()) return;
        const bool single = (made->params.features & abi::feat_single_mmap) != 0;
        if (a[5] == abi::off_sq_ring) made->sq_ring = reinterpret_cast<char*>(answer);
        if (a[5] == (single ? abi::off_sq_ring : abi::off_cq_ring)) made->cq_ring = reinterpret_cast<char*>(answer);
    }
}

// Before it goes, so that nobody looks at it any more.
void note_going(const Call& call) {
    if (call.number != SYS_munmap) return;
    const std::lock_guard lock(rings_lock);
    auto* const at = reinterpret_cast<char*>(call.args[0]);
    std::erase_if(all_rings(), [at](const Made& ring) { return ring.sq_ring == at || ring.cq_ring == at; });
}

}  // namespace

void for_each_ring(const std::function<void(const RingWords&)>& sees) {
    const std::lock_guard lock(rings_lock);
    for (const Made& ring : all_rings()) {
        if (ring.process != ::getpid() || !ring.sq_ring || !ring.cq_ring) continue;
        const auto word = [](char* at, std::uint32_t offset) { return reinterpret_cast<std::uint32_t*>(at + offset); };
        const auto& sq = ring.params.sq_off;
        const auto& cq = ring.params.cq_off;
        sees({ring.params, word(ring.sq_ring, sq.head), word(ring.sq_ring, sq.tail), word(ring.sq_ring, sq.flags),
              word(ring.cq_ring, cq.head), word(ring.cq_ring, cq.tail)});
    }
}

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

// What answers for every ring and for the process, in a test program.
long answer(sys::Kernel&, long number, std::uintptr_t a, std::uintptr_t b, std::uintptr_t c, std::uintptr_t d,
            std::uintptr_t e, std::uintptr_t f) noexcept {
    Call made{number, {a, b, c, d, e, f}};
    // Linux's clock takes no system call, and so is none to be counted or shown.
    if (number == SYS_clock_gettime) return real(made);
    counts[static_cast<std::size_t>(number)].fetch_add(1, std::memory_order_relaxed);
    note_going(made);
    std::optional<long> given;
    if (current) given = (*current)(made);
    const long result = given ? *given : real(made);
    note_made(made, result);
    if (witness) (*witness)(made, result);
    return result;
}

// Before main(), and so before any ring.
constinit sys::Kernel seam(&answer);
[[maybe_unused]] const sys::Kernel* const installed = sys::host = &seam;

}  // namespace

}  // namespace squall::test
