// SPDX-License-Identifier: MIT
//
// Ranges: transfers in several pieces and in ways of their own (How), and what is done to a range of a file or of
// memory: fallocate, truncate, sync_range, advise. On a real kernel, in every mode, with and without an arena.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "rings.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

constexpr int not_open = 1'000'000;
constexpr std::uint64_t too_long = std::uint64_t{1} << 32;

struct ::iovec piece(std::span<std::byte> bytes) {
    return {bytes.data(), bytes.size()};
}

void fill(std::span<std::byte> bytes, std::byte with) { std::fill(bytes.begin(), bytes.end(), with); }
bool holds_only(std::span<const std::byte> bytes, std::byte wanted) {
    return std::all_of(bytes.begin(), bytes.end(), [wanted](std::byte byte) { return byte == wanted; });
}

class RangesTest : public testing::TestWithParam<std::tuple<Kind, bool>> {
protected:
    // A buffer of the arena in half of the cases, ordinary memory in the other half.
    std::span<std::byte> memory(std::size_t bytes) {
        if (!with_arena) return ordinary(bytes);
        leases.push_back(arena.acquire().value());
        return leases.back().bytes().first(bytes);
    }
    std::span<std::byte> ordinary(std::size_t bytes) {
        heap.emplace_back(bytes);
        return heap.back();
    }
    std::int32_t run(bool queued) { return result_of(io, queued); }
    // A file of so many bytes of the pattern, open for reading and writing.
    Fd file_of(std::size_t bytes, const std::string& name = "f") {
        std::vector<std::byte> content(bytes);
        fill_pattern(content, 0);
        write_file(dir.file(name), content);
        return Fd(::open(dir.file(name).c_str(), O_RDWR | O_CLOEXEC));
    }
    [[nodiscard]] std::uint64_t size_of(const std::string& name = "f") const {
        return std::filesystem::file_size(dir.file(name));
    }
    [[nodiscard]] std::ptrdiff_t first_wrong(const std::string& name = "f") const {
        return find_wrong(read_file(dir.file(name)), 0);
    }
    // Whether pieces that all lie in the arena are a fixed transfer here.
    [[nodiscard]] bool fixes(abi::Op op) const { return with_arena && io.features().has(op); }
    void expect_transfers(std::uint64_t fixed, std::uint64_t unregistered) const {
        EXPECT_EQ(io.counters().fixed, fixed);
        EXPECT_EQ(io.counters().unregistered, unregistered);
    }
    void expect_pieces_were_fixed() const {
        const unsigned reads = fixes(abi::Op::readv_fixed) ? 1 : 0;
        const unsigned writes = fixes(abi::Op::writev_fixed) ? 1 : 0;
        expect_transfers(reads + writes, 2 - reads - writes);
    }

    bool with_arena = std::get<1>(GetParam());
    TempDir dir;
    BufferArena arena = make_arena({.buffer_size = 64 << 10, .count = 16});
    std::vector<FixedBuffer> leases;
    std::vector<std::vector<std::byte>> heap;
    Io io = make_io(std::get<0>(GetParam()), {.entries = 8, .arena = with_arena ? &arena : nullptr, .file_slots = 2});
};
INSTANTIATE_TEST_SUITE_P(Modes, RangesTest, testing::Combine(testing::ValuesIn(every_kind), testing::Bool()),
                         [](const auto& test) {
                             return name_of(std::get<0>(test.param)) +
                                    (std::get<1>(test.param) ? "_fixed" : "_unregistered");
                         });

// --- Several pieces -------------------------------------------------------------------------------------------------

