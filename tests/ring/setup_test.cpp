// SPDX-License-Identifier: MIT
//
// Making a ring, call by call: what is asked of the kernel, in which order and with which arguments, what is made of its
// answers, and that unmaking it undoes exactly that. The kernel is user_kernel.hpp's; what real ones refuse is
// refusal_test.cpp's.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <type_traits>

#include "child.hpp"
#include "patience.hpp"
#include "support.hpp"
#include "trace.hpp"
#include "user_kernel.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

constexpr std::uint32_t always = abi::setup_cqsize | abi::setup_clamp | abi::setup_r_disabled;
constexpr std::uint32_t deferred =
    abi::setup_single_issuer | abi::setup_defer_taskrun | abi::setup_taskrun_flag | abi::setup_submit_all;
constexpr std::uint32_t sqpoll = abi::setup_sqpoll | abi::setup_single_issuer | abi::setup_submit_all;

std::vector<std::uint32_t> flags_tried(const UserKernel& kernel) {
    std::vector<std::uint32_t> flags;
    for (const abi::Params& params : kernel.setups) flags.push_back(params.flags);
    return flags;
}

TEST(Setup, MakesARingWithTheseCallsAndUnmakesItWithThose) {
    BufferArena arena = make_arena({.count = 4});
    UserKernel kernel;
    Trace trace;
    {
        const Io io = make_io({.entries = 8, .arena = &arena, .file_slots = 3});
        EXPECT_EQ(trace.take(),
                  "m1 = mmap 4096 read write private anonymous\n"
                  "madvise m1 4096 wipe-on-fork\n"
                  "ring1 = setup 8\n"
                  "m2 = mmap 768 read write shared populate of ring1 at 0x0\n"
                  "madvise m2 768 dont-fork\n"
                  "m3 = mmap 512 read write shared populate of ring1 at 0x10000000\n"
                  "madvise m3 512 dont-fork\n"
                  "m4 = mmap 65536 read write private anonymous noreserve\n"
                  "madvise m4 65536 dont-fork\n"
                  "register ring1 probe 256\n"
                  "register ring1 iowq-max-workers 2\n"
                  "pipe cloexec\n"
                  "register ring1 files 4\n"
                  "close pipe1.write\n"
                  "register ring1 buffers 1\n");
    }
    EXPECT_EQ(trace.take(),
              "register ring1 unregister-buffers 0\n"
              "register ring1 unregister-files 0\n"
              "munmap m2 768\n"
              "munmap m3 512\n"
              "munmap m4 65536\n"
              "close ring1\n"
              "close pipe1.read\n"
              "munmap m1 4096\n");
}

TEST(Setup, MakesNothingThatWasNotAskedFor) {
    UserKernel kernel;
    Trace trace;
    {
        const Io io = make_io({.entries = 1, .mode = Mode::plain});
        EXPECT_EQ(trace.take(),
                  "m1 = mmap 4096 read write private anonymous\n"
                  "madvise m1 4096 wipe-on-fork\n"
                  "ring1 = setup 1\n"
                  "m2 = mmap 544 read write shared populate of ring1 at 0x0\n"
                  "madvise m2 544 dont-fork\n"
                  "m3 = mmap 64 read write shared populate of ring1 at 0x10000000\n"
                  "madvise m3 64 dont-fork\n"
                  "m4 = mmap 8192 read write private anonymous noreserve\n"
                  "madvise m4 8192 dont-fork\n"
                  "register ring1 probe 256\n"
                  "pipe cloexec\n"
                  "register ring1 files 1\n"
                  "close pipe1.write\n");
    }
    EXPECT_EQ(trace.take(),
              "munmap m2 544\n"
              "munmap m3 64\n"
              "munmap m4 8192\n"
              "close ring1\n"
              "close pipe1.read\n"
              "munmap m1 4096\n");
}

