// SPDX-License-Identifier: MIT
//
// The calls of Io that block, on real files: directories with their types, locks, copies, file systems, hints, limits of
// atomic writes and the time of day; and what they make of an answer that this machine does not give. Which system calls
// the older ones make is calls_test.cpp's.
#include "squall/blocking.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>

#include "child.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

class BlockingTest : public testing::Test {
protected:
    [[nodiscard]] Fd open(const std::string& name, int flags) const {
        return Fd(::open(dir.file(name).c_str(), flags | O_CLOEXEC, 0600));
    }
    [[nodiscard]] Fd open_dir() const { return Fd(::open(dir.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)); }

    TempDir dir;
    Io io = make_io({.entries = 1});
};

// --- Directories -------------------------------------------------------------------------------------------------------

TEST_F(BlockingTest, ListsADirectoryWithTheTypeOfEachName) {
    write_file(dir.file("regular"), {});
    std::filesystem::create_directory(dir.file("directory"));
    std::filesystem::create_symlink("nowhere", dir.file("symlink"));
    ASSERT_EQ(::mkfifo(dir.file("fifo").c_str(), 0600), 0);
    const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    ASSERT_LT(dir.file("socket").size(), sizeof(name.sun_path));
    std::strcpy(name.sun_path, dir.file("socket").c_str());
    ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);

    const auto entries = io.list_dir_types(dir.path());
    ASSERT_TRUE(entries) << entries.error().message();
    std::vector<std::string> names;
    std::map<std::string, FileType> types;
    for (const DirEntry& entry : *entries) {
        names.push_back(entry.name);
        types[entry.name] = entry.type;
    }
    EXPECT_EQ(names, io.list_dir(dir.path()).value()) << "in the same order";
    EXPECT_EQ(types, (std::map<std::string, FileType>{{"regular", FileType::regular},
                                                      {"directory", FileType::directory},
                                                      {"symlink", FileType::symlink},
                                                      {"fifo", FileType::fifo},
                                                      {"socket", FileType::socket}}));
}

TEST_F(BlockingTest, KnowsDevicesAndSaysWhereTheFileSystemGivesNoType) {
    const auto type_for = [this](std::uint8_t given) {
        bool first = true;
        const Intercept one([&](Call& call) -> std::optional<long> {
            if (call.number != SYS_getdents64) return std::nullopt;
            if (!std::exchange(first, false)) return 0;
            const char entry[24] = {0,  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, static_cast<char>(given),
                                    'n'};
            std::memcpy(reinterpret_cast<void*>(call.args[1]), entry, sizeof(entry));
            return sizeof(entry);
        });
        return io.list_dir_types("/").value().at(0).type;
    };
    EXPECT_EQ(type_for(DT_BLK), FileType::block_device);
    EXPECT_EQ(type_for(DT_CHR), FileType::character_device);
    EXPECT_EQ(type_for(DT_UNKNOWN), FileType::unknown);
    EXPECT_EQ(type_for(DT_WHT), FileType::unknown) << "which no file system of Linux's gives";
}

TEST_F(BlockingTest, DirectoriesAreListedAndMadeBelowAnOpenDirectory) {
    const Fd below = open_dir();
    EXPECT_TRUE(io.create_dir_all({below, "a/b"}));
    EXPECT_TRUE(std::filesystem::is_directory(dir.file("a/b")));
    EXPECT_EQ(io.list_dir({below, "a"}).value(), std::vector<std::string>{"b"});
    EXPECT_EQ(io.list_dir_types({below, std::string("a")}).value().at(0).name, "b");
    const std::string fd = std::to_string(static_cast<int>(below));
    EXPECT_EQ(io.list_dir_types({below, "c"}).error().message(),
              "list_dir_types({fd=" + fd + ", \"c\"}): open: ENOENT (No such file or directory)");
    EXPECT_EQ(io.create_dir_all({-1, "c"}).error().code(), EBADF);
}

// --- Locks -------------------------------------------------------------------------------------------------------------

TEST_F(BlockingTest, AnExclusiveLockKeepsOutEveryOtherOpenOfTheFile) {
    const Fd mine = open("f", O_RDWR | O_CREAT);
    const Fd other = open("f", O_RDWR);
    EXPECT_TRUE(io.try_lock(mine));
    EXPECT_TRUE(io.try_lock(mine)) << "which it has already";
    EXPECT_EQ(io.try_lock(other).error().code(), EAGAIN);
    EXPECT_EQ(io.try_lock(other, Lock::shared).error().code(), EAGAIN);
    ASSERT_TRUE(io.unlock(mine));
    ASSERT_TRUE(io.unlock(mine)) << "where there is none";
    EXPECT_TRUE(io.try_lock(other));
    EXPECT_EQ(io.try_lock(mine, Lock::shared).error().code(), EAGAIN);
}

