// SPDX-License-Identifier: MIT
//
// See rings.hpp.
#include "rings.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "seam.hpp"

namespace squall::test {

namespace {

using namespace std::chrono_literals;

template <class Condition>
void wait_until(Condition condition, const char* what) {
    const std::vector<RingWords> rings = rings_now();
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (!condition(rings)) {
        if (std::chrono::steady_clock::now() > deadline) {
            ADD_FAILURE() << what;
            return;
        }
        std::this_thread::sleep_for(100us);  // spinning would starve what is waited for
    }
}

std::uint32_t load(const std::uint32_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

}  // namespace

void until_taken() {
    wait_until(
        [](const auto& rings) {
            return std::all_of(rings.begin(), rings.end(),
                               [](const RingWords& ring) { return load(ring.sq_head) == load(ring.sq_tail); });
        },
        "the kernel does not take what it was shown");
}

void until_asleep() {
    wait_until(
        [](const auto& rings) {
            return std::all_of(rings.begin(), rings.end(), [](const RingWords& ring) {
                return (ring.params.flags & abi::setup_sqpoll) == 0 || (load(ring.sq_flags) & abi::sq_need_wakeup) != 0;
            });
        },
        "a poller does not fall asleep");
}

void until_completed(std::uint32_t count) {
    wait_until(
        [count](const auto& rings) {
            std::uint32_t ready = 0;
            for (const RingWords& ring : rings) ready += load(ring.cq_tail) - load(ring.cq_head);
            return ready >= count;
        },
        "what was to complete does not");
}

}  // namespace squall::test
