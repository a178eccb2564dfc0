// SPDX-License-Identifier: MIT
//
// What the tests of the invariants that everything else rests on, I1 to I10, begin with: an Io of each kind. Each is in
// invariants/ by its name, but for most of I3, the clean exit, which is exit_test.cpp's; under load and signals they are
// met again in stress_test.cpp.
#pragma once

#include <cstdint>

#include "rings.hpp"
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
    static void submit_all(Io& io) {
        (void)io.poll();
        until_taken();
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, InvariantTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

}  // namespace squall::test
