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

TEST(Sqe, TheOperationsOnRangesTimesAndOthersAreTheSqesThatTheKernelExpects) {
    UserKernel kernel;
    Io io = make_io({.entries = 32, .file_slots = 5});
    std::array<std::byte, 100> memory{};
    const struct ::iovec pieces[] = {{memory.data(), 7}, {memory.data() + 50, 50}};
    const auto address = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); };
    const auto last = [&](bool queued) {
        EXPECT_TRUE(queued);
        EXPECT_EQ(io.poll().size(), 1U);
        return kernel.ring().consumed.back();
    };
    const auto timespec_at = [](std::uint64_t place) { return *reinterpret_cast<const abi::Timespec*>(place); };
    using abi::Op;
    using namespace std::chrono_literals;
    constexpr std::uint8_t slot = abi::sqe_fixed_file;
    constexpr std::uint64_t long_range = std::uint64_t{1} << 32;

    expect(last(io.readv(9, pieces, 77, 1)),
           {.opcode = Op::readv, .fd = 9, .off = 77, .addr = address(pieces), .len = 2, .user_data = 1}, "readv");
    expect(last(io.writev(FileSlot(1), pieces, UINT64_MAX, 2, {.dsync = true, .append = true})),
           {.opcode = Op::writev,
            .flags = slot,
            .fd = 2,
            .off = UINT64_MAX,
            .addr = address(pieces),
            .len = 2,
            .op_flags = 0x12,
            .user_data = 2},
           "writev to a slot");
    expect(last(io.sync_range(9, 5, 6, 3)),
           {.opcode = Op::sync_file_range, .fd = 9, .off = 5, .len = 6, .op_flags = 7, .user_data = 3}, "sync_range");
    expect(last(io.sync_range(FileSlot(1), 5, long_range - 1, 4, 2)),
           {.opcode = Op::sync_file_range,
            .flags = slot,
            .fd = 2,
            .off = 5,
            .len = UINT32_MAX,
            .op_flags = 2,
            .user_data = 4},
           "sync_range of a slot");
    EXPECT_EQ(last(io.sync_range(9, 5, long_range, 4)).buf_index, 1U) << "which one is refused for";
    expect(last(io.fallocate(9, 3, 5, long_range, 5)),
           {.opcode = Op::fallocate, .fd = 9, .off = 5, .addr = long_range, .len = 3, .user_data = 5}, "fallocate");
    expect(last(io.truncate(FileSlot(1), long_range, 6)),
           {.opcode = Op::ftruncate, .flags = slot, .fd = 2, .off = long_range, .user_data = 6}, "truncate");
    expect(last(io.advise(9, long_range, 6, 4, 7)),
           {.opcode = Op::fadvise, .fd = 9, .off = long_range, .len = 6, .op_flags = 4, .user_data = 7}, "advise");
    EXPECT_EQ(last(io.advise(9, 0, long_range, 4, 7)).buf_index, 1U);
    expect(last(io.advise(memory, 4, 8)),
           {.opcode = Op::madvise, .fd = -1, .addr = address(&memory), .len = 100, .op_flags = 4, .user_data = 8},
           "advise of memory");
    EXPECT_EQ(last(io.advise(std::span(memory.data(), long_range), 4, 8)).buf_index, 1U);

    abi::Sqe sqe = last(io.timer(3s + 5ns, 9));
    EXPECT_EQ(timespec_at(sqe.addr).tv_sec, 3);
    EXPECT_EQ(timespec_at(sqe.addr).tv_nsec, 5);
    sqe.addr = 0;
    expect(sqe, {.opcode = Op::timeout, .fd = -1, .len = 1, .user_data = 9}, "timer");
    sqe = last(io.deadline(7ns, 10, {.link = true}));
    EXPECT_EQ(timespec_at(sqe.addr).tv_nsec, 7);
    sqe.addr = 0;
    expect(sqe, {.opcode = Op::link_timeout, .flags = abi::sqe_io_link, .fd = -1, .len = 1, .user_data = 10},
           "deadline");
    expect(last(io.cancel(UINT64_MAX, 11)), {.opcode = Op::async_cancel, .fd = -1, .addr = UINT64_MAX, .user_data = 11},
           "cancel");
    expect(last(io.cancel_file(FileSlot(1), 12)),
           {.opcode = Op::async_cancel, .flags = slot, .fd = 2, .op_flags = 3, .user_data = 12}, "cancel of a slot");
    expect(last(io.cancel_all(13)), {.opcode = Op::async_cancel, .fd = -1, .op_flags = 5, .user_data = 13},
           "cancel of all");
}

