// SPDX-License-Identifier: MIT
//
// A kernel in user space: answers io_uring_setup, _enter and _register at the seam over memory of the test's own, so that
// a test decides what each answers and when an operation completes, and sees exactly what was asked. It does no file I/O;
// every other system call goes to the real kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "seam.hpp"
#include "squall/completion.hpp"

namespace squall::test {

// One io_uring_enter as it was asked.
struct Enter {
    int fd = -1;
    std::uint32_t to_submit = 0;
    std::uint32_t min_complete = 0;
    std::uint32_t flags = 0;
    std::optional<abi::Timespec> timeout;
};

// One io_uring_register as it was asked.
struct Register {
    int fd = -1;
    std::uint32_t code = 0;
    std::uintptr_t arg = 0;
    std::uint32_t count = 0;
    template <class T>
    [[nodiscard]] T& as() const {
        return *reinterpret_cast<T*>(arg);
    }
};

class UserKernel {
public:
    UserKernel();
    ~UserKernel();
    UserKernel(const UserKernel&) = delete;
    UserKernel& operator=(const UserKernel&) = delete;

    // --- What kernel it is, to be said before the ring is made.
    std::uint32_t unknown_flags = 0;  // set-up flags that it answers with EINVAL
    std::uint32_t features = abi::feat_single_mmap | abi::feat_nodrop | abi::feat_submit_stable |
                             abi::feat_sqpoll_nonfixed | abi::feat_ext_arg | abi::feat_linked_file;
    std::uint8_t last_op = 61;
    bool array_behind_cqes = true;  // where a ring with an index array has it; else before them
    int ring_index = 7;             // the first to be given out among the registered rings; negative: an answer instead

    // --- What it answers instead, when it answers at all.
    std::function<std::optional<long>(const abi::Params&)> on_setup;
    std::function<std::optional<long>(const Enter&)> on_enter;
    std::function<std::optional<long>(const Register&)> on_register;
    std::function<std::optional<long>(Call&)> on_other_call;

    // --- What it was asked.
    std::vector<abi::Params> setups;  // of every io_uring_setup, as they came in
    std::vector<std::uint32_t> setup_entries;
    std::vector<Enter> enters;
    std::vector<Register> registers;
    [[nodiscard]] std::size_t registered(std::uint32_t code) const;

    // --- A ring of its making, in order. By default an enter consumes all it is offered and completes each with 0; of a ring
    // with an SQPOLL thread, which the test plays, it only wakes.
    class Ring {
    public:
        Ring(std::uint32_t entries, const abi::Params& asked, const UserKernel& kernel);
        ~Ring();
        Ring(const Ring&) = delete;
        Ring& operator=(const Ring&) = delete;

        // Takes `count` SQEs, or as many as there are, and returns how many.
        std::uint32_t consume(std::uint32_t count);
        void post(Token token, std::int32_t res = 0, std::uint32_t flags = 0);
        [[nodiscard]] bool is_polled_by_a_thread() const { return (params.flags & abi::setup_sqpoll) != 0; }
        // Consumes and completes.
        long finish(std::uint32_t count);
        [[nodiscard]] std::uint32_t& sq_flags() const { return word(abi::off_sq_ring, params.sq_off.flags); }
        [[nodiscard]] std::uint32_t& sq_head() const { return word(abi::off_sq_ring, params.sq_off.head); }
        [[nodiscard]] std::uint32_t& sq_tail() const { return word(abi::off_sq_ring, params.sq_off.tail); }
        [[nodiscard]] std::uint32_t& cq_head() const { return word(cq_area_, params.cq_off.head); }
        [[nodiscard]] std::uint32_t& cq_tail() const { return word(cq_area_, params.cq_off.tail); }

        abi::Params params;              // as they were answered
        std::vector<abi::Sqe> consumed;  // all of them, in order
        int fd = -1;                     // what io_uring_setup answered; the library's to close
        int index = -1;                  // among the registered rings, while it is

    private:
        [[nodiscard]] std::uint32_t& word(std::uint64_t area, std::uint32_t offset) const {
            return *reinterpret_cast<std::uint32_t*>(memory_ + area + offset);
        }
        std::uint64_t cq_area_ = abi::off_sq_ring;
        char* memory_ = nullptr;
        std::size_t bytes_ = 0;
    };
    [[nodiscard]] Ring& ring(std::size_t number = 0) { return *rings_.at(number); }
    [[nodiscard]] std::size_t rings() const { return rings_.size(); }
    // What an enter answers on a ring that an SQPOLL thread takes from: the number of SQEs that it was given, and EOWNERDEAD
    // for none (5.12 and 5.13). Nothing is consumed.
    static long wake(const Enter& made);
    // The ring that a descriptor is, or a registered index; null for none.
    [[nodiscard]] Ring* ring_of(int fd, bool registered);

private:
    std::optional<long> answer(Call& call);
    long set_up(std::uint32_t entries, abi::Params& params);
    long enter(const Enter& enter);
    long do_register(const Register& what);

    std::vector<std::unique_ptr<Ring>> rings_;
    Intercept intercept_;
};

}  // namespace squall::test
