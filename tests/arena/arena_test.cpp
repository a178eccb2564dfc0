// SPDX-License-Identifier: MIT
//
// BufferArena and its leases: what can be asked for, what pages come of it, and that every buffer is given out once. How
// transfers use an arena is edges_test.cpp's.
#include "squall/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <thread>

#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

TEST(Arena, GivesEachBufferOnceAlignedAndInside) {
    BufferArena arena = make_arena({.buffer_size = 4096, .count = 100});
    std::set<std::byte*> seen;
    std::vector<FixedBuffer> held;
    while (auto buffer = arena.acquire()) {
        EXPECT_EQ(buffer->size(), 4096U);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % 4096, 0U);
        EXPECT_TRUE(arena.contains(buffer->bytes()));
        EXPECT_TRUE(seen.insert(buffer->data()).second) << "given out twice";
        std::memset(buffer->data(), 0x5a, buffer->size());
        held.push_back(*std::move(buffer));
    }
    EXPECT_EQ(held.size(), 100U);
}

TEST(Arena, GivesTheBufferThatCameBackLast) {
    BufferArena arena = make_arena({.count = 4});
    auto first = arena.acquire();
    auto second = arena.acquire();
    std::byte* const last = second->data();
    first.reset();
    second.reset();
    EXPECT_EQ(arena.acquire()->data(), last);
}

TEST(Arena, HasRoomAgainWhenALeaseDies) {
    BufferArena arena = make_arena({.count = 1});
    {
        auto only = arena.acquire();
        ASSERT_TRUE(only);
        EXPECT_FALSE(arena.acquire());
    }
    EXPECT_TRUE(arena.acquire());
}

TEST(Arena, ReturnsAMovedLeaseOnce) {
    BufferArena arena = make_arena({.count = 2});
    FixedBuffer a = *arena.acquire();
    FixedBuffer b = std::move(a);
    EXPECT_FALSE(a);  // NOLINT: a moved-from lease holds nothing
    EXPECT_EQ(a.size(), 0U);
    b = *arena.acquire();  // returns the first
    EXPECT_TRUE(arena.acquire());
    b.reset();
    EXPECT_FALSE(b);
    b.reset();
    std::vector<FixedBuffer> all;
    while (auto buffer = arena.acquire()) all.push_back(*std::move(buffer));
    EXPECT_EQ(all.size(), 2U);
}

TEST(Arena, ALeaseIsEmptyOnceItsBufferIsElsewhere) {
    BufferArena arena = make_arena({.count = 2});
    const auto expect_empty = [](const FixedBuffer& lease) {
        EXPECT_FALSE(lease);
        EXPECT_EQ(lease.data(), nullptr);
        EXPECT_EQ(lease.size(), 0U);
        EXPECT_TRUE(lease.bytes().empty());
        EXPECT_EQ(lease.begin(), lease.end());
    };
    FixedBuffer first;
    expect_empty(first);
    FixedBuffer second = *arena.acquire();
    std::byte* const data = second.data();
    first = std::move(second);
    expect_empty(second);  // NOLINT: what it was is the other's now
    EXPECT_EQ(first.data(), data);
    EXPECT_EQ(first.size(), 4096U);
    EXPECT_EQ(first.end() - first.begin(), 4096);
    FixedBuffer third(std::move(first));
    expect_empty(first);  // NOLINT
    FixedBuffer& same = third;
    third = std::move(same);
    EXPECT_EQ(third.data(), data) << "a lease was assigned to itself";
    third.reset();
    expect_empty(third);
    const auto one = arena.acquire();
    const auto two = arena.acquire();
    EXPECT_TRUE(one && two && !arena.acquire()) << "each is there once";
}

TEST(Arena, LendsBuffersThatAreSpans) {
    BufferArena arena = make_arena({.count = 1});
    FixedBuffer buffer = *arena.acquire();
    const std::span<std::byte> into = buffer;
    const std::span<const std::byte> from = buffer;
    EXPECT_EQ(into.data(), buffer.data());
    EXPECT_EQ(from.size(), 4096U);
}

TEST(Arena, KeepsItsMemoryWhenItMoves) {
    BufferArena arena = make_arena({.count = 2});
    auto buffer = arena.acquire();
    BufferArena moved = std::move(arena);
    EXPECT_TRUE(moved.contains(buffer->bytes()));
    buffer.reset();
    EXPECT_TRUE(moved.acquire());
}

