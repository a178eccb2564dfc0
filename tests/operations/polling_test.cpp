// SPDX-License-Identifier: MIT
//
// Polled I/O: that every operation works whatever the file is, what is polled and what is not, what the counters say of it,
// and that no operation can meet another file than it was meant for. Most machines have no device that polls: there it is
// the refusals that are real. SQUALL_TEST_POLLED names a block device with poll queues, whose first 16 MiB are overwritten.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

constexpr Kind polling_kinds[] = {{Mode::deferred, Polling::busy},
                                  {Mode::deferred, Polling::hybrid},
                                  {Mode::plain, Polling::busy},
                                  {Mode::sqpoll, Polling::busy}};

class PollingTest : public testing::TestWithParam<Kind> {
protected:
    Io make(std::uint32_t slots = 4) {
        return make_io(GetParam(), {.entries = 32, .arena = &arena_, .file_slots = slots});
    }
    std::string file_of(const char* name, std::uint64_t seed, std::size_t bytes = 1 << 16) {
        std::vector<std::byte> content(bytes);
        fill_pattern(content, 0, seed);
        write_file(directory_.file(name), content);
        return directory_.file(name);
    }
    // Pins down what the counters say of `transfers` reads and writes by slot.
    static void expect_all_accounted_for(const Io& io, std::uint64_t transfers) {
        const Counters& counters = io.counters();
        EXPECT_EQ(counters.submitted, counters.completed + io.in_flight());
        EXPECT_EQ(counters.fixed + counters.unregistered, transfers);
        EXPECT_LE(counters.polled + counters.poll_refused, transfers);
    }
    TempDir directory_;
    BufferArena arena_ = make_arena({.buffer_size = 1 << 16, .count = 8});
};
INSTANTIATE_TEST_SUITE_P(Modes, PollingTest, testing::ValuesIn(polling_kinds),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(PollingTest, FeaturesSayWhatTheKernelGave) {
    const Io io = make();
    const Features& features = io.features();
    EXPECT_NE(features.polling, Polling::none);
    EXPECT_NE(features.polled_setup_flags & abi::setup_iopoll, 0U);
    EXPECT_EQ(features.setup_flags & abi::setup_iopoll, 0U);
    EXPECT_EQ(features.polling == Polling::hybrid, (features.polled_setup_flags & abi::setup_hybrid_iopoll) != 0);
    if (GetParam().polling == Polling::busy) {
        EXPECT_EQ(features.polling, Polling::busy);
    }
    EXPECT_EQ(features.mode, GetParam().mode);
    EXPECT_EQ(features.cq_entries, 64U);
}

// A file that was not opened with O_DIRECT cannot be polled: each direction is tried once, and no more.
TEST_P(PollingTest, TransfersOfAFileThatCannotBePolledAreDoneByTheOtherRing) {
    Io io = make();
    const FileSlot slot(1);
    const Fd file(::open(file_of("a", 3).c_str(), O_RDWR));
    ASSERT_TRUE(io.set_file(slot, file));
    std::vector<std::byte> bytes(4096);
    for (int round = 0; round < 3; ++round) {
        std::memset(bytes.data(), 0, bytes.size());
        ASSERT_EQ(result_of(io, io.read(slot, bytes, 8192, 5)), 4096);
        EXPECT_EQ(find_wrong(bytes, 8192, 3), -1);
        EXPECT_EQ(io.counters().poll_refused, 1U);
    }
    for (int round = 0; round < 3; ++round) {
        fill_pattern(bytes, 4096, 9);
        ASSERT_EQ(result_of(io, io.write(slot, bytes, 4096, 6)), 4096);
        EXPECT_EQ(io.counters().poll_refused, 2U);
    }
    EXPECT_EQ(result_of(io, io.fsync(slot, 7)), 0);
    const auto content = read_file(directory_.file("a"));
    EXPECT_EQ(find_wrong(std::span(content).subspan(4096, 4096), 4096, 9), -1);
    EXPECT_EQ(io.counters().polled, 0U);
    expect_all_accounted_for(io, 6);
}

// Whatever the device is: it polls, or the kernel refuses, or an old kernel waits for its interrupts.
TEST_P(PollingTest, DirectTransfersReadBackWhatWasWrittenWhateverTheDeviceIs) {
    Io io = make();
    const FileSlot slot(0);
    const OpenOptions direct{.read = true, .write = true, .create = true, .direct = true};
    const std::int32_t opened = result_of(io, io.open(directory_.file("d").c_str(), direct, slot, 1));
    if (opened == -EINVAL) GTEST_SKIP() << "no O_DIRECT on this file system";
    ASSERT_EQ(opened, 0);
    std::vector<FixedBuffer> buffers;
    for (int i = 0; i < 8; ++i) buffers.push_back(arena_.acquire().value());
    for (std::uint64_t round = 0; round < 4; ++round) {
        for (Token i = 0; i < 8; ++i) {
            fill_pattern(buffers[i].bytes(), i << 16, round);
            ASSERT_TRUE(io.write(slot, buffers[i].bytes(), i << 16, i));
        }
        for (const Completion& done : drain(io)) EXPECT_EQ(done.res, 1 << 16) << done.error().message();
        for (Token i = 0; i < 8; ++i) {
            std::memset(buffers[i].data(), 0, buffers[i].size());
            ASSERT_TRUE(io.read(slot, buffers[i].bytes(), i << 16, i));
        }
        for (const Completion& done : drain(io)) EXPECT_EQ(done.res, 1 << 16) << done.error().message();
        for (Token i = 0; i < 8; ++i) EXPECT_EQ(find_wrong(buffers[i].bytes(), i << 16, round), -1);
    }
    EXPECT_EQ(io.counters().fixed, 64U);
    expect_all_accounted_for(io, 64);
}

TEST_P(PollingTest, TransfersByDescriptorAndAllOtherOperationsWork) {
    Io io = make();
    const std::string a = directory_.file("a");
    const std::string b = directory_.file("b");
    const int fd = result_of(io, io.open(a.c_str(), {.read = true, .write = true, .create = true}, 1));
    ASSERT_GE(fd, 0);
    std::vector<std::byte> bytes(4096);
    fill_pattern(bytes, 0);
    struct ::statx status {};
    EXPECT_EQ(result_of(io, io.write(fd, bytes, 0, 2)), 4096);
    EXPECT_EQ(result_of(io, io.fsync(fd, 3)), 0);
    EXPECT_EQ(result_of(io, io.fdatasync(fd, 4)), 0);
    EXPECT_EQ(result_of(io, io.statx(fd, status, 5)), 0);
    EXPECT_EQ(status.stx_size, 4096U);
    EXPECT_EQ(result_of(io, io.statx(a.c_str(), status, 6)), 0);
    EXPECT_EQ(result_of(io, io.rename(a.c_str(), b.c_str(), 7)), 0);
    EXPECT_EQ(result_of(io, io.read(fd, bytes, 0, 8)), 4096);
    EXPECT_EQ(find_wrong(bytes, 0), -1);
    EXPECT_EQ(result_of(io, io.close(fd, 9)), 0);
    EXPECT_EQ(result_of(io, io.unlink(b.c_str(), 10)), 0);
    EXPECT_EQ(result_of(io, io.nop(11)), 0);
    EXPECT_EQ(io.counters().polled, 0U);
    EXPECT_EQ(io.counters().poll_refused, 0U);
}

TEST_P(PollingTest, AFileOpenedIntoASlotIsInBothTablesAndNeedsNoDescriptor) {
    Io io = make();
    (void)result_of(io, io.nop(1));
    const std::size_t before = descriptors_now();
    ASSERT_EQ(result_of(io, io.open(file_of("a", 4).c_str(), {}, FileSlot(2), 1)), 0);
    EXPECT_EQ(descriptors_now(), before);
    std::vector<std::byte> bytes(4096);
    EXPECT_EQ(result_of(io, io.read(FileSlot(2), bytes, 0, 2)), 4096);
    EXPECT_EQ(find_wrong(bytes, 0, 4), -1);
    EXPECT_EQ(io.counters().poll_refused, 1U);  // so it was in the polled ring's table, too
    EXPECT_EQ(result_of(io, io.close(FileSlot(2), 3)), 0);
    EXPECT_EQ(result_of(io, io.read(FileSlot(2), bytes, 0, 4)), -EBADF);
    EXPECT_EQ(descriptors_now(), before);
}

TEST_P(PollingTest, AFileThatReplacesAnotherInItsSlotIsTriedAnew) {
    Io io = make();
    const FileSlot slot(0);
    std::vector<std::byte> bytes(4096);
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        ASSERT_EQ(result_of(io, io.open(file_of("a", seed).c_str(), {}, slot, 1)), 0);
        for (int round = 0; round < 2; ++round) {
            ASSERT_EQ(result_of(io, io.read(slot, bytes, 0, 2)), 4096);
            EXPECT_EQ(find_wrong(bytes, 0, seed), -1);
        }
        EXPECT_EQ(io.counters().poll_refused, seed);
    }
}

