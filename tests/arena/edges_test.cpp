// SPDX-License-Identifier: MIT
//
// Fixed or unregistered: at, across and beyond every edge of an arena, the choice is the right one, the bytes arrive, and
// nothing beside them changes. Arenas here are large enough to be cut into regions of 1 GiB.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

constexpr std::size_t gib = std::size_t{1} << 30;

class EdgesTest : public testing::Test {
protected:
    // Reads `size` bytes to `at`, of which `fixed` says whether they lie within one registered region.
    void read_at(std::byte* at, std::size_t size, bool fixed) {
        const std::uint64_t fixed_before = io.counters().fixed;
        const std::uint64_t unregistered_before = io.counters().unregistered;
        std::memset(at, 0, size);
        EXPECT_EQ(result_of(io, io.read(file, {at, size}, 0, 1)), static_cast<std::int32_t>(size));
        EXPECT_EQ(find_wrong({at, size}, 0), -1);
        EXPECT_EQ(io.counters().fixed - fixed_before, fixed ? 1U : 0U);
        EXPECT_EQ(io.counters().unregistered - unregistered_before, fixed ? 0U : 1U);
        // And written back from there, with the same choice.
        EXPECT_EQ(result_of(io, io.write(copy, {at, size}, 0, 2)), static_cast<std::int32_t>(size));
        EXPECT_EQ(io.counters().fixed - fixed_before, fixed ? 2U : 0U);
        std::vector<std::byte> back(size);
        EXPECT_EQ(::pread(copy, back.data(), size, 0), static_cast<ssize_t>(size));
        EXPECT_EQ(find_wrong(back, 0), -1);
    }
    static Fd make_file(const std::string& path, std::span<const std::byte> content) {
        write_file(path, content);
        return Fd(::open(path.c_str(), O_RDWR));
    }
    static std::vector<std::byte> pattern(std::size_t bytes) {
        std::vector<std::byte> content(bytes);
        fill_pattern(content, 0);
        return content;
    }

    void SetUp() override {
        auto made = Io::create({.entries = 8, .arena = &arena});
        if (!made && made.error().code() == ENOMEM)
            GTEST_SKIP() << "RLIMIT_MEMLOCK is too small for an arena of 2.5 GiB";
        ASSERT_TRUE(made) << made.error().message();
        io = std::move(made).value();
    }

    TempDir dir;
    Fd file = make_file(dir.file("f"), pattern(64 << 10));
    Fd copy = make_file(dir.file("g"), {});
    // Two regions and a half. The memory around the arena is mapped too, so that transfers may cross its ends.
    BufferArena arena = make_arena({.buffer_size = 1 << 20, .count = 2560});
    Io io = make_io({.entries = 1});
    std::byte* const first = arena.memory().data();
    std::byte* const end = first + arena.memory().size();
};

TEST_F(EdgesTest, ChoosesByAddressAloneAtEveryEdge) {
    ASSERT_EQ(io.features().fixed_regions, 3U);
    for (const std::size_t size : {1UL, 2UL, 511UL, 4096UL, 5000UL, 65536UL}) {
        read_at(first, size, true);
        read_at(first + 1, size, true);
        read_at(end - size, size, true);
        for (const std::size_t cut : {gib, 2 * gib}) {
            read_at(first + cut - size, size, true);
            read_at(first + cut, size, true);
            read_at(first + cut - 1, size, size == 1);
            if (size > 1) {
                read_at(first + cut - size + 1, size, false);
                read_at(first + cut - size / 2, size, false);
            }
        }
    }
}

