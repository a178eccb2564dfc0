// SPDX-License-Identifier: MIT
//
// What every operation does on real files, in every mode, with and without an arena. What is promised under stress and
// when things go wrong is in invariants/ and refusal_test.cpp.
#include "squall/io.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>

#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

class IoTest : public testing::TestWithParam<std::tuple<Kind, bool>> {
protected:
    // A buffer of the arena in half of the cases, ordinary memory in the other half.
    std::span<std::byte> memory(std::size_t bytes) {
        if (with_arena) {
            leases.push_back(arena.acquire().value());
            return leases.back().bytes().first(bytes);
        }
        heap.emplace_back(bytes);
        return heap.back();
    }
    std::int32_t run(bool queued) { return result_of(io, queued); }
    Fd open(const std::string& name, const OpenOptions& options) {
        const std::int32_t fd = run(io.open(dir.file(name).c_str(), options, 1));
        EXPECT_GE(fd, 0) << name;
        return Fd(fd);
    }

    bool with_arena = std::get<1>(GetParam());
    TempDir dir;
    BufferArena arena = make_arena({.buffer_size = 64 << 10, .count = 16});
    std::vector<FixedBuffer> leases;
    std::vector<std::vector<std::byte>> heap;
    Io io = make_io(std::get<0>(GetParam()), {.entries = 8, .arena = with_arena ? &arena : nullptr});
};

TEST_P(IoTest, ReadsBackWhatItWrote) {
    const Fd file = open("f", {.read = true, .write = true, .create = true});
    const auto out = memory(64 << 10);
    const auto in = memory(64 << 10);
    fill_pattern(out, 12345);
    EXPECT_EQ(run(io.write(file, out, 12345, 1)), 64 << 10);
    EXPECT_EQ(run(io.read(file, in, 12345, 2)), 64 << 10);
    EXPECT_EQ(find_wrong(in, 12345), -1);
    EXPECT_EQ(io.counters().fixed, with_arena ? 2U : 0U);
    EXPECT_EQ(io.counters().unregistered, with_arena ? 0U : 2U);
}

TEST_P(IoTest, DeliversAShortReadAtTheEndOfTheFileAndZeroBeyond) {
    const auto bytes = memory(1000);
    write_file(dir.file("f"), bytes);
    const Fd file = open("f", {.read = true});
    EXPECT_EQ(run(io.read(file, bytes, 900, 1)), 100);
    EXPECT_EQ(run(io.read(file, bytes, 1000, 2)), 0);
    EXPECT_EQ(run(io.read(file, bytes, 5000, 3)), 0);
    EXPECT_EQ(run(io.read(file, bytes.first(0), 0, 4)), 0);
    EXPECT_EQ(run(io.write(file, bytes.first(0), 0, 5)), -EBADF) << "opened for reading";
}

TEST_P(IoTest, UsesTheFilesPositionForOffsetMinusOne) {
    const auto bytes = memory(8);
    fill_pattern(bytes, 0);
    write_file(dir.file("f"), bytes);
    const Fd file = open("f", {.read = true});
    EXPECT_EQ(run(io.read(file, bytes.first(5), UINT64_MAX, 1)), 5);
    EXPECT_EQ(run(io.read(file, bytes.first(5), UINT64_MAX, 2)), 3);
    EXPECT_EQ(find_wrong(bytes.first(3), 5), -1);
}

TEST_P(IoTest, LeavesABadFileDescriptorToTheKernel) {
    const auto bytes = memory(8);
    EXPECT_EQ(run(io.read(-1, bytes, 0, 1)), -EBADF);
    EXPECT_EQ(run(io.write(1'000'000, bytes, 0, 1)), -EBADF);
    EXPECT_EQ(run(io.fsync(-1, 1)), -EBADF);
    EXPECT_EQ(run(io.fdatasync(-5, 1)), -EBADF);
    EXPECT_EQ(run(io.close(-1, 1)), -EBADF);
    struct ::statx out;
    EXPECT_EQ(run(io.statx(-1, out, 1)), -EBADF);
    EXPECT_EQ(run(io.nop(1)), 0);
}

