// SPDX-License-Identifier: MIT
//
// What runs in the guest: the writer until the power goes, and afterwards the check of what is left, for one image after
// another. disk.cpp is the disk on the other side, which records the first and makes up the images for the second.
//
//   power write DIRECTORY RECORDS SEED KIND LIE
//       Writes in DIRECTORY and says into the device RECORDS what it does. KIND: deferred, plain, sqpoll or polling;
//       LIE: none or unsynced
//   power verify DISK RECORDS FILE_SYSTEM DIRECTORY
//       Mounts DISK on DIRECTORY, compares it with RECORDS and writes the verdict there, which brings the next image,
//       until RECORDS say that there is none
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "truth.hpp"
#include "writer.hpp"

namespace squall::power {
namespace {

[[noreturn]] void give_up(const char* what) {
    std::fprintf(stderr, "power: %s: %s\n", what, std::strerror(errno));
    std::_Exit(3);
}

int open_records(const char* path) {
    const int fd = ::open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0) give_up(path);
    return fd;
}

int write(char** argument) {
    const std::string kind(argument[3]);
    WriterOptions options{.directory = argument[0], .said = open_records(argument[1])};
    options.seed = std::strtoull(argument[2], nullptr, 10);
    options.mode = kind == "plain" ? Mode::plain : kind == "sqpoll" ? Mode::sqpoll : Mode::deferred;
    options.polling = kind == "polling" ? Polling::busy : Polling::none;
    options.lie = std::string(argument[4]) == "unsynced" ? Lie::unsynced : Lie::none;
    const off_t bytes = ::lseek(options.said, 0, SEEK_END);
    options.records_max = static_cast<std::uint32_t>(bytes / static_cast<off_t>(sizeof(Record))) - 64;
    write_verifiably(options);
    std::fputs("power: the power should have gone before the disk was full of records\n", stderr);
    return 3;
}

Verdict verdict_on(const std::vector<Record>& records, char** argument) {
    Truth truth;
    for (const Record& record : records) truth.learn(record);
    if (::mount(argument[0], argument[3], argument[2], 0, nullptr) != 0) {
        Verdict verdict;
        verdict.strange = 1;
        verdict.say("it cannot be mounted: %s", std::strerror(errno));
        return verdict;
    }
    const Verdict verdict = truth.check(argument[3]);
    if (::umount2(argument[3], 0) != 0) give_up("umount");
    return verdict;
}

int verify(char** argument) {
    const int fd = open_records(argument[1]);
    for (;;) {
        const std::vector<Record> records = hear(fd);
        if (records.empty()) give_up("there are no records");
        if (records.front().kind == Kind::end) return 0;
        alignas(512) const Verdict verdict = verdict_on(records, argument);
        if (::pwrite(fd, &verdict, sizeof verdict, 0) != sizeof verdict) give_up("the verdict");
    }
}

}  // namespace
}  // namespace squall::power

int main(int count, char** arguments) {
    const std::string what(count > 1 ? arguments[1] : "");
    if (what == "write" && count == 7) return squall::power::write(arguments + 2);
    if (what == "verify" && count == 6) return squall::power::verify(arguments + 2);
    std::fputs("power write DIRECTORY RECORDS SEED KIND LIE\npower verify DISK RECORDS FILE_SYSTEM DIRECTORY\n",
               stderr);
    return 2;
}
