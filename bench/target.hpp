// SPDX-License-Identifier: MIT
//
// What the benchmarks that read or write files have in common: the file they make, its pages in the page cache, and how
// they give up. What they do with the file is theirs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace squall_bench {

inline constexpr std::uint64_t mebibyte = 1 << 20;
inline constexpr int exit_not_here = 3;  // this machine, file or kernel cannot do what was asked; others go on

[[noreturn]] void give_up(const std::string& why, int code = 1);
void warn(const std::string& what);

// A small generator with no state beside one word, so that drawing an offset costs next to nothing (splitmix64).
inline std::uint64_t scramble(std::uint64_t number) noexcept {
    number += 0x9e3779b97f4a7c15;
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9;
    number = (number ^ (number >> 27)) * 0x94d049bb133111eb;
    return number ^ (number >> 31);
}
// The high half of a product maps a drawn number to [0, places) without a division.
inline std::uint64_t random_place(std::uint64_t drawn, std::uint64_t places) noexcept {
    return ((scramble(drawn) >> 32) * places) >> 32;
}

// Every eight bytes differ from all others of the file, so that a read from the wrong place cannot look right, and no
// file system can store them as a hole or compress them.
void make_file(const std::string& path, std::uint64_t bytes);

// How much of an open file is used: at most `most`, in multiples of 1 MiB; gives up unless random transfers of `largest`
// bytes find room.
std::uint64_t usable_bytes(int fd, const std::string& path, std::uint64_t most, std::uint64_t largest);

// A file's pages in the page cache. How they came there matters: what random reads brought in lies about page by
// page, while a file that was read or written from end to end may lie in larger pieces (large folios), which are quicker
// to find and to copy, so that there is less to save.
class PageCache {
public:
    PageCache(int fd, const std::string& path, std::uint64_t bytes);
    PageCache(const PageCache&) = delete;
    PageCache& operator=(const PageCache&) = delete;
    ~PageCache();

    // Fills it, from nothing, from end to end or as random reads of `random_size` bytes would, in the order that `seed`
    // gives.
    void fill_from_end_to_end();
    void fill_at_random(std::uint64_t random_size, std::uint64_t seed);
    // Sees to it that all of the file is still there, since a machine may take pages away at any time.
    void top_up();
    double resident_share();

private:
    void look();
    void read(std::uint64_t at, std::uint64_t bytes);

    int fd_;
    const std::string& path_;
    std::uint64_t bytes_;
    void* mapped_;
    std::uint64_t page_bytes_;
    std::vector<unsigned char> pages_;
    std::vector<char> scratch_;
};

}  // namespace squall_bench
