// SPDX-License-Identifier: MIT
//
// What the tests of the invariants that everything else rests on, I1 to I10, begin with: an Io of each kind. Each is in
// invariants/ by its name, but for most of I3, the clean exit, which is exit_test.cpp's; under load and signals they are
// met again in stress_test.cpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

#include "support.hpp"

namespace squall::test {

inline void expect_conserved(const Io& io) {
    EXPECT_EQ(io.counters().submitted, io.counters().completed + io.in_flight());
}

class InvariantTest : public testing::TestWithParam<Kind> {
protected:
    Io make(std::uint32_t entries, std::uint32_t completion_entries = 0) {
        return make_io(GetParam(), {.entries = entries, .completion_entries = completion_entries});
    }
    // An SQPOLL thread consumes when it gets round to it; elsewhere a poll() has submitted when it returns.
    static void submit_all(Io& io) {
        (void)io.poll();
        if (io.features().mode == Mode::sqpoll) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, InvariantTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

}  // namespace squall::test
