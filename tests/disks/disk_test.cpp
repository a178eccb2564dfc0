// SPDX-License-Identifier: MIT
//
// Disks that fill up and disks that break, for real: what was acknowledged is there, what was not is said by name, and each
// operation is answered once, with as many of them in flight as there can be. Files and file systems that are pulled away
// are pulled_test.cpp's.
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>

#include "child.hpp"
#include "disk.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

constexpr std::uint64_t mib = 1 << 20;

class DiskTest : public testing::TestWithParam<Kind> {
protected:
    void SetUp() override {
        if (!why_no_disk().empty()) GTEST_SKIP() << why_no_disk();
    }
    // Runs `body` with a Disk, in a child.
    void with_disk(std::uint64_t bytes, const std::function<void(Disk&)>& body) {
        in_child_alone([&] {
            have_mounts_alone(dir.path());
            Disk disk(dir.path(), bytes);
            ASSERT_TRUE(disk.mounted());
            body(disk);
        });
    }
    TempDir dir;
};
INSTANTIATE_TEST_SUITE_P(Modes, DiskTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// A ring that is full when its SQ is, a file by descriptor, or by slot where there is polling to pass, and for each
// operation in flight memory of its own: every other one registered.
class Target {
public:
    static constexpr std::uint32_t slots = 32;

    Target(Kind kind, const std::string& path, int flags, std::size_t bytes)
        : file_(::open(path.c_str(), flags | O_CLOEXEC, 0600)), bytes_(bytes), arena_(make_arena({bytes, slots / 2})) {
        EXPECT_GE(file_, 0) << path << ": " << std::strerror(errno);
        const bool polling = kind.polling != Polling::none;
        io.emplace(make_io(
            kind, {.entries = slots, .completion_entries = slots, .arena = &arena_, .file_slots = polling ? 1U : 0U}));
        by_slot_ = polling && io->set_file(FileSlot(0), file_);
        EXPECT_EQ(by_slot_, polling);
        for (std::uint32_t i = 0; i < slots; ++i) {
            if (i % 2 == 0)
                leases_.push_back(arena_.acquire().value());
            else
                heap_.emplace_back(static_cast<std::byte*>(std::aligned_alloc(4096, bytes)), &std::free);
        }
    }

    [[nodiscard]] int file() const { return file_; }
    [[nodiscard]] std::span<std::byte> memory(std::uint64_t number) {
        const std::uint64_t place = number % slots;
        return place % 2 == 0 ? leases_[place / 2].bytes() : std::span(heap_[place / 2].get(), bytes_);
    }
    bool read(std::span<std::byte> into, std::uint64_t offset, Token token) {
        return by_slot_ ? io->read(FileSlot(0), into, offset, token) : io->read(file_, into, offset, token);
    }
    bool write(std::span<const std::byte> from, std::uint64_t offset, Token token) {
        return by_slot_ ? io->write(FileSlot(0), from, offset, token) : io->write(file_, from, offset, token);
    }
    bool fsync(Token token) { return by_slot_ ? io->fsync(FileSlot(0), token) : io->fsync(file_, token); }
    std::int32_t fsync() { return result_of(*io, fsync(Token{0})); }

    // Fills the ring by `queue(token)` until it takes no more, and returns what became of each token, which came once.
    template <class Queue>
    std::map<Token, std::int32_t> all_at_once(Queue queue) {
        for (Token token = 0; token < slots; ++token) EXPECT_TRUE(queue(token));
        EXPECT_EQ(io->in_flight(), io->features().cq_entries);
        EXPECT_FALSE(io->nop(99));
        std::map<Token, std::int32_t> results;
        for (const Completion& done : drain(*io))
            EXPECT_TRUE(results.emplace(done.token, done.res).second) << "token " << done.token << " came twice";
        EXPECT_EQ(results.size(), slots);
        EXPECT_EQ(io->counters().submitted, io->counters().completed);
        return results;
    }

private:
    Fd file_;
    std::size_t bytes_;
    BufferArena arena_;
    bool by_slot_ = false;
    std::vector<FixedBuffer> leases_;
    std::vector<std::unique_ptr<std::byte, decltype(&std::free)>> heap_;

public:
    std::optional<Io> io;
};

constexpr int cached_and_direct[] = {0, O_DIRECT};

// Holds `bytes` of a file from `offset` on against the pattern, past the page cache.
void expect_content(const std::string& path, std::uint64_t offset, std::uint64_t bytes) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::vector<std::byte> piece(mib);
    for (std::uint64_t at = 0; at < bytes;) {
        const ssize_t got = ::pread(file, piece.data(), std::min<std::uint64_t>(piece.size(), bytes - at),
                                    static_cast<off_t>(offset + at));
        ASSERT_GT(got, 0) << path << " ends at " << offset + at;
        ASSERT_EQ(find_wrong(std::span(piece).first(static_cast<std::size_t>(got)), offset + at), -1) << offset + at;
        at += static_cast<std::uint64_t>(got);
    }
}

