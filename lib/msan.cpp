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
    const std::uint32_t generation = record.generation;
    record = {.token = sqe.user_data, .at = sqe.addr, .in_flight = true, .generation = generation};
    if (row.writes_memory) record.bytes = sqe.len;
    const auto op = abi::Op{sqe.opcode};
    record.in_pieces = op == abi::Op::readv || op == abi::Op::readv_fixed;
    if (op == abi::Op::async_cancel && sqe.op_flags == 0)
        words.addr = abi::Word{of_token(sqe.addr, number)};
    if (row.kind == OpKind::statx) {
        record.at = sqe.off;
        record.bytes = statx_bytes;
        record.whole = true;
    }
    words.user_data = abi::Word{name_of(number)};
}

void KernelWrites::completed(const CompletionQueue& queue, std::uint32_t count) noexcept {
    for (std::uint32_t i = 0; i < count; ++i) {
        Completion& done = queue.ready_at(i);
        kernel_wrote(&done, sizeof(done));  // over the token that was put there the last time
        const Record& record = at(done.token);
        if (done.res >= 0 && record.in_pieces) {
            wrote_pieces(record, static_cast<std::uint32_t>(done.res));
        } else if (done.res >= 0) {
            const auto moved = static_cast<std::uint32_t>(done.res);
            kernel_wrote(reinterpret_cast<const void*>(record.at),
                         record.whole || moved > record.bytes ? record.bytes : moved);
        }
        done.token = over(done.token);
    }
}

void KernelWrites::wrote_pieces(const Record& record, std::uint32_t moved) noexcept {
    const auto* piece = reinterpret_cast<const abi::Iovec*>(record.at);
    for (std::uint32_t i = 0; i < record.bytes && moved > 0; ++i, ++piece) {
        const auto here = static_cast<std::uint32_t>(piece->len < moved ? piece->len : moved);
        kernel_wrote(reinterpret_cast<const void*>(piece->base), here);
        moved -= here;
    }
}

// What the kernel knows an operation with this token by, other than `itself`; no operation's where
// there is none.
std::uint64_t KernelWrites::of_token(std::uint64_t token, std::uint32_t itself) const noexcept {
    std::uint32_t number = 0;
    while (number < count_ &&
           (!records_[number].in_flight || records_[number].token != token || number == itself))
        ++number;
    constexpr std::uint64_t nothing = UINT64_MAX;
    return number < count_ ? name_of(number) : nothing;
}

}  // namespace squall::detail

#endif
