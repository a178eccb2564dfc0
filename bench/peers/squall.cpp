// SPDX-License-Identifier: MIT
//
// squall, in each way in which a program might set it up.
#include "peer.hpp"

namespace peers {

namespace {

struct Way {
    squall::Mode mode = squall::Mode::deferred;
    bool fixed = false;  // the arena is registered with the ring
    bool files = false;  // and so is the file
    squall::Polling polling = squall::Polling::none;
};

class Squall {
public:
    Squall(const Bench& bench, const Way& way) : bench_(bench), way_(way), io_(make(bench, way)) {
        if (!way.files) return;
        if (const auto set = io_.set_file(slot_, bench.fd); !set) give_up(set.error().message());
    }

    template <class Finished>
    void queue(std::uint32_t slot, std::uint64_t offset, const Finished&) {
        if (!(way_.files ? transfer(slot_, slot, offset) : transfer(bench_.fd, slot, offset))) [[unlikely]]
            give_up("the ring has no room");
    }

    template <class Finished>
    void submit_and_reap(std::uint32_t at_least, const Finished& finished) {
        if (way_.mode == squall::Mode::sqpoll)
            for (unsigned look = 0; look < looks_max; ++look, relax())
                if (hand_out(io_.poll(), finished) || at_least == 0) return;
        hand_out(io_.park(at_least), finished);
    }

    [[nodiscard]] std::optional<std::uint64_t> calls() const { return io_.counters().enters; }
    [[nodiscard]] std::string note() const {
        return way_.polling != squall::Polling::none && io_.counters().polled == 0 ? "not polled after all" : "";
    }

private:
    static squall::Io make(const Bench& bench, const Way& way) {
        if (way.polling != squall::Polling::none) needs_polling_device(bench);
        // An SQPOLL thread may complete a transfer a moment before it gives the SQ slot back.
        const std::uint32_t entries = bench.cell.depth * (way.mode == squall::Mode::sqpoll ? 2 : 1);
        auto io = squall::Io::create({.entries = entries,
                                      .mode = way.mode,
                                      .arena = way.fixed ? &bench.arena : nullptr,
                                      .file_slots = way.files ? 1U : 0U,
                                      .polling = way.polling});
        if (!io) give_up(io.error().message(), squall_bench::exit_not_here);
        return *std::move(io);
    }

    template <class Finished>
    static bool hand_out(const squall::Completions& completions, const Finished& finished) {
        for (const squall::Completion& completion : completions)
            finished(static_cast<std::uint32_t>(completion.token), completion.res);
        if (const squall::Error error = completions.error()) give_up(error.message());
        return !completions.empty();
    }

    template <class File>
    bool transfer(File file, std::uint32_t slot, std::uint64_t offset) {
        const std::span<std::byte> buffer = bench_.buffer(slot);
        return bench_.cell.write ? io_.write(file, buffer, offset, slot) : io_.read(file, buffer, offset, slot);
    }

    static constexpr squall::FileSlot slot_{0};
    const Bench& bench_;
    Way way_;
    squall::Io io_;
};

Peer peer(const char* name, const char* what, bool huge_pages, const Way& way) {
    return {name, what, huge_pages, [way](const Bench& bench) { return std::make_unique<Queued<Squall>>(bench, way); }};
}

}  // namespace

std::vector<Peer> squall_peers() {
    return {
        peer("squall", "unregistered", false, {}),
        peer("squall_fixed", "fixed buffers", false, {.fixed = true}),
        peer("squall_huge", "fixed buffers on huge pages", true, {.fixed = true}),
        peer("squall_files", "the same, and a registered file", true, {.fixed = true, .files = true}),
        peer("squall_sqpoll", "the same, and SQPOLL", true,
             {.mode = squall::Mode::sqpoll, .fixed = true, .files = true}),
        peer("squall_iopoll", "as files, and polling", true,
             {.fixed = true, .files = true, .polling = squall::Polling::busy}),
        peer("squall_hybrid", "the same, and a nap before each poll", true,
             {.fixed = true, .files = true, .polling = squall::Polling::hybrid}),
    };
}

}  // namespace peers
