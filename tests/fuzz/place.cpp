// SPDX-License-Identifier: MIT
//
// See place.hpp.
#include "place.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace squall::fuzz {

namespace {

void must(bool done, const char* what) {
    if (done) return;
    std::perror(what);
    std::abort();
}

}  // namespace

Place::Place() {
    const char* const base = std::getenv("SQUALL_TEST_DIR");
    std::snprintf(path_, sizeof(path_), "%s/squall-fuzz-XXXXXX", base ? base : "/var/tmp");
    must(::mkdtemp(path_) && ::chdir(path_) == 0, path_);

    constexpr std::size_t bytes = std::size_t{2} << 20;
    constexpr std::size_t page = 4096;
    void* const at = ::mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(at != MAP_FAILED && ::mprotect(static_cast<std::byte*>(at) + bytes, page, PROT_NONE) == 0, "mmap");
    memory_ = {static_cast<std::byte*>(at), bytes};

    const rlimit file_size{1U << 20, 1U << 20};
    must(::setrlimit(RLIMIT_FSIZE, &file_size) == 0, "RLIMIT_FSIZE");
    std::signal(SIGXFSZ, SIG_IGN);
    std::signal(SIGPIPE, SIG_IGN);

    first_fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    must(first_fd_ >= 0, "/dev/null");
    ::close(first_fd_);
}

Place::~Place() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void Place::tidy() const {
    ::close_range(static_cast<unsigned>(first_fd_), UINT_MAX, 0);
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(".", ignored))
        std::filesystem::remove_all(entry.path(), ignored);
}

}  // namespace squall::fuzz
