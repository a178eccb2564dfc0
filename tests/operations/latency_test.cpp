// SPDX-License-Identifier: MIT
//
// Sampled latencies: which operations are sampled, what a sample says, the histogram's arithmetic, and that sampling
// changes nothing else.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <functional>
#include <limits>
#include <thread>

#include "rings.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

// --- The histogram ----------------------------------------------------------------------------------------------------

TEST(LatencyHistogramTest, AnEmptyOneHasNothingToTell) {
    const LatencyHistogram empty;
    EXPECT_EQ(empty.count(), 0U);
    EXPECT_EQ(empty.mean(), 0ns);
    EXPECT_EQ(empty.longest(), 0ns);
    EXPECT_EQ(empty.percentile(50), 0ns);
}

TEST(LatencyHistogramTest, BucketsAdjoinAndAreASixteenthOfAPowerOfTwoWide) {
    EXPECT_EQ(LatencyHistogram::lower_bound(0), 0ns);
    EXPECT_EQ(LatencyHistogram::lower_bound(LatencyHistogram::bucket_count).count(), std::int64_t{1} << 40);
    for (std::size_t i = 0; i + 1 < LatencyHistogram::bucket_count; ++i) {
        const auto low = LatencyHistogram::lower_bound(i);
        const auto width = LatencyHistogram::lower_bound(i + 1) - low;
        ASSERT_GT(width.count(), 0) << i;
        ASSERT_LE(width.count(), low.count() / 16 + 1) << i;
    }
}

TEST(LatencyHistogramTest, EveryDurationIsCountedInTheBucketThatHoldsIt) {
    for (std::uint64_t value = 0; value < 1'099'511'627'776; value += value / 7 + 1) {
        LatencyHistogram one;
        one.record(std::chrono::nanoseconds(value));
        std::size_t found = 0;
        while (one.bucket(found) == 0) ++found;
        ASSERT_LE(LatencyHistogram::lower_bound(found).count(), static_cast<std::int64_t>(value));
        if (found + 1 < LatencyHistogram::bucket_count) {
            ASSERT_GT(LatencyHistogram::lower_bound(found + 1).count(), static_cast<std::int64_t>(value));
        }
    }
}

TEST(LatencyHistogramTest, WhatIsTooLongOrNegativeIsCountedAtTheEnds) {
    LatencyHistogram ends;
    ends.record(std::chrono::nanoseconds::max());
    ends.record(std::chrono::nanoseconds(std::int64_t{1} << 40));
    ends.record(-5ns);
    EXPECT_EQ(ends.bucket(LatencyHistogram::bucket_count - 1), 2U);
    EXPECT_EQ(ends.bucket(0), 1U);
    EXPECT_EQ(ends.longest(), std::chrono::nanoseconds::max());
    EXPECT_EQ(ends.percentile(100), std::chrono::nanoseconds::max());
}

