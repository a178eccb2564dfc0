// SPDX-License-Identifier: MIT
//
// What a benchmark says about its own build, in the "context" of its JSON: bench/report refuses to call a debug build's
// figures squall's, and names the liburing that was measured beside it. And the main() of those that have no options of
// their own.
#pragma once

#include <benchmark/benchmark.h>

namespace squall_bench {

inline void add_build_context() {
#ifdef __OPTIMIZE__
    benchmark::AddCustomContext("squall_optimized", "yes");
#else
    benchmark::AddCustomContext("squall_optimized", "no");
#endif
    benchmark::AddCustomContext("squall_compiler", __VERSION__);
#ifdef SQUALL_BENCH_LIBURING
    benchmark::AddCustomContext("liburing_version", SQUALL_BENCH_LIBURING);
#endif
}

inline int run(int count, char** arguments) {
    benchmark::Initialize(&count, arguments);
    if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 2;
    add_build_context();
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}

}  // namespace squall_bench
