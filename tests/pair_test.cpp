// SPDX-License-Identifier: MIT
//
// Two rings behind one Io, call by call: how they are made, which ring is given what, what becomes of what the polled one
// refuses, and what a slot's change does to both. How they are bound and waited for is pair_park_test.cpp's; the kernel is
// user_kernel.hpp's, and what a real one polls is polling_test.cpp's.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "pair_fixture.hpp"

namespace squall {
namespace {

using namespace test;

// --- Making and unmaking --------------------------------------------------------------------------------------------

TEST_F(PairTest, TwoRingsAreMadeAndUnmadeWithTheseCalls) {
    BufferArena arena = make_arena({.count = 4});
    trace.take();
    trace.forget();
    {
        const Io made = make_io({.entries = 4, .arena = &arena, .file_slots = 2, .polling = Polling::busy});
        const std::string calls = trace.take();
        EXPECT_EQ(calls.substr(calls.find("m5 = ")),
                  "m5 = mmap 4096 read write private anonymous\n"
                  "madvise m5 4096 wipe-on-fork\n"
                  "ring2 = setup 8\n"
                  "m6 = mmap 672 read write shared populate of ring2 at 0x0\n"
                  "madvise m6 672 dont-fork\n"
                  "m7 = mmap 512 read write shared populate of ring2 at 0x10000000\n"
                  "madvise m7 512 dont-fork\n"
                  "m8 = mmap 65536 read write private anonymous noreserve\n"
                  "madvise m8 65536 dont-fork\n"
                  "register ring2 probe 256\n"
                  "register ring2 iowq-max-workers 2\n"
                  "pipe cloexec\n"
                  "register ring2 files 3\n"
                  "close pipe2.write\n"
                  "register ring2 buffers 1\n"
                  "m9 = mmap 4096 read write private anonymous\n"
                  "madvise m9 4096 dont-fork\n"
                  "m10 = mmap 4096 read write private anonymous\n"
                  "madvise m10 4096 wipe-on-fork\n");
        EXPECT_EQ(made.features().fixed_regions, 1U);
    }
    EXPECT_EQ(trace.take(),
              "register ring2 unregister-buffers 0\n"
              "munmap m6 672\nmunmap m7 512\nmunmap m8 65536\nclose ring2\nclose pipe2.read\nmunmap m5 4096\n"
              "register ring1 unregister-buffers 0\n"
              "munmap m2 640\nmunmap m3 256\nmunmap m4 32768\nclose ring1\nclose pipe1.read\nmunmap m1 4096\n"
              "munmap m9 4096\nmunmap m10 4096\n");
}

TEST_F(PairTest, ThePolledRingIsMadeForAllThatMayBeInFlight) {
    constexpr std::uint32_t usual =
        abi::setup_cqsize | abi::setup_clamp | abi::setup_r_disabled | abi::setup_submit_all;
    constexpr std::uint32_t deferred = abi::setup_single_issuer | abi::setup_defer_taskrun | abi::setup_taskrun_flag;
    constexpr std::uint32_t sqpoll = abi::setup_single_issuer | abi::setup_sqpoll;
    struct Case {
        Mode mode;
        Polling polling;
        std::uint32_t flags;
    };
    for (const Case& test :
         {Case{Mode::deferred, Polling::busy, deferred},
          Case{Mode::deferred, Polling::hybrid, deferred | abi::setup_hybrid_iopoll},
          Case{Mode::plain, Polling::busy, 0}, Case{Mode::sqpoll, Polling::busy, sqpoll | abi::setup_attach_wq}}) {
        const Io made = make_io({.entries = 5, .completion_entries = 20, .mode = test.mode, .polling = test.polling});
        const std::size_t second = kernel.setups.size() - 1;
        EXPECT_EQ(kernel.setups[second].flags, usual | abi::setup_iopoll | test.flags) << "and an index array";
        EXPECT_EQ(kernel.setups[second - 1].flags & (abi::setup_iopoll | abi::setup_no_sqarray), abi::setup_no_sqarray);
        EXPECT_EQ(kernel.setup_entries[second - 1], 5U);
        EXPECT_EQ(kernel.setup_entries[second], 32U);
        EXPECT_EQ(kernel.setups[second].cq_entries, 32U);
        EXPECT_EQ(kernel.setups[second].wq_fd, static_cast<std::uint32_t>(companion().fd));
        EXPECT_EQ(kernel.setups[second - 1].wq_fd, 0U);
        const Features& given = made.features();
        EXPECT_EQ(given.sq_entries, 8U);
        EXPECT_EQ(given.cq_entries, 32U);
        EXPECT_EQ(given.setup_flags, kernel.setups[second - 1].flags);
        EXPECT_EQ(given.polled_setup_flags, kernel.setups[second].flags);
        EXPECT_EQ(given.polling, test.polling);
    }
}

TEST_F(PairTest, HybridPollingIsTheFirstToBeGivenUp) {
    kernel.unknown_flags = abi::setup_hybrid_iopoll;
    const Io made = make_io({.entries = 4, .polling = Polling::hybrid});
    ASSERT_EQ(kernel.setups.size(), 3U);
    EXPECT_EQ(kernel.setups[2].flags, kernel.setups[1].flags & ~abi::setup_hybrid_iopoll);
    EXPECT_EQ(made.features().polling, Polling::busy);
    const auto refused = Io::create({.entries = 4, .polling = static_cast<Polling>(3)});
    EXPECT_EQ(refused.error().message(),
              "Io::create: polling is 3: EINVAL (Invalid argument): it must be one of squall::Polling's");
}

TEST_F(PairTest, AtMost32768MayBeInFlight) {
    EXPECT_EQ(make_io({.entries = 16384, .polling = Polling::busy}).features().cq_entries, 32768U);
    const std::uint64_t mapped = bytes_mapped();
    const auto refused = Io::create({.entries = 16385, .polling = Polling::busy});
    EXPECT_EQ(refused.error().message(),
              "Io::create: completion_entries comes to 65536: EINVAL (Invalid argument): with polling it must be at "
              "most 32768, "
              "and so entries at most half of that if it is 0");
    EXPECT_EQ(bytes_mapped(), mapped);
}

TEST_F(PairTest, WhatCouldNotBeMappedForBothRingsIsNamed) {
    // The companion, the polled ring, what is in flight, and the front, each refused at its first call.
    const char* const named[] = {"mapping 4096 bytes for the ring's state", "mapping 4096 bytes for the ring's state",
                                 "mapping 4096 bytes for what is in flight in two rings",
                                 "mapping 4096 bytes for the ring's state"};
    const int first_calls[] = {0, 4, 8, 9};
    for (int which = 0; which < 4; ++which) {
        const std::uint64_t mapped = bytes_mapped();
        int maps = 0;
        kernel.on_other_call = [&](Call& call) -> std::optional<long> {
            return call.number == SYS_mmap && maps++ == first_calls[which] ? std::optional<long>(-ENOMEM)
                                                                           : std::nullopt;
        };
        const auto made = Io::create({.entries = 4, .polling = Polling::busy});
        ASSERT_FALSE(made) << which;
        EXPECT_EQ(made.error().doing(), std::string("Io::create: ") + named[which]);
        EXPECT_EQ(made.error().code(), ENOMEM);
        EXPECT_EQ(bytes_mapped(), mapped);
    }
    kernel.on_other_call = [this](Call& call) -> std::optional<long> {
        if (call.number != SYS_madvise || call.args[2] != MADV_DONTFORK ||
            trace.take().find("m9 = ") == std::string::npos)
            return std::nullopt;
        return -EAGAIN;
    };
    trace.take();
    trace.forget();
    EXPECT_EQ(Io::create({.entries = 4, .polling = Polling::busy}).error().doing(),
              "Io::create: madvise(MADV_DONTFORK)");
}

// --- Which ring is given what ---------------------------------------------------------------------------------------

TEST_F(PairTest, TransfersOfASlotArePolledAndAllElseIsNot) {
    begin();
    struct ::statx out {};
    ASSERT_TRUE(read(1));
    ASSERT_TRUE(write(2));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 2 0 getevents registered\n");
    ASSERT_TRUE(io->read(0, memory, 0, 3));
    ASSERT_TRUE(io->fsync(file, 4));
    ASSERT_TRUE(io->statx(0, out, 5));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 0 0 getevents registered\nenter 7 3 0 registered\n");
    ASSERT_TRUE(io->read(FileSlot(0), memory, 0, 6)) << "an empty slot";
    ASSERT_TRUE(io->read(FileSlot(7), memory, 0, 7)) << "no slot at all";
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 0 0 getevents registered\nenter 7 2 0 registered\n");
    complete(polled(), {1, 2});
    complete(companion(), {3, 4, 5, 6, 7});
    EXPECT_EQ(results(io->poll()), (Results{{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}, {7, 7}}));
    EXPECT_EQ(io->counters().polled, counters.polled + 2);
    EXPECT_EQ(io->counters().poll_refused, 0U);
    EXPECT_EQ(io->counters().enters, counters.enters + 6);
    trace.take();
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "") << "nothing is in flight";
}

TEST_F(PairTest, APolledOperationIsTheSqeThatASingleRingWouldGet) {
    begin();
    ASSERT_TRUE(io->write(file, memory, 4096, UINT64_MAX));
    EXPECT_TRUE(io->poll().empty());
    const abi::Sqe& sqe = polled().consumed.back();
    EXPECT_EQ(sqe.opcode, static_cast<std::uint8_t>(abi::Op::write));
    EXPECT_EQ(sqe.flags, abi::sqe_fixed_file);
    EXPECT_EQ(sqe.fd, 2);
    EXPECT_EQ(sqe.off, 4096U);
    EXPECT_EQ(sqe.addr, reinterpret_cast<std::uintptr_t>(memory.data()));
    EXPECT_EQ(sqe.len, 16U);
    complete(polled(), {16});
    EXPECT_EQ(results(io->poll()), (Results{{UINT64_MAX, 16}}));
}

TEST_F(PairTest, SlotsOfThePolledRingAreReusedInAnyOrder) {
    begin();
    // Three in flight; the middle one completes first, and its place is the next one's.
    for (Token token = 1; token <= 3; ++token) ASSERT_TRUE(io->read(file, memory, token, token));
    EXPECT_TRUE(io->poll().empty());
    auto& consumed = polled().consumed;
    const std::size_t from = consumed.size() - 3;
    polled().post(consumed[from + 1].user_data, 20);
    EXPECT_EQ(results(io->poll()), (Results{{2, 20}}));
    for (Token token = 4; token <= 6; ++token) ASSERT_TRUE(io->read(file, memory, token, token));
    EXPECT_TRUE(io->poll().empty());
    ASSERT_EQ(consumed.size(), from + 6);
    for (std::size_t i : {0U, 2U, 3U, 4U, 5U})
        polled().post(consumed[from + i].user_data, static_cast<std::int32_t>(i));
    for (std::size_t i = 0; i < 6; ++i)
        EXPECT_EQ(consumed[from + i].off, i + 1) << "in the order in which they were queued";
    EXPECT_EQ(results(io->poll()), (Results{{1, 0}, {3, 2}, {4, 3}, {5, 4}, {6, 5}}));
}

// --- Refusals -------------------------------------------------------------------------------------------------------

TEST_F(PairTest, WhatThePolledRingRefusesIsSentToTheOtherAtOnce) {
    begin();
    ASSERT_TRUE(io->read(file, memory, 4096, 10));
    kernel.on_enter = [this](const Enter& enter) -> std::optional<long> {
        const long count = swallow(enter);
        if (&asked(enter) == &polled() && enter.to_submit > 0) complete(polled(), {-EOPNOTSUPP});
        return count;
    };
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\nenter 7 1 0 registered\n");
    EXPECT_EQ(std::memcmp(&polled().consumed.back(), &companion().consumed.back(), sizeof(abi::Sqe)), 0);
    EXPECT_EQ(io->counters().poll_refused, 1U);
    EXPECT_EQ(io->counters().polled, counters.polled);
    expect_conserved();
    EXPECT_EQ(io->in_flight(), 1U);
    complete(companion(), {16});
    EXPECT_EQ(results(io->poll()), (Results{{10, 16}}));
    trace.take();
    // That direction is not tried again, the other is.
    ASSERT_TRUE(read(11));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 7 1 0 registered\n");
    ASSERT_TRUE(write(12));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\nenter 7 1 0 registered\n");
    complete(companion(), {1, 2});
    EXPECT_EQ(results(io->poll()), (Results{{11, 1}, {12, 2}}));
    // Until another file comes into the slot.
    ASSERT_TRUE(io->set_file(file, 0));
    trace.take();
    kernel.on_enter = nullptr;
    ASSERT_TRUE(read(13));
    EXPECT_EQ(results(io->poll()), (Results{{13, 0}}));
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\n");
}

TEST_F(PairTest, AnErrorThatIsNoRefusalIsDelivered) {
    begin();
    for (const std::int32_t error : {-EIO, -EINVAL, -EAGAIN, -ENOTSUP + 1}) {
        ASSERT_TRUE(read(1));
        EXPECT_TRUE(io->poll().empty());
        complete(polled(), {error});
        EXPECT_EQ(results(io->poll()), (Results{{1, error}}));
    }
    EXPECT_EQ(io->counters().poll_refused, 0U);
}

TEST_F(PairTest, RefusalsThatTheOtherRingHasNoRoomForWaitForIt) {
    begin();
    for (Token token = 1; token <= 4; ++token) ASSERT_TRUE(io->read(file, memory, token, token));
    EXPECT_TRUE(io->poll().empty());
    for (Token token = 5; token <= 7; ++token) ASSERT_TRUE(io->nop(token));
    // The companion's SQ has room for one of the four.
    kernel.on_enter = [this](const Enter& enter) -> std::optional<long> {
        if (&asked(enter) == &companion()) return -EAGAIN;
        return swallow(enter);
    };
    complete(polled(), {-EOPNOTSUPP, -EOPNOTSUPP, -EOPNOTSUPP, -EOPNOTSUPP});
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(io->counters().poll_refused, 1U);
    expect_conserved();
    EXPECT_EQ(io->in_flight(), 7U);
    kernel.on_enter = [this](const Enter& enter) { return std::optional<long>(swallow(enter)); };
    EXPECT_TRUE(io->poll().empty());
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(io->counters().poll_refused, 4U);
    auto& consumed = companion().consumed;
    ASSERT_GE(consumed.size(), 7U);
    for (std::size_t i = 0; i < 4; ++i)
        EXPECT_EQ(consumed[consumed.size() - 4 + i].off, i + 1) << "first come, first served";
    complete(companion(), {5, 6, 7, 1, 2, 3, 4});
    EXPECT_EQ(results(io->poll()), (Results{{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}, {7, 7}}));
}

// --- Room -----------------------------------------------------------------------------------------------------------

TEST_F(PairTest, TakesAsManyAsMayBeInFlightAndCountsWhatItRefuses) {
    begin();
    const std::uint32_t total = io->features().cq_entries;
    ASSERT_EQ(total, 8U);
    for (Token token = 0; token < 4; ++token) ASSERT_TRUE(io->nop(token));
    EXPECT_FALSE(io->nop(99)) << "the companion's SQ is full";
    EXPECT_EQ(io->counters().queue_full, 1U);
    for (Token token = 4; token < 8; ++token) ASSERT_TRUE(read(token)) << "the polled ring's is not";
    EXPECT_FALSE(read(99));
    EXPECT_FALSE(io->nop(99));
    EXPECT_EQ(io->counters().queue_full, 3U);
    EXPECT_TRUE(io->poll().empty());
    EXPECT_FALSE(io->nop(99)) << "the SQ has room, the CQ has not";
    complete(polled(), {0, 0});
    complete(companion(), {0});
    {
        const Completions held = io->poll();
        EXPECT_EQ(held.size(), 3U);
        EXPECT_FALSE(io->nop(99)) << "completions would be written over those that are being read";
    }
    for (Token token = 10; token < 13; ++token) ASSERT_TRUE(read(token));
    EXPECT_FALSE(read(99));
    EXPECT_EQ(io->in_flight(), 8U);
    expect_conserved();
    EXPECT_TRUE(io->poll().empty());
    complete(polled(), {0, 0, 0, 0, 0});
    complete(companion(), {0, 0, 0});
    EXPECT_EQ(io->poll().size(), 8U);
}

// --- File slots -----------------------------------------------------------------------------------------------------

TEST_F(PairTest, AFileIsPutIntoBothTables) {
    begin();
    std::vector<std::pair<int, abi::RsrcUpdate>> updates;
    std::vector<std::int32_t> files;
    int refused_by = -1;
    kernel.on_register = [&](const Register& what) -> std::optional<long> {
        if (what.code != abi::register_files_update) return std::nullopt;
        EXPECT_EQ(what.count, 1U);
        updates.emplace_back(what.fd, what.as<abi::RsrcUpdate>());
        files.push_back(*reinterpret_cast<const std::int32_t*>(updates.back().second.data));
        return what.fd == refused_by ? -EBADF : 1;
    };
    const auto set = [&](int fd) {
        updates.clear();
        files.clear();
        return io->set_file(FileSlot(2), fd);
    };
    EXPECT_TRUE(set(5));
    ASSERT_EQ(updates.size(), 2U);
    EXPECT_EQ(updates[0].first, companion().fd);
    EXPECT_EQ(updates[1].first, polled().fd);
    for (const auto& [ring, update] : updates) EXPECT_EQ(update.offset, 3U);
    EXPECT_EQ(files, (std::vector<std::int32_t>{5, 5}));
    EXPECT_TRUE(set(-7));
    EXPECT_EQ(files, (std::vector<std::int32_t>{-1, -1})) << "any negative number empties it";
    // What the companion does not take, the polled ring must not have.
    refused_by = companion().fd;
    EXPECT_EQ(set(5).error().code(), EBADF);
    EXPECT_EQ(set(5).error().doing(), "Io::set_file(slot 2, fd=5)");
    EXPECT_EQ(files, (std::vector<std::int32_t>{5, -1}));
    const auto expect_not_polled = [this] {
        ASSERT_TRUE(io->read(FileSlot(2), memory, 0, 1));
        trace.take();
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(trace.take(), "enter 7 1 0 registered\n");
        complete(companion(), {0});
        EXPECT_EQ(io->poll().size(), 1U);
    };
    expect_not_polled();
    // What the polled ring does not take is not polled, and no error.
    refused_by = polled().fd;
    EXPECT_TRUE(set(5));
    expect_not_polled();
    refused_by = -1;
    EXPECT_TRUE(set(-1));
    expect_not_polled();
    EXPECT_EQ(io->set_file(FileSlot(3), 5).error().code(), EINVAL);
}

TEST_F(PairTest, ASlotIsNotChangedWhileAPolledTransferMayBeSentAgain) {
    begin();
    ASSERT_TRUE(read(1));
    ASSERT_TRUE(read(2));
    const auto expect_busy = [this](bool busy) {
        const std::uint64_t full = io->counters().queue_full;
        const bool opened = io->open("/dev/null", {}, file, 20);
        EXPECT_EQ(opened, !busy);
        if (!busy) return;
        EXPECT_FALSE(io->close(file, 20));
        EXPECT_EQ(io->counters().queue_full, full + 2);
        const auto set = io->set_file(file, 0);
        EXPECT_EQ(
            set.error().message(),
            "Io::set_file(slot 1, fd=0): EBUSY (Device or resource busy): polled transfers are in flight on this slot: "
            "reap them first");
    };
    expect_busy(true);
    EXPECT_TRUE(io->poll().empty());
    complete(polled(), {-EOPNOTSUPP, 0});
    EXPECT_EQ(results(io->poll()), (Results{{2, 0}}));
    expect_busy(true);
    complete(companion(), {16});
    EXPECT_EQ(results(io->poll()), (Results{{1, 16}}));
    EXPECT_TRUE(io->close(FileSlot(0), 3)) << "another slot";
    trace.take();
    expect_busy(false);
    EXPECT_EQ(trace.take(), "register ring2 files-update 1\n") << "the polled ring's place is emptied";
    EXPECT_EQ(kernel.registers.back().fd, polled().fd);
    EXPECT_TRUE(io->poll().empty());
    complete(companion(), {0, -ENOENT});
    EXPECT_EQ(io->poll().size(), 2U);
}

TEST_F(PairTest, AFileOpenedIntoASlotIsOpenedOnceForBothTables) {
    begin();
    std::vector<std::pair<int, std::int32_t>> updates;
    std::map<int, long> answers;  // of the ring that refuses, if any
    kernel.on_register = [&](const Register& what) -> std::optional<long> {
        if (what.code != abi::register_files_update) return std::nullopt;
        EXPECT_EQ(what.as<abi::RsrcUpdate>().offset, 1U);
        updates.emplace_back(what.fd, *reinterpret_cast<const std::int32_t*>(what.as<abi::RsrcUpdate>().data));
        return answers.count(what.fd) != 0 ? answers[what.fd] : 1;
    };
    const auto open = [&](std::int32_t result) {
        updates.clear();
        EXPECT_TRUE(io->open("file", {.read = true}, FileSlot(0), 9));
        EXPECT_TRUE(io->poll().empty());
        const abi::Sqe& sqe = companion().consumed.back();
        EXPECT_EQ(sqe.file_index, 0U) << "the kernel would open it into one table";
        EXPECT_EQ(sqe.op_flags & ~std::uint32_t{O_LARGEFILE}, static_cast<std::uint32_t>(O_CLOEXEC));
        EXPECT_EQ(sqe.len, 0644U);
        complete(companion(), {result});
        return results(io->poll());
    };
    const auto expect_read_by = [this](const char* enter, UserKernel::Ring& ring) {
        ASSERT_TRUE(io->read(FileSlot(0), memory, 0, 1));
        trace.take();
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(trace.take(), enter);
        complete(ring, {0});
        EXPECT_EQ(io->poll().size(), 1U);
    };
    const char* const by_polled = "enter 8 1 0 getevents registered\n";
    const char* const by_companion = "enter 7 1 0 registered\n";
    const std::size_t descriptors = descriptors_now();
    int fd = ::dup(0);
    EXPECT_EQ(open(fd), (Results{{9, 0}}));
    EXPECT_EQ(descriptors_now(), descriptors) << "the tables hold it";
    EXPECT_EQ(updates, (std::vector<std::pair<int, std::int32_t>>{{companion().fd, fd}, {polled().fd, fd}}));
    expect_read_by(by_polled, polled());
    ::close(0);
    ASSERT_EQ(::dup(1), 0);
    EXPECT_EQ(open(0), (Results{{9, 0}})) << "a descriptor like any other";
    EXPECT_EQ(::fcntl(0, F_GETFD), -1) << "it was left open";
    EXPECT_EQ(::dup(1), 0);
    EXPECT_EQ(updates.back(), (std::pair<int, std::int32_t>{polled().fd, 0}));
    expect_read_by(by_polled, polled());

    EXPECT_EQ(open(-ENOENT), (Results{{9, -ENOENT}}));
    EXPECT_EQ(updates.size(), 1U) << "only the polled ring's place was emptied, when it was queued";
    expect_read_by(by_companion, companion());
    fd = ::dup(0);
    answers = {{companion().fd, -ENOMEM}};
    EXPECT_EQ(open(fd), (Results{{9, -ENOMEM}}));
    EXPECT_EQ(descriptors_now(), descriptors);
    EXPECT_EQ(updates.back(), (std::pair<int, std::int32_t>{polled().fd, -1}));
    expect_read_by(by_companion, companion());
    fd = ::dup(0);
    answers = {{polled().fd, -ENOMEM}};
    EXPECT_EQ(open(fd), (Results{{9, 0}})) << "it is open, and cannot be polled";
    expect_read_by(by_companion, companion());

    // Another file came into the slot meanwhile, and is being read.
    answers.clear();
    EXPECT_TRUE(io->open("file", {.read = true}, FileSlot(0), 9));
    EXPECT_TRUE(io->poll().empty());
    ASSERT_TRUE(io->set_file(FileSlot(0), 0));
    ASSERT_TRUE(io->read(FileSlot(0), memory, 0, 10));
    fd = ::dup(0);
    complete(companion(), {fd});
    updates.clear();
    EXPECT_EQ(results(io->poll()), (Results{{9, -EBUSY}}));
    EXPECT_EQ(updates.size(), 0U);
    EXPECT_EQ(descriptors_now(), descriptors);
    complete(polled(), {0});
    EXPECT_EQ(io->poll().size(), 1U);
}

TEST_F(PairTest, AnOpenIntoNoSlotIsLeftToTheKernelToRefuse) {
    begin();
    EXPECT_TRUE(io->open("file", {.read = true}, FileSlot(3), 9));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(companion().consumed.back().file_index, 5U);
    complete(companion(), {-EINVAL});
    EXPECT_EQ(results(io->poll()), (Results{{9, -EINVAL}}));
}

}  // namespace
}  // namespace squall