TEST_P(IoTest, OpensAsTheOptionsSay) {
    const auto access = [](int fd) { return ::fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_DIRECT | O_DSYNC); };
    EXPECT_EQ(run(io.open(dir.file("none").c_str(), {.read = true}, 1)), -ENOENT);
    EXPECT_EQ(access(open("f", {.write = true, .create = true})), O_WRONLY);
    EXPECT_EQ(access(open("f", {})), O_RDONLY);
    EXPECT_EQ(access(open("f", {.read = true})), O_RDONLY);
    EXPECT_EQ(access(open("f", {.read = true, .write = true})), O_RDWR);
    EXPECT_EQ(access(open("f", {.append = true})), O_WRONLY | O_APPEND);
    EXPECT_EQ(access(open("f", {.write = true, .dsync = true})), O_WRONLY | O_DSYNC);
    // Not every file system has O_DIRECT: the answer is open(2)'s.
    const Fd direct(::open(dir.file("f").c_str(), O_RDONLY | O_DIRECT));
    const std::int32_t refusal = direct < 0 ? -errno : 0;
    const Fd by_squall(run(io.open(dir.file("f").c_str(), {.read = true, .direct = true}, 1)));
    if (refusal != 0) {
        EXPECT_EQ(by_squall, refusal);
    } else {
        EXPECT_EQ(access(by_squall), O_RDONLY | O_DIRECT);
    }
    EXPECT_EQ(run(io.open(dir.file("f").c_str(), {.write = true, .create_new = true}, 1)), -EEXIST);
    const Fd fresh = open("g", {.write = true, .create_new = true, .mode = 0600});
    struct ::stat found {};
    ASSERT_EQ(::fstat(fresh, &found), 0);
    EXPECT_EQ(found.st_mode & 0777, 0600U);
    EXPECT_EQ(::fcntl(fresh, F_GETFD), FD_CLOEXEC);
}

TEST_P(IoTest, TruncatesOnlyAFileThatIsOpenedForWriting) {
    const auto bytes = memory(100);
    write_file(dir.file("f"), bytes);
    EXPECT_EQ(run(io.open(dir.file("f").c_str(), {.read = true, .truncate = true}, 1)), -EINVAL);
    EXPECT_EQ(std::filesystem::file_size(dir.file("f")), 100U);
    const Fd file = open("f", {.write = true, .truncate = true});
    EXPECT_EQ(std::filesystem::file_size(dir.file("f")), 0U);
}

TEST_P(IoTest, AppendsWhateverTheOffset) {
    const auto bytes = memory(10);
    fill_pattern(bytes, 0);
    write_file(dir.file("f"), bytes);
    const Fd file = open("f", {.append = true});
    fill_pattern(bytes, 10);
    EXPECT_EQ(run(io.write(file, bytes, 0, 1)), 10);
    EXPECT_EQ(find_wrong(read_file(dir.file("f")), 0), -1);
    EXPECT_EQ(std::filesystem::file_size(dir.file("f")), 20U);
}

TEST_P(IoTest, TransfersDirectlyWhenAligned) {
    const std::int32_t opened =
        run(io.open(dir.file("f").c_str(), {.read = true, .write = true, .create = true, .direct = true}, 1));
    if (opened == -EINVAL) GTEST_SKIP() << "no O_DIRECT on this file system";
    const Fd file(opened);
    BufferArena aligned = make_arena({.buffer_size = 8192, .count = 2});
    FixedBuffer buffer = *aligned.acquire();
    fill_pattern(buffer.bytes(), 8192);
    EXPECT_EQ(run(io.write(file, buffer.bytes(), 8192, 1)), 8192);
    std::memset(buffer.data(), 0, buffer.size());
    EXPECT_EQ(run(io.read(file, buffer.bytes(), 8192, 2)), 8192);
    EXPECT_EQ(find_wrong(buffer.bytes(), 8192), -1);
}

