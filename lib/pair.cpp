// SPDX-License-Identifier: MIT
//
// What pair.hpp says. How one ring is driven is ring.cpp's.
#include "pair.hpp"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>

#include "clock.hpp"
#include "explain.hpp"
#include "sys.hpp"

namespace squall::detail {

namespace {

constexpr std::uint32_t total_max = 32768;  // the polled ring has an SQE for each operation in flight

constexpr std::size_t aligned(std::size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

// The first word of an SQE, member by member.
struct OpFd {
    std::uint8_t opcode;
    std::uint8_t flags;
    std::uint16_t ioprio;
    std::uint32_t fd;
};

bool reads(std::uint8_t opcode) noexcept {
    return opcode == static_cast<std::uint8_t>(abi::Op::read) ||
           opcode == static_cast<std::uint8_t>(abi::Op::read_fixed);
}

// Answers after which the next round simply goes on.
bool goes_on(int code) noexcept {
    return code == 0 || code == EINTR || code == EAGAIN || code == EBUSY || code == ETIME;
}

}  // namespace

// --- Making and letting go --------------------------------------------------------------------------------------------

Result<Ring*> Pair::create(const IoOptions& options) {
    auto companion = Ring::make(options, Ring::Role::alone, nullptr);
    if (!companion) return companion;
    const std::uint32_t total = (*companion)->features().cq_entries;
    const auto give_up = [&](Ring* ring, const Error& error) -> Result<Ring*> {
        if (ring) Ring::destroy(ring);
        Ring::destroy(*companion);
        return error;
    };
    if (total > total_max)
        return give_up(nullptr, Error(EINVAL, "Io::create: completion_entries comes to " + std::to_string(total),
                                      "with polling it must be at most " + std::to_string(total_max) +
                                          ", and so entries at most half of that if it is 0"));
    IoOptions for_polled = options;
    for_polled.entries = total;
    for_polled.completion_entries = total;
    auto polled = Ring::make(for_polled, Ring::Role::polled, *companion);
    if (!polled) return give_up(nullptr, polled.error());

    const std::size_t sizes[] = {sizeof(Pair),
                                 total * sizeof(Completion),
                                 total * sizeof(Record),
                                 total * sizeof(std::uint32_t),
                                 total * sizeof(std::uint32_t),
                                 options.file_slots * sizeof(Slot)};
    std::size_t bytes = 0;
    for (const std::size_t size : sizes) bytes += aligned(size);
    bytes = (bytes + Ring::page_bytes - 1) / Ring::page_bytes * Ring::page_bytes;
    const long at = sys::mmap(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::is_error(at))
        return give_up(*polled,
                       explain_mapping(static_cast<int>(-at), "Io::create: mapping " + std::to_string(bytes) +
                                                                  " bytes for what is in flight in two rings"));
    auto* const memory = reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(at));
    const int kept = sys::madvise(memory, bytes, MADV_DONTFORK);
    auto front = kept < 0 ? explain_advising(-kept, "Io::create: madvise(MADV_DONTFORK)") : Ring::make_blank();
    if (!front) {
        sys::munmap(memory, bytes);
        return give_up(*polled, front.error());
    }

    Pair* const pair = ::new (memory) Pair(**front, **companion, **polled);
    std::byte* next = memory + aligned(sizes[0]);
    const auto take = [&next](std::size_t size) {
        std::byte* const here = next;
        next += aligned(size);
        return here;
    };
    pair->total_ = total;
    pair->bytes_ = bytes;
    pair->completions_ = reinterpret_cast<Completion*>(take(sizes[1]));
    pair->records_ = reinterpret_cast<Record*>(take(sizes[2]));
    pair->free_ = reinterpret_cast<std::uint32_t*>(take(sizes[3]));
    pair->refused_ = reinterpret_cast<std::uint32_t*>(take(sizes[4]));
    pair->slots_ = reinterpret_cast<Slot*>(take(sizes[5]));
    // Record 0 on top, so that a young ring is used from its start.
    for (std::uint32_t i = 0; i < total; ++i) pair->free_[i] = total - 1 - i;
    pair->free_count_ = total;

