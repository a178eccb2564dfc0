// SPDX-License-Identifier: MIT
//
// The kernel's older asynchronous I/O through libaio: iocbs prepared once, one io_submit() per batch, and completions
// taken from the ring that the kernel shares with the process wherever they are there already, as fio does it
// (userspace_reap), so that io_getevents() is called only to wait.
#include <libaio.h>

#include <atomic>

#include "peer.hpp"

namespace peers {

namespace {

// What an io_context_t points to (struct aio_ring in the kernel's fs/aio.c). The kernel stores the tail, the process the
// head.
struct Ring {
    unsigned id;
    unsigned entries;
    unsigned head;
    unsigned tail;
    unsigned magic;
    unsigned compatible_features;
    unsigned incompatible_features;
    unsigned header_length;  // the events follow
};
constexpr unsigned ring_magic = 0xa10a10a1;

class Libaio {
public:
    explicit Libaio(const Bench& bench) : iocbs_(bench.cell.depth), events_(bench.cell.depth) {
        if (const int code = io_setup(static_cast<int>(bench.cell.depth), &context_); code != 0)
            give_up(std::string("io_setup: ") + std::strerror(-code), squall_bench::exit_not_here);
        ring_ = reinterpret_cast<Ring*>(context_);
        if (ring_->magic != ring_magic || ring_->incompatible_features != 0) note_ = "no reaping in user space";
        for (std::uint32_t slot = 0; slot < bench.cell.depth; ++slot) {
            const std::span<std::byte> buffer = bench.buffer(slot);
            if (bench.cell.write)
                io_prep_pwrite(&iocbs_[slot], bench.fd, buffer.data(), buffer.size(), 0);
            else
                io_prep_pread(&iocbs_[slot], bench.fd, buffer.data(), buffer.size(), 0);
        }
    }
    Libaio(const Libaio&) = delete;
    Libaio& operator=(const Libaio&) = delete;
    ~Libaio() { io_destroy(context_); }

    template <class Finished>
    void queue(std::uint32_t slot, std::uint64_t offset, const Finished&) {
        iocbs_[slot].u.c.offset = static_cast<long long>(offset);
        queued_.push_back(&iocbs_[slot]);
    }

    template <class Finished>
    void submit_and_reap(std::uint32_t at_least, const Finished& finished) {
        submit();
        std::uint32_t reaped = note_.empty() ? reap_in_user_space(finished) : 0;
        if (reaped >= at_least) return;
        ++calls_;
        const int got =
            io_getevents(context_, at_least - reaped, static_cast<long>(events_.size()), events_.data(), nullptr);
        if (got < 0 && got != -EINTR) give_up(std::string("io_getevents: ") + std::strerror(-got));
        for (int i = 0; i < got; ++i) finish(events_[static_cast<std::size_t>(i)], finished);
    }

    [[nodiscard]] std::optional<std::uint64_t> calls() const { return calls_; }
    [[nodiscard]] std::string note() const { return note_; }

private:
    void submit() {
        for (std::size_t done = 0; done < queued_.size();) {
            ++calls_;
            const int took = io_submit(context_, static_cast<long>(queued_.size() - done), queued_.data() + done);
            if (took < 0 && took != -EAGAIN && took != -EINTR)
                give_up(std::string("io_submit: ") + std::strerror(-took));
            if (took > 0) done += static_cast<std::size_t>(took);
        }
        queued_.clear();
    }

    template <class Finished>
    std::uint32_t reap_in_user_space(const Finished& finished) {
        const auto* const events = reinterpret_cast<const struct io_event*>(ring_ + 1);
        unsigned head = ring_->head;
        // Acquire pairs with the kernel's barrier before it stores the tail: the events are there.
        const unsigned tail = std::atomic_ref(ring_->tail).load(std::memory_order_acquire);
        std::uint32_t reaped = 0;
        for (; head != tail; ++reaped) {
            finish(events[head], finished);
            head = head + 1 == ring_->entries ? 0 : head + 1;
        }
        // Release: the events are read before the kernel may write over them.
        if (reaped != 0) std::atomic_ref(ring_->head).store(head, std::memory_order_release);
        return reaped;
    }

    template <class Finished>
    void finish(const struct io_event& event, const Finished& finished) {
        finished(static_cast<std::uint32_t>(event.obj - iocbs_.data()), static_cast<std::int64_t>(event.res));
    }

    io_context_t context_ = nullptr;
    Ring* ring_ = nullptr;
    std::vector<struct iocb> iocbs_;
    std::vector<struct iocb*> queued_;
    std::vector<struct io_event> events_;
    std::uint64_t calls_ = 0;
    std::string note_;
};

}  // namespace

std::vector<Peer> libaio_peers() {
    return {{"libaio", "io_submit, completions reaped in user space", true,
             [](const Bench& bench) { return std::make_unique<Queued<Libaio>>(bench); }}};
}

}  // namespace peers
