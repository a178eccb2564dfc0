// SPDX-License-Identifier: MIT
//
// What a library that is loaded and unloaded offers to at_exit_test.cpp: it has arenas and Ios of its own, and its own squall.
#pragma once

#include "squall/options.hpp"

namespace squall::test {

// Found by the name "functions". Each makes an Io of the kind asked for and has it read into the library's static arena, and
// then leaves a read of `fd` in flight there. They return the arena's memory, or null when something failed.
struct LibraryFunctions {
    const void* (*use_static)(Mode mode, Polling polling, int fd);     // on an Io that is the library's
    const void* (*use_of_thread)(Mode mode, Polling polling, int fd);  // on one that is the thread's
};

}  // namespace squall::test