// A program without standard input, output and error may get them at any time.
TEST(Setup, KeepsNothingAtDescriptors0To2) {
    in_child_alone([] {
        const std::array<int, 3> kept = {::fcntl(0, F_DUPFD, 100), ::fcntl(1, F_DUPFD, 100), ::fcntl(2, F_DUPFD, 100)};
        for (int fd = 0; fd < 3; ++fd) ::close(fd);
        UserKernel kernel;
        Trace trace;
        std::string made;
        {
            const Io io = make_io({.entries = 1, .mode = Mode::plain});
            made = trace.take();
        }
        const std::string unmade = trace.take();
        std::array<int, 3> free{};
        for (int fd = 0; fd < 3; ++fd) {
            free[static_cast<std::size_t>(fd)] = ::fcntl(fd, F_GETFD);
            ::dup2(kept[static_cast<std::size_t>(fd)], fd);
        }
        EXPECT_EQ(free, (std::array<int, 3>{-1, -1, -1}));
        EXPECT_EQ(made,
                  "m1 = mmap 4096 read write private anonymous\n"
                  "madvise m1 4096 wipe-on-fork\n"
                  "ring1 = setup 1\n"
                  "fcntl ring1 F_DUPFD_CLOEXEC 3\n"
                  "close ring1\n"
                  "m2 = mmap 544 read write shared populate of ring1 at 0x0\n"
                  "madvise m2 544 dont-fork\n"
                  "m3 = mmap 64 read write shared populate of ring1 at 0x10000000\n"
                  "madvise m3 64 dont-fork\n"
                  "m4 = mmap 8192 read write private anonymous noreserve\n"
                  "madvise m4 8192 dont-fork\n"
                  "register ring1 probe 256\n"
                  "pipe cloexec\n"
                  "register ring1 files 1\n"
                  "close pipe1.write\n"
                  "fcntl pipe1.read F_DUPFD_CLOEXEC 3\n"
                  "close pipe1.read\n");
        EXPECT_EQ(unmade,
                  "munmap m2 544\n"
                  "munmap m3 64\n"
                  "munmap m4 8192\n"
                  "close ring1\n"
                  "close pipe1.read\n"
                  "munmap m1 4096\n");
    });
}

TEST(Setup, SaysWhenADescriptorCannotBeKeptApartAndLeavesNothingBehind) {
    struct Refused {
        long answer;
        int code;
        const char* words;
    };
    const std::string doing = "Io::create: fcntl(F_DUPFD_CLOEXEC, 3), which keeps it apart from descriptors 0 to 2: ";
    for (const Refused& refused : {Refused{-EMFILE, EMFILE, "RLIMIT_NOFILE is "},
                                   // How it says that RLIMIT_NOFILE has nothing from 3 on.
                                   Refused{-EINVAL, EMFILE, "RLIMIT_NOFILE is "},
                                   Refused{-ENFILE, ENFILE, "fs.file-max"}, Refused{-EPERM, EPERM, "fcntl"}}) {
        for (int nth = 0; nth < 2; ++nth) {
            SCOPED_TRACE(std::to_string(refused.answer) + " of " + std::to_string(nth));
            const std::string said = in_child([&]() -> std::string {
                const int standard_input = ::fcntl(0, F_DUPFD, 100);
                ::close(0);
                UserKernel kernel;
                int calls = 0;
                kernel.on_other_call = [&](Call& call) -> std::optional<long> {
                    // The pipe's end is at 0, also where the ring's was moved.
                    if (call.number != SYS_fcntl || calls++ != nth) return std::nullopt;
                    return refused.answer;
                };
                const Footprint before = footprint_now();
                std::string words;
                {
                    const auto io = Io::create({.entries = 8});
                    EXPECT_EQ(io ? 0 : io.error().code(), refused.code);
                    words = io ? "it was made" : io.error().message();
                }
                kernel.on_other_call = nullptr;
                EXPECT_EQ(::fcntl(0, F_GETFD), -1) << "it was left open";
                EXPECT_EQ(footprint_now(), before);
                ::dup2(standard_input, 0);
                return words;
            });
            EXPECT_EQ(said.substr(0, doing.size()), doing);
            EXPECT_TRUE(contains(said, refused.words)) << said;
        }
    }
}

void expect_no_more_than_is_asked(abi::Params params) {
    params.flags = params.cq_entries = params.sq_thread_idle = params.sq_thread_cpu = 0;
    const abi::Params zero{};
    EXPECT_EQ(std::memcmp(&params, &zero, sizeof(zero)), 0) << "everything else must be zero";
}

