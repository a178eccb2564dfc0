// SPDX-License-Identifier: MIT
//
// The arena: a lock-free stack of free buffers over memory that memory.cpp maps, or that the caller
// has. Registering it with a ring is register.cpp's.
#include "squall/arena.hpp"

#include <cerrno>
#include <new>
#include <string>

#include "arena_control.hpp"
#include "free_stack.hpp"
#include "memory.hpp"
#include "message.hpp"
#include "owned.hpp"
#include "sys.hpp"

namespace squall {

namespace {

using detail::ArenaControl;
using detail::Mapping;
using detail::next_head;
using detail::text;

constexpr std::size_t buffer_size_max = std::size_t{1} << 30;
constexpr std::size_t count_max = UINT32_MAX - 1;

// Memory for what an arena of `count` buffers knows about itself.
Result<Mapping> map_control(const std::string& doing, std::size_t count) {
    const std::size_t bytes = detail::round_up(
        sizeof(ArenaControl) + count * sizeof(std::atomic<std::uint32_t>), detail::base_page());
    const long at =
        sys::mmap(sys::host, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::is_error(at))
        return detail::explain_mapping(static_cast<int>(-at),
                                       doing + "mapping " + text(bytes) + " bytes");
    return Mapping(sys::host, at, bytes);
}

Error cannot_be_kept(int status, const std::string& doing) {
    return Error(-status, doing + "keeping it from a forked child (madvise)");
}

// Begins in `memory`, which is the arena's from now on, all its `count` buffers free.
ArenaControl* begin(Mapping memory, const detail::Block& block, std::size_t buffer_size,
                    std::size_t count) noexcept {
    auto* const control = ::new (memory.get()) ArenaControl;
    control->base = block.at;
    control->bytes = block.bytes;
    control->is_adopted = block.pages == Pages::adopted;
    control->buffer_size = buffer_size;
    control->count = count;
    control->page_size = block.page_size;
    control->control_bytes = memory.size();
    control->pages = block.pages;
    control->keepers.store(count + 1, std::memory_order_relaxed);
    control->home.store(block.at, std::memory_order_relaxed);
    control->next = reinterpret_cast<std::atomic<std::uint32_t>*>(control + 1);
    // Buffer 0 on top, so that a young arena is used from its start.
    for (std::size_t i = 0; i < count; ++i) {
        const auto under = static_cast<std::uint32_t>(i + 1 < count ? i + 2 : 0);
        ::new (&control->next[i]) std::atomic<std::uint32_t>(under);
    }
    control->head.store(count > 0 ? 1 : 0, std::memory_order_relaxed);
    memory.release();
    return control;
}

}  // namespace

Result<BufferArena> BufferArena::create(const ArenaOptions& options) {
    const auto refuse = [](const std::string& value, const std::string& rule) {
        return Error(EINVAL, "BufferArena::create: " + value, rule);
    };
    if (options.buffer_size == 0 || options.buffer_size % 512 != 0 ||
        options.buffer_size > buffer_size_max)
        return refuse("buffer_size is " + text(options.buffer_size),
                      "it must be a multiple of 512, from 512 to " + text(buffer_size_max));
    if (options.count == 0 || options.count > count_max)
        return refuse("count is " + text(options.count), "it must be 1 to " + text(count_max));
    if (options.pages > Pages::base)
        return refuse("pages is " + text(static_cast<unsigned>(options.pages)),
                      "it must be one of squall::Pages's");
    const std::size_t wanted = options.buffer_size * options.count;  // at most 2^62: it cannot wrap
    const std::string doing = "BufferArena::create: ";
    auto memory = map_control(doing, options.count);
    if (!memory) return memory.error();
    const detail::Block block = detail::map_block(wanted, options.pages);
    if (!block.at)
        return detail::explain_block(block.error, doing + "mapping " + text(wanted) + " bytes",
                                     options.pages, wanted);
    int status = sys::madvise(memory->get(), memory->size(), MADV_WIPEONFORK);
    // I10. Also: a forked child would turn the arena's pages copy-on-write, and the parent's next
    // write to one would then go to a copy while the kernel's transfers still went to the page that
    // was registered.
    if (status >= 0) status = sys::madvise(block.at, block.bytes, MADV_DONTFORK);
    if (status < 0) {
        sys::munmap(sys::host, block.at, block.bytes);
        return cannot_be_kept(status, doing);
    }
    return BufferArena(begin(*std::move(memory), block, options.buffer_size, options.count));
}

Result<BufferArena> BufferArena::adopt(std::span<std::byte> memory, std::size_t buffer_size) {
    const auto refuse = [](const std::string& value, const std::string& rule) {
        return Error(EINVAL, "BufferArena::adopt: " + value, rule);
    };
    if (memory.empty()) return refuse("memory has 0 bytes", "it must have some");
    if (buffer_size % 512 != 0 || buffer_size > buffer_size_max || buffer_size > memory.size())
        return refuse("buffer_size is " + text(buffer_size),
                      "it must be 0 for no leases, or a multiple of 512, at most " +
                          text(buffer_size_max) + " and the memory's " + text(memory.size()));
    const std::size_t count = buffer_size == 0 ? 0 : memory.size() / buffer_size;
    if (count > count_max)
        return refuse("buffer_size is " + text(buffer_size), "the memory's " + text(memory.size()) +
                                                                 " bytes would be more than " +
                                                                 text(count_max) + " buffers");
    const std::string doing = "BufferArena::adopt: ";
    auto known = map_control(doing, count);
    if (!known) return known.error();
    if (const int status = sys::madvise(known->get(), known->size(), MADV_WIPEONFORK); status < 0)
        return cannot_be_kept(status, doing);
    const detail::Block block{memory.data(), memory.size(), detail::base_page(), Pages::adopted, 0};
    return BufferArena(begin(*std::move(known), block, buffer_size, count));
}

std::optional<FixedBuffer> BufferArena::acquire() noexcept {
    ArenaControl& control = *control_;
    return detail::pop<std::optional<FixedBuffer>>(
        control.head, [&control](std::uint32_t name) -> auto& { return control.next[name - 1]; },
        [this, &control](std::uint32_t name) {
            return FixedBuffer(control_, control.base + (name - 1) * control.buffer_size,
                               control.buffer_size);
        });
}

void detail::release_buffer(ArenaControl* arena, std::byte* buffer) noexcept {
    for (;;) {
        // Acquire pairs with the release in destroy(): who reads the head that was left there reads
        // no home afterwards, and so pushes nothing on it.
        std::uint64_t head = arena->head.load(std::memory_order_acquire);
        const std::byte* const home = arena->home.load(std::memory_order_relaxed);
        if (!home) [[unlikely]]
            break;
        const auto number = static_cast<std::uint32_t>(static_cast<std::size_t>(buffer - home) /
                                                       arena->buffer_size);
        arena->next[number].store(static_cast<std::uint32_t>(head), std::memory_order_relaxed);
        // Release pairs with the acquire in acquire() and destroy(): the next user sees next[] and
        // comes after our use of the buffer.
        const std::uint64_t changed = next_head(head, number + 1);
        if (arena->head.compare_exchange_weak(head, changed, std::memory_order_release,
                                              std::memory_order_relaxed))
            return;
    }
    let_go(arena, 1);
}

void detail::let_go(ArenaControl* arena, std::uint64_t keepers) noexcept {
    // Release and acquire, of each with all that come after it: what each of them did with the
    // memory and with its control comes before the last one unmaps both. In a forked child the
    // count begins at 0, so that nobody is the last (I10).
    if (arena->keepers.fetch_sub(keepers, std::memory_order_acq_rel) != keepers) return;
    if (!arena->is_adopted) sys::munmap(sys::host, arena->base, arena->bytes);
    sys::munmap(sys::host, arena, arena->control_bytes);
}

bool BufferArena::contains(std::span<const std::byte> bytes) const noexcept {
    const std::uint64_t at = reinterpret_cast<std::uintptr_t>(bytes.data()) -
                             reinterpret_cast<std::uintptr_t>(control_->base);
    return at < control_->bytes && bytes.size() <= control_->bytes - at;
}

std::size_t BufferArena::buffer_size() const noexcept { return control_->buffer_size; }
std::size_t BufferArena::count() const noexcept { return control_->count; }
std::span<std::byte> BufferArena::memory() const noexcept {
    return {control_->base, control_->bytes};
}
Pages BufferArena::pages() const noexcept { return control_->pages; }
std::size_t BufferArena::page_size() const noexcept { return control_->page_size; }

void BufferArena::destroy() noexcept {
    ArenaControl* const control = std::exchange(control_, nullptr);
    if (!control) return;
    control->home.store(nullptr, std::memory_order_relaxed);
    // Release pairs with the acquires in release_buffer(): who reads this head finds no home.
    // Acquire pairs with the release there, as in acquire(): next[] and what was done with the free
    // buffers come before.
    const std::uint64_t head =
        control->head.exchange(ArenaControl::no_stack, std::memory_order_acq_rel);
    std::uint64_t keepers = 1;
    for (auto at = static_cast<std::uint32_t>(head); at != 0; ++keepers)
        at = control->next[at - 1].load(std::memory_order_relaxed);
    detail::let_go(control, keepers);
}

}  // namespace squall
