// SPDX-License-Identifier: MIT
//
// The tests' end of the seam in lib/kernel.hpp: every system call that squall makes in a test program passes through here,
// is counted, and may be answered by the test in the kernel's place. What is not intercepted goes to the real kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "squall/abi.hpp"
#include "sys.hpp"

namespace squall::test {

struct Call {
    long number;
    std::uintptr_t args[6];
};

// Asks the kernel.
long real(const Call& call) noexcept;

// Calls of one number, or of all, since the program began.
std::uint64_t calls_made(long number);
std::uint64_t calls_made();
// Bytes that squall has mapped and not unmapped again.
std::uint64_t bytes_mapped();

// What a ring shares with the kernel, where squall has mapped it.
struct RingWords {
    abi::Params params;  // as they were answered
    std::uint32_t* sq_head;
    std::uint32_t* sq_tail;
    std::uint32_t* sq_flags;
    std::uint32_t* cq_head;
    std::uint32_t* cq_tail;
};
// Shows `sees` those of each ring that this process has, in the order in which they were made; until it returns, none is
// unmapped. A forked child has none of its parent's.
void for_each_ring(const std::function<void(const RingWords&)>& sees);

// The names that the tests use for the three calls that matter most.
inline constexpr long nr_setup = sys::nr_io_uring_setup;
inline constexpr long nr_enter = sys::nr_io_uring_enter;
inline constexpr long nr_register = sys::nr_io_uring_register;

// While it lives, `answer` sees every call first: a value is the answer, nothing lets the kernel answer. It may change
// the arguments. One at a time; on the thread that makes the calls.
class Intercept {
public:
    using Answer = std::function<std::optional<long>(Call&)>;
    explicit Intercept(Answer answer);
    ~Intercept();
    Intercept(const Intercept&) = delete;
    Intercept& operator=(const Intercept&) = delete;
};

// While it lives, `sees` is shown every call and its answer, whoever answered. One at a time, as above.
class Witness {
public:
    using Sees = std::function<void(const Call&, long)>;
    explicit Witness(Sees sees);
    ~Witness();
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;
};

// Answers the next `times` calls of `number` with `result`, which are not made; then the kernel is asked again.
Intercept::Answer refuse(long number, long result, int times = 1 << 30);

}  // namespace squall::test
