// SPDX-License-Identifier: MIT
//
// Parts of an arena that are registered and given up while the Io is used: which transfers are fixed then, in every mode;
// what is refused, and what a kernel without them says. And one registration for both rings of an Io with polling.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "child.hpp"
#include "patience.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

constexpr std::size_t page = 4096;

class PartsTest : public testing::TestWithParam<Kind> {
protected:
    PartsTest() {
        std::vector<std::byte> content(16 * page);
        fill_pattern(content, 0);
        write_file(path, content);
        EXPECT_EQ(result_of(io, io.open(path, {.read = true, .write = true}, FileSlot(0), 1)), 0);
    }
    [[nodiscard]] std::span<std::byte> pages(std::size_t first, std::size_t count) const {
        return arena.memory().subspan(first * page, count * page);
    }
    // Reads into these bytes, which must then be the file's, and says whether that was fixed.
    bool reads_fixed(std::span<std::byte> into, How how = {}) {
        const std::uint64_t fixed = io.counters().fixed;
        const std::uint64_t unregistered = io.counters().unregistered;
        std::ranges::fill(into, std::byte{});
        EXPECT_EQ(result_of(io, io.read(FileSlot(0), into, page, 7, how)), static_cast<std::int32_t>(into.size()));
        EXPECT_EQ(find_wrong(into, page), -1);
        EXPECT_EQ(io.counters().fixed + io.counters().unregistered, fixed + unregistered + 1);
        return io.counters().fixed > fixed;
    }
    void expect_refused(const Result<void>& result, int code, const std::string& rule) {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code(), code);
        EXPECT_TRUE(contains(result.error().message(), rule)) << result.error().message();
    }

    TempDir dir;
    const std::string path = dir.file("f");
    BufferArena arena = make_arena({.buffer_size = page, .count = 64, .pages = Pages::base});
    Io io = make_io(GetParam(), {.entries = 8, .arena = &arena, .arena_parts = 4, .file_slots = 1});
};
INSTANTIATE_TEST_SUITE_P(Modes, PartsTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(PartsTest, TransfersAreFixedInAPartAndUnregisteredElsewhere) {
    EXPECT_FALSE(reads_fixed(pages(0, 1))) << "create registers nothing";
    ASSERT_TRUE(io.register_part(pages(8, 4)));
    EXPECT_TRUE(reads_fixed(pages(8, 1)));
    EXPECT_TRUE(reads_fixed(pages(11, 1)));
    EXPECT_TRUE(reads_fixed(pages(8, 4)));
    EXPECT_TRUE(reads_fixed(pages(9, 1).subspan(100, 7)));
    EXPECT_FALSE(reads_fixed(pages(7, 1)));
    EXPECT_FALSE(reads_fixed(pages(12, 1)));
    EXPECT_FALSE(reads_fixed(pages(7, 2))) << "half in it";
    EXPECT_FALSE(reads_fixed(pages(11, 2)));
    EXPECT_FALSE(reads_fixed(pages(9, 1), {.unregistered = true}));
    std::vector<std::byte> elsewhere(page);
    EXPECT_FALSE(reads_fixed(elsewhere));
    EXPECT_EQ(result_of(io, io.read(FileSlot(0), pages(9, 1).first(0), 0, 7)), 0) << "no bytes lie in no part";

    ASSERT_TRUE(io.register_part(pages(12, 2)));
    EXPECT_TRUE(reads_fixed(pages(12, 2)));
    EXPECT_FALSE(reads_fixed(pages(11, 2))) << "in two parts";
    ASSERT_TRUE(io.unregister_part(pages(8, 4)));
    EXPECT_FALSE(reads_fixed(pages(8, 1)));
    EXPECT_TRUE(reads_fixed(pages(13, 1)));
    ASSERT_TRUE(io.register_part(pages(8, 1))) << "another one in its place";
    EXPECT_TRUE(reads_fixed(pages(8, 1)));
    EXPECT_FALSE(reads_fixed(pages(9, 1)));
}

TEST_P(PartsTest, WritesAndPiecesAreFixedInAPartToo) {
    ASSERT_TRUE(io.register_part(pages(4, 4)));
    ASSERT_TRUE(io.register_part(pages(8, 4)));
    fill_pattern(pages(5, 1), 3 * page, 9);
    EXPECT_EQ(result_of(io, io.write(FileSlot(0), pages(5, 1), 3 * page, 1)), 4096);
    EXPECT_EQ(io.counters().fixed, 1U);
    const std::vector<std::byte> written = read_file(path);
    EXPECT_EQ(find_wrong(std::span(written).subspan(3 * page, page), 3 * page, 9), -1);
    const auto piece = [this](std::size_t number) { return iovec{pages(number, 1).data(), page}; };
    const struct ::iovec one_part[] = {piece(7), piece(4)};
    EXPECT_EQ(result_of(io, io.readv(FileSlot(0), one_part, 0, 2)), 8192);
    EXPECT_EQ(find_wrong(pages(7, 1), 0), -1);
    EXPECT_EQ(find_wrong(pages(4, 1), page), -1);
    const std::uint64_t with_pieces = io.features().has(abi::Op::readv_fixed) ? 2 : 1;
    EXPECT_EQ(io.counters().fixed, with_pieces);
    const struct ::iovec two_parts[] = {piece(7), piece(8)};
    EXPECT_EQ(result_of(io, io.readv(FileSlot(0), two_parts, 0, 2)), 8192);
    EXPECT_EQ(io.counters().fixed, with_pieces);
}

TEST_P(PartsTest, AQueueOfThemFillsUpAndGoesBackAsEver) {
    ASSERT_TRUE(io.register_part(pages(0, 1)));
    std::uint32_t queued = 0;
    while (queued < 1000 && io.read(FileSlot(0), pages(queued % 2, 1), 0, queued)) ++queued;
    EXPECT_GE(queued, 8U);
    EXPECT_LE(queued, io.features().cq_entries);
    EXPECT_EQ(io.counters().queue_full, 1U);
    EXPECT_EQ(io.counters().fixed, (queued + 1) / 2);
    EXPECT_EQ(io.counters().unregistered, queued / 2);
    while (io.withdraw()) {
    }
    EXPECT_EQ(io.counters().fixed, 0U);
    EXPECT_EQ(io.counters().unregistered, 0U);
    EXPECT_EQ(io.in_flight(), 0U);
    EXPECT_TRUE(reads_fixed(pages(0, 1)));
    EXPECT_EQ(result_of(io, io.nop(1)), 0);
    EXPECT_EQ(result_of(io, io.fsync(FileSlot(0), 1)), 0);
}

TEST_P(PartsTest, ATransferThatIsQueuedOnAPartWhichIsGivenUpFailsAndTouchesNothing) {
    ASSERT_TRUE(io.register_part(pages(8, 1)));
    ASSERT_TRUE(io.register_part(pages(9, 1)));
    std::ranges::fill(pages(8, 4), std::byte{7});
    if (GetParam().mode == Mode::sqpoll) return;  // which may have it by then
    // The file by its descriptor, so that it is the companion's with polling, too.
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    for (const bool another : {false, true}) {
        ASSERT_TRUE(io.read(file, pages(8, 1), 0, 1));
        ASSERT_TRUE(io.unregister_part(pages(8, 1)));
        // Where it was in the kernel's table.
        if (another) {
            ASSERT_TRUE(io.register_part(pages(10, 1)));
        }
        EXPECT_EQ(result_of(io, true), -EFAULT);
        for (const std::byte each : pages(8, 4)) ASSERT_EQ(each, std::byte{7});
        if (!another) {
            ASSERT_TRUE(io.register_part(pages(8, 1)));
        }
    }
    EXPECT_TRUE(reads_fixed(pages(9, 1)));
    EXPECT_TRUE(reads_fixed(pages(10, 1)));
}

TEST_P(PartsTest, WorkWithAllElseOfAnIo) {
    LatencyHistograms histograms;
    for (const bool checks : {false, true}) {
        Io own = make_io(GetParam(), {.entries = 8,
                                      .arena = &arena,
                                      .arena_parts = 2,
                                      .file_slots = 1,
                                      .sampling = {.every = 2, .histograms = &histograms},
                                      .checks = checks});
        Io moved = std::move(own);
        ASSERT_EQ(moved.run(1, [&](Token token) { return moved.open(path, {.read = true}, FileSlot(0), token); })->res,
                  0);
        ASSERT_TRUE(moved.register_part(pages(2, 2)));
        for (int round = 0; round < 10; ++round) {
            std::ranges::fill(pages(2, 2), std::byte{});
            EXPECT_EQ(moved.run(2, [&](Token token) { return moved.read(FileSlot(0), pages(2, 2), page, token); })->res,
                      8192);
            EXPECT_EQ(find_wrong(pages(2, 2), page), -1);
            auto whole = read_exact(FileSlot(0), pages(3, 3), 0, 3);
            EXPECT_TRUE(whole.run(moved));
            EXPECT_EQ(find_wrong(pages(3, 3), 0), -1);
        }
        EXPECT_EQ(moved.counters().fixed, 10U);
        EXPECT_EQ(moved.counters().unregistered, 10U);
        // A chain, of which one is fixed.
        while (!moved.has_room(2)) (void)moved.poll();
        ASSERT_TRUE(moved.read(FileSlot(0), pages(2, 1), 0, 4, {.link = true}));
        ASSERT_TRUE(moved.read(FileSlot(0), pages(5, 1), 0, 5));
        for (const Completion& done : drain(moved)) EXPECT_EQ(done.res, 4096);
    }
    EXPECT_GE(histograms[OpKind::read].count(), 20U);
}

TEST_P(PartsTest, WhatCannotBeAPartIsRefusedByName) {
    ASSERT_TRUE(io.register_part(pages(8, 4)));
    const std::string in_arena = "a part must have bytes, and lie in IoOptions::arena";
    expect_refused(io.register_part({}), EINVAL, in_arena);
    expect_refused(io.register_part(pages(8, 0)), EINVAL, in_arena);
    std::vector<std::byte> elsewhere(page);
    expect_refused(io.register_part(elsewhere), EINVAL, in_arena);
    expect_refused(io.register_part({arena.memory().data() + arena.memory().size() - page, 2 * page}), EINVAL,
                   in_arena);
    const std::string already = "some of it is registered already";
    for (const auto& [first, count] : {std::pair{8, 4}, {9, 1}, {7, 2}, {11, 2}, {0, 64}})
        expect_refused(io.register_part(pages(static_cast<std::size_t>(first), static_cast<std::size_t>(count))),
                       EINVAL, already);
    const std::string none = "no part was registered that is just that";
    for (const auto& [first, count] : {std::pair{8, 3}, {9, 3}, {7, 1}, {12, 1}})
        expect_refused(io.unregister_part(pages(static_cast<std::size_t>(first), static_cast<std::size_t>(count))),
                       ENOENT, none);
    // On both sides, the last first, so that the books are kept in order.
    ASSERT_TRUE(io.register_part(pages(12, 1)));
    ASSERT_TRUE(io.register_part(pages(7, 1)));
    ASSERT_TRUE(io.register_part(pages(0, 1)));
    expect_refused(io.register_part(pages(20, 1)), ENOBUFS, "as many are as IoOptions::arena_parts says");
    for (const std::size_t number : {0U, 7U, 8U, 11U, 12U}) EXPECT_TRUE(reads_fixed(pages(number, 1)));
    ASSERT_TRUE(io.unregister_part(pages(7, 1)));
    ASSERT_TRUE(io.register_part(pages(20, 1)));
    EXPECT_TRUE(reads_fixed(pages(20, 1)));
    EXPECT_FALSE(reads_fixed(pages(7, 1)));
    for (const std::size_t number : {0U, 8U, 12U, 20U}) EXPECT_TRUE(reads_fixed(pages(number, 1)));

    Io whole = make_io(GetParam(), {.entries = 2, .arena = &arena, .file_slots = 1});
    expect_refused(whole.register_part(pages(0, 1)), EINVAL, "IoOptions::arena_parts is 0");
    expect_refused(whole.unregister_part(pages(0, 1)), EINVAL, "IoOptions::arena_parts is 0");
    EXPECT_EQ(Io::create({.arena_parts = 1}).error().message(),
              "Io::create: arena_parts is 1: EINVAL (Invalid argument): there must be an arena that they are parts of");
    EXPECT_EQ(Io::create({.arena = &arena, .arena_parts = 16385}).error().message(),
              "Io::create: arena_parts is 16385: EINVAL (Invalid argument): it must be 0 to 16384");
}

TEST_P(PartsTest, AHugePartIsRefusedAndManyLeaseFreePartsOfAdoptedMemoryAreNot) {
    constexpr std::size_t gib = std::size_t{1} << 30;
    // Address space alone.
    void* const at =
        ::mmap(nullptr, 3 * gib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(at, MAP_FAILED);
    {
        const std::span<std::byte> memory(static_cast<std::byte*>(at), 3 * gib);
        BufferArena adopted = BufferArena::adopt(memory).value();
        Io own = make_io(GetParam(), {.entries = 2, .arena = &adopted, .arena_parts = 100, .file_slots = 1});
        expect_refused(own.register_part(memory.first(gib + 1)), EINVAL, "a part has at most 1 GiB");
        for (std::size_t i = 0; i < 100; ++i)
            ASSERT_TRUE(own.register_part(memory.subspan(i * 37 % 100 * (gib / 40), page)));
        ASSERT_EQ(result_of(own, own.open(path, {.read = true}, FileSlot(0), 1)), 0);
        for (std::size_t i = 0; i < 100; ++i) {
            const std::span<std::byte> part = memory.subspan(i * (gib / 40), page);
            ASSERT_EQ(result_of(own, own.read(FileSlot(0), part, page, 1)), 4096);
            ASSERT_EQ(find_wrong(part, page), -1) << i;
        }
        EXPECT_EQ(own.counters().fixed, 100U);
        for (std::size_t i = 0; i < 100; ++i)
            ASSERT_TRUE(own.unregister_part(memory.subspan(i * 13 % 100 * (gib / 40), page)));
        expect_refused(own.unregister_part(memory.first(page)), ENOENT, "no part");
    }
    ::munmap(at, 3 * gib);
}

TEST_P(PartsTest, WhatTheKernelRefusesChangesNothing) {
    // Nobody is to wait for what a ring of another test gives back.
    detail::locked_memory_returned = 0;
    const auto update_refused = [](long answer) {
        return Intercept::Answer([answer](Call& call) -> std::optional<long> {
            const bool is_update = call.number == nr_register && call.args[1] == abi::register_buffers_update;
            return is_update ? std::optional<long>(answer) : std::nullopt;
        });
    };
    {
        const Intercept none(update_refused(-ENOMEM));
        expect_refused(io.register_part(pages(0, 2)), ENOMEM, "Io::register_part(8192 bytes): ENOMEM");
    }
    EXPECT_FALSE(reads_fixed(pages(0, 1)));
    ASSERT_TRUE(io.register_part(pages(0, 2)));
    {
        const Intercept none(update_refused(-EFAULT));
        expect_refused(io.register_part(pages(2, 1)), EFAULT, "some of its memory is not mapped");
        expect_refused(io.unregister_part(pages(0, 2)), EFAULT, "Io::unregister_part(8192 bytes)");
    }
    EXPECT_TRUE(reads_fixed(pages(0, 1)));
    EXPECT_FALSE(reads_fixed(pages(2, 1)));
    if (GetParam().polling == Polling::none) return;
    // The polled ring's refusal takes back what the other did.
    int updates = 0;
    const Intercept second([&](Call& call) -> std::optional<long> {
        const bool is_update = call.number == nr_register && call.args[1] == abi::register_buffers_update;
        return is_update && ++updates == 2 ? std::optional<long>(-ENOMEM) : std::nullopt;
    });
    expect_refused(io.register_part(pages(2, 1)), ENOMEM, "");
    EXPECT_EQ(updates, 3);
    EXPECT_FALSE(reads_fixed(pages(2, 1)));
}

TEST_P(PartsTest, AKernelWithoutThemSaysSoAndOneThatHasNoMemoryForTheBooks) {
    {
        const Intercept old([](Call& call) -> std::optional<long> {
            if (call.number != nr_setup) return std::nullopt;
            const long fd = real(call);
            reinterpret_cast<abi::Params*>(call.args[1])->features &= ~abi::feat_rsrc_tags;
            return fd;
        });
        const auto made = Io::create({.arena = &arena, .arena_parts = 1});
        ASSERT_FALSE(made);
        EXPECT_EQ(made.error().code(), EOPNOTSUPP);
        EXPECT_TRUE(contains(made.error().message(), "registering parts of an arena (5.13)")) << made.error().message();
    }
    const Footprint before = footprint_now();
    for (const long number : {SYS_mmap, SYS_madvise}) {
        // The last of those that create makes.
        std::uint64_t calls = calls_made(number);
        { const Io ordinary = make_io(GetParam(), {.entries = 2, .arena = &arena, .arena_parts = 3}); }
        calls = calls_made(number) - calls;
        const Intercept last([&](Call& call) -> std::optional<long> {
            return call.number == number && --calls == 0 ? std::optional<long>(-ENOMEM) : std::nullopt;
        });
        const auto made = Io::create(
            {.entries = 2, .mode = GetParam().mode, .arena = &arena, .arena_parts = 3, .polling = GetParam().polling});
        ASSERT_FALSE(made);
        EXPECT_TRUE(contains(made.error().message(), "mapping memory for 3 parts")) << made.error().message();
    }
    EXPECT_EQ(footprint_now().descriptors, before.descriptors);
    EXPECT_EQ(footprint_now().bytes_mapped, before.bytes_mapped);
}

TEST_P(PartsTest, AreTheOwnersToChangeAndNotAForkedChilds) {
    const std::span<std::byte> part = pages(0, 1);
    in_child_alone([this, part] {
        EXPECT_EQ(io.register_part(part).error().code(), ESTALE);
        EXPECT_EQ(io.unregister_part(part).error().code(), ESTALE);
        EXPECT_FALSE(io.read(FileSlot(0), part, 0, 1));
    });
    if (GetParam().mode == Mode::plain) return;
    std::thread([this] {
        EXPECT_EQ(io.register_part(pages(0, 1)).error().code(), EEXIST);
        EXPECT_EQ(io.unregister_part(pages(0, 1)).error().code(), EEXIST);
    }).join();
}

TEST_P(PartsTest, BothRingsOfAnIoWithPollingShareOneRegistration) {
    if (GetParam().polling == Polling::none) return;
    std::uint64_t clones = 0;
    std::uint64_t registrations = 0;
    bool is_young = false;
    const Witness witness([&](const Call& call, long answer) {
        if (call.number != nr_register) return;
        registrations += call.args[1] == abi::register_buffers;
        if (call.args[1] != abi::register_clone_buffers) return;
        ++clones;
        is_young = answer >= 0;
    });
    Io own = make_io(GetParam(), {.entries = 2, .arena = &arena, .file_slots = 1});
    EXPECT_EQ(clones, 1U);
    const std::uint64_t expected = is_young ? 1 : 2;  // before 6.12 each has its own
    EXPECT_EQ(registrations, expected);
    if (own.features().has(abi::Op::readv_fixed)) {
        EXPECT_TRUE(is_young) << "which is younger (6.15)";
    }
    {
        // Where cloning is refused it is registered once more.
        const Intercept refused([](Call& call) -> std::optional<long> {
            const bool is_clone = call.number == nr_register && call.args[1] == abi::register_clone_buffers;
            return is_clone ? std::optional<long>(-EINVAL) : std::nullopt;
        });
        const Io old = make_io(GetParam(), {.entries = 2, .arena = &arena, .file_slots = 1});
    }
    EXPECT_EQ(registrations, expected + 2);
    ASSERT_EQ(result_of(own, own.open(path, {.read = true}, FileSlot(0), 1)), 0);
    EXPECT_EQ(result_of(own, own.read(FileSlot(0), pages(3, 1), page, 1)), 4096);
    EXPECT_EQ(find_wrong(pages(3, 1), page), -1);
    EXPECT_EQ(own.counters().fixed, 1U);
}

}  // namespace
}  // namespace squall