TEST(Setup, AsksForTheBestOfEachMode) {
    UserKernel kernel;
    (void)make_io({.entries = 8});
    (void)make_io({.entries = 8, .completion_entries = 64, .mode = Mode::plain});
    (void)make_io({.entries = 8, .mode = Mode::sqpoll});
    (void)make_io({.entries = 8, .mode = Mode::sqpoll, .sqpoll_idle = 77ms, .sqpoll_cpu = 3});
    EXPECT_EQ(
        flags_tried(kernel),
        (std::vector<std::uint32_t>{
            always | abi::setup_no_sqarray | deferred, always | abi::setup_no_sqarray | abi::setup_submit_all,
            always | abi::setup_no_sqarray | sqpoll, always | abi::setup_no_sqarray | sqpoll | abi::setup_sq_aff}));
    EXPECT_EQ(kernel.setups[0].cq_entries, 16U) << "twice the SQ";
    EXPECT_EQ(kernel.setups[1].cq_entries, 64U);
    EXPECT_EQ(kernel.setups[2].sq_thread_idle, 2U);
    EXPECT_EQ(kernel.setups[2].sq_thread_cpu, 0U);
    EXPECT_EQ(kernel.setups[3].sq_thread_idle, 77U);
    EXPECT_EQ(kernel.setups[3].sq_thread_cpu, 3U);
    for (const abi::Params& params : kernel.setups) expect_no_more_than_is_asked(params);
}

// A kernel answers EINVAL to a flag that it does not know; each fallback gives up the newest that is left.
TEST(Setup, GivesUpTheNewestFlagFirst) {
    const auto tried = [](Mode mode, std::uint32_t unknown) {
        UserKernel kernel;
        kernel.unknown_flags = unknown;
        const auto io = Io::create({.entries = 8, .mode = mode, .sqpoll_cpu = 1});
        EXPECT_EQ(io.has_value(), (unknown & always) == 0);
        for (const abi::Params& params : kernel.setups) {
            EXPECT_EQ(params.cq_entries, 16U) << "left over from a refusal";
            expect_no_more_than_is_asked(params);
        }
        if (io) {
            EXPECT_EQ(io->features().setup_flags_asked, kernel.setups.front().flags);
            EXPECT_EQ(io->features().setup_flags, kernel.setups.back().flags);
        }
        return flags_tried(kernel);
    };
    using Flags = std::vector<std::uint32_t>;
    const Flags deferred_all = {
        always | abi::setup_no_sqarray | deferred,
        always | deferred,
        always | abi::setup_single_issuer | abi::setup_coop_taskrun | abi::setup_taskrun_flag | abi::setup_submit_all,
        always | abi::setup_coop_taskrun | abi::setup_taskrun_flag | abi::setup_submit_all,
        always | abi::setup_submit_all,
        always};
    const auto first = [](const Flags& flags, std::ptrdiff_t count) {
        return Flags(flags.begin(), flags.begin() + count);
    };
    EXPECT_EQ(tried(Mode::deferred, 0), first(deferred_all, 1));
    EXPECT_EQ(tried(Mode::deferred, abi::setup_no_sqarray), first(deferred_all, 2));
    EXPECT_EQ(tried(Mode::deferred, abi::setup_defer_taskrun), first(deferred_all, 3));
    EXPECT_EQ(tried(Mode::deferred, abi::setup_single_issuer), first(deferred_all, 4));
    EXPECT_EQ(tried(Mode::deferred, abi::setup_taskrun_flag), first(deferred_all, 5));
    EXPECT_EQ(tried(Mode::deferred, abi::setup_submit_all), deferred_all);
    EXPECT_EQ(tried(Mode::deferred, abi::setup_cqsize), deferred_all) << "and then says no";
    EXPECT_EQ(tried(Mode::plain, abi::setup_submit_all),
              (Flags{always | abi::setup_no_sqarray | abi::setup_submit_all, always | abi::setup_submit_all, always}));
    const std::uint32_t polled = always | abi::setup_sqpoll | abi::setup_sq_aff;
    EXPECT_EQ(
        tried(Mode::sqpoll, abi::setup_submit_all),
        (Flags{polled | abi::setup_no_sqarray | abi::setup_single_issuer | abi::setup_submit_all,
               polled | abi::setup_single_issuer | abi::setup_submit_all, polled | abi::setup_submit_all, polled}));
}

