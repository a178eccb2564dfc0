// SPDX-License-Identifier: MIT
//
// Where the host's seam is kept: see kernel.hpp.
#include "kernel.hpp"

namespace squall::sys {

constinit Kernel* host = nullptr;

}  // namespace squall::sys
