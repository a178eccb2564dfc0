// SPDX-License-Identifier: MIT
//
// Two rings behind one Io, and the file table of each: what is put into which, what is opened for both, and when a slot may
// not be changed. The kernel is user_kernel.hpp's.
#include <fcntl.h>
#include <unistd.h>

#include "polled_fixture.hpp"

namespace squall {
namespace {

using namespace test;

TEST_F(PolledTest, AFileIsPutIntoBothTables) {
    begin();
    std::vector<std::pair<int, abi::RsrcUpdate>> updates;
    std::vector<std::int32_t> files;
    int refused_by = -1;
    kernel.on_register = [&](const Register& what) -> std::optional<long> {
        if (what.code != abi::register_files_update) return std::nullopt;
        EXPECT_EQ(what.count, 1U);
        updates.emplace_back(what.fd, what.as<abi::RsrcUpdate>());
        files.push_back(*reinterpret_cast<const std::int32_t*>(updates.back().second.data));
        return what.fd == refused_by ? -EBADF : 1;
    };
    const auto set = [&](int fd) {
        updates.clear();
        files.clear();
        return io->set_file(FileSlot(2), fd);
    };
    EXPECT_TRUE(set(5));
    ASSERT_EQ(updates.size(), 2U);
    EXPECT_EQ(updates[0].first, companion().fd);
    EXPECT_EQ(updates[1].first, polled().fd);
    for (const auto& [ring, update] : updates) EXPECT_EQ(update.offset, 3U);
    EXPECT_EQ(files, (std::vector<std::int32_t>{5, 5}));
    EXPECT_TRUE(set(-7));
    EXPECT_EQ(files, (std::vector<std::int32_t>{-1, -1})) << "any negative number empties it";
    // What the companion does not take, the polled ring must not have.
    refused_by = companion().fd;
    EXPECT_EQ(set(5).error().code(), EBADF);
    EXPECT_EQ(
        set(5).error().message(),
        "Io::set_file(slot 2, fd=5): EBADF (Bad file descriptor): not an open file descriptor, or not open for this");
    EXPECT_EQ(files, (std::vector<std::int32_t>{5, -1}));
    const auto expect_not_polled = [this] {
        ASSERT_TRUE(io->read(FileSlot(2), memory, 0, 1));
        trace.take();
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(trace.take(), "enter 7 1 0 registered\n");
        complete(companion(), {0});
        EXPECT_EQ(io->poll().size(), 1U);
    };
    expect_not_polled();
    // What the polled ring does not take is not polled, and no error.
    refused_by = polled().fd;
    EXPECT_TRUE(set(5));
    expect_not_polled();
    refused_by = -1;
    EXPECT_TRUE(set(-1));
    expect_not_polled();
    EXPECT_EQ(io->set_file(FileSlot(3), 5).error().code(), EINVAL);
}

TEST_F(PolledTest, ASlotIsNotChangedWhileAPolledTransferMayBeSentAgain) {
    begin();
    ASSERT_TRUE(read(1));
    ASSERT_TRUE(read(2));
    const auto expect_busy = [this](bool busy) {
        const std::uint64_t full = io->counters().queue_full;
        const bool opened = io->open("/dev/null", {}, file, 20);
        EXPECT_EQ(opened, !busy);
        if (!busy) return;
        EXPECT_FALSE(io->close(file, 20));
        EXPECT_EQ(io->counters().queue_full, full + 2);
        const auto set = io->set_file(file, 0);
        EXPECT_EQ(
            set.error().message(),
            "Io::set_file(slot 1, fd=0): EBUSY (Device or resource busy): polled transfers are in flight on this slot: "
            "reap them first");
    };
    expect_busy(true);
    EXPECT_TRUE(io->poll().empty());
    complete(polled(), {-EOPNOTSUPP, 0});
    EXPECT_EQ(results(io->poll()), (Results{{2, 0}}));
    expect_busy(true);
    complete(companion(), {16});
    EXPECT_EQ(results(io->poll()), (Results{{1, 16}}));
    ASSERT_TRUE(io->nop(4));
    EXPECT_TRUE(io->poll().empty());
    complete(companion(), {0});
    EXPECT_EQ(io->poll().size(), 1U) << "in the place of a transfer, and none";
    EXPECT_TRUE(io->close(FileSlot(0), 3)) << "another slot";
    trace.take();
    expect_busy(false);
    EXPECT_EQ(trace.take(), "register ring2 files-update 1\n") << "the polled ring's place is emptied";
    EXPECT_EQ(kernel.registers.back().fd, polled().fd);
    EXPECT_TRUE(io->poll().empty());
    const abi::Sqe& close = companion().consumed.end()[-2];
    EXPECT_EQ(close.opcode, static_cast<std::uint8_t>(abi::Op::close));
    EXPECT_EQ(close.file_index, 2U);
    complete(companion(), {0, -ENOENT});
    EXPECT_EQ(io->poll().size(), 2U);
}

TEST_F(PolledTest, ASlotIsAsItWasWhereItsChangeFindsNoRoom) {
    begin();
    Token token = 10;
    while (io->nop(token)) ++token;
    const std::uint64_t full = io->counters().queue_full;
    trace.take();
    EXPECT_FALSE(io->close(file, 1));
    EXPECT_FALSE(io->open("/dev/null", {}, file, 1));
    EXPECT_EQ(io->counters().queue_full, full + 2);
    EXPECT_EQ(trace.take(), "") << "no table is changed";
    EXPECT_TRUE(io->poll().empty());
    complete(companion(), std::vector<std::int32_t>(token - 10, 0));
    EXPECT_EQ(io->poll().size(), token - 10);
    ASSERT_TRUE(read(2));
    EXPECT_TRUE(io->poll().empty());
    complete(polled(), {16});
    EXPECT_EQ(results(io->poll()), (Results{{2, 16}})) << "it is polled as before";
}

TEST_F(PolledTest, AFileOpenedIntoASlotIsOpenedOnceForBothTables) {
    begin();
    std::vector<std::pair<int, std::int32_t>> updates;
    std::map<int, long> answers;  // of the ring that refuses, if any
    kernel.on_register = [&](const Register& what) -> std::optional<long> {
        if (what.code != abi::register_files_update) return std::nullopt;
        EXPECT_EQ(what.as<abi::RsrcUpdate>().offset, 1U);
        updates.emplace_back(what.fd, *reinterpret_cast<const std::int32_t*>(what.as<abi::RsrcUpdate>().data));
        return answers.count(what.fd) != 0 ? answers[what.fd] : 1;
    };
    const auto open = [&](std::int32_t result) {
        updates.clear();
        EXPECT_TRUE(io->open("file", {.read = true}, FileSlot(0), 9));
        EXPECT_TRUE(io->poll().empty());
        const abi::Sqe& sqe = companion().consumed.back();
        EXPECT_EQ(sqe.file_index, 0U) << "the kernel would open it into one table";
        EXPECT_EQ(sqe.op_flags, static_cast<std::uint32_t>(O_CLOEXEC));
        EXPECT_EQ(sqe.len, 0644U);
        EXPECT_EQ(sqe.buf_index, 0U);
        complete(companion(), {result});
        return results(io->poll());
    };
    const auto expect_read_by = [this](const char* enter, UserKernel::Ring& ring) {
        ASSERT_TRUE(io->read(FileSlot(0), memory, 0, 1));
        trace.take();
        EXPECT_TRUE(io->poll().empty());
        EXPECT_EQ(trace.take(), enter);
        complete(ring, {0});
        EXPECT_EQ(io->poll().size(), 1U);
    };
    // Another file comes into the slot while one is being opened, and is read.
    const auto open_and_read_another = [this] {
        EXPECT_TRUE(io->open("file", {.read = true}, FileSlot(0), 9));
        EXPECT_TRUE(io->poll().empty());
        EXPECT_TRUE(io->set_file(FileSlot(0), 0));
        EXPECT_TRUE(io->read(FileSlot(0), memory, 0, 10));
    };
    const char* const by_polled = "enter 8 1 0 getevents registered\n";
    const char* const by_companion = "enter 7 1 0 registered\n";
    const std::size_t descriptors = descriptors_now();
    int fd = ::dup(0);
    EXPECT_EQ(open(fd), (Results{{9, 0}}));
    EXPECT_EQ(descriptors_now(), descriptors) << "the tables hold it";
    EXPECT_EQ(updates, (std::vector<std::pair<int, std::int32_t>>{{companion().fd, fd}, {polled().fd, fd}}));
    expect_read_by(by_polled, polled());
    ::close(0);
    ASSERT_EQ(::dup(1), 0);
    EXPECT_EQ(open(0), (Results{{9, 0}})) << "a descriptor like any other";
    EXPECT_EQ(::fcntl(0, F_GETFD), -1) << "it was left open";
    EXPECT_EQ(::dup(1), 0);
    EXPECT_EQ(updates.back(), (std::pair<int, std::int32_t>{polled().fd, 0}));
    expect_read_by(by_polled, polled());

    EXPECT_EQ(open(-ENOENT), (Results{{9, -ENOENT}}));
    EXPECT_EQ(updates.size(), 1U) << "only the polled ring's place was emptied, when it was queued";
    expect_read_by(by_companion, companion());
    fd = ::dup(0);
    answers = {{companion().fd, -ENOMEM}};
    EXPECT_EQ(open(fd), (Results{{9, -ENOMEM}}));
    EXPECT_EQ(descriptors_now(), descriptors);
    EXPECT_EQ(updates.back(), (std::pair<int, std::int32_t>{polled().fd, -1}));
    expect_read_by(by_companion, companion());
    fd = ::dup(0);
    answers = {{polled().fd, -ENOMEM}};
    EXPECT_EQ(open(fd), (Results{{9, 0}})) << "it is open, and cannot be polled";
    expect_read_by(by_companion, companion());

    // The other could not be polled: nothing of that is left.
    answers.clear();
    open_and_read_another();
    EXPECT_TRUE(io->poll().empty());
    complete(polled(), {-EOPNOTSUPP});
    EXPECT_TRUE(io->poll().empty());
    fd = ::dup(0);
    complete(companion(), {fd, 16});
    EXPECT_EQ(results(io->poll()), (Results{{9, -EBUSY}, {10, 16}})) << "it was in use when the other was open";
    open_and_read_another();
    EXPECT_TRUE(io->poll().empty());
    complete(polled(), {-EOPNOTSUPP});
    EXPECT_TRUE(io->poll().empty());
    companion().post(companion().consumed.back().user_data, 16);
    EXPECT_EQ(results(io->poll()), (Results{{10, 16}}));
    fd = ::dup(0);
    companion().post(companion().consumed.end()[-2].user_data, fd);
    EXPECT_EQ(results(io->poll()), (Results{{9, 0}}));
    expect_read_by(by_polled, polled());

    // The other is still being read.
    answers.clear();
    open_and_read_another();
    fd = ::dup(0);
    complete(companion(), {fd});
    updates.clear();
    EXPECT_EQ(results(io->poll()), (Results{{9, -EBUSY}}));
    EXPECT_EQ(updates.size(), 0U);
    EXPECT_EQ(descriptors_now(), descriptors);
    complete(polled(), {0});
    EXPECT_EQ(io->poll().size(), 1U);
}

TEST_F(PolledTest, AnOpenThatSaysHowItsPathIsResolvedIsForBothTablesToo) {
    begin();
    struct Seen {
        abi::Sqe sqe;
        abi::OpenHow how;
    };
    const auto open = [&](FileSlot slot, const OpenOptions& options, std::int32_t result) {
        Seen seen{};
        EXPECT_TRUE(io->open("file", options, slot, 9));
        EXPECT_TRUE(io->poll().empty());
        seen.sqe = companion().consumed.back();
        seen.how = *reinterpret_cast<const abi::OpenHow*>(seen.sqe.off);
        complete(companion(), {result});
        EXPECT_EQ(results(io->poll()), (Results{{9, result < 0 ? result : 0}}));
        return seen;
    };
    constexpr std::uint64_t beneath = 8;
    const std::size_t descriptors = descriptors_now();
    const Seen seen = open(FileSlot(0), {.read = true, .write = true, .create = true, .resolve = beneath}, ::dup(0));
    EXPECT_EQ(seen.sqe.opcode, static_cast<std::uint8_t>(abi::Op::openat2));
    EXPECT_EQ(seen.sqe.len, sizeof(abi::OpenHow));
    EXPECT_EQ(seen.sqe.op_flags, 0U) << "its flags are elsewhere";
    EXPECT_EQ(seen.sqe.file_index, 0U);
    EXPECT_EQ(seen.sqe.buf_index, 0U);
    EXPECT_EQ(seen.how.flags, static_cast<std::uint64_t>(O_RDWR | O_CREAT | O_CLOEXEC));
    EXPECT_EQ(seen.how.mode, 0644U);
    EXPECT_EQ(seen.how.resolve, beneath);
    EXPECT_EQ(descriptors_now(), descriptors) << "the tables hold it";
    trace.take();
    ASSERT_TRUE(io->read(FileSlot(0), memory, 0, 1));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(trace.take(), "enter 8 1 0 getevents registered\n");
    complete(polled(), {0});
    EXPECT_EQ(io->poll().size(), 1U);
    // Into no slot: the kernel is to refuse it, and would refuse that flag too.
    const Seen nowhere = open(FileSlot(3), {.read = true, .resolve = beneath}, -EINVAL);
    EXPECT_EQ(nowhere.sqe.file_index, 5U);
    EXPECT_EQ(nowhere.how.flags, static_cast<std::uint64_t>(O_RDONLY));
}

TEST_F(PolledTest, AnOpenIntoASlotThatSomethingIsLinkedToIsRefused) {
    begin();
    for (const How how : {How{.link = true}, How{.hard_link = true}}) {
        for (const std::uint64_t resolve : {0U, 8U}) {
            ASSERT_TRUE(io->open("file", {.read = true, .resolve = resolve}, FileSlot(0), 1, how));
            ASSERT_TRUE(io->read(FileSlot(0), memory, 0, 2));
            EXPECT_TRUE(io->poll().empty());
            EXPECT_EQ(companion().consumed.end()[-2].buf_index, 1U) << "which neither open is done with";
            EXPECT_EQ(companion().consumed.back().opcode, static_cast<std::uint8_t>(abi::Op::read));
            complete(companion(), {-EINVAL, -ECANCELED});
            EXPECT_EQ(results(io->poll()), (Results{{1, -EINVAL}, {2, -ECANCELED}}));
        }
    }
    // It may be the last part itself.
    ASSERT_TRUE(io->nop(1, {.link = true}));
    ASSERT_TRUE(io->open("file", {.read = true}, FileSlot(0), 2));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(companion().consumed.back().buf_index, 0U);
    complete(companion(), {0, -ENOENT});
    EXPECT_EQ(results(io->poll()), (Results{{1, 0}, {2, -ENOENT}}));
}

TEST_F(PolledTest, AnOpenIntoNoSlotIsLeftToTheKernelToRefuse) {
    begin();
    EXPECT_TRUE(io->open("file", {.read = true}, FileSlot(3), 9));
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(companion().consumed.back().file_index, 5U);
    complete(companion(), {-EINVAL});
    EXPECT_EQ(results(io->poll()), (Results{{9, -EINVAL}}));
    EXPECT_TRUE(io->open("file", {.truncate = true}, FileSlot(0), 9)) << "to a slot, but to truncate what is only read";
    EXPECT_TRUE(io->poll().empty());
    EXPECT_EQ(companion().consumed.back().buf_index, 1U) << "which an openat is refused for";
    complete(companion(), {-EINVAL});
    EXPECT_EQ(results(io->poll()), (Results{{9, -EINVAL}}));
}

}  // namespace
}  // namespace squall
