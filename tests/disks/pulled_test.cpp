// SPDX-License-Identifier: MIT
//
// Files and file systems that are pulled away under I/O in flight: truncated, unlinked, replaced by another, made read-only,
// frozen, unmounted. Each operation is answered once, with bytes that were there at some time, and nothing is held on to for
// longer than it is in use. Disks that fill up or break are disk_test.cpp's.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "blocks.hpp"
#include "child.hpp"
#include "disk.hpp"
#include "rings.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

constexpr std::size_t block = 4096;
constexpr std::uint32_t blocks_of_file = 64;
constexpr int cached_and_direct[] = {0, O_DIRECT};

// Reads of random blocks of one file, as many in flight as there can be, until told to stop.
class Reader {
public:
    static constexpr std::uint32_t slots = 16;

    Reader(Kind kind, const std::string& path, int flags)
        : io(make_io(kind, {.entries = slots, .completion_entries = slots, .arena = &arena_, .file_slots = 1})),
          file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags)) {
        EXPECT_TRUE(io.set_file(FileSlot(0), file));
        for (std::uint32_t i = 0; i < slots; ++i) leases_.push_back(arena_.acquire().value());
    }
    [[nodiscard]] std::span<std::byte> memory() { return leases_[0].bytes(); }
    // Fills the ring, waits, and calls `check(bytes read, their offset)`, or with the error in a negative number.
    template <class Check>
    void round(Check check) {
        for (std::uint32_t slot = 0; slot < slots; ++slot) {
            offsets_[slot] = random_() % blocks_of_file * block;
            const auto into = leases_[slot].bytes();
            std::memset(into.data(), 0xdd, into.size());
            const auto queued = slot % 2 == 0 ? io.read(FileSlot(0), into, offsets_[slot], slot)
                                              : io.read(file, into, offsets_[slot], slot);
            ASSERT_TRUE(queued);
        }
        std::uint32_t seen = 0;
        while (io.in_flight() > 0) {
            const Completions done = io.park();
            ASSERT_FALSE(done.error()) << done.error().message();
            for (const Completion& each : done) {
                ASSERT_EQ(seen & 1U << each.token, 0U) << "token " << each.token << " came twice";
                seen |= 1U << each.token;
                ++completed;
                check(each.res, leases_[each.token].bytes(), offsets_[each.token]);
            }
        }
        until_taken();
    }

private:
    BufferArena arena_ = make_arena({.buffer_size = block, .count = slots, .pages = Pages::base});

public:
    Io io;
    Fd file;
    std::uint64_t completed = 0;

private:
    std::vector<FixedBuffer> leases_;
    std::array<std::uint64_t, slots> offsets_{};
    std::minstd_rand random_{1};
};

// Does `pull` again and again on a thread of its own while it lives.
class Puller {
public:
    explicit Puller(std::function<void()> pull)
        : thread_([this, pull = std::move(pull)] {
              while (!stop_) {
                  pull();
                  ++times_;
              }
          }) {}
    ~Puller() {
        stop_ = true;
        thread_.join();
    }
    Puller(const Puller&) = delete;
    Puller& operator=(const Puller&) = delete;
    [[nodiscard]] unsigned times() const { return times_; }

private:
    std::atomic<bool> stop_{false};
    std::atomic<unsigned> times_{0};
    std::thread thread_;
};

std::vector<std::byte> content(std::uint64_t seed) {
    std::vector<std::byte> bytes(blocks_of_file * block);
    fill_pattern(bytes, 0, seed);
    return bytes;
}

