// SPDX-License-Identifier: MIT
//
// A program that writes through squall in every way there is of making something durable, and says so as it goes, until
// somebody ends it without warning. Several files are worked on at once, all of their operations in flight on one Io. What
// is said, and what may be found afterwards, is truth.hpp's.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "squall/squall.hpp"

namespace squall::power {

// What is acknowledged although it is not durable, to see that this is found out.
enum class Lie : std::uint8_t {
    none,
    unsynced,  // half of what was written, created, renamed or removed, and not synced
    early,     // writes that have only just been queued
};

struct WriterOptions {
    std::string directory;  // of the writer's own, empty
    int said = -1;          // takes the records, by pwrite: a file, or a disk that was opened with O_DIRECT
    std::uint64_t seed = 1;
    Mode mode = Mode::deferred;
    Polling polling = Polling::none;
    Lie lie = Lie::none;
    std::uint32_t records_max = UINT32_MAX;  // it ends when it has said so many
    std::function<void()> each_turn{};       // is called between completions
};

// Returns when `records_max` records are said. What fails ends the program with a message.
void write_verifiably(const WriterOptions& options);

}  // namespace squall::power