TEST(LatencyHistogramTest, PercentilesAreThoseOfTheSortedDurationsToTheWidthOfABucket) {
    LatencyHistogram latencies;
    for (int i = 1; i <= 10'000; ++i) latencies.record(std::chrono::nanoseconds(i * 100));
    EXPECT_EQ(latencies.count(), 10'000U);
    EXPECT_EQ(latencies.mean(), 500'050ns);
    EXPECT_EQ(latencies.longest(), 1'000'000ns);
    for (const double percent : {0.01, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 99.99}) {
        const double exact = percent * 10'000;
        const auto found = static_cast<double>(latencies.percentile(percent).count());
        EXPECT_GE(found, exact) << percent;
        EXPECT_LE(found, exact * 1.07) << percent;
    }
    EXPECT_EQ(latencies.percentile(100), 1'000'000ns);
    EXPECT_EQ(latencies.percentile(1000), 1'000'000ns);
    EXPECT_EQ(latencies.percentile(-1), latencies.percentile(0));
    EXPECT_EQ(latencies.percentile(std::nan("")), latencies.percentile(0));
    EXPECT_GE(latencies.percentile(0), 100ns) << "the shortest";
    EXPECT_LE(latencies.percentile(0), 107ns);
}

TEST(LatencyHistogramTest, SmallDurationsAreExact) {
    LatencyHistogram latencies;
    for (int i = 0; i < 16; ++i) latencies.record(std::chrono::nanoseconds(i));
    EXPECT_EQ(latencies.percentile(0), 0ns);
    EXPECT_EQ(latencies.percentile(50), 7ns);
    EXPECT_EQ(latencies.percentile(51), 8ns);
    EXPECT_EQ(latencies.percentile(100), 15ns);
}

TEST(LatencyHistogramTest, MergingIsAsIfAllHadBeenRecordedInOne) {
    LatencyHistogram a;
    LatencyHistogram b;
    LatencyHistogram both;
    for (int i = 0; i < 1000; ++i) {
        const std::chrono::nanoseconds duration(i * i);
        (i % 3 == 0 ? a : b).record(duration);
        both.record(duration);
    }
    ASSERT_NE(a.longest(), b.longest());
    const LatencyHistogram before = a;
    a.merge(b);
    b.merge(before);
    for (const LatencyHistogram& merged : {a, b}) {
        EXPECT_EQ(merged.count(), both.count());
        EXPECT_EQ(merged.mean(), both.mean());
        EXPECT_EQ(merged.longest(), both.longest());
        for (std::size_t i = 0; i < LatencyHistogram::bucket_count; ++i) ASSERT_EQ(merged.bucket(i), both.bucket(i));
    }
    a.clear();
    EXPECT_EQ(a.count(), 0U);
    EXPECT_EQ(a.percentile(50), 0ns);
}

TEST(LatencyHistogramTest, KindsHaveTheirNames) {
    EXPECT_STREQ(name(OpKind::nop), "nop");
    EXPECT_STREQ(name(OpKind::open), "open");
    EXPECT_STREQ(name(OpKind::read), "read");
    EXPECT_STREQ(name(OpKind::write), "write");
    EXPECT_STREQ(name(OpKind::fsync), "fsync");
    EXPECT_STREQ(name(OpKind::statx), "statx");
    EXPECT_STREQ(name(OpKind::rename), "rename");
    EXPECT_STREQ(name(OpKind::unlink), "unlink");
    EXPECT_STREQ(name(OpKind::close), "close");
    EXPECT_STREQ(name(OpKind::fallocate), "fallocate");
    EXPECT_STREQ(name(OpKind::truncate), "truncate");
    EXPECT_STREQ(name(OpKind::sync_range), "sync_range");
    EXPECT_STREQ(name(OpKind::advise), "advise");
    EXPECT_STREQ(name(OpKind::mkdir), "mkdir");
    EXPECT_STREQ(name(OpKind::link), "link");
    EXPECT_STREQ(name(OpKind::timer), "timer");
    EXPECT_STREQ(name(OpKind::cancel), "cancel");
    EXPECT_EQ(static_cast<std::size_t>(OpKind::cancel) + 1, op_kinds);
}

// --- Sampling ---------------------------------------------------------------------------------------------------------

class SamplingTest : public testing::TestWithParam<Kind> {
protected:
    Io make(std::uint32_t every, std::uint32_t entries = 16) {
        return make_io(GetParam(),
                       {.entries = entries,
                        .sampling = {.every = every, .histograms = &histograms_, .hook = &keep, .context = this}});
    }
    static void keep(void* self, const Sample& sample) noexcept {
        static_cast<SamplingTest*>(self)->samples_.push_back(sample);
    }
    std::uint64_t recorded() const {
        std::uint64_t sum = 0;
        for (const LatencyHistogram& histogram : histograms_.of_kind) sum += histogram.count();
        return sum;
    }
    std::vector<Sample> samples_;
    LatencyHistograms histograms_;
};
INSTANTIATE_TEST_SUITE_P(Modes, SamplingTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(SamplingTest, OneInSoManyIsSampledWhateverTheBatchIs) {
    for (const unsigned every : {1U, 2U, 5U, 16U, 17U, 100U}) {
        for (const unsigned batch : {1U, 3U, 16U}) {
            samples_.clear();
            Io io = make(every);
            Token token = 0;
            for (int round = 0; round < 200; ++round) {
                for (unsigned i = 0; i < batch; ++i, ++token)
                    while (!io.nop(token)) (void)io.poll();  // an SQPOLL thread may give the slots back late
                drain(io);
            }
            ASSERT_FALSE(samples_.empty());
            EXPECT_EQ(samples_[0].token, 0U);
            // A sample may come back later than the next is due, by a batch at most.
            for (std::size_t i = 1; i < samples_.size(); ++i) {
                const Token gap = samples_[i].token - samples_[i - 1].token;
                EXPECT_GE(gap, every);
                EXPECT_LE(gap, std::max(every, batch)) << "every " << every << ", batch " << batch;
            }
            EXPECT_GE(samples_.size(), token / std::max(every, batch));
        }
    }
}

TEST_P(SamplingTest, ASampleSaysWhatTheOperationWasAndWhatCameOfIt) {
    const TempDir directory;
    Io io = make(1);
    const std::string path = directory.file("a");
    const std::string other = directory.file("b");
    const int fd = result_of(io, io.open(path.c_str(), {.read = true, .write = true, .create = true}, 11));
    ASSERT_GE(fd, 0);
    std::vector<std::byte> bytes(512);
    struct ::statx status {};
    result_of(io, io.write(fd, bytes, 0, 12));
    result_of(io, io.read(fd, bytes, 0, 13));
    result_of(io, io.fsync(fd, 14));
    result_of(io, io.fdatasync(fd, 15));
    result_of(io, io.statx(fd, status, 16));
    result_of(io, io.rename(path.c_str(), other.c_str(), 17));
    result_of(io, io.unlink(path.c_str(), 18));
    result_of(io, io.unlink(other.c_str(), 19));
    result_of(io, io.close(fd, 20));
    result_of(io, io.nop(21));
    const struct {
        OpKind kind;
        std::int32_t res;
    } expected[] = {{OpKind::open, fd},  {OpKind::write, 512}, {OpKind::read, 512}, {OpKind::fsync, 0},
                    {OpKind::fsync, 0},  {OpKind::statx, 0},   {OpKind::rename, 0}, {OpKind::unlink, -ENOENT},
                    {OpKind::unlink, 0}, {OpKind::close, 0},   {OpKind::nop, 0}};
    ASSERT_EQ(samples_.size(), std::size(expected));
    for (std::size_t i = 0; i < samples_.size(); ++i) {
        EXPECT_EQ(samples_[i].token, 11 + i);
        EXPECT_EQ(samples_[i].kind, expected[i].kind) << name(samples_[i].kind);
        EXPECT_EQ(samples_[i].res, expected[i].res);
    }
    EXPECT_EQ(histograms_[OpKind::fsync].count(), 2U);
    EXPECT_EQ(histograms_[OpKind::unlink].count(), 2U);
    EXPECT_EQ(histograms_[OpKind::read].count(), 1U);
    EXPECT_EQ(recorded(), 11U);
}

TEST_P(SamplingTest, FixedTransfersAreReadsAndWrites) {
    auto arena = make_arena({.count = 1});
    const Pipe pipe;
    Io io = make_io(GetParam(), {.arena = &arena, .sampling = {.every = 1, .histograms = &histograms_}});
    const FixedBuffer buffer = arena.acquire().value();
    EXPECT_EQ(result_of(io, io.write(pipe.write_end, buffer.bytes().first(8), UINT64_MAX, 1)), 8);
    EXPECT_EQ(result_of(io, io.read(pipe.read_end, buffer.bytes().first(8), UINT64_MAX, 2)), 8);
    EXPECT_EQ(histograms_[OpKind::write].count(), 1U);
    EXPECT_EQ(histograms_[OpKind::read].count(), 1U);
}

TEST_P(SamplingTest, TimesAreInOrderAndTellHowLongItTook) {
    const Pipe pipe;
    Io io = make(1);
    std::byte byte{};
    const auto before = io.now();
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 7));
    std::this_thread::sleep_for(5ms);
    (void)io.poll();
    std::this_thread::sleep_for(10ms);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    drain(io);
    const auto after = io.now();
    ASSERT_EQ(samples_.size(), 1U);
    const Sample& sample = samples_[0];
    EXPECT_LE(before, sample.queued);
    EXPECT_LE(sample.queued + 5ms, sample.submitted);
    EXPECT_LE(sample.submitted + 10ms, sample.completed);
    EXPECT_LE(sample.completed, after);
    EXPECT_EQ(histograms_[OpKind::read].longest(), sample.completed - sample.queued);
}

TEST_P(SamplingTest, ASampleThatIsLongInFlightHoldsUpNothing) {
    const Pipe pipe;
    Io io = make(4);
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1'000'000));
    std::size_t seen = 0;
    for (Token token = 0; token < 100; ++token) {
        ASSERT_TRUE(io.nop(token));
        while (io.in_flight() > 1) seen += io.park().size();
    }
    EXPECT_EQ(seen, 100U);
    EXPECT_TRUE(samples_.empty());
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    drain(io);
    ASSERT_EQ(samples_.size(), 1U);
    EXPECT_EQ(samples_[0].token, 1'000'000U);
    ASSERT_TRUE(io.nop(5));
    drain(io);
    EXPECT_EQ(samples_.size(), 2U);
}

