// SPDX-License-Identifier: MIT
//
// Fuzzes Io on the real kernel: any sequence of calls with arguments that no caller should give. Nothing but the use that
// io.hpp forbids is left out (polling while completions are being read, an Io that was moved from), so that every assertion
// is a finding, and so is an operation that is lost, seen twice, or not counted.
#include <fcntl.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "input.hpp"
#include "place.hpp"
#include "squall/squall.hpp"

namespace squall::fuzz {
namespace {

using namespace std::chrono_literals;

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "broken: %s\n", what);
    std::abort();
}

Place& place() {
    static Place only;
    return only;
}
// One for all inputs: making it would take most of the time.
BufferArena& arena() {
    static BufferArena only = BufferArena::create({.count = 16, .pages = Pages::base}).value();
    return only;
}

class Session {
public:
    explicit Session(Input& input) : input_(input), io_(Io::create(options())) {
        require(io_.has_value() || io_.error().code() == ENOMEM, "a ring can be had");
        int ends[2];
        // From the one a read stays in flight, from the other it does not.
        for (const int flags : {O_CLOEXEC, O_CLOEXEC | O_NONBLOCK})
            if (::pipe2(ends, flags) == 0) fds_.insert(fds_.end(), {ends[0], ends[1]});
        for (const char* const path : {"/dev/zero", "/dev/full", "."}) fds_.push_back(::open(path, O_RDWR | O_CLOEXEC));
        fds_.push_back(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    void run() {
        for (int steps = 0; io_ && !input_.empty() && steps < 100; ++steps) {
            step();
            check();
        }
        if (!io_ || input_.flip()) return;
        for (int tries = 0; io_->in_flight() > 0 && tries < 3; ++tries) reap(io_->park(1ms));
    }

private:
    IoOptions options() {
        constexpr std::uint32_t entries[] = {1, 2, 3, 8, 64};
        constexpr Mode modes[] = {Mode::deferred, Mode::deferred, Mode::plain, Mode::sqpoll};
        constexpr Polling pollings[] = {Polling::none, Polling::none, Polling::none, Polling::busy, Polling::hybrid};
        IoOptions options{.entries = input_.one_of(entries), .mode = input_.one_of(modes)};
        if (input_.flip()) options.arena = &arena();
        if (options.arena && input_.flip()) options.arena_parts = 1 + input_.up_to(3);
        if (input_.flip()) options.file_slots = 4;
        options.polling = input_.one_of(pollings);
        options.sampling = {.every = input_.up_to(2), .histograms = &histograms_};
        return options;
    }

    // --- Hostile arguments

    int fd() {
        constexpr int never[] = {-1, AT_FDCWD, INT_MIN, INT_MAX, 1'000'000};
        if (input_.up_to(3) == 0) return input_.one_of(never);
        const std::size_t which = input_.up_to(15);
        return which < fds_.size() ? fds_[which] : place().first_fd() + static_cast<int>(which);
    }
    FileSlot slot() {
        constexpr std::uint32_t numbers[] = {0, 1, 2, 3, 4, FileSlot::count_max, UINT32_MAX};
        return FileSlot(input_.one_of(numbers));
    }
    const char* path() {
        switch (input_.up_to(5)) {
            case 0:
                return nullptr;
            case 1:
                text_.assign(4090 + input_.up_to(10), 'x');
                break;
            case 2:
                text_ = input_.flip() ? "" : ".";
                break;
            case 3:
                text_ = "none/" + input_.name();
                break;
            case 4:
                text_ = input_.name();
                break;
            default:
                text_ = std::string(1, static_cast<char>('a' + input_.up_to(3)));
        }
        return text_.c_str();
    }
    std::span<std::byte> bytes() {
        const bool in_arena = input_.flip();
        const std::span<std::byte> all = in_arena ? arena().memory() : place().memory();
        const std::uint64_t from = input_.size() % all.size();
        const std::uint64_t size = input_.size();
        if (input_.up_to(15) == 0) {  // no memory at all
            constexpr std::uint64_t nowhere[] = {0, 1, 4096, 1ULL << 47, 0xffff'8000'0000'0000, UINT64_MAX};
            return {reinterpret_cast<std::byte*>(input_.one_of(nowhere)), size};
        }
        // No sanitizer sees what the kernel writes: behind the arena may be anything.
        return {all.data() + from, in_arena ? std::min<std::uint64_t>(size, all.size() - from) : size};
    }
    OpenOptions open_options() {
        const auto bits = input_.number<std::uint16_t>();
        const auto bit = [bits](unsigned n) { return (bits >> n & 1) != 0; };
        return {.read = bit(0),
                .write = bit(1),
                .create = bit(2),
                .create_new = bit(3) && bit(8),
                .truncate = bit(4),
                .append = bit(5),
                .direct = bit(6),
                .dsync = bit(7),
                .mode = bit(9) ? input_.number<std::uint32_t>() : 0600,
                .flags = bit(10) ? input_.number<int>() : 0,
                .resolve = bit(11) ? input_.number<std::uint64_t>() : 0};
    }
    // Mostly the usual way. What is drained may hold up all behind it for as long as a pipe is silent.
    How how() {
        if (input_.up_to(2) != 0) return {};
        const auto bits = input_.number<std::uint16_t>();
        const auto bit = [bits](unsigned n) { return (bits >> n & 1) != 0; };
        const bool drain = bit(2) && bit(12);
        drained_ = drained_ || drain;
        How chosen{.link = bit(0), .hard_link = bit(1), .drain = drain, .async = bit(3)};
        if (bit(4)) chosen.priority = input_.number<std::uint16_t>();
        if (!bit(5)) return chosen;
        chosen.dsync = bit(6);
        chosen.nowait = bit(7);
        chosen.append = bit(8);
        chosen.atomic = bit(9);
        chosen.uncached = bit(10);
        chosen.unregistered = bit(11);
        return chosen;
    }
    Path place_of(const char* below) { return input_.flip() ? Path(below) : Path(fd(), below); }
    // They stay for as long as the session does.
    std::span<const struct ::iovec> pieces() {
        auto& made = pieces_.emplace_back(input_.up_to(5));
        for (struct ::iovec& piece : made) {
            const std::span<std::byte> memory = bytes();
            piece = {memory.data(), memory.size()};
        }
        return made;
    }
    std::chrono::nanoseconds time() {
        constexpr std::int64_t times[] = {0, 1, 1000, 100'000, -1, 3'600'000'000'000, INT64_MAX, INT64_MIN};
        return std::chrono::nanoseconds(input_.one_of(times));
    }

    // --- Steps

    bool queue_one() {
        Io& io = *io_;
        const Token token = ++last_token_ * 0x9e3779b97f4a7c15;
        struct ::statx& out = statx_[last_token_ % std::size(statx_)];
        bool queued = false;
        bool opens = false;
        switch (input_.up_to(25)) {
            case 0:
            case 1:
                opens = queued = io.open(place_of(path()), open_options(), token, how());
                break;
            case 2:
                queued = io.open(path(), open_options(), slot(), token, how());
                break;
            case 3:
                queued = io.read(fd(), bytes(), input_.size(), token, how());
                break;
            case 4:
                queued = io.read(slot(), bytes(), input_.size(), token, how());
                break;
            case 5:
                queued = io.write(fd(), bytes(), input_.size(), token, how());
                break;
            case 6:
                queued = io.write(slot(), bytes(), input_.size(), token, how());
                break;
            case 7:
                queued = input_.flip() ? io.fsync(fd(), token) : io.fsync(slot(), token);
                break;
            case 8:
                queued = input_.flip() ? io.fdatasync(fd(), token) : io.fdatasync(slot(), token);
                break;
            case 9:
                queued = io.statx(fd(), out, token, input_.number<unsigned>());
                break;
            case 10:
                queued = io.statx(path(), out, token, input_.number<unsigned>());
                break;
            case 11: {
                const char* const from = path();
                const std::string kept = from ? from : "";
                queued = io.rename(from ? kept.c_str() : nullptr, path(), token);
                break;
            }
            case 12:
                queued = io.unlink(path(), token);
                break;
            case 13:
                queued = close_one(token);
                break;
            case 14:
                queued = io.close(slot(), token);
                break;
            case 15:
                queued = input_.flip() ? io.readv(fd(), pieces(), input_.size(), token, how())
                                       : io.readv(slot(), pieces(), input_.size(), token, how());
                break;
            case 16:
                queued = input_.flip() ? io.writev(fd(), pieces(), input_.size(), token, how())
                                       : io.writev(slot(), pieces(), input_.size(), token, how());
                break;
            case 17:  // no more than the disk can bear
                queued = io.fallocate(fd(), input_.number<int>(), input_.size(), input_.size() % 65536, token, how());
                break;
            case 18:
                queued = input_.flip() ? io.truncate(fd(), input_.size(), token, how())
                                       : io.truncate(slot(), input_.size(), token, how());
                break;
            case 19:
                queued = input_.flip() ? io.sync_range(fd(), input_.size(), input_.size(), token)
                                       : io.advise(fd(), input_.size(), input_.size(), input_.number<int>(), token);
                break;
            case 20:
                queued = input_.flip() ? io.mkdir(place_of(path()), input_.number<std::uint32_t>(), token, how())
                                       : io.rmdir(place_of(path()), token, how());
                break;
            case 21: {
                const char* const from = path();
                const std::string kept = from ? from : "";
                const char* const other = from ? kept.c_str() : nullptr;
                const auto which = static_cast<Rename>(input_.up_to(3));
                queued = input_.flip()   ? io.link(place_of(other), place_of(path()), token, how())
                         : input_.flip() ? io.symlink(other, place_of(path()), token, how())
                         : input_.flip() ? io.link(fd(), place_of(path()), token, how())
                                         : io.rename(place_of(other), place_of(path()), which, token, how());
                break;
            }
            case 22:
                queued = input_.flip() ? io.timer(time(), token, how()) : io.deadline(time(), token, how());
                break;
            case 23:
                queued =
                    io.cancel(in_flight_.empty() || input_.flip() ? input_.number<Token>() : in_flight_.begin()->first,
                              token, how());
                break;
            case 24:
                queued = input_.flip()   ? io.cancel_all(token)
                         : input_.flip() ? io.cancel_file(fd(), token)
                                         : io.cancel_file(slot(), token);
                break;
            default:
                queued = io.nop(token, how());
        }
        std::fill(text_.begin(), text_.end(), '#');  // I6
        if (queued) in_flight_.emplace(token, opens);
        return queued;
    }
    // Only what this input opened, or what cannot be open: a ring of its own is not the caller's to close.
    bool close_one(Token token) {
        if (fds_.empty() || input_.up_to(3) == 0)
            return io_->close(-1 - static_cast<int>(input_.number<std::uint16_t>()), token);
        const std::size_t which = input_.up_to(15) % fds_.size();
        if (!io_->close(fds_[which], token)) return false;
        fds_.erase(fds_.begin() + static_cast<std::ptrdiff_t>(which));
        return true;
    }
    void reap(const Completions& done) {
        require(!done.error() || done.error().code() == EAGAIN, "the ring can be driven");
        for (const Completion& completion : done) {
            const auto found = in_flight_.find(completion.token);
            if (found == in_flight_.end()) {
                require(completion.token == next_wake_ && next_wake_ != last_wake_,
                        "a completion for every operation and wake, and one only");
                ++next_wake_;
                continue;
            }
            if (found->second && completion.res >= 0) fds_.push_back(completion.res);
            in_flight_.erase(found);
            if (!completion.ok()) require(!completion.error().message().empty(), "an error has words");
            if (may_queue_ && input_.up_to(7) == 0) (void)queue_one();
        }
    }
    void step() {
        Io& io = *io_;
        switch (input_.up_to(15)) {
            case 0:
            case 1:
            case 2:
                reap(io.poll());
                break;
            case 3:
                reap(io.park(std::chrono::microseconds(input_.up_to(200)), input_.size()));
                break;
            case 4:
                reap(io.park(input_.flip() ? std::chrono::nanoseconds(-1) : 0ns));
                break;
            case 5:
                (void)io.set_file(slot(), fd());
                break;
            case 6: {
                Io moved(std::move(io));
                io = std::move(moved);
                break;
            }
            case 7:
                side_calls();
                break;
            case 8:
                withdraw_one();
                break;
            case 9:
                one_at_a_time();
                break;
            case 10:
                wake_or_go();
                break;
            case 11:
                change_parts();
                break;
            default:
                (void)queue_one();
        }
    }
    void withdraw_one() {
        if (const auto token = io_->withdraw())
            require(in_flight_.erase(*token) == 1, "what is withdrawn was in flight");
    }
    // Wakes, many at a time now and then, or goes as a Waker.
    void wake_or_go() {
        if (!waker_) waker_ = io_->waker();
        require(static_cast<bool>(waker_), "a Waker can be had");
        const Waker copy = waker_;
        for (std::uint64_t left = input_.up_to(7) == 0 ? 600 : input_.up_to(3); left > 0; --left)
            require(copy.wake(last_wake_++), "an Io that is there can be woken");
        if (input_.up_to(3) == 0) waker_ = {};
    }
    void change_parts() {
        const std::span<std::byte> part = bytes();
        const auto changed = input_.flip() ? io_->register_part(part) : io_->unregister_part(part);
        if (!changed) require(!changed.error().message().empty(), "a refusal has words");
    }
    void one_at_a_time() {
        Io& io = *io_;
        (void)io.has_room(input_.up_to(70));
        if (input_.up_to(7) == 0) require(io.poll_fd() >= 3, "a descriptor to sleep on can be had");
        // What may be linked to, or behind, what never ends cannot be waited for.
        if (drained_ || !io.has_room(2)) return;
        if (!io.nop(++last_token_, {})) return;
        in_flight_.emplace(last_token_, false);
        may_queue_ = false;
        reap(io.poll());
        may_queue_ = true;
        const Token token = ++last_token_;
        const auto done = io.run(token, [&io](Token own) { return io.nop(own); });
        require(done ? done->token == token && done->res == 0 : done.error().code() == EBUSY, "run() does one NOP");
    }
    void side_calls() {
        const Io& io = *io_;
        switch (input_.up_to(6)) {
            case 4:
                (void)io.list_dir_types(place_of(path()));
                break;
            case 5:
                (void)io.try_lock(fd(), input_.flip() ? Lock::shared : Lock::exclusive);
                (void)io.unlock(fd());
                break;
            case 6:
                (void)io.file_system(fd());
                (void)io.set_write_life(fd(), static_cast<WriteLife>(input_.up_to(7)));
                (void)io.atomic_write_limits(fd());
                break;
            case 0:
                (void)io.list_dir(path());
                break;
            case 1:
                (void)io.block_size(fd());
                (void)io.file_size(fd());
                break;
            case 2:
                (void)direct_io_alignment(fd());
                break;
            default: {
                const Completion done{1, input_.number<std::int32_t>(), 0};
                (void)transfer_error(done, fd(), bytes(), input_.size());
            }
        }
    }
    void check() {
        const Counters& counters = io_->counters();
        require(counters.submitted == counters.completed + io_->in_flight(), "I1");
        require(io_->in_flight() == in_flight_.size(), "in_flight() is what is in flight");
        require(io_->in_flight() <= io_->features().cq_entries, "I2");
        require(counters.overflow_flushes == 0, "the CQ does not overflow");
    }

    Input& input_;
    LatencyHistograms histograms_;
    struct ::statx statx_[64];
    std::string text_;
    std::vector<int> fds_;
    std::unordered_map<Token, bool> in_flight_;  // and whether it opens a descriptor
    Token last_token_ = 0;
    static constexpr Token first_wake = Token{1} << 63;
    Token last_wake_ = first_wake;  // the next that is sent
    Token next_wake_ = first_wake;  // and that is handed out
    bool drained_ = false;          // something was queued with How::drain
    bool may_queue_ = true;         // whatever completes
    std::deque<std::vector<struct ::iovec>> pieces_;
    Result<Io> io_;
    Waker waker_;
};

}  // namespace
}  // namespace squall::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace squall::fuzz;
    (void)arena();
    Input input(data, size);
    const Place& here = place();
    Session(input).run();
    here.tidy();
    return 0;
}
