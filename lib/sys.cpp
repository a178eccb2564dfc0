// SPDX-License-Identifier: MIT
//
// Where the seam of sys.hpp is kept.
#include "sys.hpp"

namespace squall::sys {

constinit Replacement replacement = nullptr;

}  // namespace squall::sys
