// SPDX-License-Identifier: MIT
//
// As much of an NBD server as QEMU asks for, on a Unix socket, in one thread: what arrives first is seen first, whatever
// disk it is for, and the end of a request may be delayed so that later ones overtake it. What a disk does is a Disk's
// affair. The protocol is that of https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <queue>
#include <span>
#include <string>
#include <vector>

namespace squall::power {

// What the server calls of a disk, whose client has a volatile write cache to flush.
class Disk {
public:
    Disk() = default;
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;
    virtual ~Disk() = default;

    // How long a request takes, and what finish() is given then, just before it is answered.
    struct Begun {
        std::chrono::nanoseconds takes{0};
        std::uint64_t ticket = 0;
    };

    [[nodiscard]] virtual std::uint64_t bytes() const = 0;
    virtual void connected() {}
    virtual void disconnected() {}
    virtual void read(std::uint64_t offset, std::span<std::byte> into) = 0;
    virtual Begun write(std::uint64_t offset, std::vector<std::byte> data, bool through) = 0;  // through: FUA
    virtual Begun flush() { return {}; }
    virtual void finish(std::uint64_t /*ticket*/) {}
};

class NbdServer {
public:
    explicit NbdServer(const std::string& socket_path);
    void add(const std::string& name, std::unique_ptr<Disk> disk) { disks_[name] = std::move(disk); }
    [[noreturn]] void run();

private:
    using Clock = std::chrono::steady_clock;
    struct Connection {
        int fd;
        Disk* disk;
        std::vector<std::byte> received{};
    };
    struct Due {
        Clock::time_point when;
        std::uint64_t connection, cookie, ticket;
        bool operator<(const Due& other) const { return when > other.when; }  // the earliest on top
    };

    void accept();
    Disk* negotiate(int fd) const;
    bool receive(std::uint64_t number, Connection& connection);
    bool serve(std::uint64_t number, Connection& connection);
    void drop(std::uint64_t number);
    void finish_what_is_due();

    int listener_;
    std::uint64_t connections_made_ = 0;
    std::map<std::string, std::unique_ptr<Disk>> disks_;
    std::map<std::uint64_t, Connection> connections_;
    std::priority_queue<Due> due_;
};

}  // namespace squall::power