TEST(Arena, LetsGoOfItsMemoryWhenAnotherIsAssignedToIt) {
    BufferArena arena = make_arena({.buffer_size = 4096, .count = 2});
    BufferArena other = make_arena({.buffer_size = 8192, .count = 3});
    const std::byte* const before = arena.memory().data();
    const std::span<std::byte> kept = other.memory();
    BufferArena& result = arena = std::move(other);
    EXPECT_EQ(&result, &arena);
    EXPECT_EQ(arena.memory().data(), kept.data());
    EXPECT_EQ(arena.buffer_size(), 8192U);
    unsigned char resident = 0;
    EXPECT_EQ(::mincore(const_cast<std::byte*>(before), 4096, &resident), -1) << "it is still mapped";
    EXPECT_EQ(errno, ENOMEM);
    BufferArena& same = arena;
    arena = std::move(same);
    EXPECT_EQ(arena.memory().data(), kept.data()) << "an arena was assigned to itself";
    EXPECT_TRUE(arena.acquire());
}

TEST(Arena, ContainsExactlyItsOwnBytes) {
    BufferArena arena = make_arena({.count = 4});
    const auto all = arena.memory();
    EXPECT_EQ(all.size() % arena.page_size(), 0U);
    EXPECT_GE(all.size(), arena.count() * arena.buffer_size());
    EXPECT_TRUE(arena.contains(all));
    EXPECT_TRUE(arena.contains(all.subspan(1, 1)));
    EXPECT_TRUE(arena.contains(all.last(1)));
    const std::span<std::byte> beyond(all.data(), all.size() + 1);
    EXPECT_FALSE(arena.contains(beyond));
    EXPECT_FALSE(arena.contains(std::span<std::byte>(all.data() + all.size(), 1)));
    EXPECT_FALSE(arena.contains(std::span<std::byte>(all.data() - 1, 2)));
    EXPECT_FALSE(arena.contains(std::span<std::byte>(all.data(), SIZE_MAX)));
    std::array<std::byte, 8> stack{};
    EXPECT_FALSE(arena.contains(stack));
    EXPECT_FALSE(arena.contains({}));
}

TEST(Arena, RefusesWhatIsOutOfRangeAndNamesTheValueAndTheRule) {
    const auto message = [](const ArenaOptions& options) {
        const auto arena = BufferArena::create(options);
        EXPECT_FALSE(arena);
        if (arena) return std::string();
        EXPECT_EQ(arena.error().code(), EINVAL);
        return arena.error().message();
    };
    EXPECT_NE(message({.buffer_size = 0}).find("buffer_size is 0"), std::string::npos);
    EXPECT_NE(message({.buffer_size = 1000}).find("buffer_size is 1000"), std::string::npos);
    EXPECT_NE(message({.buffer_size = (1UL << 30) + 512}).find("multiple of 512, from 512 to 1073741824"),
              std::string::npos);
    EXPECT_NE(message({.count = 0}).find("count is 0"), std::string::npos);
    EXPECT_NE(message({.count = UINT32_MAX}).find("count is 4294967295"), std::string::npos);
    EXPECT_NE(message({.pages = static_cast<Pages>(9)}).find("pages is 9"), std::string::npos);
}

TEST(Arena, SaysWhenThereIsNoMemoryForIt) {
    const auto arena = BufferArena::create({.buffer_size = 1UL << 30, .count = 1UL << 28});
    ASSERT_FALSE(arena);
    EXPECT_EQ(arena.error().code(), ENOMEM);
    EXPECT_NE(arena.error().message().find("288230376151711744 bytes"), std::string::npos) << arena.error().message();
}

TEST(Arena, OfBasePagesHasNoHugeOnes) {
    const BufferArena arena = make_arena({.count = 1024, .pages = Pages::base});
    EXPECT_EQ(arena.pages(), Pages::base);
    EXPECT_EQ(arena.page_size(), static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
}

// As the kernel sees it: AnonHugePages of the mappings inside the arena.
std::size_t huge_bytes(const BufferArena& arena) {
    std::ifstream smaps("/proc/self/smaps");
    const auto first = reinterpret_cast<std::uintptr_t>(arena.memory().data());
    std::size_t bytes = 0;
    bool inside = false;
    for (std::string line; std::getline(smaps, line);) {
        unsigned long low = 0;
        unsigned long high = 0;
        unsigned long kib = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &low, &high) == 2)
            inside = low >= first && high <= first + arena.memory().size();
        else if (inside && std::sscanf(line.c_str(), "AnonHugePages: %lu kB", &kib) == 1)
            bytes += kib * 1024;
    }
    return bytes;
}

TEST(Arena, OfTransparentHugePagesIsMadeOfThemEntirely) {
    const auto arena = BufferArena::create({.buffer_size = 4096, .count = 1500, .pages = Pages::transparent});
    if (!arena) {
        EXPECT_NE(arena.error().message().find("transparent_hugepage/enabled"), std::string::npos);
        GTEST_SKIP() << "no transparent huge pages here: " << arena.error().message();
    }
    EXPECT_EQ(arena->pages(), Pages::transparent);
    EXPECT_EQ(arena->memory().size() % arena->page_size(), 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena->memory().data()) % arena->page_size(), 0U);
    EXPECT_EQ(huge_bytes(*arena), arena->memory().size());
}