// --- A disk that fills up -------------------------------------------------------------------------------------------

TEST_P(DiskTest, AFullDiskIsAShortWriteThenENOSPCAndWhatWasAcknowledgedIsThere) {
    constexpr std::size_t chunk = mib - 4096;
    for (const int direct : cached_and_direct) {
        with_disk(8 * mib, [&](Disk& disk) {
            const std::uint64_t free = disk.bytes_free();
            std::uint64_t acknowledged = 0;
            unsigned shorts = 0;
            {
                Target target(GetParam(), disk.file("f"), O_RDWR | O_CREAT | direct, chunk);
                for (Token token = 0;; ++token) {
                    ASSERT_LE(acknowledged, free);
                    const auto from = target.memory(token);
                    fill_pattern(from, acknowledged);
                    ASSERT_TRUE(target.write(from, acknowledged, token));
                    const Completion done = drain(*target.io).at(0);
                    ASSERT_EQ(done.token, token);
                    const Error error = transfer_error(done, target.file(), from, acknowledged);
                    if (!done.ok()) {
                        EXPECT_EQ(done.res, -ENOSPC);
                        EXPECT_TRUE(contains(error.message(), "the file system or its device is full"))
                            << error.message();
                        break;
                    }
                    ASSERT_GT(done.res, 0);
                    acknowledged += static_cast<std::uint64_t>(done.res);
                    if (static_cast<std::size_t>(done.res) == chunk) continue;
                    ++shorts;
                    EXPECT_TRUE(contains(error.message(), "only " + std::to_string(done.res) + " bytes moved"));
                    EXPECT_TRUE(contains(error.message(), "a full disk")) << error.message();
                }
                EXPECT_EQ(target.fsync(), 0) << "a full disk keeps what it took";
            }
            EXPECT_TRUE(shorts > 0 || direct != 0) << "a direct write may take all or nothing";
            EXPECT_GE(acknowledged, free - mib);
            ASSERT_EQ(disk.unmount(), 0);
            ASSERT_EQ(disk.mount(), 0);
            expect_content(disk.file("f"), 0, acknowledged);
        });
    }
}

TEST_P(DiskTest, AsManyWritesAsCanBeInFlightOnADiskThatFillsUpAreEachAnsweredOnce) {
    constexpr std::size_t chunk = 256 << 10;
    for (const int direct : cached_and_direct) {
        with_disk(8 * mib, [&](Disk& disk) {
            const std::uint64_t free = disk.bytes_free();
            ASSERT_LT(free, Target::slots * chunk);
            std::map<Token, std::int32_t> results;
            {
                Target target(GetParam(), disk.file("f"), O_RDWR | O_CREAT | direct, chunk);
                const auto write_all = [&] {
                    return target.all_at_once([&](Token token) {
                        fill_pattern(target.memory(token), token * chunk);
                        return target.write(target.memory(token), token * chunk, token);
                    });
                };
                results = write_all();
                std::uint64_t acknowledged = 0;
                unsigned refused = 0;
                for (const auto& [token, res] : results) {
                    if (res >= 0) {
                        acknowledged += static_cast<std::uint64_t>(res);
                    } else {
                        ++refused;
                        EXPECT_EQ(res, -ENOSPC);
                    }
                }
                EXPECT_LE(acknowledged, free);
                EXPECT_GE(refused, 1U);
                EXPECT_EQ(target.fsync(), 0);
                // Space that was given back is there to be written to, and the ring is as it was.
                ASSERT_EQ(::truncate(disk.file("f").c_str(), 0), 0);
                EXPECT_EQ(result_of(*target.io, target.write(target.memory(0), 0, 1)), static_cast<int>(chunk));
                results = write_all();
                EXPECT_EQ(target.fsync(), 0);
            }
            ASSERT_EQ(disk.unmount(), 0);
            ASSERT_EQ(disk.mount(), 0);
            for (const auto& [token, res] : results)
                if (res > 0) expect_content(disk.file("f"), token * chunk, static_cast<std::uint64_t>(res));
        });
    }
}

