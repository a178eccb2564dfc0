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
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <thread>

#include "child.hpp"
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

// --- Its end: the memory is there until the last that uses it has let go ----------------------------------------------

bool is_mapped(std::span<const std::byte> memory) {
    unsigned char resident = 0;
    void* const at = const_cast<std::byte*>(memory.data());
    return ::mincore(at, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), &resident) == 0;
}

TEST(ArenaEnd, UnmapsAllWhenNobodyElseUsesIt) {
    const std::uint64_t before = bytes_mapped();
    {
        BufferArena arena = make_arena({.count = 4});
        auto lease = arena.acquire();
        const Io io = make_io({.entries = 4, .arena = &arena});
        lease.reset();
    }
    EXPECT_EQ(bytes_mapped(), before);
}

TEST(ArenaEnd, WaitsForEachLease) {
    const std::uint64_t before = bytes_mapped();
    for (const std::size_t count : {1U, 4U}) {
        std::optional<BufferArena> arena = make_arena({.count = 4});
        const std::span<std::byte> memory = arena->memory();
        std::vector<FixedBuffer> leases;
        for (std::size_t i = 0; i < count; ++i) leases.push_back(*arena->acquire());
        arena.reset();
        while (!leases.empty()) {
            ASSERT_TRUE(is_mapped(memory)) << leases.size() << " leases are left";
            std::memset(leases.back().data(), 0x5a, leases.back().size());
            leases.pop_back();
        }
        EXPECT_FALSE(is_mapped(memory));
        EXPECT_EQ(bytes_mapped(), before);
    }
}

TEST(ArenaEnd, WaitsForEachRing) {
    for (const Kind kind : every_kind) {
        const std::uint64_t before = bytes_mapped();
        std::optional<BufferArena> arena = make_arena({.count = 4});
        const std::span<std::byte> memory = arena->memory();
        std::vector<Io> ios;
        for (int i = 0; i < 2; ++i) ios.push_back(make_io(kind, {.entries = 4, .arena = &*arena}));
        arena.reset();
        while (!ios.empty()) {
            ASSERT_TRUE(is_mapped(memory)) << name_of(kind);
            const Fd zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
            memory[4095] = std::byte{1};
            EXPECT_EQ(result_of(ios.back(), ios.back().read(zero, memory.first(4096), 0, 1)), 4096);
            EXPECT_EQ(memory[4095], std::byte{0});
            EXPECT_EQ(ios.back().counters().fixed, 1U) << name_of(kind);
            ios.pop_back();
        }
        EXPECT_FALSE(is_mapped(memory)) << name_of(kind);
        EXPECT_EQ(bytes_mapped(), before) << name_of(kind);
    }
}

// A ring is the last, with a read in flight to memory that is mapped for its sake alone.
TEST(ArenaEnd, ComesWhenTheKernelHasLetGoOfTheLastRing) {
    for (const Kind kind : every_kind)
        for (const bool can_cancel : {true, false}) {
            const Pipe pipe;
            std::optional<BufferArena> arena = make_arena({.count = 4});
            const std::span<std::byte> memory = arena->memory();
            std::optional<Io> io = make_io(kind, {.entries = 4, .arena = &*arena});
            ASSERT_TRUE(io->read(pipe.read_end, memory.first(64), UINT64_MAX, 1));
            EXPECT_TRUE(io->poll().empty());
            arena.reset();
            EXPECT_TRUE(is_mapped(memory));
            bool in_flight = true;
            bool early = false;
            const Intercept kernel([&](Call& call) -> std::optional<long> {
                // As before 6.0, where closing the ring is what cancels.
                if (!can_cancel && call.number == nr_register && call.args[1] == abi::register_sync_cancel)
                    return -EINVAL;
                // Of a ring that was closed a pipe tells that the kernel has let go of it.
                if (!can_cancel && call.number == SYS_ppoll) {
                    const long answer = real(call);
                    in_flight = false;
                    return answer;
                }
                if (call.number == SYS_munmap && call.args[0] == reinterpret_cast<std::uintptr_t>(memory.data()))
                    early = !can_cancel && in_flight;
                return std::nullopt;
            });
            io.reset();
            EXPECT_FALSE(early) << name_of(kind);
            EXPECT_FALSE(is_mapped(memory)) << name_of(kind);
        }
}

TEST(ArenaEnd, ComesWhenAnotherIsAssignedToItAndNobodyUsesIt) {
    const std::uint64_t before = bytes_mapped();
    {
        BufferArena arena = make_arena({.count = 2});
        const std::span<std::byte> memory = arena.memory();
        FixedBuffer lease = *arena.acquire();
        arena = make_arena({.count = 3});
        EXPECT_FALSE(arena.contains(lease.bytes()));
        EXPECT_TRUE(is_mapped(memory));
        FixedBuffer other = *arena.acquire();
        other = std::move(lease);  // goes back to the second, and holds one of the first
        EXPECT_TRUE(is_mapped(memory));
        std::vector<FixedBuffer> all;
        while (auto buffer = arena.acquire()) all.push_back(*std::move(buffer));
        EXPECT_EQ(all.size(), 3U);
        other.reset();
        EXPECT_FALSE(is_mapped(memory));
    }
    EXPECT_EQ(bytes_mapped(), before);
}

