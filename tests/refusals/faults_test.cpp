// SPDX-License-Identifier: MIT
//
// Every system call of squall's on a real kernel, failing in every way its man page knows, one at a time: nothing leaks,
// nothing is lost or repeated, what is reported is what went wrong, and the next attempt works. See support/faults.hpp.
#include "faults.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <numeric>

#include "message.hpp"
#include "support.hpp"

namespace squall {
namespace {

using namespace test;
using namespace std::chrono_literals;

void expect_conserved(const Io& io) { EXPECT_EQ(io.counters().submitted, io.counters().completed + io.in_flight()); }

// `error` is what became of `fault`, and says so.
void expect_named(const Error& error, const Fault& fault, const std::string& name) {
    EXPECT_EQ(error.code(), fault.errno_value()) << error.message();
    EXPECT_NE(error.message().find(name), std::string::npos) << error.message();
}

// --- Making and unmaking a ring -------------------------------------------------------------------------------------

// How create names the call that was refused.
std::string name_in_create(const Fault& fault, bool with_more) {
    if (fault.number == nr_setup) return "io_uring_setup(entries=4";
    if (fault.number == SYS_pipe2) return "making a pipe";
    if (fault.number == SYS_mmap)
        return fault.nth == 0 ? "mapping 4096 bytes for the ring's state" : "mapping a ring of 4 SQ and";
    if (fault.number == SYS_madvise)
        return fault.nth == 1 ? "madvise(MADV_WIPEONFORK)" : "madvise(MADV_DONTFORK) of a ring of 4 SQ and";
    switch (fault.code) {
        case abi::register_probe:
            return "io_uring_register(IORING_REGISTER_PROBE)";
        case abi::register_files:
            return with_more && (fault.errno_value() == EMFILE || fault.errno_value() == ENOMEM)
                       ? "a table of 3 file slots"
                       : "io_uring_register(IORING_REGISTER_FILES)";
        case abi::register_buffers: {
            const int code = fault.errno_value();
            return code == EPERM || code == EACCES || code == ENOSYS
                       ? "io_uring_register(IORING_REGISTER_BUFFERS)"
                       : "registering an arena of 16384 bytes in 1 regions";
        }
        default:
            return "?";
    }
}

// Calls of create after which there is a ring all the same.
bool does_without(const Fault& fault) {
    if (fault.answer >= 0 || fault.number == SYS_close) return true;
    // Locked memory, which may be what a ring had that was closed a moment ago, and is asked for again.
    if (fault.errno_value() == ENOMEM && (fault.number == nr_setup || fault.code == abi::register_buffers))
        return detail::memlock_limit().has_value();
    if (fault.number == nr_setup) return fault.errno_value() == EINVAL;  // the next fallback
    if (fault.number != nr_register) return false;
    if (fault.errno_value() == EINTR) return true;               // and is tried again
    if (fault.code == abi::register_clone_buffers) return true;  // and they are registered once more
    return fault.code == abi::register_iowq_max_workers && fault.errno_value() != EINVAL;
}

class FaultsTest : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Modes, FaultsTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(FaultsTest, CreateSucceedsOrSaysWhichCallFailedAndLeavesNothingBehind) {
    const bool submits_all = (make_io(GetParam(), {}).features().setup_flags & abi::setup_submit_all) != 0;
    for (const bool with_more : {false, true}) {
        const std::size_t met = with_every_fault([&](const Fault* fault) {
            BufferArena arena = make_arena({.count = 4});
            IoOptions options{.entries = 4, .mode = GetParam(), .polling = GetParam().polling};
            if (with_more) options.arena = &arena, options.file_slots = 3;
            const auto make = [&] {
                const FaultsHere here;
                return Io::create(options);
            };
            const auto io = make();
            // An old kernel takes the last fallback alone.
            if (!io && !submits_all && fault && fault->number == nr_setup && fault->errno_value() == EINVAL) return;
            if (!fault || does_without(*fault)) {
                ASSERT_TRUE(io) << io.error().message();
                return;
            }
            ASSERT_FALSE(io);
            if (fault->code == abi::register_iowq_max_workers)
                EXPECT_EQ(io.error().code(), EOPNOTSUPP);
            else
                // Of two rings and what binds them, polled_test.cpp has the names.
                expect_named(io.error(), *fault,
                             GetParam().polling == Polling::none ? name_in_create(*fault, with_more) : "Io::create: ");
            // The arena goes now, and would abort were a ring still counted among its users.
        });
        EXPECT_GT(met, 100U);
    }
}

TEST_P(FaultsTest, AnIdleRingIsGoneWhicheverCallOfItsEndFails) {
    const std::size_t met = with_every_fault([&](const Fault*) {
        BufferArena arena = make_arena({.count = 4});
        std::optional<Io> io = make_io(GetParam(), {.entries = 4, .arena = &arena});
        ASSERT_EQ(result_of(*io, io->nop(1)), 0);
        const FaultsHere here;
        io.reset();
    });
    EXPECT_GT(met, 20U);
}

// --- Driving it -----------------------------------------------------------------------------------------------------

// How the ring's own failure names the call that was refused.
std::string name_in_driving(const Fault& fault) {
    return fault.code == abi::register_enable_rings
               ? "enabling the ring: io_uring_register(IORING_REGISTER_ENABLE_RINGS)"
               : "driving the ring";
}

// Reaps what is in flight through faults, and counts each token. Errors of the ring are the fault's own.
class Reaper {
public:
    Reaper(Io& io, const Fault* fault) : io_(io), fault_(fault) {}
    void take(const Completions& done) {
        if (const Error error = done.error()) {
            ASSERT_TRUE(fault_) << error.message();
            expect_named(error, *fault_, name_in_driving(*fault_));
            ASSERT_LT(++errors_, 3) << "one call failed once";
        }
        for (const Completion& completion : done) {
            ASSERT_LT(completion.token, seen.size());
            ++seen[completion.token];
            EXPECT_GE(completion.res, 0);
        }
    }
    void finish(bool parked) {
        const auto deadline = io_.now() + 60s;
        while (io_.in_flight() > 0 && io_.now() < deadline) {
            take(parked ? io_.park() : io_.poll());
            expect_conserved(io_);
            if (testing::Test::HasFailure()) return;
        }
    }
    std::vector<unsigned> seen = std::vector<unsigned>(20);

private:
    Io& io_;
    const Fault* fault_;
    int errors_ = 0;
};

TEST_P(FaultsTest, SubmittingAndReapingLosesAndRepeatsNothing) {
    for (const bool parked : {false, true}) {
        for (const bool fresh : {false, true}) {
            const std::size_t met = with_every_fault([&](const Fault* fault) {
                Io io = make_io(GetParam(), {.entries = 8});
                ASSERT_TRUE(fresh || result_of(io, io.nop(0)) == 0);
                Reaper reaper(io, fault);
                const FaultsHere here;
                for (Token token = 0; token < 20; ++token) {
                    while (!io.nop(token)) {
                        const Completions done = io.poll();
                        ASSERT_NO_FATAL_FAILURE(reaper.take(done));
                    }
                }
                reaper.finish(parked);
                EXPECT_EQ(reaper.seen, std::vector<unsigned>(20, 1U));
            });
            // An SQPOLL thread that is awake may need no call at all.
            EXPECT_TRUE(met > 20 || (GetParam() == Mode::sqpoll && !fresh)) << met;
        }
    }
}

// Transfers of a file that cannot be polled, which are sent twice, among operations of the other ring.
TEST_P(FaultsTest, TransfersOfASlotAreDoneOnceEach) {
    const TempDir dir;
    std::vector<std::byte> content(20);
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i);
    write_file(dir.file("f"), content);
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY));
    with_every_fault([&](const Fault* fault) {
        Io io = make_io(GetParam(), {.entries = 8, .file_slots = 1});
        ASSERT_TRUE(io.set_file(FileSlot(0), file));
        std::vector<std::byte> read(20, std::byte{99});
        Reaper reaper(io, fault);
        {
            const FaultsHere here;
            for (Token token = 0; token < 20; ++token) {
                while (token % 4 == 3 ? !io.nop(token) : !io.read(FileSlot(0), {&read[token], 1}, token, token)) {
                    const Completions done = io.poll();
                    ASSERT_NO_FATAL_FAILURE(reaper.take(done));
                }
            }
            reaper.finish(true);
        }
        EXPECT_EQ(reaper.seen, std::vector<unsigned>(20, 1U));
        for (Token token = 0; token < 20; ++token)
            EXPECT_EQ(read[token], token % 4 == 3 ? std::byte{99} : content[token]);
        // No transfer is counted as in flight any more.
        EXPECT_TRUE(io.set_file(FileSlot(0), -1));
    });
}

