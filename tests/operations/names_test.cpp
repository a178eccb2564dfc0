// SPDX-License-Identifier: MIT
//
// Names: paths below an open directory, what is made, linked, renamed and removed there, where a path may lead, and
// what becomes of those operations on a kernel that lacks them. In every mode.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

constexpr int not_open = 1'000'000;

// Answers as a kernel that lacks these operations, when a ring asks what there is.
Intercept::Answer without(std::initializer_list<abi::Op> lacking) {
    return [ops = std::vector<abi::Op>(lacking)](Call& call) -> std::optional<long> {
        if (call.number != test::nr_register || call.args[1] != abi::register_probe) return std::nullopt;
        const long result = real(call);
        auto* const probe = reinterpret_cast<abi::Probe*>(call.args[2]);
        for (const abi::Op op : ops) {
            std::uint16_t& flags = probe->ops[static_cast<std::uint8_t>(op)].flags;
            flags = static_cast<std::uint16_t>(flags & ~abi::op_supported);
        }
        return result;
    };
}

class NamesTest : public testing::TestWithParam<Kind> {
protected:
    std::int32_t run(bool queued) { return result_of(io, queued); }
    void put(const std::string& name, const std::string& content = "") {
        write_file(dir.file(name), std::as_bytes(std::span(content)));
    }
    [[nodiscard]] std::string content_of(const std::string& name) const {
        const std::vector<std::byte> bytes = read_file(dir.file(name));
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    [[nodiscard]] struct ::stat look_at(const std::string& name) const {
        struct ::stat found {};
        EXPECT_EQ(::lstat(dir.file(name).c_str(), &found), 0) << name;
        return found;
    }
    [[nodiscard]] bool is_there(const std::string& name) const {
        struct ::stat found {};
        return ::lstat(dir.file(name).c_str(), &found) == 0;
    }
    [[nodiscard]] bool is_directory(const std::string& name) const { return S_ISDIR(look_at(name).st_mode); }
    [[nodiscard]] bool is_link(const std::string& name) const { return S_ISLNK(look_at(name).st_mode); }
    [[nodiscard]] bool is_same_file(const std::string& one, const std::string& other) const {
        return look_at(one).st_ino == look_at(other).st_ino;
    }
    // The first bytes of what is open, or in a slot.
    std::string read_of(File file) {
        std::array<std::byte, 16> bytes{};
        const std::int32_t count = run(io.read(file, bytes, 0, 1));
        EXPECT_GE(count, 0);
        return {reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(std::max(count, 0))};
    }
    [[nodiscard]] Fd open_directory(const std::string& name, int flags = O_RDONLY) const {
        return Fd(::open(dir.file(name).c_str(), flags | O_DIRECTORY | O_CLOEXEC));
    }

    TempDir dir;
    Fd top = open_directory("");
    Fd top_path = open_directory("", O_PATH);
    const std::array<int, 2> both_ways{top, top_path};
    Io io = make_io(GetParam(), {.entries = 8, .file_slots = 2});
};
INSTANTIATE_TEST_SUITE_P(Modes, NamesTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// Those that are about mkdir, link and symlink, too.
class YoungNamesTest : public NamesTest {
protected:
    void SetUp() override {
        if (!io.features().has(abi::Op::mkdirat)) GTEST_SKIP() << "this kernel is itself older than 5_15";
    }
    // Every operation on a path, once for each of its paths; what else it needs is there.
    std::vector<std::pair<const char*, std::function<bool(Path)>>> with_each_path() {
        put("there");
        std::filesystem::create_directory(dir.file("directory"));
        return {
            {"open", [this](Path path) { return io.open(path, {}, 1); }},
            {"open with resolve", [this](Path path) { return io.open(path, {.resolve = RESOLVE_NO_SYMLINKS}, 1); }},
            {"open into a slot", [this](Path path) { return io.open(path, {}, FileSlot(0), 1); }},
            {"statx", [this](Path path) { return io.statx(path, found, 1); }},
            {"statx with options", [this](Path path) { return io.statx(path, found, 1, {.follow = false}); }},
            {"rename from",
             [this](Path path) {
                 return io.rename(path, {top, "new"}, 1);
             }},
            {"rename to",
             [this](Path path) {
                 return io.rename({top, "there"}, path, 1);
             }},
            {"exchange from",
             [this](Path path) {
                 return io.rename(path, {top, "there"}, Rename::exchange, 1);
             }},
            {"exchange to",
             [this](Path path) {
                 return io.rename({top, "there"}, path, Rename::exchange, 1);
             }},
            {"unlink", [this](Path path) { return io.unlink(path, 1); }},
            {"rmdir", [this](Path path) { return io.rmdir(path, 1); }},
            {"mkdir", [this](Path path) { return io.mkdir(path, 0755, 1); }},
            {"link from",
             [this](Path path) {
                 return io.link(path, {top, "new"}, 1);
             }},
            {"link to",
             [this](Path path) {
                 return io.link({top, "there"}, path, 1);
             }},
            {"link of a descriptor", [this](Path path) { return io.link(top_path, path, 1); }},
            {"symlink", [this](Path path) { return io.symlink("target", path, 1); }},
        };
    }
    struct ::statx found {};
};
INSTANTIATE_TEST_SUITE_P(Modes, YoungNamesTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// --- Below a directory ----------------------------------------------------------------------------------------------

TEST_P(NamesTest, FilesAreOpenedLookedAtAndUnlinkedBelowADirectory) {
    for (const int at : both_ways) {
        put("f", "below");
        const Fd file(run(io.open({at, "f"}, {.read = true}, 1)));
        ASSERT_GE(file, 0);
        EXPECT_EQ(read_of(int{file}), "below");
        ASSERT_EQ(run(io.open({at, "f"}, {.read = true}, FileSlot(1), 2)), 0);
        EXPECT_EQ(read_of(FileSlot(1)), "below");
        struct ::statx found {};
        EXPECT_EQ(run(io.statx({at, "f"}, found, 3)), 0);
        EXPECT_EQ(found.stx_ino, look_at("f").st_ino);
        EXPECT_EQ(run(io.unlink({at, "f"}, 4)), 0);
        EXPECT_FALSE(is_there("f"));
        const Fd made(run(io.open({at, "made"}, {.write = true, .create_new = true}, 5)));
        EXPECT_GE(made, 0);
        EXPECT_EQ(run(io.unlink({at, "made"}, 6)), 0);
    }
}

TEST_P(NamesTest, AFileIsRenamedFromOneDirectoryIntoAnother) {
    std::filesystem::create_directories(dir.file("one"));
    std::filesystem::create_directories(dir.file("two"));
    const Fd one = open_directory("one");
    const Fd two = open_directory("two", O_PATH);
    put("one/a", "moved");
    EXPECT_EQ(run(io.rename({one, "a"}, {two, "b"}, 1)), 0);
    EXPECT_FALSE(is_there("one/a"));
    EXPECT_EQ(content_of("two/b"), "moved");
    EXPECT_EQ(run(io.rename({two, "b"}, {one, "c"}, Rename::no_replace, 2)), 0);
    EXPECT_EQ(content_of("one/c"), "moved");
    put("two/d", "other");
    EXPECT_EQ(run(io.rename({two, "d"}, {one, "c"}, Rename::exchange, 3)), 0);
    EXPECT_EQ(content_of("one/c"), "other");
    EXPECT_EQ(content_of("two/d"), "moved");
}

TEST_P(NamesTest, AnEmptyDirectoryIsRemovedBelowADirectory) {
    for (const int at : both_ways) {
        std::filesystem::create_directory(dir.file("d"));
        EXPECT_EQ(run(io.rmdir({at, "d"}, 1)), 0);
        EXPECT_FALSE(is_there("d"));
    }
}

TEST_P(YoungNamesTest, DirectoriesAndLinksAreMadeBelowADirectory) {
    for (const int at : both_ways) {
        EXPECT_EQ(run(io.mkdir({at, "d"}, 0755, 1)), 0);
        EXPECT_TRUE(is_directory("d"));
        put("d/f", "linked");
        EXPECT_EQ(run(io.link({at, "d/f"}, {at, "hard"}, 2)), 0);
        EXPECT_TRUE(is_same_file("d/f", "hard"));
        // The target is text, which nobody looks up below the directory.
        EXPECT_EQ(run(io.symlink("nowhere/../at all", {at, "soft"}, 3)), 0);
        EXPECT_EQ(std::filesystem::read_symlink(dir.file("soft")), "nowhere/../at all");
        for (const char* const name : {"d/f", "hard", "soft"}) EXPECT_EQ(run(io.unlink({at, name}, 4)), 0) << name;
        EXPECT_EQ(run(io.rmdir({at, "d"}, 5)), 0);
    }
}

TEST_P(YoungNamesTest, ALinkIsMadeFromOneDirectoryIntoAnother) {
    std::filesystem::create_directory(dir.file("one"));
    std::filesystem::create_directory(dir.file("two"));
    const Fd one = open_directory("one");
    const Fd two = open_directory("two", O_PATH);
    put("one/a", "linked");
    EXPECT_EQ(run(io.link({one, "a"}, {two, "b"}, 1)), 0);
    EXPECT_TRUE(is_same_file("one/a", "two/b"));
    EXPECT_EQ(run(io.symlink("../one/a", {two, "c"}, 2)), 0);
    EXPECT_EQ(content_of("two/c"), "linked");
}

TEST_P(NamesTest, StringsAndFilesystemPathsArePaths) {
    put("a", "string");
    put("b", "path");
    const std::string string = dir.file("a");
    const std::filesystem::path path = dir.file("b");
    const auto content = [this](std::int32_t opened) {
        const Fd file(opened);
        return opened < 0 ? std::string("not open") : read_of(int{file});
    };
    EXPECT_EQ(content(run(io.open(string, {}, 1))), "string");
    EXPECT_EQ(content(run(io.open(path, {}, 1))), "path");
    EXPECT_EQ(content(run(io.open({top, std::string("a")}, {}, 1))), "string");
    EXPECT_EQ(content(run(io.open({top, std::filesystem::path("b")}, {}, 1))), "path");
    EXPECT_EQ(run(io.rename(string, path, 1)), 0);
    EXPECT_EQ(run(io.rename(path, {top, string.substr(dir.path().size() + 1)}, 1)), 0);
    EXPECT_EQ(content_of("a"), "string");
    struct ::statx found {};
    EXPECT_EQ(run(io.statx(string, found, 1)), 0);
    EXPECT_EQ(run(io.unlink(string, 1)), 0);
}

TEST_P(YoungNamesTest, AnAbsolutePathIgnoresTheDirectory) {
    put("f", "absolute");
    for (const int at : {not_open, -1, int{top}}) {
        const auto path = [&, at](const char* name) {
            static std::array<std::string, 2> names;
            std::swap(names[0], names[1]);
            names[0] = dir.file(name);
            return Path(at, names[0]);
        };
        const Fd file(run(io.open(path("f"), {}, 1)));
        ASSERT_GE(file, 0);
        EXPECT_EQ(read_of(int{file}), "absolute");
        struct ::statx out {};
        EXPECT_EQ(run(io.statx(path("f"), out, 2)), 0);
        EXPECT_EQ(run(io.rename(path("f"), path("g"), 3)), 0);
        EXPECT_EQ(run(io.link(path("g"), path("f"), 4)), 0);
        EXPECT_EQ(run(io.unlink(path("g"), 5)), 0);
        EXPECT_EQ(run(io.symlink("f", path("soft"), 6)), 0);
        EXPECT_EQ(run(io.unlink(path("soft"), 7)), 0);
        EXPECT_EQ(run(io.mkdir(path("d"), 0700, 8)), 0);
        EXPECT_EQ(run(io.rmdir(path("d"), 9)), 0);
    }
    EXPECT_EQ(content_of("f"), "absolute");
}

TEST_P(YoungNamesTest, ADirectoryThatIsNotOpenIsABadDescriptorToEveryOperation) {
    for (const auto& [name, operation] : with_each_path())
        for (const int at : {not_open, -1}) EXPECT_EQ(run(operation({at, "directory"})), -EBADF) << name << ' ' << at;
    EXPECT_TRUE(is_there("there"));
    EXPECT_TRUE(is_there("directory"));
    EXPECT_FALSE(is_there("new"));
}

TEST_P(YoungNamesTest, AFileIsNoDirectoryToEveryOperation) {
    const auto operations = with_each_path();
    const Fd file(::open(dir.file("there").c_str(), O_RDONLY | O_CLOEXEC));
    for (const auto& [name, operation] : operations) EXPECT_EQ(run(operation({file, "x"})), -ENOTDIR) << name;
}

// --- Paths are copied (I6), and answered for ------------------------------------------------------------------------

TEST_P(YoungNamesTest, PathsMayBeOverwrittenAsSoonAsTheCallReturns) {
    for (const char* const name : {"opened", "seen", "from", "gone", "linked", "by_fd"}) put(name, name);
    std::filesystem::create_directory(dir.file("removed"));
    const Fd by_fd(::open(dir.file("by_fd").c_str(), O_RDONLY | O_CLOEXEC));
    // One text for all first paths and one for all second ones.
    std::string one;
    std::string two;
    const auto below = [this](std::string& text, const char* name) {
        text.assign(name);
        return Path(top, text);
    };
    const auto scribble = [&one, &two](bool queued) {
        std::fill(one.begin(), one.end(), '/');
        std::fill(two.begin(), two.end(), '/');
        return queued;
    };
    ASSERT_TRUE(scribble(io.open(below(one, "opened"), {.resolve = RESOLVE_BENEATH}, 1)));
    ASSERT_TRUE(scribble(io.statx(below(one, "seen"), found, 2)));
    ASSERT_TRUE(scribble(io.rename(below(one, "from"), below(two, "to"), Rename::no_replace, 3)));
    ASSERT_TRUE(scribble(io.unlink(below(one, "gone"), 4)));
    ASSERT_TRUE(scribble(io.mkdir(below(one, "made"), 0755, 5)));
    ASSERT_TRUE(scribble(io.rmdir(below(one, "removed"), 6)));
    ASSERT_TRUE(scribble(io.link(below(one, "linked"), below(two, "link"), 7)));
    one = "target";
    ASSERT_TRUE(scribble(io.symlink(one.c_str(), below(two, "soft"), 8)));
    const auto all = drain(io);
    EXPECT_EQ(all.size(), 8U);
    std::int32_t opened = -1;
    for (const Completion& done : all) {
        if (done.token == 1) opened = done.res;
        EXPECT_TRUE(done.token == 1 ? done.res >= 0 : done.res == 0) << done.token << ": " << done.res;
    }
    const Fd file(opened);
    EXPECT_EQ(read_of(opened), "opened");
    EXPECT_EQ(found.stx_ino, look_at("seen").st_ino);
    EXPECT_EQ(content_of("to"), "from");
    EXPECT_FALSE(is_there("from"));
    EXPECT_FALSE(is_there("gone"));
    EXPECT_TRUE(is_directory("made"));
    EXPECT_FALSE(is_there("removed"));
    EXPECT_TRUE(is_same_file("linked", "link"));
    EXPECT_EQ(std::filesystem::read_symlink(dir.file("soft")), "target");

    ASSERT_TRUE(scribble(io.open(below(one, "opened"), {}, FileSlot(0), 1)));
    ASSERT_TRUE(scribble(io.link(by_fd, below(one, "by_fd_too"), 2)));
    ASSERT_TRUE(scribble(io.statx(below(one, "soft"), found, 3, {.follow = false})));
    for (const Completion& done : drain(io)) EXPECT_EQ(done.res, 0) << done.token;
    EXPECT_EQ(read_of(FileSlot(0)), "opened");
    EXPECT_TRUE(is_same_file("by_fd", "by_fd_too"));
    EXPECT_EQ(found.stx_ino, look_at("soft").st_ino);
}

TEST_P(YoungNamesTest, EachPathOfEachOperationMayBeTooLongNullOrEmpty) {
    for (const auto& [name, operation] : with_each_path()) {
        for (const std::size_t length : {256U, 4096U, 4097U, 100'000U}) {
            const std::string too_long(length, 'x');
            EXPECT_EQ(run(operation({top, too_long})), -ENAMETOOLONG) << name << ' ' << length;
        }
        EXPECT_EQ(run(operation({top, nullptr})), -EFAULT) << name;
        EXPECT_EQ(run(operation(nullptr)), -EFAULT) << name;
        EXPECT_EQ(run(operation({top, ""})), -ENOENT) << name;
        EXPECT_EQ(run(operation("")), -ENOENT) << name;
    }
    EXPECT_EQ(run(io.symlink(std::string(4096, 'x').c_str(), {top, "soft"}, 1)), -ENAMETOOLONG);
    EXPECT_EQ(run(io.symlink(nullptr, {top, "soft"}, 1)), -EFAULT);
    EXPECT_EQ(run(io.symlink("", {top, "soft"}, 1)), -ENOENT);
    EXPECT_FALSE(is_there("soft"));
    EXPECT_TRUE(is_there("there"));
}

TEST_P(YoungNamesTest, APathOfTheGreatestLengthIsTakenWhole) {
    // "./././.../name", 4095 bytes.
    const auto longest = [](const std::string& name) {
        std::string path(4095 - name.size(), '/');
        for (std::size_t i = 0; i < path.size(); i += 2) path[i] = '.';
        if (path.back() != '/') path[path.size() - 2] = path.back() = '/';
        return path + name;
    };
    EXPECT_EQ(longest("d").size(), 4095U);
    EXPECT_EQ(run(io.mkdir({top, longest("d")}, 0755, 1)), 0);
    EXPECT_TRUE(is_directory("d"));
    put("f", "f");
    EXPECT_EQ(run(io.link({top, longest("f")}, {top, longest("hard")}, 1)), 0);
    EXPECT_EQ(run(io.rename({top, longest("hard")}, {top, longest("new")}, Rename::no_replace, 1)), 0);
    EXPECT_TRUE(is_same_file("f", "new"));
    const Fd file(run(io.open({top, longest("new")}, {.resolve = RESOLVE_BENEATH}, 1)));
    EXPECT_GE(file, 0);
    EXPECT_EQ(run(io.rmdir({top, longest("d")}, 1)), 0);
}

// --- mkdir, rmdir, link, symlink ------------------------------------------------------------------------------------

TEST_P(YoungNamesTest, ADirectoryGetsItsModeLessTheUmask) {
    const ::mode_t before = ::umask(027);
    EXPECT_EQ(run(io.mkdir({top, "masked"}, 0777, 1)), 0);
    ::umask(0);
    EXPECT_EQ(run(io.mkdir({top, "whole"}, 0751, 1)), 0);
    EXPECT_EQ(run(io.mkdir({top, "sticky"}, 01777, 1)), 0);
    ::umask(before);
    EXPECT_EQ(look_at("masked").st_mode & 07777, 0750U);
    EXPECT_EQ(look_at("whole").st_mode & 07777, 0751U);
    EXPECT_EQ(look_at("sticky").st_mode & 07777, 01777U);
}

TEST_P(YoungNamesTest, MakingADirectoryFailsWhereTheNameIsTakenOrNothingIsAboveIt) {
    put("f", "kept");
    std::filesystem::create_directory(dir.file("d"));
    EXPECT_EQ(run(io.mkdir({top, "f"}, 0755, 1)), -EEXIST);
    EXPECT_EQ(run(io.mkdir({top, "d"}, 0755, 1)), -EEXIST);
    EXPECT_EQ(run(io.mkdir({top, "none/d"}, 0755, 1)), -ENOENT);
    EXPECT_EQ(run(io.mkdir({top, "f/d"}, 0755, 1)), -ENOTDIR);
    EXPECT_EQ(content_of("f"), "kept");
}

TEST_P(NamesTest, OnlyAnEmptyDirectoryIsRemovedAsOne) {
    put("f", "kept");
    std::filesystem::create_directories(dir.file("d/inner"));
    std::filesystem::create_directory_symlink("d/inner", dir.file("soft"));
    EXPECT_EQ(run(io.rmdir({top, "d"}, 1)), -ENOTEMPTY);
    EXPECT_EQ(run(io.rmdir({top, "f"}, 1)), -ENOTDIR);
    EXPECT_EQ(run(io.rmdir({top, "soft"}, 1)), -ENOTDIR);
    EXPECT_EQ(run(io.rmdir({top, "none"}, 1)), -ENOENT);
    EXPECT_EQ(run(io.unlink({top, "d/inner"}, 1)), -EISDIR);
    EXPECT_TRUE(is_directory("d/inner"));
    EXPECT_EQ(run(io.rmdir({top, "d/inner"}, 1)), 0);
    EXPECT_EQ(run(io.rmdir({top, "d"}, 1)), 0);
    EXPECT_FALSE(is_there("d"));
    EXPECT_EQ(content_of("f"), "kept");
}

TEST_P(YoungNamesTest, ALinkIsRefusedWhereTheNameIsTakenAndOfADirectoryAndAcrossFileSystems) {
    put("f", "one");
    put("g", "two");
    std::filesystem::create_directory(dir.file("d"));
    EXPECT_EQ(run(io.link({top, "f"}, {top, "g"}, 1)), -EEXIST);
    EXPECT_EQ(run(io.link({top, "d"}, {top, "e"}, 1)), -EPERM);
    EXPECT_EQ(run(io.link({top, "none"}, {top, "e"}, 1)), -ENOENT);
    EXPECT_EQ(run(io.link("/proc/version", {top, "e"}, 1)), -EXDEV);
    EXPECT_EQ(run(io.symlink("f", {top, "g"}, 1)), -EEXIST);
    EXPECT_EQ(run(io.symlink("f", {top, "d"}, 1)), -EEXIST);
    EXPECT_EQ(content_of("g"), "two");
    EXPECT_FALSE(is_there("e"));
    EXPECT_EQ(look_at("f").st_nlink, 1U);
}

TEST_P(YoungNamesTest, AHardLinkToASymbolicLinkIsToTheLinkItself) {
    put("f", "led to");
    EXPECT_EQ(run(io.symlink("f", {top, "soft"}, 1)), 0);
    EXPECT_EQ(run(io.link({top, "soft"}, {top, "second"}, 1)), 0);
    EXPECT_TRUE(is_link("second"));
    EXPECT_TRUE(is_same_file("soft", "second"));
    EXPECT_EQ(look_at("f").st_nlink, 1U);
    EXPECT_EQ(run(io.symlink("nowhere", {top, "dangling"}, 1)), 0);
    EXPECT_EQ(run(io.link({top, "dangling"}, {top, "third"}, 1)), 0);
    EXPECT_EQ(std::filesystem::read_symlink(dir.file("third")), "nowhere");
}

TEST_P(YoungNamesTest, AFileWithoutANameGetsOneByItsDescriptor) {
    const std::int32_t opened =
        run(io.open({top, "."}, {.read = true, .write = true, .mode = 0640, .flags = O_TMPFILE}, 1));
    if (opened == -EOPNOTSUPP || opened == -EISDIR) GTEST_SKIP() << "no O_TMPFILE on this file system";
    const Fd file(opened);
    ASSERT_GE(file, 0);
    const std::string content = "written before it had a name";
    EXPECT_EQ(run(io.write(file, std::as_bytes(std::span(content)), 0, 2)), static_cast<std::int32_t>(content.size()));
    EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
    put("taken", "taken");
    EXPECT_EQ(run(io.link(file, {top, "taken"}, 3)), -EEXIST);
    EXPECT_EQ(run(io.link(file, {top, "named"}, 4)), 0);
    EXPECT_EQ(content_of("named"), content);
    EXPECT_EQ(content_of("taken"), "taken");
    EXPECT_EQ(look_at("named").st_mode & 0777, 0640U);
    EXPECT_EQ(run(io.link(file, {top, "second"}, 5)), 0) << "a file with a name gets another";
    EXPECT_EQ(look_at("named").st_nlink, 2U);
}

TEST_P(YoungNamesTest, AFileThatLostItsNameGetsNoOtherByItsDescriptor) {
    put("f");
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(run(io.link(file, {top, "g"}, 1)), 0);
    EXPECT_EQ(run(io.unlink({top, "f"}, 2)), 0);
    EXPECT_EQ(run(io.unlink({top, "g"}, 3)), 0);
    EXPECT_EQ(run(io.link(file, {top, "h"}, 4)), -ENOENT);
    EXPECT_FALSE(is_there("h"));
}

// --- rename ---------------------------------------------------------------------------------------------------------

TEST_P(NamesTest, RenameReplacesByDefaultAndWhereAsked) {
    put("a", "first");
    put("b", "second");
    EXPECT_EQ(run(io.rename({top, "a"}, {top, "b"}, Rename::replace, 1)), 0);
    EXPECT_FALSE(is_there("a"));
    EXPECT_EQ(content_of("b"), "first");
    put("c", "third");
    EXPECT_EQ(run(io.rename({top, "c"}, {top, "b"}, 2)), 0);
    EXPECT_EQ(content_of("b"), "third");
    EXPECT_EQ(run(io.rename({top, "c"}, {top, "b"}, Rename::replace, 3)), -ENOENT);
}

TEST_P(NamesTest, RenameReplacesNothingWhereItMustNot) {
    put("a", "first");
    put("b", "second");
    EXPECT_EQ(run(io.rename({top, "a"}, {top, "b"}, Rename::no_replace, 1)), -EEXIST);
    EXPECT_EQ(content_of("a"), "first");
    EXPECT_EQ(content_of("b"), "second");
    EXPECT_EQ(run(io.rename({top, "a"}, {top, "free"}, Rename::no_replace, 2)), 0);
    EXPECT_FALSE(is_there("a"));
    EXPECT_EQ(content_of("free"), "first");
    EXPECT_EQ(run(io.rename({top, "a"}, {top, "b"}, Rename::no_replace, 3)), -ENOENT);
}

TEST_P(NamesTest, RenameExchangesTwoNamesAndOnlyTwoThatAreThere) {
    put("a", "first");
    put("b", "second");
    EXPECT_EQ(run(io.rename({top, "a"}, {top, "b"}, Rename::exchange, 1)), 0);
    EXPECT_EQ(content_of("a"), "second");
    EXPECT_EQ(content_of("b"), "first");
    EXPECT_EQ(run(io.rename({top, "a"}, {top, "none"}, Rename::exchange, 2)), -ENOENT);
    EXPECT_EQ(run(io.rename({top, "none"}, {top, "a"}, Rename::exchange, 3)), -ENOENT);
    EXPECT_EQ(content_of("a"), "second");
    EXPECT_FALSE(is_there("none"));
    std::filesystem::create_directory(dir.file("d"));
    EXPECT_EQ(run(io.rename({top, "a"}, {top, "d"}, Rename::exchange, 4)), 0);
    EXPECT_TRUE(is_directory("a"));
    EXPECT_EQ(content_of("d"), "second");
}

// --- open -----------------------------------------------------------------------------------------------------------

TEST_P(NamesTest, OpenTakesTheFlagsThatHaveNoNameOfTheirOwn) {
    put("f", "content");
    std::filesystem::create_symlink("f", dir.file("soft"));
    const auto flags_of = [](int fd) { return ::fcntl(fd, F_GETFL); };

    EXPECT_EQ(run(io.open({top, "f"}, {.write = true, .flags = O_CREAT | O_EXCL}, 1)), -EEXIST);
    EXPECT_EQ(run(io.open({top, "f"}, {.write = true, .create = true, .flags = O_EXCL}, 1)), -EEXIST);
    const Fd made(run(io.open({top, "made"}, {.write = true, .mode = 0600, .flags = O_CREAT | O_EXCL}, 1)));
    ASSERT_GE(made, 0);
    EXPECT_EQ(look_at("made").st_mode & 0777, 0600U);
    EXPECT_EQ(::fcntl(made, F_GETFD), FD_CLOEXEC);

    EXPECT_EQ(run(io.open({top, "soft"}, {.flags = O_NOFOLLOW}, 1)), -ELOOP);
    EXPECT_EQ(run(io.open({top, "soft"}, {.flags = O_NOFOLLOW}, FileSlot(0), 1)), -ELOOP);
    const Fd followed(run(io.open({top, "soft"}, {}, 1)));
    EXPECT_EQ(read_of(int{followed}), "content");

    EXPECT_EQ(run(io.open({top, "f"}, {.flags = O_DIRECTORY}, 1)), -ENOTDIR);
    const Fd directory(run(io.open({top, "."}, {.flags = O_DIRECTORY}, 1)));
    EXPECT_GE(directory, 0);

    const Fd path(run(io.open({top, "f"}, {.flags = O_PATH}, 1)));
    ASSERT_GE(path, 0);
    EXPECT_NE(flags_of(path) & O_PATH, 0);
    EXPECT_EQ(::fcntl(path, F_GETFD), FD_CLOEXEC);
    std::array<std::byte, 1> byte{};
    EXPECT_EQ(run(io.read(path, byte, 0, 1)), -EBADF);
    const Fd link(run(io.open({top, "soft"}, {.flags = O_PATH | O_NOFOLLOW}, 1)));
    struct ::stat found {};
    ASSERT_EQ(::fstat(link, &found), 0);
    EXPECT_TRUE(S_ISLNK(found.st_mode)) << "the link itself";

    const Fd sync(run(io.open({top, "f"}, {.write = true, .flags = O_SYNC}, 1)));
    ASSERT_GE(sync, 0);
    EXPECT_EQ(flags_of(sync) & (O_SYNC | O_ACCMODE), O_SYNC | O_WRONLY);
    const Fd append(run(io.open({top, "f"}, {.write = true, .flags = O_APPEND | O_NONBLOCK}, 1)));
    ASSERT_GE(append, 0);
    EXPECT_EQ(flags_of(append) & (O_APPEND | O_NONBLOCK), O_APPEND | O_NONBLOCK);
}

TEST_P(NamesTest, APathThatMustStayBelowItsDirectoryDoes) {
    std::filesystem::create_directories(dir.file("sub/inner"));
    put("above", "above");
    put("sub/f", "below");
    std::filesystem::create_symlink(dir.file("above"), dir.file("sub/absolute"));
    std::filesystem::create_symlink("../above", dir.file("sub/up"));
    std::filesystem::create_symlink("inner/../f", dir.file("sub/within"));
    for (const int flags : {O_RDONLY, O_PATH}) {
        const Fd sub = open_directory("sub", flags);
        const auto open = [&](const char* path, std::uint64_t resolve) {
            return run(io.open({sub, path}, {.resolve = resolve}, 1));
        };
        for (const char* const path : {"..", "../above", "inner/../../above", "absolute", "up", "/"}) {
            EXPECT_EQ(open(path, RESOLVE_BENEATH), -EXDEV) << path;
            EXPECT_EQ(run(io.open({sub, path}, {.resolve = RESOLVE_BENEATH}, FileSlot(0), 1)), -EXDEV) << path;
            const Fd anywhere(run(io.open({sub, path}, {}, 1)));
            EXPECT_GE(anywhere, 0) << path;
        }
        EXPECT_EQ(open(dir.file("sub/f").c_str(), RESOLVE_BENEATH), -EXDEV) << "absolute";
        for (const char* const path : {"f", "./f", "inner/../f", "within"}) {
            const Fd file(open(path, RESOLVE_BENEATH));
            ASSERT_GE(file, 0) << path;
            EXPECT_EQ(read_of(int{file}), "below") << path;
            EXPECT_EQ(::fcntl(file, F_GETFD), FD_CLOEXEC);
        }
        EXPECT_EQ(open("none", RESOLVE_BENEATH), -ENOENT);
    }
}

TEST_P(NamesTest, APathThatMustLeadThroughNoSymbolicLinkDoesNot) {
    std::filesystem::create_directory(dir.file("d"));
    put("d/f", "plain");
    std::filesystem::create_directory_symlink("d", dir.file("way"));
    std::filesystem::create_symlink("d/f", dir.file("soft"));
    EXPECT_EQ(run(io.open({top, "soft"}, {.resolve = RESOLVE_NO_SYMLINKS}, 1)), -ELOOP);
    EXPECT_EQ(run(io.open({top, "way/f"}, {.resolve = RESOLVE_NO_SYMLINKS}, 1)), -ELOOP);
    EXPECT_EQ(run(io.open({top, "way/f"}, {.resolve = RESOLVE_NO_SYMLINKS}, FileSlot(0), 1)), -ELOOP);
    const Fd file(run(io.open({top, "d/f"}, {.resolve = RESOLVE_NO_SYMLINKS}, 1)));
    ASSERT_GE(file, 0);
    EXPECT_EQ(read_of(int{file}), "plain");
    // Below the root that it is given, whatever it says.
    const Fd rooted(run(io.open({top, "/../d/f"}, {.resolve = RESOLVE_IN_ROOT}, 1)));
    ASSERT_GE(rooted, 0);
    EXPECT_EQ(read_of(int{rooted}), "plain");
}

TEST_P(NamesTest, WhatIsNotKnownIsRefusedWhereAPathIsResolvedInAWayOfItsOwn) {
    put("f", "kept");
    for (const std::uint64_t resolve : {std::uint64_t{1} << 20, std::uint64_t{1} << 63, UINT64_MAX})
        EXPECT_EQ(run(io.open({top, "f"}, {.resolve = resolve}, 1)), -EINVAL) << resolve;
    constexpr int unknown = 1 << 30;
    EXPECT_EQ(run(io.open({top, "f"}, {.flags = unknown, .resolve = RESOLVE_BENEATH}, 1)), -EINVAL);
    const Fd file(run(io.open({top, "f"}, {.flags = unknown}, 1)));
    EXPECT_GE(file, 0) << "open(2) never looked";
    for (const OpenOptions& options : {OpenOptions{.truncate = true, .resolve = RESOLVE_BENEATH},
                                       OpenOptions{.read = true, .truncate = true, .resolve = RESOLVE_NO_SYMLINKS}}) {
        EXPECT_EQ(run(io.open({top, "f"}, options, 1)), -EINVAL);
        EXPECT_EQ(run(io.open({top, "f"}, options, FileSlot(0), 1)), -EINVAL);
    }
    EXPECT_EQ(content_of("f"), "kept");
    const Fd emptied(run(io.open({top, "f"}, {.write = true, .truncate = true, .resolve = RESOLVE_BENEATH}, 1)));
    EXPECT_GE(emptied, 0);
    EXPECT_EQ(content_of("f"), "");
}

TEST_P(NamesTest, AFileIsMadeWithItsModeAndOpenedIntoASlotWhereItsPathIsResolvedInAWayOfItsOwn) {
    const ::mode_t before = ::umask(022);
    OpenOptions options{.read = true, .write = true, .create_new = true, .mode = 0666, .resolve = RESOLVE_BENEATH};
    const Fd file(run(io.open({top, "masked"}, options, 1)));
    EXPECT_GE(file, 0);
    EXPECT_EQ(run(io.open({top, "masked"}, options, 2)), -EEXIST);
    options.mode = 0600;
    EXPECT_EQ(run(io.open({top, "in_slot"}, options, FileSlot(1), 3)), 0);
    ::umask(before);
    EXPECT_EQ(look_at("masked").st_mode & 0777, 0644U);
    EXPECT_EQ(look_at("in_slot").st_mode & 0777, 0600U);
    const std::string content = "by slot";
    EXPECT_EQ(run(io.write(FileSlot(1), std::as_bytes(std::span(content)), 0, 4)), 7);
    EXPECT_EQ(read_of(FileSlot(1)), content);
    EXPECT_EQ(content_of("in_slot"), content);
    EXPECT_EQ(run(io.open({top, "in_slot"}, options, FileSlot(1), 5)), -EEXIST);
    EXPECT_EQ(read_of(FileSlot(1)), content) << "a failed open leaves the slot as it was";
    EXPECT_EQ(run(io.open({top, "in_slot"}, {.resolve = RESOLVE_BENEATH}, FileSlot(2), 6)), -EINVAL) << "no such slot";
    const std::int32_t nameless =
        run(io.open({top, "."}, {.write = true, .mode = 0600, .flags = O_TMPFILE, .resolve = RESOLVE_BENEATH}, 7));
    if (nameless != -EOPNOTSUPP && nameless != -EISDIR) {
        const Fd closes(nameless);
        struct ::stat found {};
        ASSERT_EQ(::fstat(nameless, &found), 0);
        EXPECT_EQ(found.st_mode & 0777, 0600U);
    }
}

// --- statx ----------------------------------------------------------------------------------------------------------

TEST_P(NamesTest, StatxSeesTheLinkItselfWhereItIsNotToFollowIt) {
    put("f", "four");
    std::filesystem::create_symlink("f", dir.file("soft"));
    std::filesystem::create_symlink("nowhere", dir.file("dangling"));
    struct ::statx found {};
    EXPECT_EQ(run(io.statx({top, "soft"}, found, 1, {.follow = false})), 0);
    EXPECT_TRUE(S_ISLNK(found.stx_mode));
    EXPECT_EQ(found.stx_ino, look_at("soft").st_ino);
    EXPECT_EQ(found.stx_size, 1U) << "the length of its target";
    EXPECT_EQ(run(io.statx({top, "soft"}, found, 1, StatxOptions{})), 0);
    EXPECT_TRUE(S_ISREG(found.stx_mode));
    EXPECT_EQ(found.stx_size, 4U);
    EXPECT_EQ(run(io.statx(dir.file("soft"), found, 1)), 0);
    EXPECT_EQ(found.stx_ino, look_at("f").st_ino);
    EXPECT_EQ(run(io.statx({top, "dangling"}, found, 1, StatxOptions{})), -ENOENT);
    EXPECT_EQ(run(io.statx({top, "dangling"}, found, 1, {.follow = false})), 0);
    EXPECT_TRUE(S_ISLNK(found.stx_mode));
}

TEST_P(NamesTest, StatxAsksForWhatTheMaskAndTheFlagsSay) {
    put("f", "four");
    const auto flags_now = {0U, unsigned{AT_STATX_DONT_SYNC}, unsigned{AT_STATX_FORCE_SYNC}};
    for (const std::uint32_t mask : {0U, unsigned{STATX_SIZE}, unsigned{STATX_BASIC_STATS}, 0xfffU}) {
        for (const std::uint32_t flags : flags_now) {
            struct ::statx expected {};
            struct ::statx found {};
            ASSERT_EQ(::statx(top, "f", static_cast<int>(flags), mask, &expected), 0);
            EXPECT_EQ(run(io.statx({top, "f"}, found, 1, {.mask = mask, .flags = flags})), 0);
            EXPECT_EQ(found.stx_mask, expected.stx_mask) << mask;
            EXPECT_EQ(found.stx_size, expected.stx_size);
            EXPECT_EQ(found.stx_ino, expected.stx_ino);
        }
        struct ::statx found {};
        EXPECT_EQ(run(io.statx({top, "f"}, found, 1, mask)), 0);
    }
    // They are the kernel's to refuse.
    struct ::statx untouched {};
    EXPECT_EQ(run(io.statx({top, "f"}, untouched, 1, {.mask = 1U << 31})), -EINVAL);
    EXPECT_EQ(run(io.statx({top, "f"}, untouched, 1, 1U << 31)), -EINVAL);
    EXPECT_EQ(run(io.statx({top, "f"}, untouched, 1, {.flags = AT_STATX_DONT_SYNC | AT_STATX_FORCE_SYNC})), -EINVAL);
    EXPECT_EQ(untouched.stx_mask, 0U);
    // One of the flags may be had by hand, too.
    std::filesystem::create_symlink("f", dir.file("soft"));
    EXPECT_EQ(run(io.statx({top, "soft"}, untouched, 1, {.flags = AT_SYMLINK_NOFOLLOW})), 0);
    EXPECT_TRUE(S_ISLNK(untouched.stx_mode));
}

// --- Kernels that lack an operation ---------------------------------------------------------------------------------

class OldNamesTest : public NamesTest {
protected:
    [[nodiscard]] static Io on_a_kernel_without(std::initializer_list<abi::Op> lacking) {
        const Intercept old_kernel(without(lacking));
        return make_io(GetParam(), {.entries = 8});
    }
    // On one that is older than 5.15, and than 5.19.
    static Io old() {
        return on_a_kernel_without({abi::Op::mkdirat, abi::Op::symlinkat, abi::Op::linkat, abi::Op::fsetxattr});
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, OldNamesTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(OldNamesTest, WhatTheKernelLacksIsNotDoneAndCompletesSayingSo) {
    Io older = old();
    for (const abi::Op op : {abi::Op::mkdirat, abi::Op::symlinkat, abi::Op::linkat, abi::Op::fsetxattr})
        EXPECT_FALSE(older.features().has(op));
    EXPECT_TRUE(older.features().has(abi::Op::unlinkat));
    put("f", "kept");
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(result_of(older, older.mkdir({top, "d"}, 0755, 1)), -EOPNOTSUPP);
    EXPECT_EQ(result_of(older, older.link({top, "f"}, {top, "hard"}, 2)), -EOPNOTSUPP);
    EXPECT_EQ(result_of(older, older.link(file, {top, "hard"}, 3)), -EOPNOTSUPP);
    EXPECT_EQ(result_of(older, older.symlink("f", {top, "soft"}, 4)), -EOPNOTSUPP);
    EXPECT_EQ(result_of(older, older.mkdir(nullptr, 0755, 5)), -EOPNOTSUPP);
    for (const char* const name : {"d", "hard", "soft"}) EXPECT_FALSE(is_there(name)) << name;
    // What it has goes on as ever.
    EXPECT_EQ(result_of(older, older.rename({top, "f"}, {top, "g"}, 6)), 0);
    EXPECT_EQ(result_of(older, older.unlink({top, "g"}, 7)), 0);
}

TEST_P(OldNamesTest, EachCompletesWithItsOwnTokenAndComesBackUnsubmitted) {
    Io older = old();
    for (Token token = 10; token < 14; ++token) ASSERT_TRUE(older.mkdir({top, "d"}, 0755, token));
    EXPECT_EQ(older.withdraw(), Token{13});
    std::vector<Token> tokens;
    for (const Completion& done : drain(older)) {
        EXPECT_EQ(done.res, -EOPNOTSUPP);
        tokens.push_back(done.token);
    }
    std::sort(tokens.begin(), tokens.end());
    EXPECT_EQ(tokens, (std::vector<Token>{10, 11, 12}));
    EXPECT_EQ(older.counters().submitted, 3U);
    EXPECT_EQ(older.counters().withdrawn, 1U);
}

TEST_P(OldNamesTest, OneOfThreeMayBeLackingAlone) {
    if (!io.features().has(abi::Op::mkdirat)) GTEST_SKIP() << "this kernel is itself older than 5_15";
    put("f");
    for (const abi::Op op : {abi::Op::mkdirat, abi::Op::symlinkat, abi::Op::linkat}) {
        Io older = on_a_kernel_without({op});
        const auto expected = [op](abi::Op asked) { return asked == op ? -EOPNOTSUPP : 0; };
        EXPECT_EQ(result_of(older, older.mkdir({top, "d"}, 0755, 1)), expected(abi::Op::mkdirat));
        EXPECT_EQ(result_of(older, older.link({top, "f"}, {top, "hard"}, 2)), expected(abi::Op::linkat));
        EXPECT_EQ(result_of(older, older.symlink("f", {top, "soft"}, 3)), expected(abi::Op::symlinkat));
        for (const char* const name : {"d", "hard", "soft"}) std::filesystem::remove(dir.file(name));
    }
}

TEST_P(OldNamesTest, WhatIsLackingIsNamedInWords) {
    const Io older = old();
    const auto expect_words = [&older](abi::Op op, const std::string& call, const std::string& name) {
        const Error error = older.lacking(op);
        EXPECT_EQ(error.code(), EOPNOTSUPP);
        EXPECT_NE(error.message().find(call + ":"), std::string::npos) << error.message();
        EXPECT_NE(error.message().find(name), std::string::npos) << error.message();
    };
    expect_words(abi::Op::mkdirat, "io.mkdir", "IORING_OP_MKDIRAT (5.15)");
    expect_words(abi::Op::linkat, "io.link", "IORING_OP_LINKAT (5.15)");
    expect_words(abi::Op::symlinkat, "io.symlink", "IORING_OP_SYMLINKAT (5.15)");
    EXPECT_FALSE(older.lacking(abi::Op::async_cancel)) << "one can be cancelled";
    EXPECT_FALSE(older.features().cancels_many);
    for (const abi::Op op : {abi::Op::nop, abi::Op::read, abi::Op::renameat, abi::Op::unlinkat, abi::Op::openat2})
        EXPECT_FALSE(older.lacking(op)) << older.lacking(op).message();
    EXPECT_EQ(older.lacking(abi::Op::fsetxattr).code(), EINVAL);
    EXPECT_NE(older.lacking(abi::Op::fsetxattr).message().find("none of squall's operations"), std::string::npos);
    EXPECT_EQ(io.lacking(static_cast<abi::Op>(255)).code(), EINVAL);
}

class OldChainTest : public OldNamesTest {
protected:
    // What is refused ends the whole chain there, hard links too.
    void SetUp() override {
        if (!io.features().has(abi::Op::fsetxattr)) GTEST_SKIP() << "this kernel is itself older than 5_19";
    }
    using Results = std::vector<std::int32_t>;
    // Of a refused operation between two others.
    [[nodiscard]] Results results_of(How first, How second) {
        EXPECT_TRUE(older.nop(0, first));
        EXPECT_TRUE(older.mkdir("d", 0755, 1, second));
        EXPECT_TRUE(older.nop(2));
        return results();
    }
    [[nodiscard]] Results results() {
        Results all(3, 1);
        for (const Completion& done : drain(older)) all.at(done.token) = done.res;
        return all;
    }
    Io older = old();
};
INSTANTIATE_TEST_SUITE_P(Modes, OldChainTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(OldChainTest, ARefusedOperationKeepsItsPlaceInAnOrder) {
    EXPECT_EQ(results_of({}, {}), (Results{0, -EOPNOTSUPP, 0}));
    EXPECT_EQ(results_of({.link = true}, {}), (Results{0, -EOPNOTSUPP, 0}));
    EXPECT_EQ(results_of({.link = true}, {.hard_link = true}), (Results{0, -EOPNOTSUPP, 0}));
    EXPECT_EQ(results_of({.hard_link = true}, {.hard_link = true}), (Results{0, -EOPNOTSUPP, 0}));
    EXPECT_EQ(results_of({}, {.drain = true}), (Results{0, -EOPNOTSUPP, 0}));
}

TEST_P(OldChainTest, WhatFailsBeforeARefusedOperationTakesItAlong) {
    ASSERT_TRUE(older.open({top, "none"}, {}, 0, {.link = true}));
    ASSERT_TRUE(older.symlink("x", {top, "soft"}, 1, {.link = true}));
    ASSERT_TRUE(older.nop(2));
    EXPECT_EQ(results(), (Results{-ENOENT, -ECANCELED, -ECANCELED}));
}

TEST_P(OldChainTest, WhatIsLinkedToARefusedOperationIsCancelled) {
    EXPECT_EQ(results_of({.link = true}, {.link = true}), (Results{0, -EOPNOTSUPP, -ECANCELED}));
    EXPECT_EQ(results_of({}, {.link = true}), (Results{0, -EOPNOTSUPP, -ECANCELED}));
}

TEST_P(OldNamesTest, CancellingAllIsRefusedAndCancelsNothingWhereOnlyOneCanBe) {
    Io older = old();
    const Pipe pipe;
    std::array<std::byte, 1> byte{};
    // Waits for results while the read stays in flight.
    const auto next_result = [&older](bool queued) {
        EXPECT_TRUE(queued);
        const Completions done = older.park();
        EXPECT_EQ(done.size(), 1U);
        EXPECT_NE(done.begin()->token, 1U);
        return done.begin()->res;
    };
    ASSERT_TRUE(older.read(pipe.read_end, byte, UINT64_MAX, 1));
    EXPECT_EQ(next_result(older.cancel_file(pipe.read_end, 2)), -EOPNOTSUPP);
    EXPECT_EQ(next_result(older.cancel_all(3)), -EOPNOTSUPP);
    EXPECT_EQ(older.in_flight(), 1U);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    auto all = drain(older);
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0].res, 1);
    // By its token it can.
    ASSERT_TRUE(older.read(pipe.read_end, byte, UINT64_MAX, 1));
    (void)older.poll();
    ASSERT_TRUE(older.cancel(1, 2));
    all = drain(older);
    ASSERT_EQ(all.size(), 2U);
    for (const Completion& done : all) EXPECT_EQ(done.res, done.token == 1 ? -ECANCELED : 0);
}

}  // namespace
}  // namespace squall
