// SPDX-License-Identifier: MIT
//
// Where a fuzzer may do what it likes on the real kernel: a temporary directory as the working directory, files of a
// megabyte at most, memory with an unmapped page behind it, and descriptors that are all closed after each input.
#pragma once

#include <cstddef>
#include <span>

namespace squall::fuzz {

// Made once per process; the directory is removed when it exits.
class Place {
public:
    Place();
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    // The transfers' memory. A transfer may go on behind it: the kernel stops there.
    [[nodiscard]] std::span<std::byte> memory() const { return memory_; }
    // The number that the next descriptor gets. Those below are not the fuzzer's.
    [[nodiscard]] int first_fd() const { return first_fd_; }
    // Closes what an input left open, and removes its files.
    void tidy() const;

private:
    char path_[64];
    std::span<std::byte> memory_;
    int first_fd_ = -1;
};

}  // namespace squall::fuzz
