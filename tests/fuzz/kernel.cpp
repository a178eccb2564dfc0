// SPDX-License-Identifier: MIT
//
// Fuzzes Io against a hostile kernel: any CQE, any head, tail and flags, any answer to io_uring_enter and
// io_uring_register, at any time. It may answer with an Error or fail an assertion that says what is wrong, and may lose
// operations, since nobody could do better; but it must stay within its memory and return. What the kernel says of the
// ring's layout (io_uring_setup) is true here. SQEs go nowhere: user_kernel.hpp does no I/O.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>

#include "asserted.hpp"
#include "input.hpp"
#include "squall/squall.hpp"
#include "user_kernel.hpp"

namespace squall::fuzz {
namespace {

using namespace std::chrono_literals;
using test::Call;
using test::Enter;
using test::Register;
using test::UserKernel;

// What the library has mapped and opened, to be given back where it could not.
class Holdings {
public:
    std::optional<long> see(Call& call) {
        const long answer = test::real(call);
        if (answer < 0 && answer >= -4095) return answer;
        switch (call.number) {
            case SYS_mmap:
                mapped_[static_cast<std::uintptr_t>(answer)] = call.args[1];
                if (const int ring = static_cast<int>(call.args[4]); ring >= 0) fds_.insert(ring);
                break;
            case SYS_munmap:
                cut(call.args[0], call.args[1]);
                break;
            case SYS_pipe2: {
                const int* const ends = reinterpret_cast<const int*>(call.args[0]);
                fds_.insert({ends[0], ends[1]});
                break;
            }
            case SYS_close:
                fds_.erase(static_cast<int>(call.args[0]));
                break;
            default:
                break;
        }
        return answer;
    }
    [[nodiscard]] bool empty() const { return mapped_.empty() && fds_.empty(); }
    void give_back() {
        for (const auto& [at, bytes] : mapped_) ::munmap(reinterpret_cast<void*>(at), bytes);
        for (const int fd : fds_) ::close(fd);
        mapped_.clear();
        fds_.clear();
    }

private:
    void cut(std::uintptr_t from, std::size_t bytes) {
        const auto found = std::prev(mapped_.upper_bound(from));
        const std::uintptr_t start = found->first;
        const std::uintptr_t end = start + found->second;
        mapped_.erase(found);
        if (from > start) mapped_[start] = from - start;
        if (end > from + bytes) mapped_[from + bytes] = end - from - bytes;
    }
    std::map<std::uintptr_t, std::size_t> mapped_;
    std::set<int> fds_;
};

class Session {
public:
    explicit Session(Input& input) : input_(input) {
        kernel_.on_enter = [this](const Enter& enter) { return answer(enter); };
        kernel_.on_register = [this](const Register& what) { return answer(what); };
        kernel_.on_other_call = [this](Call& call) { return holdings_.see(call); };
    }
    ~Session() { holdings_.give_back(); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void run() {
        auto made = Io::create(options());
        if (!made) return;
        // Not on the stack, from which an assertion jumps away: then nobody destroys it.
        Io& io = *new (place_) Io(*std::move(made));
        for (int steps = 0; !input_.empty() && steps < 200; ++steps) {
            patience_ = 20;
            step(io);
            if (io.counters().submitted != io.counters().completed + io.in_flight()) std::abort();  // I1
        }
        patience_ = 20;
        io.~Io();
        if (!holdings_.empty()) {
            std::fprintf(stderr, "broken: a ring that is gone holds memory or descriptors\n");
            std::abort();
        }
    }

private:
    IoOptions options() {
        constexpr std::uint32_t entries[] = {1, 2, 4, 8};
        constexpr Mode modes[] = {Mode::deferred, Mode::plain, Mode::sqpoll};
        constexpr Polling pollings[] = {Polling::none, Polling::none, Polling::busy};
        IoOptions options{.entries = input_.one_of(entries), .mode = input_.one_of(modes)};
        if (input_.flip()) options.completion_entries = 8;
        options.polling = input_.one_of(pollings);
        options.file_slots = input_.up_to(2);
        options.sampling = {.every = input_.up_to(2), .histograms = &histograms_};
        if (input_.up_to(7) == 0) kernel_.features &= input_.number<std::uint32_t>();
        if (input_.up_to(7) == 0) kernel_.unknown_flags = input_.number<std::uint32_t>();
        if (input_.up_to(7) == 0) kernel_.ring_index = input_.number<std::int8_t>();
        return options;
    }

    // --- The kernel's side

    std::optional<long> answer(const Enter& enter) {
        while (input_.up_to(3) == 0 && !input_.empty()) meddle();
        // A kernel that never answers would be waited for, and rightly.
        if (--patience_ < 0) return -EPERM;
        if (input_.up_to(1) == 0) return any_answer();
        UserKernel::Ring* const ring = kernel_.ring_of(enter.fd, (enter.flags & abi::enter_registered_ring) != 0);
        return ring ? ring->finish(std::min(enter.to_submit, ring->params.sq_entries)) : -EBADF;
    }
    std::optional<long> answer(const Register& what) {
        if (what.code == abi::register_sync_cancel && --patience_ < 0) return -EPERM;
        if (input_.up_to(7) != 0 || input_.empty()) return std::nullopt;
        const long given = any_answer();
        return given == -EINTR && --patience_ < 0 ? -EPERM : given;
    }
    long any_answer() {
        constexpr int usual[] = {0, 1, -EINTR, -EAGAIN, -EBUSY, -ETIME, -EEXIST, -EBADF, -EINVAL, -ENOMEM, -EPERM};
        switch (input_.up_to(3)) {
            case 0:
                return -static_cast<long>(input_.up_to(134));
            case 1:
                return input_.number<std::uint16_t>();
            default:
                return input_.one_of(usual);
        }
    }
    // Writes something into what the two sides share.
    void meddle() {
        UserKernel::Ring& ring = kernel_.ring(input_.up_to(1) % kernel_.rings());
        static constexpr std::uint32_t steps[] = {0, 1, 2, 3, 4, 8, 9, 16, UINT32_MAX, 1U << 31};
        const auto move = [this](std::uint32_t& word) {
            const std::uint32_t to =
                input_.up_to(7) == 0 ? input_.number<std::uint32_t>() : word + input_.one_of(steps);
            detail::store_release(&word, to);
        };
        switch (input_.up_to(5)) {
            case 0:
                return move(ring.sq_head());
            case 1:
                return move(ring.cq_tail());
            case 2:
                return move(ring.cq_head());
            case 3:
                return move(ring.sq_tail());
            case 4:
                return detail::store_release(&ring.sq_flags(), input_.number<std::uint8_t>());
            default:
                ring.post(
                    input_.flip() ? input_.up_to(40) : input_.number<std::uint64_t>(),
                    input_.flip() ? -static_cast<std::int32_t>(input_.up_to(134)) : input_.number<std::int32_t>());
        }
    }

    // --- The caller's side, which does nothing wrong

    bool queue_one(Io& io) {
        const Token token = input_.up_to(40);
        const FileSlot slot(input_.up_to(3));
        switch (input_.up_to(9)) {
            case 0:
                return io.open("a", {}, token);
            case 1:
                return io.open("a", {}, slot, token);
            case 2:
                return io.read(3, bytes_, 0, token);
            case 3:
            case 4:
                return io.read(slot, bytes_, 0, token);
            case 5:
                return io.write(slot, bytes_, 0, token);
            case 6:
                return io.close(slot, token);
            case 7:
                return io.rename("a", "b", token);
            case 8:
                return io.fsync(3, token);
            default:
                return io.nop(token);
        }
    }
    void reap(Io& io, const Completions& done) {
        if (done.error()) (void)done.error().message();
        for (const Completion& completion : done) {
            sum_ += completion.token + static_cast<std::uint32_t>(completion.res);
            if (input_.up_to(3) == 0) (void)queue_one(io);
            if (input_.up_to(7) == 0) meddle();
        }
    }
    void step(Io& io) {
        switch (input_.up_to(9)) {
            case 0:
            case 1:
                return reap(io, io.poll());
            case 2:
                return reap(io, io.park());
            case 3:
                return reap(io, io.park(input_.up_to(3) * 1us, input_.up_to(9)));
            case 4:
                return (void)io.set_file(FileSlot(input_.up_to(3)), input_.flip() ? 3 : -1);
            case 5:
            case 6:
                return meddle();
            default:
                (void)queue_one(io);
        }
    }

    Input& input_;
    LatencyHistograms histograms_;
    std::byte bytes_[64] = {};
    std::uint64_t sum_ = 0;
    int patience_ = 20;
    Holdings holdings_;
    UserKernel kernel_;
    alignas(Io) std::byte place_[sizeof(Io)];
};

// At the end of the run: how often an assertion was the answer, which a run without any would make doubtful.
struct Report {
    ~Report() { std::fprintf(stderr, "squall: %llu assertions\n", static_cast<unsigned long long>(assertions())); }
};

}  // namespace
}  // namespace squall::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace squall::fuzz;
    static const Report at_exit;
    Input input(data, size);
    const auto session = std::make_unique<Session>(input);
    if (setjmp(asserted) == 0) session->run();
    return 0;
}
