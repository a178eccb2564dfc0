// SPDX-License-Identifier: MIT
//
// What an operation becomes: each of squall's calls against the whole SQE, 64 bytes, that the kernel expects for it. What
// the kernel then does is io_test.cpp's.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <span>

#include "support.hpp"
#include "user_kernel.hpp"

namespace squall {
namespace {

using namespace test;

// An SQE by its members, zero where nothing is said.
struct Wanted {
    abi::Op opcode{};
    std::uint8_t flags = 0;
    int fd = 0;
    std::uint64_t off = 0;
    std::uint64_t addr = 0;
    std::uint32_t len = 0;
    std::uint32_t op_flags = 0;
    std::uint64_t user_data = 0;
    std::uint16_t buf_index = 0;
    std::uint32_t file_index = 0;
};

void expect(const abi::Sqe& found, const Wanted& wanted, const char* what) {
    const abi::Sqe all = {static_cast<std::uint8_t>(wanted.opcode),
                          wanted.flags,
                          0,
                          wanted.fd,
                          wanted.off,
                          wanted.addr,
                          wanted.len,
                          wanted.op_flags,
                          wanted.user_data,
                          wanted.buf_index,
                          0,
                          wanted.file_index,
                          0,
                          0};
    EXPECT_EQ(std::memcmp(&found, &all, sizeof(found)), 0)
        << what << ": opcode " << unsigned{found.opcode} << " flags " << unsigned{found.flags} << " fd " << found.fd
        << " off " << found.off << " addr " << found.addr << " len " << found.len << " op_flags " << found.op_flags
        << " user_data " << found.user_data << " buf_index " << found.buf_index << " file_index " << found.file_index;
}

TEST(Sqe, EveryOperationIsTheSqeThatTheKernelExpects) {
    std::optional<BufferArena> arena;
    {
        const Intercept untouched(refuse(SYS_madvise, 0));  // address space is enough
        arena = make_arena({.buffer_size = 1 << 30, .count = 3, .pages = Pages::base});
    }
    UserKernel kernel;
    Io io = make_io({.entries = 32, .arena = &*arena, .file_slots = 5});
    std::array<std::byte, 100> memory{};
    std::byte* const third = arena->memory().data() + (std::size_t{2} << 30);
    struct ::statx out {};
    const auto address = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); };
    const auto last = [&](bool queued) {
        EXPECT_TRUE(queued);
        EXPECT_EQ(io.poll().size(), 1U);
        return kernel.ring().consumed.back();
    };
    using abi::Op;
    constexpr std::uint8_t slot = abi::sqe_fixed_file;

    expect(last(io.nop(UINT64_MAX)), {.opcode = Op::nop, .fd = -1, .user_data = UINT64_MAX}, "nop");
    expect(last(io.read(9, memory, 77, 1)),
           {.opcode = Op::read, .fd = 9, .off = 77, .addr = address(&memory), .len = 100, .user_data = 1}, "read");
    expect(last(io.write(9, memory, UINT64_MAX, 2)),
           {.opcode = Op::write, .fd = 9, .off = UINT64_MAX, .addr = address(&memory), .len = 100, .user_data = 2},
           "write");
    expect(last(io.read(9, {third + 5, 4096}, 77, 3)),
           {.opcode = Op::read_fixed,
            .fd = 9,
            .off = 77,
            .addr = address(third + 5),
            .len = 4096,
            .user_data = 3,
            .buf_index = 2},
           "fixed read");
    expect(last(io.write(FileSlot(4), {third, 1 << 30}, 77, 4)),
           {.opcode = Op::write_fixed,
            .flags = slot,
            .fd = 5,
            .off = 77,
            .addr = address(third),
            .len = 1 << 30,
            .user_data = 4,
            .buf_index = 2},
           "fixed write to a slot");
    expect(last(io.read(FileSlot(0), memory, 7, 5)),
           {.opcode = Op::read, .flags = slot, .fd = 1, .off = 7, .addr = address(&memory), .len = 100, .user_data = 5},
           "read of a slot");
    expect(last(io.fsync(9, 6)), {.opcode = Op::fsync, .fd = 9, .user_data = 6}, "fsync");
    expect(last(io.fdatasync(9, 7)), {.opcode = Op::fsync, .fd = 9, .op_flags = 1, .user_data = 7}, "fdatasync");
    expect(last(io.fsync(FileSlot(1), 8)), {.opcode = Op::fsync, .flags = slot, .fd = 2, .user_data = 8},
           "fsync of a slot");
    expect(last(io.fdatasync(FileSlot(1), 9)),
           {.opcode = Op::fsync, .flags = slot, .fd = 2, .op_flags = 1, .user_data = 9}, "fdatasync of a slot");
    expect(last(io.close(9, 10)), {.opcode = Op::close, .fd = 9, .user_data = 10}, "close");
    expect(last(io.close(FileSlot(1), 11)), {.opcode = Op::close, .user_data = 11, .file_index = 3}, "close of a slot");

