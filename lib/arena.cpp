// SPDX-License-Identifier: MIT
//
// The arena: finding the best pages that can be had for one mapping, and a lock-free stack of free buffers over it.
// Registering it with a ring is the ring's work.
#include "squall/arena.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <string>

#include "arena_control.hpp"
#include "explain.hpp"
#include "sys.hpp"

// Younger than some libc headers that squall compiles against.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace squall {

namespace {

using detail::ArenaControl;

constexpr std::size_t buffer_size_max = std::size_t{1} << 30;
constexpr std::size_t count_max = UINT32_MAX - 1;

std::string text(std::uint64_t number) { return std::to_string(number); }

std::size_t round_up(std::size_t bytes, std::size_t unit) noexcept { return (bytes + unit - 1) / unit * unit; }

// A small file of /proc or /sys, or as much of it as fits; empty when it cannot be read.
std::string read_small_file(const char* path) {
    const int fd = sys::openat(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return {};
    char content[256];
    const long got = sys::read(fd, content, sizeof(content));
    sys::close(fd);
    return got > 0 ? std::string(content, static_cast<std::size_t>(got)) : std::string();
}

std::size_t base_page() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

// What MAP_HUGETLB gives by default and what a transparent huge page is. On x86-64 and most arm64 both are 2 MiB; with
// 64 KiB pages they are 512 MiB, and an operator may have made the first 1 GiB. 0 when the kernel has none.
std::size_t transparent_page() {
    const std::string size = read_small_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    return size.empty() ? 0 : std::strtoull(size.c_str(), nullptr, 10);
}
std::size_t hugetlb_page() {
    // /proc/meminfo is longer than a small file; the line that matters is near its end.
    const int fd = sys::openat("/proc/meminfo", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    std::string content(8192, '\0');
    const long got = sys::read(fd, content.data(), content.size());
    sys::close(fd);
    content.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    const std::size_t line = content.find("Hugepagesize:");
    return line == std::string::npos ? 0 : std::strtoull(content.c_str() + line + 13, nullptr, 10) * 1024;
}

struct Block {
    std::byte* at = nullptr;
    std::size_t bytes = 0;
    std::size_t page_size = 0;
    Pages pages = Pages::base;
    int error = 0;  // a positive errno when `at` is null
};

Block mapped(long address, std::size_t bytes, std::size_t page_size, Pages pages) noexcept {
    if (sys::is_error(address)) return {nullptr, 0, 0, pages, static_cast<int>(-address)};
    return {reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(address)), bytes, page_size, pages, 0};
}

// Makes every page real now: not in the middle of an operation, and not one by one while the kernel pins them.
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
    // Without MAP_NORESERVE the pages are set aside here, so that touching them cannot fail with SIGBUS.
    Block block = mapped(sys::mmap(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0),
                         bytes, page, Pages::hugetlb);
    if (block.at)
        if (const int status = touch(block); status < 0) {
            sys::munmap(block.at, block.bytes);
            return {nullptr, 0, 0, Pages::hugetlb, -status};
        }
    return block;
}

// A mapping of whole pages of `page` bytes that starts on such a page.
Block map_aligned(std::size_t wanted, std::size_t page, Pages pages) {
    const std::size_t bytes = round_up(wanted, page);
    const std::size_t slack = page > base_page() ? page : 0;
    Block block = mapped(sys::mmap(bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), bytes,
                         page, pages);
    if (!block.at || slack == 0) return block;
    const std::size_t before =
        round_up(reinterpret_cast<std::uintptr_t>(block.at), page) - reinterpret_cast<std::uintptr_t>(block.at);
    if (before > 0) sys::munmap(block.at, before);
    sys::munmap(block.at + before + bytes, slack - before);  // never nothing: `before` is less than a page
    block.at += before;
    return block;
}

// Bytes of [at, at + bytes) that lie in transparent huge pages, as /proc/self/smaps has it; 0 where it cannot be read.
std::size_t transparent_bytes(const Block& block) {
    const int fd = sys::openat("/proc/self/smaps", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    std::string content;
    char piece[4096];
    for (long got; (got = sys::read(fd, piece, sizeof(piece))) > 0;)
        content.append(piece, static_cast<std::size_t>(got));
    sys::close(fd);
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
    // Asked for base pages, the answer must be base pages, also where the system makes huge ones of its own accord.
    if (never_huge) sys::madvise(block.at, block.bytes, MADV_NOHUGEPAGE);
    if (const int status = touch(block); status < 0) {
        sys::munmap(block.at, block.bytes);
        return {nullptr, 0, 0, Pages::base, -status};
    }
    return block;
}

// Huge pages for all of it, or EOPNOTSUPP: a few of them would neither coalesce nor be worth a name.
Block map_transparent(std::size_t wanted, std::size_t page) {
    if (page == 0) return {nullptr, 0, 0, Pages::transparent, EOPNOTSUPP};
    Block block = map_aligned(wanted, page, Pages::transparent);
    if (!block.at) return block;
    int status = sys::madvise(block.at, block.bytes, MADV_HUGEPAGE);
    if (status >= 0) status = touch(block);
    // COLLAPSE (6.1) succeeds only when every page of the range is a huge one; before it smaps tells.
    if (status >= 0 && sys::madvise(block.at, block.bytes, MADV_COLLAPSE) < 0 &&
        transparent_bytes(block) != block.bytes)
        status = -EOPNOTSUPP;
    if (status < 0) {
        sys::munmap(block.at, block.bytes);
        return {nullptr, 0, 0, Pages::transparent, status == -ENOMEM ? ENOMEM : EOPNOTSUPP};
    }
    return block;
}

Block map_as_asked(std::size_t wanted, Pages pages) {
    switch (pages) {
        case Pages::hugetlb:
            return map_hugetlb(wanted, hugetlb_page());
        case Pages::transparent:
            return map_transparent(wanted, transparent_page());
        case Pages::base:
            return map_base(wanted, true);
        case Pages::automatic:
            break;
    }
    // Rounding up to a huge page may double a small arena, and does no more than that: the page may be of 1 GiB.
    const auto worth_it = [wanted](std::size_t page) { return page != 0 && round_up(wanted, page) - wanted <= wanted; };
    Block block;
    if (const std::size_t page = hugetlb_page(); worth_it(page)) block = map_hugetlb(wanted, page);
    if (block.at) return block;
    if (const std::size_t page = transparent_page(); worth_it(page)) block = map_transparent(wanted, page);
    return block.at ? block : map_base(wanted, false);
}

// The head after `head`: another first one, and one change more, which is carried over from the low half.
constexpr std::uint64_t next_head(std::uint64_t head, std::uint32_t top) noexcept {
    return (head | UINT32_MAX) + 1 + top;
}

Error refused(int code, const std::string& doing, Pages pages, std::size_t wanted) {
    if (pages == Pages::hugetlb) {
        const std::size_t page = hugetlb_page();
        if (page == 0)
            return Error(code, doing,
                         "the kernel has no huge pages to reserve (CONFIG_HUGETLBFS): use Pages::automatic");
        return Error(code, doing,
                     "too few huge pages are reserved and free: the arena needs " +
                         text(round_up(wanted, page) / page) + " of " + text(page / 1024) +
                         " KiB; reserve them with `sysctl vm.nr_hugepages`, or use Pages::automatic");
    }
    if (pages == Pages::transparent)
        return Error(
            code, doing,
            "the kernel gave no transparent huge pages: see /sys/kernel/mm/transparent_hugepage/enabled (it must "
            "not be \"never\") and free memory, or use Pages::automatic");
    return detail::explain_mapping(code, doing);
}

}  // namespace

Result<BufferArena> BufferArena::create(const ArenaOptions& options) {
    const auto refuse = [](const std::string& value, const std::string& rule) {
        return Error(EINVAL, "BufferArena::create: " + value, rule);
    };
    if (options.buffer_size == 0 || options.buffer_size % 512 != 0 || options.buffer_size > buffer_size_max)
        return refuse("buffer_size is " + text(options.buffer_size),
                      "it must be a multiple of 512, from 512 to " + text(buffer_size_max));
    if (options.count == 0 || options.count > count_max)
        return refuse("count is " + text(options.count), "it must be 1 to " + text(count_max));
    if (options.pages > Pages::base)
        return refuse("pages is " + text(static_cast<unsigned>(options.pages)), "it must be one of squall::Pages's");
    const std::size_t wanted = options.buffer_size * options.count;  // at most 2^62: it cannot wrap

    const std::size_t control_bytes =
        round_up(sizeof(ArenaControl) + options.count * sizeof(std::atomic<std::uint32_t>), base_page());
    const long control_at = sys::mmap(control_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::is_error(control_at))
        return detail::explain_mapping(static_cast<int>(-control_at),
                                       "BufferArena::create: mapping " + text(control_bytes) + " bytes");
    void* const control_page = reinterpret_cast<void*>(static_cast<std::uintptr_t>(control_at));

    Block block = map_as_asked(wanted, options.pages);
    if (!block.at) {
        sys::munmap(control_page, control_bytes);
        return refused(block.error, "BufferArena::create: mapping " + text(wanted) + " bytes", options.pages, wanted);
    }
    int status = sys::madvise(control_page, control_bytes, MADV_WIPEONFORK);
    // I10. Also: a forked child would turn the arena's pages copy-on-write, and the parent's next write to one would
    // then go to a copy while the kernel's transfers still went to the page that was registered.
    if (status >= 0) status = sys::madvise(block.at, block.bytes, MADV_DONTFORK);
    if (status < 0) {
        sys::munmap(block.at, block.bytes);
        sys::munmap(control_page, control_bytes);
        return Error(-status, "BufferArena::create: keeping it from a forked child (madvise)");
    }

    auto* const control = ::new (control_page) ArenaControl;
    control->base = block.at;
    control->bytes = block.bytes;
    control->buffer_size = options.buffer_size;
    control->count = options.count;
    control->page_size = block.page_size;
    control->control_bytes = control_bytes;
    control->pages = block.pages;
    control->keepers.store(options.count + 1, std::memory_order_relaxed);
    control->home.store(block.at, std::memory_order_relaxed);
    control->next = reinterpret_cast<std::atomic<std::uint32_t>*>(control + 1);
    // Buffer 0 on top, so that a young arena is used from its start.
    for (std::size_t i = 0; i < options.count; ++i) {
        const auto under = static_cast<std::uint32_t>(i + 1 < options.count ? i + 2 : 0);
        ::new (&control->next[i]) std::atomic<std::uint32_t>(under);
    }
    control->head.store(1, std::memory_order_relaxed);
    return BufferArena(control);
}

std::optional<FixedBuffer> BufferArena::acquire() noexcept {
    ArenaControl& control = *control_;
    // Acquire, here and in the exchange, pairs with the release in release_buffer: the last user's accesses to the buffer,
    // and next[], come before.
    std::uint64_t head = control.head.load(std::memory_order_acquire);
    for (;;) {
        const auto top = static_cast<std::uint32_t>(head);
        if (top == 0) return std::nullopt;
        // Another thread may take this one meanwhile and what is read here be stale; the count of changes in `head`
        // then differs and the exchange fails. (2^32 changes between these two lines would be needed to miss it.)
        const std::uint32_t under = control.next[top - 1].load(std::memory_order_relaxed);
        const std::uint64_t changed = next_head(head, under);
        if (control.head.compare_exchange_weak(head, changed, std::memory_order_acquire))
            return FixedBuffer(control_, control.base + (top - 1) * control.buffer_size, control.buffer_size);
    }
}

void detail::release_buffer(ArenaControl* arena, std::byte* buffer) noexcept {
    for (;;) {
        // Acquire pairs with the release in destroy(): who reads the head that was left there reads no home afterwards, and so
        // pushes nothing on it.
        std::uint64_t head = arena->head.load(std::memory_order_acquire);
        const std::byte* const home = arena->home.load(std::memory_order_relaxed);
        if (!home) [[unlikely]]
            break;
        const auto number = static_cast<std::uint32_t>(static_cast<std::size_t>(buffer - home) / arena->buffer_size);
        arena->next[number].store(static_cast<std::uint32_t>(head), std::memory_order_relaxed);
        // Release pairs with the acquire in acquire() and destroy(): the next user sees next[] and comes after our use of the
        // buffer.
        const std::uint64_t changed = next_head(head, number + 1);
        if (arena->head.compare_exchange_weak(head, changed, std::memory_order_release, std::memory_order_relaxed))
            return;
    }
    let_go(arena, 1);
}

void detail::let_go(ArenaControl* arena, std::uint64_t keepers) noexcept {
    // Release and acquire, of each with all that come after it: what each of them did with the memory and with its control
    // comes before the last one unmaps both. In a forked child the count begins at 0, so that nobody is
    // the last (I10).
    if (arena->keepers.fetch_sub(keepers, std::memory_order_acq_rel) != keepers) return;
    sys::munmap(arena->base, arena->bytes);
    sys::munmap(arena, arena->control_bytes);
}

bool BufferArena::contains(std::span<const std::byte> bytes) const noexcept {
    const std::uint64_t at =
        reinterpret_cast<std::uintptr_t>(bytes.data()) - reinterpret_cast<std::uintptr_t>(control_->base);
    return at < control_->bytes && bytes.size() <= control_->bytes - at;
}

std::size_t BufferArena::buffer_size() const noexcept { return control_->buffer_size; }
std::size_t BufferArena::count() const noexcept { return control_->count; }
std::span<std::byte> BufferArena::memory() const noexcept { return {control_->base, control_->bytes}; }
Pages BufferArena::pages() const noexcept { return control_->pages; }
std::size_t BufferArena::page_size() const noexcept { return control_->page_size; }

void BufferArena::destroy() noexcept {
    ArenaControl* const control = std::exchange(control_, nullptr);
    if (!control) return;
    control->home.store(nullptr, std::memory_order_relaxed);
    // Release pairs with the acquires in release_buffer(): who reads this head finds no home. Acquire pairs with the release
    // there, as in acquire(): next[] and what was done with the free buffers come before.
    const std::uint64_t head = control->head.exchange(ArenaControl::no_stack, std::memory_order_acq_rel);
    std::uint64_t keepers = 1;
    for (auto at = static_cast<std::uint32_t>(head); at != 0; ++keepers)
        at = control->next[at - 1].load(std::memory_order_relaxed);
    detail::let_go(control, keepers);
}

}  // namespace squall