TEST(Setup, ShowsWhatTheKernelGave) {
    UserKernel kernel;
    kernel.last_op = 41;
    kernel.features |= 1U << 20;
    BufferArena arena = make_arena({.count = 4});
    const Io io = make_io({.entries = 5, .completion_entries = 33, .arena = &arena, .file_slots = 9});
    const Features& given = io.features();
    EXPECT_EQ(given.mode, Mode::deferred);
    EXPECT_EQ(given.sq_entries, 8U);
    EXPECT_EQ(given.cq_entries, 64U);
    EXPECT_EQ(given.kernel_features, kernel.features);
    EXPECT_EQ(given.last_op, 41U);
    EXPECT_EQ(given.fixed_regions, 1U);
    EXPECT_EQ(given.file_slots, 9U);
    EXPECT_TRUE(given.single_issuer && given.deferred_taskrun && given.taskrun_flag && given.no_sqarray);
    EXPECT_FALSE(given.registered_ring) << "nothing was submitted yet";

    const Io plain = make_io({.entries = 4, .mode = Mode::plain});
    EXPECT_EQ(plain.features().mode, Mode::plain);
    EXPECT_EQ(plain.features().fixed_regions, 0U);
    EXPECT_EQ(plain.features().file_slots, 0U);
    EXPECT_FALSE(plain.features().single_issuer || plain.features().deferred_taskrun || plain.features().taskrun_flag);
    EXPECT_EQ(make_io({.entries = 4, .mode = Mode::sqpoll}).features().mode, Mode::sqpoll);
}

TEST(Setup, AsksForWhatTheHeadersSayWhereNothingIsSaid) {
    const IoOptions io;
    EXPECT_EQ(io.entries, 256U);
    EXPECT_EQ(io.completion_entries, 0U);
    EXPECT_EQ(io.mode, Mode::deferred);
    EXPECT_EQ(io.polling, Polling::none);
    EXPECT_EQ(io.arena, nullptr);
    EXPECT_EQ(io.file_slots, 0U);
    EXPECT_EQ(io.sampling.every, 0U);
    EXPECT_EQ(io.sqpoll_idle, 2ms);
    EXPECT_FALSE(io.sqpoll_cpu);
    const ArenaOptions arena;
    EXPECT_EQ(arena.buffer_size, 4096U);
    EXPECT_EQ(arena.count, 256U);
    EXPECT_EQ(arena.pages, Pages::automatic);
    const OpenOptions open;
    EXPECT_FALSE(open.read || open.write || open.create || open.create_new || open.truncate || open.append ||
                 open.direct || open.dsync);
    EXPECT_EQ(open.mode, 0644U);
    const Counters none;
    for (const std::uint64_t count :
         {none.submitted, none.completed, none.enters, none.queue_full, none.fixed, none.unregistered, none.polled,
          none.poll_refused, none.retries, none.overflow_flushes, none.sqpoll_wakeups})
        EXPECT_EQ(count, 0U);
}

TEST(Setup, AFileSlotIsAPlaceBehindTheFirstOrNowhere) {
    EXPECT_EQ(FileSlot(0).table_index(), 1U);
    EXPECT_EQ(FileSlot(0).number(), 0U);
    EXPECT_EQ(FileSlot::count_max, (1U << 20) - 1);
    EXPECT_EQ(FileSlot(FileSlot::count_max - 1).table_index(), FileSlot::count_max);
    for (const std::uint32_t beyond : {FileSlot::count_max, FileSlot::count_max + 1, UINT32_MAX}) {
        EXPECT_EQ(FileSlot(beyond).table_index(), 0x7fffffffU) << "in no table, and no descriptor's number";
        EXPECT_EQ(FileSlot(beyond), FileSlot(UINT32_MAX));
    }
    EXPECT_NE(FileSlot(0), FileSlot(1));
}

// A ring and an arena are what the kernel holds: there is no second one of either.
static_assert(!std::is_copy_constructible_v<detail::Front> && !std::is_copy_assignable_v<detail::Front>);
static_assert(!std::is_copy_constructible_v<Io> && !std::is_copy_assignable_v<Io>);
static_assert(!std::is_copy_constructible_v<BufferArena> && !std::is_copy_assignable_v<BufferArena>);
static_assert(!std::is_copy_constructible_v<FixedBuffer> && !std::is_copy_assignable_v<FixedBuffer>);
static_assert(!std::is_copy_constructible_v<Completions> && !std::is_copy_assignable_v<Completions>);