// What the polled ring refuses is sent again a moment later, and must meet the same file then.
TEST_P(PollingTest, ASlotIsNotChangedWhileTransfersThatMayBeSentAgainAreInFlight) {
    Io io = make();
    const Pipe pipe;
    const FileSlot slot(3);
    ASSERT_TRUE(io.set_file(slot, pipe.read_end));
    const Fd other(::open(file_of("a", 1).c_str(), O_RDONLY));
    std::byte byte{};
    ASSERT_TRUE(io.read(slot, {&byte, 1}, UINT64_MAX, 1));
    for (int round = 0; round < 3; ++round) {
        EXPECT_FALSE(io.close(slot, 2));
        EXPECT_FALSE(io.open(directory_.file("a").c_str(), {}, slot, 3));
        const auto set = io.set_file(slot, other);
        ASSERT_FALSE(set);
        EXPECT_EQ(set.error().code(), EBUSY);
        EXPECT_TRUE(io.poll().empty());
    }
    ASSERT_TRUE(io.set_file(FileSlot(0), other));  // another slot can be
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    EXPECT_EQ(drain(io).size(), 1U);
    EXPECT_EQ(byte, std::byte{'x'});
    EXPECT_EQ(result_of(io, io.close(slot, 4)), 0);
    EXPECT_EQ(io.counters().queue_full, 6U);
}

