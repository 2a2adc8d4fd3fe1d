#pragma once

#include <prong/codec.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/wire.hpp>
#include <prong/timeout.hpp>
#include <prong/wait.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// \file
/// Messages between two processes: values of any type that can be encoded, and plain bytes.

namespace prong {

namespace detail {
struct PipeEnds;
}

/// One end of a pipe. What is sent at one end is received at the other, whole and in order.
///
/// Thread safety: one thread may send while another receives; two that send, or two that receive,
/// must take turns. Nobody else may use it while it is closed or moved.
///
/// Process safety: when every copy of the other end is closed, or its processes have died,
/// receiving throws `EndOfFile` once all that was sent is received, and sending throws
/// `std::system_error` with EPIPE. A fork copies all ends into the child, so close those that a
/// process does not use: a receiver that holds a copy of the sender's end waits for itself.
/// An end that is moved into a `Process` as an argument of its own goes over for good: when that
/// starts it is closed in the parent, and the other end is closed in the child.
///
/// Every member but `close` and `closed` throws `std::logic_error` on a closed or moved-from
/// object.
class PRONG_API Connection {
public:
    Connection() noexcept; ///< closed
    /// Takes over the end; `other` is closed then.
    Connection(Connection&& other) noexcept;
    /// Closes its own end, then takes over the other's.
    Connection& operator=(Connection&& other) noexcept;
    ~Connection();

    /// Sends one value, for `recv<T>` of the same type, or a text for `recv<std::string>`.
    /// Waits while the other end's buffer (some 200 KB) is full: two processes that send each other
    /// large messages at the same time, with nobody receiving, wait for ever.
    /// Throws what encoding throws, before anything is sent; `std::system_error` with EPIPE when
    /// the other end is gone; `std::logic_error` on an end that only receives. Should the system
    /// refuse to go on in the middle of a message, this end can send no more, and the other end
    /// receives `EndOfFile`.
    template <typename T>
    void send(const T& value) {
        detail::BufferWriter writer;
        if constexpr (std::convertible_to<const T&, std::string_view>) {
            detail::encode(writer, std::string(std::string_view(value)));
        } else {
            detail::encode(writer, value);
        }
        send_bytes(writer.bytes());
    }

    /// Waits for the next message and decodes it. Throws `EndOfFile` when the other end is gone,
    /// also in the middle of a message; `CodecError` when the message is not a `T`, and then it is
    /// used up and the next can be received; `std::logic_error` on an end that only sends.
    template <typename T>
    T recv() {
        const std::vector<std::byte> message = recv_bytes();
        detail::Reader reader{message};
        T value = detail::decode<T>(reader);
        require_all_read(reader);
        return value;
    }

    /// One message of plain bytes, of any size, none included. Waits and throws as `send`.
    void send_bytes(std::span<const std::byte> message);
    /// Sends the bytes of a text.
    void send_bytes(std::string_view message) { send_bytes(std::as_bytes(std::span(message))); }

    /// The next message as it was sent; `send` and `send_bytes` may be mixed. Waits and throws as
    /// `recv`, without `CodecError`. `std::bad_alloc` loses this message only. Memory is taken as
    /// the bytes arrive, not for what the sender claims.
    std::vector<std::byte> recv_bytes();

    /// Whether something can be received, a message or the other end's going. Waits at most so long
    /// for it: by default not at all, for `std::nullopt` as long as it takes.
    [[nodiscard]] bool poll(Timeout timeout = std::chrono::seconds(0)) const;

    /// The other end sees that this one is gone, when no other process has a copy. May be repeated.
    void close() noexcept;
    /// Whether `close` was called, or the end was moved away.
    [[nodiscard]] bool closed() const noexcept;

    /// The descriptor, readable when a message comes; it stays the connection's.
    [[nodiscard]] int fileno() const;

    [[nodiscard]] bool readable() const noexcept { return receives_; } ///< whether it may receive
    [[nodiscard]] bool writable() const noexcept { return sends_; }    ///< whether it may send

private:
    friend PRONG_API std::pair<Connection, Connection> Pipe(bool duplex);

    // What a Process does with those among its arguments, in the child.
    friend PRONG_API void prong_keep_end(Connection& connection) noexcept;
    friend PRONG_API void prong_drop_other_end(Connection& connection) noexcept;

    Connection(std::shared_ptr<detail::PipeEnds> ends, std::size_t side, bool receives, bool sends);

    void require_receiving() const;
    void receive(std::span<std::byte> part, std::uint64_t message_bytes);
    void skip_unread();
    static void require_all_read(const detail::Reader& reader);

    std::shared_ptr<detail::PipeEnds> ends_; // null when closed
    std::size_t side_ = 0;
    bool receives_ = false;
    bool sends_ = false;
    std::uint64_t unread_bytes_ = 0; // of a message whose receiver ran out of memory
};

/// Two connected ends: `auto [a, b] = prong::Pipe();`. With `duplex` (the default) both send and
/// receive; without, the first only receives and the second only sends.
/// Throws `std::system_error`. Thread safety: any thread.
PRONG_API std::pair<Connection, Connection> Pipe(bool duplex = true);

} // namespace prong
