// SPDX-License-Identifier: MIT
//
// Fuzzes what makes an Io and an arena, and what is no ring's: options of any value, paths of any bytes, results of any
// number. Each is accepted and keeps what it promises, or is refused with an errno and one line of words.
#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>

#include "input.hpp"
#include "place.hpp"
#include "seam.hpp"
#include "squall/squall.hpp"

namespace squall::fuzz {
namespace {

void require(bool holds, const char* what, const std::string& about = {}) {
    if (holds) return;
    std::fprintf(stderr, "broken: %s: %s\n", what, about.c_str());
    std::abort();
}

void check_words(const Error& error) {
    require(error.code() > 0, "an error has an errno", error.message());
    require(error.message().size() > 8, "an error has words", error.message());
}

// No input is to take a machine's memory: as if it had 16 MiB to give at a time.
std::optional<long> small_machine(test::Call& call) {
    if (call.number == SYS_mmap && call.args[1] > std::size_t{16} << 20 && static_cast<int>(call.args[4]) < 0 &&
        (call.args[3] & MAP_NORESERVE) == 0)
        return -ENOMEM;
    return std::nullopt;
}

void try_arena(Input& input) {
    const ArenaOptions options{
        .buffer_size = input.size(),
        .count = input.flip() ? input.up_to(40) : input.size(),
        .pages = static_cast<Pages>(input.flip() ? input.up_to(3) : input.number<std::uint8_t>())};
    const bool valid = options.buffer_size > 0 && options.buffer_size % 512 == 0 && options.buffer_size <= 1U << 30 &&
                       options.count > 0 && options.count < UINT32_MAX && options.pages <= Pages::base;
    auto arena = BufferArena::create(options);
    if (!arena) {
        check_words(arena.error());
        require(valid == (arena.error().code() != EINVAL), "EINVAL is for what is out of range",
                arena.error().message());
        return;
    }
    require(valid, "what is out of range is refused");
    require(arena->memory().size() >= options.buffer_size * options.count, "the arena is as large as was asked");
    std::vector<FixedBuffer> leases;
    const std::size_t wanted = input.up_to(4);
    while (leases.size() < wanted) {
        auto lease = arena->acquire();
        if (!lease) break;
        require(arena->contains(lease->bytes()) && lease->size() == options.buffer_size, "a lease lies in its arena");
        lease->data()[lease->size() - 1] = std::byte{1};
        leases.push_back(*std::move(lease));
    }
    require(leases.size() == std::min(wanted, options.count), "there are as many buffers as were asked for");
    const std::span<std::byte> all = arena->memory();
    const std::uint64_t from = input.size();
    const std::uint64_t size = input.size();
    const std::span<const std::byte> some(
        reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(all.data()) + from), size);
    require(arena->contains(some) == (from < all.size() && size <= all.size() - from), "contains() is exact");
}

void try_io(Input& input) {
    IoOptions options;
    options.entries = input.flip() ? input.up_to(70) : input.number<std::uint32_t>();
    if (input.flip()) options.completion_entries = input.flip() ? input.up_to(70) : input.number<std::uint32_t>();
    if (input.flip()) options.mode = static_cast<Mode>(input.up_to(3));
    if (input.flip()) options.polling = static_cast<Polling>(input.up_to(3));
    if (input.flip()) options.file_slots = static_cast<std::uint32_t>(input.size());
    if (input.flip()) options.sampling.every = input.number<std::uint32_t>();
    LatencyHistograms histograms;
    if (input.flip()) options.sampling.histograms = &histograms;
    if (input.flip()) options.sqpoll_idle = std::chrono::milliseconds(input.number<std::int64_t>());
    if (input.flip()) options.sqpoll_cpu = input.number<std::uint8_t>();
    auto io = Io::create(options);
    if (!io) return check_words(io.error());
    require(options.entries > 0 && options.entries <= 32768, "entries out of range are refused");
    const Features& features = io->features();
    require(features.sq_entries == std::bit_ceil(options.entries), "the SQ is as large as was asked");
    require(features.cq_entries >= features.sq_entries && features.cq_entries >= options.completion_entries &&
                std::has_single_bit(features.cq_entries),
            "the CQ is as large as was asked");
    require(features.file_slots == options.file_slots, "there are as many file slots as were asked for");
    for (Token token = 0; token < 3; ++token) (void)io->nop(token);
    std::size_t done = 0;
    const std::size_t wanted = io->in_flight();
    while (io->in_flight() > 0) done += io->park().size();
    require(done == wanted && done == std::min<std::size_t>(3, features.sq_entries), "a ring that was made works");
}

void try_words(Input& input) {
    const Completion completion{input.number<std::uint64_t>(), input.number<std::int32_t>(),
                                input.number<std::uint32_t>()};
    if (completion.ok()) {
        require(!completion.error(), "a result of 0 or more is no error");
    } else if (completion.res != std::numeric_limits<std::int32_t>::min()) {
        check_words(completion.error());
        require(completion.error().code() == -completion.res, "the errno is the result's");
    } else {
        (void)completion.error().message();
    }
    const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(input.size()), input.size());
    const Error about = transfer_error(completion, static_cast<int>(input.size()), bytes, input.size());
    const bool whole = completion.ok() && static_cast<std::size_t>(completion.res) == bytes.size();
    require(static_cast<bool>(about) != whole, "a transfer that is not whole is an error");
    (void)Completions(static_cast<int>(input.size() & INT_MAX)).error().message();
    const FileSlot slot(static_cast<std::uint32_t>(input.size()));
    require(slot.table_index() != 0, "no slot is squall's own place");

    LatencyHistogram histogram;
    for (std::uint32_t left = input.up_to(5); left > 0; --left)
        histogram.record(std::chrono::nanoseconds(static_cast<std::int64_t>(input.size())));
    const double percent = std::bit_cast<double>(input.number<std::uint64_t>());
    require(histogram.percentile(percent) <= histogram.longest(), "no percentile is longer than the longest");
    require(histogram.percentile(0) <= histogram.percentile(100), "percentiles rise");
}

void try_paths(Input& input, Io& io) {
    std::string path = input.name();
    if (input.flip()) path += "/" + input.name();
    if (path.find("..") != std::string::npos) return;  // stay here
    if (auto made = io.create_dir_all(path.c_str()); !made) check_words(made.error());
    if (auto names = io.list_dir(path.c_str()); !names) check_words(names.error());
    const OpenOptions how{.write = true, .create = input.flip(), .truncate = input.flip(), .dsync = input.flip()};
    require(io.open((path + input.name()).c_str(), how, 1), "there is room");
    const auto copy = [&io] {
        const Completions done = io.park();
        require(done.size() == 1, "one operation, one completion");
        return *done.begin();
    };
    const Completion opened = copy();
    if (!opened.ok()) return check_words(opened.error());
    if (auto size = io.block_size(opened.res); !size) check_words(size.error());
    if (auto size = io.file_size(opened.res); !size) check_words(size.error());
    if (auto alignment = direct_io_alignment(opened.res); !alignment) check_words(alignment.error());
    ::close(opened.res);
}

}  // namespace
}  // namespace squall::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace squall::fuzz;
    static squall::Io io = squall::Io::create({.entries = 4}).value();
    static const Place place;  // after the Io, whose descriptors it is not to tidy away
    static const squall::test::Intercept limit(small_machine);
    Input input(data, size);
    switch (input.up_to(3)) {
        case 0:
            try_arena(input);
            break;
        case 1:
            try_io(input);
            break;
        case 2:
            try_words(input);
            break;
        default:
            try_paths(input, io);
            place.tidy();
    }
    return 0;
}