TEST_P(FaultsTest, AParkWithATimeoutEndsInTimeOrSaysWhy) {
    const Pipe pipe;
    const std::size_t met = with_every_fault([&](const Fault* fault) {
        Io io = make_io(GetParam(), {.entries = 4});
        std::byte byte{};
        ASSERT_TRUE(io.read(pipe.read_end, {&byte, 1}, UINT64_MAX, 0));
        const auto before = io.now();
        {
            const FaultsHere here;
            const Completions done = io.park(2ms);
            EXPECT_TRUE(done.empty());
            if (const Error error = done.error()) {
                ASSERT_TRUE(fault);
                expect_named(error, *fault, name_in_driving(*fault));
            } else if (!fault || fault->answer != -ETIME) {
                EXPECT_GE(io.now() - before, 2ms);
            }
        }
        expect_conserved(io);
        EXPECT_EQ(io.in_flight(), 1U);
        ASSERT_EQ(::write(pipe.write_end, "x", 1), 1);
        const auto done = drain(io);
        ASSERT_EQ(done.size(), 1U);
        EXPECT_EQ(done[0].res, 1);
    });
    EXPECT_GT(met, 20U);
}

TEST_P(FaultsTest, NothingIsWrittenAfterTheEndWhicheverCallOfItFails) {
    const Pipe pipe;
    std::array<std::byte, 64> memory{};
    const std::size_t met = with_every_fault([&](const Fault*) {
        BufferArena arena = make_arena({.count = 4});
        std::optional<Io> io = make_io(GetParam(), {.entries = 8, .arena = &arena});
        {
            FixedBuffer lease = *arena.acquire();
            for (Token token = 0; token < 2; ++token) {
                ASSERT_TRUE(io->read(pipe.read_end, memory, UINT64_MAX, token));
                ASSERT_TRUE(io->read(pipe.read_end, lease.bytes(), UINT64_MAX, token));
            }
            (void)io->poll();
            ASSERT_TRUE(io->read(pipe.read_end, memory, UINT64_MAX, 5));  // never submitted
            const FaultsHere here;
            io.reset();
        }
        // Were a read still alive, it would take this.
        std::array<std::byte, 64> bytes{};
        ASSERT_EQ(::write(pipe.write_end, "0123456789", 10), 10);
        ASSERT_EQ(::read(pipe.read_end, bytes.data(), bytes.size()), 10);
        for (const std::byte byte : memory) ASSERT_EQ(byte, std::byte{});
    });
    EXPECT_GT(met, 20U);
}

