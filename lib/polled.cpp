// SPDX-License-Identifier: MIT
//
// The front over two io_urings: a polled one (IORING_SETUP_IOPOLL), which takes only reads and
// writes of files that can be polled, and a companion that takes all else. It decides which
// operation goes where, sends what the polled ring refuses to the companion, and merges the
// completions of both into one queue.
//
// Only transfers by FileSlot are polled. What has to be sent again must meet the file that it was
// meant for, and only of a slot does squall know that: a descriptor may be closed and its number
// reused behind its back.
#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string>

#include "clock.hpp"
#include "enter.hpp"
#include "front_kinds.hpp"
#include "message.hpp"
#include "operations.hpp"
#include "readiness.hpp"

namespace squall::detail {

namespace {

// The polled ring has an SQE for each operation in flight.
constexpr std::uint32_t total_max = 32768;

constexpr std::size_t aligned(std::size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

// The first word of an SQE, member by member.
struct OpFd {
    std::uint8_t opcode;
    std::uint8_t flags;
    std::uint16_t ioprio;
    std::uint32_t fd;
};

constexpr unsigned links = abi::sqe_io_link | abi::sqe_io_hardlink;

class Polled : public Front {
public:
    explicit Polled(sys::Kernel* kernel) noexcept
        : Front(calls, kernel, companion_.ring, readiness_), companion_(kernel), polled_(kernel) {}

    Result<void> set_up(const IoOptions& options);

private:
    // An operation in flight; its number, with the record's generation above it, is its user_data
    // in both rings, and alone for a polled one its SQE's index too.
    struct Record {
        enum class Role : std::uint8_t {
            none,  // not in flight
            ordinary,
            transfer,   // in the polled ring, of the file at `table_index`
            refused,    // by the polled ring, and so the companion's
            open_slot,  // to be put into both tables at `table_index` when it is open
        };
        Token token;
        std::uint32_t table_index;
        Role role;
        bool drains;
        bool is_cancelled;  // not to be sent again
        // How many operations had it before: part of the name, so that a cancel which the kernel
        // comes to late does not hit the one that has the record by then.
        std::uint32_t generation;
    };
    // What is known of a file in a slot.
    struct Slot {
        std::uint32_t transfers;  // in flight, begun in the polled ring
        bool in_polled_table;
        bool refuses_read;  // the polled ring has: the file cannot be polled in that direction
        bool refuses_write;
    };
    // Whose SQE the cursor points at, whose operation is yet to be recorded.
    enum class Pending : std::uint8_t { none, in_companion, in_polled };
    // A ring with what a front has for it where it is alone.
    struct Backed {
        explicit Backed(sys::Kernel* kernel) noexcept : ring(kernel, queues, features) {}
        Queues queues;
        Features features;
        Ring ring;
    };

    static const FrontCalls calls;
    static Polled& of(Front& front) noexcept { return static_cast<Polled&>(front); }

    int may_enter() noexcept;
    bool find_room(abi::Word op_fd) noexcept;
    std::uint32_t room() noexcept;
    void record_pending() noexcept;
    void record_open(Record& record, abi::SqeWords& words) noexcept;
    void record_cancel(std::uint32_t itself, abi::SqeWords& words) noexcept;
    const abi::SqeWords* take_back(const Token* only) noexcept;
    int poll() noexcept;
    int wait_for_more() noexcept;
    int wait_until(std::uint64_t wanted, const std::chrono::nanoseconds* timeout) noexcept;
    int park(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept;
    bool may_change(std::uint32_t table_index) noexcept;
    int set_file(std::uint32_t table_index, int fd) noexcept;

    int submit_and_reap() noexcept;
    int wait(std::uint32_t wanted, const std::chrono::nanoseconds* left) noexcept;
    void reap() noexcept;
    [[nodiscard]] Token name_of(std::uint32_t number) const noexcept {
        return Token{records_[number].generation} << 32 | number;
    }
    [[nodiscard]] std::uint32_t number_of(const Completion& done, bool polled) const noexcept;
    void reap_polled() noexcept;
    void reap_companion() noexcept;
    void send_again() noexcept;
    static void refuse(Slot& slot, abi::Op op) noexcept {
        (operation(op).kind == OpKind::read ? slot.refuses_read : slot.refuses_write) = true;
    }
    void deliver(std::uint32_t number, std::int32_t res, std::uint32_t flags) noexcept;
    void retire(std::uint32_t number) noexcept;
    std::int32_t put_into_slot(std::uint32_t table_index, int fd) noexcept;
    void add_counters(Counters& from) noexcept;
    [[nodiscard]] bool is_polled(abi::Word op_fd) const noexcept;
    // I2: as many records as either CQ, and the front's, has entries; one is free while fewer are
    // in flight.
    [[nodiscard]] bool is_full() const noexcept {
        return in_flight() + queues_.cq.taken() >= total_;
    }
    [[nodiscard]] Slot* slot_at(std::uint32_t table_index) const noexcept;

    // What the pointers below lead to, sized for as many operations as may be in flight together.
    // Here, so that it goes after the rings.
    Mapping arrays_;
    Backed companion_;
    Backed polled_;
    std::uint32_t total_ = 0;
    Record* records_ = nullptr;
    std::uint32_t* free_ = nullptr;  // records that no operation has, a stack
    std::uint32_t free_count_ = 0;
    // Records that the companion is still to be given, first come first.
    std::uint32_t* refused_ = nullptr;
    std::uint32_t refused_count_ = 0;
    Slot* slots_ = nullptr;
    // The front's CQ: what the kernel is to a ring's.
    Completion* completions_ = nullptr;
    std::uint32_t head_ = 0;
    std::uint32_t tail_ = 0;
    Pending pending_ = Pending::none;
    std::uint32_t pending_number_ = 0;  // the record that its operation gets
    std::uint32_t drains_ = 0;          // in flight, and so:
    std::uint32_t opens_ = 0;           // into slots
    Readiness readiness_;
};

// --- Making it -----------------------------------------------------------------------------------

Result<void> Polled::set_up(const IoOptions& options) {
    if (auto made = companion_.ring.set_up(options, Ring::Role::alone, nullptr); !made) return made;
    const std::uint32_t total = companion_.features.cq_entries;
    if (total > total_max)
        return Error(EINVAL, "Io::create: completion_entries comes to " + text(total),
                     "with polling it must be at most " + text(total_max) +
                         ", and so entries at most half of that if it is 0");
    IoOptions for_polled = options;
    for_polled.entries = total;
    for_polled.completion_entries = total;
    if (auto made = polled_.ring.set_up(for_polled, Ring::Role::polled, &companion_.ring); !made)
        return made;

    const std::size_t sizes[] = {total * sizeof(Completion), total * sizeof(Record),
                                 total * sizeof(std::uint32_t), total * sizeof(std::uint32_t),
                                 options.file_slots * sizeof(Slot)};
    std::size_t bytes = 0;
    for (const std::size_t size : sizes) bytes += aligned(size);
    bytes = (bytes + page_bytes - 1) / page_bytes * page_bytes;
    const long at =
        sys::mmap(sys::host, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::is_error(at))
        return explain_mapping(
            static_cast<int>(-at),
            "Io::create: mapping " + text(bytes) + " bytes for what is in flight in two rings");
    arrays_ = Mapping(sys::host, at, bytes);
    if (const int status = sys::madvise(arrays_.get(), bytes, MADV_DONTFORK); status < 0)
        return explain_advising(-status, "Io::create: madvise(MADV_DONTFORK)");

    std::byte* next = arrays_.get();
    const auto take = [&next](std::size_t size) {
        std::byte* const here = next;
        next += aligned(size);
        return here;
    };
    total_ = total;
    completions_ = reinterpret_cast<Completion*>(take(sizes[0]));
    records_ = reinterpret_cast<Record*>(take(sizes[1]));
    free_ = reinterpret_cast<std::uint32_t*>(take(sizes[2]));
    refused_ = reinterpret_cast<std::uint32_t*>(take(sizes[3]));
    slots_ = reinterpret_cast<Slot*>(take(sizes[4]));
    // Record 0 on top, so that a young ring is used from its start.
    for (std::uint32_t i = 0; i < total; ++i) free_[i] = total - 1 - i;
    free_count_ = total;

    queues_.cq = CompletionQueue({&head_, &tail_, completions_, total});
    memory_ = companion_.ring.memory();
    sqes_ = &companion_.queues.sq.at(0);
    paths_ = companion_.ring.paths();
    features_ = companion_.features;
    features_.polled_setup_flags = polled_.features.setup_flags;
    features_.keeps_chains = options.mode != Mode::sqpoll;
    features_.polling = (features_.polled_setup_flags & abi::setup_hybrid_iopoll) != 0
                            ? Polling::hybrid
                            : Polling::busy;
    return {};
}

// Binds both rings to this thread (I8).
int Polled::may_enter() noexcept {
    if (const int code = companion_.ring.may_enter(); code != 0) return code;
    if (const int code = polled_.ring.may_enter(); code != 0) return code;
    features_.registered_ring =
        companion_.features.registered_ring && polled_.features.registered_ring;
    return 0;
}

// --- Queueing ------------------------------------------------------------------------------------

Polled::Slot* Polled::slot_at(std::uint32_t table_index) const noexcept {
    return table_index - 1 < features_.file_slots ? &slots_[table_index - 1] : nullptr;
}

bool Polled::is_polled(abi::Word op_fd) const noexcept {
    const auto about = std::bit_cast<OpFd>(op_fd);
    if ((about.flags & abi::sqe_fixed_file) == 0) return false;
    const Slot* const slot = slot_at(about.fd);
    if (!slot || !slot->in_polled_table) return false;
    // What has an order among others is the companion's, which keeps it.
    if ((about.flags & (links | abi::sqe_io_drain)) != 0 || drains_ > 0 ||
        companion_.queues.is_chained())
        return false;
    // Whether its memory is registered is looked at when it has room: until then it is a plain read
    // or write.
    const abi::Op op = abi::op_of(op_fd);
    if (op == abi::Op::read || op == abi::Op::readv) return !slot->refuses_read;
    return (op == abi::Op::write || op == abi::Op::writev) && !slot->refuses_write;
}

bool Polled::find_room(abi::Word op_fd) noexcept {
    record_pending();
    if (is_full()) return false;
    const bool drains = (std::bit_cast<OpFd>(op_fd).flags & abi::sqe_io_drain) != 0;
    // The companion knows nothing of what it is to wait for in the other ring, nor that a file
    // which it has opened for a slot is not in there yet.
    if (drains && polled_.queues.in_flight() + refused_count_ + opens_ > 0) return false;
    const bool polled = is_polled(op_fd);
    const std::span<abi::SqeWords> free =
        polled ? std::span(&polled_.queues.sq.at(free_[free_count_ - 1]), 1)
               : companion_.queues.free_sqes();
    if (free.empty()) return false;
    pending_ = polled ? Pending::in_polled : Pending::in_companion;
    pending_number_ = free_[--free_count_];
    companion_.ring.note_if_quiet();
    cursor_.point_at(free.first(1));
    return true;
}

std::uint32_t Polled::room() noexcept {
    record_pending();
    const std::uint64_t promised = in_flight() + queues_.cq.taken();
    const auto left = promised < total_ ? static_cast<std::uint32_t>(total_ - promised) : 0;
    return std::min(left, companion_.queues.room());
}

// Takes in the operation that was filled into the SQE that the cursor pointed at, if any.
void Polled::record_pending() noexcept {
    const Pending pending = std::exchange(pending_, Pending::none);
    if (pending == Pending::none) return;
    const std::uint32_t number = pending_number_;
    Queues& companion = companion_.queues;
    abi::SqeWords& words = pending == Pending::in_polled
                               ? polled_.queues.sq.at(number)
                               : companion.sq.queued(companion.counters.submitted);
    Record& record = records_[number];
    record.token = static_cast<Token>(words.user_data);
    record.role = Record::Role::ordinary;
    record.drains = record.is_cancelled = false;
    words.user_data = abi::Word{name_of(number)};
    if (pending == Pending::in_polled) {
        record.role = Record::Role::transfer;
        record.table_index = std::bit_cast<OpFd>(words.op_fd).fd;
        ++slots_[record.table_index - 1].transfers;  // is_polled() has seen to it that there is one
        std::uint64_t& submitted = polled_.queues.counters.submitted;
        polled_.ring.sq_array()[static_cast<std::uint32_t>(submitted) & (total_ - 1)] = number;
        ++submitted;
        return;
    }
    record.drains = (abi::flags_of(words.op_fd) & abi::sqe_io_drain) != 0;
    if (record.drains) ++drains_;
    const abi::Op op = abi::op_of(words.op_fd);
    if (op == abi::Op::openat || op == abi::Op::openat2) record_open(record, words);
    if (op == abi::Op::async_cancel) record_cancel(number, words);
    ++companion.counters.submitted;
}

// The kernel would open it into the companion's table alone: open a descriptor, for both.
void Polled::record_open(Record& record, abi::SqeWords& words) noexcept {
    const auto sqe = std::bit_cast<abi::Sqe>(words);
    if (!slot_at(sqe.file_index - 1)) return;
    // What is linked to it would begin before it is in its slot: that is refused.
    const std::uint16_t buf_index = (sqe.flags & links) != 0 ? 1 : sqe.buf_index;
    record.role = Record::Role::open_slot;
    ++opens_;
    record.table_index = sqe.file_index - 1;
    if (abi::op_of(words.op_fd) == abi::Op::openat2)
        reinterpret_cast<abi::OpenHow*>(sqe.off)->flags |= O_CLOEXEC;
    else
        words.len_flags = abi::word(sqe.len, sqe.op_flags | O_CLOEXEC);
    words.buffer = abi::buffer_word(buf_index, 0);
}

// What the kernel knows by another name is cancelled by that. What the polled ring has cannot be,
// but need not be sent again when it is refused.
void Polled::record_cancel(std::uint32_t itself, abi::SqeWords& words) noexcept {
    const auto sqe = std::bit_cast<abi::Sqe>(words);
    const bool by_token = sqe.op_flags == 0;
    const bool of_all = (sqe.op_flags & abi::async_cancel_any) != 0;
    const bool of_a_slot = !by_token && (sqe.flags & abi::sqe_fixed_file) != 0;
    constexpr Token nothing = UINT64_MAX;
    Token name = nothing;
    Record* in_polled = nullptr;
    for (std::uint32_t number = 0; number < total_; ++number) {
        Record& record = records_[number];
        const bool is_transfer = record.role == Record::Role::transfer;
        // One that was refused may not be sent yet.
        const bool is_refused = record.role == Record::Role::refused;
        if (record.role == Record::Role::none || number == itself) continue;
        if (!by_token) {
            const bool is_meant =
                of_all || (of_a_slot && record.table_index == abi::fd_of(words.op_fd));
            if (is_meant && (is_transfer || is_refused)) record.is_cancelled = true;
        } else if (record.token == sqe.addr && is_transfer) {
            in_polled = &record;
        } else if (record.token == sqe.addr && name == nothing) {
            name = name_of(number);
            record.is_cancelled = is_refused;
        }
    }
    if (!by_token) return;
    if (name == nothing && in_polled) in_polled->is_cancelled = true;
    words.addr = abi::Word{name};
}

const abi::SqeWords* Polled::take_back(const Token* only) noexcept {
    record_pending();
    const auto is_wanted = [this, only](std::uint32_t number) {
        return !only || (number < total_ && records_[number].token == *only);
    };
    const auto last = static_cast<std::uint32_t>(polled_.queues.counters.submitted - 1);
    const std::uint32_t last_polled = polled_.ring.sq_array()[last & (total_ - 1)];
    std::uint32_t number = 0;
    abi::SqeWords* sqe = nullptr;
    if (is_wanted(static_cast<std::uint32_t>(companion_.queues.last_token())))
        sqe = companion_.queues.take_back(companion_.ring.has_poller());
    if (sqe) {
        number = static_cast<std::uint32_t>(sqe->user_data);
    } else if (is_wanted(last_polled) && polled_.queues.take_back(polled_.ring.has_poller())) {
        number = last_polled;
        sqe = &polled_.queues.sq.at(number);
    } else if (refused_count_ > 0 && is_wanted(refused_[refused_count_ - 1])) {
        number = refused_[--refused_count_];
        sqe = &polled_.queues.sq.at(number);
    } else {
        return nullptr;
    }
    const Record& record = records_[number];
    if (record.role == Record::Role::transfer || record.role == Record::Role::refused)
        --slots_[record.table_index - 1].transfers;
    // It will cancel nothing. (Another that is in flight then finds what is sent again as it can.)
    if (abi::op_of(sqe->op_fd) == abi::Op::async_cancel)
        for (std::uint32_t i = 0; i < total_; ++i) records_[i].is_cancelled = false;
    sqe->user_data = abi::Word{record.token};
    --counters().submitted;
    retire(number);
    return sqe;
}

// --- Completing ----------------------------------------------------------------------------------

void Polled::add_counters(Counters& from) noexcept {
    Counters& to = counters();
    to.enters += std::exchange(from.enters, 0);
    to.retries += std::exchange(from.retries, 0);
    to.overflow_flushes += std::exchange(from.overflow_flushes, 0);
    to.sqpoll_wakeups += std::exchange(from.sqpoll_wakeups, 0);
}

void Polled::deliver(std::uint32_t number, std::int32_t res, std::uint32_t flags) noexcept {
    const std::uint32_t tail = tail_;  // only we store it
    completions_[tail & (total_ - 1)] = {records_[number].token, res, flags};
    tail_ = tail + 1;  // the front's CQ is read by this thread alone
    retire(number);
}

void Polled::retire(std::uint32_t number) noexcept {
    Record& record = records_[number];
    if (record.drains) --drains_;
    if (record.role == Record::Role::open_slot) --opens_;
    record.role = Record::Role::none;
    ++record.generation;
    free_[free_count_++] = number;
}

// Which record a completion is about: an index for which only the kernel vouches.
std::uint32_t Polled::number_of(const Completion& done, bool polled) const noexcept {
    const auto number = static_cast<std::uint32_t>(done.token);
    const Record::Role role = number < total_ && name_of(number) == done.token
                                  ? records_[number].role
                                  : Record::Role::none;
    SQUALL_ASSERT(role != Record::Role::none && (role == Record::Role::transfer) == polled,
                  "the kernel completed operation %llu, which is not in flight in the %s ring",
                  static_cast<unsigned long long>(done.token), polled ? "polled" : "other");
    return number;
}

void Polled::reap() noexcept {
    reap_polled();
    if (refused_count_ > 0) [[unlikely]]
        send_again();
    reap_companion();
    add_counters(polled_.queues.counters);
    add_counters(companion_.queues.counters);
}

void Polled::reap_polled() noexcept {
    polled_.queues.reap([this](const Completion& done) {
        const std::uint32_t number = number_of(done, true);
        Record& record = records_[number];
        Slot& slot = slots_[record.table_index - 1];
        // The kernel's word for a file, or a direction, that cannot be polled: nothing was
        // transferred.
        if (done.res == -EOPNOTSUPP) [[unlikely]] {
            const auto sqe = std::bit_cast<abi::Sqe>(polled_.queues.sq.at(number));
            // Of one with RWF flags it may be those that are refused: the next one will tell.
            if (sqe.op_flags == 0) refuse(slot, abi::Op{sqe.opcode});
            if (record.is_cancelled) {
                --slot.transfers;
                deliver(number, -ECANCELED, 0);
                return;
            }
            record.role = Record::Role::refused;
            refused_[refused_count_++] = number;
            return;
        }
        --slot.transfers;
        ++counters().polled;
        deliver(number, done.res, done.flags);
    });
}

// Gives the companion what the polled ring refused; what it has no room for yet waits for the next
// time.
void Polled::send_again() noexcept {
    std::uint32_t sent = 0;
    for (; sent < refused_count_; ++sent) {
        companion_.ring.note_if_quiet();
        const std::span<abi::SqeWords> free = companion_.queues.free_sqes();
        // Not into the middle of a chain.
        if (free.empty() || companion_.queues.is_chained()) break;
        if (records_[refused_[sent]].is_cancelled) {
            --slots_[records_[refused_[sent]].table_index - 1].transfers;
            deliver(refused_[sent], -ECANCELED, 0);
            continue;
        }
        free.front() = polled_.queues.sq.at(refused_[sent]);
        ++companion_.queues.counters.submitted;
        ++counters().poll_refused;
    }
    refused_count_ -= sent;
    std::memmove(refused_, refused_ + sent, refused_count_ * sizeof(*refused_));
}

void Polled::reap_companion() noexcept {
    companion_.queues.reap([this](const Completion& done) {
        const std::uint32_t number = number_of(done, false);
        const Record& record = records_[number];
        std::int32_t res = done.res;
        if (record.role == Record::Role::refused) {
            Slot& slot = slots_[record.table_index - 1];
            --slot.transfers;
            // So it was not its RWF flags that the polled ring refused.
            if (res >= 0) refuse(slot, abi::op_of(polled_.queues.sq.at(number).op_fd));
        }
        if (record.role == Record::Role::open_slot && res >= 0)
            res = put_into_slot(record.table_index, res);
        deliver(number, res, done.flags);
    });
}

// Submits what both rings were given, and takes in what has completed. 0 or an errno; of two, the
// one that does not pass.
int Polled::submit_and_reap() noexcept {
    // The polled ring first: what was queued before the close of its slot is to be submitted before
    // it.
    int code = polled_.queues.in_flight() > 0
                   ? polled_.ring.enter_once(Ring::Offer::everything, 0, nullptr)
                   : 0;
    if (companion_.queues.want_kernel()) {
        const int second = companion_.ring.enter_once(Ring::Offer::everything, 0, nullptr);
        if (second != 0 && is_passing(code)) code = second;
    }
    companion_.ring.run_task_work_left();
    reap();
    // What was just sent again may as well be submitted now.
    if (code == 0 && companion_.queues.want_kernel()) {
        code = companion_.ring.enter_once(Ring::Offer::everything, 0, nullptr);
        reap();
    }
    return code;
}

int Polled::poll() noexcept {
    record_pending();
    if (in_flight() == 0) return 0;
    if (const int code = may_enter(); code != 0) return code;
    const int code = submit_and_reap();
    return is_passing(code) ? 0 : code;
}

int Polled::park(std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept {
    if (timeout && timeout->count() <= 0) return poll();
    record_pending();
    queues_.cq.must_not_be_taken();
    if (in_flight() == 0) {
        if (companion_.ring.is_on_another_thread()) return EEXIST;
        if (timeout && at_least > 0) sleep_out(kernel(), *timeout);
        return 0;
    }
    return wait_until(std::min<std::uint64_t>(at_least, in_flight()), timeout);
}

// What is handed out lies in the front's own CQ, so that neither ring knows of it.
int Polled::wait_for_more() noexcept {
    record_pending();
    const std::uint64_t wanted = std::uint64_t{queues_.cq.ready()} + 1;
    return wanted > in_flight() ? 0 : wait_until(wanted, nullptr);
}

int Polled::wait_until(std::uint64_t wanted, const std::chrono::nanoseconds* timeout) noexcept {
    if (const int code = may_enter(); code != 0) return code;
    const auto started = timeout ? sys::now(kernel()) : std::chrono::nanoseconds(0);
    auto left = timeout ? *timeout : std::chrono::nanoseconds(0);
    for (;;) {
        // Where the polled ring alone has anything to do, one enter submits and waits.
        const bool at_once = !timeout && !polled_.ring.has_poller() && queues_.cq.ready() == 0 &&
                             companion_.queues.in_flight() == 0;
        int code = at_once ? wait(static_cast<std::uint32_t>(wanted), nullptr) : submit_and_reap();
        if (at_once) reap();
        if (!is_passing(code)) return code;
        const std::uint32_t ready = queues_.cq.ready();
        if (ready >= wanted) return 0;
        // The kernel took nothing, and has nothing whose end would free memory for more.
        if (classify(code) == Answer::out_of_memory &&
            polled_.queues.in_kernel() + companion_.queues.in_kernel() == 0)
            return code;
        if (timeout) {
            left = *timeout - (sys::now(kernel()) - started);
            if (left.count() <= 0) return 0;
        }
        if (at_once) continue;
        code = wait(static_cast<std::uint32_t>(wanted) - ready, timeout ? &left : nullptr);
        if (!is_passing(code)) return code;
    }
}

// Blocks in the kernel where it can wait for what may come next. Where both rings have something in
// flight, the polled one is looked at again and again instead: looking is what polling is.
int Polled::wait(std::uint32_t wanted, const std::chrono::nanoseconds* left) noexcept {
    const auto enter = [wanted](Backed& backed, const std::chrono::nanoseconds* time) {
        const abi::Timespec ts = time ? to_timespec(*time) : abi::Timespec{};
        const auto count =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, backed.queues.in_flight()));
        return backed.ring.enter_once(Ring::Offer::everything, count, time ? &ts : nullptr);
    };
    // For as long as a polled transfer can wait to be found, or to be sent again.
    constexpr std::chrono::nanoseconds a_glance{50'000};
    const std::chrono::nanoseconds* const glance = left ? &std::min(*left, a_glance) : &a_glance;
    if (polled_.queues.in_flight() == 0)
        return enter(companion_, refused_count_ > 0 ? glance : left);
    if (polled_.ring.has_poller()) {
        if (companion_.queues.in_flight() == 0) return enter(polled_, left);
        // Its thread does the looking: sleep on the other.
        return enter(companion_, glance);
    }
    // A polled ring knows no timeout.
    return companion_.queues.in_flight() == 0 && !left ? enter(polled_, nullptr) : 0;
}

// --- File slots ----------------------------------------------------------------------------------

// Not while a polled transfer on it may have to be sent again.
bool Polled::may_change(std::uint32_t table_index) noexcept {
    record_pending();
    Slot* const known = slot_at(table_index);
    if (!known) return true;  // the kernel refuses it
    if (known->transfers > 0) return false;
    // What has no room is not taken, and changes nothing: find_room() says so.
    if (is_full() || companion_.queues.free_sqes().empty()) return true;
    // The companion's own table is the operation's concern.
    if (known->in_polled_table) (void)polled_.ring.update_file(table_index, -1);
    *known = {};
    return true;
}

int Polled::set_file(std::uint32_t table_index, int fd) noexcept {
    record_pending();
    Slot& known = slots_[table_index - 1];
    if (known.transfers > 0) return FrontCalls::slot_is_busy;
    known = {};
    const int status = companion_.ring.update_file(table_index, fd);
    const int polled = polled_.ring.update_file(table_index, status < 0 ? -1 : fd);
    known.in_polled_table = fd >= 0 && status >= 0 && polled >= 0;
    return std::min(status, 0);
}

// The end of an open into a slot: 0 or -errno. The tables hold the file, and the descriptor goes;
// -EBUSY: the slot was filled by set_file() meanwhile, and is in use.
std::int32_t Polled::put_into_slot(std::uint32_t table_index, int fd) noexcept {
    const int status = set_file(table_index, fd);
    sys::close(kernel(), fd);
    return status == FrontCalls::slot_is_busy ? -EBUSY : status;
}

constexpr FrontCalls Polled::calls = {
    .queues_tell = false,
    .find_room = [](Front& front, abi::Word op_fd) noexcept { return of(front).find_room(op_fd); },
    .room = [](Front& front) noexcept { return of(front).room(); },
    .is_chained =
        [](const Front& front) noexcept {
            return static_cast<const Polled&>(front).companion_.queues.is_chained();
        },
    .poll = [](Front& front) noexcept { return of(front).poll(); },
    .park =
        [](Front& front, std::size_t at_least, const std::chrono::nanoseconds* timeout) noexcept {
            return of(front).park(at_least, timeout);
        },
    .wait_for_more = [](Front& front) noexcept { return of(front).wait_for_more(); },
    .take_back = [](Front& front, const Token* only) noexcept { return of(front).take_back(only); },
    .may_change =
        [](Front& front, std::uint32_t table_index) noexcept {
            return of(front).may_change(table_index);
        },
    .set_file = [](Front& front, std::uint32_t table_index,
                   int fd) noexcept { return of(front).set_file(table_index, fd); },
    .set_part =
        [](Front& front, std::uint32_t index, void* data, std::uint64_t length) noexcept {
            Polled& self = of(front);
            const int status = self.companion_.ring.update_buffer(index, data, length);
            if (status < 0) return status;
            const int polled = self.polled_.ring.update_buffer(index, data, length);
            if (polled < 0 && data) (void)self.companion_.ring.update_buffer(index, nullptr, 0);
            return polled;
        },
    // While anything is in flight in the polled ring, somebody must look.
    .must_look =
        [](Front& front) noexcept {
            const Polled& self = of(front);
            return self.polled_.queues.in_flight() > 0 || self.refused_count_ > 0 ||
                   self.companion_.queues.want_kernel() || self.companion_.queues.cq.ready() > 0;
        },
    .destroy =
        [](Front& front) noexcept {
            of(front).polled_.ring.cancel_and_wait();
            of(front).companion_.ring.cancel_and_wait();
            of(front).~Polled();
        },
};

}  // namespace

Result<Front*> make_polled(const IoOptions& options, sys::Kernel* kernel) {
    return make_front<Polled>(options, kernel);
}

}  // namespace squall::detail