TEST_P(RangesTest, PiecesAreGatheredAndScatteredInTheirOrder) {
    const Fd file = file_of(777);
    const std::array out{memory(1000), memory(1), memory(40'000)};
    std::uint64_t offset = 777;
    for (const auto& bytes : out) fill_pattern(bytes, std::exchange(offset, offset + bytes.size()));
    const std::array from{piece(out[0]), piece(out[1]), piece(out[2])};
    EXPECT_EQ(run(io.writev(file, from, 777, 1)), 41'001);
    EXPECT_EQ(size_of(), 777U + 41'001);
    EXPECT_EQ(first_wrong(), -1);

    // Cut in other places, and not as they lie in memory.
    const auto whole = memory(40'000);
    const std::array in{whole.subspan(20'000, 4'001), whole.first(7), whole.subspan(8, 10'000)};
    const std::array into{piece(in[0]), piece(in[1]), piece(in[2])};
    EXPECT_EQ(run(io.readv(file, into, 500, 2)), 14'008);
    EXPECT_EQ(find_wrong(in[0], 500), -1);
    EXPECT_EQ(find_wrong(in[1], 4'501), -1);
    EXPECT_EQ(find_wrong(in[2], 4'508), -1);
    EXPECT_EQ(whole[7], std::byte{0}) << "between two pieces";
    expect_pieces_were_fixed();
}

TEST_P(RangesTest, AShortReadFillsThePiecesInTheirOrderAndLeavesTheRestUntouched) {
    const Fd file = file_of(1000);
    const std::array in{memory(600), memory(600), memory(600)};
    for (const auto& bytes : in) fill(bytes, std::byte{0xee});
    const std::array into{piece(in[0]), piece(in[1]), piece(in[2])};
    EXPECT_EQ(run(io.readv(file, into, 0, 1)), 1000);
    EXPECT_EQ(find_wrong(in[0], 0), -1);
    EXPECT_EQ(find_wrong(in[1].first(400), 600), -1);
    EXPECT_TRUE(holds_only(in[1].subspan(400), std::byte{0xee}));
    EXPECT_TRUE(holds_only(in[2], std::byte{0xee}));
    EXPECT_EQ(run(io.readv(file, into, 1000, 2)), 0);
    EXPECT_EQ(run(io.readv(file, into, 5000, 3)), 0);
    EXPECT_TRUE(holds_only(in[2], std::byte{0xee}));
}

TEST_P(RangesTest, PiecesAreFixedOnlyWhereEachHasBytesOfTheArena) {
    const Fd file = file_of(5000);
    const auto first = memory(1000);
    const auto second = memory(1000);
    const auto outside = ordinary(1000);
    // The bytes go to the first and second of two pieces that have any.
    const auto expect_read = [&](std::span<const struct ::iovec> into, std::span<std::byte> last, How how, bool fixed) {
        const Counters before = io.counters();
        fill(first, std::byte{0});
        fill(last, std::byte{0});
        EXPECT_EQ(run(io.readv(file, into, 100, 1, how)), 2000);
        EXPECT_EQ(find_wrong(first, 100), -1);
        EXPECT_EQ(find_wrong(last, 1100), -1);
        EXPECT_EQ(run(io.writev(file, into, 100, 2, how)), 2000);
        EXPECT_EQ(first_wrong(), -1);
        EXPECT_EQ(size_of(), 5000U);
        const unsigned reads = fixed && fixes(abi::Op::readv_fixed) ? 1 : 0;
        const unsigned writes = fixed && fixes(abi::Op::writev_fixed) ? 1 : 0;
        EXPECT_EQ(io.counters().fixed - before.fixed, reads + writes);
        EXPECT_EQ(io.counters().unregistered - before.unregistered, 2 - reads - writes);
    };
    const std::array inside{piece(first), piece(second)};
    const std::array half_outside{piece(first), piece(outside)};
    const std::array with_an_empty_one{piece(first), piece(first.first(0)), piece(second)};
    const std::array with_an_empty_one_nowhere{piece(first), piece(second), piece({})};
    expect_read(inside, second, {}, true);
    expect_read(half_outside, outside, {}, false);
    expect_read(with_an_empty_one, second, {}, false);
    expect_read(with_an_empty_one_nowhere, second, {}, false);
    expect_read(inside, second, {.unregistered = true}, false);
    expect_read(inside, second, {.async = true}, true);
}

TEST_P(RangesTest, OnePieceIsFixedAsSeveralAre) {
    const Fd file = file_of(1000);
    const auto bytes = memory(1000);
    const std::array one{piece(bytes)};
    EXPECT_EQ(run(io.readv(file, one, 0, 1)), 1000);
    EXPECT_EQ(find_wrong(bytes, 0), -1);
    EXPECT_EQ(run(io.writev(file, one, 0, 2)), 1000);
    expect_pieces_were_fixed();
}

TEST_P(RangesTest, NoPiecesAtAllAreZeroBytes) {
    const Fd file = file_of(100);
    EXPECT_EQ(run(io.readv(file, {}, 0, 1)), 0);
    EXPECT_EQ(run(io.writev(file, {}, 0, 2)), 0);
    EXPECT_EQ(run(io.readv(not_open, {}, 0, 3)), -EBADF);
    EXPECT_EQ(first_wrong(), -1);
    EXPECT_EQ(size_of(), 100U);
    expect_transfers(0, 3);
}

TEST_P(RangesTest, AThousandAndTwentyFourPiecesAreTakenAndNotOneMore) {
    const Fd file = file_of(3000);
    const auto bytes = memory(1025);
    std::vector<struct ::iovec> pieces;
    for (std::size_t i = 0; i < 1025; ++i) pieces.push_back(piece(bytes.subspan(1024 - i, 1)));
    const std::span<const struct ::iovec> most = std::span(pieces).first(1024);
    EXPECT_EQ(run(io.readv(file, most, 5, 1)), 1024);
    std::reverse(bytes.begin(), bytes.end());
    EXPECT_EQ(find_wrong(bytes.first(1024), 5), -1);
    std::reverse(bytes.begin(), bytes.end());
    EXPECT_EQ(run(io.writev(file, most, 5, 2)), 1024);
    pieces.resize(70'000, pieces[0]);
    for (const std::size_t count : {1025U, 65'537U, 70'000U}) {
        EXPECT_EQ(run(io.readv(file, std::span(pieces).first(count), 5, 3)), -EINVAL) << count;
        EXPECT_EQ(run(io.writev(file, std::span(pieces).first(count), 5, 4)), -EINVAL) << count;
    }
    EXPECT_EQ(first_wrong(), -1);
    EXPECT_EQ(size_of(), 3000U);
}

TEST_P(RangesTest, PiecesAreReadAndWrittenBySlot) {
    const Fd file = file_of(1000);
    ASSERT_TRUE(io.set_file(FileSlot(1), file));
    const std::array bytes{memory(300), memory(300)};
    const std::array pieces{piece(bytes[0]), piece(bytes[1])};
    EXPECT_EQ(run(io.readv(FileSlot(1), pieces, 200, 1)), 600);
    EXPECT_EQ(find_wrong(bytes[0], 200), -1);
    EXPECT_EQ(find_wrong(bytes[1], 500), -1);
    fill_pattern(bytes[0], 1000);
    fill_pattern(bytes[1], 1300);
    EXPECT_EQ(run(io.writev(FileSlot(1), pieces, 1000, 2)), 600);
    EXPECT_EQ(first_wrong(), -1);
    EXPECT_EQ(size_of(), 1600U);
    expect_pieces_were_fixed();
    EXPECT_EQ(run(io.readv(FileSlot(0), pieces, 0, 3)), -EBADF) << "an empty slot";
}

TEST_P(RangesTest, PiecesOfATransferThatIsTakenBackAreCountedNowhere) {
    const Fd file = file_of(1000);
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    const std::array bytes{memory(300), ordinary(300)};
    const std::array inside{piece(bytes[0])};
    const std::array outside{piece(bytes[0]), piece(bytes[1])};
    fill(bytes[0], std::byte{0xee});
    for (const bool by_slot : {false, true}) {
        const File to = by_slot ? File(FileSlot(0)) : File(file);
        ASSERT_TRUE(io.writev(to, inside, 0, 1));
        ASSERT_TRUE(io.writev(to, outside, 0, 2));
        ASSERT_TRUE(io.readv(to, inside, 0, 3));
        ASSERT_TRUE(io.readv(to, inside, 0, 4, {.unregistered = true}));
        EXPECT_EQ(io.counters().fixed + io.counters().unregistered, 4U);
        std::vector<Token> tokens;
        while (const auto token = io.withdraw()) tokens.push_back(*token);
        std::sort(tokens.begin(), tokens.end());
        EXPECT_EQ(tokens, (std::vector<Token>{1, 2, 3, 4}));
        expect_transfers(0, 0);
    }
    EXPECT_EQ(run(io.nop(5)), 0);
    EXPECT_EQ(first_wrong(), -1);
    EXPECT_TRUE(holds_only(bytes[0], std::byte{0xee}));
}

TEST_P(RangesTest, ABadDescriptorAndBadMemoryOfPiecesAreTheKernelsToRefuse) {
    const Fd file = file_of(1000);
    const Fd reads(::open(dir.file("f").c_str(), O_RDONLY | O_CLOEXEC));
    const auto bytes = memory(100);
    const std::array pieces{piece(bytes), piece(bytes)};
    EXPECT_EQ(run(io.readv(not_open, pieces, 0, 1)), -EBADF);
    EXPECT_EQ(run(io.writev(-1, pieces, 0, 2)), -EBADF);
    EXPECT_EQ(run(io.writev(reads, pieces, 0, 3)), -EBADF);
    const std::array nowhere{piece(bytes), piece({reinterpret_cast<std::byte*>(8), 100})};
    const std::int32_t partly = run(io.readv(file, nowhere, 0, 4));
    EXPECT_TRUE(partly == 100 || partly == -EFAULT) << partly;
    const std::array all_nowhere{piece({reinterpret_cast<std::byte*>(8), 100})};
    EXPECT_EQ(run(io.readv(file, all_nowhere, 0, 5)), -EFAULT);
}

// --- How a transfer is done -----------------------------------------------------------------------------------------

TEST_P(RangesTest, AWriteThatAppendsGoesToTheEndWhateverItsOffset) {
    const Fd file = file_of(100);
    const auto bytes = memory(50);
    fill_pattern(bytes, 100);
    EXPECT_EQ(run(io.write(file, bytes, 0, 1, {.append = true})), 50);
    fill_pattern(bytes, 150);
    const std::array pieces{piece(bytes.first(20)), piece(bytes.subspan(20))};
    EXPECT_EQ(run(io.writev(file, pieces, 7, 2, {.append = true})), 50);
    EXPECT_EQ(size_of(), 200U);
    EXPECT_EQ(first_wrong(), -1);
}

TEST_P(RangesTest, ATransferThatMustNotWaitDoesNot) {
    const Pipe pipe;
    const auto bytes = memory(10);
    const std::array pieces{piece(bytes)};
    // Linux before 6.4 cannot say so of a pipe.
    const auto expect_refusal = [](std::int32_t res) { EXPECT_TRUE(res == -EAGAIN || res == -EOPNOTSUPP) << res; };
    expect_refusal(run(io.read(pipe.read_end, bytes, UINT64_MAX, 1, {.nowait = true})));
    expect_refusal(run(io.readv(pipe.read_end, pieces, UINT64_MAX, 2, {.nowait = true})));
    ASSERT_EQ(::write(pipe.write_end, "abc", 3), 3);
    const std::int32_t got = run(io.read(pipe.read_end, bytes, UINT64_MAX, 3, {.nowait = true}));
    EXPECT_TRUE(got == 3 || got == -EOPNOTSUPP) << got;
}

TEST_P(RangesTest, AWriteThatIsDurableIsThere) {
    const Fd file = file_of(0);
    const auto bytes = memory(3000);
    fill_pattern(bytes, 0);
    const std::array pieces{piece(bytes.subspan(2000))};
    EXPECT_EQ(run(io.write(file, bytes.first(1000), 0, 1, {.dsync = true})), 1000);
    EXPECT_EQ(run(io.write(file, bytes.subspan(1000, 1000), 1000, 2, {.sync = true})), 1000);
    EXPECT_EQ(run(io.writev(file, pieces, 2000, 3, {.dsync = true, .sync = true})), 1000);
    EXPECT_EQ(size_of(), 3000U);
    EXPECT_EQ(first_wrong(), -1);
}

TEST_P(RangesTest, ATransferThatLeavesNothingCachedWorksOrIsRefused) {
    const Fd file = file_of(0);
    const auto bytes = memory(8192);
    fill_pattern(bytes, 0);
    const std::int32_t written = run(io.write(file, bytes, 0, 1, {.uncached = true}));
    EXPECT_TRUE(written == 8192 || written == -EOPNOTSUPP) << written;
    EXPECT_EQ(size_of(), written < 0 ? 0U : 8192U);
    EXPECT_EQ(first_wrong(), -1);
    if (written < 0) return;
    fill(bytes, std::byte{0});
    EXPECT_EQ(run(io.read(file, bytes, 0, 2, {.uncached = true})), 8192);
    EXPECT_EQ(find_wrong(bytes, 0), -1);
}

TEST_P(RangesTest, AnAtomicWriteOfABufferedFileIsRefused) {
    const Fd file = file_of(4096);
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    const auto bytes = memory(4096);
    for (const File to : {File(file), File(FileSlot(0))}) {
        const std::int32_t written = run(io.write(to, bytes, 0, 1, {.atomic = true}));
        EXPECT_TRUE(written == -EOPNOTSUPP || written == -EINVAL) << written;
    }
    EXPECT_EQ(first_wrong(), -1);
    EXPECT_EQ(run(io.write(FileSlot(0), bytes, 0, 2)), 4096) << "another is not refused for it";
}

TEST_P(RangesTest, ATransferHasAPriorityThatTheKernelKnows) {
    const Fd file = file_of(1000);
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    const auto bytes = memory(1000);
    const std::array pieces{piece(bytes.first(400)), piece(bytes.subspan(400))};
    for (const File at : {File(file), File(FileSlot(0))}) {
        for (const std::uint16_t priority : {Priority::best_effort(0), Priority::best_effort(3),
                                             Priority::best_effort(7), Priority::idle(), std::uint16_t{0}}) {
            const How how{.priority = priority};
            EXPECT_EQ(run(io.read(at, bytes, 0, 1, how)), 1000) << priority;
            EXPECT_EQ(run(io.write(at, bytes, 0, 2, how)), 1000) << priority;
            EXPECT_EQ(run(io.readv(at, pieces, 0, 3, how)), 1000) << priority;
            EXPECT_EQ(run(io.writev(at, pieces, 0, 4, how)), 1000) << priority;
        }
        for (const std::uint16_t nonsense : {std::uint16_t{0xffff}, std::uint16_t{4 << 13}}) {
            const How how{.priority = nonsense};
            EXPECT_EQ(run(io.read(at, bytes, 0, 1, how)), -EINVAL) << nonsense;
            EXPECT_EQ(run(io.write(at, bytes, 1000, 2, how)), -EINVAL) << nonsense;
            EXPECT_EQ(run(io.readv(at, pieces, 0, 3, how)), -EINVAL) << nonsense;
            EXPECT_EQ(run(io.writev(at, pieces, 1000, 4, how)), -EINVAL) << nonsense;
        }
    }
    EXPECT_EQ(first_wrong(), -1);
    EXPECT_EQ(size_of(), 1000U);
}

TEST_P(RangesTest, ATransferInTheArenaMayBeUnregisteredAllTheSame) {
    const Fd file = file_of(1000);
    const auto bytes = memory(1000);
    EXPECT_EQ(run(io.read(file, bytes, 0, 1, {.unregistered = true})), 1000);
    EXPECT_EQ(find_wrong(bytes, 0), -1);
    EXPECT_EQ(run(io.write(file, bytes, 0, 2, {.unregistered = true})), 1000);
    expect_transfers(0, 2);
    EXPECT_EQ(run(io.read(file, bytes, 0, 3)), 1000);
    expect_transfers(with_arena ? 1 : 0, with_arena ? 2 : 3);
}

TEST_P(RangesTest, WhatIsOfTransfersAloneIsRefusedOfAllElseAndNothingIsDone) {
    const Fd file = file_of(1000);
    const Fd kept(::dup(file));
    const auto opened = file_of(10, "opened");
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    std::filesystem::create_directory(dir.file("d"));
    const std::string path = dir.file("f");
    const std::string directory = dir.file("d");
    const std::string fresh = dir.file("fresh");
    const OpenOptions create{.write = true, .create = true};
    struct ::statx out {};
    std::vector<std::byte> page(8192, std::byte{1});
    using Operation = std::function<bool(How)>;
    std::vector<std::pair<const char*, Operation>> operations = {
        {"fsync", [&](How how) { return io.fsync(file, 1, how); }},
        {"fdatasync", [&](How how) { return io.fdatasync(FileSlot(0), 1, how); }},
        {"open", [&](How how) { return io.open(fresh, create, 1, how); }},
        {"open with resolve", [&](How how) { return io.open(path, {.resolve = 4}, 1, how); }},
        {"open into a slot", [&](How how) { return io.open(fresh, create, FileSlot(1), 1, how); }},
        {"close", [&](How how) { return io.close(kept, 1, how); }},
        {"close of a slot", [&](How how) { return io.close(FileSlot(0), 1, how); }},
        {"unlink", [&](How how) { return io.unlink(path, 1, how); }},
        {"rmdir", [&](How how) { return io.rmdir(directory, 1, how); }},
        {"rename", [&](How how) { return io.rename(path, fresh, 1, how); }},
        {"exchange", [&](How how) { return io.rename(path, directory, Rename::exchange, 1, how); }},
        {"statx", [&](How how) { return io.statx(path, out, 1, Io::statx_default, how); }},
        {"statx with options", [&](How how) { return io.statx(path, out, 1, StatxOptions{}, how); }},
        {"statx of a descriptor", [&](How how) { return io.statx(file, out, 1, Io::statx_default, how); }},
        {"fallocate", [&](How how) { return io.fallocate(file, 0, 0, 5000, 1, how); }},
        {"sync_range", [&](How how) { return io.sync_range(file, 0, 0, 1, Io::sync_range_whole, how); }},
        {"advise", [&](How how) { return io.advise(file, 0, 0, POSIX_FADV_NORMAL, 1, how); }},
        {"advise of memory", [&](How how) { return io.advise(page, MADV_NORMAL, 1, how); }},
        {"timer", [&](How how) { return io.timer(24h, 1, how); }},
        {"cancel", [&](How how) { return io.cancel(7, 1, how); }},
    };
    const Features& features = io.features();
    // Linux older than 5.19 looks at none of it.
    if (features.has(abi::Op::fsetxattr)) {
        operations.emplace_back("nop", [&](How how) { return io.nop(1, how); });
        operations.emplace_back("cancel_file", [&](How how) { return io.cancel_file(file, 1, how); });
        operations.emplace_back("cancel_all", [&](How how) { return io.cancel_all(1, how); });
    }
    if (features.has(abi::Op::mkdirat)) {
        operations.emplace_back("mkdir", [&](How how) { return io.mkdir(fresh, 0700, 1, how); });
        operations.emplace_back("link", [&](How how) { return io.link(path, fresh, 1, how); });
        operations.emplace_back("link of a descriptor", [&](How how) { return io.link(file, fresh, 1, how); });
        operations.emplace_back("symlink", [&](How how) { return io.symlink("f", fresh, 1, how); });
    }
    if (features.has(abi::Op::ftruncate))
        operations.emplace_back("truncate", [&](How how) { return io.truncate(file, 0, 1, how); });
    for (const auto& [name, operation] : operations) {
        for (const How& how : {How{.priority = Priority::best_effort(3)}, How{.priority = 0xffff}, How{.dsync = true},
                               How{.sync = true}, How{.nowait = true}, How{.append = true}, How{.atomic = true},
                               How{.uncached = true}, How{.unregistered = true}, How{.async = true, .append = true}})
            EXPECT_EQ(run(operation(how)), -EINVAL) << name;
    }
    EXPECT_FALSE(std::filesystem::exists(fresh));
    EXPECT_TRUE(std::filesystem::is_directory(directory));
    EXPECT_EQ(size_of(), 1000U);
    EXPECT_EQ(first_wrong(), -1);
    EXPECT_EQ(::fcntl(kept, F_GETFD) & ~FD_CLOEXEC, 0) << "it is open still";
    EXPECT_EQ(out.stx_mask, 0U);
    const auto bytes = memory(1000);
    EXPECT_EQ(run(io.read(FileSlot(0), bytes, 0, 1)), 1000) << "nor was the slot closed";
    EXPECT_EQ(run(io.read(FileSlot(1), bytes, 0, 1)), -EBADF) << "nor one filled";
}

// --- fallocate ------------------------------------------------------------------------------------------------------

TEST_P(RangesTest, RoomIsMadeInAFileWhichGrowsUnlessItIsToKeepItsSize) {
    const Fd file = file_of(1000);
    EXPECT_EQ(run(io.fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 1 << 20, 1)), 0);
    EXPECT_EQ(size_of(), 1000U);
    struct ::stat found {};
    ASSERT_EQ(::fstat(file, &found), 0);
    EXPECT_GE(found.st_blocks * 512, 1 << 20);
    EXPECT_EQ(run(io.fallocate(file, 0, 5000, 3000, 2)), 0);
    EXPECT_EQ(size_of(), 8000U);
    const auto content = read_file(dir.file("f"));
    EXPECT_EQ(find_wrong(std::span(content).first(1000), 0), -1);
    EXPECT_TRUE(holds_only(std::span(content).subspan(1000), std::byte{0}));
    EXPECT_EQ(run(io.fallocate(file, 0, 0, 100, 3)), 0);
    EXPECT_EQ(size_of(), 8000U) << "nothing makes it shorter";
}

TEST_P(RangesTest, AHoleGivesItsBlocksBackAndReadsAsZeros) {
    const Fd file = file_of(1 << 20);
    ASSERT_EQ(::fsync(file), 0);
    struct ::stat before {};
    struct ::stat after {};
    ASSERT_EQ(::fstat(file, &before), 0);
    constexpr int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    EXPECT_EQ(run(io.fallocate(file, hole, 1 << 18, 1 << 19, 1)), 0);
    ASSERT_EQ(::fstat(file, &after), 0);
    EXPECT_LE(after.st_blocks, before.st_blocks - (1 << 19) / 512);
    EXPECT_EQ(after.st_size, before.st_size);
    const auto content = read_file(dir.file("f"));
    const std::span<const std::byte> bytes(content);
    EXPECT_EQ(find_wrong(bytes.first(1 << 18), 0), -1);
    EXPECT_TRUE(holds_only(bytes.subspan(1 << 18, 1 << 19), std::byte{0}));
    EXPECT_EQ(find_wrong(bytes.subspan(3 << 18), 3 << 18), -1);
}

TEST_P(RangesTest, ARangeIsZeroedWhereTheFileSystemCanDoThat) {
    const Fd file = file_of(1 << 16);
    const std::int32_t zeroed = run(io.fallocate(file, FALLOC_FL_ZERO_RANGE, 4096, 8192, 1));
    EXPECT_TRUE(zeroed == 0 || zeroed == -EOPNOTSUPP) << zeroed;
    const auto content = read_file(dir.file("f"));
    EXPECT_EQ(content.size(), std::size_t{1 << 16});
    EXPECT_EQ(holds_only(std::span(content).subspan(4096, 8192), std::byte{0}), zeroed == 0);
    EXPECT_EQ(find_wrong(std::span(content).first(4096), 0), -1);
    EXPECT_EQ(find_wrong(std::span(content).subspan(12288), 12288), -1);
}

TEST_P(RangesTest, RoomIsMadeBySlot) {
    const Fd file = file_of(10);
    ASSERT_TRUE(io.set_file(FileSlot(1), file));
    EXPECT_EQ(run(io.fallocate(FileSlot(1), 0, 0, 6000, 1)), 0);
    EXPECT_EQ(size_of(), 6000U);
    EXPECT_EQ(run(io.fallocate(FileSlot(0), 0, 0, 6000, 2)), -EBADF) << "an empty slot";
}

TEST_P(RangesTest, RoomIsRefusedForNonsenseAndLeavesTheFileAsItWas) {
    const Fd file = file_of(1000);
    const Fd reads(::open(dir.file("f").c_str(), O_RDONLY | O_CLOEXEC));
    const Pipe pipe;
    EXPECT_EQ(run(io.fallocate(file, 0, 0, 0, 1)), -EINVAL);
    for (const std::uint64_t beyond : {std::uint64_t{1} << 63, UINT64_MAX}) {
        EXPECT_EQ(run(io.fallocate(file, 0, 0, beyond, 1)), -EINVAL);
        EXPECT_EQ(run(io.fallocate(file, 0, beyond, 100, 1)), -EINVAL);
    }
    EXPECT_EQ(run(io.fallocate(file, 1 << 20, 0, 5000, 1)), -EOPNOTSUPP);
    EXPECT_EQ(run(io.fallocate(file, FALLOC_FL_PUNCH_HOLE, 0, 100, 1)), -EOPNOTSUPP) << "it would change the size";
    EXPECT_EQ(run(io.fallocate(reads, 0, 0, 5000, 1)), -EBADF);
    EXPECT_EQ(run(io.fallocate(not_open, 0, 0, 5000, 1)), -EBADF);
    EXPECT_EQ(run(io.fallocate(-1, 0, 0, 5000, 1)), -EBADF);
    EXPECT_EQ(run(io.fallocate(pipe.write_end, 0, 0, 5000, 1)), -ESPIPE);
    EXPECT_EQ(size_of(), 1000U);
    EXPECT_EQ(first_wrong(), -1);
}

// --- truncate -------------------------------------------------------------------------------------------------------

TEST_P(RangesTest, AFileIsMadeShorterAndLongerWithZeros) {
    const Fd file = file_of(5000);
    EXPECT_EQ(run(io.truncate(file, 700, 1)), 0);
    EXPECT_EQ(size_of(), 700U);
    EXPECT_EQ(first_wrong(), -1);
    EXPECT_EQ(run(io.truncate(file, 9000, 2)), 0);
    const auto content = read_file(dir.file("f"));
    ASSERT_EQ(content.size(), 9000U);
    EXPECT_EQ(find_wrong(std::span(content).first(700), 0), -1);
    EXPECT_TRUE(holds_only(std::span(content).subspan(700), std::byte{0}));
    EXPECT_EQ(run(io.truncate(file, (std::uint64_t{1} << 32) + 5, 3)), 0);
    EXPECT_EQ(size_of(), (std::uint64_t{1} << 32) + 5);
    EXPECT_EQ(run(io.truncate(file, 0, 4)), 0);
    EXPECT_EQ(size_of(), 0U);
}

TEST_P(RangesTest, OnlyAFileThatIsOpenForWritingIsTruncatedAndOnlyToASizeThatItMayHave) {
    const Fd file = file_of(1000);
    const Fd reads(::open(dir.file("f").c_str(), O_RDONLY | O_CLOEXEC));
    const Pipe pipe;
    EXPECT_EQ(run(io.truncate(pipe.write_end, 0, 1)), -EINVAL);
    EXPECT_EQ(run(io.truncate(reads, 0, 2)), -EINVAL);
    for (const std::uint64_t beyond : {std::uint64_t{1} << 63, UINT64_MAX})
        EXPECT_EQ(run(io.truncate(file, beyond, 3)), -EINVAL) << beyond;
    EXPECT_EQ(run(io.truncate(not_open, 0, 4)), -EBADF);
    EXPECT_EQ(run(io.truncate(-1, 0, 5)), -EBADF);
    EXPECT_EQ(size_of(), 1000U);
}

TEST_P(RangesTest, AFileIsTruncatedBySlotAndInAChain) {
    if (!io.features().has(abi::Op::ftruncate)) GTEST_SKIP() << "this kernel is itself older than 6_9";
    const Fd file = file_of(1000);
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    EXPECT_EQ(run(io.truncate(FileSlot(0), 300, 1)), 0);
    EXPECT_EQ(size_of(), 300U);
    EXPECT_EQ(run(io.truncate(FileSlot(1), 0, 2)), -EBADF) << "an empty slot";
    ASSERT_TRUE(io.truncate(file, 200, 1, {.link = true}));
    ASSERT_TRUE(io.truncate(FileSlot(0), 400, 2, {.link = true}));
    ASSERT_TRUE(io.truncate(file, 100, 3));
    for (const Completion& done : drain(io)) EXPECT_EQ(done.res, 0) << done.token;
    EXPECT_EQ(size_of(), 100U);
    EXPECT_EQ(first_wrong(), -1);
}

// --- sync_range, advise ---------------------------------------------------------------------------------------------

TEST_P(RangesTest, APartOfAFileIsWrittenBackAndNothingElseOfItChanges) {
    const Fd file = file_of(100'000);
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    const Pipe pipe;
    EXPECT_EQ(run(io.sync_range(file, 0, 0, 1)), 0) << "to the end of the file";
    EXPECT_EQ(run(io.sync_range(file, 4096, 8192, 2)), 0);
    EXPECT_EQ(run(io.sync_range(file, 0, 100'000, 3, SYNC_FILE_RANGE_WRITE)), 0);
    EXPECT_EQ(run(io.sync_range(file, std::uint64_t{1} << 40, UINT32_MAX, 4)), 0) << "beyond the end";
    EXPECT_EQ(run(io.sync_range(FileSlot(0), 0, 0, 5)), 0);
    EXPECT_EQ(first_wrong(), -1);
    EXPECT_EQ(run(io.sync_range(file, 0, too_long, 6)), -EINVAL);
    EXPECT_EQ(run(io.sync_range(file, 0, UINT64_MAX, 6)), -EINVAL);
    EXPECT_EQ(run(io.sync_range(file, 0, 0, 6, 1U << 10)), -EINVAL) << "no such flag";
    EXPECT_EQ(run(io.sync_range(file, UINT64_MAX, 100, 6)), -EINVAL);
    EXPECT_EQ(run(io.sync_range(pipe.write_end, 0, 0, 7)), -ESPIPE);
    EXPECT_EQ(run(io.sync_range(not_open, 0, 0, 8)), -EBADF);
    EXPECT_EQ(run(io.sync_range(-1, 0, 0, 9)), -EBADF);
    EXPECT_EQ(run(io.sync_range(FileSlot(1), 0, 0, 10)), -EBADF);
}

TEST_P(RangesTest, HowAFileWillBeUsedIsSaidWithoutChangingIt) {
    const Fd file = file_of(100'000);
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    ASSERT_EQ(::fsync(file), 0);
    for (const int advice : {POSIX_FADV_NORMAL, POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM, POSIX_FADV_WILLNEED,
                             POSIX_FADV_NOREUSE, POSIX_FADV_DONTNEED}) {
        EXPECT_EQ(run(io.advise(file, 0, 0, advice, 1)), 0) << advice;
        EXPECT_EQ(run(io.advise(FileSlot(0), 4096, 8192, advice, 2)), 0) << advice;
        EXPECT_EQ(run(io.advise(file, 0, UINT32_MAX, advice, 3)), 0) << advice;
    }
    EXPECT_EQ(first_wrong(), -1);
    const Pipe pipe;
    for (const int unknown : {999, -1}) EXPECT_EQ(run(io.advise(file, 0, 0, unknown, 4)), -EINVAL) << unknown;
    EXPECT_EQ(run(io.advise(file, 0, too_long, POSIX_FADV_DONTNEED, 5)), -EINVAL);
    EXPECT_EQ(run(io.advise(file, 0, UINT64_MAX, POSIX_FADV_DONTNEED, 5)), -EINVAL);
    EXPECT_EQ(run(io.advise(pipe.read_end, 0, 0, POSIX_FADV_NORMAL, 6)), -ESPIPE);
    EXPECT_EQ(run(io.advise(not_open, 0, 0, POSIX_FADV_NORMAL, 7)), -EBADF);
    EXPECT_EQ(run(io.advise(-1, 0, 0, POSIX_FADV_NORMAL, 8)), -EBADF);
    EXPECT_EQ(run(io.advise(FileSlot(1), 0, 0, POSIX_FADV_NORMAL, 9)), -EBADF);
}

TEST_P(RangesTest, MemoryThatIsNotNeededReadsAsZerosAfterwards) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const at = ::mmap(nullptr, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(at, MAP_FAILED);
    const std::span<std::byte> bytes(static_cast<std::byte*>(at), 4 * page);
    fill(bytes, std::byte{0xee});
    EXPECT_EQ(run(io.advise(bytes.subspan(page, 2 * page), MADV_DONTNEED, 1)), 0);
    EXPECT_TRUE(holds_only(bytes.first(page), std::byte{0xee}));
    EXPECT_TRUE(holds_only(bytes.subspan(page, 2 * page), std::byte{0}));
    EXPECT_TRUE(holds_only(bytes.subspan(3 * page), std::byte{0xee}));
    EXPECT_EQ(run(io.advise(bytes.first(0), MADV_DONTNEED, 2)), 0) << "of nothing, nothing";
    EXPECT_EQ(run(io.advise(bytes.subspan(1, page), MADV_DONTNEED, 3)), -EINVAL) << "not at a page";
    EXPECT_EQ(run(io.advise(bytes, 999, 4)), -EINVAL) << "unknown";
    // Nothing there is read.
    EXPECT_EQ(run(io.advise({bytes.data(), too_long}, MADV_DONTNEED, 5)), -EINVAL);
    EXPECT_TRUE(holds_only(bytes.first(page), std::byte{0xee}));
    ASSERT_EQ(::munmap(bytes.data() + page, page), 0);
    EXPECT_EQ(run(io.advise(bytes.subspan(page, page), MADV_DONTNEED, 6)), -ENOMEM);
    EXPECT_TRUE(holds_only(bytes.first(page), std::byte{0xee}));
    ::munmap(at, 4 * page);
}

// --- truncate on a kernel that lacks it -----------------------------------------------------------------------------

Io on_a_kernel_without_ftruncate(Kind kind, std::uint32_t entries) {
    const Intercept before_6_9([](Call& call) -> std::optional<long> {
        if (call.number != test::nr_register || call.args[1] != abi::register_probe) return std::nullopt;
        const long result = real(call);
        auto* const probe = reinterpret_cast<abi::Probe*>(call.args[2]);
        probe->ops[static_cast<std::uint8_t>(abi::Op::ftruncate)].flags = 0;
        return result;
    });
    return make_io(kind, {.entries = entries, .file_slots = 2});
}

class OldTruncateTest : public testing::TestWithParam<Kind> {
protected:
    using Outcome = std::pair<Token, std::int32_t>;
    [[nodiscard]] std::uint64_t size_now() const { return std::filesystem::file_size(dir.file("f")); }
    // What completes until nothing is in flight, in the order of tokens and results.
    std::vector<Outcome> outcomes(std::vector<Outcome> seen = {}) {
        for (const Completion& done : drain(io)) seen.emplace_back(done.token, done.res);
        std::sort(seen.begin(), seen.end());
        return seen;
    }
    static std::vector<Outcome> sorted(std::vector<Outcome> wanted) {
        std::sort(wanted.begin(), wanted.end());
        return wanted;
    }
    // Queues what may find no room for a moment, beside an SQPOLL thread.
    template <class Queue>
    void queue(std::vector<Outcome>& seen, Queue attempt) {
        while (!attempt())
            for (const Completion& done : io.poll()) seen.emplace_back(done.token, done.res);
    }
    void SetUp() override { write_file(dir.file("f"), std::vector<std::byte>(1000)); }

    TempDir dir;
    Fd file{::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    Fd reads{::open(dir.file("f").c_str(), O_RDONLY | O_CLOEXEC)};
    Io io = on_a_kernel_without_ftruncate(GetParam(), 32);
};
INSTANTIATE_TEST_SUITE_P(Modes, OldTruncateTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(OldTruncateTest, IsDoneBeforeTheCallReturnsAndCompletesAsEver) {
    EXPECT_FALSE(io.features().has(abi::Op::ftruncate));
    EXPECT_EQ(io.lacking(abi::Op::ftruncate).code(), EOPNOTSUPP);
    EXPECT_NE(io.lacking(abi::Op::ftruncate).message().find("IORING_OP_FTRUNCATE (6.9)"), std::string::npos);
    for (const std::uint64_t size : {10U, 5000U, 0U}) {
        const std::uint64_t enters = io.counters().enters;
        ASSERT_TRUE(io.truncate(file, size, 42 + size));
        EXPECT_EQ(size_now(), size);
        EXPECT_EQ(io.in_flight(), 1U);
        EXPECT_EQ(io.counters().enters, enters);
        EXPECT_EQ(outcomes(), (std::vector<Outcome>{{42 + size, 0}}));
    }
    EXPECT_EQ(result_of(io, io.truncate(file, 70, 1, {.async = true})), 0);
    EXPECT_EQ(size_now(), 70U);
    EXPECT_EQ(io.counters().submitted, 4U);
    EXPECT_EQ(io.counters().completed, 4U);
}

TEST_P(OldTruncateTest, AFailureIsTheCompletionsAndNoOthers) {
    const Pipe pipe;
    EXPECT_EQ(result_of(io, io.truncate(reads, 0, 1)), -EINVAL);
    EXPECT_EQ(result_of(io, io.truncate(pipe.write_end, 0, 2)), -EINVAL);
    EXPECT_EQ(result_of(io, io.truncate(file, UINT64_MAX, 3)), -EINVAL);
    EXPECT_EQ(result_of(io, io.truncate(not_open, 0, 4)), -EBADF);
    EXPECT_EQ(result_of(io, io.truncate(-1, 0, 5)), -EBADF);
    EXPECT_EQ(size_now(), 1000U);
    EXPECT_EQ(io.counters().submitted, 5U);
    EXPECT_EQ(result_of(io, io.truncate(file, 10, 6)), 0);
}

TEST_P(OldTruncateTest, AFailureLeavesWhatElseIsInFlightAsItIsWhateverItsToken) {
    for (int round = 0; round < 20; ++round) {
        const Pipe pipe;
        std::array<std::byte, 1> late{};
        std::array<std::byte, 100> bytes{};
        std::vector<Outcome> seen;
        queue(seen, [&] { return io.read(pipe.read_end, late, UINT64_MAX, 7); });
        queue(seen, [&] { return io.nop(7); });
        queue(seen, [&] { return io.nop(8); });
        queue(seen, [&] { return io.read(reads, bytes, 0, 7); });
        queue(seen, [&] { return io.truncate(not_open, 0, 7); });
        queue(seen, [&] { return io.fsync(file, 7); });
        queue(seen, [&] { return io.nop(7); });
        queue(seen, [&] { return io.truncate(file, 500, 7); });
        queue(seen, [&] { return io.truncate(reads, 0, 7); });
        queue(seen, [&] { return io.truncate(reads, 0, 9); });
        queue(seen, [&] { return io.nop(9); });
        queue(seen, [&] { return io.truncate(-1, 0, 8); });
        EXPECT_EQ(io.in_flight() + seen.size(), 12U);
        ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
        EXPECT_EQ(outcomes(seen), sorted({{7, 0},
                                          {7, 0},
                                          {7, 0},
                                          {7, 0},
                                          {7, 1},
                                          {7, 100},
                                          {7, -EBADF},
                                          {7, -EINVAL},
                                          {8, 0},
                                          {8, -EBADF},
                                          {9, 0},
                                          {9, -EINVAL}}));
        EXPECT_EQ(size_now(), 500U);
        EXPECT_EQ(io.counters().submitted, io.counters().completed);
    }
}

TEST_P(OldTruncateTest, AFailureIsFoundBehindAsManyCompletionsAsThereMayBe) {
    std::vector<Outcome> seen;
    std::vector<Outcome> wanted;
    const std::uint32_t most = io.features().cq_entries;
    for (std::uint32_t i = 0; i < most - 1; ++i) {
        queue(seen, [&] { return io.nop(i % 3, {.async = i % 5 == 0}); });
        wanted.emplace_back(i % 3, 0);
    }
    queue(seen, [&] { return io.truncate(not_open, 0, 2); });
    wanted.emplace_back(2, -EBADF);
    EXPECT_EQ(outcomes(seen), sorted(wanted));
}

TEST_P(OldTruncateTest, WorksFromTheBodyOfALoopOverCompletions) {
    std::vector<Outcome> seen;
    std::vector<Outcome> wanted;
    ASSERT_TRUE(io.nop(0));
    ASSERT_TRUE(io.nop(1));
    std::uint64_t begun = 0;
    while (io.in_flight() > 0) {
        for (const Completion& done : io.park()) {
            seen.emplace_back(done.token, done.res);
            if (begun == 300) continue;
            // One that fails, one that does not, and what is in flight with the same token.
            const Token token = ++begun % 4;
            if (io.nop(token)) wanted.emplace_back(token, 0);
            if (io.truncate(not_open, 0, token)) wanted.emplace_back(token, -EBADF);
            if (io.truncate(file, begun, token)) {
                wanted.emplace_back(token, 0);
                EXPECT_EQ(size_now(), begun);
            }
        }
    }
    wanted.emplace_back(0, 0);
    wanted.emplace_back(1, 0);
    EXPECT_EQ(begun, 300U);
    EXPECT_EQ(outcomes(seen), sorted(wanted));
    EXPECT_EQ(io.counters().submitted, wanted.size());
}

TEST_P(OldTruncateTest, ASlotAndAPlaceInAnOrderAreNotToBeHad) {
    // What is refused ends the whole chain there.
    if (!io.features().has(abi::Op::fsetxattr)) GTEST_SKIP() << "this kernel is itself older than 5_19";
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    EXPECT_EQ(result_of(io, io.truncate(FileSlot(0), 10, 1)), -EOPNOTSUPP);
    EXPECT_EQ(result_of(io, io.truncate(FileSlot(1), 10, 1)), -EOPNOTSUPP);
    for (const How how : {How{.link = true}, How{.hard_link = true}, How{.drain = true}})
        EXPECT_EQ(result_of(io, io.truncate(file, 10, 1, how)), -EOPNOTSUPP);
    for (const How how : {How{.link = true}, How{.hard_link = true}}) {
        ASSERT_TRUE(io.nop(1, how));
        ASSERT_TRUE(io.truncate(file, 10, 2));
        EXPECT_EQ(outcomes(), (std::vector<Outcome>{{1, 0}, {2, -EOPNOTSUPP}}));
        ASSERT_TRUE(io.nop(1, how));
        ASSERT_TRUE(io.truncate(not_open, 10, 2));
        EXPECT_EQ(outcomes(), (std::vector<Outcome>{{1, 0}, {2, -EOPNOTSUPP}}));
    }
    ASSERT_TRUE(io.truncate(file, 10, 1, {.hard_link = true}));
    ASSERT_TRUE(io.nop(2));
    EXPECT_EQ(outcomes(), (std::vector<Outcome>{{1, -EOPNOTSUPP}, {2, 0}}));
    EXPECT_EQ(size_now(), 1000U) << "and nothing was done";
    // What was submitted alone has nothing linked to it any more.
    EXPECT_EQ(result_of(io, io.nop(1, {.link = true})), 0);
    EXPECT_EQ(result_of(io, io.truncate(file, 10, 2)), 0);
    EXPECT_EQ(size_now(), 10U);
}

// What a poller was shown is its to do: it is asked apart.
class OldTruncateUnenteredTest : public OldTruncateTest {};
INSTANTIATE_TEST_SUITE_P(Modes, OldTruncateUnenteredTest,
                         testing::Values(Kind{Mode::deferred}, Kind{Mode::plain}, Kind{Mode::deferred, Polling::busy},
                                         Kind{Mode::plain, Polling::hybrid}),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(OldTruncateUnenteredTest, WhereTheRingCannotBeEnteredAFailureIsNotTakenAndASuccessIs) {
    for (const bool used : {false, true}) {
        ASSERT_TRUE(!used || result_of(io, io.nop(100)) == 0);
        {
            const Intercept refused(refuse(test::nr_enter, -EPERM));
            EXPECT_FALSE(io.truncate(not_open, 0, 1));
            EXPECT_EQ(io.in_flight(), 0U);
            EXPECT_EQ(io.counters().submitted, io.counters().completed);
            // What was queued before stays, and is the next one's to submit.
            ASSERT_TRUE(io.nop(2));
            EXPECT_FALSE(io.truncate(reads, 0, 3));
            EXPECT_EQ(io.in_flight(), 1U);
            ASSERT_TRUE(io.truncate(file, 10, 4)) << "that needs no ring";
            EXPECT_EQ(size_now(), 10U);
            EXPECT_EQ(io.in_flight(), 2U);
        }
        EXPECT_EQ(outcomes(), (std::vector<Outcome>{{2, 0}, {4, 0}}));
        EXPECT_EQ(result_of(io, io.truncate(reads, 0, 5)), -EINVAL);
    }
}

class OldTruncateAsleepTest : public OldTruncateTest {};
INSTANTIATE_TEST_SUITE_P(Modes, OldTruncateAsleepTest,
                         testing::Values(Kind{Mode::sqpoll}, Kind{Mode::sqpoll, Polling::busy}),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(OldTruncateAsleepTest, WhereThePollerCannotBeWokenAFailureIsNotTakenOrItIsTheCompletions) {
    ASSERT_EQ(result_of(io, io.nop(100)), 0);
    until_asleep();
    bool taken = false;
    {
        const Intercept refused(refuse(test::nr_enter, -EPERM));
        taken = io.truncate(not_open, 0, 1);
    }
    EXPECT_EQ(io.in_flight(), taken ? 1U : 0U);
    EXPECT_EQ(outcomes(), taken ? (std::vector<Outcome>{{1, -EBADF}}) : (std::vector<Outcome>{}));
}

TEST_P(OldTruncateTest, WhatIsOfTransfersAloneIsRefusedOfItAndNothingIsDone) {
    for (const How how : {How{.priority = Priority::best_effort(3)}, How{.dsync = true}, How{.unregistered = true}})
        EXPECT_EQ(result_of(io, io.truncate(file, 10, 1, how)), -EINVAL);
    EXPECT_EQ(size_now(), 1000U);
}

TEST_P(OldTruncateTest, APlaceBehindADrainIsNotToBeHad) {
    const Pipe pipe;
    std::array<std::byte, 1> byte{};
    ASSERT_TRUE(io.read(pipe.read_end, byte, UINT64_MAX, 1));
    ASSERT_TRUE(io.nop(2, {.drain = true}));
    ASSERT_TRUE(io.truncate(file, 10, 3));
    EXPECT_EQ(size_now(), 1000U);
    ASSERT_TRUE(io.truncate(not_open, 10, 4));
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    EXPECT_EQ(outcomes(), (std::vector<Outcome>{{1, 1}, {2, 0}, {3, -EOPNOTSUPP}, {4, -EOPNOTSUPP}}));
    EXPECT_EQ(size_now(), 1000U);
}

}  // namespace
}  // namespace squall
