#pragma once

#include "ring/spinner.hpp"

#include <prong/connection.hpp>

#include <cstddef>
#include <span>
#include <vector>

namespace prong::manager {

/// A connection between a client and a manager, of which each side in turn sends one message. A
/// message costs one system call to send, one to receive if it has arrived (each look while
/// spinning is another), and one look at the descriptor.
///
/// Thread safety: one thread.
class Channel {
public:
    explicit Channel(Connection connection);

    /// Returns whether a message or the end can be received.
    [[nodiscard]] bool poll() const { return connection_.poll(); }

    /// Throws what `Connection::send_bytes` throws: `std::logic_error` if other code has closed the
    /// descriptor.
    void send(std::span<const std::byte> message) { connection_.send_bytes(message); }

    /// Blocks until the other side's message arrives. Throws what `Connection::recv_bytes` throws.
    /// On `std::bad_alloc` the message is discarded.
    std::vector<std::byte> receive();

private:
    std::size_t receive_beginning(std::span<std::byte> room);

    Connection connection_;
    int fd_;
    ring::Spinner spinner_;
};

} // namespace prong::manager
