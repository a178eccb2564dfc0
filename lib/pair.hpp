// SPDX-License-Identifier: MIT
//
// Polled I/O behind one Io: a polled ring (IORING_SETUP_IOPOLL), which takes only reads and writes of files that can be
// polled, and a companion that takes all else. Pair decides which operation goes where, sends what the polled ring refuses
// to the companion, and merges the completions of both into one queue. The two rings are ordinary ones to setup.cpp and
// ring.cpp; a third Ring, the front, is what Io sees.
//
// Only transfers by FileSlot are polled. What has to be sent again must meet the file that it was meant for, and only of
// a slot does squall know that: a descriptor may be closed and its number reused behind its back.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "squall/ring.hpp"

namespace squall::detail {

class Pair {
public:
    // Makes both rings and their front; Ring::create's Polling.
    static Result<Ring*> create(const IoOptions& options);
    // Lets go of both (I3).
    static void destroy(Pair* pair) noexcept;

    Pair(const Pair&) = delete;
    Pair& operator=(const Pair&) = delete;

    // Makes room in the front's SQ for the one operation that begins with `op_fd`, in the ring that it is to go to.
    bool make_room(abi::Word op_fd) noexcept;
    // Binds both rings to this thread (I8).
    int bind() noexcept;
    // Takes in the operation that was filled into the SQE on loan, if any.
    void settle() noexcept;
    int poll() noexcept;
    int park(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept;

    // Takes back an operation that neither ring's kernel side has, which is then in flight no more.
    std::optional<Token> withdraw() noexcept;

    // Whether the slot may be opened into or closed: not while a polled transfer on it may have to be sent again.
    bool may_change(FileSlot slot) noexcept;
    Result<void> set_file(FileSlot slot, int fd, const std::string& doing);

private:
    // An operation in flight; its number is its user_data in both rings, and for a polled one its SQE's place too.
    struct Record {
        enum class Role : std::uint8_t {
            none,  // not in flight
            ordinary,
            transfer,    // in the polled ring; `place` is its file's
            refused,     // by the polled ring, and so the companion's
            open_place,  // to be put into `place` of both tables when it is open
        };
        Token token;
        std::uint32_t place;
        Role role;
    };
    // What is known of a file in a slot.
    struct Slot {
        std::uint32_t transfers;  // in flight, begun in the polled ring
        bool in_polled_table;
        bool refuses_read;  // the polled ring has: the file cannot be polled in that direction
        bool refuses_write;
    };
    enum class Loan : std::uint8_t { none, from_companion, from_polled };

    Pair(Ring& front, Ring& companion, Ring& polled) noexcept : front_(front), companion_(companion), polled_(polled) {}

    int drive() noexcept;
    int wait(std::uint32_t wanted, const std::chrono::nanoseconds* left) noexcept;
    void harvest() noexcept;
    [[nodiscard]] std::uint32_t number_of(const Completion& done, bool polled) const noexcept;
    void harvest_polled() noexcept;
    void harvest_companion() noexcept;
    void send_again() noexcept;
    void deliver(std::uint32_t number, std::int32_t res, std::uint32_t flags) noexcept;
    void retire(std::uint32_t number) noexcept;
    std::int32_t put_into_slot(std::uint32_t place, int fd) noexcept;
    void absorb(Ring& ring) noexcept;
    [[nodiscard]] bool polls(abi::Word op_fd) const noexcept;
    [[nodiscard]] Slot* slot_at(std::uint32_t place) const noexcept;
    [[nodiscard]] std::uint64_t in_kernel(const Ring& ring) const noexcept;

    Ring& front_;
    Ring& companion_;
    Ring& polled_;
    // All sized for as many operations as may be in flight together, and mapped with this object.
    std::uint32_t total_ = 0;
    std::size_t bytes_ = 0;
    Record* records_ = nullptr;
    std::uint32_t* free_ = nullptr;  // records that no operation has, a stack
    std::uint32_t free_count_ = 0;
    std::uint32_t* refused_ = nullptr;  // records that the companion is still to be given, first come first
    std::uint32_t refused_count_ = 0;
    Slot* slots_ = nullptr;
    // The front's CQ: what the kernel is to other rings.
    Completion* completions_ = nullptr;
    std::uint32_t head_ = 0;
    std::uint32_t tail_ = 0;
    // The one SQE that the front was lent, and the record that its operation gets.
    Loan loan_ = Loan::none;
    std::uint32_t loaned_ = 0;
};

}  // namespace squall::detail