TEST_F(EdgesTest, GoesUnregisteredAcrossTheEndsOfTheArena) {
    // Claim the pages just before and just behind, unless something lives there already.
    const auto claim = [](std::byte* at) {
        void* const got =
            ::mmap(at, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        return got == at;
    };
    const bool before = claim(first - 65536);
    const bool behind = claim(end);
    if (!before && !behind) GTEST_SKIP() << "something is mapped on either side of the arena";
    for (const std::size_t size : {1UL, 2UL, 4096UL, 5000UL}) {
        if (before) {
            read_at(first - size, size, false);
            if (size > 1) read_at(first - 1, size, false);
            if (size > 1) read_at(first - size + 1, size, false);
        }
        if (behind) {
            read_at(end, size, false);
            if (size > 1) read_at(end - 1, size, false);
            if (size > 1) read_at(end - size + 1, size, false);
        }
    }
    if (before) ::munmap(first - 65536, 65536);
    if (behind) ::munmap(end, 65536);
}

TEST_F(EdgesTest, TakesATransferOfNoBytesAnywhere) {
    for (std::byte* const at : {first, first + 1, first + gib, end - 1, end, static_cast<std::byte*>(nullptr)}) {
        EXPECT_EQ(result_of(io, io.read(file, {at, std::size_t{0}}, 0, 1)), 0);
        EXPECT_EQ(result_of(io, io.write(copy, {at, std::size_t{0}}, 0, 1)), 0);
    }
    EXPECT_EQ(io.counters().fixed, 0U);
}

TEST_F(EdgesTest, LeavesNonsenseToTheKernel) {
    for (std::byte* const at : {first, end - 1, static_cast<std::byte*>(nullptr)}) {
        for (const std::size_t size : {SIZE_MAX, SIZE_MAX / 2, std::size_t{1} << 47, gib + 1}) {
            const std::int32_t result = result_of(io, io.read(-1, {at, size}, 0, 1));
            // The kernel may look at the memory's address first, or at the file.
            EXPECT_TRUE(result == -EBADF || result == -EFAULT) << result;
        }
    }
    EXPECT_EQ(io.counters().fixed, 0U);
    auto* const nowhere = reinterpret_cast<std::byte*>(std::uintptr_t{8});
    EXPECT_EQ(result_of(io, io.read(file, {nowhere, 4096}, 0, 1)), -EFAULT);
}

TEST_F(EdgesTest, TakesAWholeRegionInOneTransfer) {
    const Fd zero(::open("/dev/zero", O_RDONLY));
    std::memset(first + gib - 4096, 0xff, 8192);
    // /dev/zero gives way to whatever else the thread has to do, and then it is a short read.
    EXPECT_GT(result_of(io, io.read(zero, {first, gib}, 0, 1)), 0);
    EXPECT_EQ(io.counters().fixed, 1U);
    EXPECT_EQ(first[gib], std::byte{0xff});
}

TEST_F(EdgesTest, ServesSeveralRingsAtOnce) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 3; ++t) {
        threads.emplace_back([this, t] {
            Io own = make_io({.entries = 8, .arena = &arena});
            for (int i = 0; i < 200; ++i) {
                FixedBuffer buffer = arena.acquire().value();
                const std::uint64_t offset = (t * 1000 + static_cast<unsigned>(i)) % 16 * 4096;
                ASSERT_EQ(result_of(own, own.read(file, buffer.bytes().first(4096), offset, 1)), 4096);
                ASSERT_EQ(find_wrong(buffer.bytes().first(4096), offset), -1);
            }
            EXPECT_EQ(own.counters().fixed, 200U);
        });
    }
    for (std::thread& thread : threads) thread.join();
}

TEST(Edges, ABufferThatStraddlesACutGoesUnregistered) {
    BufferArena arena = make_arena({.buffer_size = 3 << 20, .count = 400});
    auto made = Io::create({.entries = 8, .arena = &arena});
    if (!made && made.error().code() == ENOMEM) GTEST_SKIP() << "RLIMIT_MEMLOCK is too small for an arena of 1.2 GiB";
    Io io = std::move(made).value();
    const Fd zero(::open("/dev/zero", O_RDONLY));
    std::vector<FixedBuffer> all;
    while (auto buffer = arena.acquire()) {
        EXPECT_GT(result_of(io, io.read(zero, buffer->bytes(), 0, 1)), 0);
        all.push_back(*std::move(buffer));
    }
    EXPECT_EQ(io.counters().fixed, 399U);
    EXPECT_EQ(io.counters().unregistered, 1U);
}

}  // namespace
}  // namespace squall
