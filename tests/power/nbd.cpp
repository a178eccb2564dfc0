// SPDX-License-Identifier: MIT
//
// See nbd.hpp.
#include "nbd.hpp"

#include <endian.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace squall::power {
namespace {

// Of the protocol.
constexpr std::uint64_t greeting = 0x4e42444d41474943, option_magic = 0x49484156454f5054,
                        option_reply_magic = 0x3e889045565a9;
constexpr std::uint32_t request_magic = 0x25609513, reply_magic = 0x67446698;
constexpr std::uint16_t fixed_newstyle = 1, no_zeroes = 2;
constexpr std::uint16_t has_flags = 1, send_flush = 4, send_fua = 8;
constexpr std::uint32_t option_abort = 2, option_info = 6, option_go = 7;
constexpr std::uint32_t reply_ack = 1, reply_info = 3, reply_unsupported = 0x80000001, reply_unknown = 0x80000006;
constexpr std::uint16_t info_export = 0, info_block_size = 3;
constexpr std::uint16_t command_read = 0, command_write = 1, command_disconnect = 2, command_flush = 3, flag_fua = 1;
constexpr std::uint32_t length_max = 32U << 20;
constexpr std::size_t request_bytes = 28;

[[noreturn]] void give_up(const char* what) {
    std::fprintf(stderr, "power_disk: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

// Numbers go over the wire with the highest byte first.
class Message {
public:
    Message& u16(std::uint16_t number) { return raw(htobe16(number)); }
    Message& u32(std::uint32_t number) { return raw(htobe32(number)); }
    Message& u64(std::uint64_t number) { return raw(htobe64(number)); }
    [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(bytes_.size()); }
    [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

private:
    template <class Number>
    Message& raw(Number number) {
        for (const std::byte byte : std::as_bytes(std::span(&number, 1))) bytes_.push_back(byte);
        return *this;
    }
    std::vector<std::byte> bytes_;
};

template <class Number>
Number number_at(std::span<const std::byte> bytes, std::size_t offset) {
    Number number;
    std::memcpy(&number, bytes.data() + offset, sizeof number);
    if constexpr (sizeof number == 2) return be16toh(number);
    if constexpr (sizeof number == 4) return be32toh(number);
    if constexpr (sizeof number == 8) return be64toh(number);
}

bool send_all(int fd, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) return false;
        if (sent > 0) bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return true;
}

bool receive_all(int fd, std::span<std::byte> bytes) {
    // Of no bytes at all it would wait for the next.
    return bytes.empty() || ::recv(fd, bytes.data(), bytes.size(), MSG_WAITALL) == static_cast<ssize_t>(bytes.size());
}

bool answer_option(int fd, std::uint32_t option, std::uint32_t type, const Message& data) {
    Message reply;
    reply.u64(option_reply_magic).u32(option).u32(type).u32(data.size());
    return send_all(fd, reply.bytes()) && send_all(fd, data.bytes());
}

}  // namespace

NbdServer::NbdServer(const std::string& socket_path) : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket_path.size() >= sizeof address.sun_path) {
        std::fprintf(stderr, "power_disk: SOCKET is \"%s\": a socket's path has at most %zu bytes\n",
                     socket_path.c_str(), sizeof address.sun_path - 1);
        std::exit(2);
    }
    std::copy(socket_path.begin(), socket_path.end(), address.sun_path);
    (void)::unlink(socket_path.c_str());
    if (listener_ < 0 || ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_, 16) != 0)
        give_up(socket_path.c_str());
}

// The options that come first; the disk that the client wants in the end.
Disk* NbdServer::negotiate(int fd) const {
    Message hello;
    hello.u64(greeting).u64(option_magic).u16(fixed_newstyle | no_zeroes);
    std::array<std::byte, 4> flags{};
    if (!send_all(fd, hello.bytes()) || !receive_all(fd, flags)) return nullptr;
    for (;;) {
        std::array<std::byte, 16> head{};
        if (!receive_all(fd, head)) return nullptr;
        const auto option = number_at<std::uint32_t>(head, 8);
        std::vector<std::byte> data(std::min(number_at<std::uint32_t>(head, 12), 65536U));
        if (number_at<std::uint64_t>(head, 0) != option_magic || !receive_all(fd, data)) return nullptr;
        if ((option != option_go && option != option_info) || data.size() < 4) {
            if (!answer_option(fd, option, option == option_abort ? reply_ack : reply_unsupported, {})) return nullptr;
            if (option == option_abort) return nullptr;
            continue;
        }
        const std::size_t length = std::min<std::size_t>(number_at<std::uint32_t>(data, 0), data.size() - 4);
        const auto disk = disks_.find(std::string(reinterpret_cast<const char*>(data.data()) + 4, length));
        if (disk == disks_.end()) {
            if (!answer_option(fd, option, reply_unknown, {})) return nullptr;
            continue;
        }
        Message about, sizes;
        about.u16(info_export).u64(disk->second->bytes()).u16(has_flags | send_flush | send_fua);
        sizes.u16(info_block_size).u32(512).u32(4096).u32(length_max);
        if (!answer_option(fd, option, reply_info, about) || !answer_option(fd, option, reply_info, sizes) ||
            !answer_option(fd, option, reply_ack, {}))
            return nullptr;
        if (option == option_go) return disk->second.get();
    }
}

