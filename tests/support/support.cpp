// SPDX-License-Identifier: MIT
//
// See support.hpp.
#include "support.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <utility>

#include "rings.hpp"

namespace {
std::atomic<std::uint64_t> allocations{0};
}

// Counted, then as usual. The sanitizers still see malloc and free.
void* operator new(std::size_t bytes) {
    allocations.fetch_add(1, std::memory_order_relaxed);
    if (void* const memory = std::malloc(bytes != 0 ? bytes : 1)) return memory;
    std::abort();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace squall::test {

std::uint64_t scaled(double count) {
    const char* const factor = std::getenv("SQUALL_STRESS");
    return static_cast<std::uint64_t>(count * (factor ? std::atof(factor) : 1));
}

std::uint64_t allocations_made() { return allocations.load(); }

TempDir::TempDir() {
    // Not /tmp, which may be a tmpfs without O_DIRECT.
    const char* const base = std::getenv("SQUALL_TEST_DIR");
    path_ = std::string(base ? base : "/var/tmp") + "/squall-test-XXXXXX";
    if (!::mkdtemp(path_.data())) {
        std::perror(path_.c_str());
        std::abort();
    }
}
TempDir::~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

Fd::~Fd() {
    if (fd_ >= 0) ::close(fd_);
}

Pipe::Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    read_end = ends[0];
    write_end = ends[1];
}
Pipe::~Pipe() {
    if (read_end >= 0) ::close(read_end);
    if (write_end >= 0) ::close(write_end);
}

void Pipe::until_unread() {
    if (read_end >= 0) ::close(std::exchange(read_end, -1));
    struct pollfd writes = {write_end, 0, 0};  // POLLERR comes unasked, when there is no reader
    EXPECT_EQ(::poll(&writes, 1, 600'000), 1) << "something still reads from the pipe";
}
int Pipe::bytes_within() const {
    int count = -1;
    EXPECT_EQ(::ioctl(write_end, FIONREAD, &count), 0);
    return count;
}

Io make_io(const IoOptions& options) {
    auto io = Io::create(options);
    // Without CAP_IPC_LOCK a kernel may count rings that were closed a moment ago.
    for (int tries = 0; !io && io.error().code() == ENOMEM && tries < 6000; ++tries) {
        ::usleep(10'000);
        io = Io::create(options);
    }
    if (!io) {
        std::fprintf(stderr, "%s\n", io.error().message().c_str());
        std::abort();
    }
    return std::move(io).value();
}

Io make_io(Kind kind, IoOptions options) {
    options.mode = kind.mode;
    options.polling = kind.polling;
    return make_io(options);
}

BufferArena make_arena(const ArenaOptions& options) {
    auto arena = BufferArena::create(options);
    if (!arena) {
        std::fprintf(stderr, "%s\n", arena.error().message().c_str());
        std::abort();
    }
    return std::move(arena).value();
}

std::int32_t result_of(Io& io, bool queued) {
    EXPECT_TRUE(queued);
    EXPECT_EQ(io.in_flight(), 1U);
    const Completions done = io.park();
    EXPECT_FALSE(done.error()) << done.error().message();
    EXPECT_EQ(done.size(), 1U);
    if (!done.empty()) until_taken();
    return done.empty() ? INT32_MIN : done.begin()->res;
}

std::vector<Completion> drain(Io& io) {
    std::vector<Completion> all;
    while (io.in_flight() > 0) {
        const Completions done = io.park();
        EXPECT_FALSE(done.error()) << done.error().message();
        if (done.error()) break;
        all.insert(all.end(), done.begin(), done.end());
    }
    if (io.in_flight() == 0) until_taken();
    return all;
}

namespace {
std::uint64_t pattern(std::uint64_t word, std::uint64_t seed) {
    const std::uint64_t x = (word + 1) * 0x9e3779b97f4a7c15ULL ^ (seed + 1) * 0xbf58476d1ce4e5b9ULL;
    return x ^ x >> 29;
}
// Calls `each(place, byte that belongs there)` until it says false; a word of the pattern is made once for its eight bytes.
template <class Each>
void walk_pattern(std::size_t size, std::uint64_t offset, std::uint64_t seed, Each each) {
    std::uint64_t word = pattern(offset / 8, seed);
    for (std::size_t i = 0; i < size; ++i) {
        const std::uint64_t at = offset + i;
        if (at % 8 == 0) word = pattern(at / 8, seed);
        if (!each(i, static_cast<std::byte>(word >> (at % 8 * 8)))) return;
    }
}
}  // namespace

void fill_pattern(std::span<std::byte> bytes, std::uint64_t offset, std::uint64_t seed) {
    std::byte* const data = bytes.data();
    walk_pattern(bytes.size(), offset, seed, [data](std::size_t i, std::byte byte) { return data[i] = byte, true; });
}

std::ptrdiff_t find_wrong(std::span<const std::byte> bytes, std::uint64_t offset, std::uint64_t seed) {
    const std::byte* const data = bytes.data();
    std::ptrdiff_t wrong = -1;
    walk_pattern(bytes.size(), offset, seed, [data, &wrong](std::size_t i, std::byte byte) {
        if (data[i] != byte) wrong = static_cast<std::ptrdiff_t>(i);
        return wrong < 0;
    });
    return wrong;
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(file.good()) << path;
}

std::vector<std::byte> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const auto bytes = std::as_bytes(std::span(content));
    return {bytes.begin(), bytes.end()};
}

std::string name_of(Kind kind) {
    const char* const mode = kind.mode == Mode::deferred ? "deferred" : kind.mode == Mode::plain ? "plain" : "sqpoll";
    return mode + std::string(kind.polling == Polling::none   ? ""
                              : kind.polling == Polling::busy ? "_polling"
                                                              : "_hybrid");
}

std::size_t descriptors_now() {
    std::size_t count = 0;
    DIR* const dir = ::opendir("/proc/self/fd");
    while (::readdir(dir)) ++count;
    ::closedir(dir);
    return count;
}

bool is_readable(int fd) {
    struct pollfd look = {fd, POLLIN, 0};
    return ::poll(&look, 1, 0) == 1;
}

void expect_quiet(Io& io, int fd) {
    for (int looks = 0; looks < 1000 && is_readable(fd); ++looks) EXPECT_TRUE(io.poll().empty());
    EXPECT_FALSE(is_readable(fd));
}

}  // namespace squall::test
