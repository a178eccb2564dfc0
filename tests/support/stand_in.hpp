// SPDX-License-Identifier: MIT
//
// A ring in plain memory, with a stand-in for the kernel that consumes SQEs and posts CQEs there and does nothing else, so
// that what a program spends is the library's own. A program that is linked with stand_in.cpp never reaches io_uring: the
// seam of lib/kernel.hpp answers in the kernel's place. Counting and timing are the program's work.
#pragma once

#include <cstdint>

#include "squall/abi.hpp"
#include "squall/completion.hpp"

namespace squall::stand_in {

// The one size of ring that the stand-in knows.
inline constexpr std::uint32_t sq_size = 256;
inline constexpr std::uint32_t cq_size = 2 * sq_size;

// No real descriptor has this number, so nothing that is meant for the stand-in can reach the kernel by mistake.
inline constexpr int ring_fd = 0x51a11;

// What the two sides share, laid out as the kernel does it (struct io_rings): all the words that move on one line.
struct RingMemory {
    std::uint32_t sq_head, sq_tail, cq_head, cq_tail;
    std::uint32_t sq_mask, cq_mask, sq_entries, cq_entries;
    std::uint32_t sq_dropped, sq_flags, cq_flags, cq_overflow;
    alignas(64) Completion cqes[cq_size];
};

// Of the ring that was mapped last; one is alive at a time.
extern RingMemory* ring_memory;
extern abi::Sqe* sqe_memory;

}  // namespace squall::stand_in