TEST(Setup, TakesEveryOptionUpToItsLimit) {
    UserKernel kernel;
    const auto code = [](const IoOptions& options) {
        const auto io = Io::create(options);
        return io ? 0 : io.error().code();
    };
    constexpr auto idle_max = std::chrono::milliseconds(UINT32_MAX);
    EXPECT_EQ(code({.entries = 1, .completion_entries = 1}), 0);
    EXPECT_EQ(code({.entries = 32768, .completion_entries = 32768}), 0);
    EXPECT_EQ(code({.entries = 128, .completion_entries = 128}), 0);
    EXPECT_EQ(code({.entries = 1, .completion_entries = 65536}), 0);
    EXPECT_EQ(code({.entries = 1, .mode = Mode::sqpoll, .sqpoll_idle = 1ms}), 0);
    EXPECT_EQ(code({.entries = 1, .mode = Mode::sqpoll, .sqpoll_idle = idle_max}), 0);
    EXPECT_EQ(kernel.setups.back().sq_thread_idle, UINT32_MAX);
    EXPECT_EQ(code({.entries = 1, .sqpoll_idle = 0ms}), 0) << "of no concern in another mode";
    EXPECT_EQ(code({.entries = 1, .file_slots = FileSlot::count_max}), 0);
    EXPECT_EQ(kernel.registers.rbegin()[1].count, FileSlot::count_max + 1) << "the last but the unregistering";
    const std::size_t asked = kernel.setups.size();
    EXPECT_EQ(code({.entries = 32769}), EINVAL);
    EXPECT_EQ(code({.entries = 128, .completion_entries = 127}), EINVAL);
    EXPECT_EQ(code({.entries = 129, .completion_entries = 255}), EINVAL);
    EXPECT_EQ(code({.entries = 1, .completion_entries = 65537}), EINVAL);
    EXPECT_EQ(code({.entries = 1, .mode = Mode::sqpoll, .sqpoll_idle = 0ms}), EINVAL);
    EXPECT_EQ(code({.entries = 1, .mode = Mode::sqpoll, .sqpoll_idle = idle_max + 1ms}), EINVAL);
    EXPECT_EQ(code({.entries = 1, .file_slots = FileSlot::count_max + 1}), EINVAL);
    EXPECT_EQ(kernel.setups.size(), asked) << "the kernel is not even asked";
}

TEST(Setup, NamesTheValueAndTheRuleOfEachOption) {
    const auto message = [](const IoOptions& options) { return Io::create(options).error().message(); };
    const std::string refused = ": EINVAL (Invalid argument): it must be ";
    EXPECT_EQ(message({.entries = 0}), "Io::create: entries is 0" + refused + "1 to 32768");
    EXPECT_EQ(message({.entries = 100, .completion_entries = 65537}),
              "Io::create: completion_entries is 65537" + refused +
                  "0 for twice the SQ, or 128 (entries, rounded up to a power of two) to 65536");
    EXPECT_EQ(message({.mode = static_cast<Mode>(3)}), "Io::create: mode is 3" + refused + "one of squall::Mode's");
    EXPECT_EQ(message({.file_slots = 1 << 20}), "Io::create: file_slots is 1048576" + refused + "0 to 1048575");
    EXPECT_EQ(message({.mode = Mode::sqpoll, .sqpoll_idle = -1ms}),
              "Io::create: sqpoll_idle is -1 ms" + refused + "1 ms to 4294967295 ms");
}

// --- Mapping --------------------------------------------------------------------------------------------------------

// Where the rings lie, the words are found there: what was queued arrives, in order, and so do the completions.
void expect_that_it_works(UserKernel& kernel, Io& io) {
    const std::uint32_t entries = io.features().sq_entries;
    for (int round = 0; round < 3; ++round) {
        for (Token token = 0; token < entries; ++token) ASSERT_TRUE(io.nop(token));
        Token next = 0;
        for (const Completion& completion : io.poll()) EXPECT_EQ(completion.token, next++);
        EXPECT_EQ(next, entries);
    }
    EXPECT_EQ(kernel.ring().consumed.size(), 3 * entries);
}

TEST(Setup, MapsARingWhoseIndexArrayIsBehindTheCompletions) {
    UserKernel kernel;
    kernel.unknown_flags = abi::setup_no_sqarray;
    Trace trace;
    Io io = make_io({.entries = 8, .completion_entries = 8});
    const std::string calls = trace.take();
    // 512 bytes of words, 8 CQEs of 16 bytes, 8 indices of 4.
    EXPECT_NE(calls.find("m2 = mmap 672 read write shared populate of ring1 at 0x0\nmadvise m2 672 dont-fork\n"),
              std::string::npos)
        << calls;
    expect_that_it_works(kernel, io);
}

