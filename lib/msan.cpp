// SPDX-License-Identifier: MIT
//
// Where MemorySanitizer's records are kept: see squall/msan.hpp. Nothing in all other builds.
#include "squall/msan.hpp"

#if defined(SQUALL_MSAN)

#include <string>

#include "explain.hpp"
#include "sys.hpp"

namespace squall::detail {

Result<void> KernelWrites::map(std::uint32_t count) {
    const std::size_t bytes = count * sizeof(Record);
    const long at = sys::mmap(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::is_error(at))
        return explain_mapping(static_cast<int>(-at), "Io::create: mapping " + std::to_string(bytes) +
                                                          " bytes for what MemorySanitizer is to be told");
    records_ = reinterpret_cast<Record*>(static_cast<std::uintptr_t>(at));
    count_ = count;
    sys::madvise(records_, bytes, MADV_DONTFORK);  // a child of fork() knows of no records (I10)
    for (std::uint32_t i = 0; i < count; ++i) records_[i].next_free = i + 1 < count ? i + 2 : 0;
    free_ = 1;
    return {};
}

void KernelWrites::unmap() noexcept {
    if (records_) sys::munmap(records_, count_ * sizeof(Record));
    records_ = nullptr;
}

}  // namespace squall::detail

#endif
