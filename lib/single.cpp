// SPDX-License-Identifier: MIT
//
// The front over one io_uring. Its queues are the ring's own, so that inline code sees by itself
// when there is nothing to do, and poll() and park() here are the hot way into the kernel.
#include <algorithm>

#include "clock.hpp"
#include "enter.hpp"
#include "front_kinds.hpp"
#include "readiness.hpp"

namespace squall::detail {

namespace {

class Single : public Front {
public:
    explicit Single(sys::Kernel* kernel) noexcept;

    Result<void> set_up(const IoOptions& options) {
        if (auto made = ring_.set_up(options, Ring::Role::alone, nullptr); !made) return made;
        memory_ = ring_.memory();
        sqes_ = &queues_.sq.at(0);
        paths_ = ring_.paths();
        return {};
    }

private:
    static Single& of(Front& front) noexcept { return static_cast<Single&>(front); }
    static const FrontCalls calls;

    bool find_room() noexcept {
        ring_.note_if_quiet();
        cursor_.point_at(queues_.free_sqes());
        return !cursor_.full();
    }
    static int poll(Front& front) noexcept;
    int poll_flagged(std::uint32_t flagged) noexcept;
    static int park(Front& front, std::size_t at_least,
                    const std::chrono::nanoseconds* timeout) noexcept;
    int wait(std::uint32_t wanted, const std::chrono::nanoseconds* timeout,
             std::uint32_t taken) noexcept;
    int wait_for_more() noexcept;

    Ring ring_;
    Readiness readiness_;
};

// What a poll() reports of an enter that failed.
[[gnu::cold]] int outcome(int code) noexcept { return is_passing(code) ? 0 : code; }

int Single::poll(Front& front) noexcept {
    Single& self = of(front);
    if (const int code = self.ring_.may_enter(); code != 0) [[unlikely]]
        return code;
    const std::uint32_t flagged = self.queues_.hints();
    if (flagged != 0) [[unlikely]]
        return self.poll_flagged(flagged);
    const int code = self.ring_.enter(self.queues_, Ring::Offer::everything, 0, nullptr, 0);
    return code == 0 ? 0 : outcome(code);
}

// The same where the kernel has flagged work: what has finished by now is to be handed out by this
// call.
int Single::poll_flagged(std::uint32_t flagged) noexcept {
    const int code = ring_.enter(queues_, Ring::Offer::everything, 0, nullptr, flagged);
    ring_.run_task_work_left();
    return code == 0 ? 0 : outcome(code);
}

int Single::park(Front& front, std::size_t at_least,
                 const std::chrono::nanoseconds* timeout) noexcept {
    Single& self = of(front);
    if (timeout && timeout->count() <= 0) return self.queues_.want_kernel() ? poll(front) : 0;
    // The kernel would take completions that are still being read for new ones, and not wait.
    self.queues_.cq.must_not_be_taken();
    const std::uint64_t flying = self.queues_.in_flight();
    if (flying == 0) {
        if (!timeout || at_least == 0) return self.ring_.is_on_another_thread() ? EEXIST : 0;
        // Nothing was ever submitted: the ring belongs to no thread yet, and waiting on it would
        // make it this one's (I8).
        if (!self.ring_.is_bound()) return sleep_out(self.kernel(), *timeout), 0;
    }
    if (const int code = self.ring_.may_enter(); code != 0) return code;
    // With nothing in flight it is the time that is waited for.
    return self.wait(
        static_cast<std::uint32_t>(flying == 0 ? 1 : std::min<std::uint64_t>(at_least, flying)),
        timeout, 0);
}

int Single::wait_for_more() noexcept {
    const std::uint32_t ready = queues_.cq.ready();
    if (ready == queues_.in_flight()) return 0;
    if (const int code = ring_.may_enter(); code != 0) return code;
    return wait(ready + 1, nullptr, queues_.cq.taken());
}

// `taken`: how many that were handed out before the kernel takes for new ones, and counts.
[[gnu::always_inline]] inline int Single::wait(std::uint32_t wanted,
                                               const std::chrono::nanoseconds* timeout,
                                               std::uint32_t taken) noexcept {
    const auto started = timeout ? sys::now(kernel()) : std::chrono::nanoseconds(0);
    auto left = timeout ? *timeout : std::chrono::nanoseconds(0);
    for (;;) {
        const abi::Timespec ts = timeout ? to_timespec(left) : abi::Timespec{};
        const abi::Timespec* const at_most = timeout ? &ts : nullptr;
        int code =
            ring_.enter(queues_, Ring::Offer::everything, wanted + taken, at_most, queues_.hints());
        if (code != 0 && classify(code) == Answer::out_of_memory) {
            // Looked at once: where completions interrupt, one may come between two looks.
            const std::uint32_t ready = queues_.cq.ready();
            if (ready >= wanted) return 0;
            // Nothing was consumed, and an enter waits only once it has consumed all it was
            // offered. So offer nothing and wait for what the kernel already has, if it has
            // something that is not done.
            const std::uint64_t consumed = queues_.in_kernel();
            if (consumed == ready) return code;
            code = ring_.enter_once(
                Ring::Offer::nothing,
                static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, consumed)) + taken,
                at_most);
        }
        if (code != 0 && !is_retryable(code)) return outcome(code);
        const std::uint32_t ready = queues_.cq.ready();
        if (ready >= wanted) {
            if (ready >= task_work_max) [[unlikely]]
                ring_.run_task_work_left();
            return 0;
        }
        if (timeout) {
            left = *timeout - (sys::now(kernel()) - started);
            if (left.count() <= 0) return 0;
        }
    }
}

constexpr FrontCalls Single::calls = {
    .queues_tell = true,
    .find_room = [](Front& front, abi::Word) noexcept { return of(front).find_room(); },
    .room = [](Front& front) noexcept { return of(front).queues_.room(); },
    .is_chained =
        [](const Front& front) noexcept {
            return static_cast<const Single&>(front).queues_.is_chained();
        },
    .poll = &Single::poll,
    .park = &Single::park,
    .wait_for_more = [](Front& front) noexcept { return of(front).wait_for_more(); },
    .take_back = [](Front& front, const Token* only) noexcept -> const abi::SqeWords* {
        Queues& queues = of(front).queues_;
        return !only || queues.last_token() == *only
                   ? queues.take_back(of(front).ring_.has_poller())
                   : nullptr;
    },
    .may_change = [](Front&, std::uint32_t) noexcept { return true; },
    .set_file =
        [](Front& front, std::uint32_t table_index, int fd) noexcept {
            return std::min(of(front).ring_.update_file(table_index, fd), 0);
        },
    .set_part =
        [](Front& front, std::uint32_t index, void* data, std::uint64_t length) noexcept {
            return of(front).ring_.update_buffer(index, data, length);
        },
    // Also where the kernel did not take all that it was offered.
    .must_look = [](Front& front) noexcept { return of(front).queues_.want_kernel(); },
    .destroy =
        [](Front& front) noexcept {
            of(front).ring_.cancel_and_wait();
            of(front).~Single();
        },
};

Single::Single(sys::Kernel* kernel) noexcept
    : Front(calls, kernel, ring_, readiness_), ring_(kernel, queues_, features_) {}

}  // namespace

Result<Front*> make_single(const IoOptions& options, sys::Kernel* kernel) {
    return make_front<Single>(options, kernel);
}

}  // namespace squall::detail
