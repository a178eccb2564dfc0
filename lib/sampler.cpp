// SPDX-License-Identifier: MIT
//
// The life of a sample, above whatever is behind a front: when one is taken, and when its operation
// was submitted and completed. What is recorded is latency.cpp's.
#include "operations.hpp"
#include "squall/front.hpp"
#include "sys.hpp"

namespace squall::detail {

void Sampler::queued(abi::Op op, std::uint64_t number, const abi::SqeWords& slot,
                     std::chrono::nanoseconds now) noexcept {
    phase = Phase::queued;
    due = number + options.every;
    sqe = &slot;
    has_token_in_sqe = true;
    sample = {};
    sample.kind = operation(op).kind;
    sample.queued = now;
}

void Sampler::submitted(std::chrono::nanoseconds now) noexcept {
    read_token();
    phase = Phase::submitted;
    sample.submitted = now;
}

bool Sampler::taken_back(const abi::SqeWords& taken, std::uint64_t token,
                         std::uint64_t next) noexcept {
    if (phase == Phase::idle || sample.token != token) return false;
    if (phase == Phase::queued && sqe != &taken) return false;
    phase = Phase::idle;
    due = next;
    return true;
}

void Sampler::completed(std::int32_t res, std::chrono::nanoseconds now) noexcept {
    phase = Phase::idle;
    sample.res = res;
    sample.completed = now;
    if (options.histograms)
        (*options.histograms)[sample.kind].record(sample.completed - sample.queued);
    if (options.hook) options.hook(options.context, sample);
}

// What was sampled when it was queued is about to be submitted.
void Front::sample_submitted() noexcept {
    if (sampler_.phase == Sampler::Phase::queued) sampler_.submitted(sys::now(kernel_));
}

// What was sampled may be among the completions that are about to be handed out.
void Front::sample_completed() noexcept {
    if (sampler_.phase != Sampler::Phase::submitted) return;
    const Completion* const found = queues_.cq.find(sampler_.sample.token);
    if (!found) return;
    sampler_.sample.token = writes_.token_of(sampler_.sample.token);
    sampler_.completed(found->res, sys::now(kernel_));
    quick_ = usually_quick();
    cursor_.force_look();  // the next operation that is queued looks when the next sample is due
}

}  // namespace squall::detail
