#include "os/socket.hpp"

#include "base/errno.hpp"
#include "os/descriptor.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace prong::os {
namespace {

/// The longest piece for one call, so that signals are handled in between and no limit of the
/// kernel is reached.
constexpr std::size_t piece_bytes = 16U << 20;

bool is_passing(int error) {
    return error == EINTR || error == EAGAIN;
}

/// Waits if the descriptor is non-blocking, as user code, which has access to it, may have made it.
void wait_if_nonblocking(int fd, short events, const char* call) {
    if (!is_passing(errno)) base::throw_errno(call);
    if (errno == EINTR) return;
    pollfd entry{.fd = fd, .events = events, .revents = 0};
    poll(&entry, 1, -1);
}

std::pair<base::UniqueFd, base::UniqueFd> connected_pair(int type) {
    int fds[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0) base::throw_errno("socketpair");
    base::UniqueFd first(fds[0]);
    base::UniqueFd second(fds[1]);
    return {lift(std::move(first)), lift(std::move(second))};
}

/// Calls `sendmsg` for the first piece of the bytes. A peer that is closed is EPIPE: if bytes were
/// unread, the system says ECONNRESET once, and EPIPE from then on.
ssize_t send_piece(int fd, std::span<const std::byte> head, std::span<const std::byte> body,
                   int flags) {
    // sendmsg only reads from it.
    const auto piece = [](std::span<const std::byte> bytes) {
        return iovec{.iov_base = const_cast<std::byte*>(bytes.data()),
                     .iov_len = std::min(bytes.size(), piece_bytes)};
    };
    iovec pieces[] = {piece(head), piece(body)};
    msghdr message{};
    message.msg_iov = pieces;
    message.msg_iovlen = 2;
    const ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | flags);
    if (sent < 0 && errno == ECONNRESET) errno = EPIPE;
    return sent;
}

/// The buffer for descriptors that accompany a message.
struct alignas(cmsghdr) Ancillary {
    std::array<std::byte, CMSG_SPACE(most_passed * sizeof(int))> bytes{};
};

/// Returns what `sendmsg` does.
ssize_t send_once(int socket, std::span<const std::byte> bytes, std::span<const int> fds,
                  int flags) {
    iovec piece{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    Ancillary ancillary;
    if (!fds.empty()) {
        message.msg_control = ancillary.bytes.data();
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    }
    return base::retry_interrupted([&] { return sendmsg(socket, &message, flags | MSG_NOSIGNAL); });
}

std::optional<Message> receive_once(int socket, std::span<std::byte> buffer, int flags) {
    iovec piece{.iov_base = buffer.data(), .iov_len = buffer.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    Ancillary ancillary;
    message.msg_control = ancillary.bytes.data();
    message.msg_controllen = ancillary.bytes.size();
    const ssize_t size = base::retry_interrupted(
        [&] { return recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC); });
    const bool has_none = (flags & MSG_DONTWAIT) != 0 && errno == EAGAIN;
    if (size < 0 && errno != ECONNRESET && !has_none) base::throw_errno("recvmsg");
    if (size <= 0) return std::nullopt;
    Message received{.size = static_cast<std::size_t>(size),
                     .fds = {},
                     .has_lost_fds = (message.msg_flags & MSG_CTRUNC) != 0};
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return received;
    std::array<int, most_passed> fds{};
    const std::size_t bytes = std::min(header->cmsg_len - CMSG_LEN(0), sizeof(fds));
    std::memcpy(fds.data(), CMSG_DATA(header), bytes);
    for (const int fd : std::span(fds).first(bytes / sizeof(int))) received.fds.emplace_back(fd);
    return received;
}

} // namespace

std::pair<base::UniqueFd, base::UniqueFd> socket_pair() {
    return connected_pair(SOCK_STREAM);
}

std::pair<base::UniqueFd, base::UniqueFd> message_socket_pair() {
    return connected_pair(SOCK_SEQPACKET);
}

void send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
    if (send_once(socket, bytes, fds, 0) < 0)
        base::throw_errno("sendmsg", errno == ECONNRESET ? EPIPE : errno);
}

bool try_send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
    if (send_once(socket, bytes, fds, MSG_DONTWAIT) >= 0) return true;
    if (errno != EAGAIN && errno != ENOBUFS && errno != ETOOMANYREFS)
        base::throw_errno("sendmsg", errno == ECONNRESET ? EPIPE : errno);
    return false;
}

