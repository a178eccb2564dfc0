// SPDX-License-Identifier: MIT
//
// Registered files: the table, operations by slot, opening straight into a slot, replacing and closing one, and what
// becomes of operations in flight meanwhile.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>
#include <type_traits>

#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

// A slot is never taken for a descriptor, nor a descriptor or a number for a slot.
static_assert(!std::is_convertible_v<FileSlot, int> && !std::is_convertible_v<int, FileSlot>);
static_assert(!std::is_convertible_v<std::uint32_t, FileSlot>);
static_assert(sizeof(FileSlot) == 4 && FileSlot(7).number() == 7 && FileSlot(7) == FileSlot(7));

class FilesTest : public testing::TestWithParam<Kind> {
protected:
    Io make(std::uint32_t slots = 4) { return make_io(GetParam(), {.entries = 16, .file_slots = slots}); }
    std::string with_content(const char* name, std::uint64_t seed) {
        std::vector<std::byte> bytes(4096);
        fill_pattern(bytes, 0, seed);
        write_file(directory_.file(name), bytes);
        return directory_.file(name);
    }
    // Reads what is in `slot`; the seed of its pattern must be `seed`.
    static void expect_content(Io& io, FileSlot slot, std::uint64_t seed) {
        std::vector<std::byte> bytes(4096);
        EXPECT_EQ(result_of(io, io.read(slot, bytes, 0, 1)), 4096);
        EXPECT_EQ(find_wrong(bytes, 0, seed), -1);
    }
    // As result_of(), while others stay in flight.
    static std::int32_t next_result(Io& io, bool queued) {
        EXPECT_TRUE(queued);
        const Completions done = io.park();
        EXPECT_EQ(done.size(), 1U);
        return done.begin()->res;
    }
    TempDir directory_;
};
INSTANTIATE_TEST_SUITE_P(Modes, FilesTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(FilesTest, AFileOpenedIntoASlotIsWrittenSyncedReadAndClosedThereWithoutADescriptor) {
    Io io = make();
    const std::size_t before = descriptors_now();
    const FileSlot slot(3);
    const OpenOptions fresh{.read = true, .write = true, .create_new = true};
    ASSERT_EQ(result_of(io, io.open(directory_.file("a").c_str(), fresh, slot, 1)), 0);
    std::vector<std::byte> bytes(8192);
    fill_pattern(bytes, 0);
    EXPECT_EQ(result_of(io, io.write(slot, bytes, 0, 2)), 8192);
    EXPECT_EQ(result_of(io, io.fsync(slot, 3)), 0);
    EXPECT_EQ(result_of(io, io.fdatasync(slot, 4)), 0);
    std::vector<std::byte> back(8192);
    EXPECT_EQ(result_of(io, io.read(slot, back, 0, 5)), 8192);
    EXPECT_EQ(find_wrong(back, 0), -1);
    EXPECT_EQ(read_file(directory_.file("a")), bytes);
    EXPECT_EQ(result_of(io, io.close(slot, 6)), 0);
    EXPECT_EQ(result_of(io, io.read(slot, back, 0, 7)), -EBADF);
    EXPECT_EQ(result_of(io, io.close(slot, 8)), -EBADF);
    EXPECT_EQ(descriptors_now(), before);
}

TEST_P(FilesTest, FixedBuffersAndRegisteredFilesGoTogether) {
    auto arena = make_arena({.count = 4});
    Io io = make_io(GetParam(), {.arena = &arena, .file_slots = 1});
    ASSERT_EQ(result_of(io, io.open(with_content("a", 7).c_str(), {.read = true, .write = true}, FileSlot(0), 1)), 0);
    const FixedBuffer buffer = arena.acquire().value();
    EXPECT_EQ(result_of(io, io.read(FileSlot(0), buffer.bytes(), 0, 2)), 4096);
    EXPECT_EQ(find_wrong(buffer.bytes(), 0, 7), -1);
    EXPECT_EQ(result_of(io, io.write(FileSlot(0), buffer.bytes(), 4096, 3)), 4096);
    EXPECT_EQ(io.counters().fixed, 2U);
    EXPECT_EQ(read_file(directory_.file("a")).size(), 8192U);
}

TEST_P(FilesTest, SetFileFillsReplacesAndEmptiesASlotAndTheTableHoldsTheFileOnItsOwn) {
    Io io = make();
    const FileSlot slot(0);
    {
        const Fd one(::open(with_content("one", 1).c_str(), O_RDONLY));
        ASSERT_TRUE(io.set_file(slot, one));
    }
    expect_content(io, slot, 1);
    {
        const Fd two(::open(with_content("two", 2).c_str(), O_RDONLY));
        ASSERT_TRUE(io.set_file(slot, two));
    }
    expect_content(io, slot, 2);
    ASSERT_TRUE(io.set_file(slot, -1));
    std::byte byte{};
    EXPECT_EQ(result_of(io, io.read(slot, {&byte, 1}, 0, 1)), -EBADF);
    ASSERT_TRUE(io.set_file(slot, -1));
}

TEST_P(FilesTest, OpeningIntoASlotThatIsTakenReplacesItsFile) {
    Io io = make();
    const FileSlot slot(1);
    ASSERT_EQ(result_of(io, io.open(with_content("one", 1).c_str(), {}, slot, 1)), 0);
    ASSERT_EQ(result_of(io, io.open(with_content("two", 2).c_str(), {}, slot, 1)), 0);
    expect_content(io, slot, 2);
}

TEST_P(FilesTest, EachSlotIsItsOwn) {
    Io io = make(100);
    EXPECT_EQ(io.features().file_slots, 100U);
    for (const std::uint32_t i : {0U, 1U, 50U, 99U})
        ASSERT_EQ(result_of(io, io.open(with_content(std::to_string(i).c_str(), i).c_str(), {}, FileSlot(i), 1)), 0);
    for (const std::uint32_t i : {99U, 0U, 50U, 1U}) expect_content(io, FileSlot(i), i);
    ASSERT_EQ(result_of(io, io.close(FileSlot(50), 1)), 0);
    expect_content(io, FileSlot(99), 99);
}

class FilesInFlightTest : public FilesTest {};
INSTANTIATE_TEST_SUITE_P(Modes, FilesInFlightTest,
                         testing::Values(Kind{Mode::deferred}, Kind{Mode::plain}, Kind{Mode::sqpoll}),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(FilesInFlightTest, AnOperationInFlightGoesOnWhenItsSlotIsClosedAndALaterOneFindsItEmpty) {
    Io io = make();
    Pipe pipe;
    const FileSlot slot(2);
    ASSERT_TRUE(io.set_file(slot, pipe.read_end));
    std::byte early{};
    std::byte late{};
    ASSERT_TRUE(io.read(slot, {&early, 1}, UINT64_MAX, 1));
    ASSERT_EQ(next_result(io, io.close(slot, 2)), 0);
    ASSERT_EQ(io.in_flight(), 1U);
    ASSERT_EQ(next_result(io, io.read(slot, {&late, 1}, UINT64_MAX, 3)), -EBADF);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    const auto done = drain(io);
    ASSERT_EQ(done.size(), 1U);
    EXPECT_EQ(done[0].token, 1U);
    EXPECT_EQ(done[0].res, 1);
    EXPECT_EQ(early, std::byte{'x'});
}

TEST_P(FilesInFlightTest, TheFileOfAClosedSlotIsClosedOnceTheLastOperationOnItHasCompleted) {
    Io io = make();
    Pipe pipe;
    const FileSlot slot(0);
    ASSERT_TRUE(io.set_file(slot, pipe.read_end));
    std::byte byte{};
    ASSERT_TRUE(io.read(slot, {&byte, 1}, UINT64_MAX, 1));
    ASSERT_EQ(next_result(io, io.close(slot, 2)), 0);
    ::close(std::exchange(pipe.read_end, -1));
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);  // the read still holds the other end
    ASSERT_EQ(drain(io).size(), 1U);
    pipe.until_unread();  // the kernel puts the file down a moment after the completion
}

TEST_P(FilesInFlightTest, OperationsOfOneBatchMeetTheSlotInTheOrderInWhichTheyWereQueued) {
    Io io = make();
    std::vector<std::byte> before(4096);
    std::vector<std::byte> after(4096);
    ASSERT_EQ(result_of(io, io.open(with_content("a", 5).c_str(), {}, FileSlot(0), 1)), 0);
    ASSERT_TRUE(io.read(FileSlot(0), before, 0, 1));
    ASSERT_TRUE(io.close(FileSlot(0), 2));
    ASSERT_TRUE(io.read(FileSlot(0), after, 0, 3));
    for (const Completion& done : drain(io)) EXPECT_EQ(done.res, done.token == 1 ? 4096 : done.token == 2 ? 0 : -EBADF);
    EXPECT_EQ(find_wrong(before, 0, 5), -1);
}

// Place 0 of the kernel's table is squall's own, and slots that are not there must not lead to it.
TEST_P(FilesTest, SlotsOutsideTheTableAreRefusedAndHarmNothing) {
    Io io = make(2);
    const std::string path = with_content("a", 3);
    std::byte byte{};
    for (const std::uint32_t number : {2U, 3U, (1U << 20) - 1, 1U << 20, 0x7fffffffU, 0xfffffffeU, 0xffffffffU}) {
        const FileSlot slot(number);
        EXPECT_EQ(result_of(io, io.open(path.c_str(), {}, slot, 1)), -EINVAL) << number;
        EXPECT_EQ(result_of(io, io.read(slot, {&byte, 1}, 0, 1)), -EBADF) << number;
        EXPECT_EQ(result_of(io, io.write(slot, {&byte, 1}, 0, 1)), -EBADF) << number;
        EXPECT_EQ(result_of(io, io.fsync(slot, 1)), -EBADF) << number;
        EXPECT_EQ(result_of(io, io.close(slot, 1)), -EINVAL) << number;
        const auto set = io.set_file(slot, 0);
        ASSERT_FALSE(set) << number;
        EXPECT_EQ(set.error().code(), EINVAL);
        EXPECT_NE(set.error().message().find("file_slots is 2"), std::string::npos) << set.error().message();
    }
    ASSERT_EQ(result_of(io, io.open(path.c_str(), {}, FileSlot(1), 1)), 0);
    expect_content(io, FileSlot(1), 3);
}

TEST_P(FilesTest, AnIoWithoutSlotsRefusesThem) {
    Io io = make(0);
    std::byte byte{};
    EXPECT_EQ(result_of(io, io.read(FileSlot(0), {&byte, 1}, 0, 1)), -EBADF);
    EXPECT_EQ(result_of(io, io.open(with_content("a", 1).c_str(), {}, FileSlot(0), 1)), -EINVAL);
    EXPECT_EQ(io.set_file(FileSlot(0), 0).error().code(), EINVAL);
}

TEST_P(FilesTest, SetFileNamesTheSlotAndTheDescriptorThatItRefuses) {
    Io io = make();
    ASSERT_EQ(result_of(io, io.open(with_content("a", 1).c_str(), {}, FileSlot(2), 1)), 0);
    const auto set = io.set_file(FileSlot(2), 987654);
    ASSERT_FALSE(set);
    EXPECT_EQ(set.error().code(), EBADF);
    EXPECT_NE(set.error().message().find("slot 2, fd=987654"), std::string::npos) << set.error().message();
    std::byte byte{};
    EXPECT_EQ(result_of(io, io.read(FileSlot(2), {&byte, 1}, 0, 1)), -EBADF);  // as documented, it is empty now
}

TEST_P(FilesTest, WhatTheKernelSaysOfATableIsSaidOfNoTransfers) {
    Io io = make();
    const Intercept busy(refuse(nr_register, -EBUSY));
    EXPECT_EQ(io.set_file(FileSlot(0), 0).error().message(),
              "Io::set_file(slot 0, fd=0): EBUSY (Device or resource busy)");
}

TEST_P(FilesTest, SetFileBelongsToTheOwnersThread) {
    Io io = make();
    (void)result_of(io, io.nop(1));
    int code = -1;
    std::thread([&] {
        const auto set = io.set_file(FileSlot(0), 0);
        code = set ? 0 : set.error().code();
    }).join();
    EXPECT_EQ(code, GetParam() == Mode::plain ? 0 : EEXIST);
}

TEST_P(FilesTest, AFailedOpenLeavesTheSlotAsItWas) {
    Io io = make();
    ASSERT_EQ(result_of(io, io.open(with_content("a", 9).c_str(), {}, FileSlot(0), 1)), 0);
    EXPECT_EQ(result_of(io, io.open(directory_.file("absent").c_str(), {}, FileSlot(0), 2)), -ENOENT);
    expect_content(io, FileSlot(0), 9);
}

TEST(FileTableTest, IsRefusedByNameWhereTheKernelCannotOpenIntoASlot) {
    const Intercept old_kernel([](Call& call) -> std::optional<long> {
        if (call.number == test::nr_register && call.args[1] == abi::register_iowq_max_workers) return -EINVAL;
        return std::nullopt;
    });
    const auto refused = Io::create({.file_slots = 1});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), EOPNOTSUPP);
    EXPECT_NE(refused.error().message().find("opening into a file slot (5.15)"), std::string::npos);
    EXPECT_TRUE(Io::create({}));
}

