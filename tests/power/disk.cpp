// SPDX-License-Identifier: MIT
//
// The disk of a guest whose power is cut, as an NBD server: it keeps every write, when it came, when it was answered, when
// the disk was flushed, and what the writer said meanwhile, in one order. From that it makes up what such a disk may hold
// after a cut at any moment: all that was flushed, and of the writes that were not, any part. So one recording gives as
// many power cuts as one likes. Which image is right is for truth.hpp to say.
//
//   power_disk SOCKET CUTS SEED KEEP NAME=IMAGE...
//
// For each NAME there are four exports. record-NAME begins as IMAGE and is recorded until its client goes, which is a
// cut; what is written to said-NAME are the writer's records. replay-NAME is what a cut leaves, and told-NAME the records
// until that cut; a verdict written there brings the next cut, of CUTS in all. KEEP is a directory for the images that
// disprove what was said. Standard output has a line for each recording when it is long enough and when it ends, for each
// verdict, and for each kind of lie that was not found out.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <utility>

#include "nbd.hpp"
#include "truth.hpp"

namespace squall::power {
namespace {

constexpr std::size_t sector_bytes = 512;
constexpr std::uint64_t records_bytes = 64U << 20;
// What the disk writes whole or not at all. (File systems count on more than a sector: btrfs on 4 KiB.)
constexpr std::size_t unit_bytes = 4096;

// What a disk holds: for each sector where its bytes are, and null for zeros.
class Content {
public:
    explicit Content(std::span<const std::byte> image) : sectors_(image.size() / sector_bytes) {
        for (std::size_t i = 0; i < sectors_.size(); ++i) sectors_[i] = image.data() + i * sector_bytes;
    }
    void put(std::uint64_t offset, std::span<const std::byte> data) {
        for (std::size_t at = 0; at < data.size(); at += sector_bytes)
            sectors_[(offset + at) / sector_bytes] = data.data() + at;
    }
    void read(std::uint64_t offset, std::span<std::byte> into) const {
        for (std::size_t at = 0; at < into.size(); at += sector_bytes)
            std::memcpy(into.data() + at, sectors_[(offset + at) / sector_bytes], sector_bytes);
    }
    [[nodiscard]] std::uint64_t bytes() const { return sectors_.size() * sector_bytes; }

private:
    std::vector<const std::byte*> sectors_;
};

struct Write {
    std::uint64_t offset;
    std::vector<std::byte> data;
    bool through;
};

struct Event {
    enum class Kind : std::uint8_t { write, written, flush, flushed, said } kind;
    std::uint32_t which;
};

// From when a guest was started to when it was ended.
struct Recording {
    std::vector<Event> events;
    std::vector<Write> writes;
    std::vector<Record> said;
    std::uint32_t flushes = 0;

    std::array<std::uint32_t, ways> lies_told{};
    bool told_ripe = false;

