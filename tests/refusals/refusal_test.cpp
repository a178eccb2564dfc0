// SPDX-License-Identifier: MIT
//
// What the world refuses, for real where a filter of system calls brings it about, else through the seam: each refusal is
// recognised, explained, and leaves nothing behind. limits_test.cpp has the limits of a process, machine_test.cpp what
// takes the whole machine.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "child.hpp"
#include "patience.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;

std::string message_of(const IoOptions& options, int code) {
    const auto io = Io::create(options);
    EXPECT_FALSE(io);
    if (io) return "it was not refused";
    EXPECT_EQ(io.error().code(), code) << io.error().message();
    return io.error().message();
}

// --- What the caller asks for ---------------------------------------------------------------------------------------

TEST(Refusal, NamesTheValueAndTheRuleOfAnOptionOutOfRange) {
    EXPECT_TRUE(
        contains(message_of({.entries = 0}, EINVAL), "entries is 0: EINVAL (Invalid argument): it must be 1 to 32768"));
    EXPECT_TRUE(contains(message_of({.entries = 32769}, EINVAL), "entries is 32769"));
    EXPECT_TRUE(contains(message_of({.entries = UINT32_MAX}, EINVAL), "entries is 4294967295"));
    EXPECT_TRUE(contains(message_of({.entries = 100, .completion_entries = 64}, EINVAL), "completion_entries is 64"));
    EXPECT_TRUE(contains(message_of({.entries = 100, .completion_entries = 127}, EINVAL), "128 (entries, rounded up"));
    EXPECT_TRUE(contains(message_of({.completion_entries = 65537}, EINVAL), "to 65536"));
    EXPECT_TRUE(contains(message_of({.mode = static_cast<Mode>(77)}, EINVAL), "mode is 77"));
    EXPECT_TRUE(contains(message_of({.mode = Mode::sqpoll, .sqpoll_idle = std::chrono::milliseconds(0)}, EINVAL),
                         "sqpoll_idle is 0 ms"));
    EXPECT_TRUE(contains(message_of({.mode = Mode::sqpoll, .sqpoll_idle = std::chrono::milliseconds(-3)}, EINVAL),
                         "sqpoll_idle is -3 ms"));
    EXPECT_TRUE(contains(message_of({.mode = Mode::sqpoll, .sqpoll_cpu = 100'000}, EINVAL), "sqpoll_cpu is 100000"));
}

TEST(Refusal, TakesTheLargestAndTheSmallestRings) {
    EXPECT_EQ(make_io({.entries = 1}).features().sq_entries, 1U);
    const Io largest = make_io({.entries = 32768});
    EXPECT_EQ(largest.features().sq_entries, 32768U);
    EXPECT_EQ(largest.features().cq_entries, 65536U);
    EXPECT_EQ(make_io({.entries = 100}).features().sq_entries, 128U);
    EXPECT_EQ(make_io({.entries = 100, .completion_entries = 128}).features().cq_entries, 128U);
    EXPECT_EQ(make_io({.entries = 4, .completion_entries = 1000}).features().cq_entries, 1024U);
}

TEST(RefusalDeathTest, AbortsOnAnArenaThatWasMovedFrom) {
    BufferArena arena = make_arena();
    const BufferArena moved = std::move(arena);
    EXPECT_DEATH((void)Io::create({.arena = &arena}), "was moved from");
}

TEST(RefusalDeathTest, AbortsOnAnArenaFromBeforeAFork) {
    BufferArena arena = make_arena();
    // The statement itself runs in a fork.
    EXPECT_DEATH((void)Io::create({.arena = &arena}), "made before a fork");
}

// --- What the operator forbids --------------------------------------------------------------------------------------

TEST(Refusal, RecognisesASeccompFilter) {
    const std::string said = in_child([] {
        refuse_by_seccomp(nr_setup, EPERM);
        return message_of({}, EPERM);
    });
    EXPECT_TRUE(contains(said, "io_uring_setup(entries=256, mode=deferred): EPERM")) << said;
    EXPECT_TRUE(contains(said, "a seccomp filter")) << said;
    EXPECT_TRUE(contains(said, "allow io_uring_setup, io_uring_enter and io_uring_register")) << said;
}

TEST(Refusal, RecognisesAKernelWithoutIoUring) {
    const std::string said = in_child([] {
        refuse_by_seccomp(nr_setup, ENOSYS);
        return message_of({}, ENOSYS);
    });
    EXPECT_TRUE(contains(said, "this kernel has no io_uring")) << said;
}

TEST(Refusal, RecognisesAFilterThatRefusesRegistering) {
    for (const int code : {EPERM, ENOSYS}) {
        const std::string said = in_child([code] {
            refuse_by_seccomp(nr_register, code);
            return message_of({}, code);
        });
        EXPECT_TRUE(contains(said, "io_uring_register(IORING_REGISTER_PROBE)")) << said;
        EXPECT_TRUE(contains(said, "seccomp filter")) << said;
    }
}

TEST(Refusal, RecognisesAFilterThatComesDownInTheMiddle) {
    for (const Mode mode : {Mode::deferred, Mode::plain}) {
        const std::string said = in_child([mode] {
            Io io = make_io({.entries = 8, .mode = mode});
            EXPECT_EQ(result_of(io, io.nop(1)), 0);
            refuse_by_seccomp(nr_enter, EPERM);
            EXPECT_TRUE(io.nop(2));
            const Completions done = io.park();
            EXPECT_EQ(done.error().code(), EPERM);
            EXPECT_EQ(io.in_flight(), 1U);
            return done.error().message();
        });
        EXPECT_TRUE(contains(said, "now refuses io_uring_enter")) << said;
    }
}

TEST(Refusal, TellsTheTwoSettingsOfTheSysctlApart) {
    for (const char value : {'1', '2'}) {
        const Intercept switched_off([value](Call& call) -> std::optional<long> {
            if (call.number == nr_setup) return -EPERM;
            // A kernel before 6.6 does not have that file.
            if (call.number == SYS_openat) call.args[1] = reinterpret_cast<std::uintptr_t>("/dev/null");
            if (call.number != SYS_read) return std::nullopt;
            *reinterpret_cast<char*>(call.args[1]) = value;
            return 1;
        });
        const std::string said = message_of({}, EPERM);
        EXPECT_TRUE(contains(said, std::string("kernel.io_uring_disabled=") + value)) << said;
    }
}

TEST(Refusal, ExplainsEveryErrnoOfSetup) {
    detail::locked_memory_returned = 0;  // no memory of a ring's is on its way back
    for (int code = 1; code < 134; ++code) {
        const Intercept refused(refuse(nr_setup, -code));
        const auto io = Io::create();
        ASSERT_FALSE(io);
        EXPECT_EQ(io.error().code(), code);
        EXPECT_TRUE(contains(io.error().message(), "io_uring_setup(entries=256, mode=deferred)"));
    }
    const auto advice = [](int code) {
        const Intercept refused(refuse(nr_setup, -code));
        return Io::create().error().message();
    };
    EXPECT_TRUE(contains(advice(ENFILE), "fs.file-max"));
    EXPECT_TRUE(contains(advice(ENOMEM), "memory"));
    EXPECT_TRUE(contains(advice(EINVAL), "no set of flags that squall can work with"));
    const Intercept refused(refuse(nr_setup, -EINVAL));
    EXPECT_TRUE(contains(message_of({.mode = Mode::sqpoll}, EINVAL), "no set of flags that squall can work with"));
}

// --- What the kernel lacks ------------------------------------------------------------------------------------------

TEST(Refusal, NamesTheOperationThatTheKernelLacks) {
    struct Lacking {
        abi::Op op;
        const char* name;
    };
    for (const Lacking& lacking :
         {Lacking{abi::Op::nop, "IORING_OP_NOP"}, Lacking{abi::Op::fsync, "IORING_OP_FSYNC"},
          Lacking{abi::Op::read_fixed, "IORING_OP_READ_FIXED"}, Lacking{abi::Op::write_fixed, "IORING_OP_WRITE_FIXED"},
          Lacking{abi::Op::openat, "IORING_OP_OPENAT"}, Lacking{abi::Op::close, "IORING_OP_CLOSE"},
          Lacking{abi::Op::statx, "IORING_OP_STATX"}, Lacking{abi::Op::read, "IORING_OP_READ"},
          Lacking{abi::Op::write, "IORING_OP_WRITE"}, Lacking{abi::Op::renameat, "IORING_OP_RENAMEAT"},
          Lacking{abi::Op::unlinkat, "IORING_OP_UNLINKAT"}}) {
        for (const bool unknown : {false, true}) {
            if (unknown && lacking.op == abi::Op::nop) continue;  // nothing comes before the first
            const Intercept old_kernel([&](Call& call) -> std::optional<long> {
                if (call.number != nr_register || call.args[1] != abi::register_probe) return std::nullopt;
                const long result = real(call);
                auto* const probe = reinterpret_cast<abi::Probe*>(call.args[2]);
                const auto op = static_cast<std::uint8_t>(lacking.op);
                if (unknown)
                    probe->last_op = static_cast<std::uint8_t>(op - 1);
                else
                    probe->ops[op].flags = 0;
                return result;
            });
            const std::string said = message_of({}, EOPNOTSUPP);
            EXPECT_TRUE(contains(said, unknown ? "IORING_OP_" : lacking.name)) << said;
        }
    }
}

TEST(Refusal, TakesAKernelWhoseLastOperationIsTheLastItNeeds) {
    const Intercept kernel_5_11([](Call& call) -> std::optional<long> {
        if (call.number != nr_register || call.args[1] != abi::register_probe) return std::nullopt;
        const long result = real(call);
        reinterpret_cast<abi::Probe*>(call.args[2])->last_op = static_cast<std::uint8_t>(abi::Op::unlinkat);
        return result;
    });
    EXPECT_EQ(make_io({.entries = 1}).features().last_op, 36U);
}

TEST(Refusal, UsesEverySlotOfARingWithAnIndexArray) {
    const Intercept before_6_6([](Call& call) -> std::optional<long> {
        if (call.number != nr_setup) return std::nullopt;
        const auto flags = reinterpret_cast<abi::Params*>(call.args[1])->flags;
        return (flags & abi::setup_no_sqarray) != 0 ? std::optional<long>(-EINVAL) : std::nullopt;
    });
    for (const std::uint32_t entries : {1U, 8U, 256U, 4096U}) {
        Io io = make_io({.entries = entries});
        std::vector<unsigned> seen(entries);
        for (Token token = 0; token < entries; ++token) ASSERT_TRUE(io.nop(token));
        for (const Completion& completion : drain(io)) ++seen[completion.token];
        EXPECT_EQ(seen, std::vector<unsigned>(entries, 1U));
    }
}

TEST(Refusal, NamesTheFeatureThatTheKernelLacks) {
    struct Lacking {
        std::uint32_t bit;
        const char* name;
        Mode mode;
    };
    for (const Lacking& lacking : {Lacking{abi::feat_nodrop, "IORING_FEAT_NODROP", Mode::deferred},
                                   Lacking{abi::feat_submit_stable, "IORING_FEAT_SUBMIT_STABLE", Mode::plain},
                                   Lacking{abi::feat_ext_arg, "IORING_FEAT_EXT_ARG", Mode::deferred},
                                   Lacking{abi::feat_sqpoll_nonfixed, "IORING_FEAT_SQPOLL_NONFIXED", Mode::sqpoll}}) {
        const Intercept old_kernel([&](Call& call) -> std::optional<long> {
            if (call.number != nr_setup) return std::nullopt;
            const long fd = real(call);
            reinterpret_cast<abi::Params*>(call.args[1])->features &= ~lacking.bit;
            return fd;
        });
        EXPECT_TRUE(contains(message_of({.mode = lacking.mode}, EOPNOTSUPP), lacking.name));
    }
}

// A kernel of the past: set-up flags that it does not know are EINVAL.
struct OldKernel {
    const char* version;
    std::uint32_t unknown;
    std::uint32_t deferred_gets;  // of the flags that a kernel may lack, with Mode::deferred
};
constexpr std::uint32_t optional_flags = abi::setup_submit_all | abi::setup_coop_taskrun | abi::setup_taskrun_flag |
                                         abi::setup_single_issuer | abi::setup_defer_taskrun | abi::setup_no_sqarray;
constexpr std::uint32_t since_5_18 = abi::setup_submit_all;
constexpr std::uint32_t since_5_19 = abi::setup_coop_taskrun | abi::setup_taskrun_flag;
class OldKernelTest : public testing::TestWithParam<OldKernel> {};
INSTANTIATE_TEST_SUITE_P(
    Ladder, OldKernelTest,
    testing::Values(OldKernel{"5_10", optional_flags, 0}, OldKernel{"5_18", optional_flags & ~since_5_18, since_5_18},
                    OldKernel{"5_19", optional_flags & ~(since_5_18 | since_5_19), since_5_18 | since_5_19},
                    OldKernel{"6_0", abi::setup_defer_taskrun | abi::setup_no_sqarray,
                              since_5_18 | since_5_19 | abi::setup_single_issuer},
                    OldKernel{
                        "6_1", abi::setup_no_sqarray,
                        since_5_18 | abi::setup_taskrun_flag | abi::setup_single_issuer | abi::setup_defer_taskrun},
                    OldKernel{"6_6", 0,
                              since_5_18 | abi::setup_taskrun_flag | abi::setup_single_issuer |
                                  abi::setup_defer_taskrun | abi::setup_no_sqarray}),
    [](const auto& test) { return test.param.version; });

TEST_P(OldKernelTest, GetsTheBestThatItHasAndNothingLess) {
    std::uint32_t known = make_io().features().setup_flags;
    if ((known & abi::setup_taskrun_flag) != 0) known |= since_5_19;  // deferred or cooperative: one excludes the other
    if ((optional_flags & ~GetParam().unknown & ~known) != 0)
        GTEST_SKIP() << "this kernel is itself older than " << GetParam().version;
    const Intercept old([](Call& call) -> std::optional<long> {
        if (call.number != nr_setup) return std::nullopt;
        const auto flags = reinterpret_cast<abi::Params*>(call.args[1])->flags;
        return (flags & GetParam().unknown) != 0 ? std::optional<long>(-EINVAL) : std::nullopt;
    });
    for (const Mode mode : {Mode::deferred, Mode::plain, Mode::sqpoll}) {
        const TempDir dir;
        Io io = make_io({.entries = 8, .mode = mode});
        const Features& features = io.features();
        EXPECT_EQ(features.mode, mode);
        EXPECT_EQ(features.setup_flags & GetParam().unknown, 0U);
        if (mode == Mode::deferred) {
            EXPECT_EQ(features.setup_flags & optional_flags, GetParam().deferred_gets);
        }
        EXPECT_EQ(features.single_issuer, (features.setup_flags & abi::setup_single_issuer) != 0);
        EXPECT_EQ(features.deferred_taskrun, (features.setup_flags & abi::setup_defer_taskrun) != 0);
        EXPECT_EQ(features.taskrun_flag, (features.setup_flags & abi::setup_taskrun_flag) != 0);
        EXPECT_EQ(features.no_sqarray, (features.setup_flags & abi::setup_no_sqarray) != 0);
        EXPECT_EQ(features.setup_flags_asked & abi::setup_no_sqarray, abi::setup_no_sqarray);

        const Fd file(result_of(io, io.open(dir.file("f").c_str(), {.read = true, .write = true, .create = true}, 1)));
        std::vector<std::byte> bytes(10'000);
        fill_pattern(bytes, 0);
        EXPECT_EQ(result_of(io, io.write(file, bytes, 0, 2)), 10'000);
        std::fill(bytes.begin(), bytes.end(), std::byte{});
        EXPECT_EQ(result_of(io, io.read(file, bytes, 0, 3)), 10'000);
        EXPECT_EQ(find_wrong(bytes, 0), -1);
        // Some of a batch fail, and go round the ring more than once: no completion is lost at any fallback.
        unsigned completed = 0;
        for (int round = 0; round < 50; ++round) {
            for (int i = 0; i < 8; ++i) {
                // An SQPOLL thread may give the slots back a little after it has completed what was in them.
                while (!(i % 3 == 0 ? io.read(-1, bytes, 0, 4) : io.nop(5)))
                    completed += static_cast<unsigned>(io.poll().size());
            }
            completed += static_cast<unsigned>(drain(io).size());
        }
        EXPECT_EQ(completed, 400U);
        const Pipe pipe;
        while (!io.read(pipe.read_end, bytes, UINT64_MAX, 6)) (void)io.poll();
        (void)io.poll();
        EXPECT_EQ(io.park(std::chrono::milliseconds(5)).size(), 0U);
    }
}

TEST(Refusal, MapsTheTwoRingsApartWhereTheKernelDoesNotJoinThem) {
    int mappings = 0;
    const Intercept before_5_4([&](Call& call) -> std::optional<long> {
        if (call.number == SYS_mmap && call.args[5] == abi::off_cq_ring) ++mappings;
        if (call.number != nr_setup) return std::nullopt;
        const long fd = real(call);
        reinterpret_cast<abi::Params*>(call.args[1])->features &= ~abi::feat_single_mmap;
        return fd;
    });
    Io io = make_io({.entries = 8});
    EXPECT_EQ(mappings, 1);
    for (Token token = 0; token < 100; ++token) ASSERT_EQ(result_of(io, io.nop(token)), 0);
}

TEST(Refusal, DoesWithoutARegisteredRing) {
    const Intercept before_5_18([](Call& call) -> std::optional<long> {
        return call.number == nr_register && call.args[1] == abi::register_ring_fds ? std::optional<long>(-EINVAL)
                                                                                    : std::nullopt;
    });
    Io io = make_io({.entries = 8});
    EXPECT_EQ(result_of(io, io.nop(1)), 0);
    EXPECT_FALSE(io.features().registered_ring);
}

TEST(Refusal, TriesAgainToEnableARingThatCouldNotBe) {
    Io io = make_io({.entries = 8});
    ASSERT_TRUE(io.nop(1));
    {
        const Intercept refused(refuse(nr_register, -EPERM));
        const Error error = io.poll().error();
        EXPECT_EQ(error.code(), EPERM);
        EXPECT_TRUE(contains(error.message(), "io_uring_register(IORING_REGISTER_ENABLE_RINGS): EPERM"))
            << error.message();
    }
    EXPECT_EQ(drain(io).size(), 1U);
}

// --- The variable errno ---------------------------------------------------------------------------------------------

TEST(Errno, IsLeftAsItWasByWhatSucceedsAndByWhatIsRefused) {
    for (const Kind kind : every_kind) {
        SCOPED_TRACE(name_of(kind));
        in_child_alone([kind] {
            const TempDir dir;
            const std::string name = dir.file("f");
            const Fd file(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
            sys::host = nullptr;  // squall's own system calls, since the seam's are libc's, which sets it
            std::string left;
            const auto after = [&left](const char* call) {
                if (errno != EXDEV) left += std::string(call) + " ";
                errno = EXDEV;
            };
            std::byte byte{};
            std::optional<BufferArena> arena;
            errno = EXDEV;
            arena = BufferArena::create({.count = 512}).value();
            after("arena");
            for (const ArenaOptions& options :
                 {ArenaOptions{.count = 0}, ArenaOptions{.count = 1UL << 30, .pages = Pages::hugetlb},
                  ArenaOptions{.buffer_size = 1 << 30, .count = UINT32_MAX - 1}}) {
                (void)BufferArena::create(options).error().message();
                after("a refused arena");
            }
            std::optional<FixedBuffer> buffer = arena->acquire();
            after("acquire");
            std::optional<Io> io =
                Io::create(
                    {.entries = 4, .mode = kind.mode, .arena = &*arena, .file_slots = 2, .polling = kind.polling})
                    .value();
            after("create");
            (void)Io::create({.entries = 0}).error().message();
            after("a refused create");
            (void)io->set_file(FileSlot(0), file);
            after("set_file");
            (void)io->set_file(FileSlot(1), 1 << 20).error().message();
            after("a refused set_file");
            (void)(io->read(file, buffer->bytes().first(1), 0, 1) && io->read(FileSlot(0), {&byte, 1}, 0, 2) &&
                   io->open("/nowhere", {}, 3) && io->close(-1, 4));
            after("queueing");
            while (io->nop(5)) {
            }
            after("queueing to the end");
            for (const Completion& done : io->poll()) (void)done.error().message();
            after("poll");
            while (io->in_flight() > 0)
                for (const Completion& done : io->park())
                    (void)(done.error().message() + transfer_error(done, file, {&byte, 1}, 0).message());
            after("park");
            (void)io->park(std::chrono::microseconds(1));
            after("park with a timeout");
            (void)io->list_dir(dir.path().c_str());
            (void)io->list_dir("/nowhere").error().message();
            after("list_dir");
            (void)io->create_dir_all(dir.path().c_str());
            (void)io->create_dir_all((name + "/below").c_str()).error().message();
            after("create_dir_all");
            (void)io->block_size(file);
            (void)io->block_size(-1).error().message();
            (void)direct_io_alignment(file);
            (void)direct_io_alignment(-1).error().message();
            after("sizes");
            const Pipe pipe;
            errno = EXDEV;
            (void)(io->read(pipe.read_end, {&byte, 1}, UINT64_MAX, 7) && io->poll().empty());
            buffer.reset();
            io.reset();
            after("~Io");
            arena.reset();
            after("~BufferArena");
            refuse_by_seccomp(nr_setup, EPERM);
            errno = EXDEV;
            (void)Io::create().error().message();
            after("a create that a filter refused");
            EXPECT_EQ(left, "");
        });
    }
}

}  // namespace
}  // namespace squall
