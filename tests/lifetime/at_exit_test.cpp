// SPDX-License-Identifier: MIT
//
// The end of a process, or of a library in it, that still has arenas, Ios and leases: static ones and those of threads, in
// whatever order the language destroys them. Each case is a child process that must end with its exit code and not say a
// word. How an Io lets go of what is in flight is exit_test.cpp's, and processes that end without destroying anything are
// processes_test.cpp's.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <new>
#include <thread>

#include "child.hpp"
#include "library.hpp"
#include "seam.hpp"
#include "support.hpp"

#if defined(__SANITIZE_ADDRESS__)
// LeakSanitizer follows a library's thread_local memory to where it is no more, and dies of it.
extern "C" const char* __asan_default_options() { return "intercept_tls_get_addr=0"; }
#endif

namespace squall {
namespace {

using namespace test;

constexpr int good = 7;  // the exit code of a child in which all went well

// In a child: a line, and an end that nothing is destroyed by, unless it is true.
void must(bool is_true, const char* what) {
    if (is_true) return;
    std::fprintf(stderr, "it is not so that %s\n", what);
    ::_exit(98);
}

struct End {
    int status;
    std::string said;
};
// Runs `body`, which ends its process, in a child; what the child said is what it wrote to stderr. It is waited for as long as
// the test may run: an Io whose thread has ended goes when the kernel has come to that, and on a busy machine it may take
// minutes.
End end_of(const std::function<void()>& body) {
    std::fflush(nullptr);  // else the child's exit writes it once more
    const Fd errors(::memfd_create("stderr", MFD_CLOEXEC));
    const pid_t parent = ::getpid();
    const pid_t child = fork_or_abort();
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(97);
        ::dup2(errors, STDERR_FILENO);
        body();
        ::_exit(99);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    std::string said(1 << 16, '\0');
    const ssize_t got = ::pread(errors, said.data(), said.size(), 0);
    said.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return {status, said};
}
void expect_good_end(const std::function<void()>& body, const std::string& of = "") {
    const End end = end_of(body);
    EXPECT_TRUE(WIFEXITED(end.status)) << of << ": signal " << WTERMSIG(end.status);
    EXPECT_EQ(WEXITSTATUS(end.status), good) << of;
    EXPECT_EQ(end.said, "") << of;
}

bool is_mapped(const void* at) {
    unsigned char resident = 0;
    return ::mincore(const_cast<void*>(at), static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), &resident) == 0;
}

// A transfer from beginning to end; its bytes are of /dev/zero.
void must_read(Io& io, std::span<std::byte> into) {
    const Fd zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    std::memset(into.data(), 0x55, into.size());
    must(io.read(zero, into, 0, 1), "a read can be queued");
    for (bool read = false; !read;)
        for (const Completion& done : io.park()) {
            must(done.res == static_cast<int>(into.size()), "all of it was read");
            read = true;
        }
    must(into.front() == std::byte{} && into.back() == std::byte{}, "zeros were read");
}

// Objects that are destroyed at the process's end, or at their thread's, in the reverse of the order of the first calls.
template <class T>
std::optional<T>& of_process() {
    static std::optional<T> one;
    return one;
}
template <class T>
std::optional<T>& of_thread() {
    thread_local std::optional<T> one;
    return one;
}
template <class T>
std::optional<T>& of(bool thread) {
    return thread ? of_thread<T>() : of_process<T>();
}

struct Holdings {
    std::uint64_t bytes;
    std::size_t descriptors;
};
Holdings holdings_before;

// From now on: an exit that finds the same again at its very end, or says so.
void exit_must_leave_nothing() {
    must(std::atexit([] {
             must(bytes_mapped() == holdings_before.bytes, "everything was unmapped");
             must(descriptors_now() == holdings_before.descriptors, "every descriptor was closed");
         }) == 0,
         "a handler can be registered");
    holdings_before = {bytes_mapped(), descriptors_now()};
}

class AtExit : public testing::TestWithParam<Kind> {
protected:
    // Leaves a read in flight that would never complete, to memory of the arena that is nobody's lease.
    void leave_in_flight(Io& io, std::span<std::byte> into) const {
        must(io.read(pipe.read_end, into.first(64), UINT64_MAX, 2), "a read can be queued");
        must(io.poll().empty(), "nothing has completed");
    }