TEST_P(SamplingTest, ASampleOnItsWayKeepsNoSlotAsItIs) {
    const Pipe pipe;
    const Fd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
    Io io =
        make_io(GetParam(), {.entries = 8, .file_slots = 1, .sampling = {.every = 1, .hook = &keep, .context = this}});
    std::byte byte{};
    ASSERT_TRUE(io.set_file(FileSlot(0), file));
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    EXPECT_TRUE(io.poll().empty());
    const auto complete = [&](bool queued) {
        EXPECT_TRUE(queued);
        while (io.in_flight() > 1)
            for (const Completion& done : io.park()) EXPECT_EQ(done.res, 0) << done.token;
    };
    complete(io.close(FileSlot(0), 2));
    complete(io.open("/dev/null", {}, FileSlot(0), 3));
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    drain(io);
    ASSERT_FALSE(samples_.empty());
    EXPECT_EQ(samples_[0].token, 1U) << "a hook alone is enough";
}

TEST_P(SamplingTest, ASampleKeepsItsTokenWhileSlotsAreChangedBeforeItIsSubmitted) {
    const Fd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const FileSlot slot(0);
    const std::function<bool(Io&)> changes[] = {[&](Io& io) { return bool(io.set_file(slot, file)); },
                                                [&](Io& io) { return io.close(slot, 2); },
                                                [&](Io& io) { return io.open("/dev/null", {}, slot, 3); }};
    for (const auto& change : changes) {
        samples_.clear();
        Io io = make_io(GetParam(),
                        {.entries = 8, .file_slots = 1, .sampling = {.every = 1, .hook = &keep, .context = this}});
        ASSERT_TRUE(io.set_file(slot, file));
        ASSERT_TRUE(io.nop(1'000'000));
        ASSERT_TRUE(change(io));
        drain(io);
        ASSERT_FALSE(samples_.empty());
        EXPECT_EQ(samples_[0].token, 1'000'000U);
        EXPECT_EQ(samples_[0].kind, OpKind::nop);
    }
}

