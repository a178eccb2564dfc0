// SPDX-License-Identifier: MIT
//
// An Io in somebody else's event loop: asio sleeps on poll_fd() beside a timer of its own. Built where asio's headers are.
#define ASIO_STANDALONE
#include <fcntl.h>
#include <unistd.h>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include "support.hpp"

namespace squall {
namespace {

using namespace test;

class AsioTest : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Modes, AsioTest, testing::ValuesIn(every_kind),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(AsioTest, SeesEveryOperationThroughBesideItsOwnTimers) {
    const TempDir dir;
    Io io = make_io(GetParam(), {.entries = 8});
    const Fd fd(::open(dir.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    std::vector<std::byte> bytes(4096);
    const std::uint64_t total = scaled(500);
    std::uint64_t begun = 0;
    std::uint64_t ended = 0;
    std::uint64_t ticks = 0;

    asio::io_context loop;
    asio::posix::stream_descriptor completions(loop, ::dup(io.poll_fd()));
    asio::steady_timer timer(loop);
    // Submits what there is room for, takes what has completed, and waits for more.
    const std::function<void()> turn = [&] {
        std::size_t found = 0;
        do {
            while (begun < total && (begun % 2 == 0 ? io.write(fd, bytes, begun, begun) : io.fdatasync(fd, begun)))
                ++begun;
            const Completions done = io.poll();
            EXPECT_FALSE(done.failed());
            for (const Completion& each : done) EXPECT_GE(each.res, 0);
            found = done.size();
            ended += found;
        } while (found > 0);
        if (ended == total) return timer.cancel(), void();
        completions.async_wait(asio::posix::stream_descriptor::wait_read, [&](const asio::error_code& error) {
            EXPECT_FALSE(error) << error.message();
            turn();
        });
    };
    const std::function<void()> tick = [&] {
        ++ticks;
        timer.expires_after(std::chrono::microseconds(100));
        timer.async_wait([&](const asio::error_code& error) {
            if (!error && ended < total) tick();
        });
    };
    tick();
    turn();
    loop.run();
    EXPECT_EQ(ended, total);
    EXPECT_EQ(io.in_flight(), 0U);
    EXPECT_GE(ticks, 1U);
}

}  // namespace
}  // namespace squall
