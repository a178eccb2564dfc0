// SPDX-License-Identifier: MIT
//
// Says what squall gets from the kernel it runs on, a line per feature: its name, a tab, and what came of it. It tells
// and does not judge: report lays kernels side by side, and what must work is for the tests.
#include <cstdio>
#include <optional>
#include <string>

#include "squall/squall.hpp"

namespace {

void tell(const char* feature, const std::string& found) { std::printf("%s\t%s\n", feature, found.c_str()); }
void tell(const char* feature, bool found) { tell(feature, std::string(found ? "yes" : "no")); }

// The features of a ring that has submitted something, if it can be had.
std::optional<squall::Features> try_ring(const squall::IoOptions& options) {
    auto io = squall::Io::create(options);
    if (!io) return std::nullopt;
    (void)io->nop(1);
    for (const squall::Completion& done : io->park())
        if (done.ok()) return io->features();
    return std::nullopt;
}

const char* name_of(squall::Polling polling) {
    switch (polling) {
        case squall::Polling::busy:
            return "busy";
        case squall::Polling::hybrid:
            return "hybrid";
        default:
            return "no";
    }
}

const char* name_of(squall::Pages pages) {
    switch (pages) {
        case squall::Pages::hugetlb:
            return "hugetlb";
        case squall::Pages::transparent:
            return "transparent";
        default:
            return "base";
    }
}

}  // namespace

int main() {
    namespace abi = squall::abi;
    auto arena = squall::BufferArena::create({.buffer_size = 4096, .count = 1024});
    if (!arena) return std::puts(arena.error().message().c_str()), 1;
    auto io = squall::Io::create({.arena = &*arena});
    if (!io) return std::puts(io.error().message().c_str()), 1;
    (void)io->nop(1);
    (void)io->park();

    const squall::Features& features = io->features();
    const auto has = [&features](std::uint32_t flag) { return (features.setup_flags & flag) != 0; };
    tell("newest operation", std::to_string(features.last_op));
    tell("SUBMIT_ALL", has(abi::setup_submit_all));
    tell("TASKRUN_FLAG", features.taskrun_flag);
    tell("SINGLE_ISSUER", features.single_issuer);
    tell("DEFER_TASKRUN", features.deferred_taskrun);
    tell("NO_SQARRAY", features.no_sqarray);
    tell("registered ring fd", features.registered_ring);
    tell("registered buffers", features.fixed_regions == 1);
    tell("huge pages for them", std::string(name_of(arena->pages())));
    tell("registered files", try_ring({.file_slots = 1}).has_value());
    tell("SQPOLL", try_ring({.mode = squall::Mode::sqpoll}).has_value());
    const auto polled = try_ring({.file_slots = 1, .polling = squall::Polling::hybrid});
    tell("polling", std::string(polled ? name_of(polled->polling) : "no"));
}
