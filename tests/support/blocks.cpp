// SPDX-License-Identifier: MIT
//
// See blocks.hpp.
#include "blocks.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "rings.hpp"

namespace squall::test {

Blocks::Blocks(Kind kind, const std::string& path, int flags)
    : io(make_io(kind, {.entries = slots, .completion_entries = slots, .arena = &arena_, .file_slots = 1})),
      file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600)) {
    EXPECT_TRUE(io->set_file(FileSlot(0), file_));
    for (std::uint32_t i = 0; i < slots; ++i) leases_.push_back(arena_.acquire().value());
}

void Blocks::queue() {
    for (std::uint32_t place = 0; place < slots; ++place) {
        State& state = state_[place];
        if (state.busy) continue;
        const std::span<std::byte> memory = leases_[place].bytes();
        const std::uint64_t offset = place * block;
        const bool writes = !state.writes;
        if (writes)
            fill_pattern(memory, offset, state.version + 1);
        else
            std::memset(memory.data(), 0, memory.size());
        const Token token = (tokens_ + 1) * slots + place;
        const auto queue_on = [&](auto file) {
            return writes ? io->write(file, memory, offset, token) : io->read(file, memory, offset, token);
        };
        const bool queued = tokens_ % 2 == 0 ? queue_on(FileSlot(0)) : queue_on(static_cast<int>(file_));
        if (!queued) return;  // an SQPOLL thread gives the place back a little later
        ++tokens_;
        state = {token, state.version + (writes ? 1 : 0), true, writes};
    }
}

void Blocks::take(const Completions& done) {
    ASSERT_FALSE(done.error()) << done.error().message();
    for (const Completion& each : done) {
        State& state = state_[each.token % slots];
        ASSERT_TRUE(state.busy && state.token == each.token) << "token " << each.token << " came twice, or changed";
        state.busy = false;
        if (may_be_cancelled && each.res == -ECANCELED) {
            if (state.writes) --state.version;
            state.writes = state.version > 0;  // what is there still is read next
            continue;
        }
        ASSERT_EQ(each.res, static_cast<std::int32_t>(block));
        if (!state.writes) {
            const std::uint64_t place = each.token % slots;
            ASSERT_EQ(find_wrong(leases_[place].bytes(), place * block, state.version), -1);
        }
        ++completed_;
    }
    ASSERT_EQ(io->counters().submitted, io->counters().completed + io->in_flight());
}

void Blocks::drain() {
    while (io->in_flight() > 0 && !testing::Test::HasFatalFailure()) take(io->park());
    if (io->in_flight() == 0) until_taken();
}

}  // namespace squall::test