TEST_P(FaultsTest, AFileIsPutIntoASlotOrTheErrorSaysWhich) {
    const Fd null(::open("/dev/null", O_RDWR));
    const std::size_t met = with_every_fault([&](const Fault* fault) {
        Io io = make_io(GetParam(), {.entries = 4, .file_slots = 2});
        Result<void> set;
        {
            const FaultsHere here;
            set = io.set_file(FileSlot(1), null);
        }
        // With polling the second call is about polling, which a file may do without.
        const bool put = !fault || fault->errno_value() == EINTR || fault->nth > 0;
        ASSERT_EQ(set.has_value(), put);
        if (!put) expect_named(set.error(), *fault, "Io::set_file(slot 1, fd=");
        std::byte byte{};
        EXPECT_EQ(result_of(io, io.read(FileSlot(1), {&byte, 1}, 0, 1)), put ? 0 : -EBADF);
        if (!put) {
            ASSERT_TRUE(io.set_file(FileSlot(1), null));
            EXPECT_EQ(result_of(io, io.read(FileSlot(1), {&byte, 1}, 0, 2)), 0);
        }
    });
    EXPECT_GT(met, 10U);
}

TEST_P(FaultsTest, AFileIsOpenedIntoASlotOrTheCompletionSaysWhyNot) {
    const std::size_t met = with_every_fault([&](const Fault* fault) {
        Io io = make_io(GetParam(), {.entries = 4, .file_slots = 2});
        ASSERT_EQ(result_of(io, io.nop(0)), 0);
        std::int32_t opened = 1;
        {
            const FaultsHere here;
            ASSERT_TRUE(io.open("/dev/zero", {.read = true}, FileSlot(1), 1));
            const auto deadline = io.now() + 60s;
            while (io.in_flight() > 0 && io.now() < deadline) {
                const Completions park = io.park();
                EXPECT_TRUE(!park.failed() || fault) << park.error().message();
                for (const Completion& done : park) opened = done.res;
            }
        }
        // Only what puts the file into a table can stop it: with polling squall does that itself, when the file is open.
        if (opened < 0) {
            ASSERT_TRUE(fault && fault->number == nr_register);
            EXPECT_EQ(opened, fault->answer);
        }
        std::byte byte{};
        EXPECT_EQ(result_of(io, io.read(FileSlot(1), {&byte, 1}, 0, 2)), opened == 0 ? 1 : -EBADF);
        EXPECT_EQ(result_of(io, io.open("/dev/zero", {.read = true}, FileSlot(1), 3)), 0);
        EXPECT_EQ(result_of(io, io.read(FileSlot(1), {&byte, 1}, 0, 4)), 1);
    });
    EXPECT_TRUE(met > 10 || GetParam().mode == Mode::sqpoll) << met;
}

