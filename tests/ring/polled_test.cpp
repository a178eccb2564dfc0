// SPDX-License-Identifier: MIT
//
// Two rings behind one Io, call by call: how they are made, which ring is given what, and what becomes of what the polled
// one refuses. What a slot's change does to both is polled_slots_test.cpp's, how they are bound and waited for is
// polled_park_test.cpp's; the kernel is user_kernel.hpp's, and what a real one polls is polling_test.cpp's.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "polled_fixture.hpp"

namespace squall {
namespace {

using namespace test;

// --- Making and unmaking --------------------------------------------------------------------------------------------

TEST_F(PolledTest, TwoRingsAreMadeAndUnmadeWithTheseCalls) {
    BufferArena arena = make_arena({.count = 4});
    trace.take();
    trace.forget();
    {
        const Io made = make_io({.entries = 4, .arena = &arena, .file_slots = 2, .polling = Polling::busy});
        const std::string calls = trace.take();
        EXPECT_EQ(calls.substr(calls.find("ring2 = ")),
                  "ring2 = setup 8\n"
                  "m5 = mmap 672 read write shared populate of ring2 at 0x0\n"
                  "madvise m5 672 dont-fork\n"
                  "m6 = mmap 512 read write shared populate of ring2 at 0x10000000\n"
                  "madvise m6 512 dont-fork\n"
                  "m7 = mmap 65536 read write private anonymous noreserve\n"
                  "madvise m7 65536 dont-fork\n"
                  "register ring2 probe 256\n"
                  "register ring2 iowq-max-workers 2\n"
                  "pipe cloexec\n"
                  "register ring2 files 3\n"
                  "close pipe2.write\n"
                  "register ring2 clone-buffers 1\n"
                  "m8 = mmap 4096 read write private anonymous\n"
                  "madvise m8 4096 dont-fork\n");
        EXPECT_EQ(made.features().fixed_regions, 1U);
    }
    EXPECT_EQ(trace.take(),
              "register ring2 unregister-buffers 0\nregister ring2 unregister-files 0\n"
              "munmap m5 672\nmunmap m6 512\nmunmap m7 65536\nclose ring2\nclose pipe2.read\n"
              "register ring1 unregister-buffers 0\nregister ring1 unregister-files 0\n"
              "munmap m2 640\nmunmap m3 256\nmunmap m4 32768\nclose ring1\nclose pipe1.read\n"
              "munmap m8 4096\nmunmap m1 4096\n");
}

TEST_F(PolledTest, ThePolledRingIsMadeForAllThatMayBeInFlight) {
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

TEST_F(PolledTest, HybridPollingIsTheFirstToBeGivenUp) {
    kernel.unknown_flags = abi::setup_hybrid_iopoll;
    const Io made = make_io({.entries = 4, .polling = Polling::hybrid});
    ASSERT_EQ(kernel.setups.size(), 3U);
    EXPECT_EQ(kernel.setups[2].flags, kernel.setups[1].flags & ~abi::setup_hybrid_iopoll);
    EXPECT_EQ(made.features().polling, Polling::busy);
    const auto refused = Io::create({.entries = 4, .polling = static_cast<Polling>(3)});
    EXPECT_EQ(refused.error().message(),
              "Io::create: polling is 3: EINVAL (Invalid argument): it must be one of squall::Polling's");
}

TEST_F(PolledTest, AtMost32768MayBeInFlight) {
    EXPECT_EQ(make_io({.entries = 16384, .polling = Polling::busy}).features().cq_entries, 32768U);
    const std::uint64_t mapped = bytes_mapped();
    const auto refused = Io::create({.entries = 16385, .polling = Polling::busy});
    EXPECT_EQ(refused.error().message(),
              "Io::create: completion_entries comes to 65536: EINVAL (Invalid argument): with polling it must be at "
              "most 32768, "
              "and so entries at most half of that if it is 0");
    EXPECT_EQ(bytes_mapped(), mapped);
}

TEST_F(PolledTest, WhatCouldNotBeMappedForBothRingsIsNamed) {
    // The front, the companion, the polled ring, and what is in flight, each refused at its first call.
    const char* const named[] = {"mapping 4096 bytes for the ring's state", "mapping a ring of 4 SQ and 8 CQ entries",
                                 "mapping a ring of 8 SQ and 8 CQ entries",
                                 "mapping 4096 bytes for what is in flight in two rings"};
    const int first_calls[] = {0, 1, 4, 7};
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
            trace.take().find("m8 = ") == std::string::npos)
            return std::nullopt;
        return -EAGAIN;
    };
    trace.take();
    trace.forget();
    EXPECT_EQ(Io::create({.entries = 4, .polling = Polling::busy}).error().doing(),
              "Io::create: madvise(MADV_DONTFORK)");
}

// --- Which ring is given what ---------------------------------------------------------------------------------------

TEST_F(PolledTest, TransfersOfASlotArePolledAndAllElseIsNot) {
    begin();
    struct ::statx out {};
    ASSERT_TRUE(read(1));
    ASSERT_TRUE(write(2));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 2 0 getevents registered\n");
    ASSERT_TRUE(io->read(2, memory, 0, 3)) << "a descriptor with the number of the file's place";
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

TEST_F(PolledTest, APolledOperationIsTheSqeThatASingleRingWouldGet) {
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

TEST_F(PolledTest, FixedTransfersArePolledAndRefusedLikeOthers) {
    BufferArena arena = make_arena({.count = 1});
    io = make_io({.entries = entries, .arena = &arena, .file_slots = 3, .polling = Polling::busy});
    ASSERT_TRUE(io->set_file(file, 0));
    const auto queue = [&](bool read) {
        return read ? io->read(file, arena.memory(), 0, 1) : io->write(file, arena.memory(), 0, 1);
    };
    for (const bool refused : {false, true}) {
        for (const bool read : {true, false}) {
            ASSERT_TRUE(queue(read));
            kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
                const long count = swallow(enter);
                const bool polls = &asked(enter) == &polled();
                if (count > 0) complete(asked(enter), {polls && refused ? -EOPNOTSUPP : polls ? 1 : 2});
                return count;
            };
            EXPECT_EQ(results(io->poll()), (Results{{1, refused ? 2 : 1}}));
            EXPECT_EQ(polled().consumed.back().opcode,
                      static_cast<std::uint8_t>(read ? abi::Op::read_fixed : abi::Op::write_fixed));
        }
    }
    EXPECT_EQ(io->counters().poll_refused, 2U) << "either direction once";
    EXPECT_EQ(io->counters().fixed, 4U);
    ASSERT_TRUE(queue(true));
    ASSERT_TRUE(queue(false));
    kernel.on_enter = nullptr;
    EXPECT_EQ(io->poll().size(), 2U);
    EXPECT_EQ(polled().consumed.size(), 4U) << "and not again";
    io.reset();
}

TEST_F(PolledTest, CompletionsOfEitherRingAreHandedOutWithTheirFlags) {
    begin();
    for (const bool of_polled : {true, false}) {
        ASSERT_TRUE(of_polled ? read(5) : io->nop(5));
        EXPECT_TRUE(io->poll().empty());
        UserKernel::Ring& ring = of_polled ? polled() : companion();
        ring.post(ring.consumed.back().user_data, 3, 0x80000001);
        const Completions done = io->poll();
        ASSERT_EQ(done.size(), 1U);
        EXPECT_EQ(done.begin()->token, 5U);
        EXPECT_EQ(done.begin()->res, 3);
        EXPECT_EQ(done.begin()->flags, 0x80000001U);
    }
}

// Whatever is kept for the operations in flight has room for all of them, apart from the rest.
TEST_F(PolledTest, AllThatMayBeInFlightMayBeRefusedAtOnce) {
    constexpr std::uint32_t total = 512;
    constexpr std::uint32_t slots = 512;
    trace.take();
    trace.forget();
    io = make_io({.entries = total / 2, .file_slots = slots, .polling = Polling::busy});
    // A completion, a record and two numbers for each, and 8 bytes for each slot.
    EXPECT_NE(trace.take().find("m8 = mmap 28672 "), std::string::npos);
    for (std::uint32_t slot = 0; slot < slots; ++slot) ASSERT_TRUE(io->set_file(FileSlot(slot), 0));
    for (unsigned round = 0; round < 3; ++round) {
        for (Token token = 0; token < total; ++token)
            ASSERT_TRUE(io->read(FileSlot(static_cast<std::uint32_t>(token) % slots), memory, token, token));
        kernel.on_enter = [this](const Enter& enter) -> std::optional<long> {
            UserKernel::Ring& ring = asked(enter);
            const std::size_t before = ring.consumed.size();
            const std::uint32_t count = ring.consume(enter.to_submit);
            for (std::size_t i = before; i < ring.consumed.size(); ++i)
                ring.post(ring.consumed[i].user_data,
                          &ring == &polled() ? -EOPNOTSUPP : static_cast<std::int32_t>(ring.consumed[i].off));
            return count;
        };
        std::size_t seen = 0;
        for (int polls = 0; polls < 5; ++polls)
            for (const auto& [token, result] : results(io->poll()))
                seen += token == static_cast<Token>(result) ? 1U : 0U;
        EXPECT_EQ(seen, total);
        EXPECT_EQ(io->in_flight(), 0U);
        EXPECT_EQ(io->counters().poll_refused, (round + 1) * total);
        for (std::uint32_t slot = 0; slot < slots; ++slot) ASSERT_TRUE(io->set_file(FileSlot(slot), 0)) << slot;
    }
}

TEST_F(PolledTest, SlotsOfThePolledRingAreReusedInAnyOrder) {
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

// --- Order, and what is cancelled -----------------------------------------------------------------------------------

TEST_F(PolledTest, AChainIsTheCompanionsAndWhatComesBehindItIsPolledAgain) {
    begin();
    for (const How how : {How{.link = true}, How{.hard_link = true}}) {
        trace.take();
        ASSERT_TRUE(io->read(file, memory, 0, 1, how));
        ASSERT_TRUE(io->write(file, memory, 0, 2, how));
        ASSERT_TRUE(read(3)) << "the last of the chain";
        ASSERT_TRUE(read(4));
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\nenter 7 3 0 registered\n");
        const auto& consumed = companion().consumed;
        const auto link = how.link ? abi::sqe_io_link : abi::sqe_io_hardlink;
        EXPECT_EQ(consumed.end()[-3].flags, abi::sqe_fixed_file | link);
        EXPECT_EQ(consumed.end()[-2].flags, abi::sqe_fixed_file | link);
        EXPECT_EQ(consumed.end()[-1].flags, abi::sqe_fixed_file);
        EXPECT_EQ(polled().consumed.back().flags, abi::sqe_fixed_file);
        complete(polled(), {4});
        complete(companion(), {1, 2, 3});
        EXPECT_EQ(results(io->poll()), (Results{{1, 1}, {2, 2}, {3, 3}, {4, 4}}));
    }
    EXPECT_EQ(io->counters().polled, counters.polled + 2);
    // Linked to what is no transfer.
    ASSERT_TRUE(io->nop(1, {.link = true}));
    ASSERT_TRUE(read(2));
    ASSERT_TRUE(io->nop(3));
    ASSERT_TRUE(read(4));
    trace.take();
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\nenter 7 3 0 registered\n");
    // A chain ends where it was submitted.
    ASSERT_TRUE(io->nop(5, {.link = true}));
    EXPECT_TRUE(io->poll().empty());
    trace.take();
    ASSERT_TRUE(read(6));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\n");
    complete(polled(), {4, 6});
    complete(companion(), {1, 2, 3, 5});
    EXPECT_EQ(results(io->poll()), (Results{{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}}));
    EXPECT_TRUE(io->set_file(file, 0)) << "none of the companion's transfers keeps the slot busy";
}

TEST_F(PolledTest, AChainThatTheCompanionDidNotTakeYetGoesOn) {
    begin();
    ASSERT_TRUE(io->nop(1, {.link = true}));
    kernel.on_enter = [](const Enter&) { return std::optional<long>(-EAGAIN); };
    EXPECT_TRUE(io->poll().empty());
    kernel.on_enter = [this](const Enter& enter) { return std::optional<long>(swallow(enter)); };
    ASSERT_TRUE(read(2));
    trace.take();
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 7 2 0 registered\n");
    complete(companion(), {1, 2});
    EXPECT_EQ(results(io->poll()), (Results{{1, 1}, {2, 2}}));
}

TEST_F(PolledTest, WhereAPartOfAChainIsTakenBackTheNextTransferIsPolled) {
    begin();
    ASSERT_TRUE(io->read(file, memory, 0, 1, {.link = true}));
    ASSERT_TRUE(read(2));
    EXPECT_EQ(io->withdraw(), Token{2});
    ASSERT_TRUE(read(3));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\nenter 7 1 0 registered\n");
    EXPECT_EQ(companion().consumed.back().flags, abi::sqe_fixed_file) << "nothing is linked to it";
    complete(polled(), {3});
    complete(companion(), {1});
    EXPECT_EQ(results(io->poll()), (Results{{1, 1}, {3, 3}}));
}

TEST_F(PolledTest, ADrainedOperationHasNoRoomWhilePolledTransfersAreInFlight) {
    begin();
    constexpr How drained{.drain = true};
    const auto expect_no_room = [&] {
        const std::uint64_t full = io->counters().queue_full;
        EXPECT_FALSE(io->nop(9, drained));
        EXPECT_FALSE(io->read(file, memory, 0, 9, drained));
        EXPECT_EQ(io->counters().queue_full, full + 2);
    };
    ASSERT_TRUE(read(1));
    ASSERT_TRUE(write(2));
    expect_no_room();
    EXPECT_TRUE(io->poll().empty());
    expect_no_room();
    // One is refused and has not been sent again: the companion takes nothing.
    const std::size_t taken = companion().consumed.size();
    for (Token token = 10; token < 10 + entries; ++token) ASSERT_TRUE(io->nop(token));
    kernel.on_enter = [this](const Enter& enter) -> std::optional<long> {
        if (&asked(enter) == &companion()) return -EAGAIN;
        return swallow(enter);
    };
    complete(polled(), {-EOPNOTSUPP, 2});
    EXPECT_EQ(results(io->poll()), (Results{{2, 2}}));
    EXPECT_EQ(io->counters().poll_refused, 0U);
    while (io->in_flight() > 2) ASSERT_TRUE(io->withdraw());
    expect_no_room();
    EXPECT_EQ(companion().consumed.size(), taken);
    // It has been sent: the companion knows of it.
    kernel.on_enter = [this](const Enter& enter) { return std::optional<long>(swallow(enter)); };
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(io->counters().poll_refused, 1U);
    ASSERT_TRUE(io->nop(3, drained));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(companion().consumed.back().flags, abi::sqe_io_drain);
    complete(companion(), {10, 1, 3});
    EXPECT_EQ(results(io->poll()), (Results{{10, 10}, {1, 1}, {3, 3}}));
}

TEST_F(PolledTest, WhatIsBehindADrainedOperationIsTheCompanionsUntilThatHasCompleted) {
    begin();
    ASSERT_TRUE(io->read(file, memory, 0, 1, {.drain = true})) << "nothing is in flight";
    ASSERT_TRUE(read(2));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 7 2 0 registered\n");
    EXPECT_EQ(companion().consumed.end()[-2].flags, abi::sqe_fixed_file | abi::sqe_io_drain);
    ASSERT_TRUE(write(3));
    ASSERT_TRUE(io->nop(4, {.drain = true})) << "no polled transfer is in flight";
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 7 2 0 registered\n");
    complete(companion(), {1, 2, 3});
    EXPECT_EQ(io->poll().size(), 3U);
    ASSERT_TRUE(read(5));
    trace.take();
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 7 1 0 registered\n") << "another one is still in flight";
    complete(companion(), {4, 5});
    EXPECT_EQ(io->poll().size(), 2U);
    ASSERT_TRUE(read(6));
    trace.take();
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\n");
    complete(polled(), {6});
    EXPECT_EQ(results(io->poll()), (Results{{6, 6}}));
    // One that is taken back is none.
    ASSERT_TRUE(io->nop(7, {.drain = true}));
    EXPECT_EQ(io->withdraw(), Token{7});
    ASSERT_TRUE(read(8));
    trace.take();
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\n");
    complete(polled(), {8});
    EXPECT_EQ(results(io->poll()), (Results{{8, 8}}));
    expect_conserved();
}

TEST_F(PolledTest, ACancelNamesTheRecordOfItsTarget) {
    begin();
    const auto named = [this] { return companion().consumed.back().addr; };
    for (Token token = 1000; token < 1003; ++token) ASSERT_TRUE(io->nop(token));
    EXPECT_TRUE(io->poll().empty());
    const auto first = companion().consumed.end() - 3;
    const std::uint64_t numbers[] = {first[0].user_data, first[1].user_data, first[2].user_data};
    for (const std::size_t which : {1U, 0U, 2U}) {
        ASSERT_TRUE(io->cancel(1000 + which, 7));
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(companion().consumed.back().opcode, static_cast<std::uint8_t>(abi::Op::async_cancel));
        EXPECT_EQ(named(), numbers[which]);
        companion().post(companion().consumed.back().user_data, -ENOENT);
        EXPECT_EQ(results(io->poll()), (Results{{7, -ENOENT}})) << "of the companion's own it is what it says";
    }
    // With the token of its target, and of one that is not submitted yet.
    ASSERT_TRUE(io->nop(UINT64_MAX));
    ASSERT_TRUE(io->cancel(UINT64_MAX, UINT64_MAX));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(named(), companion().consumed.end()[-2].user_data);
    EXPECT_NE(named(), companion().consumed.back().user_data);
    for (std::size_t back = 2; back > 0; --back)
        companion().post((companion().consumed.end() - static_cast<std::ptrdiff_t>(back))->user_data, 0);
    EXPECT_EQ(io->poll().size(), 2U);
    // What is nowhere, itself and what has completed among it, has the number of no record.
    for (const Token token : {Token{7}, Token{0}, UINT64_MAX, numbers[0]}) {
        ASSERT_TRUE(io->cancel(token, 7));
        EXPECT_TRUE(io->poll().empty());
        EXPECT_GE(named(), io->features().cq_entries);
        companion().post(companion().consumed.back().user_data, -ENOENT);
        EXPECT_EQ(results(io->poll()), (Results{{7, -ENOENT}}));
    }
    for (const std::uint64_t number : numbers) companion().post(number, 0);
    EXPECT_EQ(io->poll().size(), 3U);
}

TEST_F(PolledTest, WhatThePolledRingHasIsPastCancelling) {
    begin();
    ASSERT_TRUE(read(1));
    EXPECT_TRUE(io->poll().empty());
    const auto answer = [this](std::int32_t result) {
        EXPECT_TRUE(io->cancel(1, 2));
        EXPECT_TRUE(io->poll().empty());
        companion().post(companion().consumed.back().user_data, result);
        return results(io->poll());
    };
    EXPECT_EQ(answer(-ENOENT), (Results{{2, -ENOENT}}));
    EXPECT_GE(companion().consumed.back().addr, UINT64_MAX) << "which the other ring does not know";
    // Refused, it is not sent to that.
    complete(polled(), {-EOPNOTSUPP});
    EXPECT_EQ(results(io->poll()), (Results{{1, -ECANCELED}}));
    EXPECT_EQ(io->counters().poll_refused, counters.poll_refused);
    for (const bool all : {true, false}) {
        ASSERT_TRUE(write(1));
        ASSERT_TRUE(all ? io->cancel_all(2) : io->cancel_file(file, 2));
        EXPECT_TRUE(io->poll().empty());
        complete(polled(), {all ? -EIO : -EOPNOTSUPP});
        companion().post(companion().consumed.back().user_data, 0);
        EXPECT_EQ(results(io->poll()), (Results{{1, all ? -EIO : -ECANCELED}, {2, 0}}));
    }
    // One that was sent there is found there.
    ASSERT_TRUE(io->set_file(file, 0));
    ASSERT_TRUE(read(1));
    EXPECT_TRUE(io->poll().empty());
    complete(polled(), {-EOPNOTSUPP});
    EXPECT_TRUE(io->poll().empty());
    const std::uint64_t number = companion().consumed.back().user_data;
    EXPECT_EQ(answer(0), (Results{{2, 0}}));
    EXPECT_EQ(companion().consumed.back().addr, number);
    companion().post(number, -ECANCELED);
    EXPECT_EQ(results(io->poll()), (Results{{1, -ECANCELED}}));
    EXPECT_EQ(answer(-ENOENT), (Results{{2, -ENOENT}})) << "it is not in flight any more";
}

TEST_F(PolledTest, CancelFileAndCancelAllAreAskedOfTheCompanionAsTheyAre) {
    begin();
    ASSERT_TRUE(io->cancel_file(file, 1));
    ASSERT_TRUE(io->cancel_all(2));
    EXPECT_TRUE(io->poll().empty());
    const abi::Sqe& by_file = companion().consumed.end()[-2];
    EXPECT_EQ(by_file.flags, abi::sqe_fixed_file);
    EXPECT_EQ(by_file.fd, 2);
    EXPECT_EQ(by_file.addr, 0U);
    EXPECT_EQ(by_file.op_flags, abi::async_cancel_fd | abi::async_cancel_all);
    const abi::Sqe& all = companion().consumed.back();
    EXPECT_EQ(all.addr, 0U);
    EXPECT_EQ(all.op_flags, abi::async_cancel_any | abi::async_cancel_all);
    complete(companion(), {3, 4});
    EXPECT_EQ(results(io->poll()), (Results{{1, 3}, {2, 4}}));
}

// --- Refusals -------------------------------------------------------------------------------------------------------

TEST_F(PolledTest, WhatThePolledRingRefusesIsSentToTheOtherAtOnce) {
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
    // What is done at once is handed out at once.
    ASSERT_TRUE(io->set_file(file, 0));
    ASSERT_TRUE(read(13));
    kernel.on_enter = [this](const Enter& enter) -> std::optional<long> {
        const long count = swallow(enter);
        complete(asked(enter), {&asked(enter) == &polled() ? -EOPNOTSUPP : 5});
        return count;
    };
    EXPECT_EQ(results(io->poll()), (Results{{13, 5}}));
    // Until another file comes into the slot.
    ASSERT_TRUE(io->set_file(file, 0));
    trace.take();
    kernel.on_enter = nullptr;
    ASSERT_TRUE(read(13));
    EXPECT_EQ(results(io->poll()), (Results{{13, 0}}));
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\n");
}

TEST_F(PolledTest, WhatNeitherRingHasYetIsTakenBack) {
    begin();
    ASSERT_TRUE(read(1));
    ASSERT_TRUE(io->nop(2));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_FALSE(io->withdraw()) << "both have what they were given";
    const Counters before = io->counters();
    ASSERT_TRUE(read(3));
    ASSERT_TRUE(write(4));
    ASSERT_TRUE(io->nop(5));
    ASSERT_TRUE(io->nop(6));
    const Result<void> busy = io->set_file(file, 0);
    EXPECT_EQ(busy.error().code(), EBUSY);
    std::vector<Token> tokens;
    while (const auto token = io->withdraw()) tokens.push_back(*token);
    EXPECT_EQ(tokens, (std::vector<Token>{6, 5, 4, 3}));
    EXPECT_EQ(io->counters().submitted, before.submitted);
    EXPECT_EQ(io->counters().unregistered, before.unregistered);
    EXPECT_EQ(io->counters().withdrawn, 4U);
    expect_conserved();
    complete(polled(), {11});
    complete(companion(), {12});
    EXPECT_EQ(results(io->poll()), (Results{{1, 11}, {2, 12}}));
    EXPECT_TRUE(io->set_file(file, 0)) << "no transfer is counted as in flight any more";
    // Each record is free again: as many as ever can be queued.
    for (int round = 0; round < 3; ++round) {
        unsigned queued = 0;
        while (queued % 2 == 0 ? read(queued) : io->nop(queued)) ++queued;
        EXPECT_EQ(queued, 2 * entries);
        while (io->withdraw()) --queued;
        EXPECT_EQ(queued, 0U);
    }
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(polled().consumed.size() + companion().consumed.size(), 4U);
}

TEST_F(PolledTest, WhatThePolledRingRefusedIsTakenBackWhileTheOtherHasNotGotIt) {
    begin();
    // As many refusals as the other ring has no room for, besides what it was sent again but does not take.
    for (Token token = 0; token < 2 * entries; ++token) ASSERT_TRUE(read(token));
    EXPECT_TRUE(io->poll().empty());
    complete(polled(), std::vector<std::int32_t>(2 * entries, -EOPNOTSUPP));
    kernel.on_enter = [](const Enter&) { return std::optional<long>(-EAGAIN); };
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(io->in_flight(), 2 * entries);
    std::set<Token> tokens;
    while (const auto token = io->withdraw()) EXPECT_TRUE(tokens.insert(*token).second);
    EXPECT_EQ(tokens.size(), 2 * entries);
    EXPECT_EQ(io->in_flight(), 0U);
    EXPECT_EQ(io->counters().unregistered, counters.unregistered);
    expect_conserved();
    EXPECT_TRUE(io->set_file(file, 0));
    kernel.on_enter = nullptr;
    ASSERT_TRUE(read(100));
    EXPECT_EQ(results(io->poll()), (Results{{100, 0}}));
}

TEST_F(PolledTest, TheCompanionsTaskWorkIsRunToItsEndToo) {
    io = make_io({.entries = 128, .file_slots = 1, .polling = Polling::busy});
    kernel.on_enter = [this](const Enter& enter) { return std::optional<long>(swallow(enter)); };
    for (Token token = 0; token < 100; ++token) ASSERT_TRUE(io->nop(token));
    EXPECT_TRUE(io->poll().empty());
    UserKernel::Ring& ring = companion();
    ring.sq_flags() = abi::sq_taskrun;
    kernel.on_enter = [&](const Enter& enter) -> std::optional<long> {
        EXPECT_EQ(&asked(enter), &ring);
        for (int i = 0; i < 20; ++i) ring.post(ring.consumed.at(ring.cq_tail()).user_data);
        ring.sq_flags() = ring.cq_tail() < 100 ? abi::sq_taskrun : 0U;
        return 0;
    };
    EXPECT_EQ(io->poll().size(), 100U);
    kernel.on_enter = nullptr;
    io.reset();
}

TEST_F(PolledTest, TransfersInPiecesArePolledAndSentAgainWhenRefused) {
    begin();
    const std::array<struct ::iovec, 2> pieces{{{memory.data(), 8}, {memory.data() + 8, 8}}};
    for (const bool reads : {true, false}) {
        const auto queue = [&](Token token) {
            return reads ? io->readv(file, pieces, 4096, token) : io->writev(file, pieces, 4096, token);
        };
        const abi::Op op = reads ? abi::Op::readv : abi::Op::writev;
        trace.take();
        ASSERT_TRUE(queue(1));
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\n");
        const abi::Sqe& sqe = polled().consumed.back();
        EXPECT_EQ(sqe.opcode, static_cast<std::uint8_t>(op));
        EXPECT_EQ(sqe.addr, reinterpret_cast<std::uintptr_t>(pieces.data()));
        EXPECT_EQ(sqe.len, 2U);
        EXPECT_EQ(sqe.off, 4096U);
        complete(polled(), {16});
        EXPECT_EQ(results(io->poll()), (Results{{1, 16}}));
        ASSERT_TRUE(queue(2));
        EXPECT_TRUE(io->poll().empty());
        complete(polled(), {-EOPNOTSUPP});
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(std::memcmp(&polled().consumed.back(), &companion().consumed.back(), sizeof(abi::Sqe)), 0);
        complete(companion(), {15});
        EXPECT_EQ(results(io->poll()), (Results{{2, 15}}));
        // That direction is the companion's from now on, in pieces or not.
        trace.take();
        ASSERT_TRUE(queue(3));
        ASSERT_TRUE(reads ? read(4) : write(4));
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(trace.take(), "enter 7 2 0 registered\n");
        complete(companion(), {3, 4});
        EXPECT_EQ(results(io->poll()), (Results{{3, 3}, {4, 4}}));
    }
    EXPECT_EQ(io->counters().poll_refused, 2U);
}

TEST_F(PolledTest, WhetherItIsTheFlagsThatAreRefusedOrTheFileTheOtherRingTells) {
    begin();
    const auto refused = [this](Token token, std::int32_t then) {
        ASSERT_TRUE(io->write(file, memory, 0, token, {.dsync = true}));
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(polled().consumed.back().op_flags, abi::rwf_dsync);
        complete(polled(), {-EOPNOTSUPP});
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(companion().consumed.back().op_flags, abi::rwf_dsync);
        complete(companion(), {then});
        EXPECT_EQ(results(io->poll()), (Results{{token, then}}));
    };
    // It takes them no more than the polled ring did: nothing is known of the file.
    refused(1, -EOPNOTSUPP);
    trace.take();
    ASSERT_TRUE(write(2));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\n");
    complete(polled(), {16});
    EXPECT_EQ(io->poll().size(), 1U);
    // It does: so it was the file.
    refused(3, 16);
    EXPECT_EQ(io->counters().poll_refused, 2U);
    for (const How how : {How{}, How{.dsync = true}}) {
        trace.take();
        ASSERT_TRUE(io->write(file, memory, 0, 4, how));
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(trace.take(), "enter 7 1 0 registered\n");
        complete(companion(), {16});
        EXPECT_EQ(io->poll().size(), 1U);
    }
}

TEST_F(PolledTest, WhatAWaitForGivesThePolledRingIsToBeLookedForByWhoSleepsOnTheDescriptor) {
    begin();
    const int fd = io->poll_fd();
    ASSERT_GE(fd, 3);
    EXPECT_TRUE(io->poll().empty());
    EXPECT_FALSE(is_readable(fd));
    ASSERT_TRUE(read(1));
    ASSERT_TRUE(io->nop(2));
    kernel.on_enter = [this](const Enter& enter) {
        UserKernel::Ring& ring = asked(enter);
        const long taken = swallow(enter);
        if (&ring == &companion() && taken > 0) complete(companion(), {0});
        return std::optional<long>(taken);
    };
    EXPECT_EQ(io->wait_for(2).value().res, 0);
    EXPECT_TRUE(is_readable(fd));
    complete(polled(), {16});
    EXPECT_EQ(results(io->poll()), (Results{{1, 16}}));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_FALSE(is_readable(fd));
}

TEST_F(PolledTest, ARefusedTransferThatWaitsToBeSentAgainIsCancelledThere) {
    begin();
    ASSERT_TRUE(read(1));
    EXPECT_TRUE(io->poll().empty());
    complete(polled(), {-EOPNOTSUPP});
    // Behind a part of a chain that is not submitted it is not sent.
    kernel.on_enter = [](const Enter&) { return std::optional<long>(-EAGAIN); };
    ASSERT_TRUE(io->nop(2, {.link = true}));
    EXPECT_TRUE(io->poll().empty());
    ASSERT_TRUE(io->cancel(1, 3));
    kernel.on_enter = [this](const Enter& enter) { return std::optional<long>(swallow(enter)); };
    EXPECT_EQ(results(io->poll()), (Results{{1, -ECANCELED}}));
    EXPECT_EQ(io->counters().poll_refused, counters.poll_refused);
    complete(companion(), {0, -ENOENT});
    EXPECT_EQ(results(io->poll()), (Results{{2, 0}, {3, -ENOENT}}));
    expect_conserved();
}

TEST_F(PolledTest, ACancelThatIsTakenBackCancelsNothing) {
    begin();
    ASSERT_TRUE(read(1));
    EXPECT_TRUE(io->poll().empty());
    ASSERT_TRUE(io->cancel(1, 2));
    EXPECT_EQ(io->withdraw(), Token{2});
    complete(polled(), {-EOPNOTSUPP});
    EXPECT_TRUE(io->poll().empty());
    complete(companion(), {16});
    EXPECT_EQ(results(io->poll()), (Results{{1, 16}}));
}

TEST_F(PolledTest, AnErrorThatIsNoRefusalIsDelivered) {
    begin();
    for (const std::int32_t error : {-EIO, -EINVAL, -EAGAIN, -ENOTSUP + 1}) {
        ASSERT_TRUE(read(1));
        EXPECT_TRUE(io->poll().empty());
        complete(polled(), {error});
        EXPECT_EQ(results(io->poll()), (Results{{1, error}}));
    }
    EXPECT_EQ(io->counters().poll_refused, 0U);
}

TEST_F(PolledTest, RefusalsThatTheOtherRingHasNoRoomForWaitForIt) {
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

TEST_F(PolledTest, TakesAsManyAsMayBeInFlightAndCountsWhatItRefuses) {
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

}  // namespace
}  // namespace squall