    const auto path_at = [](std::uint64_t place) { return std::string(reinterpret_cast<const char*>(place)); };
    abi::Sqe sqe = last(io.statx(9, out, 12));
    EXPECT_EQ(path_at(sqe.addr), "");
    sqe.addr = 0;
    expect(
        sqe,
        {.opcode = Op::statx, .fd = 9, .off = address(&out), .len = 0xfff, .op_flags = AT_EMPTY_PATH, .user_data = 12},
        "statx");
    sqe = last(io.statx("a path", out, 13, STATX_SIZE));
    EXPECT_EQ(path_at(sqe.addr), "a path");
    sqe.addr = 0;
    expect(sqe, {.opcode = Op::statx, .fd = AT_FDCWD, .off = address(&out), .len = STATX_SIZE, .user_data = 13},
           "statx of a path");
    sqe = last(io.rename("from", "to", 14));
    EXPECT_EQ(path_at(sqe.addr), "from");
    EXPECT_EQ(path_at(sqe.off), "to");
    sqe.addr = sqe.off = 0;
    expect(sqe, {.opcode = Op::renameat, .fd = AT_FDCWD, .len = static_cast<std::uint32_t>(AT_FDCWD), .user_data = 14},
           "rename");
    sqe = last(io.unlink("gone", 15));
    EXPECT_EQ(path_at(sqe.addr), "gone");
    sqe.addr = 0;
    expect(sqe, {.opcode = Op::unlinkat, .fd = AT_FDCWD, .user_data = 15}, "unlink");

    const auto open_flags = [&](const OpenOptions& options, std::uint32_t mode = 0644) {
        abi::Sqe found = last(io.open("file", options, 16));
        EXPECT_EQ(path_at(found.addr), "file");
        const std::uint32_t flags = found.op_flags;
        found.addr = found.op_flags = 0;
        expect(found, {.opcode = Op::openat, .fd = AT_FDCWD, .len = mode, .user_data = 16}, "open");
        EXPECT_EQ(flags & O_CLOEXEC, static_cast<std::uint32_t>(O_CLOEXEC));
        return static_cast<int>(flags) & ~O_CLOEXEC;
    };
    EXPECT_EQ(open_flags({}), O_RDONLY);
    EXPECT_EQ(open_flags({.read = true}), O_RDONLY);
    EXPECT_EQ(open_flags({.write = true}), O_WRONLY);
    EXPECT_EQ(open_flags({.read = true, .write = true}), O_RDWR);
    EXPECT_EQ(open_flags({.append = true}), O_WRONLY | O_APPEND);
    EXPECT_EQ(open_flags({.read = true, .append = true}), O_RDWR | O_APPEND);
    EXPECT_EQ(open_flags({.create = true, .mode = 0600}, 0600), O_RDONLY | O_CREAT);
    EXPECT_EQ(open_flags({.write = true, .create_new = true}), O_WRONLY | O_CREAT | O_EXCL);
    EXPECT_EQ(open_flags({.write = true, .truncate = true}), O_WRONLY | O_TRUNC);
    EXPECT_EQ(open_flags({.truncate = true, .append = true}), O_WRONLY | O_TRUNC | O_APPEND);
    EXPECT_EQ(open_flags({.direct = true, .dsync = true}), O_RDONLY | O_DIRECT | O_DSYNC);
    sqe = last(io.open("file", {.truncate = true}, 17));
    EXPECT_EQ(sqe.buf_index, 1U) << "which an openat is refused for";
    sqe = last(io.open("file", {}, FileSlot(2), 18));
    EXPECT_EQ(sqe.file_index, 4U);
    EXPECT_EQ(sqe.op_flags & O_CLOEXEC, 0U);
    EXPECT_EQ(io.counters().fixed, 2U);
    EXPECT_EQ(io.counters().unregistered, 3U);
}

