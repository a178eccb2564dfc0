// SPDX-License-Identifier: MIT
//
// liburing as those who know it drive it: a ring for one thread that runs its task work when it waits, the ring's own
// descriptor registered, one system call per batch that submits and waits, completions read in place.
#include <liburing.h>

#include "peer.hpp"

namespace peers {

namespace {

struct Way {
    bool fixed = false;  // one registered buffer of all the memory, and a registered file
    bool sqpoll = false;
    bool iopoll = false;
};

class Liburing {
public:
    Liburing(const Bench& bench, const Way& way) : bench_(bench), way_(way) {
        if (way.iopoll) needs_polling_device(bench);
        set_up();
        if (way.sqpoll || io_uring_register_ring_fd(&ring_) != 1) note_ += way.sqpoll ? "" : " no registered ring fd";
        if (!way.fixed) return;
        const std::span<std::byte> memory = bench.arena.memory();
        const struct iovec region = {memory.data(), memory.size()};
        check("io_uring_register_buffers", io_uring_register_buffers(&ring_, &region, 1));
        check("io_uring_register_files", io_uring_register_files(&ring_, &bench.fd, 1));
    }
    Liburing(const Liburing&) = delete;
    Liburing& operator=(const Liburing&) = delete;
    ~Liburing() { io_uring_queue_exit(&ring_); }

    template <class Finished>
    void queue(std::uint32_t slot, std::uint64_t offset, const Finished&) {
        struct io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
        if (!sqe) [[unlikely]]
            give_up("the ring has no room");
        const std::span<std::byte> buffer = bench_.buffer(slot);
        const auto size = static_cast<unsigned>(buffer.size());
        if (way_.fixed) {
            if (bench_.cell.write)
                io_uring_prep_write_fixed(sqe, 0, buffer.data(), size, offset, 0);
            else
                io_uring_prep_read_fixed(sqe, 0, buffer.data(), size, offset, 0);
            io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
        } else {
            if (bench_.cell.write)
                io_uring_prep_write(sqe, bench_.fd, buffer.data(), size, offset);
            else
                io_uring_prep_read(sqe, bench_.fd, buffer.data(), size, offset);
        }
        io_uring_sqe_set_data64(sqe, slot);
        ++queued_;
    }

    template <class Finished>
    void submit_and_reap(std::uint32_t at_least, const Finished& finished) {
        if (way_.sqpoll) return submit_and_look(at_least, finished);
        ++calls_;
        check_submit(at_least != 0 ? io_uring_submit_and_wait(&ring_, at_least) : io_uring_submit(&ring_));
        reap(finished);
    }

    // Without SQPOLL each of its two calls enters the kernel once; with it, only where the kernel's thread slept.
    [[nodiscard]] std::optional<std::uint64_t> calls() const {
        return way_.sqpoll ? std::nullopt : std::optional(calls_);
    }
    [[nodiscard]] std::string note() const { return note_; }

private:
    static void check(const char* what, int code) {
        if (code < 0) give_up(std::string(what) + ": " + std::strerror(-code), squall_bench::exit_not_here);
    }

    static void check_submit(int code) {
        if (code < 0 && code != -EINTR && code != -EAGAIN && code != -EBUSY) check("io_uring_submit", code);
    }

    // Once it has been told, the kernel's thread is looked at, and waited for only when it takes long.
    template <class Finished>
    void submit_and_look(std::uint32_t at_least, const Finished& finished) {
        if (std::exchange(queued_, 0) != 0) check_submit(io_uring_submit(&ring_));
        for (unsigned look = 0; look < looks_max; ++look, relax())
            if (reap(finished) || at_least == 0) return;
        check_submit(io_uring_submit_and_wait(&ring_, at_least));
        reap(finished);
    }

    template <class Finished>
    bool reap(const Finished& finished) {
        struct io_uring_cqe* cqe = nullptr;
        unsigned head = 0;
        unsigned count = 0;
        io_uring_for_each_cqe(&ring_, head, cqe) {
            finished(static_cast<std::uint32_t>(cqe->user_data), cqe->res);
            ++count;
        }
        io_uring_cq_advance(&ring_, count);
        return count != 0;
    }

    // The best that the kernel has. One that lacks a flag says EINVAL, and not which.
    void set_up() {
        unsigned flags = IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
        flags |= way_.sqpoll ? IORING_SETUP_SQPOLL : IORING_SETUP_COOP_TASKRUN;
        if (way_.iopoll) flags |= IORING_SETUP_IOPOLL;
        std::vector<unsigned> extras = {IORING_SETUP_SINGLE_ISSUER | (way_.sqpoll ? 0 : IORING_SETUP_DEFER_TASKRUN)};
#ifdef IORING_SETUP_NO_SQARRAY
        extras.insert(extras.begin(), extras.front() | IORING_SETUP_NO_SQARRAY);
#endif
        extras.push_back(0);
        // An SQPOLL thread may complete a transfer a moment before it gives the SQ slot back.
        const unsigned entries = bench_.cell.depth * (way_.sqpoll ? 2 : 1);
        int code = -EINVAL;
        for (std::size_t i = 0; i < extras.size() && code == -EINVAL; ++i) {
            struct io_uring_params params = {};
            params.flags = flags | extras[i];
            params.sq_thread_idle = 2;
            code = io_uring_queue_init_params(entries, &ring_, &params);
            if (code == 0 && extras[i] == 0) note_ = "neither SINGLE_ISSUER nor DEFER_TASKRUN";
        }
        check("io_uring_queue_init", code);
    }

    const Bench& bench_;
    Way way_;
    struct io_uring ring_ = {};
    std::uint64_t calls_ = 0;
    unsigned queued_ = 0;  // since the last submission
    std::string note_;
};

Peer peer(const char* name, const char* what, bool huge_pages, const Way& way) {
    return {name, what, huge_pages,
            [way](const Bench& bench) { return std::make_unique<Queued<Liburing>>(bench, way); }};
}

}  // namespace

std::vector<Peer> liburing_peers() {
    return {
        peer("liburing", "unregistered", false, {}),
        peer("liburing_best", "fixed buffers on huge pages, a registered file", true, {.fixed = true}),
        peer("liburing_sqpoll", "the same, and SQPOLL", true, {.fixed = true, .sqpoll = true}),
        peer("liburing_iopoll", "as best, and IOPOLL", true, {.fixed = true, .iopoll = true}),
    };
}

}  // namespace peers
