// SPDX-License-Identifier: MIT
//
// What the tests share: a temp directory that cleans up, an Io that must come to be, one operation run to its end, bytes
// that say where they belong, and the count of allocations.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "squall/squall.hpp"

namespace squall::test {

// What a suite goes through: each Mode, alone and with polling.
struct Kind {
    constexpr Kind(Mode in_mode, Polling with = Polling::none) : mode(in_mode), polling(with) {}
    Mode mode;
    Polling polling;
    operator Mode() const { return mode; }
};
inline constexpr Kind every_kind[] = {{Mode::deferred},
                                      {Mode::plain},
                                      {Mode::sqpoll},
                                      {Mode::deferred, Polling::busy},
                                      {Mode::plain, Polling::hybrid},
                                      {Mode::sqpoll, Polling::busy}};
std::string name_of(Kind kind);

// A directory of its own, removed with all that is in it.
class TempDir {
public:
    TempDir();
    ~TempDir();
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

private:
    std::string path_;
};

// A file descriptor that closes itself.
class Fd {
public:
    explicit Fd(int fd) : fd_(fd) {}
    ~Fd();
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    operator int() const { return fd_; }

private:
    int fd_;
};

struct Pipe {
    Pipe();
    ~Pipe();
    // Closes the read end, and waits until no operation holds it either: whatever was yet to read from it has done so by
    // then. Fails the test after ten minutes: where many rings are closed, the kernel may be minutes late in freeing them.
    void until_unread();
    [[nodiscard]] int bytes_within() const;
    int read_end = -1;
    int write_end = -1;
};

// Ends the program with the message where the library refuses: for tests that are about something else.
Io make_io(const IoOptions& options = {});
Io make_io(Kind kind, IoOptions options);
BufferArena make_arena(const ArenaOptions& options = {});

// Parks until the operation just queued has completed, alone, and returns its result. `queued` must be true. As after
// drain(), an SQPOLL thread has then given all places in the SQ back.
std::int32_t result_of(Io& io, bool queued);
// Reaps until nothing is in flight; the completions in their order.
std::vector<Completion> drain(Io& io);

// Fills and checks bytes that depend on `seed` and their distance from `offset`, so that a byte in a wrong place shows.
void fill_pattern(std::span<std::byte> bytes, std::uint64_t offset, std::uint64_t seed = 0);
// Where the first wrong byte is, or -1.
std::ptrdiff_t find_wrong(std::span<const std::byte> bytes, std::uint64_t offset, std::uint64_t seed = 0);

void write_file(const std::string& path, std::span<const std::byte> bytes);
std::vector<std::byte> read_file(const std::string& path);

// `count` as often as SQUALL_STRESS says, by which whoever has the time asks for more of what a test repeats.
std::uint64_t scaled(double count);

// Calls of operator new since the program began, in all threads.
std::uint64_t allocations_made();

// Whether this descriptor is readable now.
bool is_readable(int fd);
// That the Io's poll_fd() is not, once the kernel is through: it signals a moment after a completion can be found.
void expect_quiet(Io& io, int fd);

// Descriptors that are open in this process.
std::size_t descriptors_now();

}  // namespace squall::test
