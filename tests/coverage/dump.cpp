// SPDX-License-Identifier: MIT
//
// In the coverage build alone: keeps the counts of a program that ends by abort() or _exit(), as death tests and forked
// children do, whose counts would else be lost with them.
#include <unistd.h>

#include <csignal>
#include <cstdlib>

extern "C" void __gcov_dump();
extern "C" [[noreturn]] void __real__exit(int status);

extern "C" [[noreturn]] void __wrap__exit(int status) {
    __gcov_dump();
    __real__exit(status);
}

namespace {

void dump_and_die(int signal) {
    std::signal(signal, SIG_DFL);
    __gcov_dump();
    (void)std::raise(signal);
}

[[maybe_unused]] const auto installed = std::signal(SIGABRT, dump_and_die);

}  // namespace