TEST(Sqe, TheOperationsOnNamesAreTheSqesThatTheKernelExpects) {
    UserKernel kernel;
    Io io = make_io({.entries = 32, .file_slots = 5});
    struct ::statx out {};
    using abi::Op;
    // The SQE less its paths, which are held against those that are expected.
    const auto last = [&](bool queued, const char* path, const char* second) {
        EXPECT_TRUE(queued);
        EXPECT_EQ(io.poll().size(), 1U);
        abi::Sqe sqe = kernel.ring().consumed.back();
        EXPECT_STREQ(reinterpret_cast<const char*>(sqe.addr), path);
        if (second) {
            EXPECT_STREQ(reinterpret_cast<const char*>(sqe.off), second);
            sqe.off = 0;
        }
        sqe.addr = 0;
        return sqe;
    };
    constexpr auto here = static_cast<std::uint32_t>(AT_FDCWD);
    expect(last(io.rename({7, "a"}, {8, std::string("b")}, 1), "a", "b"),
           {.opcode = Op::renameat, .fd = 7, .len = 8, .user_data = 1}, "rename");
    expect(last(io.rename("a", {8, "b"}, Rename::no_replace, 2), "a", "b"),
           {.opcode = Op::renameat, .fd = AT_FDCWD, .len = 8, .op_flags = 1, .user_data = 2}, "no_replace");
    expect(last(io.rename({7, "a"}, "b", Rename::exchange, 3), "a", "b"),
           {.opcode = Op::renameat, .fd = 7, .len = here, .op_flags = 2, .user_data = 3}, "exchange");
    expect(last(io.unlink({7, "a"}, 4), "a", nullptr), {.opcode = Op::unlinkat, .fd = 7, .user_data = 4}, "unlink");
    expect(last(io.rmdir({7, "a"}, 5), "a", nullptr),
           {.opcode = Op::unlinkat, .fd = 7, .op_flags = AT_REMOVEDIR, .user_data = 5}, "rmdir");
    expect(last(io.mkdir({7, "a"}, 0750, 6), "a", nullptr),
           {.opcode = Op::mkdirat, .fd = 7, .len = 0750, .user_data = 6}, "mkdir");
    expect(last(io.link({7, "a"}, {8, "b"}, 7), "a", "b"), {.opcode = Op::linkat, .fd = 7, .len = 8, .user_data = 7},
           "link");
    expect(last(io.link(12345, {8, "b"}, 8), "/proc/self/fd/12345", "b"),
           {.opcode = Op::linkat, .fd = AT_FDCWD, .len = 8, .op_flags = AT_SYMLINK_FOLLOW, .user_data = 8},
           "link of an open file");
    expect(last(io.symlink("a", {8, "b"}, 9), "a", "b"), {.opcode = Op::symlinkat, .fd = 8, .user_data = 9}, "symlink");
    abi::Sqe sqe =
        last(io.statx({7, "a"}, out, 10, {.mask = 5, .follow = false, .flags = AT_STATX_DONT_SYNC}), "a", nullptr);
    EXPECT_EQ(sqe.off, reinterpret_cast<std::uintptr_t>(&out));
    sqe.off = 0;
    expect(
        sqe,
        {.opcode = Op::statx, .fd = 7, .len = 5, .op_flags = AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, .user_data = 10},
        "statx of a link");

    const auto open_how = [&](const OpenOptions& options, bool into_a_slot) {
        abi::Sqe found = last(
            into_a_slot ? io.open({7, "a"}, options, FileSlot(2), 11) : io.open({7, "a"}, options, 11), "a", nullptr);
        const auto how = *reinterpret_cast<const abi::OpenHow*>(found.off);
        found.off = 0;
        expect(found, {.opcode = Op::openat2, .fd = 7, .len = 24, .user_data = 11, .file_index = into_a_slot ? 4U : 0U},
               "open with resolve flags");
        return how;
    };
    abi::OpenHow how =
        open_how({.write = true, .create = true, .mode = 0600, .flags = O_NOFOLLOW, .resolve = 8}, false);
    EXPECT_EQ(how.flags, unsigned{O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC});
    EXPECT_EQ(how.mode, 0600U);
    EXPECT_EQ(how.resolve, 8U);
    how = open_how({.resolve = 1}, true);
    EXPECT_EQ(how.flags, 0U);
    EXPECT_EQ(how.mode, 0U) << "of a file that is not made";
    how = open_how({.write = true, .flags = O_TMPFILE, .resolve = 1}, false);
    EXPECT_EQ(how.mode, 0644U);
    how = open_how({.flags = O_DIRECTORY, .resolve = 1}, false);
    EXPECT_EQ(how.mode, 0U) << "O_TMPFILE has the bit of O_DIRECTORY";
    EXPECT_EQ(last(io.open("a", {.truncate = true, .resolve = 1}, 12), "a", nullptr).buf_index, 1U);
}