    [[nodiscard]] bool lies() const { return said.front().lie != 0; }
    // Has it enough of everything?
    [[nodiscard]] bool ripe() const {
        return lies() ? *std::min_element(lies_told.begin(), lies_told.end()) >= 8 : said.size() >= 400;
    }
};

// What becomes of writes that were not flushed.
enum class Rest : std::uint8_t { lost, kept, by_units, by_writes };
const char* name_of(Rest rest) {
    static constexpr const char* names[] = {"lost", "kept", "kept or lost by 4 KiB", "kept or lost by writes"};
    return names[static_cast<std::size_t>(rest)];
}

// Which of the writes that began before the event at `end` were durable then: those that were answered before a flush
// began that was answered too, or that were to be written through.
std::vector<bool> durable_writes(const Recording& recording, std::size_t end) {
    std::vector<bool> durable(recording.writes.size());
    std::vector<std::uint32_t> in_cache;  // answered, and not durable yet
    std::map<std::uint32_t, std::vector<std::uint32_t>> flushing;
    for (const Event& event : std::span(recording.events).first(end)) {
        switch (event.kind) {
            case Event::Kind::written:
                if (recording.writes[event.which].through)
                    durable[event.which] = true;
                else
                    in_cache.push_back(event.which);
                break;
            case Event::Kind::flush:
                flushing[event.which] = in_cache;
                break;
            case Event::Kind::flushed:
                for (const std::uint32_t write : flushing[event.which]) durable[write] = true;
                flushing.erase(event.which);
                std::erase_if(in_cache, [&durable](std::uint32_t write) { return durable[write]; });
                break;
            case Event::Kind::write:
            case Event::Kind::said:
                break;
        }
    }
    return durable;
}

using Random = std::mt19937_64;

Content after_cut(Content content, const Recording& recording, std::size_t end, Rest rest, Random& random) {
    const std::vector<bool> durable = durable_writes(recording, end);
    for (const Event& event : std::span(recording.events).first(end)) {
        if (event.kind != Event::Kind::write) continue;
        const Write& write = recording.writes[event.which];
        const std::span<const std::byte> data(write.data);
        const bool whole = durable[event.which] || rest == Rest::kept || (rest == Rest::by_writes && random() % 2 == 0);
        if (whole) content.put(write.offset, data);
        if (whole || rest != Rest::by_units) continue;
        for (std::size_t at = 0; at < data.size();) {
            const std::size_t piece = std::min(unit_bytes - (write.offset + at) % unit_bytes, data.size() - at);
            if (random() % 2 == 0) content.put(write.offset + at, data.subspan(at, piece));
            at += piece;
        }
    }
    return content;
}

// One power cut.
struct Cut {
    enum class Purpose : std::uint8_t { proof, lie, old } purpose;  // but for proof, something must be found
    const Recording* recording;
    std::size_t end;    // events that had happened
    std::size_t image;  // the same; fewer, to see what a disk would do that forgets what it flushed
    Rest rest;
    Way lied{};  // with Purpose::lie
};
const char* name_of(Cut::Purpose purpose) {
    static constexpr const char* names[] = {"proof", "lie", "old"};
    return names[static_cast<std::size_t>(purpose)];
}

// All that is known of a disk's recordings and cuts.
struct Bench {
    std::string name;
    std::span<const std::byte> image;
    std::size_t cuts_wanted;
    std::string keep;
    Random random;

    std::vector<std::unique_ptr<Recording>> recordings{};
    std::vector<Cut> cuts{};
    std::size_t next = 0;                   // of `cuts`
    std::set<Way> found{};                  // lies in these ways
    std::optional<Content> start{}, now{};  // of the cut that is being looked at
    std::vector<std::unique_ptr<Write>> written{};