// Leases end on several threads while the arena does.
TEST(ArenaEnd, MayMeetTheEndsOfLeasesOnOtherThreads) {
    const std::uint64_t before = bytes_mapped();
    for (std::uint64_t round = 0, rounds = scaled(300); round < rounds; ++round) {
        std::optional<BufferArena> arena = make_arena({.buffer_size = 512, .count = 12, .pages = Pages::base});
        std::vector<std::thread> threads;
        std::atomic<int> ready{0};
        for (int t = 0; t < 3; ++t)
            threads.emplace_back(
                [&ready, leases = std::array{*arena->acquire(), *arena->acquire(), *arena->acquire()}, t]() mutable {
                    ready.fetch_add(1);
                    while (ready.load() < 4) std::this_thread::yield();
                    for (FixedBuffer& lease : leases) {
                        std::memset(lease.data(), t, lease.size());
                        lease.reset();
                    }
                });
        ready.fetch_add(1);
        while (ready.load() < 4) std::this_thread::yield();
        arena.reset();
        for (std::thread& thread : threads) thread.join();
        ASSERT_EQ(bytes_mapped(), before) << "round " << round;
    }
}

TEST(ArenaEnd, ByTheLastLeaseLeavesAForkedChildNothingToDo) {
    std::optional<BufferArena> arena = make_arena({.count = 2});
    std::optional<FixedBuffer> lease = *arena->acquire();
    arena.reset();
    const std::uint64_t before = bytes_mapped();
    in_child_alone([&] {
        lease.reset();
        EXPECT_EQ(bytes_mapped(), before);
    });
    std::memset(lease->data(), 0x5a, lease->size());
    lease.reset();
    EXPECT_LT(bytes_mapped(), before);
}

// --- Adopted memory ---------------------------------------------------------------------------------------------------

// Memory as an engine has it, unmapped by itself.
class Pool {
public:
    explicit Pool(std::size_t bytes, int fd = -1)
        : bytes_(bytes),
          at_(static_cast<std::byte*>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                             fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0))) {
        EXPECT_NE(at_, MAP_FAILED);
    }
    ~Pool() { ::munmap(at_, bytes_); }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    [[nodiscard]] std::span<std::byte> all() const { return {at_, bytes_}; }

private:
    std::size_t bytes_;
    std::byte* at_;
};

