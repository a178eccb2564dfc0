// SPDX-License-Identifier: MIT
//
// What the two halves of the benchmark of scale share.
#pragma once

#include <cstdint>
#include <ctime>
#include <string>
#include <utility>

#include "squall/error.hpp"
#include "target.hpp"

namespace squall_bench {

struct Settings {
    std::string part;                // rings, depth, arena or files
    std::string dir;                 // where files are made; the caller removes it
    std::uint64_t files = 1000000;   // how many
    std::uint64_t arena_mib = 8192;  // the largest arena
    double seconds = 0.1;            // per row
};
extern Settings settings;

void register_files();

inline double seconds_of(clockid_t clock) {
    struct timespec now = {};
    ::clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

template <class T>
T must(squall::Result<T> result) {
    if (!result) give_up(result.error().message());
    return std::move(result).value();
}

}  // namespace squall_bench
