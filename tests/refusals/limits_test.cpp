// SPDX-License-Identifier: MIT
//
// The limits of a process, for real, each taken down to nothing and up again step by step: locked memory, descriptors,
// address space, processes, file sizes. What is refused says which limit it was and what to do, and leaves nothing behind;
// what is not refused works. What an operator forbids altogether is seccomp_test.cpp's and machine_test.cpp's.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>

#include "child.hpp"
#include "patience.hpp"
#include "seam.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

class LimitsTest : public testing::TestWithParam<Kind> {
protected:
    static IoOptions options(BufferArena* arena = nullptr) {
        return {.entries = 8, .mode = GetParam().mode, .arena = arena, .polling = GetParam().polling};
    }
    // Rings behind one Io.
    static unsigned rings() { return GetParam().polling == Polling::none ? 1 : 2; }
    // How often an arena is pinned for an Io: two rings share one registration from 6.12 on.
    static unsigned registrations() {
        bool is_shared = false;
        BufferArena arena = make_arena({.count = 1});
        const Witness clone([&is_shared](const Call& call, long answer) {
            if (call.number == nr_register && call.args[1] == abi::register_clone_buffers) is_shared = answer >= 0;
        });
        const Io io = make_io(GetParam(), {.entries = 1, .arena = &arena});
        return is_shared ? 1 : rings();
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, LimitsTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

void set_soft_limit(int resource, rlim_t value) {
    rlimit limit{};
    ASSERT_EQ(::getrlimit(static_cast<__rlimit_resource>(resource), &limit), 0);
    limit.rlim_cur = value;
    ASSERT_EQ(::setrlimit(static_cast<__rlimit_resource>(resource), &limit), 0);
}
void set_hard_limit(int resource, rlim_t value) {
    const rlimit limit{value, value};
    ASSERT_EQ(::setrlimit(static_cast<__rlimit_resource>(resource), &limit), 0);
}

// Goes round both rings of an Io, and through the arena if there is one.
void expect_that_it_works(Io& io, BufferArena* arena = nullptr) {
    EXPECT_EQ(result_of(io, io.nop(1)), 0);
    const Fd zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    std::byte byte{0x55};
    EXPECT_EQ(result_of(io, io.read(zero, {&byte, 1}, 0, 2)), 1);
    EXPECT_EQ(byte, std::byte{0});
    if (!arena) return;
    const FixedBuffer buffer = arena->acquire().value();
    buffer.data()[7] = std::byte{0x55};
    EXPECT_EQ(result_of(io, io.read(zero, buffer.bytes().first(8), 0, 3)), 8);
    EXPECT_EQ(buffer.data()[7], std::byte{0});
    EXPECT_EQ(io.counters().fixed, 1U);
}

// --- Locked memory --------------------------------------------------------------------------------------------------

// Whether a ring can be had under a limit of so many bytes, for a user whose only ring it is. When not, it says why.
bool made_with_locked_memory(std::uint64_t limit, std::size_t arena_bytes, const IoOptions& asked, unsigned times) {
    const std::string said = in_child([&]() -> std::string {
        IoOptions options = asked;
        std::optional<BufferArena> arena;
        if (arena_bytes > 0) {
            arena = make_arena({.count = arena_bytes / 4096, .pages = Pages::base});
            options.arena = &*arena;
        }
        set_hard_limit(RLIMIT_MEMLOCK, limit);
        become_a_user_of_its_own();
        const Footprint before = footprint_now();
        std::string refusal;
        {
            auto io = Io::create(options);
            if (io) {
                expect_that_it_works(*io, options.arena);
                EXPECT_EQ(footprint_now().locked_kibibytes, before.locked_kibibytes + times * arena_bytes / 1024);
            } else {
                EXPECT_EQ(io.error().code(), ENOMEM);
                refusal = io.error().message();
            }
        }
        EXPECT_EQ(footprint_now(), before);
        return refusal;
    });
    if (said.empty()) return true;
    EXPECT_TRUE(contains(said, "RLIMIT_MEMLOCK")) << said;
    EXPECT_TRUE(contains(said, " is " + std::to_string(limit))) << said;
    EXPECT_TRUE(contains(said, "`ulimit -l`")) << said;
    EXPECT_TRUE(contains(said, "CAP_IPC_LOCK")) << said;
    return false;
}

TEST_P(LimitsTest, ARingWithoutAnArenaNeedsLittleLockedMemoryAndSaysSoWhenThereIsNone) {
    // From 6.14 on a ring's own memory counts, before it does not.
    (void)made_with_locked_memory(0, 0, options(), registrations());
    EXPECT_TRUE(made_with_locked_memory(64 << 10, 0, options(), registrations()));
}

TEST_P(LimitsTest, AnArenaIsRegisteredWhereTheLimitOnLockedMemoryHoldsItElseRefusedWithTheNeed) {
    EXPECT_FALSE(made_with_locked_memory(0, 16 << 10, options(), registrations()));
    EXPECT_FALSE(made_with_locked_memory(4 << 10, 16 << 10, options(), registrations()));
    EXPECT_TRUE(made_with_locked_memory(64 << 10, 16 << 10, options(), registrations()));
    EXPECT_FALSE(made_with_locked_memory(64 << 10, 64 << 10 | 4096, options(), registrations()));
    EXPECT_FALSE(made_with_locked_memory(64 << 10, 8 << 20, options(), registrations()));
}

TEST(Limits, SayTheNeedOfAnArenaBesideTheLimit) {
    const std::string said = in_child([] {
        BufferArena arena = make_arena({.buffer_size = 1 << 20, .count = 16});
        set_hard_limit(RLIMIT_MEMLOCK, 8 << 20);
        become_a_user_of_its_own();
        const auto io = Io::create({.arena = &arena});
        return io ? "it was not refused" : io.error().message();
    });
    EXPECT_TRUE(contains(said, "needs 16777216 bytes")) << said;
    EXPECT_TRUE(contains(said, "RLIMIT_MEMLOCK is 8388608")) << said;
}

TEST(Limits, DoNotTrustACapabilityInsideAUserNamespace) {
    const std::string said = in_child([]() -> std::string {
        BufferArena arena = make_arena({.buffer_size = 1 << 20, .count = 16});
        set_hard_limit(RLIMIT_MEMLOCK, 8 << 20);
        become_a_user_of_its_own();
        if (::unshare(CLONE_NEWUSER) != 0) return "no user namespaces";
        const auto io = Io::create({.arena = &arena});
        return io ? "it was not refused" : io.error().message();
    });
    if (said == "no user namespaces") GTEST_SKIP() << "user namespaces may not be made here";
    EXPECT_TRUE(contains(said, "RLIMIT_MEMLOCK is 8388608")) << said;
}

// A ring's lock is given back when it goes, not at some time or never: as many as once fitted fit again and again.
TEST_P(LimitsTest, AsManyRingsAsOnceFittedUnderALimitFitAgain) {
    in_child_alone([] {
        BufferArena arena = make_arena({.count = 4, .pages = Pages::base});
        set_hard_limit(RLIMIT_MEMLOCK, 256 << 10);
        become_a_user_of_its_own();
        const Footprint before = footprint_now();
        detail::locked_memory_returned = 0;  // those of its parent's are another user's
        // The kernel counts what a ring itself takes until it has freed it, a moment after the close: hence the patience.
        const auto as_many_as_fit = [&](std::size_t at_most, int tries) {
            std::vector<Io> all;
            while (all.size() < at_most) {
                auto io = Io::create(options(&arena));
                if (io) {
                    expect_that_it_works(*io);
                    all.push_back(*std::move(io));
                    continue;
                }
                EXPECT_EQ(io.error().code(), ENOMEM);
                if (--tries < 0) break;
                std::this_thread::sleep_for(10ms);
            }
            return all.size();
        };
        const std::size_t fitted = as_many_as_fit(100, 0);
        EXPECT_GE(fitted, 2U);
        EXPECT_LT(fitted, 100U);
        for (int round = 0; round < 3; ++round) EXPECT_EQ(as_many_as_fit(fitted, 12'000), fitted);
        EXPECT_EQ(footprint_now(), before);
    });
}

// A client with a thread for each task, and an Io for each thread. Where the kernel counts a ring's own memory until it has
// freed it, some time after the close, most of them would be refused.
TEST_P(LimitsTest, ShortLivedIosAreMadeThoughTheKernelTakesItsTimeToForgetThem) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can become a user that has no other rings";
    in_child_alone([] {
        // Three times what one of these takes (io.hpp), of which two are there at once.
        const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
        set_hard_limit(RLIMIT_MEMLOCK, 3 * (rings() == 1 ? 2 : 5) * page);
        become_a_user_of_its_own();
        constexpr unsigned tasks = 50;
        std::atomic<unsigned> refused{0};
        std::vector<std::thread> clients;
        for (int client = 0; client < 2; ++client)
            clients.emplace_back([&refused] {
                for (unsigned task = 0; task < tasks; ++task) {
                    std::thread([&refused] {
                        auto io = Io::create({.entries = 64, .mode = GetParam().mode, .polling = GetParam().polling});
                        if (io)
                            EXPECT_EQ(result_of(*io, io->nop(1)), 0);
                        else
                            ++refused;
                    }).join();
                }
            });
        for (std::thread& client : clients) client.join();
        // Not quite none: how long a kernel takes is not for squall to say.
        EXPECT_LT(refused, tasks / 5);
    });
}

// --- Descriptors ----------------------------------------------------------------------------------------------------

TEST_P(LimitsTest, ARingNeedsThreeDescriptorsWhileItIsMadeAndKeepsTwo) {
    const unsigned keeps = 2 * rings();
    const unsigned needs = keeps + 1;
    for (unsigned free = 0; free <= needs + 1; ++free) {
        const Footprint before = footprint_now();
        std::optional<Result<Io>> io;
        {
            const FewDescriptors few(free);
            io = Io::create(options());
        }
        if (free < needs) {
            ASSERT_FALSE(*io) << free << " descriptors were enough";
            EXPECT_EQ(io->error().code(), EMFILE);
            EXPECT_TRUE(contains(io->error().message(), "RLIMIT_NOFILE is ")) << io->error().message();
            EXPECT_TRUE(contains(io->error().message(), "`ulimit -n`")) << io->error().message();
        } else {
            ASSERT_TRUE(*io) << io->error().message();
            EXPECT_EQ(footprint_now().descriptors, before.descriptors + keeps);
            expect_that_it_works(**io);
        }
        io.reset();
        EXPECT_EQ(footprint_now(), before) << free << " descriptors";
    }
}

// As a daemon may be started, and as daemons then do.
TEST_P(LimitsTest, AProgramWithoutStandardDescriptorsGetsThemLaterAndKeepsThem) {
    for (unsigned closed = 1; closed < 8; ++closed) {
        SCOPED_TRACE(closed);
        in_child_alone([closed] {
            const auto is_closed = [closed](int fd) { return (closed >> fd & 1) != 0; };
            std::array<int, 3> before{};
            for (int fd = 0; fd < 3; ++fd) before[static_cast<std::size_t>(fd)] = ::fcntl(fd, F_DUPFD_CLOEXEC, 100);
            const Fd theirs(::fcntl(::memfd_create("theirs", MFD_CLOEXEC), F_DUPFD_CLOEXEC, 100));
            struct ::stat expected {};
            ::fstat(theirs, &expected);
            std::optional<BufferArena> arena = make_arena({.count = 4});
            for (int fd = 0; fd < 3; ++fd)
                if (is_closed(fd)) ::close(fd);
            std::optional<Io> io = Io::create(options(&*arena)).value();
            for (int fd = 0; fd < 3; ++fd) {
                if (!is_closed(fd)) continue;
                EXPECT_EQ(::fcntl(fd, F_GETFD), -1) << fd;
                ::dup2(theirs, fd);
            }
            expect_that_it_works(*io, &*arena);
            io.reset();
            for (int fd = 0; fd < 3; ++fd) {
                struct ::stat found {};
                if (is_closed(fd)) {
                    EXPECT_EQ(::fstat(fd, &found), 0) << fd;
                    EXPECT_EQ(found.st_ino, expected.st_ino) << fd;
                    EXPECT_EQ(found.st_size, 0) << fd;
                }
                ::dup2(before[static_cast<std::size_t>(fd)], fd);
            }
        });
    }
}

TEST_P(LimitsTest, OpensInFlightGetExactlyTheDescriptorsThatAreLeft) {
    constexpr unsigned opens = 8;
    constexpr unsigned left = 3;
    Io io = make_io(options());
    ASSERT_EQ(result_of(io, io.nop(0)), 0);
    const std::size_t before = descriptors_now();
    std::set<Token> tokens;
    std::vector<int> opened;
    {
        const FewDescriptors few(left);
        for (Token token = 0; token < opens; ++token) ASSERT_TRUE(io.open("/", {.read = true}, token));
        for (const Completion& done : drain(io)) {
            EXPECT_TRUE(tokens.insert(done.token).second) << "token " << done.token << " came twice";
            if (done.ok()) {
                opened.push_back(done.res);
                continue;
            }
            EXPECT_EQ(done.res, -EMFILE);
            EXPECT_TRUE(contains(done.error().message(), "RLIMIT_NOFILE")) << done.error().message();
        }
        // Closed, each makes room for one more.
        ASSERT_EQ(opened.size(), left);
        EXPECT_EQ(result_of(io, io.close(opened[0], 1)), 0);
        opened[0] = result_of(io, io.open("/", {.read = true}, 2));
        EXPECT_GE(opened[0], 0);
        EXPECT_EQ(result_of(io, io.open("/", {.read = true}, 2)), -EMFILE);
    }
    EXPECT_EQ(tokens.size(), opens);
    EXPECT_EQ(descriptors_now(), before + left);
    for (const int fd : opened) EXPECT_EQ(result_of(io, io.close(fd, 3)), 0);
    EXPECT_EQ(descriptors_now(), before);
}

TEST_P(LimitsTest, AFileOpenedIntoASlotNeedsADescriptorOnlyWhereTwoRingsAreToHaveIt) {
    IoOptions with_slots = options();
    with_slots.file_slots = 4;
    Io io = make_io(with_slots);
    ASSERT_EQ(result_of(io, io.nop(0)), 0);
    const std::size_t before = descriptors_now();
    const TempDir dir;
    const OpenOptions how{.read = true, .write = true, .create = true};
    std::byte byte{0x33};
    {
        const FewDescriptors none(0);
        const bool needs_one = GetParam().polling != Polling::none;
        EXPECT_EQ(result_of(io, io.open(dir.file("f").c_str(), how, FileSlot(2), 1)), needs_one ? -EMFILE : 0);
        EXPECT_EQ(result_of(io, io.write(FileSlot(2), {&byte, 1}, 0, 2)), needs_one ? -EBADF : 1);
    }
    EXPECT_EQ(result_of(io, io.open(dir.file("f").c_str(), how, FileSlot(2), 3)), 0);
    EXPECT_EQ(result_of(io, io.write(FileSlot(2), {&byte, 1}, 0, 4)), 1);
    EXPECT_EQ(descriptors_now(), before);
}

TEST(Limits, SayWhenTheTableOfFilesIsLargerThanTheLimitOnDescriptors) {
    in_child_alone([] {
        set_hard_limit(RLIMIT_NOFILE, 100);
        const Footprint before = footprint_now();
        {
            const auto io = Io::create({.entries = 8, .file_slots = 1000});
            ASSERT_FALSE(io);
            EXPECT_EQ(io.error().code(), EMFILE);
            EXPECT_TRUE(contains(io.error().message(), "1000 file slots")) << io.error().message();
            EXPECT_TRUE(contains(io.error().message(), "RLIMIT_NOFILE is 100")) << io.error().message();
        }
        EXPECT_EQ(footprint_now(), before);
    });
}

// --- Address space --------------------------------------------------------------------------------------------------

std::uint64_t address_space_now() {
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// Calls `make` with ever more address space, until it has enough, and returns how often it had not; the heap does not grow
// meanwhile. `make` returns what it was refused with, if it was.
unsigned refused_for_address_space(const std::function<std::optional<Error>()>& make) {
    std::free(std::malloc(100 << 10));
    unsigned refused = 0;
    for (std::uint64_t more = 0; more < 4 << 20; more += 4096) {
        const Footprint before = footprint_now();
        set_soft_limit(RLIMIT_AS, address_space_now() + more);
        const std::optional<Error> error = make();
        set_soft_limit(RLIMIT_AS, RLIM_INFINITY);
        EXPECT_EQ(footprint_now(), before) << more << " bytes";
        if (!error) return refused;
        ++refused;
        EXPECT_EQ(error->code(), ENOMEM) << error->message();
        EXPECT_TRUE(contains(error->message(), "RLIMIT_AS")) << error->message();
        if (testing::Test::HasFailure()) break;
    }
    ADD_FAILURE() << "4 MiB were not enough";
    return refused;
}

TEST_P(LimitsTest, ARingThatFindsTooLittleAddressSpaceSaysSoAndLeavesNothingBehind) {
    if (sanitized) GTEST_SKIP() << "a sanitizer takes all of the address space";
    in_child_alone([] {
        EXPECT_GE(refused_for_address_space([]() -> std::optional<Error> {
                      auto io = Io::create(options());
                      if (!io) return io.error();
                      expect_that_it_works(*io);
                      return std::nullopt;
                  }),
                  4U * rings());
    });
}

TEST(Limits, AnArenaThatFindsTooLittleAddressSpaceSaysSoAndLeavesNothingBehind) {
    if (sanitized) GTEST_SKIP() << "a sanitizer takes all of the address space";
    for (const Pages pages : {Pages::automatic, Pages::base}) {
        in_child_alone([pages] {
            EXPECT_GE(refused_for_address_space([pages]() -> std::optional<Error> {
                          auto arena = BufferArena::create({.count = 256, .pages = pages});
                          if (!arena) return arena.error();
                          EXPECT_TRUE(arena->acquire());
                          return std::nullopt;
                      }),
                      200U);
        });
    }
}

// A process may have so many mappings, 65530 by default, and one of a storage engine's may well have them.
TEST_P(LimitsTest, AProcessThatHasAsManyMappingsAsItMayIsTold) {
    if (sanitized) GTEST_SKIP() << "a sanitizer needs mappings of its own";
    in_child_alone([] {
        const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        constexpr std::size_t pages = 200'000;
        auto* const at = static_cast<std::byte*>(
            ::mmap(nullptr, pages * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        ASSERT_NE(at, MAP_FAILED);
        std::free(std::malloc(100 << 10));
        // Every other page is another's neighbour, and a mapping of its own.
        std::size_t split = 0;
        while (split < pages && ::mprotect(at + split * page, page, PROT_READ | PROT_WRITE) == 0) split += 2;
        if (split >= pages) return;  // the operator allows more
        const Footprint before = footprint_now();
        // With ever more room, until it has enough.
        for (unsigned refused = 0; true; ++refused) {
            const auto io = Io::create(options());
            if (io) {
                EXPECT_GE(refused, 1U);
                return;
            }
            EXPECT_TRUE(io.error().code() == ENOMEM || io.error().code() == EAGAIN) << io.error().message();
            EXPECT_TRUE(contains(io.error().message(), "vm.max_map_count")) << io.error().message();
            ASSERT_EQ(footprint_now(), before);
            ASSERT_GE(split, 2U);
            split -= 2;
            ::mprotect(at + split * page, page, PROT_READ);
        }
    });
}

// All that is mapped under mlockall(MCL_FUTURE) is locked memory.
TEST_P(LimitsTest, AProcessThatLocksAllItMapsIsToldWhatItMayLock) {
    if (sanitized) GTEST_SKIP() << "a sanitizer lets no memory be locked";
    in_child_alone([] {
        set_hard_limit(RLIMIT_MEMLOCK, 64 << 10);
        become_a_user_of_its_own();
        const Footprint before = footprint_now();
        ASSERT_EQ(::mlockall(MCL_FUTURE), 0);
        {
            const auto io = Io::create({.entries = 64, .mode = GetParam().mode, .polling = GetParam().polling});
            const auto arena = BufferArena::create({.count = 256, .pages = Pages::base});
            ASSERT_EQ(::munlockall(), 0);
            for (const Error& error : {io.error(), arena.error()}) {
                EXPECT_EQ(error.code(), EAGAIN);
                EXPECT_TRUE(contains(error.message(), "mlockall")) << error.message();
                EXPECT_TRUE(contains(error.message(), "RLIMIT_MEMLOCK is 65536")) << error.message();
            }
        }
        EXPECT_EQ(footprint_now(), before);
    });
}

// --- Processes ------------------------------------------------------------------------------------------------------

TEST(Limits, SayWhenThereMayBeNoThreadForSqpoll) {
    const std::string said = in_child([]() -> std::string {
        set_hard_limit(RLIMIT_NPROC, 0);
        become_a_user_of_its_own();
        const Footprint before = footprint_now();
        std::string refusal;
        {
            auto io = Io::create({.entries = 8, .mode = Mode::sqpoll});
            EXPECT_EQ(io ? 0 : io.error().code(), EAGAIN);
            refusal = io ? "it was not refused" : io.error().message();
        }
        EXPECT_EQ(footprint_now(), before);
        return refusal;
    });
    EXPECT_TRUE(contains(said, "RLIMIT_NPROC")) << said;
    EXPECT_TRUE(contains(said, "`ulimit -u`")) << said;
    EXPECT_TRUE(contains(said, "Mode::deferred")) << said;
}

// An operation that would block goes to a thread of the kernel's, and that counts as one of the user's.
TEST(Limits, AnOperationThatFindsNoThreadToRunItIsDeliveredWithTheReason) {
    in_child_alone([] {
        const TempDir dir;
        const Fd file(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        Io io = make_io({.entries = 16});
        set_hard_limit(RLIMIT_NPROC, 0);
        become_a_user_of_its_own();
        std::set<Token> tokens;
        for (Token token = 0; token < 16; ++token) ASSERT_TRUE(io.fsync(file, token));
        for (const Completion& done : drain(io)) {
            EXPECT_TRUE(tokens.insert(done.token).second) << "token " << done.token << " came twice";
            if (done.ok()) continue;
            EXPECT_EQ(done.res, -ECANCELED);
            EXPECT_TRUE(contains(done.error().message(), "RLIMIT_NPROC")) << done.error().message();
        }
        EXPECT_EQ(tokens.size(), 16U);
    });
}

// --- File sizes -----------------------------------------------------------------------------------------------------

TEST_P(LimitsTest, AWriteAcrossTheLimitOnFileSizesIsShortAndTheNextIsRefused) {
    const TempDir dir;
    const std::string path = dir.file("f");
    in_child_alone([&path] {
        std::signal(SIGXFSZ, SIG_IGN);
        set_soft_limit(RLIMIT_FSIZE, 6000);
        BufferArena arena = make_arena({.count = 2, .pages = Pages::base});
        Io io = make_io(options(&arena));
        const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        const FixedBuffer buffer = arena.acquire().value();
        std::vector<std::byte> heap(4096);
        for (const std::span<std::byte> from : {buffer.bytes(), std::span<std::byte>(heap)}) {
            fill_pattern(from, 4000);
            ASSERT_TRUE(io.write(file, from, 4000, 1));
            for (const Completion& done : drain(io)) {
                EXPECT_EQ(done.res, 2000);
                EXPECT_TRUE(contains(transfer_error(done, file, from, 4000).message(), "only 2000 bytes moved"));
            }
            ASSERT_TRUE(io.write(file, from.subspan(2000), 6000, 2));
            for (const Completion& done : drain(io)) {
                EXPECT_EQ(done.res, -EFBIG);
                EXPECT_TRUE(contains(transfer_error(done, file, from, 6000).message(), "RLIMIT_FSIZE"));
            }
        }
    });
    std::vector<std::byte> content = read_file(path);
    ASSERT_EQ(content.size(), 6000U);
    EXPECT_EQ(find_wrong(std::span(content).subspan(4000), 4000), -1);
}

}  // namespace
}  // namespace squall
