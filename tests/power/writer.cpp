// SPDX-License-Identifier: MIT
//
// See writer.hpp.
#include "writer.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "task.hpp"
#include "truth.hpp"

namespace squall::power {
namespace {

constexpr unsigned places = 5;      // files that are worked on at once
constexpr unsigned writes_max = 4;  // of one file in flight
constexpr std::uint32_t write_blocks_max = 128;
constexpr std::size_t buffer_bytes = write_blocks_max * block_bytes;
constexpr std::size_t pending_max = 80;  // writes that an acknowledgement may list
constexpr FileSlot directory_slot{places};

[[noreturn]] void give_up(const char* what, const char* why) {
    std::fprintf(stderr, "writer: %s: %s\n", what, why);
    std::fflush(stderr);
    std::_Exit(3);
}
void must(bool is, const char* what) {
    if (!is) give_up(what, "was refused");
}
void must_be(std::int32_t res, std::int64_t expected, const char* what) {
    if (res != expected) give_up(what, res < 0 ? std::strerror(-res) : "short, or not what was expected");
}

class Writer {
public:
    explicit Writer(const WriterOptions& options)
        : options_(options), random_(options.seed), arena_(make_arena()), io_(make_io(options, arena_)) {}

    void run();

private:
    // One of the files, and how it is open.
    struct Place {
        std::uint16_t name = 0;
        FileSlot slot{0};
        std::array<FixedBuffer, writes_max> fixed{};
        std::vector<std::byte> memory = std::vector<std::byte>(writes_max * buffer_bytes + 4096);
        std::array<std::span<std::byte>, writes_max> plain{};

        std::uint32_t file = 0;  // 0: there is none
        bool in_slot = false, direct = false, dsync = false, lie = false;
        int fd = -1;
        std::uint32_t align = 1;             // of a write, in blocks
        std::vector<std::uint32_t> pending;  // writes that are complete and were not synced
    };

    static BufferArena make_arena();
    static Io make_io(const WriterOptions& options, const BufferArena& arena);

    std::uint32_t any(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }
    bool lies() { return options_.lie == Lie::unsynced && any(2) == 0; }
    std::string path(std::uint16_t name) const { return options_.directory + "/" + name_of(name); }
    void say(const Record& record);
    void say_change(Kind kind, const Place& place, std::uint32_t number, std::uint16_t name, std::uint16_t other = 0);
    void say_durable(Way way, std::span<const std::uint32_t> numbers, bool lie);
    static Way way_of(const Place& place, Way buffered) {
        return static_cast<Way>(static_cast<unsigned>(buffered) + (place.direct ? 1U : 0U));
    }
    // Calls `queue` with the descriptor or the slot.
    template <class Queue>
    static void on(const Place& place, const char* what, Queue queue) {
        must(place.in_slot ? queue(place.slot) : queue(place.fd), what);
    }

    Task live(Place& place);
    Task make(Place& place);
    Task remove(Place& place);
    enum class Make : bool { no, yes };
    Task open(Place& place, std::uint16_t name, Make make, bool may_sync);
    Task close(Place& place);
    Task change(Place& place, std::uint32_t first_block, unsigned count);
    Task sync(Place& place, bool acknowledge);
    Task sync_directory();
    Task open_directory();