TEST_P(PollingTest, OperationsOfBothRingsAreDeliveredTogether) {
    Io io = make();
    const OpenOptions direct{.read = true, .write = true, .create = true, .direct = true};
    const std::int32_t opened = result_of(io, io.open(file_of("d", 0).c_str(), direct, FileSlot(0), 1));
    if (opened == -EINVAL) GTEST_SKIP() << "no O_DIRECT on this file system";
    ASSERT_EQ(opened, 0);
    const FixedBuffer buffer = arena_.acquire().value();
    std::uint64_t expected = 0;
    for (Token token = 0; token < 30; ++token) {
        ASSERT_TRUE(token % 2 == 0 ? io.nop(token)
                                   : io.read(FileSlot(0), buffer.bytes().subspan((token / 2) * 4096, 4096), 0, token));
        expected += token;
    }
    std::uint64_t sum = 0;
    const Completions done = io.park(30);
    EXPECT_EQ(done.size(), 30U);
    for (const Completion& completion : done) {
        sum += completion.token;
        EXPECT_EQ(completion.res, completion.token % 2 == 0 ? 0 : 4096);
    }
    EXPECT_EQ(sum, expected);
}

TEST_P(PollingTest, ParkingWithATimeoutEndsWhenNothingCompletes) {
    Io io = make();
    const Pipe pipe;
    ASSERT_TRUE(io.set_file(FileSlot(0), pipe.read_end));
    std::byte byte{};
    ASSERT_TRUE(io.read(FileSlot(0), {&byte, 1}, UINT64_MAX, 1));
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 2));
    const auto before = io.now();
    EXPECT_TRUE(io.park(30ms).empty());
    EXPECT_GE(io.now() - before, 30ms);
    ASSERT_EQ(::write(pipe.write_end, "xy", 2), 2);
    EXPECT_EQ(drain(io).size(), 2U);
}

