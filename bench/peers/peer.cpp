// SPDX-License-Identifier: MIT
//
// How a peer gives up.
#include "peer.hpp"

#include <cstring>

#include "measure.hpp"

namespace peers {

void needs_polling_device(const Bench& bench) {
    if (!bench.cell.direct) give_up("polled I/O is O_DIRECT's", squall_bench::exit_not_here);
    if (!device_polls(bench.fd)) give_up("the device has no queues to poll", squall_bench::exit_not_here);
}

void transfer_failed(const Bench& bench, std::uint64_t offset, std::int64_t result) {
    give_up("a " + std::string(bench.cell.write ? "write" : "read") + " of " + std::to_string(bench.cell.size) +
            " bytes at " + std::to_string(offset) + (result < 0 ? " failed: " : " moved only ") +
            (result < 0 ? std::strerror(static_cast<int>(-result)) : std::to_string(result) + " of them"));
}

}  // namespace peers