// Writes and reads back through an Io that it is given to, all of it fixed.
void expect_fixed_transfers(BufferArena& arena, std::span<std::byte> within) {
    const TempDir dir;
    const Fd file(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    Io io = make_io({.entries = 4, .arena = &arena});
    fill_pattern(within, 0);
    EXPECT_EQ(result_of(io, io.write(file, within, 0, 1)), static_cast<std::int32_t>(within.size()));
    std::fill(within.begin(), within.end(), std::byte{});
    EXPECT_EQ(result_of(io, io.read(file, within, 0, 2)), static_cast<std::int32_t>(within.size()));
    EXPECT_EQ(find_wrong(within, 0), -1);
    EXPECT_EQ(io.counters().fixed, 2U);
}

TEST(AdoptedArena, RegistersMemoryOfTheCallersAtAnyAddressAndLeavesItMapped) {
    const Pool pool(1 << 20);
    {
        BufferArena arena = BufferArena::adopt(pool.all().subspan(100, 50'001)).value();
        EXPECT_EQ(arena.memory().data(), pool.all().data() + 100);
        EXPECT_EQ(arena.memory().size(), 50'001U);
        EXPECT_EQ(arena.pages(), Pages::adopted);
        EXPECT_EQ(arena.page_size(), static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
        EXPECT_EQ(arena.count(), 0U);
        EXPECT_FALSE(arena.acquire()) << "the caller keeps the books";
        EXPECT_TRUE(arena.contains(pool.all().subspan(100, 50'001)));
        EXPECT_FALSE(arena.contains(pool.all().subspan(99, 2)));
        expect_fixed_transfers(arena, pool.all().subspan(5000, 40'000));
        expect_fixed_transfers(arena, pool.all().subspan(100, 50'001));
        Io io = make_io({.entries = 4, .arena = &arena});
        const Fd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
        EXPECT_EQ(result_of(io, io.write(null, pool.all().subspan(99, 10), 0, 1)), 10);
        EXPECT_EQ(io.counters().unregistered, 1U) << "a byte lies before it";
    }
    std::fill(pool.all().begin(), pool.all().end(), std::byte{1});
}

TEST(AdoptedArena, LeasesBuffersOfItWhereItIsAskedTo) {
    const Pool pool(1 << 16);
    {
        std::optional<FixedBuffer> last;
        {
            BufferArena arena = BufferArena::adopt(pool.all().first(10 * 4096 + 4095), 4096).value();
            EXPECT_EQ(arena.count(), 10U);
            std::vector<FixedBuffer> held;
            while (auto buffer = arena.acquire()) held.push_back(*std::move(buffer));
            ASSERT_EQ(held.size(), 10U);
            for (std::size_t i = 0; i < held.size(); ++i) EXPECT_EQ(held[i].data(), pool.all().data() + i * 4096);
            expect_fixed_transfers(arena, held[3].bytes());
            last = std::move(held[9]);
        }
        std::fill(last->begin(), last->end(), std::byte{7});
    }
    EXPECT_EQ(pool.all()[9 * 4096], std::byte{7}) << "it is the caller's still";
}

TEST(AdoptedArena, MayBeAMemfdOrAllocatedByTheProgram) {
    const Fd fd(::memfd_create("pool", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(fd, 1 << 16), 0);
    const Pool shared(1 << 16, fd);
    BufferArena first = BufferArena::adopt(shared.all(), 512).value();
    expect_fixed_transfers(first, shared.all().first(4096));
    std::vector<std::byte> heap(1 << 16);
    BufferArena second = BufferArena::adopt(heap).value();
    expect_fixed_transfers(second, std::span(heap).subspan(1, 60'000));
}

TEST(AdoptedArena, GivesBackWhatItMapsItself) {
    const Pool pool(1 << 16);
    const std::uint64_t before = bytes_mapped();
    {
        BufferArena arena = BufferArena::adopt(pool.all(), 4096).value();
        Io io = make_io({.entries = 4, .arena = &arena});
        const BufferArena moved = std::move(arena);
        const auto lease = make_arena().acquire();
    }
    EXPECT_EQ(bytes_mapped(), before);
}

TEST(AdoptedArena, WhatCannotBeAdoptedIsSaidByValueAndRule) {
    const Pool pool(8192);
    const auto message = [](const Result<BufferArena>& refused) {
        EXPECT_FALSE(refused);
        EXPECT_EQ(refused.error().code(), EINVAL);
        return refused.error().message();
    };
    EXPECT_EQ(message(BufferArena::adopt({})),
              "BufferArena::adopt: memory has 0 bytes: EINVAL (Invalid argument): it must have some");
    for (const std::size_t size : {1U, 511U, 8704U})
        EXPECT_EQ(
            message(BufferArena::adopt(pool.all(), size)),
            "BufferArena::adopt: buffer_size is " + std::to_string(size) +
                ": EINVAL (Invalid argument): it must be 0 for no leases, or a multiple of 512, at most 1073741824 "
                "and the memory's 8192");
    EXPECT_NE(message(BufferArena::adopt({pool.all().data(), std::size_t{1} << 62}, 512)).find("4294967294 buffers"),
              std::string::npos);
    EXPECT_EQ(message(BufferArena::create({.pages = Pages::adopted})),
              "BufferArena::create: pages is 4: EINVAL (Invalid argument): it must be one of squall::Pages's");
    for (const long number : {SYS_mmap, SYS_madvise}) {
        const Intercept none(refuse(number, -ENOMEM));
        EXPECT_EQ(BufferArena::adopt(pool.all()).error().code(), ENOMEM);
    }
}

TEST(AdoptedArena, MemoryThatIsNotThereOrAFilesIsRefusedByTheIo) {
    std::byte* gone = nullptr;
    {
        const Pool pool(1 << 16);
        gone = pool.all().data();
    }
    BufferArena nowhere = BufferArena::adopt({gone, 1 << 16}).value();
    EXPECT_EQ(Io::create({.entries = 1, .arena = &nowhere}).error().code(), EFAULT);
    const TempDir dir;
    write_file(dir.file("f"), std::vector<std::byte>(1 << 16));
    const Fd file(::open(dir.file("f").c_str(), O_RDWR | O_CLOEXEC));
    const Pool mapped(1 << 16, file);
    BufferArena of_a_file = BufferArena::adopt(mapped.all()).value();
    const auto made = Io::create({.entries = 1, .arena = &of_a_file});
    // Not of a file system in memory, and by some kernels of none.
    EXPECT_TRUE(made || made.error().code() == EOPNOTSUPP || made.error().code() == EFAULT);
}

TEST(AdoptedArena, StaysTheCallersInAForkedChildToo) {
    const Pool pool(1 << 16);
    BufferArena arena = BufferArena::adopt(pool.all(), 4096).value();
    pool.all()[5] = std::byte{9};
    in_child_alone([&] {
        EXPECT_FALSE(arena.acquire());
        EXPECT_EQ(pool.all()[5], std::byte{9});
    });
}

}  // namespace
}  // namespace squall
