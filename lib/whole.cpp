// SPDX-License-Identifier: MIT
//
// Whole transfers: what is queued next, and what each completion means for it.
#include "squall/whole.hpp"

#include <cerrno>

#include "message.hpp"
#include "squall/io.hpp"

namespace squall {

WholeTransfer::WholeTransfer(Kind kind, File file, std::byte* data, std::size_t size,
                             std::uint64_t offset, Token token,
                             const WholeOptions& options) noexcept
    : file_(file),
      data_(data),
      size_(size),
      offset_(offset),
      token_(token),
      options_(options),
      kind_(kind) {
    SQUALL_ASSERT(options.alignment != 0 && (options.alignment & (options.alignment - 1)) == 0,
                  "WholeOptions::alignment is %u, and must be a power of two", options.alignment);
    SQUALL_ASSERT(offset != UINT64_MAX || options.alignment == 1,
                  "a transfer at the file's position has WholeOptions::alignment %u, and cannot go "
                  "back to a multiple of that",
                  options.alignment);
    // No bytes: nothing to transfer, but perhaps something to make durable.
    if (size == 0) finish(0);
}

WholeTransfer read_exact(File file, std::span<std::byte> into, std::uint64_t offset, Token token,
                         const WholeOptions& options) noexcept {
    return {WholeTransfer::Kind::read, file, into.data(), into.size(), offset, token, options};
}

WholeTransfer write_all(File file, std::span<const std::byte> from, std::uint64_t offset,
                        Token token, const WholeOptions& options) noexcept {
    // One pointer for both; a write's bytes are only read.
    auto* const data = const_cast<std::byte*>(from.data());
    return {WholeTransfer::Kind::write, file, data, from.size(), offset, token, options};
}

WholeTransfer write_durable(File file, std::span<const std::byte> from, std::uint64_t offset,
                            Token token, WholeOptions options) noexcept {
    if (options.durability == Durability::none) options.durability = Durability::fdatasync;
    return write_all(file, from, offset, token, options);
}

bool WholeTransfer::go_on(Io& io) noexcept {
    if (in_flight_ || is_done()) return true;
    if (step_ == Step::sync) return in_flight_ = io.fdatasync(file_, token_);
    // What an O_DIRECT transfer left unaligned is done again.
    from_ = moved_ & ~std::uint64_t{options_.alignment - 1};
    const std::span<std::byte> rest(data_ + from_, size_ - from_);
    // The file's own position goes on by itself.
    const std::uint64_t at = offset_ == UINT64_MAX ? offset_ : offset_ + from_;
    const How how{.dsync = options_.durability == Durability::dsync};
    in_flight_ = kind_ == Kind::read ? io.read(file_, rest, at, token_)
                                     : io.write(file_, rest, at, token_, how);
    return in_flight_;
}

void WholeTransfer::take(const Completion& completion) noexcept {
    SQUALL_ASSERT(in_flight_ && completion.token == token_,
                  "a completion with token %llu is given to a transfer that %s token %llu",
                  static_cast<unsigned long long>(completion.token),
                  in_flight_ ? "has" : "has nothing in flight, and has",
                  static_cast<unsigned long long>(token_));
    in_flight_ = false;
    // After an fdatasync that failed the kernel may have dropped what it was to write, so that one
    // that succeeds would say nothing.
    if (step_ == Step::sync) {
        code_ = completion.res < 0 ? detail::errno_of(completion.res) : 0;
        step_ = Step::done;
    } else {
        take_transfer(completion.res);
    }
}

void WholeTransfer::take_transfer(std::int32_t res) noexcept {
    // ERESTARTSYS is an errno of the kernel's own, which 6.1 lets out: as EINTR.
    constexpr std::int32_t erestartsys = 512;
    if (res == -EINTR || res == -EAGAIN || res == -ENOMEM || res == -erestartsys) {
        if (!retry()) finish(res == -erestartsys ? EINTR : -res);
        return;
    }
    if (res < 0) return finish(detail::errno_of(res));
    const std::uint64_t reached = from_ + static_cast<std::uint32_t>(res);
    // Behind the end of a file there is nothing, and an O_DIRECT read that begins before it has the
    // same tail again.
    const bool is_end = kind_ == Kind::read && (res == 0 || reached == moved_);
    if (reached > moved_) {
        moved_ = reached;
        if (moved_ == size_) finish(0);
    } else if (is_end) {
        finish(ENODATA);
    } else if (!retry()) {
        finish(EIO);
    }
}

bool WholeTransfer::retry() noexcept {
    if (retries_ == options_.retries_max) return false;
    ++retries_;
    return true;
}

// The end of the transfer.
void WholeTransfer::finish(int code) noexcept {
    code_ = code;
    const bool syncs =
        code == 0 && kind_ == Kind::write && options_.durability == Durability::fdatasync;
    step_ = syncs ? Step::sync : Step::done;
}

Error WholeTransfer::error() const {
    if (code_ == 0) return {};
    std::string doing = kind_ == Kind::read ? "reading " : "writing ";
    doing += detail::text(size_) + " bytes at offset " + detail::text(offset_) + ", of which " +
             detail::text(moved_) + " are confirmed";
    if (moved_ == size_) doing += ", and making them durable";
    return Error(code_, doing,
                 code_ == ENODATA ? "the file ends there" : detail::advice_for_result(code_));
}

Result<void> WholeTransfer::run(Io& io) {
    while (!is_done()) {
        const bool waits = in_flight_;
        const auto done =
            waits ? io.wait_for(token_) : io.run(token_, [&](Token) { return go_on(io); });
        if (!done) {
            // It may be queued again once it was taken back, or proved not to be in flight.
            const int code = done.error().code();
            if (waits ? code == ENOENT : code != EINPROGRESS) in_flight_ = false;
            return done.error();
        }
        take(*done);
    }
    if (code_ != 0) return error();
    return {};
}

}  // namespace squall
