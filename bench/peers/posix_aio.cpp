// SPDX-License-Identifier: MIT
//
// POSIX AIO as glibc has it: threads of the C library that call pread(2) and pwrite(2). It runs one request at a time per
// file descriptor, so that the file is opened once per thread; a batch is handed over by one lio_listio(), which takes the
// library's lock once.
#include <aio.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "peer.hpp"

namespace peers {

namespace {

// More threads spend more time on the library's one lock, and wait for their transfers no less.
constexpr std::uint32_t threads_best = 16;

class PosixAio {
public:
    explicit PosixAio(const Bench& bench)
        : bench_(bench), threads_(bench.thread_count(threads_best)), blocks_(bench.cell.depth) {
        struct aioinit how = {};
        how.aio_threads = static_cast<int>(threads_);
        how.aio_num = static_cast<int>(bench.cell.depth);
        how.aio_idle_time = 1;
        aio_init(&how);
        const int flags = (bench.cell.write ? O_RDWR : O_RDONLY) | (bench.cell.direct ? O_DIRECT : 0) | O_CLOEXEC;
        for (std::uint32_t i = 0; i < threads_; ++i) {
            files_.push_back(::open(bench.path.c_str(), flags));
            if (files_.back() < 0) give_up("cannot open " + bench.path + ": " + std::strerror(errno));
        }
        in_flight_.reserve(bench.cell.depth);
    }
    PosixAio(const PosixAio&) = delete;
    PosixAio& operator=(const PosixAio&) = delete;
    ~PosixAio() {
        for (const int file : files_) ::close(file);
    }

    template <class Finished>
    void queue(std::uint32_t slot, std::uint64_t offset, const Finished&) {
        struct aiocb& block = blocks_[slot];
        const std::span<std::byte> buffer = bench_.buffer(slot);
        block.aio_fildes = files_[slot % threads_];
        block.aio_lio_opcode = bench_.cell.write ? LIO_WRITE : LIO_READ;
        block.aio_buf = buffer.data();
        block.aio_nbytes = buffer.size();
        block.aio_offset = static_cast<off_t>(offset);
        block.aio_sigevent.sigev_notify = SIGEV_NONE;
        queued_.push_back(&block);
    }

    template <class Finished>
    void submit_and_reap(std::uint32_t at_least, const Finished& finished) {
        if (!queued_.empty()) {
            if (::lio_listio(LIO_NOWAIT, queued_.data(), static_cast<int>(queued_.size()), nullptr) != 0)
                give_up(std::string("lio_listio: ") + std::strerror(errno));
            in_flight_.insert(in_flight_.end(), queued_.begin(), queued_.end());
            queued_.clear();
        }
        // The oldest is waited for: when it is done most of the others are, and a wake-up serves them all.
        if (reap(finished) < at_least && !in_flight_.empty() && ::aio_suspend(in_flight_.data(), 1, nullptr) != 0 &&
            errno != EINTR)
            give_up(std::string("aio_suspend: ") + std::strerror(errno));
    }

    // What the library's threads do is theirs to know.
    [[nodiscard]] static std::optional<std::uint64_t> calls() { return std::nullopt; }
    [[nodiscard]] std::string note() const { return std::to_string(threads_) + " threads"; }

private:
    template <class Finished>
    std::uint32_t reap(const Finished& finished) {
        std::uint32_t reaped = 0;
        std::size_t kept = 0;
        for (const struct aiocb* const done : in_flight_) {
            struct aiocb& block = blocks_[static_cast<std::size_t>(done - blocks_.data())];
            const int code = ::aio_error(&block);
            if (code == EINPROGRESS) {
                in_flight_[kept++] = done;
                continue;
            }
            finished(static_cast<std::uint32_t>(done - blocks_.data()), code == 0 ? ::aio_return(&block) : -code);
            ++reaped;
        }
        in_flight_.resize(kept);
        return reaped;
    }

    const Bench& bench_;
    std::uint32_t threads_;
    std::vector<int> files_;
    std::vector<struct aiocb> blocks_;
    std::vector<struct aiocb*> queued_;
    std::vector<const struct aiocb*> in_flight_;  // oldest first
};

}  // namespace

std::vector<Peer> posix_aio_peers() {
    return {{"posix_aio", "glibc's, one descriptor per thread", true,
             [](const Bench& bench) { return std::make_unique<Queued<PosixAio>>(bench); }}};
}

}  // namespace peers