TEST_P(SamplingTest, WhatIsTakenBackWithTheTokenOfASampleEndsItNot) {
    Io io = make(1);
    ASSERT_TRUE(io.nop(0));
    ASSERT_TRUE(io.close(-1, 0));
    ASSERT_EQ(io.withdraw(), Token{0});
    drain(io);
    ASSERT_EQ(samples_.size(), 1U);
    EXPECT_EQ(samples_[0].kind, OpKind::nop);
}

TEST_P(SamplingTest, ASampleThatCouldNotBeSubmittedAndIsTakenBackMakesWayForTheNext) {
    Io io = make(1);
    ASSERT_TRUE(io.nop(1));
    drain(io);
    ASSERT_TRUE(io.nop(2));
    {
        const Intercept refused(refuse(nr_enter, -EPERM));
        if (!io.poll().failed()) return;  // an SQPOLL thread that is awake needs no enter
    }
    if (!io.withdraw()) return;  // it was shown to one that slept
    ASSERT_TRUE(io.nop(3));
    drain(io);
    ASSERT_EQ(samples_.size(), 2U);
    EXPECT_EQ(samples_[1].token, 3U);
}

// An SQPOLL ring's system calls depend on when its thread sleeps.
class SamplingCostTest : public SamplingTest {};
INSTANTIATE_TEST_SUITE_P(Modes, SamplingCostTest, testing::Values(Kind{Mode::deferred}, Kind{Mode::plain}),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(SamplingCostTest, NeedsNoSystemCallAndNoAllocationMore) {
    const auto count = [](Io& io) {
        const std::uint64_t before = calls_made();
        for (int round = 0; round < 100; ++round) {
            for (Token token = 0; token < 8; ++token) EXPECT_TRUE(io.nop(token));
            while (io.in_flight() > 0) (void)io.poll();
            (void)io.poll();
        }
        return calls_made() - before;
    };
    Io plain = make_io(GetParam(), {.entries = 16});
    Io sampled = make_io(GetParam(), {.entries = 16, .sampling = {.every = 3, .histograms = &histograms_}});
    ASSERT_EQ(result_of(plain, plain.nop(1)), 0);
    ASSERT_EQ(result_of(sampled, sampled.nop(1)), 0);
    const std::uint64_t allocations = allocations_made();
    const std::uint64_t with = count(sampled);
    EXPECT_EQ(allocations_made(), allocations);
    EXPECT_EQ(count(plain), with);
    EXPECT_EQ(with, 100U);
    EXPECT_GE(recorded(), 100U);
}

TEST_P(SamplingCostTest, WaitingForASampleNeedsNoSystemCall) {
    const Pipe pipe;
    Io io = make(1);
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    EXPECT_TRUE(io.poll().empty());
    const std::uint64_t before = calls_made();
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(io.poll().empty());
    EXPECT_EQ(calls_made(), before);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    drain(io);
    EXPECT_EQ(samples_.size(), 1U);
}

TEST_P(SamplingTest, ASampleOnItsWayWhenTheIoIsDestroyedIsDropped) {
    const Pipe pipe;
    std::byte byte{};
    {
        Io io = make(1);
        ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
        (void)io.poll();
    }
    EXPECT_EQ(recorded(), 0U);
}

TEST_P(SamplingTest, ParkingWaitsAndReturnsAsWithoutIt) {
    const Pipe pipe;
    Io io = make(1);
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    const auto before = io.now();
    EXPECT_TRUE(io.park(20ms).empty());
    EXPECT_GE(io.now() - before, 20ms);
    EXPECT_TRUE(io.park(0ms).empty());
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    EXPECT_EQ(io.park().size(), 1U);
    EXPECT_EQ(samples_.size(), 1U);
}

TEST(SamplingOptionsTest, SamplesMustGoSomewhere) {
    const auto refused = Io::create({.sampling = {.every = 7}});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), EINVAL);
    EXPECT_NE(refused.error().message().find("sampling.every is 7"), std::string::npos);
    LatencyHistograms histograms;
    EXPECT_TRUE(Io::create({.sampling = {.every = 1, .histograms = &histograms}}));
    EXPECT_TRUE(Io::create({.sampling = {.every = 1, .hook = [](void*, const Sample&) noexcept {}}}));
}