TEST_P(IoTest, StatsByDescriptorAndByPath) {
    const auto bytes = memory(777);
    write_file(dir.file("f"), bytes);
    const Fd file = open("f", {.read = true});
    struct ::statx by_fd;
    struct ::statx by_path;
    std::memset(&by_fd, 0xff, sizeof(by_fd));
    std::memset(&by_path, 0xff, sizeof(by_path));
    EXPECT_EQ(run(io.statx(file, by_fd, 1)), 0);
    EXPECT_EQ(run(io.statx(dir.file("f").c_str(), by_path, 2)), 0);
    EXPECT_EQ(by_fd.stx_size, 777U);
    EXPECT_EQ(by_path.stx_ino, by_fd.stx_ino);
    EXPECT_NE(by_path.stx_mask & STATX_SIZE, 0U);
    EXPECT_EQ(run(io.statx(dir.file("none").c_str(), by_path, 3)), -ENOENT);
    struct ::statx narrow {};
    EXPECT_EQ(run(io.statx(file, narrow, 4, STATX_SIZE)), 0);
    EXPECT_EQ(narrow.stx_size, 777U);
}

TEST_P(IoTest, RenamesAndReplaces) {
    const auto bytes = memory(10);
    write_file(dir.file("old"), bytes.first(3));
    write_file(dir.file("new"), bytes);
    EXPECT_EQ(run(io.rename(dir.file("old").c_str(), dir.file("new").c_str(), 1)), 0);
    EXPECT_EQ(std::filesystem::file_size(dir.file("new")), 3U);
    EXPECT_FALSE(std::filesystem::exists(dir.file("old")));
    EXPECT_EQ(run(io.rename(dir.file("old").c_str(), dir.file("new").c_str(), 2)), -ENOENT);
}

TEST_P(IoTest, UnlinksFilesAndNotDirectories) {
    write_file(dir.file("f"), memory(1));
    std::filesystem::create_directory(dir.file("d"));
    EXPECT_EQ(run(io.unlink(dir.file("f").c_str(), 1)), 0);
    EXPECT_FALSE(std::filesystem::exists(dir.file("f")));
    EXPECT_EQ(run(io.unlink(dir.file("f").c_str(), 2)), -ENOENT);
    EXPECT_EQ(run(io.unlink(dir.file("d").c_str(), 3)), -EISDIR);
}

TEST_P(IoTest, SyncsAndCloses) {
    const std::int32_t fd = run(io.open(dir.file("f").c_str(), {.write = true, .create = true}, 1));
    ASSERT_GE(fd, 0);
    EXPECT_EQ(run(io.write(fd, memory(10), 0, 2)), 10);
    EXPECT_EQ(run(io.fdatasync(fd, 3)), 0);
    EXPECT_EQ(run(io.fsync(fd, 4)), 0);
    EXPECT_EQ(run(io.close(fd, 5)), 0);
    EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
}

TEST_P(IoTest, SyncsADirectoryAfterARename) {
    write_file(dir.file("a"), memory(1));
    const Fd directory(run(io.open(dir.path().c_str(), {.read = true}, 1)));
    EXPECT_EQ(run(io.rename(dir.file("a").c_str(), dir.file("b").c_str(), 2)), 0);
    EXPECT_EQ(run(io.fsync(directory, 3)), 0);
}

