// SPDX-License-Identifier: MIT
//
// Sampler: the one sample of an Io that is on its way, if any. The front tells it what becomes of
// the operation; what is recorded is latency.hpp's. Not API.
#pragma once

#include <chrono>
#include <cstdint>

#include "squall/abi.hpp"
#include "squall/config.hpp"
#include "squall/latency.hpp"

namespace squall::detail {

struct Sampler {
    enum class Phase : std::uint8_t { idle, queued, submitted };
    Sampling options;
    Phase phase = Phase::idle;
    std::uint64_t due = 0;  // which operation is to be sampled next, counted as Counters::submitted
    Sample sample{};
    // The SQE that the operation was put into, and whether its token is still to be read there.
    const abi::SqeWords* sqe = nullptr;
    bool has_token_in_sqe = false;

    // How many operations may be queued before one must be looked at; 0 when the next is it.
    [[nodiscard]] std::uint64_t room(std::uint64_t submitted) const noexcept {
        if (options.every == 0 || phase != Phase::idle) return UINT64_MAX;
        return submitted < due ? due - submitted : 0;
    }
    // Operation number `number` is about to be filled into `slot`, and is sampled.
    void queued(abi::Op op, std::uint64_t number, const abi::SqeWords& slot,
                std::chrono::nanoseconds now) noexcept;
    // Before the SQE may be changed: reads the token out of it.
    void read_token() noexcept {
        if (!has_token_in_sqe) return;
        sample.token = static_cast<std::uint64_t>(sqe->user_data);
        has_token_in_sqe = false;
    }
    void submitted(std::chrono::nanoseconds now) noexcept;
    // An operation was taken back: `taken` is its SQE, `token` its token, `next` the number of the
    // next operation. True when it was the sample: there is none now, and operation `next` is
    // sampled in its place. After an enter that failed only the token is compared.
    bool taken_back(const abi::SqeWords& taken, std::uint64_t token, std::uint64_t next) noexcept;
    // Ends the sample and hands it to the caller.
    void completed(std::int32_t res, std::chrono::nanoseconds now) noexcept;
};

}  // namespace squall::detail