TEST(Sqe, EachOperationGoesStraightToAWorkerWhereThatIsAskedFor) {
    BufferArena arena = make_arena({.count = 1});
    UserKernel kernel;
    Io io = make_io({.entries = 32, .arena = &arena, .file_slots = 2});
    std::array<std::byte, 8> memory{};
    struct ::statx out {};
    constexpr FileSlot slot(0);
    constexpr How async{.async = true};
    // Each as it is, and the same again with the flag and nothing else.
    const auto compare = [&](std::initializer_list<bool> queued) {
        for (const bool each : queued) EXPECT_TRUE(each);
        EXPECT_EQ(io.poll().size(), 2U);
        abi::Sqe one = kernel.ring().consumed.end()[-2];
        abi::Sqe other = kernel.ring().consumed.back();
        EXPECT_EQ(one.flags & abi::sqe_async, 0U);
        EXPECT_EQ(other.flags & abi::sqe_async, abi::sqe_async);
        other.flags &= static_cast<std::uint8_t>(~abi::sqe_async);
        // Paths have a place of their own for each.
        if (one.addr != other.addr) one.addr = other.addr = 0;
        if (one.opcode == static_cast<std::uint8_t>(abi::Op::renameat)) one.off = other.off = 0;
        EXPECT_EQ(std::memcmp(&one, &other, sizeof(one)), 0) << unsigned{one.opcode};
    };
    compare({io.nop(1), io.nop(1, async)});
    compare({io.open("f", {}, 1), io.open("f", {}, 1, async)});
    compare({io.open("f", {}, slot, 1), io.open("f", {}, slot, 1, async)});
    for (const std::span<std::byte> bytes : {std::span<std::byte>(memory), arena.memory()}) {
        compare({io.read(9, bytes, 0, 1), io.read(9, bytes, 0, 1, async)});
        compare({io.write(9, bytes, 0, 1), io.write(9, bytes, 0, 1, async)});
        compare({io.read(slot, bytes, 0, 1), io.read(slot, bytes, 0, 1, async)});
        compare({io.write(slot, bytes, 0, 1), io.write(slot, bytes, 0, 1, async)});
    }
    compare({io.fsync(9, 1), io.fsync(9, 1, async)});
    compare({io.fsync(slot, 1), io.fsync(slot, 1, async)});
    compare({io.fdatasync(9, 1), io.fdatasync(9, 1, async)});
    compare({io.fdatasync(slot, 1), io.fdatasync(slot, 1, async)});
    compare({io.statx(9, out, 1), io.statx(9, out, 1, Io::statx_default, async)});
    compare({io.statx("f", out, 1), io.statx("f", out, 1, Io::statx_default, async)});
    compare({io.rename("f", "g", 1), io.rename("f", "g", 1, async)});
    compare({io.unlink("f", 1), io.unlink("f", 1, async)});
    compare({io.close(9, 1), io.close(9, 1, async)});
    compare({io.close(slot, 1), io.close(slot, 1, async)});
}

