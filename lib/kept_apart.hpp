// SPDX-License-Identifier: MIT
//
// Descriptors 0 to 2 are the program's, also where it was started without them: what it puts there
// later, by dup2(2) as daemons do, would take the place of squall's. So one that is to be kept goes
// elsewhere.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "owned.hpp"
#include "sys.hpp"

namespace squall::detail {

inline constexpr int first_kept = 3;

// A copy of `fd` that is 3 or above, or -errno.
inline int copy_apart(sys::Kernel* kernel, int fd) noexcept {
    const int copy = sys::fcntl(kernel, fd, F_DUPFD_CLOEXEC, first_kept);
    return copy == -EINVAL ? -EMFILE : copy;  // EINVAL: RLIMIT_NOFILE has nothing from there on
}

// Moves it to 3 or above where it is below. 0, or -errno: it is then closed.
inline int keep_apart(sys::Kernel* kernel, Descriptor& descriptor) noexcept {
    if (descriptor.get() >= first_kept) return 0;
    const int copy = copy_apart(kernel, descriptor.get());
    descriptor = copy < 0 ? Descriptor() : Descriptor(kernel, copy);
    return std::min(copy, 0);
}

}  // namespace squall::detail