TEST_P(PollingTest, SamplesHaveTheTokensAndKindsOfTheirOperations) {
    LatencyHistograms histograms;
    std::vector<Sample> samples;
    Io io = make_io(GetParam(), {.entries = 32,
                                 .file_slots = 2,
                                 .sampling = {.every = 1,
                                              .histograms = &histograms,
                                              .hook =
                                                  [](void* into, const Sample& sample) noexcept {
                                                      static_cast<std::vector<Sample>*>(into)->push_back(sample);
                                                  },
                                              .context = &samples}});
    const std::string path = file_of("a", 6);
    std::vector<std::byte> bytes(4096);
    EXPECT_EQ(result_of(io, io.open(path.c_str(), {}, FileSlot(1), 71)), 0);
    EXPECT_EQ(result_of(io, io.read(FileSlot(1), bytes, 0, 72)), 4096);
    EXPECT_EQ(result_of(io, io.nop(73)), 0);
    ASSERT_EQ(samples.size(), 3U);
    const OpKind kinds[] = {OpKind::open, OpKind::read, OpKind::nop};
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(samples[i].token, 71 + i);
        EXPECT_EQ(samples[i].kind, kinds[i]);
        EXPECT_LE(samples[i].queued, samples[i].submitted);
        EXPECT_LE(samples[i].submitted, samples[i].completed);
    }
    EXPECT_EQ(histograms[OpKind::read].count(), 1U);
}

TEST_P(PollingTest, TokensOfAnyValueComeBackUnchanged) {
    Io io = make();
    ASSERT_EQ(result_of(io, io.open(file_of("a", 1).c_str(), {}, FileSlot(0), 1)), 0);
    std::byte byte{};
    for (const Token token : {Token{0}, Token{31}, Token{64}, ~Token{0}, Token{1} << 63}) {
        ASSERT_TRUE(io.read(FileSlot(0), {&byte, 1}, 0, token));
        ASSERT_TRUE(io.nop(token));
        for (const Completion& done : drain(io)) EXPECT_EQ(done.token, token);
    }
}

TEST_P(PollingTest, AllocatesNothingOnceItIsMade) {
    Io io = make();
    ASSERT_EQ(result_of(io, io.open(file_of("a", 1).c_str(), {}, FileSlot(0), 1)), 0);
    std::vector<std::byte> bytes(4096);
    const std::uint64_t before = allocations_made();
    for (int round = 0; round < 50; ++round) {
        for (Token token = 0; token < 20; ++token) {
            (void)io.read(FileSlot(0), bytes, 0, token);
            (void)io.nop(token);
        }
        while (io.in_flight() > 0) (void)io.park();
    }
    EXPECT_EQ(allocations_made(), before);
}

TEST_P(PollingTest, ManyTransfersOfFilesThatCanAndCannotBePolledWrapEveryQueue) {
    Io io = make_io(GetParam(), {.entries = 4, .completion_entries = 8, .file_slots = 2});
    ASSERT_EQ(result_of(io, io.open(file_of("a", 1).c_str(), {}, FileSlot(0), 1)), 0);
    const OpenOptions direct{.read = true, .write = true, .direct = true};
    const bool has_direct = result_of(io, io.open(file_of("d", 2).c_str(), direct, FileSlot(1), 1)) == 0;
    auto arena = make_arena({.buffer_size = 4096, .count = 8});
    std::vector<FixedBuffer> buffers;
    for (int i = 0; i < 8; ++i) buffers.push_back(arena.acquire().value());
    bool busy[8] = {};
    std::uint64_t queued = 0;
    std::uint64_t seen = 0;
    while (seen < 5000) {
        for (Token i = 0; i < 8 && queued < 5000; ++i) {
            if (busy[i]) continue;
            const std::uint64_t offset = queued % 16 * 4096;
            if (!io.read(FileSlot(has_direct ? i % 2 : 0), buffers[i].bytes(), offset, i | offset << 8)) break;
            busy[i] = true;
            ++queued;
        }
        for (const Completion& done : io.park()) {
            const Token i = done.token & 0xff;
            ASSERT_EQ(done.res, 4096);
            ASSERT_EQ(find_wrong(buffers[i].bytes(), done.token >> 8, has_direct && i % 2 == 1 ? 2 : 1), -1);
            busy[i] = false;
            ++seen;
        }
    }
    expect_all_accounted_for(io, 5000);
}

