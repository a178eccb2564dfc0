// SPDX-License-Identifier: MIT
//
// Finds the best pages that can be had for one mapping: see memory.hpp.
#include "memory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "message.hpp"
#include "sys.hpp"

// Younger than some libc headers that squall compiles against.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace squall::detail {

std::size_t base_page() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

namespace {

// A small file of /proc or /sys, or as much of it as fits; empty when it cannot be read.
std::string read_small_file(const char* path) {
    const int fd = sys::openat(sys::host, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return {};
    char content[256];
    const long got = sys::read(sys::host, fd, content, sizeof(content));
    sys::close(sys::host, fd);
    return got > 0 ? std::string(content, static_cast<std::size_t>(got)) : std::string();
}

// What MAP_HUGETLB gives by default and what a transparent huge page is. On x86-64 and most arm64
// both are 2 MiB; with 64 KiB pages they are 512 MiB, and an operator may have made the first 1
// GiB. 0 when the kernel has none.
std::size_t transparent_page() {
    const std::string size = read_small_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    return size.empty() ? 0 : std::strtoull(size.c_str(), nullptr, 10);
}
std::size_t hugetlb_page() {
    // /proc/meminfo is longer than a small file; the line that matters is near its end.
    const int fd = sys::openat(sys::host, "/proc/meminfo", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    std::string content(8192, '\0');
    const long got = sys::read(sys::host, fd, content.data(), content.size());
    sys::close(sys::host, fd);
    content.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    const std::size_t line = content.find("Hugepagesize:");
    return line == std::string::npos
               ? 0
               : std::strtoull(content.c_str() + line + 13, nullptr, 10) * 1024;
}

Block mapped(long address, std::size_t bytes, std::size_t page_size, Pages pages) noexcept {
    if (sys::is_error(address)) return {nullptr, 0, 0, pages, static_cast<int>(-address)};
    return {reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(address)), bytes, page_size,
            pages, 0};
}

// Makes every page real now: not in the middle of an operation, and not one by one while the kernel
// pins them.
int touch(const Block& block) noexcept {
    const int populated = sys::madvise(block.at, block.bytes, MADV_POPULATE_WRITE);  // 5.14
    if (populated != -EINVAL) return populated;
    for (std::size_t at = 0, page = base_page(); at < block.bytes; at += page)
        reinterpret_cast<volatile std::byte*>(block.at)[at] = std::byte{0};
    return 0;
}

Block map_hugetlb(std::size_t wanted, std::size_t page) {
    if (page == 0) return {nullptr, 0, 0, Pages::hugetlb, ENOMEM};
    const std::size_t bytes = round_up(wanted, page);
    // Without MAP_NORESERVE the pages are set aside here, so that touching them cannot fail with
    // SIGBUS.
    Block block = mapped(sys::mmap(sys::host, bytes, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0),
                         bytes, page, Pages::hugetlb);
    if (block.at)
        if (const int status = touch(block); status < 0) {
            sys::munmap(sys::host, block.at, block.bytes);
            return {nullptr, 0, 0, Pages::hugetlb, -status};
        }
    return block;
}

// A mapping of whole pages of `page` bytes that starts on such a page.
Block map_aligned(std::size_t wanted, std::size_t page, Pages pages) {
    const std::size_t bytes = round_up(wanted, page);
    const std::size_t slack = page > base_page() ? page : 0;
    Block block = mapped(sys::mmap(sys::host, bytes + slack, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                         bytes, page, pages);
    if (!block.at || slack == 0) return block;
    const std::size_t before = round_up(reinterpret_cast<std::uintptr_t>(block.at), page) -
                               reinterpret_cast<std::uintptr_t>(block.at);
    if (before > 0) sys::munmap(sys::host, block.at, before);
    sys::munmap(sys::host, block.at + before + bytes,
                slack - before);  // never nothing: `before` is less than a page
    block.at += before;
    return block;
}

// Bytes of [at, at + bytes) that lie in transparent huge pages, as /proc/self/smaps has it; 0 where
// it cannot be read.
std::size_t transparent_bytes(const Block& block) {
    const int fd = sys::openat(sys::host, "/proc/self/smaps", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    std::string content;
    char piece[4096];
    for (long got; (got = sys::read(sys::host, fd, piece, sizeof(piece))) > 0;)
        content.append(piece, static_cast<std::size_t>(got));
    sys::close(sys::host, fd);
    std::size_t huge = 0;
    bool inside = false;
    const auto first = reinterpret_cast<std::uintptr_t>(block.at);
    for (std::size_t at = 0; at < content.size();) {
        std::size_t end = content.find('\n', at);
        if (end == std::string::npos) end = content.size();
        char* after = nullptr;
        const std::uintptr_t low = std::strtoull(content.c_str() + at, &after, 16);
        if (*after == '-') {  // "55d0c0000000-55d0c0200000 rw-p ...": the heading of one mapping
            const std::uintptr_t high = std::strtoull(after + 1, nullptr, 16);
            inside = low >= first && high <= first + block.bytes;
        } else if (inside && content.compare(at, 14, "AnonHugePages:") == 0) {
            huge += std::strtoull(content.c_str() + at + 14, nullptr, 10) * 1024;
        }
        at = end + 1;
    }
    return huge;
}

Block map_base(std::size_t wanted, bool never_huge) {
    Block block = map_aligned(wanted, base_page(), Pages::base);
    if (!block.at) return block;
    // Asked for base pages, the answer must be base pages, also where the system makes huge ones of
    // its own accord.
    if (never_huge) sys::madvise(block.at, block.bytes, MADV_NOHUGEPAGE);
    if (const int status = touch(block); status < 0) {
        sys::munmap(sys::host, block.at, block.bytes);
        return {nullptr, 0, 0, Pages::base, -status};
    }
    return block;
}

// Huge pages for all of it, or EOPNOTSUPP: a few of them would neither coalesce nor be worth a
// name.
Block map_transparent(std::size_t wanted, std::size_t page) {
    if (page == 0) return {nullptr, 0, 0, Pages::transparent, EOPNOTSUPP};
    Block block = map_aligned(wanted, page, Pages::transparent);
    if (!block.at) return block;
    int status = sys::madvise(block.at, block.bytes, MADV_HUGEPAGE);
    if (status >= 0) status = touch(block);
    // COLLAPSE (6.1) succeeds only when every page of the range is a huge one; before it smaps
    // tells.
    if (status >= 0 && sys::madvise(block.at, block.bytes, MADV_COLLAPSE) < 0 &&
        transparent_bytes(block) != block.bytes)
        status = -EOPNOTSUPP;
    if (status < 0) {
        sys::munmap(sys::host, block.at, block.bytes);
        return {nullptr, 0, 0, Pages::transparent, status == -ENOMEM ? ENOMEM : EOPNOTSUPP};
    }
    return block;
}

}  // namespace

Block map_block(std::size_t wanted, Pages pages) {
    switch (pages) {
        case Pages::hugetlb:
            return map_hugetlb(wanted, hugetlb_page());
        case Pages::transparent:
            return map_transparent(wanted, transparent_page());
        case Pages::base:
            return map_base(wanted, true);
        case Pages::automatic:
        case Pages::adopted:  // an answer alone
            break;
    }
    // Rounding up to a huge page may double a small arena, and does no more than that: the page may
    // be of 1 GiB.
    const auto worth_it = [wanted](std::size_t page) {
        return page != 0 && round_up(wanted, page) - wanted <= wanted;
    };
    Block block;
    if (const std::size_t page = hugetlb_page(); worth_it(page)) block = map_hugetlb(wanted, page);
    if (block.at) return block;
    if (const std::size_t page = transparent_page(); worth_it(page))
        block = map_transparent(wanted, page);
    return block.at ? block : map_base(wanted, false);
}

Error explain_block(int code, const std::string& doing, Pages pages, std::size_t wanted) {
    if (pages == Pages::hugetlb) {
        const std::size_t page = hugetlb_page();
        if (page == 0)
            return Error(
                code, doing,
                "the kernel has no huge pages to reserve (CONFIG_HUGETLBFS): use Pages::automatic");
        return Error(
            code, doing,
            "too few huge pages are reserved and free: the arena needs " +
                text(round_up(wanted, page) / page) + " of " + text(page / 1024) +
                " KiB; reserve them with `sysctl vm.nr_hugepages`, or use Pages::automatic");
    }
    if (pages == Pages::transparent)
        return Error(code, doing,
                     "the kernel gave no transparent huge pages: see "
                     "/sys/kernel/mm/transparent_hugepage/enabled (it must "
                     "not be \"never\") and free memory, or use Pages::automatic");
    return explain_mapping(code, doing);
}

}  // namespace squall::detail