TEST(Setup, MapsARingWhoseIndexArrayIsBeforeTheCompletions) {
    UserKernel kernel;
    kernel.unknown_flags = abi::setup_no_sqarray;
    kernel.array_behind_cqes = false;
    Trace trace;
    Io io = make_io({.entries = 8});
    const std::string calls = trace.take();
    EXPECT_NE(calls.find("m2 = mmap 800 read write shared populate of ring1 at 0x0\nmadvise m2 800 dont-fork\n"),
              std::string::npos)
        << calls;
    expect_that_it_works(kernel, io);
}

TEST(Setup, MapsTwoRingsThatTheKernelDoesNotJoin) {
    for (const bool with_array : {false, true}) {
        UserKernel kernel;
        kernel.features &= ~abi::feat_single_mmap;
        if (with_array) kernel.unknown_flags = abi::setup_no_sqarray;
        Trace trace;
        {
            Io io = make_io({.entries = 8});
            const std::string calls = trace.take();
            const std::string bytes = with_array ? "544" : "512";
            EXPECT_NE(
                calls.find("m2 = mmap " + bytes + " read write shared populate of ring1 at 0x0\nmadvise m2 " + bytes +
                           " dont-fork\n"
                           "m3 = mmap 768 read write shared populate of ring1 at 0x8000000\n"
                           "madvise m3 768 dont-fork\n"),
                std::string::npos)
                << calls;
            expect_that_it_works(kernel, io);
            trace.take();
        }
        const std::string calls = trace.take();
        EXPECT_NE(calls.find("munmap m3 768\n"), std::string::npos) << calls;
    }
}

TEST(Setup, NamesTheRingThatItCouldNotMap) {
    // The SQ ring, the CQ ring, the SQEs and the paths, each refused at its mmap and at its madvise.
    for (int nth = 0; nth < 8; ++nth) {
        UserKernel kernel;
        kernel.features &= ~abi::feat_single_mmap;
        int calls = -2;  // for the ring's own page
        kernel.on_other_call = [&](Call& call) -> std::optional<long> {
            if (call.number != SYS_mmap && call.number != SYS_madvise) return std::nullopt;
            return calls++ == nth ? std::optional<long>(-EAGAIN) : std::nullopt;
        };
        const auto io = Io::create({.entries = 8});
        ASSERT_FALSE(io) << nth;
        EXPECT_EQ(io.error().code(), EAGAIN);
        EXPECT_EQ(io.error().doing(),
                  (nth % 2 == 0 ? std::string("Io::create: mapping") : "Io::create: madvise(MADV_DONTFORK) of") +
                      " a ring of 8 SQ and 16 CQ entries");
        EXPECT_EQ(kernel.registers.size(), 0U);
    }
}

// --- Locked memory that comes back late -------------------------------------------------------------------------------

