// SPDX-License-Identifier: MIT
//
// See asserted.hpp.
#include "asserted.hpp"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace squall::fuzz {

std::jmp_buf asserted;

namespace {
std::uint64_t count = 0;
}  // namespace

std::uint64_t assertions() { return count; }

}  // namespace squall::fuzz

// In the place of squall::detail::assertion_failed(file, line, expression, rule, ...).
extern "C" [[noreturn]] void __wrap__ZN6squall6detail16assertion_failedEPKciS2_S2_z(const char* file, int line,
                                                                                    const char* expression,
                                                                                    const char* rule, ...) {
    char words[512];
    std::va_list operands;
    va_start(operands, rule);
    const int length = std::vsnprintf(words, sizeof(words), rule, operands);
    va_end(operands);
    // The operator is owed the rule, not the expression alone.
    if (length < 20 || !file || line <= 0 || !expression) {
        std::fprintf(stderr, "an assertion without words: %s:%d: %s\n", file, line, expression);
        std::abort();
    }
    ++squall::fuzz::count;
    std::longjmp(squall::fuzz::asserted, 1);
}
