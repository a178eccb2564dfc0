// SPDX-License-Identifier: MIT
//
// What a program meets that is run by a tool which follows every byte: goes through squall's calls, so that a false report
// shows, and under MemorySanitizer looks up which bytes it takes for written: those that the kernel has written, and no
// other. It is plain C++, since libstdc++'s and GoogleTest's libraries tell such tools nothing. ./run builds and runs it.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "message.hpp"
#include "squall/squall.hpp"
#include "sys.hpp"

namespace squall {
namespace {

int failures = 0;
const char* doing = "";

#define EXPECT(expression)                                                                                \
    do {                                                                                                  \
        if (!(expression)) {                                                                              \
            std::fprintf(stderr, "%s:%d: with %s, not so: %s\n", __FILE__, __LINE__, doing, #expression); \
            ++failures;                                                                                   \
        }                                                                                                 \
    } while (false)

// Bytes that hold nothing, as a buffer's do that was just allocated. Tools that cannot be told what the kernel writes are
// given zeros.
void forget(std::span<std::byte> bytes) {
#if defined(SQUALL_MSAN)
    __msan_poison(bytes.data(), bytes.size());
#else
    std::memset(bytes.data(), 0, bytes.size());
#endif
}

// Whether the first `written` of these bytes hold something, and the others nothing.
bool holds(std::span<const std::byte> bytes, [[maybe_unused]] std::size_t written) {
#if defined(SQUALL_MSAN)
    for (std::size_t at = 0; at < bytes.size(); ++at)
        if ((__msan_test_shadow(&bytes[at], 1) == -1) != (at < written)) return false;
    return true;
#else
    return std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(written), bytes.end(),
                       [](std::byte byte) { return byte == std::byte{0}; });
#endif
}

template <class T>
std::span<std::byte> bytes_of(T& value) {
    return {reinterpret_cast<std::byte*>(&value), sizeof(value)};
}

std::byte content_at(std::size_t offset) { return static_cast<std::byte>(offset % 251 + 1); }

// Whether `bytes` came from `offset` of the file, as far as it goes, and all of them are known to be there.
bool came_from(std::span<const std::byte> bytes, std::size_t offset) {
    for (std::size_t at = 0; at < bytes.size(); ++at)
        if (bytes[at] != content_at(offset + at)) return false;
    return true;
}

template <class T>
[[nodiscard]] T must(Result<T> result) {
    if (!result) {
        std::fprintf(stderr, "%s: %s\n", doing, result.error().message().c_str());
        std::exit(1);
    }
    return std::move(result).value();
}

std::int32_t result_of(Io& io, bool queued, Token token) {
    EXPECT(queued);
    const Completions done = io.park();
    EXPECT(!done.error());
    EXPECT(done.size() == 1);
    if (done.empty()) return INT32_MIN;
    EXPECT(done.begin()->token == token);
    return done.begin()->res;
}

constexpr std::size_t block = 4096;
constexpr std::size_t file_bytes = 2 * block + 100;

// Reads through `from`, a descriptor or a slot: all of a block, the file's last 100 bytes, and what is not there.
template <class File>
void read_through(Io& io, File from, std::span<std::byte> into) {
    forget(into);
    EXPECT(result_of(io, io.read(from, into, block, 101), 101) == static_cast<std::int32_t>(block));
    EXPECT(holds(into, block) && came_from(into, block));
    forget(into);
    EXPECT(result_of(io, io.read(from, into, 2 * block, 102), 102) == 100);
    EXPECT(holds(into, 100) && came_from(into.first(100), 2 * block));
    forget(into);
    EXPECT(result_of(io, io.read(from, into, 4 * block, 103), 103) == 0);
    EXPECT(holds(into, 0));
    forget(into);
    EXPECT(result_of(io, io.read(from, into, std::uint64_t{1} << 63, 104), 104) == -EINVAL);
    EXPECT(holds(into, 0));
    // Part of a buffer.
    forget(into);
    EXPECT(result_of(io, io.read(from, into.first(10), 0, 105), 105) == 10);
    EXPECT(holds(into, 10) && came_from(into.first(10), 0));
}

// The same into pieces, of which the last that is reached is filled in part; and beside one that is cancelled.
void read_in_pieces(Io& io, int fd, std::span<std::byte> first, std::span<std::byte> second) {
    const struct ::iovec pieces[] = {{first.data(), 30}, {nullptr, 0}, {second.data(), second.size()}};
    for (const How how : {How{}, How{.unregistered = true}}) {
        forget(first);
        forget(second);
        EXPECT(result_of(io, io.readv(fd, pieces, 2 * block, 106, how), 106) == 100);
        EXPECT(holds(first, 30) && came_from(first.first(30), 2 * block));
        EXPECT(holds(second, 70) && came_from(second.first(70), 2 * block + 30));
        // Without one that has no bytes, so that it may be fixed.
        const struct ::iovec two[] = {pieces[0], pieces[2]};
        forget(first);
        forget(second);
        EXPECT(result_of(io, io.readv(fd, two, file_bytes - 10, 106, how), 106) == 10);
        EXPECT(holds(first, 10) && holds(second, 0));
    }
}

// A token leads to its operation, whatever the kernel knows that by.
void cancel_by_token(Io& io) {
    int ends[2];
    EXPECT(::pipe2(ends, O_CLOEXEC) == 0);
    std::array<std::byte, 8> into{};
    forget(into);
    EXPECT(io.read(ends[0], into, UINT64_MAX, 109));
    EXPECT(io.cancel(109, 109));
    std::array<int, 2> results{1, 1};  // of the cancel that found the read, and of the read
    std::size_t count = 0;
    while (io.in_flight() > 0)
        for (const Completion& done : io.park()) {
            EXPECT(done.token == 109 && count < results.size());
            results[count++ % results.size()] = done.res;
        }
    EXPECT(std::count(results.begin(), results.end(), -ECANCELED) == 1);
    EXPECT(std::count(results.begin(), results.end(), 0) == 1);
    EXPECT(holds(into, 0));
    for (const int end : ends) ::close(end);
}

// Operations whose tokens are alike, of which each writes as much as its own result says, at its own address.
void read_under_one_token(Io& io, int fd) {
    std::array<std::array<std::byte, 64>, 4> into;
    struct ::statx found;
    const std::span<std::byte> result = bytes_of(found);
    for (auto& bytes : into) forget(bytes);
    forget(result);
    EXPECT(io.read(fd, into[0], 0, 107));
    EXPECT(io.nop(107));
    EXPECT(io.read(fd, into[1], file_bytes - 5, 107));
    EXPECT(io.read(-1, into[2], 0, 107));
    EXPECT(io.statx(fd, found, 107));
    EXPECT(io.read(fd, std::span(into[3]).first(9), 0, 107));
    while (io.in_flight() > 0)
        for (const Completion& done : io.park()) EXPECT(done.token == 107);
    EXPECT(holds(into[0], 64));
    EXPECT(holds(into[1], 5));
    EXPECT(holds(into[2], 0));
    EXPECT(holds(into[3], 9));
    EXPECT(holds(result, sizeof(found)) && found.stx_size == file_bytes);
}

void ask_for_stats(Io& io, int fd, const std::string& path) {
    struct ::statx found;
    const std::span<std::byte> result = bytes_of(found);
    forget(result);
    EXPECT(result_of(io, io.statx(fd, found, 101), 101) == 0);
    EXPECT(holds(result, sizeof(found)) && found.stx_size == file_bytes);
    forget(result);
    EXPECT(result_of(io, io.statx(path.c_str(), found, 102), 102) == 0);
    EXPECT(holds(result, sizeof(found)) && S_ISREG(found.stx_mode));
    forget(result);
    EXPECT(result_of(io, io.statx((path + "-not").c_str(), found, 103), 103) == -ENOENT);
    EXPECT(holds(result, 0));
    EXPECT(result_of(io, io.statx(-1, found, 104), 104) == -EBADF);
    EXPECT(holds(result, 0));
}

// What is taken back has the caller's token and was not written, and what was kept of it is another's to have: more of them
// than there is room for together.
void take_back(Io& io, int fd) {
    std::array<std::byte, 64> into;
    for (int round = 0; round < 40; ++round) {
        forget(into);
        EXPECT(io.read(fd, into, 0, 108));
        EXPECT(io.nop(109));
        EXPECT(io.withdraw() == Token{109});
        EXPECT(io.withdraw() == Token{108});
        EXPECT(!io.withdraw());
        EXPECT(holds(into, 0));
    }
}

// As many operations as the rings take, again and again, so that everything that is kept of one is used for another.
void fill_and_empty(Io& io, int fd) {
    std::array<std::array<std::byte, 32>, 40> into;
    for (int round = 0; round < 5; ++round) {
        for (auto& bytes : into) forget(bytes);
        std::size_t queued = 0;
        std::size_t seen = 0;
        const auto reap = [&](const Completions& all) {
            for (const Completion& done : all) {
                ++seen;
                const Token which = done.token - 100;
                EXPECT(which < into.size());
                if (which >= into.size()) continue;
                const std::size_t moved = which % 32;  // so many bytes before the file's end it was read
                EXPECT(done.res == static_cast<std::int32_t>(moved));
                EXPECT(holds(into[which], moved));
                EXPECT(came_from(std::span(into[which]).first(moved), file_bytes - moved));
            }
        };
        while (seen < into.size()) {
            while (queued < into.size() && io.read(fd, into[queued], file_bytes - queued % 32, 100 + queued)) ++queued;
            reap(round % 2 == 0 ? io.park() : io.poll());
        }
    }
}

// What writes to no memory of the caller's, and slots.
void do_the_rest(Io& io, const std::string& directory) {
    const std::string one = directory + "/one";
    const std::string other = directory + "/other";
    const OpenOptions anew{.read = true, .write = true, .create = true, .truncate = true};
    const int fd = result_of(io, io.open(one.c_str(), anew, 101), 101);
    EXPECT(fd >= 0);
    std::vector<std::byte> bytes(100, std::byte{7});
    EXPECT(result_of(io, io.write(fd, bytes, 0, 102), 102) == 100);
    EXPECT(result_of(io, io.fsync(fd, 103), 103) == 0);
    EXPECT(result_of(io, io.fdatasync(fd, 104), 104) == 0);
    EXPECT(result_of(io, io.close(fd, 105), 105) == 0);
    EXPECT(result_of(io, io.rename(one.c_str(), other.c_str(), 106), 106) == 0);
    EXPECT(result_of(io, io.nop(107), 107) == 0);
    EXPECT(result_of(io, io.open(other.c_str(), anew, FileSlot(1), 108), 108) == 0);
    EXPECT(result_of(io, io.write(FileSlot(1), bytes, 0, 109), 109) == 100);
    EXPECT(result_of(io, io.close(FileSlot(1), 110), 110) == 0);
    EXPECT(result_of(io, io.close(FileSlot(1), 111), 111) == -EBADF);
    EXPECT(result_of(io, io.unlink(other.c_str(), 112), 112) == 0);
    EXPECT(result_of(io, io.unlink(other.c_str(), 113), 113) == -ENOENT);
    const Error failure = Completion{13, -ENOENT, 0}.error();
    EXPECT(failure.message().find("ENOENT") != std::string::npos);
    EXPECT(io.set_file(FileSlot(99), fd).error().code() == EINVAL);
    EXPECT(io.park(std::chrono::milliseconds(1)).empty());
    EXPECT(io.counters().submitted == io.counters().completed);
}

// An Io that goes with an operation in flight, and with a completion that nobody took.
void leave_in_flight(Io io, int fd) {
    int ends[2];
    EXPECT(::pipe2(ends, O_CLOEXEC) == 0);
    std::array<std::byte, 16> first;
    std::array<std::byte, 16> second;
    forget(first);
    forget(second);
    EXPECT(io.read(ends[0], first, UINT64_MAX, 101));
    EXPECT(io.read(fd, second, 0, 102));
    EXPECT(!io.poll().error());
    { const Io gone = std::move(io); }
    EXPECT(holds(first, 0));
    ::close(ends[0]);
    ::close(ends[1]);
}

void live_on_in_a_child(Io& io) {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        EXPECT(!io.nop(1));
        EXPECT(io.poll().error().code() == ESTALE);
        { const Io gone = std::move(io); }
        std::_Exit(failures != 0);
    }
    int status = -1;
    EXPECT(child > 0 && ::waitpid(child, &status, 0) == child && status == 0);
}

struct Taken {
    int samples = 0;
    static void note(void* context, const Sample& sample) noexcept {
        ++static_cast<Taken*>(context)->samples;
        EXPECT(sample.token >= 100);  // as all that are given here
        EXPECT(sample.res != INT32_MIN);
    }
};

struct Kind {
    Mode mode;
    Polling polling;
    const char* name;
};
constexpr Kind kinds[] = {
    {Mode::deferred, Polling::none, "deferred"},
    {Mode::plain, Polling::none, "plain"},
    {Mode::sqpoll, Polling::none, "sqpoll"},
    {Mode::deferred, Polling::busy, "deferred, polling"},
    {Mode::plain, Polling::hybrid, "plain, polling hybrid"},
    {Mode::sqpoll, Polling::busy, "sqpoll, polling"},
};

void use(const Kind& kind, const std::string& directory, const std::string& path) {
    doing = kind.name;
    BufferArena arena = must(BufferArena::create({.buffer_size = 2 * block, .count = 4}));
    Taken taken;
    LatencyHistograms histograms;
    const auto make = [&] {
        return must(Io::create({.entries = 8,
                                .mode = kind.mode,
                                .arena = &arena,
                                .file_slots = 4,
                                .polling = kind.polling,
                                .sampling = {3, &histograms, &Taken::note, &taken}}));
    };
    Io io = make();
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT(fd >= 0);
    EXPECT(io.set_file(FileSlot(0), fd));
    {
        const FixedBuffer lease = arena.acquire().value();
        const std::span<std::byte> fixed = lease.bytes().first(block);
        std::vector<std::byte> plain(block);
        read_through(io, fd, plain);
        read_through(io, fd, fixed);
        read_through(io, FileSlot(0), plain);
        read_through(io, FileSlot(0), fixed);
        EXPECT(io.counters().fixed == 10 && io.counters().unregistered == 10);
        read_in_pieces(io, fd, std::span(plain).first(block / 2), std::span(plain).subspan(block / 2));
        read_in_pieces(io, fd, fixed.first(block / 2), fixed.subspan(block / 2));
        // A file that may be polled, where its device can.
        const int direct = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
        if (direct >= 0) {
            EXPECT(io.set_file(FileSlot(2), direct));
            forget(lease.bytes());
            const std::int32_t moved = result_of(io, io.read(FileSlot(2), lease.bytes(), block, 101), 101);
            // Not of every file system does O_DIRECT take this alignment.
            if (moved >= 0) {
                EXPECT(moved == static_cast<std::int32_t>(block + 100));
                EXPECT(holds(lease.bytes(), block + 100) && came_from(lease.bytes().first(block + 100), block));
            } else {
                EXPECT(holds(lease.bytes(), 0));
            }
            // And one that it does not.
            std::vector<std::byte> odd(block + 1);
            const Completion refused{1, -EINVAL, 0};
            EXPECT(transfer_error(refused, direct, std::span(odd).subspan(1, 77), 3).message().size() > 40);
            ::close(direct);
        }
    }
    read_under_one_token(io, fd);
    cancel_by_token(io);
    ask_for_stats(io, fd, path);
    take_back(io, fd);
    fill_and_empty(io, fd);
    do_the_rest(io, directory);
    live_on_in_a_child(io);
    EXPECT(taken.samples > 0);
    leave_in_flight(make(), fd);
    ::close(fd);
}

void make_arenas() {
    doing = "arenas";
    for (const Pages pages : {Pages::automatic, Pages::hugetlb, Pages::transparent, Pages::base}) {
        auto arena = BufferArena::create({.buffer_size = 65536, .count = 32, .pages = pages});
        if (arena) {
            const FixedBuffer lease = arena->acquire().value();
            EXPECT(lease.bytes().front() == std::byte{0} && lease.bytes().back() == std::byte{0});
            EXPECT(arena->pages() != Pages::automatic && arena->page_size() >= block);
        } else {
            // Huge pages are the operator's to give.
            EXPECT(pages != Pages::automatic && pages != Pages::base);
            EXPECT(!arena.error().message().empty());
        }
    }
    // More than there is; valgrind says so in its own way.
    const auto refused = BufferArena::create({.buffer_size = 1 << 30, .count = 1 << 20, .pages = Pages::hugetlb});
    EXPECT(!refused && refused.error().message().find("vm.nr_hugepages") != std::string::npos);
}

void ask_without_a_ring(const std::string& directory, const std::string& path) {
    doing = "the calls that are not the ring's";
    const Io io = must(Io::create());
    const std::string deep = directory + "/a/b/c";
    EXPECT(io.create_dir_all(deep.c_str()));
    EXPECT(io.create_dir_all(deep.c_str()));
    EXPECT(io.create_dir_all((path + "/under").c_str()).error().code() == ENOTDIR);
    // More names than one call of the kernel's gives.
    for (int number = 0; number < 300; ++number) {
        const std::string name = deep + "/a-name-that-is-rather-long-" + std::to_string(1000 + number);
        ::close(::open(name.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    }
    const std::vector<std::string> names = must(io.list_dir(deep.c_str()));
    EXPECT(names.size() == 300 && names.front() == "a-name-that-is-rather-long-1000" &&
           names.back() == "a-name-that-is-rather-long-1299");
    EXPECT(io.list_dir(path.c_str()).error().code() == ENOTDIR);
    EXPECT(must(io.list_dir_types(deep.c_str())).front().type == FileType::regular);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT(must(io.block_size(fd)) > 0);
    EXPECT(must(io.file_system(fd)).bytes > 0);
    const auto limits = io.atomic_write_limits(fd);
    EXPECT(limits ? limits->largest > 0 : limits.error().code() == EOPNOTSUPP);
    const auto alignment = direct_io_alignment(fd);
    EXPECT(alignment ? alignment->memory > 0 && alignment->offset > 0 : alignment.error().code() == EOPNOTSUPP);
    ::close(fd);
    EXPECT(io.block_size(-1).error().code() == EBADF);
    EXPECT(direct_io_alignment(-1).error().code() == EBADF);
    EXPECT(io.now().count() > 0);
}

// Whether `call` says that it fills a T that held nothing, where it succeeds and only there.
template <class T, class Call>
bool fills(Call call, bool succeeds = true) {
    T out;
    forget(bytes_of(out));
    return (call(out) >= 0) == succeeds && holds(bytes_of(out), succeeds ? sizeof(out) : 0);
}

void call_the_kernel(const std::string& directory, const std::string& path) {
    doing = "system calls";
    std::array<std::byte, 2 * block> bytes;
    forget(bytes);
    const int fd = sys::openat(sys::host, path.c_str(), O_RDONLY | O_CLOEXEC, 0);
    EXPECT(sys::read(sys::host, fd, bytes.data(), 77) == 77);
    EXPECT(holds(bytes, 77) && came_from(std::span(bytes).first(77), 0));
    sys::close(sys::host, fd);
    forget(bytes);
    EXPECT(sys::read(sys::host, -1, bytes.data(), 77) == -EBADF);
    EXPECT(holds(bytes, 0));
    const int listed = sys::openat(sys::host, directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    const long got = sys::getdents64(sys::host, listed, bytes.data(), bytes.size());
    EXPECT(got > 0 && holds(bytes, static_cast<std::size_t>(got)));
    sys::close(sys::host, listed);

    using Stat = struct ::statx;
    EXPECT(fills<Stat>([&](Stat& out) { return sys::statx(sys::host, -1, path.c_str(), 0, STATX_BASIC_STATS, &out); }));
    EXPECT(fills<Stat>([&](Stat& out) { return sys::statx(sys::host, -1, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &out); },
                       false));
    int ends[2];
    forget(bytes_of(ends));
    EXPECT(sys::pipe2(sys::host, ends, O_CLOEXEC) == 0 && holds(bytes_of(ends), sizeof(ends)));
    EXPECT(fills<int>([&](int& out) { return sys::ioctl(sys::host, ends[0], FIONREAD, &out); }));
    sys::close(sys::host, ends[0]);
    sys::close(sys::host, ends[1]);
    EXPECT(fills<int>([](int& out) { return sys::ioctl(sys::host, -1, FIONREAD, &out); }, false));
    using Limits = std::uint64_t[2];
    EXPECT(fills<Limits>([](Limits& out) { return sys::prlimit(RLIMIT_NOFILE, out); }));
    struct {
        std::uint32_t version = 0x20080522;  // _LINUX_CAPABILITY_VERSION_3
        std::int32_t pid = 0;
    } header;
    using Sets = std::uint32_t[6];
    EXPECT(fills<Sets>([&](Sets& out) { return sys::capget(&header, out); }));
    std::uint64_t before = 0;
    sys::set_signal_mask(0, &before);
    EXPECT(fills<std::uint64_t>([&](std::uint64_t& out) { return sys::set_signal_mask(before, &out); }));

    // The kernel takes the place that was just given up, most likely.
    for (int round = 0; round < 2; ++round) {
        const long at = sys::mmap(sys::host, block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        EXPECT(!sys::is_error(at));
        if (sys::is_error(at)) return;
        const std::span page(reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(at)), block);
        EXPECT(holds(page, block) && page[0] == std::byte{0} && page[block - 1] == std::byte{0});
        forget(page);
        sys::munmap(sys::host, page.data(), page.size());
    }
}

void explain_errors() {
    doing = "errors";
    const auto said = [](const Error& error) { return error.message().size() > 20; };
    EXPECT(said(Io::create({.entries = 0}).error()));
    EXPECT(said(Io::create({.mode = Mode::sqpoll, .sqpoll_cpu = 1'000'000}).error()));
    for (const int code : {EPERM, ENOSYS, ENOMEM, EMFILE, ENFILE, EAGAIN, EINVAL, EIO}) {
        EXPECT(said(detail::explain_setup(code, {})));
        EXPECT(said(detail::explain_pipe(code)));
        EXPECT(said(detail::explain_keeping_apart(code)));
        EXPECT(said(detail::explain_table(code, 3)));
        EXPECT(said(detail::explain_enabling(code)));
        EXPECT(said(detail::explain_advising(code, "advising")));
        EXPECT(said(detail::explain_mapping(code, "mapping")));
        EXPECT(said(detail::explain_arena(code, 4096, 1)));
        EXPECT(said(detail::explain_register(code, "IORING_REGISTER_FILES")));
        EXPECT(said(detail::ring_error(code)));
        EXPECT(said(Completion{1, -code, 0}.error()));
    }
    EXPECT(said(detail::explain_missing("what is missing")));
}

int go(const std::string& directory) {
    const std::string path = directory + "/file";
    std::vector<std::byte> content(file_bytes);
    for (std::size_t at = 0; at < content.size(); ++at) content[at] = content_at(at);
    const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0 || ::write(fd, content.data(), content.size()) != static_cast<::ssize_t>(content.size())) {
        std::perror(path.c_str());
        return 1;
    }
    ::close(fd);
    for (const Kind& kind : kinds) use(kind, directory, path);
    make_arenas();
    ask_without_a_ring(directory, path);
    call_the_kernel(directory, path);
    explain_errors();
    return failures != 0;
}

}  // namespace
}  // namespace squall

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    return squall::go(argv[1]);
}