TEST_P(IoTest, AnswersAPathThatIsTooLongEmptyOrNull) {
    const std::string longest(4095, '/');  // the root, spelt at length
    const Fd root(run(io.open(longest.c_str(), {.read = true}, 1)));
    EXPECT_GE(root, 0);
    for (const std::size_t length : {4096U, 4097U, 100'000U}) {
        const std::string path(length, 'x');
        EXPECT_EQ(run(io.open(path.c_str(), {.read = true}, 1)), -ENAMETOOLONG) << length;
        EXPECT_EQ(run(io.unlink(path.c_str(), 1)), -ENAMETOOLONG);
        EXPECT_EQ(run(io.rename("a", path.c_str(), 1)), -ENAMETOOLONG);
        EXPECT_EQ(run(io.rename(path.c_str(), "a", 1)), -ENAMETOOLONG);
        struct ::statx out;
        EXPECT_EQ(run(io.statx(path.c_str(), out, 1)), -ENAMETOOLONG);
    }
    EXPECT_EQ(run(io.open("", {.read = true}, 1)), -ENOENT);
    EXPECT_EQ(run(io.open(nullptr, {.read = true}, 1)), -EFAULT);
    EXPECT_EQ(run(io.unlink(nullptr, 1)), -EFAULT);
    EXPECT_EQ(run(io.rename(nullptr, nullptr, 1)), -EFAULT);
}

TEST_P(IoTest, CarriesEveryTokenUntouched) {
    for (const Token token : {Token{0}, Token{1}, Token{UINT64_MAX}, Token{1} << 63, Token{0xdeadbeef}}) {
        ASSERT_TRUE(io.nop(token));
        const Completions done = io.park();
        ASSERT_EQ(done.size(), 1U);
        EXPECT_EQ(done.begin()->token, token);
        EXPECT_EQ(done.begin()->flags, 0U);
    }
}

TEST_P(IoTest, DoesNotWrapALengthOfMoreThan32Bits) {
    write_file(dir.file("f"), memory(100));
    const Fd file = open("f", {.read = true});
    constexpr std::size_t bytes = (std::size_t{1} << 32) + 10;
    void* const huge =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(huge, MAP_FAILED);
    EXPECT_EQ(run(io.read(file, {static_cast<std::byte*>(huge), bytes}, 0, 1)), 100) << "asked for 10 bytes";
    ::munmap(huge, bytes);
}

TEST_P(IoTest, QueuesFromTheBodyOfALoopOverCompletions) {
    ASSERT_TRUE(io.nop(0));
    std::uint64_t seen = 0;
    std::uint64_t queued = 1;
    while (seen < 1000) {
        for (const Completion& completion : io.park()) {
            EXPECT_EQ(completion.token, seen);
            ++seen;
            while (queued < 1000 && queued < seen + 5 && io.nop(queued)) ++queued;
        }
        if (io.in_flight() == 0 && queued < 1000 && io.nop(queued)) ++queued;  // an SQPOLL thread may lag behind
    }
    EXPECT_EQ(queued, 1000U);
    EXPECT_EQ(io.in_flight(), 0U);
}

TEST_P(IoTest, ParksForNoLongerThanTheTimeout) {
    const Pipe pipe;
    ASSERT_TRUE(io.read(pipe.read_end, memory(8), UINT64_MAX, 1));
    const auto before = io.now();
    EXPECT_TRUE(io.park(20ms).empty());
    EXPECT_GE(io.now() - before, 20ms);
    EXPECT_TRUE(io.park(0ns).empty());
    EXPECT_TRUE(io.park(-5s).empty());
    EXPECT_EQ(io.in_flight(), 1U);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    const Completions done = io.park(std::chrono::nanoseconds::max());
    ASSERT_EQ(done.size(), 1U);
    EXPECT_EQ(done.begin()->res, 1);
}

TEST_P(IoTest, WaitsOutTheTimeoutWithNothingInFlight) {
    const auto before = io.now();
    EXPECT_TRUE(io.park(20ms).empty());
    EXPECT_GE(io.now() - before, 20ms);
}

TEST_P(IoTest, DoesNotParkForEverWithNothingInFlight) {
    EXPECT_TRUE(io.park().empty());
    EXPECT_EQ(run(io.nop(1)), 0);
    EXPECT_TRUE(io.park().empty());
}

TEST_P(IoTest, DoesNotBlockWhenPolled) {
    const Pipe pipe;
    ASSERT_TRUE(io.read(pipe.read_end, memory(8), UINT64_MAX, 1));
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(io.poll().empty());
    ASSERT_EQ(::write(pipe.write_end, "abc", 3), 3);
    std::int32_t got = 0;
    while (io.in_flight() > 0)
        for (const Completion& completion : io.poll()) got = completion.res;
    EXPECT_EQ(got, 3);
}

TEST_P(IoTest, WorksOnAfterItMoved) {
    const Counters& counters = io.counters();
    ASSERT_TRUE(io.nop(1));
    Io moved = std::move(io);
    EXPECT_EQ(result_of(moved, true), 0);
    EXPECT_EQ(counters.completed, 1U) << "a reference to the counters follows the ring";
    io = std::move(moved);
    EXPECT_EQ(run(io.nop(2)), 0);
    Io empty = std::move(moved);
    moved = std::move(empty);  // nothing is left of either but that they may be assigned to and destroyed
    empty = std::move(io);
    EXPECT_EQ(result_of(empty, empty.nop(3)), 0);
    io = std::move(empty);
}

TEST_P(IoTest, ListsADirectoryInByteOrder) {
    for (const char* const name : {"b", "a", "B", ".hidden", "\xc3\xa9"}) write_file(dir.file(name), {});
    std::filesystem::create_directory(dir.file("sub"));
    const auto names = io.list_dir(dir.path().c_str());
    ASSERT_TRUE(names);
    EXPECT_EQ(*names, (std::vector<std::string>{".hidden", "B", "a", "b", "sub", "\xc3\xa9"}));
    for (int i = 0; i < 1000; ++i) write_file(dir.file("sub/" + std::to_string(i)), {});
    EXPECT_EQ(io.list_dir(dir.file("sub").c_str()).value().size(), 1000U);
    EXPECT_EQ(io.list_dir(dir.file("none").c_str()).error().code(), ENOENT);
    EXPECT_EQ(io.list_dir(dir.file("a").c_str()).error().code(), ENOTDIR);
    EXPECT_NE(io.list_dir(dir.file("a").c_str()).error().message().find(dir.file("a")), std::string::npos);
    EXPECT_EQ(io.list_dir(nullptr).error().code(), EFAULT);
}

TEST_P(IoTest, MakesADirectoryAndAllAboveIt) {
    EXPECT_TRUE(io.create_dir_all(dir.file("a/b//c/").c_str()));
    EXPECT_TRUE(std::filesystem::is_directory(dir.file("a/b/c")));
    EXPECT_TRUE(io.create_dir_all(dir.file("a/b").c_str())) << "it is there already";
    EXPECT_TRUE(io.create_dir_all("/"));
    write_file(dir.file("file"), memory(1));
    EXPECT_EQ(io.create_dir_all(dir.file("file").c_str()).error().code(), ENOTDIR);
    EXPECT_EQ(io.create_dir_all(dir.file("file/x").c_str()).error().code(), ENOTDIR);
    EXPECT_EQ(io.create_dir_all("").error().code(), ENOENT);
    EXPECT_EQ(io.create_dir_all(nullptr).error().code(), EFAULT);
    EXPECT_NE(io.create_dir_all("/proc/nowhere/x").error().message().find("mkdir(\"/proc/nowhere\")"),
              std::string::npos);
}

TEST_P(IoTest, TellsTheTime) {
    const auto before = io.now();
    std::this_thread::sleep_for(2ms);
    EXPECT_GE(io.now() - before, 2ms);
}

TEST_P(IoTest, KnowsBlockSizesAndAlignments) {
    const Fd file = open("f", {.read = true, .write = true, .create = true});
    const auto block = io.block_size(file);
    ASSERT_TRUE(block);
    struct ::stat found {};
    ASSERT_EQ(::fstat(file, &found), 0);
    EXPECT_EQ(*block, static_cast<std::uint32_t>(found.st_blksize));
    const auto alignment = direct_io_alignment(file);
    ASSERT_TRUE(alignment);
    EXPECT_GE(alignment->offset, 512U);
    EXPECT_EQ(alignment->offset & (alignment->offset - 1), 0U);
    EXPECT_EQ(io.block_size(-1).error().code(), EBADF);
    EXPECT_EQ(direct_io_alignment(-1).error().code(), EBADF);
}

TEST_P(IoTest, KnowsTheSizeOfAFileAsItGrowsAndThatADirectoryHasNone) {
    const Fd file = open("f", {.read = true, .write = true, .create = true});
    EXPECT_EQ(io.file_size(file).value(), 0U);
    EXPECT_EQ(run(io.write(file, memory(1000), 5'000'000'000, 2)), 1000);
    EXPECT_EQ(io.file_size(file).value(), 5'000'001'000U);
    ASSERT_EQ(::ftruncate(file, 7), 0);
    EXPECT_EQ(io.file_size(file).value(), 7U);
    const Fd directory(::open(dir.path().c_str(), O_RDONLY | O_DIRECTORY));
    EXPECT_EQ(io.file_size(directory).error().code(), EINVAL);
    EXPECT_EQ(io.file_size(-1).error().code(), EBADF);
}

INSTANTIATE_TEST_SUITE_P(Modes, IoTest, testing::Combine(testing::ValuesIn(every_kind), testing::Bool()),
                         [](const auto& test) {
                             return name_of(std::get<0>(test.param)) +
                                    (std::get<1>(test.param) ? "_fixed" : "_unregistered");
                         });

// Answers statx with a mask and alignments of the test's choice.
Intercept::Answer dio(unsigned memory, unsigned offset, unsigned mask_bits) {
    return [=](Call& call) -> std::optional<long> {
        if (call.number != SYS_statx) return std::nullopt;
        const long result = real(call);
        auto* const out = reinterpret_cast<unsigned char*>(call.args[4]);
        unsigned mask = 0;
        std::memcpy(&mask, out, 4);
        mask = (mask & ~0x2000U) | mask_bits;
        std::memcpy(out, &mask, 4);
        std::memcpy(out + 152, &memory, 4);
        std::memcpy(out + 156, &offset, 4);
        return result;
    };
}

TEST(DirectIoAlignment, IsTheFileSystemsOwnWordWhereItGivesOne) {
    const TempDir dir;
    write_file(dir.file("f"), {});
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY));
    const Intercept statx(dio(16, 1024, 0x2000));
    const auto alignment = direct_io_alignment(file);
    ASSERT_TRUE(alignment);
    EXPECT_EQ(alignment->source, DirectIoAlignment::Source::statx);
    EXPECT_EQ(alignment->memory, 16U);
    EXPECT_EQ(alignment->offset, 1024U);
}

TEST(DirectIoAlignment, SaysWhenTheFileSystemDoesNoDirectIo) {
    const TempDir dir;
    write_file(dir.file("f"), {});
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY));
    const Intercept statx(dio(0, 0, 0x2000));
    const auto alignment = direct_io_alignment(file);
    ASSERT_FALSE(alignment);
    EXPECT_EQ(alignment.error().code(), EOPNOTSUPP);
}

TEST(DirectIoAlignment, FallsBackTo4096WhenNobodySays) {
    const TempDir dir;
    write_file(dir.file("f"), {});
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY));
    const Intercept statx(dio(1, 1, 0));
    const auto alignment = direct_io_alignment(file);
    ASSERT_TRUE(alignment);
    EXPECT_EQ(alignment->source, DirectIoAlignment::Source::fallback);
    EXPECT_EQ(alignment->memory, 4096U);
    EXPECT_EQ(alignment->offset, 4096U);
}

