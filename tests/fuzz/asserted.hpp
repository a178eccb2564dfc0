// SPDX-License-Identifier: MIT
//
// Lets a fuzzer go on after a SQUALL_ASSERT, where that is a proper answer, and tells it from a crash. The library's
// assertion_failed() is replaced when linking (--wrap, see meson.build): instead of aborting it leaves the library by
// longjmp, past all that stands on the stack. So what the library held is lost, and its owner must not be destroyed.
#pragma once

#include <csetjmp>
#include <cstdint>

namespace squall::fuzz {

// Where an assertion goes: `if (setjmp(asserted) == 0) { ... } else { an assertion failed in there }`.
extern std::jmp_buf asserted;
// Assertions that have failed so far, each with its rule in words.
std::uint64_t assertions();

}  // namespace squall::fuzz
