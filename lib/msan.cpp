// SPDX-License-Identifier: MIT
//
// Where MemorySanitizer's records are kept: see squall/msan.hpp. Nothing in all other builds.
#include "squall/msan.hpp"

#if defined(SQUALL_MSAN)

#include <bit>
#include <string>

#include "message.hpp"
#include "operations.hpp"
#include "squall/queue.hpp"
#include "sys.hpp"

namespace squall::detail {

Result<void> KernelWrites::map(std::uint32_t count) {
    const std::size_t bytes = count * sizeof(Record);
    const long at =
        sys::mmap(sys::host, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::is_error(at))
        return explain_mapping(static_cast<int>(-at),
                               "Io::create: mapping " + std::to_string(bytes) +
                                   " bytes for what MemorySanitizer is to be told");
    records_ = reinterpret_cast<Record*>(static_cast<std::uintptr_t>(at));
    count_ = count;
    sys::madvise(records_, bytes, MADV_DONTFORK);  // a child of fork() knows of no records (I10)
    for (std::uint32_t i = 0; i < count; ++i) records_[i].next_free = i + 1 < count ? i + 2 : 0;
    free_ = 1;
    return {};
}

void KernelWrites::unmap() noexcept {
    if (records_) sys::munmap(sys::host, records_, count_ * sizeof(Record));
    records_ = nullptr;
}

void KernelWrites::queued(abi::SqeWords& words) noexcept {
    SQUALL_ASSERT(free_ != 0, "%u operations are in flight, and one more is queued", count_);
    const std::uint32_t number = free_ - 1;
    Record& record = records_[number];
    free_ = record.next_free;
    const auto sqe = std::bit_cast<abi::Sqe>(words);
    const Operation& row = operation(abi::Op{sqe.opcode});
    record = {.token = sqe.user_data, .at = sqe.addr, .in_flight = true};
    if (row.writes_memory) record.bytes = sqe.len;
    if (row.kind == OpKind::statx) {
        record.at = sqe.off;
        record.bytes = statx_bytes;
        record.whole = true;
    }
    words.user_data = abi::Word{number};
}

void KernelWrites::completed(const CompletionQueue& queue, std::uint32_t count) noexcept {
    for (std::uint32_t i = 0; i < count; ++i) {
        Completion& done = queue.ready_at(i);
        kernel_wrote(&done, sizeof(done));  // over the token that was put there the last time
        const Record& record = at(done.token);
        if (done.res >= 0) {
            const auto moved = static_cast<std::uint32_t>(done.res);
            kernel_wrote(reinterpret_cast<const void*>(record.at),
                         record.whole || moved > record.bytes ? record.bytes : moved);
        }
        done.token = over(done.token);
    }
}

}  // namespace squall::detail

#endif
