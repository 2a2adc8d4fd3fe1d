#pragma once

#include "base/deadline.hpp"
#include "base/fd.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

/// Connected local sockets, and waiting for several descriptors.
namespace prong::os {

/// Two connected stream sockets, closed by exec. Throws `std::system_error`.
std::pair<base::UniqueFd, base::UniqueFd> socket_pair();

/// Sends `head`, then `body`, all of it; waits while the other side's buffer is full. Throws
/// `std::system_error`: EPIPE when the other side is gone, without a SIGPIPE. After an error in the
/// middle nothing more can be sent, and the other side sees an end.
void send_all(int fd, std::span<const std::byte> head, std::span<const std::byte> body);

/// Receives into `buffer` until it is full or the other side is gone; returns how many bytes
/// that were. Throws `std::system_error`.
std::size_t receive_all(int fd, std::span<std::byte> buffer);

/// Two connected sockets that keep messages apart, closed by exec. Throws `std::system_error`.
std::pair<base::UniqueFd, base::UniqueFd> message_socket_pair();

/// So many descriptors fit into a message (the kernel's limit).
inline constexpr std::size_t most_passed = 253;

/// Sends one message with copies of the descriptors. Throws `std::system_error`: EPIPE when the
/// other side is gone, without a SIGPIPE.
void send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds = {});

struct Message {
    std::size_t size;                ///< how much of the buffer it fills
    std::vector<base::UniqueFd> fds; ///< the descriptors that came with it
    bool has_lost_fds;               ///< more came, but this process may have no more
};

/// Receives one message, which fits into `buffer`; empty when the other side is gone. Throws
/// `std::system_error`.
std::optional<Message> receive_message(int socket, std::span<std::byte> buffer);

/// The positions of those descriptors that are readable or whose other side is gone; waits until
/// there is one. Empty when the deadline comes first. Throws `std::system_error`: EBADF for a
/// descriptor that is not open.
std::vector<std::size_t> wait_readable(std::span<const int> fds, base::Deadline deadline);

} // namespace prong::os