// --- Waiting for several ----------------------------------------------------------------------------------------------

class ParkForSeveralTest : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Modes, ParkForSeveralTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(ParkForSeveralTest, ReturnsOnlyWhenAsManyAreThere) {
    const Pipe pipe;
    Io io = make_io(GetParam(), {.entries = 16});
    std::byte bytes[4];
    for (Token token = 0; token < 4; ++token)
        ASSERT_TRUE(io.read(pipe.read_end, {&bytes[token], 1}, UINT64_MAX, token));
    std::thread writer([&] {
        for (int i = 0; i < 3; ++i) {
            std::this_thread::sleep_for(10ms);
            ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
        }
    });
    EXPECT_EQ(io.park(3).size(), 3U);
    writer.join();
    EXPECT_EQ(io.in_flight(), 1U);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    EXPECT_EQ(io.park(3).size(), 1U);  // all that are in flight
    EXPECT_TRUE(io.park(3).empty());
}

TEST_P(ParkForSeveralTest, ReturnsWithFewerWhenTheTimeHasRunOut) {
    const Pipe pipe;
    Io io = make_io(GetParam(), {.entries = 16});
    std::byte bytes[2];
    for (Token token = 0; token < 2; ++token)
        ASSERT_TRUE(io.read(pipe.read_end, {&bytes[token], 1}, UINT64_MAX, token));
    (void)io.poll();
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    if (GetParam().mode == Mode::sqpoll) until_completed(1);  // elsewhere the park itself completes it
    const auto before = io.now();
    EXPECT_EQ(io.park(30ms, 2).size(), 1U);
    EXPECT_GE(io.now() - before, 30ms);
}

TEST(ParkForSeveralCostTest, TakesOneEnterForAllOfThem) {
    for (const Mode mode : {Mode::deferred, Mode::plain}) {
        Io io = make_io(mode, {.entries = 16});
        for (Token token = 0; token < 8; ++token) ASSERT_TRUE(io.nop(token));
        const std::uint64_t before = calls_made(test::nr_enter);
        EXPECT_EQ(io.park(8).size(), 8U);
        EXPECT_EQ(calls_made(test::nr_enter) - before, 1U);
    }
}

TEST_P(ParkForSeveralTest, WaitingForNoneIsPolling) {
    const Pipe pipe;
    Io io = make_io(GetParam(), {.entries = 16});
    std::byte byte{};
    ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 1));
    EXPECT_TRUE(io.park(0).empty());
    EXPECT_TRUE(io.park(0).empty());
    EXPECT_TRUE(io.park(10s, 0).empty());
    EXPECT_EQ(io.in_flight(), 1U);
    ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
    drain(io);
}

}  // namespace
}  // namespace squall