// A user whose locked memory is limited, and a process that has closed a ring a moment ago, whenever that is.
class Patience : public testing::Test {
protected:
    Patience() {
        closed_lately();
        kernel.on_other_call = [this](Call& call) -> std::optional<long> {
            switch (call.number) {
                case SYS_prlimit64: {
                    const std::uint64_t limits[2] = {limit, UINT64_MAX};
                    std::memcpy(reinterpret_cast<void*>(call.args[3]), limits, sizeof(limits));
                    return 0;
                }
                case SYS_statx:
                    return -ENOENT;  // and so no capability is known of
                case SYS_ppoll: {
                    const auto& time = *reinterpret_cast<const abi::Timespec*>(call.args[2]);
                    naps.push_back(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
                    return 0;
                }
                default:
                    return std::nullopt;
            }
        };
        kernel.on_setup = [this](const abi::Params&) -> std::optional<long> {
            if (setups_refused == 0) return std::nullopt;
            --setups_refused;
            return -code;
        };
        kernel.on_register = [this](const Register& what) -> std::optional<long> {
            if (what.code != abi::register_buffers || arenas_refused == 0) return std::nullopt;
            --arenas_refused;
            return -code;
        };
    }
    static void closed_lately() { closed(1h); }
    // So long from now.
    static void closed(std::chrono::nanoseconds from_now) {
        detail::locked_memory_returned = (sys::now(nullptr) + from_now).count();
    }
    Result<Io> make(BufferArena* arena = nullptr) {
        naps.clear();
        kernel.setups.clear();
        kernel.registers.clear();
        return Io::create({.entries = 8, .arena = arena});
    }
    // What it does when it is refused once: it tries once more, or does not.
    bool tries_again() {
        setups_refused = 1;
        const auto io = make();
        EXPECT_EQ(kernel.setups.size(), io ? 2U : 1U);
        EXPECT_EQ(naps.size(), io ? 1U : 0U);
        EXPECT_EQ(io ? code : io.error().code(), code);
        setups_refused = 0;
        closed_lately();  // not by this
        return io.has_value();
    }
    static constexpr std::size_t tries_max = 28;

    std::uint64_t limit = 64 << 10;
    int code = ENOMEM;
    int setups_refused = 0;
    int arenas_refused = 0;
    std::vector<std::chrono::nanoseconds> naps;
    UserKernel kernel;
};

TEST_F(Patience, MakesTheRingOnceTheMemoryIsBack) {
    for (const int times : {0, 1, 5, 27}) {
        setups_refused = times;
        const auto io = make();
        ASSERT_TRUE(io) << io.error().message();
        EXPECT_EQ(kernel.setups.size(), static_cast<std::size_t>(times) + 1);
        EXPECT_EQ(naps.size(), static_cast<std::size_t>(times));
        closed_lately();
    }
}

TEST_F(Patience, EndsAfterSomeFiveSecondsInEverLongerSteps) {
    setups_refused = INT_MAX;
    const auto io = make();
    ASSERT_FALSE(io);
    EXPECT_EQ(io.error().code(), ENOMEM);
    EXPECT_TRUE(contains(io.error().message(), "RLIMIT_MEMLOCK")) << io.error().message();
    EXPECT_EQ(kernel.setups.size(), tries_max);
    ASSERT_EQ(naps.size(), tries_max - 1);
    std::chrono::nanoseconds all{0};
    for (std::size_t nap = 0; nap < naps.size(); ++nap) {
        EXPECT_EQ(naps[nap], std::min(1ms * (1 << std::min<std::size_t>(nap, 8)), 256ms));
        all += naps[nap];
    }
    EXPECT_GE(all, 5s);
    EXPECT_LT(all, 5s + 256ms);
}

TEST_F(Patience, IsForWhatThisProcessGaveBackAMomentAgo) {
    EXPECT_TRUE(tries_again());
    closed(-5s);
    EXPECT_FALSE(tries_again());
    detail::locked_memory_returned = 0;
    EXPECT_FALSE(tries_again());
}

TEST_F(Patience, IsForLockedMemoryAlone) {
    limit = UINT64_MAX;
    EXPECT_FALSE(tries_again()) << "nothing limits it";
    // The SQEs' page and the CQEs'.
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    limit = 2 * page - 1;
    EXPECT_FALSE(tries_again()) << "it never fits";
    limit = 2 * page;
    EXPECT_TRUE(tries_again());
    for (const int other : {EPERM, EMFILE, ENFILE, EAGAIN, EBADF}) {
        code = other;
        EXPECT_FALSE(tries_again());
    }
}

TEST_F(Patience, RegistersTheArenaOnceTheMemoryIsBack) {
    BufferArena arena = make_arena({.count = 4, .pages = Pages::base});
    for (const int times : {1, 27, 28}) {
        arenas_refused = times;
        const auto io = make(&arena);
        EXPECT_EQ(io.has_value(), times < 28);
        EXPECT_EQ(kernel.setups.size(), 1U) << "the ring is kept meanwhile";
        EXPECT_EQ(kernel.registered(abi::register_buffers), static_cast<std::size_t>(std::min(times + 1, 28)));
        EXPECT_EQ(naps.size(), static_cast<std::size_t>(std::min(times, 27)));
        closed_lately();
    }
    arenas_refused = 1;
    limit = arena.memory().size() - 1;
    EXPECT_FALSE(make(&arena));
    EXPECT_EQ(naps.size(), 0U) << "it never fits";
}

TEST_F(Patience, KnowsOfARingOnceItIsClosed) {
    const auto closes_one = [](auto make_one) {
        detail::locked_memory_returned = 0;
        const auto before = sys::now(nullptr);
        {
            const auto io = make_one();
            if (io) {
                EXPECT_EQ(detail::locked_memory_returned, 0);
            }
        }
        return std::chrono::nanoseconds(detail::locked_memory_returned) >= before;
    };
    EXPECT_TRUE(closes_one([this] { return make(); }));
    BufferArena arena = make_arena({.count = 4, .pages = Pages::base});
    arenas_refused = 1;
    EXPECT_TRUE(closes_one([&] { return make(&arena); })) << "the ring had been made";
    setups_refused = 1;
    EXPECT_FALSE(closes_one([this] { return make(); })) << "there was none";
}

// --- What it cannot do without --------------------------------------------------------------------------------------

TEST(Setup, RefusesAKernelThatLacksAFeature) {
    struct Lacking {
        std::uint32_t bit;
        const char* name;
    };
    for (const Lacking& lacking : {Lacking{abi::feat_nodrop, "IORING_FEAT_NODROP (5.5)"},
                                   Lacking{abi::feat_submit_stable, "IORING_FEAT_SUBMIT_STABLE (5.5)"},
                                   Lacking{abi::feat_ext_arg, "IORING_FEAT_EXT_ARG (5.11)"},
                                   Lacking{abi::feat_sqpoll_nonfixed, "IORING_FEAT_SQPOLL_NONFIXED (5.11)"}}) {
        for (const Mode mode : {Mode::deferred, Mode::sqpoll}) {
            UserKernel kernel;
            kernel.features &= ~lacking.bit;
            const auto io = Io::create({.entries = 4, .mode = mode});
            if (mode == Mode::deferred && lacking.bit == abi::feat_sqpoll_nonfixed) {
                EXPECT_TRUE(io) << "only Mode::sqpoll needs it";
                continue;
            }
            ASSERT_FALSE(io);
            const std::string message = std::string(
                                            "Io::create: checking what the kernel can do: EOPNOTSUPP (Operation "
                                            "not supported): it lacks ") +
                                        lacking.name + ": ";
            EXPECT_EQ(io.error().message().substr(0, message.size()), message);
        }
    }
}

TEST(Setup, RegistersTheArenaInSlicesOf1GiB) {
    constexpr std::uint64_t gib = 1 << 30;
    for (const std::uint64_t bytes : {gib - 4096, gib, gib + 4096, 2 * gib, 2 * gib + gib / 2}) {
        std::optional<BufferArena> arena;
        {
            // Nothing touches it: address space is enough here.
            const Intercept untouched(refuse(SYS_madvise, 0));
            arena = make_arena({.buffer_size = 4096, .count = bytes / 4096, .pages = Pages::base});
        }
        UserKernel kernel;
        std::vector<abi::Iovec> regions;
        kernel.on_register = [&](const Register& what) -> std::optional<long> {
            if (what.code == abi::register_buffers)
                regions.assign(&what.as<abi::Iovec>(), &what.as<abi::Iovec>() + what.count);
            return std::nullopt;
        };
        const Io io = make_io({.entries = 1, .arena = &*arena});
        const auto slices = static_cast<std::uint32_t>((bytes + gib - 1) / gib);
        EXPECT_EQ(io.features().fixed_regions, slices);
        ASSERT_EQ(regions.size(), slices);
        auto at = reinterpret_cast<std::uintptr_t>(arena->memory().data());
        std::uint64_t left = bytes;
        for (const abi::Iovec& region : regions) {
            EXPECT_EQ(region.base, at);
            EXPECT_EQ(region.len, std::min(left, gib));
            at += region.len;
            left -= region.len;
        }
        EXPECT_EQ(left, 0U);
    }
}

TEST(Setup, RegistersAPipeInTheFirstPlaceOfAnEmptyTable) {
    UserKernel kernel;
    std::vector<std::int32_t> table;
    std::array<std::uint32_t, 2> workers = {7, 7};
    kernel.on_register = [&](const Register& what) -> std::optional<long> {
        if (what.code == abi::register_files)
            table.assign(&what.as<std::int32_t>(), &what.as<std::int32_t>() + what.count);
        if (what.code == abi::register_iowq_max_workers) workers = what.as<std::array<std::uint32_t, 2>>();
        return std::nullopt;
    };
    const Io io = make_io({.entries = 1, .file_slots = 3});
    ASSERT_EQ(table.size(), 4U);
    EXPECT_GE(table[0], 0);
    EXPECT_EQ(std::vector<std::int32_t>(table.begin() + 1, table.end()), std::vector<std::int32_t>(3, -1));
    EXPECT_EQ(workers, (std::array<std::uint32_t, 2>{})) << "it must change nothing";
}

}  // namespace
}  // namespace squall