class PulledFileTest : public testing::TestWithParam<Kind> {
protected:
    TempDir dir;
};
INSTANTIATE_TEST_SUITE_P(Modes, PulledFileTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(PulledFileTest, AFileThatShrinksAndGrowsUnderReadsGivesItsBytesOrZeros) {
    for (const int direct : cached_and_direct) {
        const std::string path = dir.file("f");
        write_file(path, content(1));
        Reader reader(GetParam(), path, direct);
        const Puller puller([&path] {
            // What is cut off comes back as a hole; the first half keeps its bytes.
            EXPECT_EQ(::truncate(path.c_str(), blocks_of_file / 2 * block), 0);
            EXPECT_EQ(::truncate(path.c_str(), blocks_of_file * block), 0);
        });
        const auto check = [](std::int32_t res, std::span<const std::byte> bytes, std::uint64_t offset) {
            ASSERT_GE(res, 0);
            const bool stays = offset < blocks_of_file / 2 * block;
            if (stays) {
                ASSERT_EQ(res, static_cast<int>(block));
                ASSERT_EQ(find_wrong(bytes, offset, 1), -1);
                return;
            }
            std::vector<std::byte> pattern(block);
            fill_pattern(pattern, offset, 1);
            for (std::size_t i = 0; i < static_cast<std::size_t>(res); ++i)
                ASSERT_TRUE(bytes[i] == pattern[i] || bytes[i] == std::byte{0}) << offset + i;
        };
        while ((reader.completed < 1000 || puller.times() < 20) && !testing::Test::HasFatalFailure())
            reader.round(check);
        EXPECT_EQ(reader.io.counters().submitted, reader.io.counters().completed);
    }
}

TEST_P(PulledFileTest, AFileThatIsUnlinkedUnderIoGoesOnUntilItIsClosed) {
    for (const int direct : cached_and_direct) {
        const std::size_t before = descriptors_now();
        {
            Blocks blocks(GetParam(), dir.file("f"), direct);
            for (int i = 0; i < 60; ++i) {
                blocks.queue();
                EXPECT_TRUE(i != 5 || ::unlink(dir.file("f").c_str()) == 0);
                // The name may be another's by now, which is left alone.
                if (i == 10) write_file(dir.file("f"), std::vector<std::byte>(3));
                blocks.take(blocks.io->park());
            }
            blocks.drain();
        }
        EXPECT_EQ(read_file(dir.file("f")), std::vector<std::byte>(3));
        EXPECT_EQ(descriptors_now(), before);
        ::unlink(dir.file("f").c_str());
    }
}

TEST_P(PulledFileTest, AFileThatIsReplacedUnderReadsIsTheOldOneOrTheNewOneAndNeverAMixture) {
    const std::string path = dir.file("f");
    write_file(path, content(0));
    Reader reader(GetParam(), path, 0);
    std::atomic<std::uint64_t> version{0};
    const Puller puller([&] {
        const std::uint64_t next = version + 1;
        write_file(dir.file("new"), content(next));
        EXPECT_EQ(::rename(dir.file("new").c_str(), path.c_str()), 0);
        version = next;
    });
    std::uint64_t opened = 0;
    while ((reader.completed < 1000 || puller.times() < 20) && !testing::Test::HasFailure()) {
        // What was open before is what it was.
        reader.round([](std::int32_t res, std::span<const std::byte> bytes, std::uint64_t offset) {
            ASSERT_EQ(res, static_cast<int>(block));
            ASSERT_EQ(find_wrong(bytes, offset, 0), -1);
        });
        // What is opened now is one of those that had the name meanwhile.
        const std::uint64_t oldest = version;
        const Fd now(result_of(reader.io, reader.io.open(path.c_str(), {.read = true}, 1)));
        const std::uint64_t newest = version + 1;
        ASSERT_GE(now, 0) << "a rename leaves no moment without a file";
        std::vector<std::byte> bytes(blocks_of_file * block);
        ASSERT_EQ(result_of(reader.io, reader.io.read(now, bytes, 0, 1)), static_cast<int>(bytes.size()));
        bool found = false;
        for (std::uint64_t seed = oldest; seed <= newest && !found; ++seed) found = find_wrong(bytes, 0, seed) < 0;
        EXPECT_TRUE(found) << "a mixture of versions " << oldest << " to " << newest;
        ++opened;
    }
    EXPECT_GE(opened, 20U);
}

// The number of a descriptor that is closed under reads may be another file's before they are done.
TEST_P(PulledFileTest, ReadsInFlightOnADescriptorThatIsClosedGoOnWithTheFileThatItWas) {
    write_file(dir.file("old"), content(1));
    write_file(dir.file("new"), content(2));
    BufferArena arena = make_arena({.count = 8, .pages = Pages::base});
    Io io = make_io(GetParam(), {.entries = 32, .arena = &arena});
    const std::size_t before = descriptors_now();
    unsigned same = 0;
    for (int round = 0; round < 50; ++round) {
        const int fd = ::open(dir.file("old").c_str(), O_RDONLY | O_CLOEXEC | (round % 2 == 0 ? O_DIRECT : 0));
        ASSERT_GE(fd, 0);
        std::memset(arena.memory().data(), 0, 8 * block);
        for (Token token = 0; token < 8; ++token)
            ASSERT_TRUE(io.read(fd, arena.memory().subspan(token * block, block), token * block, token));
        ASSERT_TRUE(io.close(fd, 8));
        ASSERT_TRUE(io.open(dir.file("new").c_str(), {.read = true}, 9));
        std::set<Token> tokens;
        for (const Completion& done : drain(io)) {
            EXPECT_TRUE(tokens.insert(done.token).second) << done.token;
            if (done.token == 8) {
                EXPECT_EQ(done.res, 0);
            } else if (done.token == 9) {
                same += done.res == fd ? 1 : 0;
                EXPECT_EQ(::close(done.res), 0);
            } else {
                EXPECT_EQ(done.res, static_cast<int>(block));
            }
        }
        EXPECT_EQ(tokens.size(), 10U);
        EXPECT_EQ(find_wrong(arena.memory().first(8 * block), 0, 1), -1);
    }
    EXPECT_GE(same, 1U);
    EXPECT_EQ(descriptors_now(), before);
}

// The descriptors of rings, as /proc has them.
std::vector<int> ring_descriptors() {
    std::vector<int> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        if (contains(std::filesystem::read_symlink(entry, gone).string(), "io_uring"))
            found.push_back(std::stoi(entry.path().filename()));
    }
    return found;
}