TEST_P(PollingTest, GivesBackEveryDescriptorAndEveryByte) {
    const std::size_t descriptors = descriptors_now();
    const std::uint64_t mapped = bytes_mapped();
    {
        Io io = make();
        ASSERT_EQ(result_of(io, io.open(file_of("a", 1).c_str(), {}, FileSlot(0), 1)), 0);
    }
    EXPECT_EQ(descriptors_now(), descriptors);
    EXPECT_EQ(bytes_mapped(), mapped);
    // Whatever call fails while it is made.
    for (int failing = 0;; ++failing) {
        int call = 0;
        bool reached = false;
        const Intercept one([&](Call& made) -> std::optional<long> {
            const bool makes = made.number == SYS_mmap || made.number == SYS_madvise || made.number == SYS_pipe2 ||
                               made.number == test::nr_register || made.number == test::nr_setup;
            // Asking whether files can be opened into slots may fail in any way but one, and sharing the arena in any.
            const bool may_fail = made.number == test::nr_register && (made.args[1] == abi::register_iowq_max_workers ||
                                                                       made.args[1] == abi::register_clone_buffers);
            if (!makes || may_fail || call++ != failing) return std::nullopt;
            reached = true;
            return -EBADF;
        });
        const auto made = Io::create(
            {.entries = 8, .mode = GetParam().mode, .arena = &arena_, .file_slots = 2, .polling = GetParam().polling});
        if (!reached) break;
        ASSERT_FALSE(made) << "call " << failing;
        EXPECT_EQ(made.error().code(), EBADF);
        ASSERT_EQ(descriptors_now(), descriptors) << "call " << failing;
        ASSERT_EQ(bytes_mapped(), mapped) << "call " << failing;
    }
}

TEST_P(PollingTest, AChildOfForkIsTold) {
    Io io = make();
    ASSERT_EQ(result_of(io, io.open(file_of("a", 1).c_str(), {}, FileSlot(0), 1)), 0);
    EXPECT_EXIT(
        {
            std::byte byte{};
            const bool queued = io.read(FileSlot(0), {&byte, 1}, 0, 1) || io.nop(1) || io.close(FileSlot(0), 1);
            const bool told =
                io.poll().error().code() == ESTALE && io.set_file(FileSlot(0), 0).error().code() == ESTALE;
            std::_Exit(!queued && told ? 0 : 1);
        },
        testing::ExitedWithCode(0), "");
    std::byte byte{};
    EXPECT_EQ(result_of(io, io.read(FileSlot(0), {&byte, 1}, 0, 1)), 1);
}

// The kernel's answers, and not the file's name, say what can be polled; here the seam gives them.
TEST(PollingAnswersTest, EveryDirectionIsLearntByItself) {
    const TempDir directory;
    write_file(directory.file("a"), std::vector<std::byte>(4096));
    const Fd file(::open(directory.file("a").c_str(), O_RDWR));
    Io io = make_io(Kind{Mode::deferred, Polling::busy}, {.file_slots = 1});
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    std::byte byte{};
    ASSERT_EQ(result_of(io, io.write(FileSlot(0), {&byte, 1}, 0, 1)), 1);
    EXPECT_EQ(io.counters().poll_refused, 1U);
    ASSERT_EQ(result_of(io, io.read(FileSlot(0), {&byte, 1}, 0, 1)), 1);
    EXPECT_EQ(io.counters().poll_refused, 2U);
    ASSERT_EQ(result_of(io, io.write(FileSlot(0), {&byte, 1}, 0, 1)), 1);
    ASSERT_EQ(result_of(io, io.read(FileSlot(0), {&byte, 1}, 0, 1)), 1);
    EXPECT_EQ(io.counters().poll_refused, 2U);
}

TEST(PollingAnswersTest, AKernelWithoutHybridPollingPollsAndSaysSo) {
    const Intercept old_kernel([](Call& call) -> std::optional<long> {
        if (call.number != test::nr_setup) return std::nullopt;
        const auto* const params = reinterpret_cast<const abi::Params*>(call.args[1]);
        if ((params->flags & abi::setup_hybrid_iopoll) != 0) return -EINVAL;
        return std::nullopt;
    });
    Io io = make_io(Kind{Mode::deferred, Polling::hybrid}, {});
    EXPECT_EQ(io.features().polling, Polling::busy);
    // Nothing else was given up.
    EXPECT_EQ(io.features().deferred_taskrun, make_io().features().deferred_taskrun);
}

