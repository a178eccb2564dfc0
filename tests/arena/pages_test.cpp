// SPDX-License-Identifier: MIT
//
// What pages an arena is made of, call by call: what is asked for, what is tried next, what is given back, and how what
// the machine says of its pages is read. The files of /proc and /sys are the test's own; real pages are arena_test.cpp's.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>

#include "arena_control.hpp"
#include "child.hpp"
#include "support.hpp"
#include "trace.hpp"

namespace squall {
namespace {

using namespace test;

constexpr std::size_t huge = std::size_t{2} << 20;
constexpr const char* meminfo = "/proc/meminfo";
constexpr const char* pmd_size = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";
constexpr const char* smaps = "/proc/self/smaps";

// A machine of the test's choice, as far as an arena looks at it.
class ArenaPages : public testing::Test {
protected:
    ArenaPages() : intercept([this](Call& call) { return answer(call); }) {
        files[meminfo] = [] { return "MemTotal:  16000000 kB\nHugePages_Free:  0\nHugepagesize:       2048 kB\n"; };
        files[pmd_size] = [] { return "2097152\n"; };
        for (const int advice : {MADV_HUGEPAGE, populate, collapse}) advices[advice] = 0;
    }

    std::optional<long> answer(Call& call) {
        if (call.number == SYS_openat) {
            const auto file = files.find(reinterpret_cast<const char*>(call.args[1]));
            if (file == files.end()) return std::nullopt;
            if (!file->second) return -ENOENT;
            const std::string content = file->second();
            const int fd = ::memfd_create("file", MFD_CLOEXEC);
            EXPECT_EQ(::pwrite(fd, content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
            if (!without_stdin || fd == 0) return fd;
            ::dup2(fd, 0);
            ::close(fd);
            return 0;
        }
        if (call.number == SYS_madvise) {
            const auto advice = advices.find(static_cast<int>(call.args[2]));
            if (advice != advices.end()) return advice->second;
        }
        if (call.number != SYS_mmap) return std::nullopt;
        if (no_control != 0) return no_control;
        if ((call.args[3] & MAP_HUGETLB) != 0) {
            if (no_hugetlb != 0) return no_hugetlb;
            Call ordinary = call;  // any pages will do here
            ordinary.args[3] &= ~std::uintptr_t{MAP_HUGETLB};
            return real(ordinary);
        }
        if (past_huge && call.args[1] > huge) return map_at(call.args[1], *past_huge);
        return std::nullopt;
    }
    // A mapping that starts `past` bytes behind a huge page's boundary.
    long map_at(std::size_t bytes, std::size_t past) {
        auto* const wide = static_cast<char*>(::mmap(nullptr, bytes + 2 * huge, PROT_READ | PROT_WRITE,
                                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        char* const at = wide + (huge - reinterpret_cast<std::uintptr_t>(wide) % huge) % huge + past;
        if (at > wide) ::munmap(wide, static_cast<std::size_t>(at - wide));
        ::munmap(at + bytes, static_cast<std::size_t>(wide + bytes + 2 * huge - (at + bytes)));
        mapped_at = reinterpret_cast<std::uintptr_t>(at);
        return reinterpret_cast<long>(at);
    }
    // The calls that made an arena, or that failed to; `message` is the error's.
    std::string make(const ArenaOptions& options) {
        arena.reset();
        trace.take();
        trace.forget();
        auto made = BufferArena::create(options);
        message.clear();
        code = 0;
        if (made) {
            arena = std::move(made).value();
        } else {
            message = made.error().message();
            code = made.error().code();
        }
        return trace.take();
    }
    // What smaps says of [low, high), of which `kib` KiB are huge; among other lines, as it has them.
    static std::string vma(std::uintptr_t low, std::uintptr_t high, std::size_t kib) {
        char text[400];
        std::snprintf(text, sizeof(text),
                      "%lx-%lx rw-p 00000000 00:00 0 \nSize:   999999 kB\nAnonymous:  888 kB\nAnonHugePages:  %zu kB\n"
                      "ShmemPmdMapped: 0 kB\nFilePmdMapped: 0 kB\nVmFlags: rd wr mr mw me ac sd hg \n",
                      low, high, kib);
        return text;
    }

    static constexpr int populate = 23;
    static constexpr int collapse = 25;
    std::map<std::string, std::function<std::string()>> files;  // one that is empty is not there
    std::map<int, long> advices;
    bool without_stdin = false;  // so that descriptor 0 is free, and what is opened gets it
    long no_hugetlb = 0;
    long no_control = 0;
    std::optional<std::size_t> past_huge;
    std::uintptr_t mapped_at = 0;
    Intercept intercept;
    Trace trace;
    std::optional<BufferArena> arena;
    std::string message;
    int code = 0;
};

TEST_F(ArenaPages, GivesBasePagesThatStayBasePages) {
    EXPECT_EQ(make({.count = 4, .pages = Pages::base}),
              "m1 = mmap 4096 read write private anonymous\n"
              "m2 = mmap 16384 read write private anonymous\n"
              "madvise m2 16384 no-huge\n"
              "madvise m2 16384 populate-write\n"
              "madvise m1 4096 wipe-on-fork\n"
              "madvise m2 16384 dont-fork\n");
    ASSERT_TRUE(arena);
    EXPECT_EQ(arena->pages(), Pages::base);
    EXPECT_EQ(arena->page_size(), 4096U);
    EXPECT_EQ(arena->memory().size(), 16384U);
    EXPECT_EQ(arena->count(), 4U);
    EXPECT_EQ(arena->buffer_size(), 4096U);
    arena.reset();
    EXPECT_EQ(trace.take(), "munmap m2 16384\nmunmap m1 4096\n");
}

TEST_F(ArenaPages, GivesASmallArenaOrdinaryPagesOnceItKnowsHowLargeTheHugeOnesAre) {
    // 1 MiB less one buffer, which is not worth a huge page.
    EXPECT_EQ(make({.buffer_size = 512, .count = 2047}),
              "m1 = mmap 12288 read write private anonymous\n"
              "file1 = open /proc/meminfo cloexec\n"
              "read file1 8192\n"
              "close file1\n"
              "file2 = open /sys/kernel/mm/transparent_hugepage/hpage_pmd_size cloexec\n"
              "read file2 256\n"
              "close file2\n"
              "m2 = mmap 1048576 read write private anonymous\n"
              "madvise m2 1048576 populate-write\n"
              "madvise m1 12288 wipe-on-fork\n"
              "madvise m2 1048576 dont-fork\n");
    EXPECT_EQ(arena->pages(), Pages::base);
    EXPECT_EQ(arena->memory().size(), 1048576U) << "whole pages";
}

TEST_F(ArenaPages, TakesHugePagesWhereRoundingUpAtMostDoublesTheArena) {
    const std::size_t base = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const auto hugetlb_of = [](std::size_t page) {
        return [page] { return "Hugepagesize: " + std::to_string(page / 1024) + " kB\n"; };
    };
    const auto transparent_of = [](std::size_t page) { return [page] { return std::to_string(page) + "\n"; }; };
    const auto expect = [&](const ArenaOptions& options, Pages pages, std::size_t page_size, std::size_t bytes) {
        const std::string calls = make(options);
        ASSERT_TRUE(arena) << message;
        const std::string asked = std::to_string(options.count) + " of " + std::to_string(options.buffer_size);
        EXPECT_EQ(arena->pages(), pages) << asked;
        EXPECT_EQ(arena->page_size(), page_size) << asked;
        EXPECT_EQ(arena->memory().size(), (bytes + page_size - 1) / page_size * page_size) << asked;
        EXPECT_EQ(contains(calls, "hugetlb"), pages == Pages::hugetlb) << asked << "\n" << calls;
        EXPECT_EQ(contains(calls, " huge\n"), pages == Pages::transparent) << asked << "\n" << calls;
    };
    constexpr std::size_t mib = std::size_t{1} << 20;
    for (const std::size_t page : {2 * mib, 32 * mib, 512 * mib, 1024 * mib})
        for (const Pages kind : {Pages::hugetlb, Pages::transparent}) {
            files[meminfo] = kind == Pages::hugetlb ? hugetlb_of(page) : std::function<std::string()>();
            files[pmd_size] = kind == Pages::transparent ? transparent_of(page) : std::function<std::string()>();
            expect({.buffer_size = 512, .count = 1}, Pages::base, base, 512);
            expect({.buffer_size = page / 2 - 512, .count = 1}, Pages::base, base, page / 2 - 512);
            expect({.buffer_size = page / 2, .count = 1}, kind, page, page / 2);
            expect({.buffer_size = page / 2 + 512, .count = 1}, kind, page, page / 2 + 512);
            expect({.buffer_size = page, .count = 1}, kind, page, page);
            expect({.buffer_size = page / 2 + 512, .count = 2}, kind, page, page + 1024);
        }
    // Each kind by its own page size.
    files[meminfo] = hugetlb_of(1024 * mib);
    files[pmd_size] = transparent_of(2 * mib);
    expect({}, Pages::transparent, 2 * mib, mib);
    files[meminfo] = hugetlb_of(2 * mib);
    files[pmd_size] = transparent_of(512 * mib);
    expect({}, Pages::hugetlb, 2 * mib, mib);
    files[meminfo] = hugetlb_of(1024 * mib);
    expect({}, Pages::base, base, mib);
    // By name they are had at any size.
    make({.count = 1, .pages = Pages::hugetlb});
    EXPECT_EQ(arena->memory().size(), 1024 * mib);
    make({.count = 1, .pages = Pages::transparent});
    EXPECT_EQ(arena->memory().size(), 512 * mib);
}

TEST_F(ArenaPages, TriesReservedHugePagesThenTransparentThenOrdinaryOnes) {
    past_huge = 0;
    const std::string reserved =
        "m1 = mmap 12288 read write private anonymous\n"
        "file1 = open /proc/meminfo cloexec\n"
        "read file1 8192\n"
        "close file1\n";
    EXPECT_EQ(make({.buffer_size = 512, .count = 2048}), reserved +
                                                             "m2 = mmap 2097152 read write private anonymous hugetlb\n"
                                                             "madvise m2 2097152 populate-write\n"
                                                             "madvise m1 12288 wipe-on-fork\n"
                                                             "madvise m2 2097152 dont-fork\n");
    EXPECT_EQ(arena->pages(), Pages::hugetlb);
    EXPECT_EQ(arena->page_size(), huge);
    no_hugetlb = -ENOMEM;
    const std::string transparent = reserved +
                                    "mmap 2097152 read write private anonymous hugetlb -> -12\n"
                                    "file2 = open /sys/kernel/mm/transparent_hugepage/hpage_pmd_size cloexec\n"
                                    "read file2 256\n"
                                    "close file2\n"
                                    "m2 = mmap 4194304 read write private anonymous\n"
                                    "munmap m2+2097152 2097152\n"
                                    "madvise m2 2097152 huge\n";
    EXPECT_EQ(make({.buffer_size = 512, .count = 2048}), transparent +
                                                             "madvise m2 2097152 populate-write\n"
                                                             "madvise m2 2097152 collapse\n"
                                                             "madvise m1 12288 wipe-on-fork\n"
                                                             "madvise m2 2097152 dont-fork\n");
    EXPECT_EQ(arena->pages(), Pages::transparent);
    EXPECT_EQ(arena->page_size(), huge);
    advices[MADV_HUGEPAGE] = -EINVAL;
    EXPECT_EQ(make({.buffer_size = 512, .count = 2048}), transparent.substr(0, transparent.size() - 1) +
                                                             " -> -22\n"
                                                             "munmap m2 2097152\n"
                                                             "m3 = mmap 1048576 read write private anonymous\n"
                                                             "madvise m3 1048576 populate-write\n"
                                                             "madvise m1 12288 wipe-on-fork\n"
                                                             "madvise m3 1048576 dont-fork\n");
    EXPECT_EQ(arena->pages(), Pages::base);
}

TEST_F(ArenaPages, CutsAMappingToTheHugePagesInIt) {
    for (const std::size_t past : {std::size_t{0}, std::size_t{4096}, huge / 2, huge - 4096}) {
        past_huge = past;
        // Two huge pages hold 3 MiB.
        const std::string calls = make({.buffer_size = 1 << 20, .count = 3, .pages = Pages::transparent});
        const std::size_t before = past == 0 ? 0 : huge - past;
        const std::string place = before == 0 ? "m2" : "m2+" + std::to_string(before);
        std::string cut;
        if (before > 0) cut += "munmap m2 " + std::to_string(before) + "\n";
        cut += "munmap m2+" + std::to_string(before + 2 * huge) + " " + std::to_string(huge - before) + "\n";
        EXPECT_NE(calls.find("m2 = mmap 6291456 read write private anonymous\n" + cut + "madvise " + place +
                             " 4194304 huge\n"),
                  std::string::npos)
            << calls;
        ASSERT_TRUE(arena);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena->memory().data()), mapped_at + before);
        EXPECT_EQ(arena->memory().size(), 2 * huge);
        trace.take();
        arena.reset();
        EXPECT_EQ(trace.take(), "munmap " + place + " 4194304\nmunmap m1 4096\n");
    }
}

TEST_F(ArenaPages, ReadsInSmapsWhetherAllPagesAreHuge) {
    past_huge = 0;
    advices[collapse] = -EINVAL;
    struct Case {
        const char* what;
        std::function<std::string()> content;
        bool all;
    };
    const auto first = [this] { return mapped_at; };
    const std::string filler(5000, 'x');
    const Case cases[] = {
        {"one mapping", [&] { return vma(first(), first() + 2 * huge, 4096); }, true},
        {"the same without a last end of line", [&] { return vma(first(), first() + 2 * huge, 4096) + "VmFlags: rd"; },
         true},
        {"two that adjoin",
         [&] { return vma(first(), first() + huge, 2048) + vma(first() + huge, first() + 2 * huge, 2048); }, true},
        {"one of two", [&] { return vma(first(), first() + huge, 2048) + vma(first() + huge, first() + 2 * huge, 0); },
         false},
        {"half", [&] { return vma(first(), first() + 2 * huge, 2048); }, false},
        {"its neighbours",
         [&] {
             return vma(first() - huge, first(), 2048) + vma(first(), first() + 2 * huge, 0) +
                    vma(first() + 2 * huge, first() + 3 * huge, 2048);
         },
         false},
        {"itself among its neighbours",
         [&] {
             return vma(first() - huge, first(), 2048) + vma(first(), first() + 2 * huge, 4096) +
                    vma(first() + 2 * huge, first() + 3 * huge, 2048);
         },
         true},
        {"what reaches beyond its end", [&] { return vma(first() + huge, first() + 3 * huge, 4096); }, false},
        {"what begins before it", [&] { return vma(first() - huge, first() + huge, 4096); }, false},
        {"more than one read takes", [&] { return filler + "\n" + vma(first(), first() + 2 * huge, 4096) + filler; },
         true},
        {"nothing", [] { return std::string(); }, false},
    };
    const auto ask = [this] { return make({.buffer_size = 1 << 20, .count = 4, .pages = Pages::transparent}); };
    for (const Case& test : cases) {
        files[smaps] = test.content;
        const std::string calls = ask();
        EXPECT_EQ(arena.has_value(), test.all) << test.what;
        EXPECT_EQ(code, test.all ? 0 : EOPNOTSUPP) << test.what;
        EXPECT_NE(calls.find("collapse -> -22\nfile2 = open /proc/self/smaps cloexec\nread file2 4096\n"),
                  std::string::npos)
            << calls;
        EXPECT_NE(calls.find("read file2 4096\nclose file2\n"), std::string::npos) << calls;
    }
    files[smaps] = nullptr;
    ask();
    EXPECT_EQ(code, EOPNOTSUPP) << "what cannot be read is not taken for granted";
}

TEST_F(ArenaPages, SaysWhichPagesCouldNotBeHadAndWhatToDo) {
    const ArenaOptions transparent{.count = 1024, .pages = Pages::transparent};
    const ArenaOptions reserved{.count = 1024, .pages = Pages::hugetlb};
    const auto expect = [this](const ArenaOptions& options, int errno_value, const char* name,
                               const std::string& advice) {
        make(options);
        EXPECT_FALSE(arena);
        EXPECT_EQ(code, errno_value);
        EXPECT_EQ(message, "BufferArena::create: mapping 4194304 bytes: " + std::string(name) + ": " + advice);
    };
    const std::string no_transparent =
        "the kernel gave no transparent huge pages: see /sys/kernel/mm/transparent_hugepage/enabled (it must not be "
        "\"never\") and free memory, or use Pages::automatic";
    constexpr const char* not_supported = "EOPNOTSUPP (Operation not supported)";
    constexpr const char* no_memory = "ENOMEM (Cannot allocate memory)";
    past_huge = 0;
    for (const int advice : {MADV_HUGEPAGE, populate}) {
        advices[advice] = -EBUSY;
        expect(transparent, EOPNOTSUPP, not_supported, no_transparent);
        advices[advice] = -ENOMEM;
        expect(transparent, ENOMEM, no_memory, no_transparent);
        advices[advice] = 0;
    }
    for (const char* const size : {"", "0\n", "nonsense"}) {
        files[pmd_size] = [size] { return size; };
        expect(transparent, EOPNOTSUPP, not_supported, no_transparent);
    }
    files[pmd_size] = nullptr;
    expect(transparent, EOPNOTSUPP, not_supported, no_transparent);

    const std::string too_few =
        "too few huge pages are reserved and free: the arena needs 2 of 2048 KiB; reserve them with `sysctl "
        "vm.nr_hugepages`, or use Pages::automatic";
    advices[populate] = -ENOMEM;
    expect(reserved, ENOMEM, no_memory, too_few);
    advices[populate] = -EFAULT;
    expect(reserved, EFAULT, "EFAULT (Bad address)", too_few);
    no_hugetlb = -ENOMEM;
    expect(reserved, ENOMEM, no_memory, too_few);
    const std::string none = "the kernel has no huge pages to reserve (CONFIG_HUGETLBFS): use Pages::automatic";
    files[meminfo] = [] { return "MemTotal: 1 kB\n"; };
    expect(reserved, ENOMEM, no_memory, none);
    files[meminfo] = [] { return ""; };
    expect(reserved, ENOMEM, no_memory, none);
    files[meminfo] = nullptr;
    expect(reserved, ENOMEM, no_memory, none);

    advices[populate] = -ENOMEM;
    const std::string no_room =
        "the machine, the memory cgroup, RLIMIT_AS or the sysctl vm.max_map_count has no room for it";
    expect({.count = 1024, .pages = Pages::base}, ENOMEM, no_memory, no_room);
    expect({.count = 1024}, ENOMEM, no_memory, no_room);
}

TEST_F(ArenaPages, ReadsTheSizeOfAHugePageAtTheEndOfALongFile) {
    // The line that matters is its last, and as far down as it may be.
    const std::string line = "Hugepagesize:       1024 kB\n";
    files[meminfo] = [&] { return std::string(8192 - line.size() - 1, 'x') + "\n" + line; };
    make({.buffer_size = 1 << 20, .count = 3, .pages = Pages::hugetlb});
    ASSERT_TRUE(arena);
    EXPECT_EQ(arena->page_size(), 1U << 20);
    EXPECT_EQ(arena->memory().size(), 3U << 20);
}

TEST_F(ArenaPages, ReadsTheSameWithDescriptor0) {
    without_stdin = true;
    past_huge = 0;
    make({.count = 512, .pages = Pages::hugetlb});
    EXPECT_TRUE(arena);
    advices[collapse] = -EINVAL;
    files[smaps] = [this] { return vma(mapped_at, mapped_at + huge, 2048); };
    const std::string calls = make({.count = 512, .pages = Pages::transparent});
    EXPECT_TRUE(arena);
    EXPECT_NE(calls.find("close file1\n"), std::string::npos);
    EXPECT_NE(calls.find("close file2\n"), std::string::npos);
    EXPECT_EQ(::fcntl(0, F_GETFD), -1) << "it was left open";
    EXPECT_EQ(::open("/dev/null", O_RDWR), 0);
}

TEST_F(ArenaPages, InAForkedChildItsEndAsksNothingOfTheKernel) {
    make({.count = 4, .pages = Pages::base});
    FixedBuffer lease = *arena->acquire();
    in_child_alone([&] {
        EXPECT_FALSE(arena->acquire());
        EXPECT_FALSE(arena->contains(lease.bytes()));
        EXPECT_TRUE(arena->memory().empty());
        lease.reset();
        arena.reset();
        EXPECT_EQ(trace.take(), "");
    });
    lease.reset();
}

TEST_F(ArenaPages, HoldsWhatLiesInItAndNothingElse) {
    make({.count = 4, .pages = Pages::base});
    const std::span<std::byte> memory = arena->memory();
    const auto holds = [&](std::ptrdiff_t from, std::size_t bytes) {
        return arena->contains({memory.data() + from, bytes});
    };
    const auto end = static_cast<std::ptrdiff_t>(memory.size());
    EXPECT_TRUE(holds(0, memory.size()) && holds(0, 0) && holds(0, 1) && holds(end - 1, 1) && holds(end - 1, 0));
    EXPECT_FALSE(holds(0, memory.size() + 1) || holds(1, memory.size()) || holds(end - 1, 2));
    EXPECT_FALSE(holds(end, 0) || holds(end, 1) || holds(-1, 0) || holds(-1, 1) || holds(-1, 2));
    EXPECT_FALSE(holds(1, SIZE_MAX)) << "it would wrap";
}

TEST_F(ArenaPages, SaysWhenItsStackCannotBeMapped) {
    no_control = -ENOMEM;
    EXPECT_EQ(make({.count = 4}), "mmap 4096 read write private anonymous -> -12\n");
    EXPECT_EQ(message,
              Error(ENOMEM, "BufferArena::create: mapping 4096 bytes",
                    "the machine, the memory cgroup, RLIMIT_AS or the sysctl vm.max_map_count has no room for it")
                  .message());
    no_control = -EAGAIN;
    EXPECT_EQ(make({.count = 4}), "mmap 4096 read write private anonymous -> -11\nprlimit 0 memlock\n");
    EXPECT_EQ(message.find("BufferArena::create: mapping 4096 bytes: EAGAIN (Resource temporarily unavailable): this "
                           "process locks all that it maps (mlockall), and RLIMIT_MEMLOCK is "),
              0U)
        << message;
}

TEST_F(ArenaPages, TouchesEveryPageItselfWhereTheKernelDoesNot) {
    const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    advices[populate] = -EINVAL;
    for (const Pages pages : {Pages::base, Pages::hugetlb}) {
        make({.count = 512, .pages = pages});
        ASSERT_TRUE(arena);
        std::vector<unsigned char> resident(arena->memory().size() / page);
        ASSERT_EQ(::mincore(arena->memory().data(), arena->memory().size(), resident.data()), 0);
        EXPECT_EQ(resident, std::vector<unsigned char>(resident.size(), 1));
        for (const std::byte byte : arena->memory()) ASSERT_EQ(byte, std::byte{});
    }
    advices[populate] = -EHWPOISON;
    for (const Pages pages : {Pages::base, Pages::hugetlb}) {
        make({.count = 512, .pages = pages});
        EXPECT_EQ(code, EHWPOISON);
    }
}

TEST_F(ArenaPages, SaysWhenAnArenaCannotBeKeptFromAForkedChild) {
    for (const int advice : {MADV_WIPEONFORK, MADV_DONTFORK}) {
        advices[advice] = -EAGAIN;
        const std::string calls = make({.count = 4, .pages = Pages::base});
        EXPECT_EQ(code, EAGAIN);
        EXPECT_EQ(message.substr(0, 70), "BufferArena::create: keeping it from a forked child (madvise): EAGAIN ");
        EXPECT_EQ(calls.substr(calls.rfind("munmap m2")), "munmap m2 16384\nmunmap m1 4096\n");
        advices.erase(advice);
    }
}

// --- The stack of free buffers --------------------------------------------------------------------------------------

TEST_F(ArenaPages, MapsAsMuchForTheStackAsItsBuffersNeed) {
    const std::size_t fitting = (4096 - sizeof(detail::ArenaControl)) / 4;
    EXPECT_EQ(make({.buffer_size = 512, .count = fitting}).substr(0, 15), "m1 = mmap 4096 ");
    EXPECT_EQ(make({.buffer_size = 512, .count = fitting + 1}).substr(0, 15), "m1 = mmap 8192 ");
}

TEST(ArenaStack, CountsEveryChange) {
    std::optional<std::uintptr_t> control_at;
    std::optional<BufferArena> arena;
    {
        const Witness first([&](const Call& call, long answer) {
            if (call.number == SYS_mmap && !control_at) control_at = static_cast<std::uintptr_t>(answer);
        });
        arena = make_arena({.count = 3});
    }
    // A buffer that was taken and returned meanwhile must not look as if it had never left: the count tells.
    const auto& control = *reinterpret_cast<const detail::ArenaControl*>(*control_at);
    const auto changes = [&control] { return control.head.load() >> 32; };
    const auto top = [&control] { return static_cast<std::uint32_t>(control.head.load()); };
    EXPECT_EQ(changes(), 0U);
    EXPECT_EQ(top(), 1U);
    auto first = arena->acquire();
    EXPECT_EQ(changes(), 1U);
    EXPECT_EQ(top(), 2U);
    auto second = arena->acquire();
    first.reset();
    EXPECT_EQ(changes(), 3U);
    EXPECT_EQ(top(), 1U);
    second.reset();
    EXPECT_EQ(changes(), 4U);
    EXPECT_EQ(top(), 2U);
    EXPECT_EQ(control.next[0].load(), 3U);
    EXPECT_EQ(control.next[1].load(), 1U);
    EXPECT_EQ(control.next[2].load(), 0U);
}

}  // namespace
}  // namespace squall
