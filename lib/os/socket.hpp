#pragma once

#include "base/fd.hpp"

#include <prong/detail/deadline.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

/// Connected local sockets, and waits for several descriptors.
namespace prong::os {

/// Creates two connected stream sockets, closed by exec. Throws `std::system_error`.
std::pair<base::UniqueFd, base::UniqueFd> socket_pair();

/// Sends all of `head`, then all of `body`. Blocks while the peer's buffer is full. Throws
/// `std::system_error`: EPIPE when the peer is closed, without a SIGPIPE. After an error in the
/// middle of a message nothing more can be sent, and the peer sees the end of the stream.
void send_all(int fd, std::span<const std::byte> head, std::span<const std::byte> body);

/// Sends the bytes that the peer's buffer has room for, without blocking. Returns their number.
/// Throws like `send_all`.
std::size_t try_send(int fd, std::span<const std::byte> head, std::span<const std::byte> body);

/// Turns off the delay by which TCP collects small messages. Does nothing to other sockets.
void send_without_delay(int fd) noexcept;

/// Lets TCP end the connection if the peer's machine has not answered for half a minute. Does
/// nothing to other sockets.
void detect_lost_peer(int fd) noexcept;

/// Bounds `connect` and blocking sends. They then fail with EINPROGRESS or EAGAIN.
void limit_sending(int fd, prong::detail::Deadline deadline);

/// Receives at least one byte, unless the peer is closed: then returns 0. Throws
/// `std::system_error`.
std::size_t receive_some(int fd, std::span<std::byte> buffer);

/// Receives the bytes that are available, without blocking. Returns their number, 0 if the peer has
/// closed the connection; nothing if none are available. Throws `std::system_error`.
std::optional<std::size_t> try_receive(int fd, std::span<std::byte> buffer);

/// Receives until `buffer` is full or the peer is closed. Returns the number of bytes received.
/// Throws `std::system_error`.
std::size_t receive_all(int fd, std::span<std::byte> buffer);

/// Creates two connected sockets that preserve message boundaries, closed by exec. Throws
/// `std::system_error`.
std::pair<base::UniqueFd, base::UniqueFd> message_socket_pair();

/// The most descriptors that one message may carry (the kernel's limit).
inline constexpr std::size_t most_passed = 253;

/// Sends one message with copies of the descriptors. Throws `std::system_error`: EPIPE when the
/// peer is closed, without a SIGPIPE.
void send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds = {});

/// Does the same without blocking. Returns false if the message cannot be sent now: the peer's
/// buffer is full, or too many descriptors are on their way.
bool try_send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds = {});

struct Message {
    std::size_t size;                ///< bytes of the buffer that it fills
    std::vector<base::UniqueFd> fds; ///< the descriptors that came with it
    bool has_lost_fds;               ///< the process had no room for all descriptors
};

/// Receives one message, which must fit into `buffer`. Returns nothing when the peer is closed.
/// Throws `std::system_error`.
std::optional<Message> receive_message(int socket, std::span<std::byte> buffer);

/// Does the same without blocking. Returns nothing as well if there is no message.
std::optional<Message> try_receive_message(int socket, std::span<std::byte> buffer);

/// Blocks until one of the descriptors is readable or its peer is closed. Returns the positions of
/// all that are; none when the deadline passes first. Throws `std::system_error`: EBADF for a
/// descriptor that is not open.
std::vector<std::size_t> wait_readable(std::span<const int> fds, prong::detail::Deadline deadline);

/// What a descriptor is watched for.
enum class Readiness : unsigned char { readable, writable };

/// Creates a descriptor that is readable when `fd` is ready: for an event loop, which would make
/// `fd` itself non-blocking in all processes that share its file. It does not keep the file open.
/// Throws `std::system_error`.
base::UniqueFd watch(int fd, Readiness readiness);

} // namespace prong::os
