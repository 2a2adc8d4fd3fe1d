#pragma once

#include <prong/detail/async_members.hpp>
#include <prong/detail/export.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace prong {
class Connection;
}

namespace prong::detail {

struct ConnectionEnds;

/// An end of a connection for one operation of an event loop. Never blocks.
///
/// Thread safety: like `Connection`, as a thread that sends or receives.
class PRONG_API ConnectionPort {
public:
    enum class Direction : unsigned char { receive, send };

    /// Throws `std::logic_error` if the connection is closed, or has no such direction.
    ConnectionPort(const Connection& connection, Direction direction);
    /// Before `enter`.
    ConnectionPort(ConnectionPort&&) noexcept = default;
    ConnectionPort& operator=(ConnectionPort&&) = delete;
    /// Ends sending if a message was sent in part.
    ~ConnectionPort();

    /// Has `operation` cancelled when the connection is closed, until this object is destroyed.
    /// Throws `std::logic_error` if another operation of this direction is in progress.
    void enter(Cancellable& operation);
    /// Returns whether the connection was closed.
    [[nodiscard]] bool is_closed() const noexcept;
    /// Returns a new descriptor that is readable when it is worth trying again.
    [[nodiscard]] int watch() const;

    /// Receives the next message. Returns nothing if it has not arrived; the part that has stays in
    /// the connection. Throws like `Connection::recv_bytes`.
    std::optional<std::vector<std::byte>> try_receive();
    /// Goes on sending a message, always the same. Returns whether all of it was sent. Throws like
    /// `Connection::send_bytes`.
    bool try_send(std::span<const std::byte> message);
    /// Returns whether a part of the message was sent.
    [[nodiscard]] bool has_begun() const noexcept { return sent_bytes_ != 0; }

private:
    std::shared_ptr<ConnectionEnds> ends_;
    std::size_t side_;
    Direction direction_;
    Cancellable* operation_ = nullptr;
    std::size_t sent_bytes_ = 0; ///< of the message and its header; 0 if all was sent
};

} // namespace prong::detail