// --- Arenas ---------------------------------------------------------------------------------------------------------

TEST(Faults, AnArenaOfEachKindIsMadeOrTheErrorSaysWhyNot) {
    for (const Pages pages : {Pages::base, Pages::automatic, Pages::transparent, Pages::hugetlb}) {
        // 2 MiB: as much as automatic needs to look for huge pages.
        const ArenaOptions options{.buffer_size = 4096, .count = 512, .pages = pages};
        const int without = BufferArena::create(options) ? 0 : BufferArena::create(options).error().code();
        const std::size_t met = with_every_fault([&](const Fault* fault) {
            const auto make = [&] {
                const FaultsHere here;
                return BufferArena::create(options);
            };
            auto arena = make();
            if (arena) {
                EXPECT_TRUE(arena->acquire());
                EXPECT_EQ(arena->count(), 512U);
                const FaultsHere here;
                const BufferArena gone = std::move(*arena);
                return;
            }
            const int code = arena.error().code();
            const std::string& message = arena.error().message();
            EXPECT_EQ(message.substr(0, 21), "BufferArena::create: ");
            if (!fault) {
                EXPECT_EQ(code, without);
                return;
            }
            // Where huge pages were asked for, the error may be about those, and not about the call.
            const bool of_huge_pages = pages == Pages::transparent ? code == EOPNOTSUPP || code == ENOMEM
                                                                   : pages == Pages::hugetlb && code == ENOMEM;
            EXPECT_TRUE(code == fault->errno_value() || of_huge_pages) << message;
            EXPECT_TRUE(message.find("mapping ") != std::string::npos || message.find("(madvise)") != std::string::npos)
                << message;
        });
        EXPECT_GT(met, 20U);
    }
}

// What automatic pages need of the machine is a choice: only what the arena rests on stops it.
TEST(Faults, AnAutomaticArenaNeedsOnlyOrdinaryMemory) {
    for (const std::size_t count : {16UL, 512UL}) {
        with_every_fault([&](const Fault* fault) {
            const auto make = [&] {
                const FaultsHere here;
                return BufferArena::create({.count = count});
            };
            const auto arena = make();
            if (!fault || fault->answer >= 0 || (fault->number != SYS_mmap && fault->number != SYS_madvise)) {
                EXPECT_TRUE(arena) << arena.error().message();
            }
        });
    }
}

// --- The calls that are not the ring's ------------------------------------------------------------------------------