TEST(PollingAnswersTest, AParkIsOneEnterWhereThePolledRingAloneIsAtWork) {
    // In place of a device that polls: the ring is made without polling, and takes what a polled one would.
    const Intercept takes_all([](Call& call) -> std::optional<long> {
        if (call.number == test::nr_setup)
            reinterpret_cast<abi::Params*>(call.args[1])->flags &= ~std::uint32_t{abi::setup_iopoll};
        return std::nullopt;
    });
    const TempDir directory;
    write_file(directory.file("a"), std::vector<std::byte>(8 << 12));
    // Direct where that can be had, so that reads are not over as soon as they are submitted.
    const int direct = ::open(directory.file("a").c_str(), O_RDONLY | O_DIRECT);
    const Fd file(direct >= 0 ? direct : ::open(directory.file("a").c_str(), O_RDONLY));
    auto arena = make_arena({.buffer_size = 1 << 12, .count = 8});
    Io io = make_io(Kind{Mode::deferred, Polling::busy}, {.arena = &arena, .file_slots = 1});
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    std::uint64_t rounds = 0;
    // A signal may come into the wait, of which a stop of the process is one: then there is another.
    for (unsigned with_one_enter = 0; with_one_enter < 4 && rounds < 1000;) {
        for (Token i = 0; i < 8; ++i)
            ASSERT_TRUE(io.read(FileSlot(0), arena.memory().subspan(i << 12, 1 << 12), i << 12, i));
        const std::uint64_t enters = io.counters().enters;
        EXPECT_EQ(io.park(8).size(), 8U);
        EXPECT_EQ(io.counters().polled, 8 * ++rounds);
        if (io.counters().enters == enters + 1) ++with_one_enter;
    }
    EXPECT_LT(rounds, 1000U);
}

TEST(PollingAnswersTest, MoreInFlightThanThePolledRingCanHoldIsRefused) {
    const auto refused = Io::create({.entries = 32768, .polling = Polling::busy});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), EINVAL);
    EXPECT_NE(refused.error().message().find("65536"), std::string::npos) << refused.error().message();
    EXPECT_TRUE(Io::create({.entries = 16384, .polling = Polling::busy}));
}

// A device that polls, for real: the kernels that the matrix boots have one.
void expect_that_transfers_are_polled(Kind kind, const char* device) {
    auto arena = make_arena({.buffer_size = 1 << 16, .count = 32});
    Io io = make_io(kind, {.entries = 32, .arena = &arena, .file_slots = 1});
    ASSERT_EQ(result_of(io, io.open(device, {.read = true, .write = true, .direct = true}, FileSlot(0), 1)), 0);
    std::vector<FixedBuffer> buffers;
    for (int i = 0; i < 32; ++i) buffers.push_back(arena.acquire().value());
    for (std::uint64_t round = 0; round < 8; ++round) {
        for (const bool writes : {true, false}) {
            for (Token i = 0; i < 32; ++i) {
                const std::uint64_t offset = (round * 32 + i) << 16;
                if (writes) fill_pattern(buffers[i].bytes(), offset, 77);
                ASSERT_TRUE(writes ? io.write(FileSlot(0), buffers[i].bytes(), offset, i)
                                   : io.read(FileSlot(0), buffers[i].bytes(), offset, i));
            }
            for (const Completion& done : drain(io)) EXPECT_EQ(done.res, 1 << 16) << done.error().message();
            for (Token i = 0; i < 32; ++i) {
                if (!writes) {
                    EXPECT_EQ(find_wrong(buffers[i].bytes(), (round * 32 + i) << 16, 77), -1);
                }
                std::memset(buffers[i].data(), 0, buffers[i].size());
            }
        }
    }
    EXPECT_EQ(io.counters().polled, 512U);
    EXPECT_EQ(io.counters().poll_refused, 0U);
    // An Io that is destroyed while the device is at work waits for it.
    for (Token i = 0; i < 32; ++i) ASSERT_TRUE(io.read(FileSlot(0), buffers[i].bytes(), i << 16, i));
    (void)io.poll();
}

TEST(PolledDeviceTest, ReadsAndWritesAreReallyPolled) {
    const char* const device = std::getenv("SQUALL_TEST_POLLED");
    if (!device) GTEST_SKIP() << "SQUALL_TEST_POLLED names no device with poll queues";
    for (const Kind kind : polling_kinds) {
        SCOPED_TRACE(name_of(kind));
        expect_that_transfers_are_polled(kind, device);
    }
}

}  // namespace
}  // namespace squall
