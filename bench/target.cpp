// SPDX-License-Identifier: MIT
//
// The files that benchmarks read and write, made and brought into the page cache with plain system calls: nothing that is
// measured runs here.
#include "target.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>

namespace squall_bench {

namespace {
bool is_resident(unsigned char page) { return (page & 1) != 0; }
}  // namespace

void give_up(const std::string& why, int code) {
    std::fprintf(stderr, "error: %s\n", why.c_str());
    std::exit(code);
}

void warn(const std::string& what) { std::fprintf(stderr, "warning: %s\n", what.c_str()); }

void make_file(const std::string& path, std::uint64_t bytes) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) give_up("cannot make " + path + ": " + std::strerror(errno));
    std::vector<std::uint64_t> piece(mebibyte / sizeof(std::uint64_t));
    for (std::uint64_t at = 0; at < bytes; at += mebibyte) {
        for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = scramble(at + i);
        for (std::uint64_t done = 0; done < mebibyte;) {
            const ssize_t wrote = ::pwrite(fd, reinterpret_cast<const char*>(piece.data()) + done, mebibyte - done,
                                           static_cast<off_t>(at + done));
            if (wrote < 0 && errno != EINTR) give_up("cannot write " + path + ": " + std::strerror(errno));
            if (wrote > 0) done += static_cast<std::uint64_t>(wrote);
        }
    }
    if (::fsync(fd) < 0) give_up("fsync of " + path + ": " + std::strerror(errno));
    ::close(fd);
}

std::uint64_t usable_bytes(int fd, const std::string& path, std::uint64_t most, std::uint64_t largest) {
    const off_t end = ::lseek(fd, 0, SEEK_END);
    if (end < 0) give_up("cannot tell the size of " + path + ": " + std::strerror(errno));
    const std::uint64_t bytes = std::min(static_cast<std::uint64_t>(end), most) / mebibyte * mebibyte;
    if (bytes < 16 * largest)
        give_up(path + " is too small for random transfers of " + std::to_string(largest) + " bytes: at least " +
                std::to_string(16 * largest) + " are needed");
    return bytes;
}

PageCache::PageCache(int fd, const std::string& path, std::uint64_t bytes)
    : fd_(fd),
      path_(path),
      bytes_(bytes),
      mapped_(::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0)),
      page_bytes_(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))),
      pages_(bytes / page_bytes_),
      scratch_(mebibyte) {
    if (mapped_ == MAP_FAILED) give_up("cannot map " + path + ": " + std::strerror(errno));
}

PageCache::~PageCache() { ::munmap(mapped_, bytes_); }

void PageCache::fill_from_end_to_end() {
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
    for (std::uint64_t at = 0; at < bytes_; at += mebibyte) read(at, mebibyte);
}

void PageCache::fill_at_random(std::uint64_t random_size, std::uint64_t seed) {
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
    random_size = std::max(random_size, page_bytes_);
    std::vector<std::uint64_t> places(bytes_ / random_size);
    std::iota(places.begin(), places.end(), std::uint64_t{0});
    std::shuffle(places.begin(), places.end(), std::mt19937_64(seed));
    // Starts the reads and does not wait for them, so that many are under way.
    for (const std::uint64_t place : places)
        ::posix_fadvise(fd_, static_cast<off_t>(place * random_size), static_cast<off_t>(random_size),
                        POSIX_FADV_WILLNEED);
    for (std::uint64_t at = 0; at < bytes_; at += mebibyte) read(at, mebibyte);
}

void PageCache::top_up() {
    look();
    for (std::size_t page = 0; page < pages_.size(); ++page)
        if (!is_resident(pages_[page])) read(page * page_bytes_, page_bytes_);
}

double PageCache::resident_share() {
    look();
    return static_cast<double>(std::count_if(pages_.begin(), pages_.end(), is_resident)) /
           static_cast<double>(pages_.size());
}

// Of a file that is neither this user's nor his to write, mincore(2) says that all of it is there.
void PageCache::look() {
    if (::mincore(mapped_, bytes_, pages_.data()) < 0) give_up(std::string("mincore: ") + std::strerror(errno));
}

void PageCache::read(std::uint64_t at, std::uint64_t bytes) {
    if (::pread(fd_, scratch_.data(), bytes, static_cast<off_t>(at)) < 0)
        give_up("cannot read " + path_ + ": " + std::strerror(errno));
}

}  // namespace squall_bench
