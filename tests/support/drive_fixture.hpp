// SPDX-License-Identifier: MIT
//
// A ring over a kernel in user space, as the tests of driving one begin with it.
#pragma once

#include <chrono>
#include <optional>

#include "support.hpp"
#include "trace.hpp"
#include "user_kernel.hpp"

namespace squall::test {

class Drive : public testing::Test {
protected:
    static constexpr std::uint32_t entries = 8;

    // One operation was submitted and reaped, so that the ring is bound; the trace begins after that.
    Io bound(const IoOptions& options = {.entries = entries}) {
        kernel.on_enter = nullptr;
        Io io = make_io(options);
        EXPECT_TRUE(io.nop(0));
        EXPECT_EQ(io.poll().size(), 1U);
        kernel.enters.clear();
        kernel.registers.clear();
        trace.take();
        return io;
    }
    static void expect_conserved(const Io& io) {
        EXPECT_EQ(io.counters().submitted, io.counters().completed + io.in_flight());
    }
    // The kernel consumes what it is offered, and completes none of it.
    static std::optional<long> swallow(UserKernel& kernel, const Enter& enter) {
        return kernel.ring().consume(enter.to_submit);
    }
    static std::chrono::nanoseconds time_of(const Enter& enter) {
        return std::chrono::seconds(enter.timeout->tv_sec) + std::chrono::nanoseconds(enter.timeout->tv_nsec);
    }

    UserKernel kernel;
    Trace trace;
};

}  // namespace squall::test
