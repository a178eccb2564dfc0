// SPDX-License-Identifier: MIT
//
// Whose memory is used: none is allocated after create() (I4), a path is free at once (I6), and all that is between is
// the caller's and is touched exactly where it was given (I7).
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "invariant_fixture.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

// --- I4 -------------------------------------------------------------------------------------------------------------

TEST_P(InvariantTest, I4_AllocatesNothingAfterCreate) {
    const TempDir dir;
    BufferArena arena = make_arena({.count = 4});
    Io io = make_io(GetParam(), {.entries = 16, .arena = &arena});
    const std::string from = dir.file("a");
    const std::string to = dir.file("b");
    const int fd = ::open(from.c_str(), O_RDWR | O_CREAT, 0600);
    ASSERT_GE(fd, 0);
    struct ::statx found;
    // (Whether there is room does not matter here: an SQPOLL thread may give a slot back late.)
    const auto everything = [&] {
        FixedBuffer buffer = *arena.acquire();
        std::array<std::byte, 512> stack{};
        (void)io.write(fd, buffer.bytes(), 0, 1);
        (void)io.read(fd, buffer.bytes(), 0, 2);
        (void)io.read(fd, stack, 0, 3);
        (void)io.fsync(fd, 4);
        (void)io.fdatasync(fd, 5);
        (void)io.statx(fd, found, 6);
        (void)io.statx(from.c_str(), found, 7);
        (void)io.open(from.c_str(), {.read = true}, 8);
        (void)io.nop(9);
        for (int done = 0; io.in_flight() > 0; ++done) {
            for (const Completion& completion : done % 2 == 0 ? io.park() : io.park(1s))
                if (completion.token == 8) ::close(completion.res);
            (void)io.poll();
        }
        (void)io.rename(from.c_str(), to.c_str(), 10);
        (void)io.park();
        (void)io.rename(to.c_str(), from.c_str(), 11);
        while (io.in_flight() > 0) (void)io.park();
        (void)io.unlink(to.c_str(), 12);
        while (io.in_flight() > 0) (void)io.park();
        while (io.nop(13)) {
        }
        while (io.in_flight() > 0) (void)io.park();
    };
    const std::uint64_t before = allocations_made();
    for (int i = 0; i < 10; ++i) everything();
    EXPECT_EQ(allocations_made(), before);
    (void)io.close(fd, 14);
    drain(io);
}

// --- I6 -------------------------------------------------------------------------------------------------------------

TEST_P(InvariantTest, I6_APathMayChangeAsSoonAsTheCallReturned) {
    const TempDir dir;
    Io io = make(64);
    for (int round = 0; round < 20; ++round) {
        std::string path = dir.file("f00");
        const std::string pristine = path;
        for (int i = 0; i < 64; ++i) {
            path = pristine;
            path[path.size() - 2] = static_cast<char>('0' + i / 8);
            path[path.size() - 1] = static_cast<char>('0' + i % 8);
            ASSERT_TRUE(io.open(path.c_str(), {.write = true, .create = true}, 1));
            std::fill(path.begin(), path.end(), '!');
        }
        for (const Completion& completion : drain(io)) {
            ASSERT_GE(completion.res, 0);
            ::close(completion.res);
        }
        ASSERT_EQ(io.list_dir(dir.path().c_str())->size(), 64U);
        for (int i = 0; i < 64; ++i) {
            path = pristine;
            path[path.size() - 2] = static_cast<char>('0' + i / 8);
            path[path.size() - 1] = static_cast<char>('0' + i % 8);
            std::string other = path + "x";
            ASSERT_TRUE(i % 2 == 0 ? io.unlink(path.c_str(), 2) : io.rename(path.c_str(), other.c_str(), 3));
            std::fill(path.begin(), path.end(), '!');
            std::fill(other.begin(), other.end(), '?');
        }
        for (const Completion& completion : drain(io)) ASSERT_EQ(completion.res, 0);
        ASSERT_EQ(io.list_dir(dir.path().c_str())->size(), 32U);
        for (const std::string& name : *io.list_dir(dir.path().c_str())) {
            EXPECT_EQ(name.back(), 'x');
            ::unlink(dir.file(name).c_str());
        }
    }
}

// --- I7 -------------------------------------------------------------------------------------------------------------

TEST_P(InvariantTest, I7_ATransferTouchesExactlyTheBytesItWasGiven) {
    const TempDir dir;
    std::vector<std::byte> content(4096);
    fill_pattern(content, 0);
    write_file(dir.file("f"), content);
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY));
    BufferArena arena = make_arena({.buffer_size = 4096, .count = 2});
    Io io = make_io(GetParam(), {.entries = 4, .arena = &arena});
    FixedBuffer lease = *arena.acquire();
    std::vector<std::byte> heap(4096);
    for (const std::span<std::byte> memory : {lease.bytes(), std::span<std::byte>(heap)}) {
        std::memset(memory.data(), 0xee, memory.size());
        EXPECT_EQ(result_of(io, io.read(file, memory.subspan(100, 50), 200, 1)), 50);
        EXPECT_EQ(find_wrong(memory.subspan(100, 50), 200), -1);
        for (std::size_t i = 0; i < memory.size(); ++i)
            ASSERT_TRUE((i >= 100 && i < 150) || memory[i] == std::byte{0xee}) << i;
    }
}

}  // namespace
}  // namespace squall
