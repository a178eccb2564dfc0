// SPDX-License-Identifier: MIT
//
// I/O that is checked byte for byte, to be disturbed: blocks of one file, each written and read back by turns, by descriptor
// and by slot, and for each at most one operation in flight, so that it is known what must be found there.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "support.hpp"

namespace squall::test {

class Blocks {
public:
    static constexpr std::uint32_t slots = 16;
    static constexpr std::size_t block = 4096;

    // `flags` are open(2)'s beyond O_RDWR and O_CREAT.
    Blocks(Kind kind, const std::string& path, int flags = 0);

    // Queues what is next for each block that is idle.
    void queue();
    // Takes in what has completed, each operation once, as it must be.
    void take(const Completions& done);
    // Under signals the kernel may fail to make a worker thread, and cancels what needed one (README, Limits). Whether that
    // is taken for what it must be: nothing was done.
    bool may_be_cancelled = false;
    // Until nothing is in flight.
    void drain();
    [[nodiscard]] std::uint64_t completed() const { return completed_; }

private:
    struct State {
        Token token = 0;
        std::uint64_t version = 0;
        bool busy = false;
        bool writes = false;
    };
    BufferArena arena_ = make_arena({.buffer_size = block, .count = slots, .pages = Pages::base});

public:
    std::optional<Io> io;

private:
    Fd file_;
    std::vector<FixedBuffer> leases_;
    std::array<State, slots> state_{};
    std::uint64_t tokens_ = 0;
    std::uint64_t completed_ = 0;
};

}  // namespace squall::test