TEST_P(DiskTest, AFullDiskRefusesANewFileAndStillRenamesAndUnlinks) {
    with_disk(8 * mib, [&](Disk& disk) {
        const std::string name(200, 'x');
        Io io = make_io(GetParam(), {.entries = 8});
        // A directory's next block is what is lacking.
        const Fd all(::open(disk.file("all").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        std::vector<char> zeros(4096);
        while (::write(all, zeros.data(), zeros.size()) > 0) {
        }
        unsigned made = 0;
        std::int32_t res = 0;
        for (; made < 5000; ++made) {
            res = result_of(
                io, io.open(disk.file(std::to_string(made) + name).c_str(), {.write = true, .create = true}, 1));
            if (res < 0) break;
            EXPECT_EQ(result_of(io, io.close(res, 2)), 0);
        }
        EXPECT_EQ(res, -ENOSPC);
        ASSERT_GE(made, 2U);
        EXPECT_EQ(result_of(io, io.rename(disk.file("0" + name).c_str(), disk.file("1" + name).c_str(), 3)), 0);
        EXPECT_EQ(result_of(io, io.unlink(disk.file("1" + name).c_str(), 4)), 0);
        EXPECT_EQ(io.list_dir(disk.mount_point().c_str())->size(), made);  // two fewer, "all" and "lost+found" more
    });
}

// --- A disk that breaks ---------------------------------------------------------------------------------------------

TEST_P(DiskTest, ABrokenFileSystemAnswersEIOToAllThatIsInFlight) {
    constexpr std::size_t chunk = 64 << 10;
    for (const int direct : cached_and_direct) {
        with_disk(16 * mib, [&](Disk& disk) {
            {
                Target target(GetParam(), disk.file("f"), O_RDWR | O_CREAT | direct, chunk);
                const auto write = [&](Token token) {
                    return target.write(target.memory(token), token * chunk, token);
                };
                const auto read = [&](Token token) { return target.read(target.memory(token), token * chunk, token); };
                for (Token token = 0; token < Target::slots; ++token) fill_pattern(target.memory(token), token * chunk);
                for (const auto& [token, res] : target.all_at_once(write)) EXPECT_EQ(res, static_cast<int>(chunk));
                EXPECT_EQ(target.fsync(), 0);
                // Broken while they are under way, it has answered some and not the others.
                std::uint64_t read_before = 0;
                for (Token token = 0; token < Target::slots; ++token) {
                    std::memset(target.memory(token).data(), 0, chunk);
                    ASSERT_TRUE(read(token));
                    if (token == Target::slots / 2)
                        for (const Completion& done : target.io->poll()) read_before += done.res > 0 ? 1 : 0;
                }
                disk.break_down();
                for (const Completion& done : drain(*target.io)) {
                    if (done.ok()) {
                        ++read_before;
                        EXPECT_EQ(done.res, static_cast<int>(chunk));
                        EXPECT_EQ(find_wrong(target.memory(done.token), done.token * chunk), -1);
                        continue;
                    }
                    EXPECT_EQ(done.res, -EIO);
                    EXPECT_TRUE(contains(done.error().message(), "the device failed")) << done.error().message();
                }
                EXPECT_EQ(target.io->in_flight(), 0U);
                EXPECT_LE(read_before, Target::slots);

                for (const auto& [token, res] : target.all_at_once(write)) EXPECT_EQ(res, -EIO) << "write " << token;
                for (const auto& [token, res] : target.all_at_once(read)) EXPECT_EQ(res, -EIO) << "read " << token;
                const auto sync = [&](Token token) { return target.fsync(token); };
                for (const auto& [token, res] : target.all_at_once(sync)) EXPECT_EQ(res, -EIO) << "fsync " << token;
                Io& io = *target.io;
                EXPECT_EQ(result_of(io, io.open(disk.file("g").c_str(), {.write = true, .create = true}, 1)), -EIO);
                EXPECT_EQ(result_of(io, io.rename(disk.file("f").c_str(), disk.file("g").c_str(), 2)), -EIO);
                EXPECT_EQ(result_of(io, io.unlink(disk.file("f").c_str(), 3)), -EIO);
                EXPECT_EQ(result_of(io, io.nop(4)), 0);
            }
            // What was synced before is there.
            ASSERT_EQ(disk.unmount(), 0);
            ASSERT_EQ(disk.mount(), 0);
            expect_content(disk.file("f"), 0, Target::slots * chunk);
        });
    }
}

TEST_P(DiskTest, ABrokenDeviceAnswersEIOToAllThatReachesIt) {
    constexpr std::size_t chunk = 64 << 10;
    for (const int direct : cached_and_direct) {
        with_disk(16 * mib, [&](Disk& disk) {
            const Fd backing(::open(disk.file("backing").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
            ASSERT_EQ(::ftruncate(backing, 8 * mib), 0);
            const LoopDevice device(disk.file("backing"));
            ASSERT_TRUE(device.attached());
            Target target(GetParam(), device.path(), O_RDWR | direct, chunk);
            const auto write = [&](Token token) { return target.write(target.memory(token), token * chunk, token); };
            // The second half, which was never read and so is in no cache.
            const auto read = [&](Token token) {
                return target.read(target.memory(token), 4 * mib + token * chunk, token);
            };
            for (const auto& [token, res] : target.all_at_once(write)) EXPECT_EQ(res, static_cast<int>(chunk));
            EXPECT_EQ(target.fsync(), 0);
            disk.break_down();
            for (const auto& [token, res] : target.all_at_once(read)) EXPECT_EQ(res, -EIO) << "read " << token;
            // A cached write reaches the device when it is synced, and it is the fsync that says so.
            const int written = direct != 0 ? -EIO : static_cast<int>(chunk);
            for (const auto& [token, res] : target.all_at_once(write)) EXPECT_EQ(res, written) << "write " << token;
            EXPECT_EQ(target.fsync(), -EIO);
            EXPECT_EQ(result_of(*target.io, target.io->nop(4)), 0);
        });
    }
}

// As a thinly provisioned volume, or a disk over a network.
TEST_P(DiskTest, ADeviceThatIsFullBelowSaysSoAtTheLatestWhenACachedWriteIsSynced) {
    constexpr std::size_t chunk = 64 << 10;
    for (const int direct : cached_and_direct) {
        in_child_alone([&] {
            have_mounts_alone(dir.path(), "size=1m");
            const std::string backing = dir.file("sparse");
            write_file(backing, std::vector<std::byte>(1));
            ASSERT_EQ(::truncate(backing.c_str(), Target::slots * chunk), 0);
            const LoopDevice device(backing);
            ASSERT_TRUE(device.attached());
            // The loop driver takes a request that was written in part for one that was written.
            std::ofstream("/sys/block/" + device.name() + "/queue/nomerges") << 2;
            Target target(GetParam(), device.path(), O_RDWR | direct, chunk);
            unsigned refused = 0;
            const auto refuse = [&refused](const Completion& done) {
                ++refused;
                EXPECT_TRUE(done.res == -ENOSPC || done.res == -EIO) << done.res;
                EXPECT_TRUE(contains(done.error().message(), "fsync that")) << done.error().message();
                EXPECT_TRUE(contains(done.error().message(), "taken as lost")) << done.error().message();
            };
            const auto write = [&](Token token) { return target.write(target.memory(token), token * chunk, token); };
            for (const auto& [token, res] : target.all_at_once(write))
                if (res != static_cast<int>(chunk)) refuse({token, res, 0});
            EXPECT_EQ(refused > 0, direct != 0);
            const std::int32_t synced = target.fsync();
            if (synced != 0) refuse({0, synced, 0});
            EXPECT_GE(refused, 1U);
            EXPECT_TRUE(synced != 0 || direct != 0);
        });
    }
}

TEST_P(DiskTest, ADeviceWhoseEndIsGoneReadsUpToThereAndAnswersEIOBeyond) {
    constexpr std::size_t chunk = 64 << 10;
    constexpr std::uint64_t left = 16 * chunk;
    for (const int direct : cached_and_direct) {
        in_child_alone([&] {
            have_mounts_alone(dir.path());
            const std::string backing = dir.file("cut");
            std::vector<std::byte> content(2 * left);
            fill_pattern(content, 0);
            write_file(backing, content);
            const LoopDevice device(backing);
            ASSERT_TRUE(device.attached());
            ASSERT_EQ(::truncate(backing.c_str(), left), 0);
            Target target(GetParam(), device.path(), O_RDONLY | direct, chunk);
            const auto read = [&](Token token) { return target.read(target.memory(token), token * chunk, token); };
            for (const auto& [token, res] : target.all_at_once(read)) {
                if ((token + 1) * chunk <= left) {
                    EXPECT_EQ(res, static_cast<int>(chunk)) << token;
                    EXPECT_EQ(find_wrong(target.memory(token), token * chunk), -1) << token;
                } else {
                    EXPECT_EQ(res, -EIO) << token;
                }
            }
            // Across the end: what there is, or nothing at all.
            ASSERT_TRUE(target.read(target.memory(0), left - chunk / 2, 1));
            const Completion across = drain(*target.io).at(0);
            EXPECT_TRUE(across.res == -EIO || across.res == static_cast<int>(chunk / 2)) << across.res;
            if (across.ok()) {
                EXPECT_EQ(find_wrong(target.memory(0).first(chunk / 2), left - chunk / 2), -1);
            }
        });
    }
}

}  // namespace
}  // namespace squall
