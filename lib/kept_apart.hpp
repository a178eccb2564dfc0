// SPDX-License-Identifier: MIT
//
// Descriptors 0 to 2 are the program's, also where it was started without them: what it puts there
// later, by dup2(2) as daemons do, would take the place of squall's. So one that is to be kept goes
// elsewhere.
#pragma once

#include <fcntl.h>

#include <cerrno>

#include "owned.hpp"
#include "sys.hpp"

namespace squall::detail {

// Moves it to 3 or above where it is below. 0, or -errno: it is then closed.
inline int keep_apart(sys::Kernel* kernel, Descriptor& descriptor) noexcept {
    constexpr int first = 3;
    if (descriptor.get() >= first) return 0;
    const int copy = sys::fcntl(kernel, descriptor.get(), F_DUPFD_CLOEXEC, first);
    descriptor = copy < 0 ? Descriptor() : Descriptor(kernel, copy);
    return copy == -EINVAL ? -EMFILE
           : copy < 0      ? copy
                           : 0;  // EINVAL: RLIMIT_NOFILE has nothing from `first` on
}

}  // namespace squall::detail