TEST_F(BlockingTest, SharedLocksGoTogetherAndOneMayBecomeExclusiveWhenItIsAlone) {
    const Fd one = open("f", O_RDWR | O_CREAT);
    {
        const Fd two = open("f", O_RDONLY);
        EXPECT_TRUE(io.try_lock(one, Lock::shared));
        EXPECT_TRUE(io.try_lock(two, Lock::shared));
        EXPECT_EQ(io.try_lock(one, Lock::exclusive).error().code(), EAGAIN);
        EXPECT_EQ(io.try_lock(two, Lock::exclusive).error().code(), EBADF) << "it is open for reading";
    }
    EXPECT_TRUE(io.try_lock(one, Lock::exclusive)) << "the other's went with its last descriptor";
}

TEST_F(BlockingTest, ALockOutlivesTheCloseOfAnotherDescriptorOfTheFileAndIsSharedByADup) {
    const Fd mine = open("f", O_RDWR | O_CREAT);
    const Fd other = open("f", O_RDWR);
    EXPECT_TRUE(io.try_lock(mine));
    { const Fd passing = open("f", O_RDONLY); }
    EXPECT_EQ(io.try_lock(other).error().code(), EAGAIN) << "as it would be with a POSIX lock";
    {
        const Fd copy(::dup(mine));
        EXPECT_TRUE(io.try_lock(copy));
    }
    EXPECT_EQ(io.try_lock(other).error().code(), EAGAIN);
    // Another process is somebody else, and a child has the parent's.
    in_child_alone([&] {
        EXPECT_EQ(io.try_lock(open("f", O_RDWR)).error().code(), EAGAIN);
        EXPECT_TRUE(io.try_lock(mine));
    });
}

TEST_F(BlockingTest, WhatCannotBeLockedIsSaid) {
    EXPECT_EQ(
        io.try_lock(-1).error().message(),
        "try_lock(fd=-1): EBADF (Bad file descriptor): it is not open for reading, which a shared lock needs, or for "
        "writing, which an exclusive one does");
    EXPECT_EQ(io.unlock(-1).error().message(), "unlock(fd=-1): EBADF (Bad file descriptor)");
    const Fd file = open("f", O_RDWR | O_CREAT);
    const Intercept no_locks(refuse(SYS_fcntl, -ENOLCK));
    EXPECT_EQ(io.try_lock(file).error().message(),
              "try_lock(fd=" + std::to_string(static_cast<int>(file)) + "): ENOLCK (No locks available)");
}

TEST_F(BlockingTest, EitherErrnoOfALockThatIsTakenMeansThat) {
    const Fd file = open("f", O_RDWR | O_CREAT);
    for (const int code : {EAGAIN, EACCES}) {
        const Intercept taken(refuse(SYS_fcntl, -code));
        EXPECT_EQ(io.try_lock(file).error().code(), EAGAIN);
    }
}

// --- Copies, file systems, hints, limits, time ---------------------------------------------------------------------------