    // What a thread of a server has: an Io and a lease, and they are in use.
    void serve(BufferArena& arena) const {
        thread_local Io io = make_io(GetParam(), {.entries = 8, .arena = &arena});
        thread_local FixedBuffer lease = *arena.acquire();
        must_read(io, lease);
        must(io.counters().fixed == 1, "it was a fixed read");
        leave_in_flight(io, arena.memory().last(64));
    }

    Pipe pipe;
};
INSTANTIATE_TEST_SUITE_P(Modes, AtExit, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

// --- Static objects and those of threads ------------------------------------------------------------------------------

class AtExitOrder : public AtExit {
protected:
    enum { arena, io, lease };
    // The three, first seen in this order; bit i of `of_threads`: whether the i-th is the thread's.
    void make(const std::array<int, 3>& order, unsigned of_threads) const {
        for (const int each : order) {
            const bool thread = (of_threads >> each & 1) != 0;
            if (each == arena) of<BufferArena>(thread);
            if (each == io) of<Io>(thread);
            if (each == lease) of<FixedBuffer>(thread);
        }
        BufferArena& made = of<BufferArena>((of_threads >> arena & 1) != 0).emplace(make_arena({.count = 4}));
        Io& on = of<Io>((of_threads >> io & 1) != 0).emplace(make_io(GetParam(), {.entries = 8, .arena = &made}));
        FixedBuffer& into = of<FixedBuffer>((of_threads >> lease & 1) != 0).emplace(*made.acquire());
        must_read(on, into);
        leave_in_flight(on, made.memory().last(64));
    }
    static std::string name(const std::array<int, 3>& order, unsigned of_threads) {
        std::string text;
        for (const int each : order)
            text += std::string((of_threads >> each & 1) != 0 ? "thread's " : "static ") + (each == arena ? "arena "
                                                                                            : each == io  ? "Io "
                                                                                                          : "lease ");
        return text;
    }
    // Both, for each order and each place.
    template <class Body>
    static void for_each(Body body) {
        std::array<int, 3> order{arena, io, lease};
        do {
            for (unsigned of_threads = 0; of_threads < 8; ++of_threads) body(order, of_threads);
        } while (std::next_permutation(order.begin(), order.end()));
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, AtExitOrder, testing::Values(Kind(Mode::deferred)),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(AtExitOrder, EachOrderIsFineOnTheThreadThatExits) {
    for_each([this](const std::array<int, 3>& order, unsigned of_threads) {
        expect_good_end(
            [&] {
                exit_must_leave_nothing();
                make(order, of_threads);
                std::exit(good);
            },
            name(order, of_threads));
    });
}

TEST_P(AtExitOrder, EachOrderIsFineOnAThreadThatHasEnded) {
    for_each([this](const std::array<int, 3>& order, unsigned of_threads) {
        expect_good_end(
            [&] {
                exit_must_leave_nothing();
                std::thread([&] { make(order, of_threads); }).join();
                std::exit(good);
            },
            name(order, of_threads));
    });
}

TEST_P(AtExit, AStaticArenaMayServeThreadsThatStillHaveTheirIos) {
    expect_good_end([this] {
        static BufferArena arena = make_arena({.count = 8});
        std::latch ready(3);
        for (int i = 0; i < 3; ++i)
            std::thread([&] {
                serve(arena);
                ready.count_down();
                for (;;) ::pause();
            }).detach();
        ready.wait();
        std::exit(good);
    });
}

TEST_P(AtExit, ThreadsMayEndWhileTheStaticArenaDoes) {
    expect_good_end([this] {
        static BufferArena arena = make_arena({.count = 8});
        // Both outlive this function, since the threads look at them during the exit.
        static std::latch ready(3);
        static std::atomic<bool> may_end{false};
        for (int i = 0; i < 3; ++i)
            std::thread([this] {
                serve(arena);
                ready.count_down();
                while (!may_end) std::this_thread::yield();
            }).detach();
        ready.wait();
        may_end = true;
        std::exit(good);
    });
}

// --- Threads that go on --------------------------------------------------------------------------------------------

// Its destructor returns when the two threads have gone on meanwhile.
struct GoesOn {
    ~GoesOn() {
        for (const int before = rounds; rounds < before + 6;) std::this_thread::yield();
    }
    std::latch ready{2};
    std::atomic<int> rounds{0};
};

TEST_P(AtExit, DetachedThreadsMayGoOnWithTheirIosAndLeases) {
    expect_good_end([] {
        static GoesOn goes_on;  // and is destroyed when the arena has been
        static BufferArena arena = make_arena({.count = 8});
        for (int i = 0; i < 2; ++i)
            std::thread([] {
                Io io = make_io(GetParam(), {.entries = 8, .arena = &arena});
                FixedBuffer lease = *arena.acquire();
                for (goes_on.ready.count_down();; ++goes_on.rounds) must_read(io, lease);
            }).detach();
        goes_on.ready.wait();
        std::exit(good);
    });
}

TEST_P(AtExit, DetachedThreadsMayGoOnAcquiringFromAnArenaThatIsNeverDestroyed) {
    expect_good_end([] {
        static GoesOn goes_on;
        static BufferArena& arena = *new BufferArena(make_arena({.count = 8}));
        for (int i = 0; i < 2; ++i)
            std::thread([] {
                Io io = make_io(GetParam(), {.entries = 8, .arena = &arena});
                for (goes_on.ready.count_down();; ++goes_on.rounds) {
                    const auto lease = arena.acquire();
                    must_read(io, *lease);
                }
            }).detach();
        goes_on.ready.wait();
        std::exit(good);
    });
}

// --- exit() on another thread ----------------------------------------------------------------------------------------

TEST_P(AtExit, AnotherThreadThanTheFirstMayExit) {
    expect_good_end([this] {
        static BufferArena arena = make_arena({.count = 8});
        static Io io = make_io(GetParam(), {.entries = 8, .arena = &arena});
        static FixedBuffer lease = *arena.acquire();
        must_read(io, lease);
        serve(arena);
        std::thread([this] {
            serve(arena);
            std::exit(good);
        }).detach();
        for (;;) ::pause();
    });
}

// Only a plain ring may be reaped by whoever comes.
TEST_P(AtExit, AStaticIoWithOperationsOfAThreadThatGoesOnAbortsTheExit) {
    const auto body = [this] {
        static BufferArena arena = make_arena({.count = 8});
        static Io io = make_io(GetParam(), {.entries = 8, .arena = &arena});
        leave_in_flight(io, arena.memory());
        std::thread([] { std::exit(good); }).detach();
        for (;;) ::pause();
    };
    if (GetParam().mode == Mode::plain) return expect_good_end(body);
    const End end = end_of(body);
    EXPECT_TRUE(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT) << end.status;
    EXPECT_TRUE(contains(end.said, "with 1 operations in flight, and only thread ")) << end.said;
}

// --- Handlers --------------------------------------------------------------------------------------------------------

TEST_P(AtExit, AHandlerMayUseTheIoAndTheLeaseThatWereMadeBeforeIt) {
    expect_good_end([this] {
        exit_must_leave_nothing();
        of_process<BufferArena>() = make_arena({.count = 8});
        of_process<Io>() = make_io(GetParam(), {.entries = 8, .arena = &*of_process<BufferArena>()});
        of_process<FixedBuffer>() = *of_process<BufferArena>()->acquire();
        leave_in_flight(*of_process<Io>(), of_process<BufferArena>()->memory().last(64));
        std::atexit([] { must_read(*of_process<Io>(), *of_process<FixedBuffer>()); });
        std::exit(good);
    });
}

TEST_P(AtExit, AHandlerMayUseAnIoAndALeaseWhoseArenaIsGone) {
    expect_good_end([] {
        exit_must_leave_nothing();
        static Io* io = nullptr;
        static FixedBuffer* lease = nullptr;
        std::atexit([] {
            const std::byte* const memory = lease->data();
            must_read(*io, *lease);
            must(io->counters().fixed == 1, "it was a fixed read");
            delete io;
            must(is_mapped(memory), "a lease keeps the memory");
            std::memset(lease->data(), 0x55, lease->size());
            delete lease;
            must(!is_mapped(memory), "the last one unmaps the memory");
        });
        static BufferArena arena = make_arena({.count = 8});
        io = new Io(make_io(GetParam(), {.entries = 8, .arena = &arena}));
        lease = new FixedBuffer(*arena.acquire());
        std::exit(good);
    });
}

TEST_P(AtExit, AQuickExitDestroysNothingAndItsHandlersMayUseAll) {
    expect_good_end([this] {
        static BufferArena arena = make_arena({.count = 8});
        static Io io = make_io(GetParam(), {.entries = 8, .arena = &arena});
        static FixedBuffer lease = *arena.acquire();
        leave_in_flight(io, arena.memory().last(64));
        std::at_quick_exit([] { must_read(io, lease); });
        std::thread([this] {
            serve(arena);
            for (;;) ::pause();
        }).detach();
        std::quick_exit(good);
    });
}

TEST_P(AtExit, AnExitThatDestroysNothingIsFineWithAllThereIs) {
    expect_good_end([this] {
        static BufferArena arena = make_arena({.count = 8});
        serve(arena);
        std::latch ready(1);
        std::thread([&] {
            serve(arena);
            ready.count_down();
            for (;;) ::pause();
        }).detach();
        ready.wait();
        ::_exit(good);
    });
}

// --- Libraries that are unloaded --------------------------------------------------------------------------------------

#ifdef SQUALL_TEST_LIBRARY

// The library, which has a squall of its own (library.hpp).
class Library {
public:
    Library() : handle_(::dlopen(SQUALL_TEST_LIBRARY, RTLD_NOW | RTLD_LOCAL)) {
        if (!handle_) std::fprintf(stderr, "%s\n", ::dlerror());
        must(handle_ != nullptr, "the library can be loaded");
        functions_ = static_cast<const LibraryFunctions*>(::dlsym(handle_, "functions"));
        must(functions_ != nullptr, "the library has what it is for");
    }
    const LibraryFunctions* operator->() const { return functions_; }
    void close() { must(::dlclose(handle_) == 0, "the library can be closed"); }
    static bool is_loaded() {
        void* const handle = ::dlopen(SQUALL_TEST_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
        if (handle) ::dlclose(handle);
        return handle != nullptr;
    }

private:
    void* handle_;
    const LibraryFunctions* functions_ = nullptr;
};

class AtUnload : public AtExit {
protected:
    int fd() const { return pipe.read_end; }
};
INSTANTIATE_TEST_SUITE_P(Modes, AtUnload, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(AtUnload, AllThatIsStaticInALibraryGoesWithIt) {
    expect_good_end([this] {
        Footprint before = footprint_now();
        for (int round = 0; round < 3; ++round) {
            Library library;
            const void* const memory = library->use_static(GetParam().mode, GetParam().polling, fd());
            must(is_mapped(memory), "the library has an arena");
            must(footprint_now().rings_mapped > before.rings_mapped, "the library has rings");
            library.close();
            must(!Library::is_loaded(), "the library is gone");
            must(!is_mapped(memory), "its arena is gone");
            must(footprint_now() == before, "nothing of it is left");
        }
        std::exit(good);
    });
}

TEST_P(AtUnload, AThreadsIoGoesWithTheThreadAndThenTheLibrary) {
    expect_good_end([this] {
        const Footprint before = footprint_now();
        Library library;
        const void* memory = nullptr;
        std::thread([&] { memory = library->use_of_thread(GetParam().mode, GetParam().polling, fd()); }).join();
        must(is_mapped(memory), "the library has an arena");
        library.close();
        must(!Library::is_loaded(), "the library is gone");
        must(!is_mapped(memory), "its arena is gone");
        must(footprint_now() == before, "nothing of it is left");
        std::exit(good);
    });
}

TEST_P(AtUnload, AThreadThatStillHasAnIoKeepsTheLibrary) {
    expect_good_end([this] {
        const Footprint before = footprint_now();
        Library library;
        std::latch ready(1);
        std::latch may_end(1);
        const void* memory = nullptr;
        std::thread thread([&] {
            memory = library->use_of_thread(GetParam().mode, GetParam().polling, fd());
            ready.count_down();
            may_end.wait();
        });
        ready.wait();
        library.close();
        must(is_mapped(memory), "the arena is there, or at least its memory");
        may_end.count_down();
        thread.join();
        // The thread's destructors are done, and the next one that closes it unloads it.
        Library again;
        again.close();
        must(!Library::is_loaded(), "the library is gone");
        must(!is_mapped(memory), "its arena is gone");
        must(footprint_now() == before, "nothing of it is left");
        std::exit(good);
    });
}

TEST_P(AtUnload, ALibraryThatStaysUntilTheExitDisturbsItNot) {
    expect_good_end([this] {
        Library library;
        (void)library->use_static(GetParam().mode, GetParam().polling, fd());
        std::latch ready(1);
        std::thread([&] {
            (void)library->use_of_thread(GetParam().mode, GetParam().polling, fd());
            ready.count_down();
            for (;;) ::pause();
        }).detach();
        ready.wait();
        std::exit(good);
    });
}

#else

TEST(AtUnload, ALibraryThatIsUnloadedTakesWhatItHasAlong) {
    GTEST_SKIP() << "a program that is linked statically loads no library";
}

#endif

}  // namespace
}  // namespace squall
