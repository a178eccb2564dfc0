// SPDX-License-Identifier: MIT
//
// The calls of Io that are not the ring's, and transfer_error(): which system calls they make, what they make of every
// answer, and that no descriptor stays open. What they do on real files is io_test.cpp's.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "support.hpp"
#include "trace.hpp"
#include "user_kernel.hpp"

namespace squall {
namespace {

using namespace test;

class Calls : public testing::Test {
protected:
    // Answers call number `number` with each of `answers` in turn, and every later one as the kernel does.
    Intercept::Answer in_turn(long number, std::vector<long> answers) {
        return [number, answers = std::move(answers), at = std::size_t{0}](Call& call) mutable -> std::optional<long> {
            if (call.number != number || at == answers.size()) return std::nullopt;
            return answers[at++];
        };
    }
    std::string take() {
        const std::string calls = trace.take();
        trace.forget();
        return calls;
    }

    TempDir dir;
    Io io = make_io({.entries = 1});
    Trace trace;
};

// --- list_dir -------------------------------------------------------------------------------------------------------

// One entry as getdents64 has it.
std::string entry(const std::string& name, std::size_t padding = 1) {
    std::string bytes(19, '\0');
    bytes += name + std::string(padding, '\0');
    const auto length = static_cast<std::uint16_t>(bytes.size());
    std::memcpy(bytes.data() + 16, &length, sizeof(length));
    return bytes;
}

TEST_F(Calls, ListingADirectoryOpensReadsAndClosesIt) {
    ASSERT_TRUE(io.list_dir("/proc/self/fdinfo"));
    EXPECT_EQ(take(),
              "file1 = open /proc/self/fdinfo cloexec directory\n"
              "getdents file1 8192\n"
              "getdents file1 8192\n"
              "close file1\n");
    EXPECT_EQ(io.list_dir("/nowhere").error().message(),
              "list_dir(\"/nowhere\"): open: ENOENT (No such file or directory)");
    EXPECT_EQ(io.list_dir(nullptr).error().message(), "list_dir((null)): open: EFAULT (Bad address)");
    EXPECT_EQ(take(), "open /nowhere cloexec directory -> -2\nopen (null) cloexec directory -> -14\n");
}

TEST_F(Calls, ListingADirectoryTakesEveryEntryOfEveryPiece) {
    std::vector<std::string> pieces = {entry(".", 7) + entry("..", 3) + entry("b") + entry("..."),
                                       entry(".a") + entry(std::string(255, 'n'), 5), entry("a")};
    const Intercept pieced([&, at = std::size_t{0}](Call& call) mutable -> std::optional<long> {
        if (call.number != SYS_getdents64) return std::nullopt;
        if (at == pieces.size()) return 0;
        std::memcpy(reinterpret_cast<void*>(call.args[1]), pieces[at].data(), pieces[at].size());
        return static_cast<long>(pieces[at++].size());
    });
    EXPECT_EQ(io.list_dir("/").value(), (std::vector<std::string>{"...", ".a", "a", "b", std::string(255, 'n')}));
}

TEST_F(Calls, ListingADirectoryThatCannotBeReadLeavesNoDescriptor) {
    for (const bool at_once : {true, false}) {
        const Intercept broken(at_once ? in_turn(SYS_getdents64, {-EIO})
                                       : [first = true](Call& call) mutable -> std::optional<long> {
            if (call.number != SYS_getdents64) return std::nullopt;
            return std::exchange(first, false) ? std::nullopt : std::optional<long>(-EIO);
        });
        const auto names = io.list_dir("/proc/self/fdinfo");
        ASSERT_FALSE(names);
        EXPECT_EQ(names.error().message(), "list_dir(\"/proc/self/fdinfo\"): getdents64: EIO (Input/output error)");
        const std::string calls = take();
        EXPECT_EQ(calls.substr(calls.rfind("getdents")), "getdents file1 8192 -> -5\nclose file1\n");
    }
}

// --- create_dir_all -------------------------------------------------------------------------------------------------

TEST_F(Calls, MakingDirectoriesMakesEachOnTheWay) {
    const ::mode_t umask = ::umask(0);
    ASSERT_EQ(::chdir(dir.path().c_str()), 0);
    EXPECT_TRUE(io.create_dir_all("a/b/c"));
    EXPECT_EQ(take(), "mkdir a 0777\nmkdir a/b 0777\nmkdir a/b/c 0777\n");
    struct ::stat found {};
    EXPECT_EQ(::stat("a/b/c", &found), 0);
    EXPECT_EQ(found.st_mode & 0777, 0777U);
    EXPECT_TRUE(io.create_dir_all("a//d"));
    EXPECT_EQ(take(),
              "mkdir a 0777 -> -17\nfile1 = open a cloexec directory path\nclose file1\n"
              "mkdir a/ 0777 -> -17\nfile2 = open a/ cloexec directory path\nclose file2\n"
              "mkdir a//d 0777\n");
    EXPECT_TRUE(io.create_dir_all("/"));
    EXPECT_EQ(take(), "mkdir / 0777 -> -17\nfile1 = open / cloexec directory path\nclose file1\n");
    EXPECT_TRUE(io.create_dir_all("e"));
    EXPECT_EQ(take(), "mkdir e 0777\n");
    EXPECT_TRUE(io.create_dir_all((dir.path() + "/f").c_str()));
    EXPECT_EQ(::stat("f", &found), 0);
    ::umask(umask);
    ASSERT_EQ(::chdir("/"), 0);
}

TEST_F(Calls, MakingDirectoriesGoesOnWhereOneIsThereWhateverMkdirSays) {
    for (const int code : {EEXIST, EACCES, EROFS, EPERM, ENOSPC}) {
        const Intercept refused(in_turn(SYS_mkdirat, {-code}));
        EXPECT_TRUE(io.create_dir_all((dir.path() + "/x").c_str())) << std::strerror(code);
        ASSERT_EQ(::rmdir(dir.file("x").c_str()), 0);
    }
}

TEST_F(Calls, MakingDirectoriesSaysWhichOneCouldNotBeMadeAndWhy) {
    const std::string path = dir.path() + "/new/one";
    const std::string first = dir.path().substr(0, dir.path().find('/', 1));
    for (const int code : {EACCES, EDQUOT, ELOOP, EMLINK, ENAMETOOLONG, ENOMEM, ENOSPC, EROFS, EPERM, EIO}) {
        const std::size_t before = descriptors_now();
        const Intercept refused(refuse(SYS_mkdirat, -code));
        const auto made = io.create_dir_all(path.c_str());
        ASSERT_FALSE(made);
        EXPECT_EQ(made.error().code(), code);
        EXPECT_EQ(made.error().doing(), "create_dir_all(\"" + path + "\"): mkdir(\"" + dir.path() + "/new\")");
        EXPECT_EQ(descriptors_now(), before);
    }
    // Something is there, and it is no directory: what open says of it counts.
    write_file(dir.file("file"), {});
    EXPECT_EQ(io.create_dir_all(dir.file("file").c_str()).error().code(), ENOTDIR);
    EXPECT_EQ(io.create_dir_all("").error().message(),
              "create_dir_all(\"\"): ENOENT (No such file or directory): the path is empty");
    EXPECT_EQ(io.create_dir_all(nullptr).error().message(),
              "create_dir_all((null)): EFAULT (Bad address): the path is null");
}

TEST_F(Calls, DescriptorZeroIsAsGoodAsAny) {
    ::close(0);
    EXPECT_EQ(io.list_dir(dir.path().c_str()).value().size(), 0U);
    EXPECT_EQ(::fcntl(0, F_GETFD), -1) << "it was left open";
    EXPECT_TRUE(io.create_dir_all(dir.path().c_str()));
    EXPECT_EQ(::fcntl(0, F_GETFD), -1);
    EXPECT_EQ(::open("/dev/null", O_RDWR), 0);
}

// --- Block sizes and alignments -------------------------------------------------------------------------------------

// What statx and ioctl answer, and with what.
struct Device {
    std::uint32_t mode = S_IFREG | 0644;
    std::uint32_t mask = STATX_BASIC_STATS;
    std::uint32_t memory = 0;
    std::uint32_t offset = 0;
    long ioctl = 0;
    int size = 0;
    long statx = 0;
    std::uint64_t bytes = 0;  // of the file, or of the device
    std::optional<long> operator()(Call& call) const {
        if (call.number == SYS_ioctl) {
            const bool whole = call.args[1] == BLKGETSIZE64;
            std::memcpy(reinterpret_cast<void*>(call.args[2]), whole ? static_cast<const void*>(&bytes) : &size,
                        whole ? sizeof(bytes) : sizeof(size));
            return ioctl;
        }
        if (call.number != SYS_statx) return std::nullopt;
        struct ::statx found {};
        found.stx_mask = mask;
        found.stx_mode = static_cast<std::uint16_t>(mode);
        found.stx_blksize = 1000;
        found.stx_size = S_ISBLK(mode) ? 0 : bytes;
        std::memcpy(reinterpret_cast<char*>(&found) + 152, &memory, sizeof(memory));
        std::memcpy(reinterpret_cast<char*>(&found) + 156, &offset, sizeof(offset));
        std::memcpy(reinterpret_cast<void*>(call.args[4]), &found, sizeof(found));
        return statx;
    }
};
constexpr std::uint32_t dioalign = 0x2000;

TEST_F(Calls, BlockSizeIsTheDevicesPhysicalBlockOrTheFilesOwnWord) {
    const auto ask = [this](const Device& device) {
        const Intercept answers{device};
        return io.block_size(9).value();
    };
    EXPECT_EQ(ask({}), 1000U);
    EXPECT_EQ(take(), "statx 9 \"\" 0x1000 0x7ff\n");
    EXPECT_EQ(ask({.mode = S_IFBLK, .size = 1}), 1U);
    EXPECT_EQ(take(), "statx 9 \"\" 0x1000 0x7ff\nioctl 9 BLKPBSZGET\n");
    EXPECT_EQ(ask({.mode = S_IFBLK, .ioctl = 3, .size = 4096}), 4096U);
    EXPECT_EQ(ask({.mode = S_IFBLK, .size = 0}), 1000U);
    EXPECT_EQ(ask({.mode = S_IFBLK, .ioctl = -ENOTTY, .size = 4096}), 1000U);
    EXPECT_EQ(ask({.mode = S_IFCHR, .size = 4096}), 1000U);
    EXPECT_EQ(io.block_size(-1).error().message(), "block_size(fd=-1): statx: EBADF (Bad file descriptor)");
}

TEST_F(Calls, FileSizeIsTheFilesOwnOrTheDevicesCapacity) {
    const auto ask = [this](const Device& device) {
        const Intercept answers{device};
        return io.file_size(9);
    };
    constexpr std::uint64_t large = (1ULL << 40) + 1;
    EXPECT_EQ(ask({}).value(), 0U);
    EXPECT_EQ(take(), "statx 9 \"\" 0x1000 0x201\n");
    EXPECT_EQ(ask({.bytes = large}).value(), large);
    take();
    EXPECT_EQ(ask({.mode = S_IFBLK, .bytes = large}).value(), large);
    EXPECT_EQ(take(), "statx 9 \"\" 0x1000 0x201\nioctl 9 BLKGETSIZE64\n");
    EXPECT_EQ(ask({.mode = S_IFBLK}).value(), 0U) << "a drive without a medium";
    EXPECT_EQ(ask({.mode = S_IFBLK, .ioctl = -EIO}).error().message(),
              "file_size(fd=9): ioctl(BLKGETSIZE64): EIO (Input/output error)");
    EXPECT_EQ(ask({.statx = -EIO}).error().message(), "file_size(fd=9): statx: EIO (Input/output error)");
    EXPECT_EQ(io.file_size(-1).error().message(), "file_size(fd=-1): statx: EBADF (Bad file descriptor)");
}

TEST_F(Calls, WhatHasNoSizeIsNamed) {
    const auto refusal = [](const char* what) {
        return "file_size(fd=9): EINVAL (Invalid argument): it is " + std::string(what) +
               ", and only a regular file or a block device has a size";
    };
    const std::pair<std::uint32_t, const char*> kinds[] = {{S_IFDIR | 0755, "a directory"},
                                                           {S_IFIFO, "a pipe"},
                                                           {S_IFSOCK, "a socket"},
                                                           {S_IFCHR, "a character device"},
                                                           {0, "no file at all"}};
    for (const auto& [mode, what] : kinds) {
        const Intercept answers{Device{.mode = mode, .bytes = 4096}};
        EXPECT_EQ(io.file_size(9).error().message(), refusal(what));
    }
}

TEST_F(Calls, DirectAlignmentIsWhatTheBestSourceSays) {
    using Source = DirectIoAlignment::Source;
    const auto ask = [](const Device& device) {
        const Intercept answers{device};
        return direct_io_alignment(9);
    };
    const auto expect = [](const Result<DirectIoAlignment>& found, std::uint32_t memory, std::uint32_t offset,
                           Source source) {
        ASSERT_TRUE(found);
        EXPECT_EQ(found->memory, memory);
        EXPECT_EQ(found->offset, offset);
        EXPECT_EQ(found->source, source);
    };
    expect(ask({.mask = dioalign, .memory = 4, .offset = 512}), 4, 512, Source::statx);
    EXPECT_EQ(take(), "statx 9 \"\" 0x1000 0x27ff\n");
    expect(ask({.mode = S_IFBLK, .mask = dioalign, .memory = 1, .offset = 1, .size = 77}), 1, 1, Source::statx);
    for (const Device& none :
         {Device{.mask = dioalign}, Device{.mask = dioalign, .memory = 512}, Device{.mask = dioalign, .offset = 512}})
        EXPECT_EQ(ask(none).error().message(),
                  "direct_io_alignment(fd=9): EOPNOTSUPP (Operation not supported): the file system does no direct I/O "
                  "on this "
                  "file (statx says so): open it without `direct`");
    take();
    // Before 6.1 nobody fills them in.
    expect(ask({.memory = 4, .offset = 512}), 4096, 4096, Source::fallback);
    EXPECT_EQ(take(), "statx 9 \"\" 0x1000 0x27ff\n");
    expect(ask({.mode = S_IFBLK, .size = 1}), 1, 1, Source::block_device);
    EXPECT_EQ(take(), "statx 9 \"\" 0x1000 0x27ff\nioctl 9 BLKSSZGET\n");
    expect(ask({.mode = S_IFBLK, .ioctl = 5, .size = 2048}), 2048, 2048, Source::block_device);
    expect(ask({.mode = S_IFBLK, .size = 0}), 4096, 4096, Source::fallback);
    expect(ask({.mode = S_IFBLK, .size = -512}), 4096, 4096, Source::fallback);
    expect(ask({.mode = S_IFBLK, .ioctl = -EINVAL, .size = 512}), 4096, 4096, Source::fallback);
    EXPECT_EQ(direct_io_alignment(-1).error().message(),
              "direct_io_alignment(fd=-1): statx: EBADF (Bad file descriptor)");
}

// --- transfer_error -------------------------------------------------------------------------------------------------

class TransferErrorText : public Calls {
protected:
    // What is said of a transfer on a file with O_DIRECT that asks for `memory` and `offset`.
    std::string said(std::int32_t res, std::uintptr_t address, std::size_t size, std::uint64_t at,
                     const Device& device = {}, std::optional<long> flags = O_DIRECT) {
        const Intercept answers(
            [&](Call& call) -> std::optional<long> { return call.number == SYS_fcntl ? flags : device(call); });
        const Error error = transfer_error({7, res, 0}, 9, {reinterpret_cast<const std::byte*>(address), size}, at);
        if (!error) return "";
        EXPECT_EQ(error.code(), res >= 0 ? EIO : -res);
        char doing[160];
        std::snprintf(doing, sizeof(doing), "transfer with token 7 (fd=9, address=%p, size=%zu, offset=%llu)",
                      reinterpret_cast<const void*>(address), size, static_cast<unsigned long long>(at));
        EXPECT_EQ(error.doing(), doing);
        const std::string& message = error.message();
        return message.substr(message.find("): ", error.doing().size() + 2) + 3);
    }
    static constexpr const char* suits = "address, offset and size suit O_DIRECT, so it is something else";
    static constexpr const char* misaligned = "O_DIRECT asks for more alignment: ";
    const Device aligned{.mask = dioalign, .memory = 512, .offset = 4096};
};

TEST_F(TransferErrorText, SaysNothingOfATransferThatMovedAll) {
    EXPECT_EQ(said(100, 0x1000, 100, 0), "");
    EXPECT_EQ(said(0, 0x1000, 0, 0), "");
    EXPECT_EQ(take(), "");
}

TEST_F(TransferErrorText, SaysHowMuchAShortTransferMoved) {
    const std::string why =
        " bytes moved: the end of the file for a read, a full disk or a limit for a write, or more than the 2147479552 "
        "that one "
        "transfer can move";
    EXPECT_EQ(said(99, 0x1000, 100, 0), "only 99" + why);
    EXPECT_EQ(said(0, 0x1000, 100, 0), "only 0" + why);
    EXPECT_EQ(take(), "");
}

TEST_F(TransferErrorText, SaysOfEveryOtherErrnoWhatItsCompletionWould) {
    for (int code = 1; code < 134; ++code) {
        if (code == EINVAL) continue;
        const std::string completion = Completion{7, -code, 0}.error().message();
        const std::string transfer = transfer_error({7, -code, 0}, 9, {}, 0).message();
        EXPECT_EQ(transfer.substr(transfer.find("): ")).substr(3), completion.substr(completion.find(": ") + 2));
    }
    EXPECT_EQ(take(), "");
}

TEST_F(TransferErrorText, BlamesTheAlignmentOnlyOfADirectFile) {
    constexpr const char* buffered = "the file is not open with O_DIRECT, so it is not the alignment";
    EXPECT_EQ(said(-EINVAL, 1, 1, 1, aligned, 0), buffered);
    EXPECT_EQ(said(-EINVAL, 1, 1, 1, aligned, O_RDWR | O_APPEND), buffered);
    EXPECT_EQ(said(-EINVAL, 1, 1, 1, aligned, -EBADF), buffered);
    EXPECT_EQ(take(), "fcntl 9 F_GETFL\nfcntl 9 F_GETFL\nfcntl 9 F_GETFL -> -9\n");
    EXPECT_EQ(said(-EINVAL, 512, 4096, 4096, aligned, O_RDWR | O_DIRECT), suits);
    EXPECT_EQ(take(), "fcntl 9 F_GETFL\nstatx 9 \"\" 0x1000 0x27ff\n");
}

TEST_F(TransferErrorText, NamesEachThatIsMisalignedAndByHowMuch) {
    EXPECT_EQ(said(-EINVAL, 0, 0, 0, aligned), suits);
    EXPECT_EQ(said(-EINVAL, 513, 4096, 0, aligned),
              misaligned + std::string("the address is 1 bytes past a multiple of 512"));
    EXPECT_EQ(said(-EINVAL, 512, 4096, 512, aligned),
              misaligned + std::string("the offset is 512 bytes past a multiple of 4096"));
    EXPECT_EQ(said(-EINVAL, 512, 8191, 0, aligned),
              misaligned + std::string("the size is 4095 bytes past a multiple of 4096"));
    EXPECT_EQ(said(-EINVAL, 5, 6, 7, aligned),
              misaligned +
                  std::string("the address is 5 bytes past a multiple of 512; the offset is 7 bytes past a multiple of "
                              "4096; the size is 6 bytes past a multiple of 4096"));
}

TEST_F(TransferErrorText, KnowsTheOffsetsThatNoFileHas) {
    constexpr const char* beyond = "the offset is beyond 2^63 - 1, the last that a file can have";
    EXPECT_EQ(said(-EINVAL, 512, 4096, std::uint64_t{1} << 63, aligned), beyond);
    EXPECT_EQ(said(-EINVAL, 512, 4096, UINT64_MAX - 1, aligned), beyond);
    EXPECT_EQ(said(-EINVAL, 512, 4096, INT64_MAX, aligned),
              misaligned + std::string("the offset is 4095 bytes past a multiple of 4096"));
    EXPECT_EQ(said(-EINVAL, 512, 4096, UINT64_MAX, aligned), suits) << "which means the file's position";
}

TEST_F(TransferErrorText, SaysWhenTheAlignmentCannotBeLearnt) {
    const std::string none = said(-EINVAL, 512, 4096, 0, {.mask = dioalign});
    EXPECT_EQ(none.substr(0, 80), "direct_io_alignment(fd=9): EOPNOTSUPP (Operation not supported): the file system");
    EXPECT_EQ(said(-EINVAL, 512, 4096, 0, {.statx = -EIO}),
              "direct_io_alignment(fd=9): statx: EIO (Input/output error)");
}

// --- An Io's life ---------------------------------------------------------------------------------------------------

TEST(IoLife, AnIoMovedToItselfIsTheSame) {
    Io io = make_io({.entries = 1});
    Io& same = io;
    io = std::move(same);
    EXPECT_EQ(result_of(io, io.nop(1)), 0);
}

TEST(IoLife, WhatIsAssignedOverIsDestroyed) {
    const std::uint64_t before = bytes_mapped();
    {
        Io io = make_io({.entries = 1});
        const std::uint64_t one = bytes_mapped();
        io = make_io({.entries = 1});
        EXPECT_EQ(bytes_mapped(), one);
        Io third = std::move(io);
        EXPECT_EQ(bytes_mapped(), one);
    }
    EXPECT_EQ(bytes_mapped(), before);
}

TEST(IoLifeDeathTest, AbortsWhenItIsAssignedWhileCompletionsAreAlive) {
    EXPECT_DEATH(
        {
            UserKernel kernel;
            Io io = make_io({.entries = 1});
            Io other = make_io({.entries = 1});
            EXPECT_TRUE(io.nop(1));
            const Completions alive = io.poll();
            other = std::move(io);
        },
        "an Io is moved while a Completions of it is alive");
}

TEST(IoLife, NowIsTheMonotonicClock) {
    const Io io = make_io({.entries = 1});
    ::timespec before{};
    ::timespec after{};
    ::clock_gettime(CLOCK_MONOTONIC, &before);
    const auto now = io.now();
    ::clock_gettime(CLOCK_MONOTONIC, &after);
    const auto since = [](const ::timespec& time) {
        return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    };
    EXPECT_LE(since(before), now);
    EXPECT_LE(now, since(after));
}

}  // namespace
}  // namespace squall