TEST(Sqe, IsFixedExactlyWhereAllOfItLiesInOneRegion) {
    constexpr std::ptrdiff_t gib = 1 << 30;
    constexpr std::ptrdiff_t end = 5 * gib / 2;
    std::optional<BufferArena> arena;
    {
        const Intercept untouched(refuse(SYS_madvise, 0));  // address space is enough
        arena = make_arena({.buffer_size = gib / 2, .count = 5, .pages = Pages::base});
    }
    UserKernel kernel;
    Io io = make_io({.entries = 1, .arena = &*arena});
    const struct {
        std::ptrdiff_t from;
        std::ptrdiff_t bytes;
        int region;  // -1: not fixed
    } cases[] = {{0, 1, 0},
                 {0, gib, 0},
                 {0, gib + 1, -1},
                 {1, gib, -1},
                 {1, gib - 1, 0},
                 {gib - 1, 1, 0},
                 {gib - 1, 2, -1},
                 {gib, 1, 1},
                 {gib, gib, 1},
                 {gib, gib + 1, -1},
                 {2 * gib, gib / 2, 2},
                 {2 * gib, gib / 2 + 1, -1},
                 {end - 1, 1, 2},
                 {end - 1, 2, -1},
                 {end, 1, -1},
                 {-1, 1, -1},
                 {-1, 2, -1},
                 {-1, gib, -1},
                 {0, 0, -1},
                 {5, 0, -1},
                 {5, -1, -1},  // as many as a number can say
                 {gib, 0, -1},
                 {0, 2 * gib, -1},
                 {0, end, -1}};
    for (const auto& [from, length, region] : cases) {
        for (const bool read : {true, false}) {
            const std::span<std::byte> bytes(arena->memory().data() + from, static_cast<std::size_t>(length));
            ASSERT_TRUE(read ? io.read(9, bytes, 0, 1) : io.write(9, bytes, 0, 1));
            EXPECT_EQ(io.poll().size(), 1U);
            const abi::Sqe& sqe = kernel.ring().consumed.back();
            const abi::Op fixed = read ? abi::Op::read_fixed : abi::Op::write_fixed;
            EXPECT_EQ(sqe.opcode == static_cast<std::uint8_t>(fixed), region >= 0) << from << "+" << length;
            EXPECT_EQ(sqe.buf_index, std::max(region, 0)) << from << "+" << length;
            EXPECT_EQ(sqe.len, std::min<std::size_t>(bytes.size(), 0x7ffff000)) << "as much as can move at once";
        }
    }
}

TEST(Sqe, KeepsTheTwoPathsOfEachQueuedOperationApart) {
    UserKernel kernel;
    Io io = make_io({.entries = 4});
    const std::string longest(4095, 'x');
    std::vector<std::string> seen;
    kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
        const long count = kernel.ring().finish(enter.to_submit);
        for (const abi::Sqe& sqe : kernel.ring().consumed) {
            seen.emplace_back(reinterpret_cast<const char*>(sqe.addr));
            seen.emplace_back(reinterpret_cast<const char*>(sqe.off));
        }
        return count;
    };
    for (Token token = 0; token < 4; ++token) {
        const std::string number = std::to_string(token);
        ASSERT_TRUE(io.rename((number + longest).c_str() + 1, (number + "to").c_str(), token));
    }
    EXPECT_EQ(io.poll().size(), 4U);
    ASSERT_EQ(seen.size(), 8U);
    for (std::size_t token = 0; token < 4; ++token) {
        EXPECT_EQ(seen[2 * token], longest);
        EXPECT_EQ(seen[2 * token + 1], std::to_string(token) + "to");
    }
    // One that is too long is cut, and leaves the other alone.
    std::string cut;
    kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
        const long count = kernel.ring().finish(enter.to_submit);
        const abi::Sqe& sqe = kernel.ring().consumed.back();
        cut.assign(reinterpret_cast<const char*>(sqe.addr), 4096);
        EXPECT_STREQ(reinterpret_cast<const char*>(sqe.off), "to");
        return count;
    };
    ASSERT_TRUE(io.rename((longest + "yz").c_str(), "to", 1));
    EXPECT_EQ(io.poll().size(), 1U);
    EXPECT_EQ(cut, longest + "y");
}

}  // namespace
}  // namespace squall