TEST(Faults, ADirectoryIsListedOrTheErrorSaysWhyNot) {
    const TempDir dir;
    const std::vector<std::string> names = {"a", "b", "c"};
    for (const std::string& name : names) write_file(dir.file(name), {});
    const Io io = make_io({.entries = 1});
    const std::size_t met = with_every_fault([&](const Fault* fault) {
        const auto list = [&] {
            const FaultsHere here;
            return io.list_dir(dir.path().c_str());
        };
        const auto found = list();
        if (!fault || fault->number == SYS_close) {
            ASSERT_TRUE(found);
            EXPECT_EQ(*found, names);
        } else {
            ASSERT_FALSE(found);
            expect_named(found.error(), *fault,
                         "list_dir(\"" + dir.path() + (fault->number == SYS_openat ? "\"): open" : "\"): getdents64"));
        }
    });
    EXPECT_GT(met, 20U);
}

TEST(Faults, DirectoriesAreMadeOrTheErrorSaysWhichNot) {
    const Io io = make_io({.entries = 1});
    for (const bool there : {false, true}) {
        const TempDir dir;
        const std::string path = dir.file("one/two");
        const std::size_t met = with_every_fault([&](const Fault* fault) {
            ::rmdir(path.c_str());
            ::rmdir(dir.file("one").c_str());
            ASSERT_TRUE(!there || io.create_dir_all(path.c_str()));
            const auto make = [&] {
                const FaultsHere here;
                return io.create_dir_all(path.c_str());
            };
            const auto made = make();
            if (made) {
                EXPECT_EQ(::access(path.c_str(), X_OK), 0);
                return;
            }
            ASSERT_TRUE(fault && (fault->number == SYS_mkdirat || fault->number == SYS_openat));
            if (fault->errno_value() == EEXIST) return;  // and yet it is not: what open says of that is as good
            expect_named(made.error(), *fault, "create_dir_all(\"" + path + "\"): mkdir(\"/");
            EXPECT_TRUE(io.create_dir_all(path.c_str())) << "the second attempt";
        });
        EXPECT_GT(met, 20U);
    }
}

TEST(Faults, SizesAreLearntOrTheErrorSaysWhyNot) {
    const TempDir dir;
    write_file(dir.file("f"), {});
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY | O_DIRECT));
    const Io io = make_io({.entries = 1});
    const std::size_t met = with_every_fault([&](const Fault* fault) {
        const FaultsHere here;
        const auto block = io.block_size(file);
        const auto alignment = direct_io_alignment(file);
        const auto size = io.file_size(file);
        EXPECT_EQ(block.has_value(), !fault || fault->nth != 0);
        EXPECT_EQ(alignment.has_value(), !fault || fault->nth != 1);
        EXPECT_EQ(size.has_value(), !fault || fault->nth != 2);
        if (!block) expect_named(block.error(), *fault, "block_size(fd=" + std::to_string(file) + "): statx");
        if (!alignment)
            expect_named(alignment.error(), *fault, "direct_io_alignment(fd=" + std::to_string(file) + "): statx");
        if (!size) expect_named(size.error(), *fault, "file_size(fd=" + std::to_string(file) + "): statx");
    });
    EXPECT_EQ(met, 30U);
}

TEST(Faults, AMisalignedTransferIsExplainedAsFarAsTheMachineTells) {
    const TempDir dir;
    write_file(dir.file("f"), std::vector<std::byte>(8192));
    const Fd file(::open(dir.file("f").c_str(), O_RDONLY | O_DIRECT));
    std::vector<std::byte> bytes(100);
    const std::size_t met = with_every_fault([&](const Fault* fault) {
        const FaultsHere here;
        const Error error = transfer_error({1, -EINVAL, 0}, file, bytes, 7);
        EXPECT_EQ(error.code(), EINVAL);
        const char* const expected = !fault                       ? "the offset is 7 bytes past"
                                     : fault->number == SYS_fcntl ? "not open with O_DIRECT"
                                                                  : "direct_io_alignment(fd=";
        EXPECT_NE(error.message().find(expected), std::string::npos) << error.message();
    });
    EXPECT_GT(met, 10U);
}

}  // namespace
}  // namespace squall