TEST(Sqe, PiecesAreFixedWhereEachHasBytesAllLieInOneRegionAndOneTransferCanMoveThem) {
    constexpr std::size_t gib = std::size_t{1} << 30;
    std::optional<BufferArena> arena;
    {
        const Intercept untouched(refuse(SYS_madvise, 0));  // address space is enough
        arena = make_arena({.buffer_size = gib, .count = 2, .pages = Pages::base});
    }
    UserKernel kernel;
    Io io = make_io({.entries = 4, .arena = &*arena});
    std::byte* const at = arena->memory().data();
    std::byte outside{};
    const auto is_fixed = [&](std::initializer_list<struct ::iovec> pieces) {
        EXPECT_TRUE(io.readv(9, {pieces.begin(), pieces.size()}, 0, 1));
        EXPECT_EQ(io.poll().size(), 1U);
        return kernel.ring().consumed.back().opcode == static_cast<std::uint8_t>(abi::Op::readv_fixed);
    };
    EXPECT_TRUE(is_fixed({{at, 10}, {at + gib - 10, 10}}));
    EXPECT_FALSE(is_fixed({{at, 10}, {at + gib, 10}})) << "two regions";
    EXPECT_FALSE(is_fixed({{at, 10}, {at + 20, 0}}));
    EXPECT_FALSE(is_fixed({{at, 10}, {&outside, 1}}));
    EXPECT_FALSE(is_fixed({}));
    EXPECT_TRUE(is_fixed({{at, gib}, {at, 0x3ffff000}})) << "0x7ffff000 bytes";
    EXPECT_FALSE(is_fixed({{at, gib}, {at, 0x3ffff001}}));
}

TEST(Sqe, HowIsFlagsPriorityAndFlagsOfTransfersAndNothingElse) {
    BufferArena arena = make_arena({.count = 1});
    UserKernel kernel;
    Io io = make_io({.entries = 32, .arena = &arena});
    const std::span<std::byte> memory = arena.memory().first(8);
    const struct ::iovec piece = {memory.data(), memory.size()};
    const auto last = [&](bool queued) {
        EXPECT_TRUE(queued);
        EXPECT_EQ(io.poll().size(), 1U);
        return kernel.ring().consumed.back();
    };
    const struct {
        How how;
        unsigned flags, priority, rw_flags;
    } cases[] = {
        {{.link = true}, 4, 0, 0},
        {{.hard_link = true}, 8, 0, 0},
        {{.drain = true}, 2, 0, 0},
        {{.async = true}, 16, 0, 0},
        {{.priority = Priority::realtime(7)}, 0, 0x2007, 0},
        {{.priority = Priority::best_effort(3)}, 0, 0x4003, 0},
        {{.priority = Priority::idle()}, 0, 0x6000, 0},
        {{.dsync = true}, 0, 0, 0x02},
        {{.sync = true}, 0, 0, 0x04},
        {{.nowait = true}, 0, 0, 0x08},
        {{.append = true}, 0, 0, 0x10},
        {{.atomic = true}, 0, 0, 0x40},
        {{.uncached = true}, 0, 0, 0x80},
        {{.unregistered = true}, 0, 0, 0},
        {{.link = true, .drain = true, .priority = 0x4001, .sync = true, .append = true}, 6, 0x4001, 0x14},
    };
    for (const auto& each : cases) {
        const bool fixed = !each.how.unregistered;
        for (const abi::Sqe& sqe :
             {last(io.read(9, memory, 0, 1, each.how)), last(io.write(9, memory, 0, 1, each.how)),
              last(io.readv(9, {&piece, 1}, 0, 1, each.how)), last(io.writev(9, {&piece, 1}, 0, 1, each.how))}) {
            EXPECT_EQ(sqe.flags, each.flags);
            EXPECT_EQ(sqe.ioprio, each.priority);
            EXPECT_EQ(sqe.op_flags, each.rw_flags);
            const auto op = abi::Op{sqe.opcode};
            EXPECT_EQ(fixed, op == abi::Op::read_fixed || op == abi::Op::write_fixed || op == abi::Op::readv_fixed ||
                                 op == abi::Op::writev_fixed);
        }
        // What is for transfers alone is refused of all else, by a priority that there is not.
        const bool refused = each.rw_flags != 0 || !fixed;
        for (const abi::Sqe& sqe : {last(io.nop(1, each.how)), last(io.fsync(9, 1, each.how)),
                                    last(io.unlink("a", 1, each.how)), last(io.cancel(1, 1, each.how))}) {
            EXPECT_EQ(sqe.flags, each.flags);
            EXPECT_EQ(sqe.ioprio, refused ? 0xffffU : each.priority);
            EXPECT_EQ(sqe.op_flags, 0U);
        }
    }
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