TEST(Arena, KnowsItsTransparentHugePagesOnKernelsThatCannotCollapse) {
    const Intercept before_6_1([](Call& call) -> std::optional<long> {
        constexpr std::uintptr_t populate = 23, collapse = 25;  // MADV_*, 5.14 and 6.1
        if (call.number == SYS_madvise && (call.args[2] == collapse || call.args[2] == populate)) return -EINVAL;
        return std::nullopt;
    });
    const auto arena = BufferArena::create({.count = 1500, .pages = Pages::transparent});
    if (!arena) GTEST_SKIP() << "no transparent huge pages here: " << arena.error().message();
    EXPECT_EQ(huge_bytes(*arena), arena->memory().size());
}

TEST(Arena, TakesTheBestPagesThatCanBeHad) {
    // One after the other: there may be huge pages for one arena and not for two.
    const Pages taken = make_arena({.buffer_size = 4096, .count = 2048}).pages();
    const bool hugetlb = BufferArena::create({.count = 2048, .pages = Pages::hugetlb}).has_value();
    const bool transparent = BufferArena::create({.count = 2048, .pages = Pages::transparent}).has_value();
    EXPECT_NE(taken, Pages::automatic);
    EXPECT_EQ(taken, hugetlb ? Pages::hugetlb : transparent ? Pages::transparent : Pages::base);
}

TEST(Arena, FallsBackToBasePagesWhenNoHugeOnesCanBeHad) {
    const Intercept no_huge_pages([](Call& call) -> std::optional<long> {
        if (call.number == SYS_mmap && (call.args[3] & MAP_HUGETLB) != 0) return -ENOMEM;
        if (call.number == SYS_madvise && call.args[2] == MADV_HUGEPAGE) return -EINVAL;
        return std::nullopt;
    });
    BufferArena arena = make_arena({.count = 2048});
    EXPECT_EQ(arena.pages(), Pages::base);
    EXPECT_TRUE(arena.acquire());
}

TEST(Arena, MayBeUsedFromManyThreadsAtOnce) {
    BufferArena arena = make_arena({.buffer_size = 512, .count = 64});
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&arena, t] {
            for (int i = 0; i < 20'000; ++i) {
                auto one = arena.acquire();
                auto two = arena.acquire();
                if (!one || !two) continue;
                // Were a buffer given out twice, one of its two holders would find the other's byte, and TSan a race.
                const auto mark = std::byte{static_cast<unsigned char>(t)};
                std::memset(one->data(), t, 64);
                std::memset(two->data(), t, 64);
                for (int b = 0; b < 64; ++b) {
                    ASSERT_EQ(one->data()[b], mark);
                    ASSERT_EQ(two->data()[b], mark);
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    std::vector<FixedBuffer> all;
    while (auto buffer = arena.acquire()) all.push_back(*std::move(buffer));
    EXPECT_EQ(all.size(), 64U);
}

TEST(Arena, TakesALeaseBackOnAnotherThread) {
    BufferArena arena = make_arena({.count = 1});
    FixedBuffer buffer = *arena.acquire();
    std::thread([taken = std::move(buffer)] {}).join();
    EXPECT_TRUE(arena.acquire());
}

TEST(Arena, OfSeveralGiBGivesOutItsLastBuffer) {
    constexpr std::size_t buffer_size = 1UL << 20;
    BufferArena arena = make_arena({.buffer_size = buffer_size, .count = 2560});
    std::vector<FixedBuffer> held;
    held.reserve(arena.count());
    while (auto buffer = arena.acquire()) {
        buffer->data()[buffer_size - 1] = std::byte{1};
        held.push_back(*std::move(buffer));
    }
    EXPECT_EQ(held.size(), 2560U);
    EXPECT_EQ(held.back().data() - held.front().data(), static_cast<std::ptrdiff_t>(2559 * buffer_size));
}

TEST(ArenaDeathTest, AbortsWhenItDiesBeforeALease) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            std::optional<BufferArena> arena = make_arena({.count = 4});
            const auto lease = arena->acquire();
            arena.reset();
        },
        "destroyed while 1 FixedBuffer of it are alive");
}

TEST(ArenaDeathTest, AbortsWhenItDiesBeforeItsRing) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            std::optional<BufferArena> arena = make_arena({.count = 4});
            const Io io = make_io({.entries = 4, .arena = &*arena});
            arena.reset();
        },
        "destroyed while 1 Io still use it");
}

}  // namespace
}  // namespace squall