    std::size_t any(std::size_t below) { return random() % below; }
    void choose_cuts();
    void choose_cuts(const Recording& recording, std::size_t count);
    void make_next();
    void judge(const Verdict& verdict);
    void keep_image() const;
};

// Right after an acknowledgement when something is most easily amiss, each way as often as any other; and at any moment.
void Bench::choose_cuts(const Recording& recording, std::size_t count) {
    std::map<Way, std::vector<std::size_t>> after, after_lie;
    std::size_t first = 0;
    for (std::size_t i = 0; i < recording.events.size(); ++i) {
        if (recording.events[i].kind != Event::Kind::said) continue;
        const Record& record = recording.said[recording.events[i].which];
        if (record.kind == Kind::begin) first = i + 1;
        if (record.kind == Kind::durable) (record.lie != 0 ? after_lie : after)[record.way].push_back(i + 1);
    }
    if (recording.lies()) {
        for (auto& [way, ends] : after_lie) {
            std::shuffle(ends.begin(), ends.end(), random);
            ends.resize(std::min<std::size_t>(ends.size(), 20));
            for (const std::size_t end : ends)
                cuts.push_back({Cut::Purpose::lie, &recording, end, end, Rest::lost, way});
        }
        return;
    }
    const auto end_at_random = [&] { return first + any(recording.events.size() - first + 1); };
    const auto rest_at_random = [&] {
        return std::array{Rest::lost, Rest::lost, Rest::kept, Rest::by_units, Rest::by_writes}[any(5)];
    };
    // The cut that really happened.
    const std::size_t all = recording.events.size();
    cuts.push_back({Cut::Purpose::proof, &recording, all, all, rest_at_random()});
    for (std::size_t i = 1; i < count; ++i) {
        std::size_t end = end_at_random();
        if (i % 2 == 0 && !after.empty()) {
            const auto& ends = std::next(after.begin(), static_cast<std::ptrdiff_t>(any(after.size())))->second;
            end = ends[any(ends.size())];
        }
        cuts.push_back({Cut::Purpose::proof, &recording, end, end, rest_at_random()});
    }
    for (unsigned i = 0; i < 2; ++i)
        cuts.push_back({Cut::Purpose::old, &recording, all, first + (all - first) / 2, Rest::kept});
}

// What tests the test comes first.
void Bench::choose_cuts() {
    std::erase_if(recordings, [](const auto& recording) { return recording->said.empty(); });
    const auto honest = static_cast<std::size_t>(
        std::count_if(recordings.begin(), recordings.end(), [](const auto& recording) { return !recording->lies(); }));
    for (const auto& recording : recordings)
        choose_cuts(*recording, honest == 0 ? 0 : (cuts_wanted + honest - 1) / honest);
    std::partition(cuts.begin(), cuts.end(), [](const Cut& cut) { return cut.purpose != Cut::Purpose::proof; });
    make_next();
}

void Bench::make_next() {
    if (next == cuts.size()) return;
    const Cut& cut = cuts[next];
    start = after_cut(Content(image), *cut.recording, cut.image, cut.rest, random);
    now = start;
    written.clear();
}

void Bench::judge(const Verdict& verdict) {
    if (next == cuts.size()) return;
    const Cut& cut = cuts[next];
    const auto acknowledged = std::count_if(
        cut.recording->events.begin(), cut.recording->events.begin() + static_cast<std::ptrdiff_t>(cut.end),
        [&cut](const Event& event) {
            return event.kind == Event::Kind::said && cut.recording->said[event.which].kind == Kind::durable;
        });
    const std::uint32_t of_lie = verdict.lost.at(static_cast<std::size_t>(cut.lied));
    std::printf("verdict\t%s\t%s\t%s\t%zu of %zu events\tunflushed writes %s\t%td\t%u\t%u\t%u\t%s\n", name.c_str(),
                name_of(cut.purpose), cut.purpose == Cut::Purpose::lie ? power::name_of(cut.lied) : "-", cut.end,
                cut.recording->events.size(), name_of(cut.rest), acknowledged, verdict.checked,
                cut.purpose == Cut::Purpose::lie ? of_lie : verdict.all_lost(), verdict.strange, verdict.first.data());
    if (cut.purpose == Cut::Purpose::proof && verdict.all_lost() + verdict.strange != 0) keep_image();
    if (cut.purpose == Cut::Purpose::lie && of_lie != 0) found.insert(cut.lied);
    ++next;
    // One of a kind is enough.
    while (next < cuts.size() && cuts[next].purpose == Cut::Purpose::lie && found.contains(cuts[next].lied)) ++next;
    if (next < cuts.size()) return make_next();
    for (std::size_t way = 0; way < ways; ++way)
        if (!found.contains(static_cast<Way>(way)))
            std::printf("blind\t%s\t%s\n", name.c_str(), power::name_of(static_cast<Way>(way)));
    std::printf("done\t%s\n", name.c_str());
}

void Bench::keep_image() const {
    const std::string path = keep + "/" + name + "-cut-" + std::to_string(next) + ".img";
    std::FILE* const file = std::fopen(path.c_str(), "w");
    if (!file) return;
    std::vector<std::byte> piece(1U << 20);
    const std::vector<std::byte> zeros(piece.size());
    for (std::uint64_t at = 0; at < start->bytes(); at += piece.size()) {
        start->read(at, piece);
        if (piece == zeros) continue;
        (void)std::fseek(file, static_cast<long>(at), SEEK_SET);
        (void)std::fwrite(piece.data(), 1, piece.size(), file);
    }
    (void)std::fclose(file);
    if (::truncate(path.c_str(), static_cast<off_t>(start->bytes())) == 0)
        std::printf("kept\t%s\t%s\n", name.c_str(), path.c_str());
}

// --- The four exports ------------------------------------------------------------------------------------------------

class Recorder : public Disk {
public:
    explicit Recorder(Bench& bench) : bench_(bench), content_(bench.image) {}
    [[nodiscard]] std::uint64_t bytes() const override { return content_.bytes(); }
    void connected() override {
        bench_.recordings.push_back(std::make_unique<Recording>());
        content_ = Content(bench_.image);
    }
    void disconnected() override {
        const auto through =
            std::count_if(now().writes.begin(), now().writes.end(), [](const Write& it) { return it.through; });
        std::printf("recorded\t%s\t%zu events\t%zu writes, %td of them through\t%u flushes\t%zu records\n",
                    bench_.name.c_str(), now().events.size(), now().writes.size(), through, now().flushes,
                    now().said.size());
    }
    void read(std::uint64_t offset, std::span<std::byte> into) override { content_.read(offset, into); }
    Begun write(std::uint64_t offset, std::vector<std::byte> data, bool through) override {
        now().writes.push_back({offset, std::move(data), through});
        content_.put(offset, now().writes.back().data);
        const auto which = static_cast<std::uint32_t>(now().writes.size() - 1);
        now().events.push_back({Event::Kind::write, which});
        return {takes(), std::uint64_t{which} << 1};
    }
    Begun flush() override {
        const std::uint32_t which = now().flushes++;
        now().events.push_back({Event::Kind::flush, which});
        return {takes(), std::uint64_t{which} << 1 | 1};
    }
    void finish(std::uint64_t ticket) override {
        now().events.push_back(
            {(ticket & 1) != 0 ? Event::Kind::flushed : Event::Kind::written, static_cast<std::uint32_t>(ticket >> 1)});
    }

private:
    Recording& now() { return *bench_.recordings.back(); }
    // Some requests overtake others.
    std::chrono::nanoseconds takes() {
        const std::size_t kind = bench_.any(16);
        return std::chrono::microseconds(kind == 0 ? bench_.any(3000) : kind < 8 ? bench_.any(300) : 0);
    }
    Bench& bench_;
    Content content_;
};

class Listener : public Disk {
public:
    explicit Listener(Bench& bench) : bench_(bench) {}
    [[nodiscard]] std::uint64_t bytes() const override { return records_bytes; }
    void read(std::uint64_t /*offset*/, std::span<std::byte> into) override {
        std::fill(into.begin(), into.end(), std::byte{});
    }
    Begun write(std::uint64_t /*offset*/, std::vector<std::byte> data, bool /*through*/) override {
        if (bench_.recordings.empty()) return {};
        Recording& recording = *bench_.recordings.back();
        Record record;
        std::memcpy(&record, data.data(), sizeof record);
        recording.events.push_back({Event::Kind::said, static_cast<std::uint32_t>(recording.said.size())});
        recording.said.push_back(record);
        if (record.kind == Kind::durable && record.lie != 0)
            ++recording.lies_told.at(static_cast<std::size_t>(record.way));
        if (recording.ripe() && !std::exchange(recording.told_ripe, true))
            std::printf("ripe\t%s\n", bench_.name.c_str());
        return {};
    }

private:
    Bench& bench_;
};

class Replayer : public Disk {
public:
    explicit Replayer(Bench& bench) : bench_(bench) {}
    [[nodiscard]] std::uint64_t bytes() const override { return bench_.image.size(); }
    void connected() override { bench_.choose_cuts(); }
    void read(std::uint64_t offset, std::span<std::byte> into) override {
        if (bench_.now) bench_.now->read(offset, into);
    }
    Begun write(std::uint64_t offset, std::vector<std::byte> data, bool through) override {
        bench_.written.push_back(std::make_unique<Write>(Write{offset, std::move(data), through}));
        if (bench_.now) bench_.now->put(offset, bench_.written.back()->data);
        return {};
    }

private:
    Bench& bench_;
};

class Teller : public Disk {
public:
    explicit Teller(Bench& bench) : bench_(bench) {}
    [[nodiscard]] std::uint64_t bytes() const override { return records_bytes; }
    void read(std::uint64_t offset, std::span<std::byte> into) override {
        std::vector<Record> records;
        if (bench_.next == bench_.cuts.size()) {
            records.push_back({.kind = Kind::end});
        } else {
            const Cut& cut = bench_.cuts[bench_.next];
            for (const Event& event : std::span(cut.recording->events).first(cut.end))
                if (event.kind == Event::Kind::said) records.push_back(cut.recording->said[event.which]);
        }
        const auto bytes = std::as_bytes(std::span(records));
        const std::size_t begin = std::min<std::size_t>(offset, bytes.size());
        const std::size_t count = std::min(into.size(), bytes.size() - begin);
        std::fill(into.begin(), into.end(), std::byte{});
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(begin), count, into.begin());
    }
    Begun write(std::uint64_t /*offset*/, std::vector<std::byte> data, bool /*through*/) override {
        Verdict verdict;
        std::memcpy(&verdict, data.data(), sizeof verdict);
        if (verdict.magic == Verdict::magic_of_a_verdict) bench_.judge(verdict);
        return {};
    }

private:
    Bench& bench_;
};

std::span<const std::byte> map_image(const char* path) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    struct ::stat about {};
    void* memory = MAP_FAILED;
    if (fd >= 0 && ::fstat(fd, &about) == 0)
        memory = ::mmap(nullptr, static_cast<std::size_t>(about.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (memory == MAP_FAILED) {
        std::perror(path);
        std::exit(2);
    }
    ::close(fd);
    return {static_cast<const std::byte*>(memory), static_cast<std::size_t>(about.st_size)};
}

}  // namespace
}  // namespace squall::power

int main(int count, char** arguments) {
    using namespace squall::power;
    if (count < 6) {
        std::fputs("power_disk SOCKET CUTS SEED KEEP NAME=IMAGE...\n", stderr);
        return 2;
    }
    (void)std::setvbuf(stdout, nullptr, _IOLBF, 0);
    NbdServer server(arguments[1]);
    std::vector<std::unique_ptr<Bench>> benches;
    for (const char* argument : std::span(arguments, static_cast<std::size_t>(count)).subspan(5)) {
        const std::string both(argument);
        const std::size_t equals = std::min(both.find('='), both.size() - 1);
        const std::string name = both.substr(0, equals);
        benches.push_back(std::make_unique<Bench>(
            Bench{name, map_image(both.c_str() + equals + 1), std::strtoul(arguments[2], nullptr, 10), arguments[4],
                  Random(std::strtoull(arguments[3], nullptr, 10) + benches.size())}));
        Bench& bench = *benches.back();
        server.add("record-" + name, std::make_unique<Recorder>(bench));
        server.add("said-" + name, std::make_unique<Listener>(bench));
        server.add("replay-" + name, std::make_unique<Replayer>(bench));
        server.add("told-" + name, std::make_unique<Teller>(bench));
    }
    server.run();
}