    const WriterOptions& options_;
    std::mt19937_64 random_;
    BufferArena arena_;
    std::array<Place, places> places_;  // their buffers outlive the operations in flight, which end with the Io
    Io io_;
    int directory_ = -1;
    std::uint32_t numbers_ = 0, files_ = 0, said_ = 0;
};

BufferArena Writer::make_arena() {
    auto arena = BufferArena::create({.buffer_size = buffer_bytes, .count = places * writes_max});
    if (!arena) give_up("the arena", arena.error().message().c_str());
    return std::move(arena).value();
}

Io Writer::make_io(const WriterOptions& options, const BufferArena& arena) {
    IoOptions wanted{.entries = 64, .mode = options.mode, .polling = options.polling};
    wanted.arena = const_cast<BufferArena*>(&arena);
    wanted.file_slots = places + 1;
    auto io = Io::create(wanted);
    if (!io && wanted.polling == Polling::none) {  // Linux 5.10 has no slots
        wanted.file_slots = 0;
        io = Io::create(wanted);
    }
    if (!io) give_up("the ring", io.error().message().c_str());
    return std::move(io).value();
}

// Said at once: what is queued afterwards was not submitted before, and what a completion proves is proven.
void Writer::say(const Record& record) {
    alignas(512) const Record copy = record;
    const ssize_t bytes = ::pwrite(options_.said, &copy, sizeof copy, static_cast<off_t>(said_ * sizeof copy));
    if (bytes != sizeof copy) give_up("a record", std::strerror(errno));
    ++said_;
}

void Writer::say_change(Kind kind, const Place& place, std::uint32_t number, std::uint16_t name, std::uint16_t other) {
    say({.kind = kind, .number = number, .file = place.file, .name = name, .other_name = other});
}

void Writer::say_durable(Way way, std::span<const std::uint32_t> numbers, bool lie) {
    if (numbers.empty()) return;
    Record record{.kind = Kind::durable, .way = way, .lie = lie ? 1U : 0U};
    for (const std::uint32_t number : numbers) record.add(number);
    say(record);
}

// Opens the file under `name` in one of the ways, at random.
Task Writer::open(Place& place, std::uint16_t name, Make make, bool may_sync) {
    place.in_slot = io_.features().file_slots != 0 && any(2) == 0;
    place.direct = any(2) == 0;
    const bool dsync = may_sync && any(3) == 0;
    place.lie = dsync && lies();
    place.dsync = dsync;
    const OpenOptions how{.read = true,
                          .write = true,
                          .create_new = make == Make::yes,
                          .direct = place.direct,
                          .dsync = dsync && !place.lie};
    Op op;
    // The alignment is a descriptor's to ask.
    must(io_.open(path(name).c_str(), how, op.token()), "open");
    place.fd = co_await op;
    if (place.fd < 0) give_up("open", std::strerror(-place.fd));
    place.align = 1;
    if (place.direct) {
        const auto alignment = direct_io_alignment(place.fd);
        if (!alignment) give_up("the alignment", alignment.error().message().c_str());
        place.align = std::max<std::uint32_t>(1, alignment->offset / static_cast<std::uint32_t>(block_bytes));
    }
    if (!place.in_slot) co_return;
    if (any(2) == 0) {
        if (const auto set = io_.set_file(place.slot, place.fd); !set)
            give_up("set_file", set.error().message().c_str());
    } else {
        OpenOptions again = how;
        again.create_new = false;
        must(io_.open(path(name).c_str(), again, place.slot, op.token()), "open into a slot");
        must_be(co_await op, 0, "open into a slot");
    }
    must(io_.close(place.fd, op.token()), "close");
    must_be(co_await op, 0, "close");
    place.fd = -1;
}

Task Writer::close(Place& place) {
    Op op;
    on(place, "close", [&](auto file) { return io_.close(file, op.token()); });
    must_be(co_await op, 0, "close");
}

// Syncs the file, or says so, and acknowledges what was written and complete when that began.
Task Writer::sync(Place& place, bool acknowledge) {
    const bool lie = lies();
    const bool data_only = any(2) == 0;
    const std::vector<std::uint32_t> covered = std::exchange(place.pending, {});
    if (!lie) {
        Op op;
        on(place, "fsync",
           [&](auto file) { return data_only ? io_.fdatasync(file, op.token()) : io_.fsync(file, op.token()); });
        must_be(co_await op, 0, "fsync");
    }
    if (acknowledge)
        say_durable(way_of(place, data_only ? Way::fdatasync_buffered : Way::fsync_buffered), covered, lie);
}

Task Writer::sync_directory() {
    const bool in_slot = io_.features().file_slots != 0 && any(2) == 0;
    Op op;
    must(in_slot ? io_.fsync(directory_slot, op.token()) : io_.fsync(directory_, op.token()), "fsync of the directory");
    must_be(co_await op, 0, "fsync of the directory");
}

// Makes the first file of a place, or another in place of the one that is there, and leaves it open.
Task Writer::make(Place& place) {
    const bool replace = place.file != 0 || any(2) == 0;
    const auto temporary = static_cast<std::uint16_t>(place.name + 1);
    const std::uint16_t name = replace ? temporary : place.name;
    const std::uint32_t created = ++numbers_;
    place.file = ++files_;
    place.pending.clear();
    say_change(Kind::create, place, created, name);
    // Where a file is synced that was just made, file systems make its name durable too: a lie is about both.
    bool lie = lies();
    co_await open(place, name, Make::yes, !lie);
    if (lie) say_durable(Way::create, std::array{created}, lie);
    co_await change(place, 0, 1);
    if (!lie) co_await sync(place, true);
    if (!lie && (!replace || any(2) == 0)) {
        co_await sync_directory();
        say_durable(Way::create, std::array{created}, lie);
    }
    if (!replace) co_return;

    Op op;
    const std::uint32_t renamed = ++numbers_;
    say_change(Kind::rename, place, renamed, place.name, temporary);
    must(io_.rename(path(temporary).c_str(), path(place.name).c_str(), op.token()), "rename");
    must_be(co_await op, 0, "rename");
    lie = lies();
    if (!lie) co_await sync_directory();
    say_durable(Way::rename, std::array{renamed}, lie);
}

Task Writer::remove(Place& place) {
    const std::uint32_t removed = ++numbers_;
    say_change(Kind::unlink, place, removed, place.name);
    Op op;
    must(io_.unlink(path(place.name).c_str(), op.token()), "unlink");
    must_be(co_await op, 0, "unlink");
    place.file = 0;
    const bool lie = lies();
    if (!lie) co_await sync_directory();
    say_durable(Way::unlink, std::array{removed}, lie);
}

// Writes here and there in the file, several writes at once that do not overlap, syncs while some are in flight still, and
// waits for the rest. The first of them begins at `first_block` if that is a block.
Task Writer::change(Place& place, std::uint32_t first_block, unsigned count) {
    struct Range {
        std::uint32_t number, first, count;
    };
    std::vector<Range> ranges;
    Record record{.kind = Kind::write, .file = place.file};
    for (unsigned tries = 0; ranges.size() < count && tries < 16; ++tries) {
        const std::uint32_t longest = any(8) == 0 ? write_blocks_max : any(2) == 0 ? 32 : 8;
        Range range{0, first_block, (1 + any(longest) + place.align - 1) / place.align * place.align};
        if (first_block == UINT32_MAX) range.first = any((blocks_max - range.count) / place.align + 1) * place.align;
        if (std::any_of(ranges.begin(), ranges.end(), [&range](const Range& other) {
                return range.first < other.first + other.count && other.first < range.first + range.count;
            }))
            continue;
        range.number = ++numbers_;
        for (const std::uint32_t word : {range.number, range.first, range.count}) record.add(word);
        ranges.push_back(range);
    }
    say(record);
    if (options_.lie == Lie::early)
        for (const Range& range : ranges)
            say_durable(way_of(place, Way::fsync_buffered), std::array{range.number}, true);

    std::array<Op, writes_max> ops;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        const Range& range = ranges[i];
        const std::span<std::byte> whole = any(2) == 0 ? place.plain[i] : place.fixed[i].bytes();
        const std::span<std::byte> bytes = whole.first(range.count * block_bytes);
        for (std::uint32_t at = 0; at < range.count; ++at)
            fill_block(bytes.subspan(at * block_bytes, block_bytes), place.file, range.first + at, range.number);
        on(place, "write",
           [&](auto file) { return io_.write(file, bytes, std::uint64_t{range.first} * block_bytes, ops[i].token()); });
    }
    const std::size_t sync_after = 1 + any(static_cast<std::uint32_t>(ranges.size()));
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        Op& op = ops[i];
        must_be(co_await op, static_cast<std::int64_t>(ranges[i].count * block_bytes), "write");
        if (place.dsync && options_.lie != Lie::early)
            say_durable(way_of(place, Way::dsync_buffered), std::array{ranges[i].number}, place.lie);
        else
            place.pending.push_back(ranges[i].number);
        if (i + 1 == sync_after && (any(4) != 0 || place.pending.size() > pending_max)) co_await sync(place, true);
    }
}

