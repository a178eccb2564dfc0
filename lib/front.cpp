// SPDX-License-Identifier: MIT
//
// The front's slow calls: in a forked child, where all is checked, and while a sample is on its way
// (sampler.cpp). And its life: what was asked is checked here, and which kind of front it comes to.
#include "squall/front.hpp"

#include <algorithm>
#include <cerrno>
#include <string>

#include "enter.hpp"
#include "front_kinds.hpp"
#include "message.hpp"
#include "operations.hpp"
#include "parts.hpp"
#include "readiness.hpp"
#include "squall/io.hpp"
#include "sys.hpp"
#include "wake_box.hpp"

namespace squall::detail {

namespace {

// The front with IoOptions::checks whose failure was the last on this thread, while nobody has
// looked at that. By thread and not by front, since one of the failures is to be called on a thread
// that may change nothing of the front.
constinit thread_local const Front* failed_unseen = nullptr;

constexpr std::uint32_t entries_max = 32768;  // IORING_MAX_ENTRIES
constexpr std::uint32_t cq_entries_max = 2 * entries_max;
constexpr std::uint32_t parts_max = 16384;  // IORING_MAX_REG_BUFFERS

Error refuse(const std::string& value, const std::string& rule) {
    return Error(EINVAL, "Io::create: " + value, rule);
}

Result<void> check(const IoOptions& options) {
    if (options.entries == 0 || options.entries > entries_max)
        return refuse("entries is " + text(options.entries),
                      "it must be 1 to " + text(entries_max));
    if (options.completion_entries != 0) {
        std::uint32_t rounded = 1;
        while (rounded < options.entries) rounded *= 2;
        if (options.completion_entries < rounded || options.completion_entries > cq_entries_max)
            return refuse("completion_entries is " + text(options.completion_entries),
                          "it must be 0 for twice the SQ, or " + text(rounded) +
                              " (entries, rounded up to a power of two) to " +
                              text(cq_entries_max));
    }
    if (options.mode != Mode::deferred && options.mode != Mode::plain &&
        options.mode != Mode::sqpoll)
        return refuse("mode is " + text(static_cast<unsigned>(options.mode)),
                      "it must be one of squall::Mode's");
    if (options.polling > Polling::hybrid)
        return refuse("polling is " + text(static_cast<unsigned>(options.polling)),
                      "it must be one of squall::Polling's");
    if (options.file_slots > FileSlot::count_max)
        return refuse("file_slots is " + text(options.file_slots),
                      "it must be 0 to " + text(FileSlot::count_max));
    if (options.arena_parts > parts_max)
        return refuse("arena_parts is " + text(options.arena_parts),
                      "it must be 0 to " + text(parts_max));
    if (options.arena_parts > 0 && !options.arena)
        return refuse("arena_parts is " + text(options.arena_parts),
                      "there must be an arena that they are parts of");
    if (options.sampling.every != 0 && !options.sampling.histograms && !options.sampling.hook)
        return refuse("sampling.every is " + text(options.sampling.every),
                      "it needs histograms or a hook to give the samples to");
    if (options.sqpoll_with && options.mode != Mode::sqpoll)
        return refuse("sqpoll_with is set and mode is " + text(static_cast<unsigned>(options.mode)),
                      "only with Mode::sqpoll is there a thread to share");
    if (options.sqpoll_with && options.sqpoll_with->features().mode != Mode::sqpoll)
        return refuse("sqpoll_with is of mode " +
                          text(static_cast<unsigned>(options.sqpoll_with->features().mode)),
                      "it must be an Io with Mode::sqpoll, made by this process");
    if (options.mode == Mode::sqpoll &&
        (options.sqpoll_idle.count() < 1 || options.sqpoll_idle.count() > UINT32_MAX))
        return refuse("sqpoll_idle is " + std::to_string(options.sqpoll_idle.count()) + " ms",
                      "it must be 1 ms to " + text(UINT32_MAX) + " ms");
    return {};
}

// Where nothing is handed out but an error.
Queues* nothing() noexcept {
    static std::uint32_t head = 0;
    static std::uint32_t tail = 0;
    static Completion none{};
    static Queues queues{{}, {}, CompletionQueue({&head, &tail, &none, 1})};
    return &queues;
}

}  // namespace

void failure_seen() noexcept { failed_unseen = nullptr; }

// --- Its life ------------------------------------------------------------------------------------

Result<Front*> Front::create(const IoOptions& options) {
    if (auto checked = check(options); !checked) return checked.error();
    auto made = options.polling == Polling::none ? make_single(options, sys::host)
                                                 : make_polled(options, sys::host);
    if (!made) return made;
    (*made)->finish(options);
    if (options.arena_parts > 0) {
        const int status =
            Parts::create(options.arena->memory(), options.arena_parts, (*made)->parts_);
        if (status < 0) {
            destroy(*made);
            return explain_mapping(
                -status, "Io::create: mapping memory for " + text(options.arena_parts) + " parts");
        }
    }
#if defined(SQUALL_MSAN)
    if (auto mapped = (*made)->writes_.map((*made)->features_.cq_entries); !mapped) {
        destroy(*made);
        return mapped.error();
    }
#endif
    return made;
}

// What is the same whatever is behind it.
void Front::finish(const IoOptions& options) noexcept {
    sampler_.options = options.sampling;
#ifdef __OPTIMIZE__
    constexpr bool checks_by_default = false;
#else
    constexpr bool checks_by_default = true;
#endif
    features_.checks = options.checks.value_or(checks_by_default);
    quick_ = usually_quick();
}

void Front::destroy(Front* front) noexcept {
    if (failed_unseen == front) failed_unseen = nullptr;
    // In a child of fork() the rings' memory was never mapped, its addresses may be something
    // else's by now, and so may its descriptors' numbers: nothing of it is touched.
    if (!front->is_forked()) {
        SQUALL_ASSERT(!front->has_completions_out(),
                      "an Io is destroyed while a Completions of it is alive");
        if (front->wake_box_) front->wake_box_->close();
        if (front->parts_) front->parts_->destroy();
        front->writes_.unmap();
        front->calls_->destroy(*front);
    }
    unmap_page(front);
}

Result<void*> Front::map_page() {
    const long at = sys::mmap(sys::host, page_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::is_error(at))
        return explain_mapping(static_cast<int>(-at),
                               "Io::create: mapping 4096 bytes for the ring's state");
    void* const page = reinterpret_cast<void*>(static_cast<std::uintptr_t>(at));
    // A fork's child must find zeros here, not a copy: the copy would know indices of a ring that
    // it does not share.
    if (const int status = sys::madvise(page, page_bytes, MADV_WIPEONFORK); status < 0) {
        unmap_page(page);
        return explain_advising(-status, "Io::create: madvise(MADV_WIPEONFORK)");
    }
    return page;
}

void Front::unmap_page(void* page) noexcept { sys::munmap(sys::host, page, page_bytes); }

// --- Queueing ------------------------------------------------------------------------------------

bool Front::find_room(abi::Word op_fd) noexcept {
    if (!may_find_room()) return false;
    // Which is the caller's to find out, who then asks for room by another call.
    if (parts_ && operation(abi::op_of(op_fd)).data == Operation::Data::ordinary) return false;
    return look_for_room(op_fd);
}

// Not in a forked child (I10), nor on another thread: counted nowhere, since the counters are the
// owner's.
bool Front::may_find_room() const noexcept { return !is_forked() && !refuses_this_thread(); }

bool Front::look_for_room(abi::Word op_fd) noexcept {
    sampler_.read_token();
    if (!calls_->find_room(*this, op_fd)) {
        ++counters().queue_full;
        return false;
    }
    // One at a time, so that each comes by here.
    if (features_.checks || parts_) cursor_.limit(1);
    // Up to the next one that is to be sampled, so that queueing comes by here for it.
    const std::uint64_t unsampled = sampler_.room(counters().submitted);
    if (unsampled > 0) {
        cursor_.limit(unsampled);
    } else {
        sampler_.queued(abi::op_of(op_fd), counters().submitted, cursor_.slot(), sys::now(kernel_));
        quick_ = false;
    }
    return true;
}

std::uint32_t Front::room() noexcept {
    if (is_forked() || refuses_this_thread()) return 0;
    sampler_.read_token();
    return calls_->room(*this);
}

std::optional<Token> Front::withdraw(const Token* only) noexcept {
    if (is_forked() || is_on_another_thread()) return std::nullopt;
    sampler_.read_token();
    const abi::SqeWords* const sqe = calls_->take_back(*this, only);
    if (!sqe) return std::nullopt;
    ++counters().withdrawn;
    const Operation::Data data = operation(abi::op_of(sqe->op_fd)).data;
    if (data == Operation::Data::ordinary && !is_refused(*sqe)) --counters().unregistered;
    if (data == Operation::Data::fixed) --counters().fixed;
    cursor_.force_look();
    const auto token = static_cast<Token>(sqe->user_data);
    if (sampler_.taken_back(*sqe, token, counters().submitted)) quick_ = usually_quick();
    return writes_.taken_back(token);
}

bool Front::may_answer() noexcept {
    if (in_flight() == 0) drained_ = false;
    return !drained_ && !calls_->is_chained(*this) && !is_on_another_thread();
}

// For what was done by a system call. The NOP completes as soon as it is submitted (with an SQPOLL
// thread, a moment later), and what it completes with is written over where it lies. Another
// operation with its token and result may be found in its place: to the caller they are the same.
bool Front::answer_last(std::int32_t res) noexcept {
    const auto token = static_cast<Token>((&cursor_.slot() - 1)->user_data);
    sampler_.read_token();
    for (;;) {
        const int code = calls_->poll(*this);
        for (std::uint32_t i = 0, count = queues_.cq.ready(); i < count; ++i) {
            Completion& done = queues_.cq.ready_at(i);
            if (done.token != token || done.res != 0) continue;
            done.res = res;
            call_for_a_look();
            return true;
        }
        // The kernel did not take it: short of memory, or the ring fails.
        if (withdraw(&token)) return false;
        if (code == 0) continue;
        // It was shown to a poller that sleeps and cannot be woken. Whenever it is, it must not
        // hear of a success.
        (&cursor_.slot() - 1)->op_fd = abi::op_fd_word(abi::Op::fsync, 0, UINT32_MAX);
        return true;
    }
}

bool Front::may_change_slowly(std::uint32_t table_index) noexcept {
    if (is_forked() || refuses_this_thread()) return false;
    sampler_.read_token();
    if (calls_->may_change(*this, table_index)) return true;
    ++counters().queue_full;
    return false;
}

Result<void> Front::set_file(FileSlot slot, int fd) {
    const auto refused = [slot, fd](int code, const std::string& why) {
        return Error(
            code, "Io::set_file(slot " + text(slot.number()) + ", fd=" + std::to_string(fd) + ")",
            why);
    };
    if (is_forked())
        return refused(ESTALE, "this Io was created before a fork(), by the parent process");
    if (is_on_another_thread())
        return refused(EEXIST, "this Io belongs to another thread, the first that submitted on it");
    if (slot.number() >= features_.file_slots)
        return refused(EINVAL, "IoOptions::file_slots is " + text(features_.file_slots));
    sampler_.read_token();
    const int status = calls_->set_file(*this, slot.table_index(), fd < 0 ? -1 : fd);
    if (status == FrontCalls::slot_is_busy)
        return refused(EBUSY, "polled transfers are in flight on this slot: reap them first");
    if (status < 0) return refused(-status, advice_for_result(-status));
    return {};
}

// io_uring_register for the owner's workers, which binds the ring to its owner. 0 or more, or
// -errno.
int Front::register_workers(std::uint32_t code, void* arg, std::uint32_t count) noexcept {
    if (is_forked()) return -ESTALE;
    const int status = ring_->may_enter() & ~while_enabling;
    return status != 0 ? -status : ring_->do_register(code, arg, count);
}

Result<WorkerLimits> Front::limit_workers(WorkerLimits limits) {
    const std::string doing = "Io::limit_workers(bounded=" + text(limits.bounded) +
                              ", unbounded=" + text(limits.unbounded) + ")";
    if (limits.bounded > INT32_MAX || limits.unbounded > INT32_MAX)
        return Error(EINVAL, doing, "each must be 0 to 2147483647");
    std::uint32_t values[] = {limits.bounded, limits.unbounded};
    const int status = register_workers(abi::register_iowq_max_workers, values, 2);
    if (status == -EINVAL) return Error(EOPNOTSUPP, doing, "the kernel has no such limits (5.15)");
    if (status < 0) return Error(-status, doing);
    return WorkerLimits{values[0], values[1]};
}

Result<void> Front::bind_workers(std::span<const unsigned> cpus) {
    const std::string doing = "Io::bind_workers";
    constexpr unsigned cpu_max = 1024;
    std::uint64_t mask[cpu_max / 64] = {};
    for (const unsigned cpu : cpus) {
        if (cpu >= cpu_max)
            return Error(EINVAL, doing + ": CPU " + text(cpu),
                         "it must be 0 to " + text(cpu_max - 1));
        mask[cpu / 64] |= std::uint64_t{1} << cpu % 64;
    }
    const int status = cpus.empty() ? register_workers(abi::unregister_iowq_aff, nullptr, 0)
                                    : register_workers(abi::register_iowq_aff, mask, sizeof(mask));
    if (status < 0)
        return Error(-status, doing,
                     status == -EINVAL
                         ? "a CPU is not this thread's to run on, the thread has entered no ring "
                           "(Mode::plain), or the kernel has no such binding (5.14)"
                         : "");
    return {};
}

// --- Completing ----------------------------------------------------------------------------------

bool Front::is_on_another_thread() const noexcept { return ring_->is_on_another_thread(); }
int Front::ring_fd() const noexcept { return is_forked() ? -1 : ring_->fd(); }

int Front::poll_behind() noexcept { return calls_->poll(*this); }
int Front::park_behind(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept {
    return calls_->park(*this, at_least, timeout);
}

int Front::cannot_use() const noexcept {
    if (is_forked()) return ESTALE;  // I10
    return is_on_another_thread() ? EEXIST : 0;
}

Error Front::cannot_run() const {
    const int code = cannot_use();
    return code != 0 ? ring_error(code) : Error();
}

Result<Completion> Front::wait_for(Token token) {
    if (Error error = cannot_run()) return error;
    return wait_for(token, nullptr);
}

Result<Completion> Front::wait_for_last(Token token) {
    const auto as_it_is_known = static_cast<Token>((&cursor_.slot() - 1)->user_data);
    return wait_for(token, &as_it_is_known);
}

Result<Completion> Front::wait_for(Token token, const Token* last) {
    for (std::uint32_t looked_at = 0;;) {
        CompletionQueue& cq = queues_.cq;
        sample_completed();
        for (const std::uint32_t count = cq.ready(); looked_at < count; ++looked_at) {
            if (writes_.token_of(cq.ready_at(looked_at).token) != token) continue;
            cq.bring_forward(looked_at);
            queues_.complete(1);
            writes_.completed(cq, 1);
            call_for_a_look();
            return cq.take_one();
        }
        if (looked_at == in_flight())
            return Error(ENOENT, "Io::wait_for(" + text(token) + ")",
                         "no operation with this token is in flight");
        sample_submitted();
        if (const int code = calls_->wait_for_more(*this); code != 0) {
            Error why = ring_error(code);
            if (last && withdraw(last)) return why;
            return Error(EINPROGRESS, "waiting for an operation that is in flight",
                         "the ring failed: " + why.message());
        }
    }
}

// Before completions are handed out.
void Front::settle_poll_fd() noexcept {
    readiness_->settle(kernel_, [this] {
        // Where wakes are handed out the ring's completions stay, and where some of many are the
        // others do.
        return calls_->must_look(*this) || (wake_box_ && !wake_box_->arm()) ||
               (wakes_came_last_ && queues_.cq.ready() > 0);
    });
}

// After the kernel was entered by a call that settles nothing: who sleeps on poll_fd() is to look.
void Front::call_for_a_look() noexcept {
    if (has_poll_fd_ && in_flight() > 0) readiness_->raise(kernel_);
}

Error Front::make_room(bool had_room) {
    if (in_flight() + queues_.cq.taken() >= queues_.cq.entries())
        return Error(EBUSY, "Io::run",
                     "all " + text(queues_.cq.entries()) +
                         " places of the CQ are promised to operations in flight or hold "
                         "completions that nobody has taken: poll() or park() first");
    // With room in both queues it is polled transfers, or opens into slots, that are in the way.
    if (had_room && queues_.cq.ready() == in_flight())
        return Error(EINVAL, "Io::run", "there is room, and `queue` queues nothing");
    sample_submitted();
    const int code = had_room ? calls_->wait_for_more(*this) : calls_->poll(*this);
    call_for_a_look();
    return code == 0 ? Error() : ring_error(code);
}

// These return no Completions, which the inline calls would else have to keep in memory, always.

// What has completed is the owner's to take: not a forked child's nor, where that is checked or
// there are wakes, another thread's.
int Front::turned_away() noexcept {
    if (is_forked()) return ESTALE;  // I10
    return is_on_another_thread() && (features_.checks || wake_box_) ? report(EEXIST) : 0;
}

Front::Outcome Front::poll_slowly() noexcept {
    if (const int code = turned_away(); code != 0) return {nothing(), code};
    sample_submitted();
    const bool nothing_to_do = calls_->queues_tell && !queues_.want_kernel();
    return settle(nothing_to_do ? 0 : report(calls_->poll(*this)));
}

Front::Outcome Front::park_slowly(std::size_t at_least,
                                  const std::chrono::nanoseconds* timeout) noexcept {
    if (const int code = turned_away(); code != 0) return {nothing(), code};
    const bool waits = at_least > 0 && !(timeout && timeout->count() <= 0);
    if (waits && wake_box_ && (wake_box_->has_wakers() || wake_box_->has_wakes()))
        return park_for_wakes(at_least, timeout);
    sample_submitted();
    const bool nothing_to_do =
        calls_->queues_tell && !queues_.want_kernel() && queues_.cq.ready() >= at_least;
    return settle(nothing_to_do ? 0 : report(calls_->park(*this, at_least, timeout)));
}

// What is done before completions are handed out; `code` is the ring's.
Front::Outcome Front::settle(int code) noexcept {
    Queues* const from = wake_box_ ? choose() : &queues_;
    if (has_poll_fd_) settle_poll_fd();
    if (from == &queues_) sample_completed();
    return {from, code};
}

// Wakes, by turns with what the ring completed where there is both.
Queues* Front::choose() noexcept {
    must_have_none_out();
    const bool is_their_turn = !wakes_came_last_ || queues_.cq.ready() == 0;
    wakes_came_last_ = is_their_turn && wake_box_->collect() > 0;
    if (!wakes_came_last_) return &queues_;
    const std::uint32_t count = wakes_.cq.ready();
    wakes_.counters.submitted += count;
    counters().wakes += count;
    return &wakes_;
}

void Front::must_have_none_out() const noexcept {
    queues_.cq.must_not_be_taken();
    wakes_.cq.must_not_be_taken();
}

// A wake ends a park, however many completions it is to wait for, so that here they are waited for
// one by one: the owner sleeps on the event that the ring signals for each, and Wakers ring.
Front::Outcome Front::park_for_wakes(std::size_t at_least,
                                     const std::chrono::nanoseconds* timeout) noexcept {
    using std::chrono::nanoseconds;
    must_have_none_out();
    const nanoseconds started = timeout ? sys::now(kernel_) : nanoseconds(0);
    // Where somebody must look, how long it may be until he does; and where the kernel may forget
    // to signal. (6.12.117: what io_eventfd_signal() puts off, because it is called from another's
    // wake-up, it does once and never again.)
    constexpr nanoseconds a_glance{50'000};
    constexpr nanoseconds a_while{10'000'000};
    bool has_slept = false;
    bool is_over = false;
    for (;;) {
        sample_submitted();
        int code = 0;
        if (!calls_->queues_tell || queues_.want_kernel()) code = calls_->poll(*this);
        // Now, and not before: the kernel signals when there is something to be run by that poll,
        // and once more when it is done. What else is signalled is looked for below.
        if (has_slept) readiness_->clear(kernel_);
        const std::uint32_t ready = queues_.cq.ready();
        if (code != 0 || is_over || (ready > 0 && (ready >= at_least || ready == in_flight())) ||
            !wake_box_->arm())
            return settle(report(code));
        nanoseconds left{0};
        if (timeout) left = *timeout - (sys::now(kernel_) - started);
        if (timeout ? left.count() <= 0 : in_flight() == 0 && !wake_box_->has_wakers()) {
            is_over = true;
        } else if (calls_->must_look(*this)) {
            const nanoseconds glance = timeout ? std::min(left, a_glance) : a_glance;
            code = calls_->park(*this, at_least, &glance);
        } else {
            const bool may_forget = features_.deferred_taskrun && in_flight() > 0;
            if (may_forget) left = timeout ? std::min(left, a_while) : a_while;
            code = readiness_->wait(kernel_, timeout || may_forget ? &left : nullptr);
            has_slept = true;
        }
        wake_box_->disarm();
        if (code != 0) return settle(report(code));
    }
}

Waker Front::waker() noexcept {
    int code = cannot_use();
    if (code == 0 && !wake_box_) {
        const int event = readiness_->open(kernel_, *ring_);
        if (event < 0)
            code = -event;
        else
            wake_box_ = WakeBox::create(kernel_, event, code);
        if (wake_box_) {
            wakes_.cq = wake_box_->make_queue();
            quick_ = false;
            // It is armed by the next poll.
            if (has_poll_fd_) readiness_->raise(kernel_);
        }
    }
    return WakeBox::make_waker(code == 0 ? wake_box_ : nullptr, code);
}

Completions Front::park(const Batch& batch) noexcept {
    using std::chrono::nanoseconds;
    const nanoseconds started = sys::now(kernel_);
    const nanoseconds* const timeout = batch.timeout ? &*batch.timeout : nullptr;
    const bool gathers = batch.at_least > 1 && batch.gather.count() > 0;
    const nanoseconds first = timeout ? std::min(*timeout, batch.gather) : batch.gather;
    if (gathers && in_flight() > 0) {
        Completions gathered = park(batch.at_least, &first);
        if (!gathered.empty() || gathered.failed()) return gathered;
    }
    const std::size_t at_least = std::min<std::size_t>(batch.at_least, 1);
    if (!timeout) return park(at_least, nullptr);
    const nanoseconds left = *timeout - (sys::now(kernel_) - started);
    return park(at_least, &left);
}

int Front::poll_fd() noexcept {
    if (is_forked()) return -ESTALE;
    const int fd = readiness_->open(kernel_, *ring_);
    if (fd < 0) return fd;
    // A Waker may have had it made, and somebody have looked.
    if (!std::exchange(has_poll_fd_, true)) readiness_->raise(kernel_);
    quick_ = false;
    return fd;
}

// A failure that is about to be handed out.
int Front::report(int code) noexcept {
    if (!features_.checks || code == 0) return code;
    SQUALL_ASSERT(failed_unseen != this,
                  "poll() or park() fails again, with errno %d, and nobody has looked at the "
                  "failure before, with "
                  "Completions::failed(): this loop may never end",
                  code & ~while_enabling);
    failed_unseen = this;
    return code;
}

}  // namespace squall::detail