TEST_F(BlockingTest, CopiesARangeFromFileToFile) {
    std::vector<std::byte> bytes(10'000);
    fill_pattern(bytes, 0);
    write_file(dir.file("from"), bytes);
    const Fd from = open("from", O_RDONLY);
    const Fd to = open("to", O_RDWR | O_CREAT);
    const auto copied = io.copy_file_range(from, 1000, to, 500, 5000);
    ASSERT_TRUE(copied) << copied.error().message();
    EXPECT_EQ(*copied, 5000U);
    const std::vector<std::byte> found = read_file(dir.file("to"));
    ASSERT_EQ(found.size(), 5500U);
    EXPECT_EQ(find_wrong(std::span(found).subspan(500), 1000), -1);
    EXPECT_EQ(io.copy_file_range(from, 9000, to, 0, 5000).value(), 1000U) << "as far as there is something";
    EXPECT_EQ(io.copy_file_range(from, 10'000, to, 0, 5000).value(), 0U);
    EXPECT_EQ(io.copy_file_range(to, 0, to, 10, 100).error().code(), EINVAL) << "they overlap";
    EXPECT_EQ(io.copy_file_range(-1, 0, to, 10, 100).error().message(),
              "copy_file_range(from=-1, to=" + std::to_string(static_cast<int>(to)) +
                  ", bytes=100): EBADF (Bad file descriptor)");
}

TEST_F(BlockingTest, KnowsTheFileSystemAndHowFullItIs) {
    struct ::statvfs wanted {};
    ASSERT_EQ(::statvfs(dir.path().c_str(), &wanted), 0);
    const auto found = io.file_system(open_dir());
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(found->block_bytes, wanted.f_frsize);
    EXPECT_EQ(found->bytes, wanted.f_blocks * wanted.f_frsize);
    EXPECT_EQ(found->name_max, wanted.f_namemax);
    EXPECT_FALSE(found->read_only);
    EXPECT_EQ(io.file_system(Fd(::open("/proc", O_PATH | O_CLOEXEC)))->type, 0x9fa0U);
    EXPECT_EQ(io.file_system(-1).error().message(), "file_system(fd=-1): fstatfs: EBADF (Bad file descriptor)");
}

TEST_F(BlockingTest, TakesEachFigureOfAFileSystemInItsUnit) {
    const Intercept answer([](Call& call) -> std::optional<long> {
        if (call.number != SYS_fstatfs) return std::nullopt;
        // struct statfs: type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize, flags.
        const std::uint64_t figures[15] = {0xEF53, 65536, 100, 30, 20, 7, 6, 0, 255, call.args[0] == 7 ? 0U : 4096U, 1};
        std::memcpy(reinterpret_cast<void*>(call.args[1]), figures, sizeof(figures));
        return 0;
    });
    const FileSystem found = io.file_system(6).value();
    EXPECT_EQ(found.type, 0xEF53U);
    EXPECT_EQ(found.block_bytes, 4096U);
    EXPECT_EQ(found.bytes, 409'600U);
    EXPECT_EQ(found.free_bytes, 122'880U);
    EXPECT_EQ(found.available_bytes, 81'920U);
    EXPECT_EQ(found.name_max, 255U);
    EXPECT_TRUE(found.read_only);
    EXPECT_EQ(io.file_system(7)->block_bytes, 65536U) << "of one that gives no other";
}

TEST_F(BlockingTest, SaysHowLongAFileIsLikelyToStay) {
    const Fd file = open("f", O_RDWR | O_CREAT);
    for (const auto& [life, hint] : std::map<WriteLife, std::uint64_t>{{WriteLife::not_set, 0},
                                                                       {WriteLife::none, 1},
                                                                       {WriteLife::brief, 2},
                                                                       {WriteLife::medium, 3},
                                                                       {WriteLife::lasting, 4},
                                                                       {WriteLife::extreme, 5}}) {
        ASSERT_TRUE(io.set_write_life(file, life));
        std::uint64_t found = 99;
        ASSERT_EQ(::fcntl(file, 1035, &found), 0);  // F_GET_RW_HINT
        EXPECT_EQ(found, hint);
    }
    EXPECT_EQ(io.set_write_life(-1, WriteLife::brief).error().message(),
              "set_write_life(fd=-1): EBADF (Bad file descriptor)");
    EXPECT_EQ(io.set_write_life(file, WriteLife{99}).error().code(), EINVAL);
}

TEST_F(BlockingTest, KnowsTheLimitsOfAtomicWritesWhereThereAreAny) {
    const Fd file = open("f", O_RDWR | O_CREAT);
    const auto answered = [&](std::uint32_t mask, std::uint32_t largest) {
        const Intercept statx([=](Call& call) -> std::optional<long> {
            if (call.number != SYS_statx) return std::nullopt;
            EXPECT_EQ(call.args[3] & 0x10000, 0x10000U);
            const long answer = real(call);
            char* const out = reinterpret_cast<char*>(call.args[4]);
            const std::uint32_t limits[] = {4096, largest, 8};
            std::memcpy(out + 168, limits, sizeof(limits));
            std::memcpy(out, &mask, sizeof(mask));
            return answer;
        });
        return io.atomic_write_limits(file);
    };
    const auto limits = answered(0x10000, 65536);
    ASSERT_TRUE(limits);
    EXPECT_EQ(limits->smallest, 4096U);
    EXPECT_EQ(limits->largest, 65536U);
    EXPECT_EQ(limits->pieces, 8U);
    EXPECT_EQ(answered(0, 65536).error().code(), EOPNOTSUPP);
    EXPECT_EQ(answered(0x10000, 0).error().code(), EOPNOTSUPP);
    EXPECT_EQ(io.atomic_write_limits(-1).error().code(), EBADF);
}

TEST_F(BlockingTest, TellsTheTimeOfDay) {
    // Somebody may set the clock between the two.
    const auto apart = io.time_of_day() - std::chrono::system_clock::now();
    EXPECT_LT(std::chrono::abs(apart), std::chrono::hours(1));
}

}  // namespace
}  // namespace squall