TEST_P(PulledFileTest, ARingWhoseDescriptorIsClosedBySomethingElseSaysSoUnlessItIsRegistered) {
    in_child_alone([] {
        std::optional<Io> io = make_io(GetParam(), {.entries = 8});
        ASSERT_EQ(result_of(*io, io->nop(1)), 0);
        const std::vector<int> rings = ring_descriptors();
        ASSERT_EQ(rings.size(), GetParam().polling == Polling::none ? 1U : 2U);
        const auto try_one = [&io] {
            (void)io->nop(2);
            const Completions done = io->park();
            EXPECT_EQ(io->counters().submitted, io->counters().completed + io->in_flight());
            return done.error();
        };
        for (const int ring : rings) ::close(ring);
        const Error closed = try_one();
        for (const int ring : rings) ASSERT_EQ(::dup2(0, ring), ring);
        const Error reused = try_one();
        if (io->features().registered_ring) {
            EXPECT_FALSE(closed) << closed.message();
            EXPECT_FALSE(reused) << reused.message();
            return;
        }
        EXPECT_EQ(closed.code(), EBADF);
        EXPECT_EQ(reused.code(), EOPNOTSUPP);
        for (const Error& error : {closed, reused})
            EXPECT_TRUE(contains(error.message(), "closed by something other than squall")) << error.message();
        EXPECT_EQ(io->in_flight(), 2U);
    });
}

// --- File systems ---------------------------------------------------------------------------------------------------

