// SPDX-License-Identifier: MIT
//
// Fault injection by enumeration: a scenario is run once to see which system calls it makes, then once for each of them
// and each errno or short count that this call may answer according to its man page, with that one call so answered.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "seam.hpp"

namespace squall::test {

// What one run meets. `answer` is a negative errno, or a count that the call is cut down to.
struct Fault {
    std::size_t nth = 0;     // of the scenario's calls
    long number = 0;         // which system call that is
    std::uint32_t code = 0;  // of an io_uring_register
    long answer = 0;
    [[nodiscard]] int errno_value() const { return answer < 0 ? static_cast<int>(-answer) : 0; }
    [[nodiscard]] std::string words() const;
};

// The part of a scenario in which calls fail: while one of these lives.
class FaultsHere {
public:
    FaultsHere();
    ~FaultsHere();
    FaultsHere(const FaultsHere&) = delete;
    FaultsHere& operator=(const FaultsHere&) = delete;
};

// Runs `scenario` without a fault, then once per fault; it is told which. After each run nothing may be left behind: no
// descriptor, no mapping. Returns how many faults were met.
std::size_t with_every_fault(const std::function<void(const Fault*)>& scenario);

}  // namespace squall::test
