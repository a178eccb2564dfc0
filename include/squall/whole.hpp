// SPDX-License-Identifier: MIT
//
// Whole transfers: all of a read or a write, in as many operations as it takes, and a write that is
// durable when it is done. A small state machine each: it queues one operation at a time, is given
// that one's completion, and says whether it is done. It allocates nothing and waits for nothing,
// so it fits into an event loop that has other things to do; run() is for code that has not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "squall/completion.hpp"
#include "squall/config.hpp"
#include "squall/error.hpp"
#include "squall/file.hpp"

namespace squall {

class Io;

// How a write becomes durable.
enum class Durability : std::uint8_t {
    none,
    // An fdatasync, queued when the last byte is confirmed. It covers all that was written to the
    // file before, by anybody.
    fdatasync,
    // RWF_DSYNC on each operation (4.7): one operation where a write and an fdatasync are two, and
    // on a device with FUA one command. It covers these bytes alone.
    dsync,
};

struct WholeOptions {
    // What offset and size of an O_DIRECT transfer must be multiples of: DirectIoAlignment::offset.
    // A power of two. Where one comes out short in between, the rest begins at the last such
    // multiple.
    std::uint32_t alignment = 1;
    // How often an operation that came to nothing for a passing reason (-EINTR, -EAGAIN, -ENOMEM)
    // is done again, in all.
    std::uint32_t retries_max = 16;
    Durability durability = Durability::none;  // of a write
};

// In an event loop (`io.poll()` and the loop over it are the program's own):
//     WholeTransfer record = write_durable(wal, bytes, offset, token);
//     bool waits_for_room = !record.go_on(io);
//     for (const Completion& done : io.poll())
//         if (done.token == token) {
//             record.take(done);
//             waits_for_room = !record.go_on(io);
//         } else { ... }
//     if (waits_for_room) waits_for_room = !record.go_on(io);  // after the range has gone
//     if (record.is_done()) acknowledge(record.code());
// It has one operation in flight at a time, always with its token, so no other may have that token.
// The bytes stay valid and untouched until it is done (I7); it may be moved and copied when none of
// its operations is in flight.
// Thread rule: as the Io's.
class SQUALL_API WholeTransfer {
public:
    // Queues what comes next, unless its operation is in flight or it is done. False: the Io has no
    // room; call it again after a poll() or park().
    [[nodiscard]] bool go_on(Io& io) noexcept;
    // Takes in the completion of its operation.
    void take(const Completion& completion) noexcept;

    [[nodiscard]] bool is_done() const noexcept { return step_ == Step::done; }
    // When it is done: 0, or what ended it:
    //   the errno of an operation; of the fdatasync, too, after which all that was written since
    //           the last success is to be taken as lost. EAGAIN, EINTR, ENOMEM: as often as
    //           WholeOptions::retries_max allows.
    //   ENODATA a read met the end of the file: moved() says where.
    //   EIO     a write moved nothing, or an O_DIRECT read less than before, and gave no reason, as
    //           often as retries_max allows.
    [[nodiscard]] int code() const noexcept { return code_; }
    // The bytes that are confirmed, from the first on.
    [[nodiscard]] std::uint64_t moved() const noexcept { return moved_; }
    // Operations that came to nothing for a passing reason and were queued again.
    [[nodiscard]] std::uint32_t retries() const noexcept { return retries_; }
    // code() in words, for an operator; no error when it is 0. Allocates when it is not.
    [[nodiscard]] Error error() const;

    // Goes all the way now, waiting for each operation with Io::wait_for(), whose errors it passes
    // on: then it is not done, and may be tried again. On success it is done; on failure code()
    // tells as well.
    [[nodiscard]] Result<void> run(Io& io);

private:
    enum class Step : std::uint8_t { transfer, sync, done };
    enum class Kind : bool { read, write };

    WholeTransfer(Kind kind, File file, std::byte* data, std::size_t size, std::uint64_t offset,
                  Token token, const WholeOptions& options) noexcept;
    friend WholeTransfer read_exact(File, std::span<std::byte>, std::uint64_t, Token,
                                    const WholeOptions&) noexcept;
    friend WholeTransfer write_all(File, std::span<const std::byte>, std::uint64_t, Token,
                                   const WholeOptions&) noexcept;

    void take_transfer(std::int32_t res) noexcept;
    void finish(int code) noexcept;
    bool retry() noexcept;

    File file_;
    std::byte* data_;
    std::size_t size_;
    std::uint64_t offset_;
    Token token_;
    std::uint64_t moved_ = 0;
    std::uint64_t from_ = 0;  // where the operation in flight begins
    WholeOptions options_;
    std::uint32_t retries_ = 0;
    int code_ = 0;
    Kind kind_;
    Step step_ = Step::transfer;
    bool in_flight_ = false;
};

// Reads all of `into`. With code() 0 every byte is there.
[[nodiscard]] SQUALL_API WholeTransfer read_exact(File file, std::span<std::byte> into,
                                                  std::uint64_t offset, Token token,
                                                  const WholeOptions& options = {}) noexcept;
// Writes all of `from`. With code() 0 every byte is written and, by WholeOptions::durability,
// durable.
[[nodiscard]] SQUALL_API WholeTransfer write_all(File file, std::span<const std::byte> from,
                                                 std::uint64_t offset, Token token,
                                                 const WholeOptions& options = {}) noexcept;
// The same, durable: by an fdatasync, if `options` do not say how.
[[nodiscard]] SQUALL_API WholeTransfer write_durable(File file, std::span<const std::byte> from,
                                                     std::uint64_t offset, Token token,
                                                     WholeOptions options = {}) noexcept;

}  // namespace squall