Task Writer::open_directory() {
    Op op;
    must(io_.open(options_.directory.c_str(), {.read = true}, op.token()), "open");
    directory_ = co_await op;
    if (directory_ < 0) give_up("the directory", std::strerror(-directory_));
    if (io_.features().file_slots == 0) co_return;
    if (const auto set = io_.set_file(directory_slot, directory_); !set)
        give_up("set_file", set.error().message().c_str());
}

Task Writer::live(Place& place) {
    for (;;) {
        co_await make(place);
        for (;;) {
            for (std::uint32_t rounds = 1 + any(5); rounds > 0; --rounds)
                co_await change(place, UINT32_MAX, 1 + any(writes_max));
            co_await close(place);
            if (any(3) == 0) break;
            co_await open(place, place.name, Make::no, true);
        }
        if (any(3) == 0) co_await remove(place);
    }
}

void Writer::run() {
    say({.kind = Kind::begin,
         .number = static_cast<std::uint32_t>(options_.seed),
         .lie = static_cast<std::uint32_t>(options_.lie)});
    std::vector<Task> tasks;
    tasks.push_back(open_directory());
    tasks.back().start();
    std::vector<std::coroutine_handle<>> ready;
    const auto turn = [&] {
        {
            const Completions done = io_.park();
            if (done.error()) give_up("the ring", done.error().message().c_str());
            for (const Completion& completion : done)
                if (const auto waiter = Op::of(completion.token).complete(completion.res)) ready.push_back(waiter);
        }
        for (const std::coroutine_handle<> waiter : std::exchange(ready, {})) waiter.resume();
        if (options_.each_turn) options_.each_turn();
    };
    while (io_.in_flight() != 0) turn();

    for (unsigned i = 0; i < places; ++i) {
        Place& place = places_[i];
        place.name = static_cast<std::uint16_t>(2 * i);
        place.slot = FileSlot(i);
        for (FixedBuffer& buffer : place.fixed) buffer = std::move(*arena_.acquire());
        const std::size_t aside = (4096 - reinterpret_cast<std::uintptr_t>(place.memory.data()) % 4096) % 4096;
        const std::span<std::byte> memory = std::span(place.memory).subspan(aside);
        for (std::size_t at = 0; at < writes_max; ++at)
            place.plain[at] = memory.subspan(at * buffer_bytes, buffer_bytes);
        tasks.push_back(live(place));
        tasks.back().start();
    }
    while (said_ < options_.records_max) turn();
}

}  // namespace

void write_verifiably(const WriterOptions& options) { Writer(options).run(); }

}  // namespace squall::power