std::optional<Message> receive_message(int socket, std::span<std::byte> buffer) {
    return receive_once(socket, buffer, 0);
}

std::optional<Message> try_receive_message(int socket, std::span<std::byte> buffer) {
    return receive_once(socket, buffer, MSG_DONTWAIT);
}

void send_all(int fd, std::span<const std::byte> head, std::span<const std::byte> body) {
    const std::size_t all = head.size() + body.size();
    while (!head.empty() || !body.empty()) {
        const ssize_t sent = send_piece(fd, head, body, 0);
        if (sent < 0) {
            const int error = errno;
            // The peer would take what follows a partial message for the rest of it.
            if (!is_passing(error) && head.size() + body.size() < all) shutdown(fd, SHUT_WR);
            errno = error;
            wait_if_nonblocking(fd, POLLOUT, "sendmsg");
            continue;
        }
        const auto from_head = std::min(static_cast<std::size_t>(sent), head.size());
        head = head.subspan(from_head);
        body = body.subspan(static_cast<std::size_t>(sent) - from_head);
    }
}

std::size_t try_send(int fd, std::span<const std::byte> head, std::span<const std::byte> body) {
    const ssize_t sent = send_piece(fd, head, body, MSG_DONTWAIT);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (!is_passing(errno)) base::throw_errno("sendmsg");
    return 0;
}

void send_without_delay(int fd) noexcept {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void detect_lost_peer(int fd) noexcept {
    const int on = 1;
    const int idle_seconds = 15;
    const int interval_seconds = 5;
    const int probes = 3;
    const unsigned unacknowledged_ms = 30'000;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof(idle_seconds));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof(interval_seconds));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof(unacknowledged_ms));
}

void limit_sending(int fd, prong::detail::Deadline deadline) {
    using namespace std::chrono;
    timeval limit{}; // none
    if (!deadline.is_never()) {
        const auto left = std::max<microseconds>(ceil<microseconds>(deadline.left(hours(24))), 1us);
        limit.tv_sec = duration_cast<seconds>(left).count();
        limit.tv_usec = (left % seconds(1)).count();
    }
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0)
        base::throw_errno("setsockopt(SO_SNDTIMEO)");
}

std::size_t receive_some(int fd, std::span<std::byte> buffer) {
    for (;;) {
        const ssize_t received = recv(fd, buffer.data(), std::min(buffer.size(), piece_bytes), 0);
        if (received >= 0) return static_cast<std::size_t>(received);
        if (errno == ECONNRESET) return 0;
        wait_if_nonblocking(fd, POLLIN, "recv");
    }
}

std::optional<std::size_t> try_receive(int fd, std::span<std::byte> buffer) {
    const ssize_t received = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (received >= 0) return static_cast<std::size_t>(received);
    if (is_passing(errno)) return std::nullopt;
    if (errno == ECONNRESET) return 0;
    base::throw_errno("recv");
}

std::size_t receive_all(int fd, std::span<std::byte> buffer) {
    std::size_t total = 0;
    while (total < buffer.size()) {
        const std::size_t received = receive_some(fd, buffer.subspan(total));
        if (received == 0) break;
        total += received;
    }
    return total;
}

std::vector<std::size_t> wait_readable(std::span<const int> fds, prong::detail::Deadline deadline) {
    using namespace std::chrono;
    std::vector<pollfd> entries;
    entries.reserve(fds.size());
    for (const int fd : fds) entries.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    std::vector<std::size_t> ready;
    for (;;) {
        const auto slice = ceil<milliseconds>(deadline.left(hours(1)));
        const int count = poll(entries.data(), entries.size(), static_cast<int>(slice.count()));
        if (count < 0 && errno != EINTR) base::throw_errno("poll");
        if (count > 0) break;
        if (count == 0 && deadline.passed()) return ready;
    }
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if ((entries[i].revents & POLLNVAL) != 0) base::throw_errno("poll", EBADF);
        if (entries[i].revents != 0) ready.push_back(i);
    }
    return ready;
}

base::UniqueFd watch(int fd, Readiness readiness) {
    base::UniqueFd watcher(epoll_create1(EPOLL_CLOEXEC));
    if (!watcher) base::throw_errno("epoll_create1");
    epoll_event event{};
    event.events = readiness == Readiness::readable ? EPOLLIN : EPOLLOUT;
    if (epoll_ctl(watcher.get(), EPOLL_CTL_ADD, fd, &event) != 0) base::throw_errno("epoll_ctl");
    return lift(std::move(watcher));
}

} // namespace prong::os
