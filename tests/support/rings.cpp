// SPDX-License-Identifier: MIT
//
// See rings.hpp.
#include "rings.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "seam.hpp"

namespace squall::test {

namespace {

using namespace std::chrono_literals;

// `condition` looks at the rings, while none of them can go.
template <class Condition>
void wait_until(Condition condition, const char* what) {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) {
            ADD_FAILURE() << what;
            return;
        }
        std::this_thread::sleep_for(100us);  // spinning would starve what is waited for
    }
}

bool all_pollers(bool (*are)(const RingWords&)) {
    bool all = true;
    for_each_ring([&](const RingWords& ring) {
        if ((ring.params.flags & abi::setup_sqpoll) != 0) all = all && are(ring);
    });
    return all;
}

std::uint32_t load(const std::uint32_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

}  // namespace

void until_taken() {
    const auto has_taken = [](const RingWords& ring) { return load(ring.sq_head) == load(ring.sq_tail); };
    wait_until([&] { return all_pollers(has_taken); }, "a poller does not take what it was shown");
}

void until_asleep() {
    const auto sleeps = [](const RingWords& ring) { return (load(ring.sq_flags) & abi::sq_need_wakeup) != 0; };
    wait_until([&] { return all_pollers(sleeps); }, "a poller does not fall asleep");
}

void until_completed(std::uint32_t count) {
    const auto ready = [] {
        std::uint32_t sum = 0;
        for_each_ring([&sum](const RingWords& ring) { sum += load(ring.cq_tail) - load(ring.cq_head); });
        return sum;
    };
    wait_until([&] { return ready() >= count; }, "what was to complete does not");
}

}  // namespace squall::test