    Ring& ring = **front;
    ring.pair_ = pair;
    ring.state_ = Ring::State::watched;
    ring.cq_ = CompletionQueue({&pair->head_, &pair->tail_, pair->completions_, total});
    ring.arena_base_ = (*companion)->arena_base_;
    ring.arena_bytes_ = (*companion)->arena_bytes_;
    ring.paths_ = (*companion)->paths_;
    ring.features_ = (*companion)->features_;
    ring.features_.polled_setup_flags = (*polled)->features_.setup_flags;
    ring.features_.polling =
        (ring.features_.polled_setup_flags & abi::setup_hybrid_iopoll) != 0 ? Polling::hybrid : Polling::busy;
    ring.make_front(options);
    return front;
}

void Pair::destroy(Pair* pair) noexcept {
    Ring::destroy(&pair->polled_);
    Ring::destroy(&pair->companion_);
    sys::munmap(pair, pair->bytes_);
}

int Pair::bind() noexcept {
    if (const int code = companion_.may_enter_slowly(); code != 0) return code;
    if (const int code = polled_.may_enter_slowly(); code != 0) return code;
    front_.features_.registered_ring = companion_.features_.registered_ring && polled_.features_.registered_ring;
    return 0;
}

// --- Queueing ---------------------------------------------------------------------------------------------------------

Pair::Slot* Pair::slot_at(std::uint32_t place) const noexcept {
    return place - 1 < front_.features_.file_slots ? &slots_[place - 1] : nullptr;
}

bool Pair::polls(abi::Word op_fd) const noexcept {
    const auto about = std::bit_cast<OpFd>(op_fd);
    if ((about.flags & abi::sqe_fixed_file) == 0) return false;
    const Slot* const slot = slot_at(about.fd);
    if (!slot || !slot->in_polled_table) return false;
    // Whether its memory is registered is looked at when it has room: until then it is a plain read or write.
    const abi::Op op = abi::op_of(op_fd);
    return (op == abi::Op::read && !slot->refuses_read) || (op == abi::Op::write && !slot->refuses_write);
}

bool Pair::make_room(abi::Word op_fd) noexcept {
    settle();
    // I2: as many records as either CQ, and the front's, has entries; one is free while fewer are in flight.
    const bool full = front_.in_flight() + front_.cq_.lent() >= total_;
    const bool polled = !full && polls(op_fd);
    if (full || (!polled && !companion_.has_room(op_fd))) {
        ++front_.counters_.queue_full;
        return false;
    }
    loaned_ = free_[--free_count_];
    loan_ = polled ? Loan::from_polled : Loan::from_companion;
    if (polled)
        front_.sq_.borrow(polled_.sq_, loaned_);
    else
        front_.sq_.borrow(companion_.sq_, companion_.sq_.slot_index());
    return true;
}

void Pair::settle() noexcept {
    const Loan loan = std::exchange(loan_, Loan::none);
    if (loan == Loan::none) return;
    abi::SqeWords& words = loan == Loan::from_polled ? polled_.sq_.at(loaned_) : companion_.sq_.slot();
    Record& record = records_[loaned_];
    record.token = static_cast<Token>(words.user_data);
    words.user_data = abi::Word{loaned_};
    front_.sampler_.name(record.token, front_.counters_.submitted - 1);
    if (loan == Loan::from_polled) {
        record.role = Record::Role::transfer;
        record.place = std::bit_cast<OpFd>(words.op_fd).fd;
        ++slots_[record.place - 1].transfers;  // polls() has seen to it that there is one
        polled_.sq_array_[static_cast<std::uint32_t>(polled_.counters_.submitted) & (total_ - 1)] = loaned_;
        ++polled_.counters_.submitted;
        return;
    }
    record.role = Record::Role::ordinary;
    const auto sqe = std::bit_cast<abi::Sqe>(words);
    if (sqe.opcode == static_cast<std::uint8_t>(abi::Op::openat) && slot_at(sqe.file_index - 1)) {
        // The kernel would open it into the companion's table alone: open a descriptor, for both.
        record.role = Record::Role::open_place;
        record.place = sqe.file_index - 1;
        words.len_flags = abi::word(sqe.len, sqe.op_flags | O_CLOEXEC);
        words.buffer = abi::buffer_word(sqe.buf_index, 0);
    }
    companion_.push();
}

std::optional<Token> Pair::withdraw() noexcept {
    settle();
    std::uint32_t number = 0;
    const abi::SqeWords* sqe = nullptr;
    if (companion_.sq_.take_back(companion_.counters_.submitted, companion_.sqpoll_)) {
        sqe = &companion_.sq_.queued(--companion_.counters_.submitted);
        number = static_cast<std::uint32_t>(sqe->user_data);
    } else if (polled_.sq_.take_back(polled_.counters_.submitted, polled_.sqpoll_)) {
        number = polled_.sq_array_[static_cast<std::uint32_t>(--polled_.counters_.submitted) & (total_ - 1)];
        sqe = &polled_.sq_.at(number);
    } else if (refused_count_ > 0) {
        number = refused_[--refused_count_];
        sqe = &polled_.sq_.at(number);
    } else {
        return std::nullopt;
    }
    Record& record = records_[number];
    if (record.role == Record::Role::transfer || record.role == Record::Role::refused)
        --slots_[record.place - 1].transfers;
    front_.uncount(*sqe);
    --front_.counters_.submitted;
    retire(number);
    return record.token;
}

// --- Completing -------------------------------------------------------------------------------------------------------

void Pair::absorb(Ring& ring) noexcept {
    Counters& from = ring.counters_;
    Counters& to = front_.counters_;
    to.enters += std::exchange(from.enters, 0);
    to.retries += std::exchange(from.retries, 0);
    to.overflow_flushes += std::exchange(from.overflow_flushes, 0);
    to.sqpoll_wakeups += std::exchange(from.sqpoll_wakeups, 0);
}

std::uint64_t Pair::in_kernel(const Ring& ring) const noexcept {
    return ring.in_flight() - ring.sq_.unconsumed(ring.counters_.submitted);
}

void Pair::deliver(std::uint32_t number, std::int32_t res, std::uint32_t flags) noexcept {
    const std::uint32_t tail = tail_;  // only we store it
    completions_[tail & (total_ - 1)] = {records_[number].token, res, flags};
    tail_ = tail + 1;  // the front's CQ is read by this thread alone
    retire(number);
}

void Pair::retire(std::uint32_t number) noexcept {
    records_[number].role = Record::Role::none;
    free_[free_count_++] = number;
}

// Which record a completion is about: an index for which only the kernel vouches.
std::uint32_t Pair::number_of(const Completion& done, bool polled) const noexcept {
    const Record::Role role = done.token < total_ ? records_[done.token].role : Record::Role::none;
    SQUALL_ASSERT(role != Record::Role::none && (role == Record::Role::transfer) == polled,
                  "the kernel completed operation %llu, which is not in flight in the %s ring",
                  static_cast<unsigned long long>(done.token), polled ? "polled" : "other");
    return static_cast<std::uint32_t>(done.token);
}

void Pair::harvest() noexcept {
    harvest_polled();
    if (refused_count_ > 0) [[unlikely]]
        send_again();
    harvest_companion();
    absorb(polled_);
    absorb(companion_);
}

void Pair::harvest_polled() noexcept {
    polled_.reap([this](const Completion& done) {
        const std::uint32_t number = number_of(done, true);
        Record& record = records_[number];
        Slot& slot = slots_[record.place - 1];
        // The kernel's word for a file, or a direction, that cannot be polled: nothing was transferred.
        if (done.res == -EOPNOTSUPP) [[unlikely]] {
            const auto about = std::bit_cast<OpFd>(polled_.sq_.at(number).op_fd);
            (reads(about.opcode) ? slot.refuses_read : slot.refuses_write) = true;
            record.role = Record::Role::refused;
            refused_[refused_count_++] = number;
            return;
        }
        --slot.transfers;
        ++front_.counters_.polled;
        deliver(number, done.res, done.flags);
    });
}

// Gives the companion what the polled ring refused; what it has no room for yet waits for the next time.
void Pair::send_again() noexcept {
    std::uint32_t sent = 0;
    for (; sent < refused_count_; ++sent) {
        const abi::SqeWords& refused = polled_.sq_.at(refused_[sent]);
        if (!companion_.has_room(refused.op_fd)) break;
        companion_.slot() = refused;
        companion_.push();
        ++front_.counters_.poll_refused;
    }
    refused_count_ -= sent;
    std::memmove(refused_, refused_ + sent, refused_count_ * sizeof(*refused_));
}

void Pair::harvest_companion() noexcept {
    companion_.reap([this](const Completion& done) {
        const std::uint32_t number = number_of(done, false);
        const Record& record = records_[number];
        std::int32_t res = done.res;
        if (record.role == Record::Role::refused) --slots_[record.place - 1].transfers;
        if (record.role == Record::Role::open_place && res >= 0) res = put_into_slot(record.place, res);
        deliver(number, res, done.flags);
    });
}

// Submits what both rings were given, and takes in what has completed. 0 or an errno; of two, the one that does not go on.
int Pair::drive() noexcept {
    // The polled ring first: what was queued before the close of its slot is to be submitted before it.
    int code = polled_.in_flight() > 0 ? polled_.enter_once(Ring::Offer::everything, 0, nullptr) : 0;
    if (companion_.wants_kernel()) {
        const int second = companion_.enter_once(Ring::Offer::everything, 0, nullptr);
        if (second != 0 && goes_on(code)) code = second;
    }
    companion_.run_task_work_left();
    harvest();
    // What was just sent again may as well be submitted now.
    if (code == 0 && companion_.wants_kernel()) {
        code = companion_.enter_once(Ring::Offer::everything, 0, nullptr);
        harvest();
    }
    return code;
}

int Pair::poll() noexcept {
    settle();
    if (front_.in_flight() == 0) return 0;
    if (const int code = front_.may_enter_slowly(); code != 0) return code;
    const int code = drive();
    return goes_on(code) ? 0 : code;
}

int Pair::park(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept {
    if (timeout && timeout->count() <= 0) return poll();
    settle();
    front_.cq_.must_not_be_lent();
    if (front_.in_flight() == 0) {
        if (timeout && at_least > 0) sleep_out(*timeout);
        return front_.foreign() ? EEXIST : 0;
    }
    if (const int code = front_.may_enter_slowly(); code != 0) return code;
    const auto started = timeout ? monotonic_now() : std::chrono::nanoseconds(0);
    auto left = timeout ? *timeout : std::chrono::nanoseconds(0);
    const std::uint64_t wanted = std::min<std::uint64_t>(at_least, front_.in_flight());
    for (;;) {
        // Where the polled ring alone has anything to do, one enter submits and waits.
        const bool at_once = !timeout && !polled_.sqpoll_ && front_.cq_.ready() == 0 && companion_.in_flight() == 0;
        int code = at_once ? wait(static_cast<std::uint32_t>(wanted), nullptr) : drive();
        if (at_once) harvest();
        if (!goes_on(code)) return code;
        const std::uint32_t ready = front_.cq_.ready();
        if (ready >= wanted) return 0;
        // The kernel took nothing, and has nothing whose end would free memory for more.
        if ((code == EAGAIN || code == EBUSY) && in_kernel(polled_) + in_kernel(companion_) == 0) return code;
        if (timeout) {
            left = *timeout - (monotonic_now() - started);
            if (left.count() <= 0) return 0;
        }
        if (at_once) continue;
        code = wait(static_cast<std::uint32_t>(wanted) - ready, timeout ? &left : nullptr);
        if (!goes_on(code)) return code;
    }
}

// Blocks in the kernel where it can wait for what may come next. Where both rings have something in flight, the polled one
// is looked at again and again instead: looking is what polling is.
int Pair::wait(std::uint32_t wanted, const std::chrono::nanoseconds* left) noexcept {
    const auto enter = [wanted](Ring& ring, const std::chrono::nanoseconds* time) {
        const abi::Timespec ts = time ? to_timespec(*time) : abi::Timespec{};
        const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, ring.in_flight()));
        return ring.enter_once(Ring::Offer::everything, count, time ? &ts : nullptr);
    };
    if (polled_.in_flight() == 0) return enter(companion_, left);
    if (polled_.sqpoll_) {
        if (companion_.in_flight() == 0) return enter(polled_, left);
        // Its thread does the looking: sleep on the other, for as long as a polled transfer can wait to be found.
        constexpr std::chrono::nanoseconds a_glance{50'000};
        return enter(companion_, left ? &std::min(*left, a_glance) : &a_glance);
    }
    // A polled ring knows no timeout.
    return companion_.in_flight() == 0 && !left ? enter(polled_, nullptr) : 0;
}

// --- File slots -------------------------------------------------------------------------------------------------------

bool Pair::may_change(FileSlot slot) noexcept {
    settle();
    Slot* const known = slot_at(slot.place());
    if (!known) return true;  // the kernel refuses it
    if (known->transfers > 0) {
        ++front_.counters_.queue_full;
        return false;
    }
    // The companion's own place is the operation's concern.
    if (known->in_polled_table) (void)polled_.update_file(slot.place(), -1);
    *known = {};
    return true;
}

Result<void> Pair::set_file(FileSlot slot, int fd, const std::string& doing) {
    settle();
    Slot& known = slots_[slot.place() - 1];
    if (known.transfers > 0) return Error(EBUSY, doing, "polled transfers are in flight on this slot: reap them first");
    known = {};
    const int status = companion_.update_file(slot.place(), fd);
    const int polled = polled_.update_file(slot.place(), status < 0 ? -1 : fd);
    known.in_polled_table = fd >= 0 && status >= 0 && polled >= 0;
    if (status < 0) return Error(-status, doing, advice_for_result(-status));
    return {};
}

// The end of an open into a slot: 0 or -errno. The tables hold the file, and the descriptor goes.
std::int32_t Pair::put_into_slot(std::uint32_t place, int fd) noexcept {
    Slot& slot = slots_[place - 1];
    std::int32_t status = -EBUSY;  // the slot was filled by set_file() meanwhile, and is in use
    if (slot.transfers == 0) {
        status = std::min(companion_.update_file(place, fd), 0);
        const int polled = polled_.update_file(place, status < 0 ? -1 : fd);
        slot = {};
        slot.in_polled_table = status >= 0 && polled >= 0;
    }
    sys::close(fd);
    return status;
}

}  // namespace squall::detail
