// SPDX-License-Identifier: MIT
//
// How far the kernel has come with this process's rings, seen in the words that it shares with them: what a test waits for
// where it would else give the kernel some time. Each wait fails the test after a minute. Of no use before user_kernel.hpp,
// where nothing moves by itself.
#pragma once

#include <cstdint>

namespace squall::test {

// Until each SQPOLL thread has taken all that it was shown: it does so when it gets round to it, and gives the places in the
// SQ back a moment after the completions are there. Elsewhere a poll() has submitted when it returns.
void until_taken();
// Until each SQPOLL thread says that it sleeps. A signal to the process, of which a stop is one, wakes them up again.
void until_asleep();
// Until so many completions are there to be reaped, in all rings together.
void until_completed(std::uint32_t count);

}  // namespace squall::test
