// SPDX-License-Identifier: MIT
//
// What squall asks of the kernel, in words: a line per system call, in which descriptors and mappings go by names instead
// of numbers, so that a test can hold a whole sequence of calls against the one it expects.
#pragma once

#include <map>
#include <string>

#include "seam.hpp"

namespace squall::test {

// Begins to listen when it is made. What was mapped or opened before then has no name, and is "?".
class Trace {
public:
    Trace();
    // The lines since the last take(), each ended by '\n'. Mappings are m1, m2, ... and what is cut from one by munmap is
    // named with its offset; descriptors are ring1, pipe1.read, pipe1.write, file1, ..., or their number if they have no
    // name. A failed call's line ends with its errno.
    std::string take();
    // Do not number on from what came before.
    void forget();

private:
    void see(const Call& call, long answer);
    std::string words(const Call& call, long answer);
    std::string fd(std::uintptr_t number) const;
    std::string place(std::uintptr_t address) const;

    struct Mapping {
        std::string name;
        std::size_t bytes;
    };
    std::string lines_;
    std::map<std::uintptr_t, Mapping> mappings_;
    std::map<int, std::string> fds_;
    int maps_ = 0;
    int rings_ = 0;
    int pipes_ = 0;
    int files_ = 0;
    Witness witness_;
};

}  // namespace squall::test