TEST(FileTableTest, MoreSlotsThanATableCanHaveAreRefused) {
    const auto refused = Io::create({.file_slots = 1U << 20});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), EINVAL);
    EXPECT_NE(refused.error().message().find("file_slots is 1048576: EINVAL"), std::string::npos)
        << refused.error().message();
}

TEST(FileTableTest, MoreSlotsThanTheLimitOfDescriptorsSayWhichLimit) {
    const Intercept limited([](Call& call) -> std::optional<long> {
        if (call.number == test::nr_register && call.args[1] == abi::register_files) return -EMFILE;
        return std::nullopt;
    });
    const std::size_t before = descriptors_now();
    const auto refused = Io::create({.file_slots = 1000});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), EMFILE);
    EXPECT_NE(refused.error().message().find("a table of 1000 file slots"), std::string::npos);
    EXPECT_NE(refused.error().message().find("RLIMIT_NOFILE"), std::string::npos);
    EXPECT_EQ(descriptors_now(), before);
}

// Not when the kernel comes round to freeing the ring: whoever opens the file next may need its lock.
TEST_P(FilesTest, FilesInSlotsAreClosedWhenTheirIoIsGone) {
    for (const bool used : {false, true}) {
        Pipe pipe;
        {
            Io io = make();
            ASSERT_TRUE(io.set_file(FileSlot(1), pipe.read_end));
            ::close(std::exchange(pipe.read_end, -1));
            if (used) {
                EXPECT_EQ(result_of(io, io.nop(1)), 0);
            }
        }
        ::signal(SIGPIPE, SIG_IGN);
        EXPECT_EQ(::write(pipe.write_end, "x", 1), -1);
        EXPECT_EQ(errno, EPIPE);
    }
}

}  // namespace
}  // namespace squall
