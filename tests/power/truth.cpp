// SPDX-License-Identifier: MIT
//
// See truth.hpp.
#include "truth.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <set>

namespace squall::power {

namespace {
constexpr std::size_t words_in_block = block_bytes / 8;

struct Words {
    std::array<std::uint64_t, words_in_block> at;
};

// The first word says file and place, the second the write; the rest follow from those.
Words words_of(std::uint32_t file, std::uint32_t index, std::uint32_t seq) {
    Words words{};
    words.at[0] = std::uint64_t{file} << 32 | index;
    words.at[1] = ~std::uint64_t{seq};
    const std::uint64_t from = (words.at[0] + 1) * 0x9e3779b97f4a7c15ULL ^ (words.at[1] + 1) * 0xbf58476d1ce4e5b9ULL;
    for (std::size_t i = 2; i < words_in_block; ++i) {
        const std::uint64_t x = from + i * 0x94d049bb133111ebULL;
        words.at[i] = x ^ x >> 29;
    }
    return words;
}

Words words_at(std::span<const std::byte> content, std::size_t index) {
    Words words{};
    if (content.size() >= (index + 1) * block_bytes)
        std::memcpy(words.at.data(), content.data() + index * block_bytes, block_bytes);
    return words;
}

// What the words say that they are, if all of them agree.
struct Claim {
    bool true_one = false;
    std::uint32_t file = 0, index = 0, seq = 0;
};
Claim claim_of(const Words& words) {
    Claim claim;
    claim.file = static_cast<std::uint32_t>(words.at[0] >> 32);
    claim.index = static_cast<std::uint32_t>(words.at[0]);
    claim.seq = static_cast<std::uint32_t>(~words.at[1]);
    claim.true_one = words.at == words_of(claim.file, claim.index, claim.seq).at;
    return claim;
}

std::string in_words(const Words& words) {
    const Claim claim = claim_of(words);
    if (claim.true_one)
        return "what write " + std::to_string(claim.seq) + " put into block " + std::to_string(claim.index) +
               " of file " + std::to_string(claim.file);
    if (words.at == Words{}.at) return "zeros, or nothing";
    return "something else";
}

// Nothing where it cannot be read, for the reason in errno.
std::optional<std::vector<std::byte>> content_of(int directory, const char* name) {
    std::vector<std::byte> room((blocks_max + 1) * block_bytes);
    const int fd = ::openat(directory, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return std::nullopt;
    std::ptrdiff_t size = 0;
    ssize_t bytes = 1;
    while (bytes > 0 && size < std::ssize(room)) {
        bytes = ::pread(fd, room.data() + size, room.size() - static_cast<std::size_t>(size), size);
        size += std::max<ssize_t>(bytes, 0);
    }
    const int error = errno;
    ::close(fd);
    errno = error;
    if (bytes < 0) return std::nullopt;
    return std::vector<std::byte>(room.begin(), room.begin() + size);
}
}  // namespace

void fill_block(std::span<std::byte> block, std::uint32_t file, std::uint32_t index, std::uint32_t seq) {
    const Words words = words_of(file, index, seq);
    std::memcpy(block.data(), words.at.data(), block_bytes);
}

const char* name_of(Way way) {
    static constexpr const char* names[ways] = {"fsync, buffered",
                                                "fsync, O_DIRECT",
                                                "fdatasync, buffered",
                                                "fdatasync, O_DIRECT",
                                                "O_DSYNC, buffered",
                                                "O_DSYNC, O_DIRECT",
                                                "create",
                                                "rename",
                                                "unlink"};
    return names[static_cast<std::size_t>(way)];
}

std::string name_of(std::uint16_t name) {
    std::string text(1, 'n');
    text += std::to_string(name / 2);
    if (name % 2 != 0) text += ".new";
    return text;
}

std::uint32_t Verdict::all_lost() const { return std::accumulate(lost.begin(), lost.end(), 0U); }

void Verdict::say(const char* format, ...) {
    if (first[0] != 0) return;
    std::va_list arguments;
    va_start(arguments, format);
    (void)std::vsnprintf(first.data(), first.size(), format, arguments);
    va_end(arguments);
}

std::vector<Record> hear(int fd) {
    std::vector<Record> heard;
    constexpr std::size_t at_once = 512;
    // A disk that is read past the page cache asks for aligned memory.
    const std::unique_ptr<Record, void (*)(void*)> records(
        static_cast<Record*>(std::aligned_alloc(4096, at_once * sizeof(Record))), std::free);
    for (off_t offset = 0;;) {
        const ssize_t bytes = ::pread(fd, records.get(), at_once * sizeof(Record), offset);
        if (bytes <= 0) return heard;
        for (const Record& record : std::span(records.get(), static_cast<std::size_t>(bytes) / sizeof(Record))) {
            if (record.magic != Record::magic_of_a_record) return heard;
            heard.push_back(record);
        }
        offset += bytes;
    }
}

void Truth::begin_change(std::uint16_t name, Change change) {
    Name& changed = names_[name];
    const std::uint32_t before = changed.begun.empty() ? changed.durable.file : changed.begun.back().file;
    if (before != nothing && before != change.file) files_[before].doomed = true;
    changed.begun.push_back(change);
    moves_[change.number].push_back(name);
}

void Truth::learn(const Record& record) {
    switch (record.kind) {
        case Kind::write:
            for (std::uint32_t i = 0; i + 2 < record.count; i += 3) {
                const Write write{record.file, record.words[i + 1], record.words[i + 2]};
                writes_[record.words[i]] = write;
                auto& blocks = files_[record.file].blocks;
                blocks.resize(std::max<std::size_t>(blocks.size(), write.first + write.count));
                for (std::uint32_t at = 0; at < write.count; ++at)
                    blocks[write.first + at].begun.push_back(record.words[i]);
            }
            break;
        case Kind::create:
            begin_change(record.name, {record.number, record.file});
            break;
        case Kind::rename:
            begin_change(record.other_name, {record.number, nothing});
            files_[record.file].doomed = false;  // it only moves
            begin_change(record.name, {record.number, record.file});
            break;
        case Kind::unlink:
            begin_change(record.name, {record.number, nothing});
            break;
        case Kind::durable:
            for (std::uint32_t i = 0; i < record.count; ++i) make_durable(record.words[i], record.way);
            break;
        case Kind::begin:
        case Kind::end:
            break;
    }
}

void Truth::make_durable(std::uint32_t number, Way way) {
    if (const auto found = writes_.find(number); found != writes_.end()) {
        const Write write = found->second;
        const std::span<Block> blocks(files_[write.file].blocks);
        for (Block& block : blocks.subspan(write.first, write.count)) {
            if (block.durable > number) continue;
            block.durable = number;
            block.way = way;
            std::erase_if(block.begun, [number](std::uint32_t begun) { return begun <= number; });
        }
        writes_.erase(found);
        return;
    }
    for (const std::uint16_t changed : moves_[number]) {
        Name& name = names_[changed];
        for (const Change& change : name.begun) {
            if (change.number != number) continue;
            name.durable = change;
            name.way = way;
            if (change.file != nothing) files_[change.file].named = true;
        }
        std::erase_if(name.begun, [number](const Change& change) { return change.number <= number; });
    }
    moves_.erase(number);
}

Truth::Found Truth::find(const std::string& directory, Verdict& verdict) const {
    Found found;
    DIR* const entries = ::opendir(directory.c_str());
    if (!entries) {
        ++verdict.strange;
        verdict.say("the directory cannot be opened: %s", std::strerror(errno));
        return found;
    }
    while (const dirent* const entry = ::readdir(entries)) {
        const std::string name(entry->d_name);
        if (name == "." || name == ".." || name == "lost+found") continue;
        const auto known = std::find_if(names_.begin(), names_.end(),
                                        [&name](const auto& other) { return name_of(other.first) == name; });
        if (known == names_.end()) {
            ++verdict.strange;
            verdict.say("there is a name that nobody made: %s", name.c_str());
            continue;
        }
        std::optional<Bytes> content = content_of(::dirfd(entries), name.c_str());
        if (!content) {
            ++verdict.strange;
            verdict.say("%s cannot be read: %s", name.c_str(), std::strerror(errno));
            content.emplace();
        }
        found.emplace(known->first, *std::move(content));
    }
    ::closedir(entries);
    return found;
}

// Which file it is: the one that its first block names, else one that the name may stand for and that never had a first
// block durably, so that it may look like anything.
std::uint32_t Truth::identify(const Name& name, const Bytes& content) const {
    const Claim claim = claim_of(words_at(content, 0));
    if (claim.true_one && claim.index == 0 && files_.contains(claim.file)) return claim.file;
    const auto may_lack_it = [this](std::uint32_t number) {
        const auto file = files_.find(number);
        return number != nothing &&
               (file == files_.end() || file->second.blocks.empty() || file->second.blocks[0].durable == nothing);
    };
    for (auto change = name.begun.rbegin(); change != name.begun.rend(); ++change)
        if (may_lack_it(change->file)) return change->file;
    return name.durable.file;
}

void Truth::check_file(std::uint32_t number, const Bytes& content, Verdict& verdict) const {
    static const std::vector<Block> none;
    const auto file = files_.find(number);
    const std::vector<Block>& blocks = file == files_.end() ? none : file->second.blocks;
    // A block behind the last that anybody wrote must be zeros, which is what room that was set aside reads as.
    const std::size_t end = std::max(blocks.size(), (content.size() + block_bytes - 1) / block_bytes);
    for (std::uint32_t index = 0; index < end; ++index) {
        static const Block unwritten;
        const Block& block = index < blocks.size() ? blocks[index] : unwritten;
        if (block.durable != nothing) ++verdict.checked;
        std::vector<Words> allowed{block.durable == nothing ? Words{} : words_of(number, index, block.durable)};
        const Words words = words_at(content, index);
        if (words.at == allowed[0].at) continue;
        for (const std::uint32_t begun : block.begun) allowed.push_back(words_of(number, index, begun));
        bool all = true;
        for (std::size_t i = 0; i < words_in_block && all; ++i)
            all = std::any_of(allowed.begin(), allowed.end(),
                              [&words, i](const Words& other) { return other.at[i] == words.at[i]; });
        if (all) continue;
        if (block.durable != nothing) {
            ++verdict.lost.at(static_cast<std::size_t>(block.way));
            verdict.say("block %u of file %u holds %s: write %u was acknowledged (%s), %zu were begun later", index,
                        number, in_words(words).c_str(), block.durable, name_of(block.way), block.begun.size());
        } else {
            ++verdict.strange;
            verdict.say("block %u of file %u holds %s: no write to it was acknowledged, %zu were begun", index, number,
                        in_words(words).c_str(), block.begun.size());
        }
    }
}

Verdict Truth::check(const std::string& directory) const {
    Verdict verdict;
    const Found found = find(directory, verdict);
    std::set<std::uint32_t> seen;
    for (const auto& [number, name] : names_) {
        if (name.durable.number != 0) ++verdict.checked;
        const auto entry = found.find(number);
        const std::uint32_t file = entry == found.end() ? nothing : identify(name, entry->second);
        const bool allowed =
            (file == name.durable.file && (file != nothing) == (entry != found.end())) ||
            std::any_of(name.begun.begin(), name.begun.end(), [file](const Change& it) { return it.file == file; });
        if (!allowed && name.durable.number != 0) ++verdict.lost.at(static_cast<std::size_t>(name.way));
        if (!allowed && name.durable.number == 0) ++verdict.strange;
        if (!allowed)
            verdict.say(
                "%s is file %u: it was acknowledged as file %u (%s), 0 being none, %zu changes were begun later",
                name_of(number).c_str(), file, name.durable.file, name_of(name.way), name.begun.size());
        if (entry == found.end()) continue;
        seen.insert(file);
        if (allowed) check_file(file, entry->second, verdict);
    }
    for (const auto& [number, file] : files_) {
        if (!file.named || file.doomed || seen.contains(number)) continue;
        ++verdict.lost.at(static_cast<std::size_t>(Way::rename));
        verdict.say("file %u, which had a name durably and was not to lose it, has none", number);
    }
    return verdict;
}

}  // namespace squall::power
