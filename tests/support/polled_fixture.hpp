// SPDX-License-Identifier: MIT
//
// Two rings behind one Io, over a kernel in user space, as the tests of a polled front begin with them.
#pragma once

#include <array>
#include <cerrno>
#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "support.hpp"
#include "trace.hpp"
#include "user_kernel.hpp"

namespace squall::test {

class PolledTest : public testing::Test {
protected:
    static constexpr std::uint32_t entries = 4;
    static constexpr FileSlot file{1};

    // An Io with a file in a slot. Both rings have submitted something and are bound, as 7 and 8; the trace begins after that.
    void begin(Mode mode = Mode::deferred) {
        kernel.on_enter = nullptr;
        io = make_io({.entries = entries, .mode = mode, .file_slots = 3, .polling = Polling::busy});
        ASSERT_TRUE(io->set_file(file, 0));
        ASSERT_TRUE(read(1));
        ASSERT_TRUE(io->nop(2));
        (void)io->poll();
        if (mode == Mode::sqpoll) {
            EXPECT_EQ(polled().finish(1), 1);
            EXPECT_EQ(companion().finish(1), 1);
            EXPECT_EQ(io->poll().size(), 2U);
        }
        EXPECT_EQ(io->in_flight(), 0U);
        kernel.enters.clear();
        kernel.registers.clear();
        trace.take();
        counters = io->counters();
        // From now on the kernel takes what it is offered and completes none of it.
        kernel.on_enter = [this](const Enter& enter) { return std::optional<long>(swallow(enter)); };
    }
    // A test that failed may leave operations in flight, which a ring that is closed does not wait for.
    void TearDown() override {
        kernel.on_register = nullptr;
        kernel.on_enter = [](const Enter&) { return std::optional<long>(-EPERM); };
        io.reset();
    }
    long swallow(const Enter& enter) {
        UserKernel::Ring& ring = asked(enter);
        return ring.is_polled_by_a_thread() ? UserKernel::wake(enter) : ring.consume(enter.to_submit);
    }
    UserKernel::Ring& asked(const Enter& enter) {
        return *kernel.ring_of(enter.fd, (enter.flags & abi::enter_registered_ring) != 0);
    }
    UserKernel::Ring& companion() { return kernel.ring(kernel.setups.size() - 2); }
    UserKernel::Ring& polled() { return kernel.ring(kernel.setups.size() - 1); }

    bool read(Token token) { return io->read(file, memory, 0, token); }
    bool write(Token token) { return io->write(file, memory, 0, token); }
    // Completes the oldest operations of a ring that have not been, with these results.
    void complete(UserKernel::Ring& ring, std::vector<std::int32_t> results) {
        for (const std::int32_t result : results) ring.post(ring.consumed.at(ring.cq_tail()).user_data, result);
    }
    static std::map<Token, std::int32_t> results(const Completions& done) {
        std::map<Token, std::int32_t> found;
        for (const Completion& completion : done) EXPECT_TRUE(found.emplace(completion.token, completion.res).second);
        EXPECT_FALSE(done.error()) << done.error().message();
        return found;
    }
    static std::chrono::nanoseconds time_of(const Enter& enter) {
        return std::chrono::seconds(enter.timeout->tv_sec) + std::chrono::nanoseconds(enter.timeout->tv_nsec);
    }
    using Results = std::map<Token, std::int32_t>;
    void expect_conserved() { EXPECT_EQ(io->counters().submitted, io->counters().completed + io->in_flight()); }

    UserKernel kernel;
    Trace trace;
    std::optional<Io> io;
    Counters counters;
    std::array<std::byte, 16> memory{};
};

}  // namespace squall::test