TEST(DirectIoAlignment, AsksABlockDeviceForItsLogicalBlock) {
    std::string device;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/class/block"))
        if (::access(("/dev/" + entry.path().filename().string()).c_str(), R_OK) == 0)
            device = "/dev/" + entry.path().filename().string();
    const Fd file(device.empty() ? -1 : ::open(device.c_str(), O_RDONLY));
    if (file < 0) GTEST_SKIP() << "no block device may be opened here";
    const Io io = make_io({.entries = 1});
    EXPECT_GE(io.block_size(file).value(), 512U);
    EXPECT_EQ(io.file_size(file).value(), static_cast<std::uint64_t>(::lseek(file, 0, SEEK_END)));
    const Intercept before_6_1(dio(1, 1, 0));
    const auto alignment = direct_io_alignment(file);
    ASSERT_TRUE(alignment);
    EXPECT_EQ(alignment->source, DirectIoAlignment::Source::block_device);
    EXPECT_GE(alignment->offset, 512U);
}

TEST(TransferError, NamesWhatIsMisaligned) {
    const TempDir dir;
    write_file(dir.file("f"), std::vector<std::byte>(8192));
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY | O_DIRECT));
    if (file < 0) GTEST_SKIP() << "no O_DIRECT on this file system";
    Io io = make_io();
    BufferArena arena = make_arena({.buffer_size = 8192, .count = 1});
    FixedBuffer buffer = *arena.acquire();
    if (::pread(file, buffer.data(), 4096, 100) >= 0) GTEST_SKIP() << "this file system takes misaligned transfers";
    const auto attempt = [&](std::span<std::byte> bytes, std::uint64_t offset) {
        EXPECT_TRUE(io.read(file, bytes, offset, 77));
        return transfer_error(*io.park().begin(), file, bytes, offset);
    };
    EXPECT_FALSE(attempt(buffer.bytes().first(4096), 0));
    const Error offset = attempt(buffer.bytes().first(4096), 100);
    EXPECT_EQ(offset.code(), EINVAL);
    EXPECT_NE(offset.message().find("the offset is 100 bytes past a multiple of"), std::string::npos)
        << offset.message();
    const Error size = attempt(buffer.bytes().first(1000), 0);
    EXPECT_NE(size.message().find("the size is"), std::string::npos) << size.message();
    const Error address = attempt(buffer.bytes().subspan(1, 4096), 0);
    EXPECT_NE(address.message().find("the address is 1 bytes past"), std::string::npos) << address.message();
    EXPECT_EQ(address.message().find("the offset"), std::string::npos) << address.message();
}

