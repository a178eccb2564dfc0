// SPDX-License-Identifier: MIT
//
// The parts of an arena that are registered with an Io: the books that parts.hpp tells of, and
// Io::register_part and Io::unregister_part, which also ask the rings.
#include "parts.hpp"

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>

#include "message.hpp"
#include "owned.hpp"
#include "patience.hpp"
#include "squall/io.hpp"
#include "sys.hpp"

namespace squall {

namespace detail {

namespace {

std::size_t mapped_bytes(std::uint32_t count) noexcept {
    return sizeof(Parts) + count * sizeof(std::uint64_t[3]);
}

}  // namespace

// --- The books -----------------------------------------------------------------------------------

int Parts::create(std::span<std::byte> arena, std::uint32_t count, Parts*& made) noexcept {
    static_assert(sizeof(Part) == sizeof(std::uint64_t[3]) && sizeof(Parts) % alignof(Part) == 0);
    Mapping memory;
    if (const int status = map_alone(mapped_bytes(count), MADV_DONTFORK, memory); status < 0)
        return status;
    made = ::new (memory.get()) Parts(arena, count);
    memory.release();
    return 0;
}

Parts::Parts(std::span<std::byte> arena, std::uint32_t count) noexcept
    : arena_(reinterpret_cast<std::uintptr_t>(arena.data())),
      arena_length_(arena.size()),
      count_(count) {
    for (std::uint32_t i = 0; i < count; ++i) ::new (&parts()[i]) Part{0, 0, i};
}

void Parts::destroy() noexcept { sys::munmap(sys::host, this, mapped_bytes(count_)); }

std::span<Parts::Part> Parts::parts() const noexcept {
    return {reinterpret_cast<Part*>(reinterpret_cast<std::uintptr_t>(this) + sizeof(Parts)),
            count_};
}

std::size_t Parts::begun_at(std::uintptr_t data) const noexcept {
    const auto used = parts().first(used_);
    const auto after =
        std::upper_bound(used.begin(), used.end(), data,
                         [](std::uintptr_t at, const Part& part) { return at < part.begin; });
    return static_cast<std::size_t>(after - used.begin());
}

int Parts::find(std::uintptr_t data, RegisteredMemory& part) const noexcept {
    const std::size_t begun = begun_at(data);
    if (begun == 0) return -1;
    const Part& found = parts()[begun - 1];
    part = RegisteredMemory(found.begin, found.length);
    return static_cast<int>(found.index);
}

Refusal Parts::refuses(std::span<std::byte> bytes) const noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
    const std::uint64_t first = begin - arena_;
    if (bytes.empty() || first >= arena_length_ || bytes.size() > arena_length_ - first)
        return {EINVAL, "a part must have bytes, and lie in IoOptions::arena"};
    if (bytes.size() > RegisteredMemory::region_bytes) return {EINVAL, "a part has at most 1 GiB"};
    const std::size_t begun = begun_at(begin + bytes.size() - 1);
    if (begun > 0 && parts()[begun - 1].begin + parts()[begun - 1].length > begin)
        return {EINVAL, "some of it is registered already"};
    if (used_ == count_)
        return {ENOBUFS,
                "as many are as IoOptions::arena_parts says: give one up, or ask for more"};
    return {0, nullptr};
}

void Parts::add(std::span<std::byte> bytes) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
    const std::uint32_t index = next_index();
    const auto at = parts().begin() + static_cast<std::ptrdiff_t>(begun_at(begin));
    std::copy_backward(at, parts().begin() + used_, parts().begin() + used_ + 1);
    *at = {begin, bytes.size(), index};
    ++used_;
}

int Parts::index_of(std::span<std::byte> bytes) const noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
    const std::size_t begun = begun_at(begin);
    if (begun == 0) return -1;
    const Part& part = parts()[begun - 1];
    return part.begin == begin && part.length == bytes.size() ? static_cast<int>(part.index) : -1;
}

void Parts::remove(std::span<std::byte> bytes) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
    const auto at = parts().begin() + static_cast<std::ptrdiff_t>(begun_at(begin)) - 1;
    const std::uint32_t index = at->index;
    std::copy(at + 1, parts().begin() + used_, at);
    --used_;
    parts()[used_] = {0, 0, index};
}

// --- The calls -----------------------------------------------------------------------------------

namespace {

std::string call_on(const char* call, std::span<std::byte> bytes) {
    return std::string("Io::") + call + "(" + text(bytes.size()) + " bytes)";
}

}  // namespace

Refusal Front::refuses_parts() const noexcept {
    if (is_forked()) return {ESTALE, "this Io was created before a fork(), by the parent process"};
    if (is_on_another_thread())
        return {EEXIST, "this Io belongs to another thread, the first that submitted on it"};
    return parts_ ? Refusal{0, nullptr} : Refusal{EINVAL, "IoOptions::arena_parts is 0"};
}

Result<void> Front::register_part(std::span<std::byte> bytes) {
    Refusal refusal = refuses_parts();
    if (refusal.code == 0) refusal = parts_->refuses(bytes);
    if (refusal.code != 0)
        return Error(refusal.code, call_on("register_part", bytes), refusal.rule);
    const int status = patiently(bytes.size(), [&] {
        return calls_->set_part(*this, parts_->next_index(), bytes.data(), bytes.size());
    });
    if (status < 0) return explain_memory(-status, call_on("register_part", bytes), bytes.size());
    parts_->add(bytes);
    return {};
}

Result<void> Front::unregister_part(std::span<std::byte> bytes) {
    Refusal refusal = refuses_parts();
    const int index = refusal.code == 0 ? parts_->index_of(bytes) : -1;
    if (refusal.code == 0 && index < 0)
        refusal = {ENOENT, "no part was registered that is just that"};
    if (refusal.code != 0)
        return Error(refusal.code, call_on("unregister_part", bytes), refusal.rule);
    const int status = calls_->set_part(*this, static_cast<std::uint32_t>(index), nullptr, 0);
    if (status < 0)
        return Error(-status, call_on("unregister_part", bytes), advice_for_result(-status));
    // Older kernels (before 6.4) unpin it some time after.
    note_locked_memory_returned();
    parts_->remove(bytes);
    return {};
}

int Front::part_at(std::uintptr_t data, RegisteredMemory& part) const noexcept {
    return parts_->find(data, part);
}

}  // namespace detail

Result<void> Io::register_part(std::span<std::byte> part) { return front_->register_part(part); }
Result<void> Io::unregister_part(std::span<std::byte> part) {
    return front_->unregister_part(part);
}

}  // namespace squall
