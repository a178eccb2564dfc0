// SPDX-License-Identifier: MIT
//
// See library.hpp. It is linked with the library as it is built for everybody, and not with the tests' seam.
#include "library.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <optional>

#include "squall/squall.hpp"

namespace {

using namespace squall;

BufferArena& arena() {
    static BufferArena only = BufferArena::create({.count = 8}).value();
    return only;
}

const void* use(std::optional<Io>& io, Mode mode, Polling polling, int fd) {
    auto made = Io::create({.entries = 8, .mode = mode, .arena = &arena(), .polling = polling});
    if (!made) return nullptr;
    io = std::move(made).value();
    const std::span<std::byte> into = arena().memory();
    const int zero = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
    bool good = io->read(zero, into.first(4096), 0, 1);
    for (bool read = false; good && !read;)
        for (const Completion& done : io->park()) {
            good = done.res == 4096;
            read = true;
        }
    ::close(zero);
    good = good && io->read(fd, into.last(64), UINT64_MAX, 2) && io->poll().empty();
    return good ? into.data() : nullptr;
}

const void* use_static(Mode mode, Polling polling, int fd) {
    (void)arena();
    static std::optional<Io> io;
    return use(io, mode, polling, fd);
}

const void* use_of_thread(Mode mode, Polling polling, int fd) {
    thread_local std::optional<Io> io;
    return use(io, mode, polling, fd);
}

}  // namespace

extern "C" {
extern SQUALL_API const squall::test::LibraryFunctions functions;
const squall::test::LibraryFunctions functions{use_static, use_of_thread};
}
