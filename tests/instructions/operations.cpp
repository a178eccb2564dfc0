// SPDX-License-Identifier: MIT
//
// Does each operation over and over, with the kernel's side replaced by memory, for callgrind to count the instructions
// of what runs inside measured(). At the end of a section it is told how many operations it has counted, and their name.
// Building, running and comparing is ./run's work.
#include <valgrind/callgrind.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "squall/squall.hpp"
#include "stand_in.hpp"

namespace {

using squall::Io;
using squall::Token;

constexpr std::uint32_t batch = 32;
// As often as the SQ is gone round exactly, so that the rare steps at its end have their exact share.
constexpr std::uint32_t rounds = 4 * squall::stand_in::sq_size;

// The function that callgrind is told of: it counts from here to the return, calls included.
template <class Work>
[[gnu::noinline]] void measured(Work work) {
    work();
}

// What the compiler must not know beforehand, as it would not in a program.
template <class T>
T unknown(T value) {
    __asm__ volatile("" : "+r"(value));
    return value;
}

void end_section(const char* name, std::uint64_t operations) {
    static char text[64];  // callgrind looks at it some time later
    std::snprintf(text, sizeof(text), "%llu %s", static_cast<unsigned long long>(operations), name);
    CALLGRIND_DUMP_STATS_AT(text);
}

// Reaps what has completed, and looks at all of each completion.
enum class Reap : bool { poll, park };
template <Reap how>
[[gnu::always_inline]] inline std::uint32_t reap(Io& io) {
    std::uint32_t count = 0;
    std::uint64_t sum = 0;
    for (const squall::Completion& completion : how == Reap::poll ? io.poll() : io.park()) {
        sum += completion.token + static_cast<std::uint32_t>(completion.res);
        ++count;
    }
    (void)unknown(sum);
    return count;
}

void expect(std::uint32_t count, std::uint32_t found) {
    if (count == found) return;
    std::fputs("the completions are not those of the operations that were queued\n", stderr);
    std::exit(1);
}

// Of queueing alone: sending and reaping are the same for all.
template <class Queue>
void queueing(Io& io, const char* name, Queue queue) {
    for (std::uint32_t done = 0; done < rounds; done += batch) {
        measured([&io, queue] {
            for (Token token = 0; token < batch; ++token) queue(io, token);
        });
        expect(batch, reap<Reap::poll>(io));
    }
    end_section(name, rounds);
}

template <Reap how>
void reaping(Io& io, const char* name, std::uint32_t count, std::uint64_t operations) {
    for (std::uint32_t i = 0; i < rounds; ++i) {
        for (Token token = 0; token < count; ++token) (void)io.nop(token);
        std::uint32_t found = 0;
        measured([&io, &found] { found = reap<how>(io); });
        expect(count, found);
    }
    end_section(name, operations);
}

}  // namespace

int main() {
    auto arena = squall::BufferArena::create({.buffer_size = 4096, .count = 8}).value();
    auto io = Io::create({.entries = squall::stand_in::sq_size, .arena = &arena, .file_slots = 8}).value();
    // The first submission binds the ring to the thread, once and for all.
    (void)io.nop(0);
    expect(1, reap<Reap::poll>(io));

    static std::byte memory[4096];
    static struct ::statx status;
    const std::span<std::byte> bytes(unknown(&memory[0]), 4096);
    const std::span<std::byte> fixed(unknown(arena.memory().data()), 4096);
    const std::uint64_t offset = unknown(std::uint64_t{8192});
    const int fd = unknown(3);
    const squall::FileSlot slot(unknown(1U));
    static const struct ::iovec ordinary = {bytes.data(), bytes.size()};
    static const struct ::iovec registered = {fixed.data(), fixed.size()};
    const char* const path = unknown("a/path/of/usual/length.sst");

    queueing(io, "nop", [](Io& to, Token token) { (void)to.nop(token); });
    queueing(io, "read", [=](Io& to, Token token) { (void)to.read(fd, bytes, offset, token); });
    queueing(io, "read, fixed", [=](Io& to, Token token) { (void)to.read(fd, fixed, offset, token); });
    queueing(io, "read, slot", [=](Io& to, Token token) { (void)to.read(slot, bytes, offset, token); });
    queueing(io, "read, fixed, slot", [=](Io& to, Token token) { (void)to.read(slot, fixed, offset, token); });
    queueing(io, "write", [=](Io& to, Token token) { (void)to.write(fd, bytes, offset, token); });
    queueing(io, "write, fixed", [=](Io& to, Token token) { (void)to.write(fd, fixed, offset, token); });
    queueing(io, "write, slot", [=](Io& to, Token token) { (void)to.write(slot, bytes, offset, token); });
    queueing(io, "write, fixed, slot", [=](Io& to, Token token) { (void)to.write(slot, fixed, offset, token); });
    queueing(io, "fsync", [=](Io& to, Token token) { (void)to.fsync(fd, token); });
    queueing(io, "fsync, slot", [=](Io& to, Token token) { (void)to.fsync(slot, token); });
    queueing(io, "fdatasync", [=](Io& to, Token token) { (void)to.fdatasync(fd, token); });
    queueing(io, "statx", [=](Io& to, Token token) { (void)to.statx(fd, status, token); });
    queueing(io, "statx, path", [=](Io& to, Token token) { (void)to.statx(path, status, token); });
    queueing(io, "open", [=](Io& to, Token token) { (void)to.open(path, {.read = true}, token); });
    queueing(io, "open, slot", [=](Io& to, Token token) { (void)to.open(path, {.read = true}, slot, token); });
    queueing(io, "rename", [=](Io& to, Token token) { (void)to.rename(path, path, token); });
    queueing(io, "unlink", [=](Io& to, Token token) { (void)to.unlink(path, token); });
    queueing(io, "mkdir", [=](Io& to, Token token) { (void)to.mkdir(path, 0755, token); });
    queueing(io, "readv", [=](Io& to, Token token) { (void)to.readv(fd, {&ordinary, 1}, offset, token); });
    queueing(io, "readv, fixed", [=](Io& to, Token token) { (void)to.readv(fd, {&registered, 1}, offset, token); });
    queueing(io, "fallocate", [=](Io& to, Token token) { (void)to.fallocate(fd, 0, offset, 4096, token); });
    queueing(io, "truncate", [=](Io& to, Token token) { (void)to.truncate(fd, offset, token); });
    queueing(io, "timer", [=](Io& to, Token token) { (void)to.timer(std::chrono::nanoseconds(offset), token); });
    queueing(io, "cancel", [=](Io& to, Token token) { (void)to.cancel(offset, token); });
    queueing(io, "close", [=](Io& to, Token token) { (void)to.close(fd, token); });
    queueing(io, "close, slot", [=](Io& to, Token token) { (void)to.close(slot, token); });

    reaping<Reap::poll>(io, "poll, per completion, 32 at a time", batch, std::uint64_t{rounds} * batch);
    reaping<Reap::poll>(io, "poll, 1 completion", 1, rounds);
    reaping<Reap::park>(io, "park, 1 completion", 1, rounds);
    reaping<Reap::poll>(io, "poll, idle", 0, rounds);

    for (std::uint32_t i = 0; i < rounds; ++i) measured([&arena] { (void)unknown(arena.acquire()->data()); });
    end_section("acquire and release a buffer", rounds);
}
