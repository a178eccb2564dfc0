// SPDX-License-Identifier: MIT
//
// What a child of fork(2) finds of its parent's Io and arena (I10).
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "child.hpp"
#include "invariant_fixture.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

TEST_P(InvariantTest, I10_AChildOfForkIsToldAndTheParentGoesOn) {
    BufferArena arena = make_arena({.count = 4});
    std::optional<Io> io = make_io(GetParam(), {.entries = 8, .arena = &arena});
    ASSERT_TRUE(io->nop(1));
    drain(*io);
    ASSERT_TRUE(io->nop(2));
    in_child_alone([&] {
        std::byte byte{};
        EXPECT_FALSE(io->nop(3));
        EXPECT_FALSE(io->read(0, {&byte, 1}, 0, 3));
        EXPECT_FALSE(io->open("/", {}, 3));
        EXPECT_FALSE(io->rename("a", "b", 3));
        struct ::statx out {};
        EXPECT_FALSE(io->statx("/", out, 3));
        EXPECT_EQ(io->in_flight(), 0U);
        expect_conserved(*io);
        EXPECT_EQ(io->poll().error().code(), ESTALE);
        EXPECT_EQ(io->park().error().code(), ESTALE);
        EXPECT_EQ(io->park(1ms).error().code(), ESTALE);
        EXPECT_NE(io->poll().error().message().find("fork"), std::string::npos);
        io.reset();
        Io own = make_io(GetParam(), {.entries = 8});
        EXPECT_EQ(result_of(own, own.nop(4)), 0);
    });
    const auto done = drain(*io);
    ASSERT_EQ(done.size(), 1U);
    EXPECT_EQ(done[0].token, 2U);
    EXPECT_EQ(result_of(*io, io->nop(5)), 0);
}

TEST_P(InvariantTest, I10_AChildOfForkMayLeaveALoopOverCompletions) {
    Io io = make(8);
    for (Token token = 0; token < 3; ++token) ASSERT_TRUE(io.nop(token));
    submit_all(io);
    {
        Completions done = io.park();
        in_child_alone([&] { const Completions gone = std::move(done); });
    }
    drain(io);
    EXPECT_EQ(result_of(io, io.nop(5)), 0);
}

TEST(Invariant, I10_AChildOfForkHasNoArena) {
    std::optional<BufferArena> arena = make_arena({.count = 4});
    std::optional<FixedBuffer> lease = arena->acquire();
    const auto* const address = lease->data();
    in_child_alone([&] {
        EXPECT_FALSE(arena->acquire());
        EXPECT_FALSE(arena->contains({address, 1}));
        unsigned char resident = 0;
        EXPECT_EQ(::mincore(const_cast<std::byte*>(address), 4096, &resident), -1) << "it is mapped";
        lease.reset();
        EXPECT_FALSE(arena->acquire());
        arena.reset();
    });
    lease.reset();
    EXPECT_TRUE(arena->acquire());
}

TEST(Invariant, I10_AChildsExitDoesNotUnmapItsOwnMemory) {
    std::optional<Io> io = make_io({.entries = 64});
    in_child_alone([&] {
        // Likely to land in the holes that the ring's mappings left.
        std::vector<void*> maps;
        for (int i = 0; i < 200; ++i) {
            void* const at = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            std::memset(at, i, 8192);
            maps.push_back(at);
        }
        io.reset();
        for (int i = 0; i < 200; ++i) EXPECT_EQ(*static_cast<unsigned char*>(maps[static_cast<std::size_t>(i)]), i);
    });
}

}  // namespace
}  // namespace squall