TEST(TransferError, DoesNotBlameTheAlignmentOfABufferedFile) {
    const TempDir dir;
    write_file(dir.file("f"), std::vector<std::byte>(100));
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY));
    std::vector<std::byte> bytes(100);
    Io io = make_io();
    ASSERT_TRUE(io.read(file, bytes, std::uint64_t{1} << 63, 1));
    const Error far = transfer_error(*io.park().begin(), file, bytes, std::uint64_t{1} << 63);
    EXPECT_EQ(far.code(), EINVAL);
    EXPECT_NE(far.message().find("beyond 2^63 - 1"), std::string::npos) << far.message();
    const Error other = transfer_error({1, -EINVAL, 0}, file, bytes, 7);
    EXPECT_NE(other.message().find("not open with O_DIRECT"), std::string::npos) << other.message();
}

TEST(TransferError, TellsAShortTransferAndAnyOtherErrno) {
    std::vector<std::byte> bytes(100);
    const Error cut = transfer_error({1, 60, 0}, -1, bytes, 0);
    EXPECT_EQ(cut.code(), EIO);
    EXPECT_NE(cut.message().find("only 60 bytes moved"), std::string::npos);
    EXPECT_EQ(transfer_error({1, -ENOSPC, 0}, -1, bytes, 0).code(), ENOSPC);
    EXPECT_FALSE(transfer_error({1, 100, 0}, -1, bytes, 0));
}

}  // namespace
}  // namespace squall