class PulledDiskTest : public PulledFileTest {
protected:
    void SetUp() override {
        if (!why_no_disk().empty()) GTEST_SKIP() << why_no_disk();
    }
    void with_disk(const std::string& options, const std::function<void(Disk&)>& body) {
        in_child_alone([&] {
            have_mounts_alone(dir.path());
            Disk disk(dir.path(), 16 << 20, options);
            ASSERT_TRUE(disk.mounted());
            body(disk);
        });
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, PulledDiskTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(PulledDiskTest, AFileSystemThatMakesItselfReadOnlyRefusesWritesByNameAndIsStillRead) {
    for (const int direct : cached_and_direct) {
        with_disk("errors=remount-ro", [&](Disk& disk) {
            const std::string path = disk.file("f");
            write_file(path, content(1));
            Reader reader(GetParam(), path, direct);
            Io& io = reader.io;
            const Fd writer(::open(path.c_str(), O_RDWR | O_CLOEXEC | direct));
            const auto memory = make_arena({.count = 1, .pages = Pages::base});
            const auto read = [](std::int32_t res, std::span<const std::byte> bytes, std::uint64_t offset) {
                ASSERT_EQ(res, static_cast<int>(block));
                ASSERT_EQ(find_wrong(bytes, offset, 1), -1);
            };
            reader.round(read);
            EXPECT_EQ(result_of(io, io.fsync(writer, 1)), 0);
            // Writes in flight while it happens are done or refused.
            const std::span<std::byte> from = memory.memory().first(block);
            fill_pattern(from, 0, 1);
            for (Token token = 0; token < 8; ++token) ASSERT_TRUE(io.write(writer, from, 0, token));
            unsigned answered = static_cast<unsigned>(io.poll().size());
            disk.find_an_error();
            for (const Completion& done : drain(io)) {
                ++answered;
                EXPECT_TRUE(done.res == static_cast<int>(block) || done.res == -EROFS || done.res == -EIO) << done.res;
            }
            EXPECT_EQ(answered, 8U);
            ASSERT_TRUE(io.write(writer, from, 0, 1));
            const Completion refused = drain(io).at(0);
            EXPECT_EQ(refused.res, -EROFS);
            EXPECT_TRUE(contains(transfer_error(refused, writer, from, 0).message(), "see the kernel log"));
            EXPECT_EQ(result_of(io, io.open(disk.file("g").c_str(), {.write = true, .create = true}, 2)), -EROFS);
            EXPECT_EQ(result_of(io, io.unlink(path.c_str(), 3)), -EROFS);
            EXPECT_EQ(result_of(io, io.rename(path.c_str(), disk.file("g").c_str(), 4)), -EROFS);
            reader.round(read);
        });
    }
}

TEST_P(PulledDiskTest, ARemountReadOnlyWaitsForWritersAndReadsGoOn) {
    with_disk("", [&](Disk& disk) {
        const std::string path = disk.file("f");
        write_file(path, content(1));
        Reader reader(GetParam(), path, 0);
        Io& io = reader.io;
        const auto remount = [&disk] {
            return ::mount(nullptr, disk.mount_point().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0 ? 0
                                                                                                               : errno;
        };
        const auto check = [](std::int32_t res, std::span<const std::byte> bytes, std::uint64_t offset) {
            ASSERT_EQ(res, static_cast<int>(block));
            ASSERT_EQ(find_wrong(bytes, offset, 1), -1);
        };
        const int writer = result_of(io, io.open(path.c_str(), {.write = true}, 1));
        ASSERT_GE(writer, 0);
        EXPECT_EQ(remount(), EBUSY);
        reader.round(check);
        EXPECT_EQ(result_of(io, io.close(writer, 2)), 0);
        int status = EBUSY;
        for (int tries = 0; tries < 12'000 && (status = remount()) == EBUSY; ++tries) std::this_thread::sleep_for(5ms);
        EXPECT_EQ(status, 0);
        reader.round(check);
        EXPECT_EQ(result_of(io, io.open(path.c_str(), {.write = true}, 1)), -EROFS);
    });
}

TEST_P(PulledDiskTest, AFileSystemThatIsDetachedUnderIoGoesOnForWhatIsOpenAndForNobodyElse) {
    with_disk("", [&](Disk& disk) {
        std::optional<Blocks> blocks;
        blocks.emplace(GetParam(), disk.file("f"), O_DIRECT);
        for (int i = 0; i < 40; ++i) {
            blocks->queue();
            if (i == 10) {
                for (const int flags : {0, int{MNT_FORCE}, int{MNT_EXPIRE}})
                    EXPECT_EQ(::umount2(disk.mount_point().c_str(), flags), -1) << "it is in use";
                ASSERT_EQ(disk.unmount(MNT_DETACH), 0);
            }
            blocks->take(blocks->io->park());
        }
        blocks->drain();
        EXPECT_EQ(result_of(*blocks->io, blocks->io->open(disk.file("f").c_str(), {.read = true}, 1)), -ENOENT);
        // With the last file closed it is gone, and what was written is on the disk.
        blocks.reset();
        ASSERT_EQ(disk.mount(), 0);
        EXPECT_EQ(read_file(disk.file("f")).size(), Blocks::slots * Blocks::block);
    });
}

TEST_P(PulledDiskTest, AFrozenFileSystemHoldsUpWhatWouldChangeItAndNothingElse) {
    with_disk("", [&](Disk& disk) {
        const std::string path = disk.file("f");
        write_file(path, content(1));
        Reader reader(GetParam(), path, O_DIRECT);
        Io& io = reader.io;
        const Fd writer(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        const BufferArena memory = make_arena({.count = 1, .pages = Pages::base});
        const std::span<std::byte> from = memory.memory().first(block);
        fill_pattern(from, 0, 1);
        ASSERT_EQ(result_of(io, io.write(writer, from, 0, 0)), static_cast<int>(block));

        Frozen frozen(disk);
        for (Token token = 0; token < 4; ++token) ASSERT_TRUE(io.write(writer, from, 0, 100 + token));
        ASSERT_TRUE(io.open(disk.file("new").c_str(), {.write = true, .create = true}, 104));
        ASSERT_TRUE(io.nop(1));
        std::set<Token> quick;
        while (quick.empty())
            for (const Completion& done : io.poll()) quick.insert(done.token);
        EXPECT_TRUE(io.park(10ms).empty());
        ASSERT_TRUE(io.read(reader.file, reader.memory(), 0, 2));
        for (const Completion& done : io.park()) {
            quick.insert(done.token);
            EXPECT_EQ(done.res, static_cast<int>(block));
        }
        EXPECT_EQ(quick, (std::set<Token>{1, 2}));
        EXPECT_EQ(io.in_flight(), 5U);
        EXPECT_TRUE(io.park(100ms).empty());
        frozen.thaw();
        std::set<Token> slow;
        for (const Completion& done : drain(io)) {
            EXPECT_TRUE(slow.insert(done.token).second) << done.token;
            EXPECT_TRUE(done.token == 104 ? done.ok() : done.res == static_cast<int>(block)) << done.res;
            if (done.token == 104) ::close(done.res);
        }
        EXPECT_EQ(slow.size(), 5U);
    });
}

// Whether a thread of the kernel's that works for this process waits where nothing can end it (state D).
bool a_worker_is_stuck() {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::string line;
        std::ifstream stat(task.path() / "stat");
        std::getline(stat, line);
        if (contains(line, "(iou-wrk-") && contains(line, ") D ")) return true;
    }
    return false;
}

TEST_P(PulledDiskTest, ARingWhoseWritesAreHeldUpByAFrozenFileSystemGoesWhenTheyAreDone) {
    with_disk("", [&](Disk& disk) {
        const Fd writer(::open(disk.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        std::vector<std::byte> bytes(block, std::byte{0x11});
        Frozen frozen(disk);
        const Footprint before = footprint_now();
        std::optional<Io> io = make_io(GetParam(), {.entries = 8});
        for (Token token = 0; token < 4; ++token) ASSERT_TRUE(io->write(writer, bytes, token * block, token));
        (void)io->poll();
        for (int tries = 0; !a_worker_is_stuck() && tries < 6000; ++tries) std::this_thread::sleep_for(10ms);
        ASSERT_TRUE(a_worker_is_stuck());
        std::atomic<bool> thawed{false};
        std::thread thaws([&] {
            std::this_thread::sleep_for(100ms);
            thawed = true;
            frozen.thaw();
        });
        io.reset();
        EXPECT_TRUE(thawed) << "it went with writes in flight";
        thaws.join();
        // Nothing reads from this memory any more: what is on the disk stays as it is.
        bytes.assign(block, std::byte{0x22});
        // One less: thawing closes it.
        EXPECT_EQ(footprint_now().descriptors, before.descriptors - 1);
        std::this_thread::sleep_for(20ms);
        for (const std::byte byte : read_file(disk.file("f"))) ASSERT_EQ(byte, std::byte{0x11});
    });
}

TEST_P(PulledDiskTest, AFileSystemIsFreeToBeUnmountedOnceTheRingThatUsedItIsGone) {
    for (const bool in_flight : {false, true}) {
        with_disk("", [&](Disk& disk) {
            {
                Blocks blocks(GetParam(), disk.file("f"), O_DIRECT);
                for (int i = 0; i < 5; ++i) {
                    blocks.queue();
                    blocks.take(blocks.io->park());
                }
                if (!in_flight) blocks.drain();
            }
            EXPECT_EQ(disk.unmount(), 0);
        });
    }
}

}  // namespace
}  // namespace squall
