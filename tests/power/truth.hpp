// SPDX-License-Identifier: MIT
//
// What a writer has said that it does and that it has made durable, and whether what is found in its directory after a
// power cut or a kill agrees with that. The writer says it record by record through a descriptor that outlives it. What
// it writes, and how, is writer.hpp's business; when the power goes is that of whoever ends it.
//
// A file is a row of blocks of 512 bytes, each of which says which file, which place in it and which write it comes from.
// Writes, and changes of names, are numbered in the order in which they were begun. What is allowed to be found:
//   A block     as the last write that was acknowledged as durable left it (zeros, or nothing, if there was none), as a
//               later write that was begun leaves it, or as a mixture of those, word by word: a block that is being written
//               over may be torn. Nothing else, so that no write but those that were begun later can cost what is durable.
//   A name      what it was when that was acknowledged as durable, or what a later change that was begun makes of it.
//   A file      that had a name durably has one, unless its removal or its replacement was begun.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace squall::power {

inline constexpr std::size_t block_bytes = 512;
inline constexpr std::uint32_t blocks_max = 768;  // in a file

// Fills a block with what write number `seq` leaves at place `index` of `file`.
void fill_block(std::span<std::byte> block, std::uint32_t file, std::uint32_t index, std::uint32_t seq);

enum class Kind : std::uint16_t {
    begin,    // number: the seed
    write,    // file; words: number, first block and count of each write
    create,   // number, file, name
    rename,   // number, file, from `other_name` to `name`
    unlink,   // number, file, name
    durable,  // way; words: numbers of writes or of changes of names; `lie`: it is not, and this is a test of the test
    end,      // for who checks: there is nothing to be checked any more
};

// How something was made durable.
enum class Way : std::uint16_t {
    fsync_buffered,
    fsync_direct,
    fdatasync_buffered,
    fdatasync_direct,
    dsync_buffered,
    dsync_direct,
    create,
    rename,
    unlink,
};
inline constexpr std::size_t ways = 9;
const char* name_of(Way way);

// As it goes through the descriptor, which may be a disk's: a sector.
struct Record {
    std::uint64_t magic = magic_of_a_record;
    Kind kind{};
    Way way{};
    std::uint32_t number = 0;
    std::uint32_t file = 0;
    std::uint16_t name = 0;
    std::uint16_t other_name = 0;
    std::uint32_t lie = 0;
    std::uint32_t count = 0;  // of `words`
    std::array<std::uint32_t, 120> words{};

    static constexpr std::uint64_t magic_of_a_record = 0x5355'0001'7c6c'9ad1;
    void add(std::uint32_t word) { words.at(count++) = word; }
};
static_assert(sizeof(Record) == 512);

// What a check came to, in a sector too.
struct Verdict {
    std::uint64_t magic = magic_of_a_verdict;
    std::uint32_t checked = 0;               // blocks and names that were acknowledged as durable
    std::array<std::uint32_t, ways> lost{};  // of those, by the way in which they were
    std::uint32_t strange = 0;      // blocks, names and files that were not, and are what nobody began to make them
    std::array<char, 456> first{};  // the first that was lost or strange, in words

    static constexpr std::uint64_t magic_of_a_verdict = 0x5355'0002'7c6c'9ad1;
    [[nodiscard]] std::uint32_t all_lost() const;
    void say(const char* format, ...) __attribute__((format(printf, 2, 3)));  // unless it was said already
};
static_assert(sizeof(Verdict) == 512);

// The records that can be read from `fd`, from its beginning to the first sector that is none.
std::vector<Record> hear(int fd);

// A name's number, and the name: two for each of the writer's places, the second for what is to be renamed.
std::string name_of(std::uint16_t name);

class Truth {
public:
    void learn(const Record& record);
    // What is in the directory, against all that was learnt.
    [[nodiscard]] Verdict check(const std::string& directory) const;

private:
    static constexpr std::uint32_t nothing = 0;  // no file, no write
    struct Block {
        std::uint32_t durable = nothing;  // the write
        Way way{};
        std::vector<std::uint32_t> begun;  // later writes
    };
    struct File {
        std::vector<Block> blocks;
        bool named = false;   // durably
        bool doomed = false;  // its end was begun
    };
    struct Change {
        std::uint32_t number;
        std::uint32_t file;
    };
    struct Name {
        Change durable{0, nothing};
        Way way{};
        std::vector<Change> begun;
    };
    struct Write {
        std::uint32_t file, first, count;
    };
    using Bytes = std::vector<std::byte>;
    using Found = std::map<std::uint16_t, Bytes>;

    void begin_change(std::uint16_t name, Change change);
    void make_durable(std::uint32_t number, Way way);
    [[nodiscard]] Found find(const std::string& directory, Verdict& verdict) const;
    [[nodiscard]] std::uint32_t identify(const Name& name, const Bytes& content) const;
    void check_file(std::uint32_t number, const Bytes& content, Verdict& verdict) const;

    std::map<std::uint32_t, File> files_;
    std::map<std::uint16_t, Name> names_;
    std::map<std::uint32_t, Write> writes_;                      // not known to be durable yet
    std::map<std::uint32_t, std::vector<std::uint16_t>> moves_;  // which names a change is about
};

}  // namespace squall::power