void NbdServer::accept() {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    Disk* const disk = negotiate(fd);
    if (!disk) {
        ::close(fd);
        return;
    }
    disk->connected();
    connections_.emplace(++connections_made_, Connection{fd, disk});
}

void NbdServer::drop(std::uint64_t number) {
    const auto connection = connections_.find(number);
    if (connection == connections_.end()) return;
    ::close(connection->second.fd);
    Disk* const disk = connection->second.disk;
    connections_.erase(connection);
    disk->disconnected();
}

// Takes what has arrived, and serves the requests that are whole. False: the client is gone.
bool NbdServer::receive(std::uint64_t number, Connection& connection) {
    std::vector<std::byte>& received = connection.received;
    const std::size_t before = received.size();
    constexpr std::size_t at_once = 1U << 20;
    received.resize(before + at_once);
    const ssize_t bytes = ::recv(connection.fd, received.data() + before, at_once, MSG_DONTWAIT);
    received.resize(before + static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
    if (bytes < 0) return errno == EAGAIN || errno == EINTR;
    if (bytes == 0) return false;
    return serve(number, connection);
}

bool NbdServer::serve(std::uint64_t number, Connection& connection) {
    std::span<const std::byte> rest(connection.received);
    bool good = true;
    while (good && rest.size() >= request_bytes) {
        const auto flags = number_at<std::uint16_t>(rest, 4), command = number_at<std::uint16_t>(rest, 6);
        const auto cookie = number_at<std::uint64_t>(rest, 8), offset = number_at<std::uint64_t>(rest, 16);
        const auto length = number_at<std::uint32_t>(rest, 24);
        good = number_at<std::uint32_t>(rest, 0) == request_magic && length <= length_max && command <= command_flush &&
               command != command_disconnect && offset + length <= connection.disk->bytes();
        const std::size_t whole = request_bytes + (command == command_write ? length : 0);
        if (!good || rest.size() < whole) break;
        Disk& disk = *connection.disk;
        if (command == command_read) {
            std::vector<std::byte> data(length);
            disk.read(offset, data);
            Message reply;
            good = send_all(connection.fd, reply.u32(reply_magic).u32(0).u64(cookie).bytes()) &&
                   send_all(connection.fd, data);
        } else {
            const auto data = rest.subspan(request_bytes, whole - request_bytes);
            const Disk::Begun begun = command == command_flush
                                          ? disk.flush()
                                          : disk.write(offset, {data.begin(), data.end()}, (flags & flag_fua) != 0);
            due_.push({Clock::now() + begun.takes, number, cookie, begun.ticket});
        }
        rest = rest.subspan(whole);
    }
    connection.received.erase(connection.received.begin(),
                              connection.received.end() - static_cast<std::ptrdiff_t>(rest.size()));
    return good;
}

void NbdServer::finish_what_is_due() {
    while (!due_.empty() && due_.top().when <= Clock::now()) {
        const Due due = due_.top();
        due_.pop();
        // Without a client nothing more happens to a disk: its power is gone.
        const auto connection = connections_.find(due.connection);
        if (connection == connections_.end()) continue;
        connection->second.disk->finish(due.ticket);
        Message reply;
        if (!send_all(connection->second.fd, reply.u32(reply_magic).u32(0).u64(due.cookie).bytes()))
            drop(due.connection);
    }
}

void NbdServer::run() {
    for (;;) {
        std::vector<pollfd> waiting{{listener_, POLLIN, 0}};
        std::vector<std::uint64_t> numbers{0};
        for (const auto& [number, connection] : connections_) {
            waiting.push_back({connection.fd, POLLIN, 0});
            numbers.push_back(number);
        }
        timespec until{};
        if (!due_.empty()) {
            const auto left = std::max(due_.top().when - Clock::now(), Clock::duration::zero());
            until.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
            until.tv_nsec = std::chrono::nanoseconds(left % std::chrono::seconds(1)).count();
        }
        if (::ppoll(waiting.data(), waiting.size(), due_.empty() ? nullptr : &until, nullptr) < 0 && errno != EINTR)
            give_up("poll");
        finish_what_is_due();
        if (waiting[0].revents != 0) accept();
        for (std::size_t i = 1; i < waiting.size(); ++i) {
            const auto connection = connections_.find(numbers[i]);
            if (waiting[i].revents != 0 && connection != connections_.end() && !receive(numbers[i], connection->second))
                drop(numbers[i]);
        }
    }
}

}  // namespace squall::power
