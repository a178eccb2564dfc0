// SPDX-License-Identifier: MIT
//
// Io's life. What it queues is inline in io.hpp or, where it takes a path, in paths.cpp; the calls
// that block are blocking.cpp's.
#include "squall/io.hpp"

#include <utility>

namespace squall {

Io::Io(detail::Front* front) noexcept : front_(front) {}

Io::Io(Io&& other) noexcept : front_(std::exchange(other.front_, nullptr)) {
    SQUALL_ASSERT(!front_ || !front_->has_completions_out(),
                  "an Io is moved while a Completions of it is alive");
}

Io& Io::operator=(Io&& other) noexcept {
    if (this != &other) {
        destroy();
        front_ = std::exchange(other.front_, nullptr);
        SQUALL_ASSERT(!front_ || !front_->has_completions_out(),
                      "an Io is moved while a Completions of it is alive");
    }
    return *this;
}

Io::~Io() { destroy(); }

void Io::destroy() noexcept {
    if (front_) detail::Front::destroy(std::exchange(front_, nullptr));
}

Result<Io> Io::create(const IoOptions& options) {
    auto front = detail::Front::create(options);
    if (!front) return std::move(front).error();
    return Io(*front);
}

Result<void> Io::set_file(FileSlot slot, int fd) { return front_->set_file(slot, fd); }

}  // namespace squall
