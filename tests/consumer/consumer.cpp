// SPDX-License-Identifier: MIT
//
// What a storage engine that vendors squall does with it, once: writes a block from registered memory, makes it durable,
// reads it back and compares. It is built as part of a parent project and against an installed squall; tests/run looks
// for its one line and its exit code.
#include <squall/squall.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

namespace {

// Waits for the one operation that was just queued.
std::int32_t result_of(squall::Io& io, bool queued, const char* what) {
    const squall::Completions done = io.park();
    const squall::Completion* const only = queued && done.size() == 1 ? &*done.begin() : nullptr;
    if (!only)
        std::fprintf(stderr, "%s: %s\n", what, done.error().message().c_str());
    else if (!only->ok())
        std::fprintf(stderr, "%s: %s\n", what, only->error().message().c_str());
    return only ? only->res : INT32_MIN;
}

bool write_and_read_back(squall::Io& io, squall::BufferArena& arena, const std::string& path) {
    auto written = arena.acquire();
    auto read = arena.acquire();
    if (!written || !read) return false;
    std::ranges::generate(written->bytes(), [at = 0U]() mutable { return static_cast<std::byte>(at++ * 7 % 251); });
    std::ranges::fill(read->bytes(), std::byte{0});
    const auto size = static_cast<std::int32_t>(written->size());

    const int fd = result_of(io, io.open(path.c_str(), {.read = true, .write = true, .create_new = true}, 1), "open");
    return fd >= 0 && result_of(io, io.write(fd, written->bytes(), 4096, 2), "write") == size &&
           result_of(io, io.fdatasync(fd, 3), "fdatasync") == 0 &&
           result_of(io, io.read(fd, read->bytes(), 4096, 4), "read") == size &&
           result_of(io, io.close(fd, 5), "close") == 0 && result_of(io, io.unlink(path.c_str(), 6), "unlink") == 0 &&
           std::ranges::equal(written->bytes(), read->bytes());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    auto arena = squall::BufferArena::create({.buffer_size = 16384, .count = 4});
    if (!arena) {
        std::fprintf(stderr, "%s\n", arena.error().message().c_str());
        return 1;
    }
    auto io = squall::Io::create({.entries = 8, .arena = &*arena});
    if (!io) {
        std::fprintf(stderr, "%s\n", io.error().message().c_str());
        return 1;
    }
    if (!write_and_read_back(*io, *arena, std::string(argv[1]) + "/consumer.dat")) return 1;
    const squall::Counters& counters = io->counters();
    std::printf("%llu operations, %llu fixed transfers, the block came back as it was written\n",
                static_cast<unsigned long long>(counters.completed), static_cast<unsigned long long>(counters.fixed));
    return 0;
}
