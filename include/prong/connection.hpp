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
struct ConnectionEnds;
struct MessageSource;
} // namespace detail

/// One end of a connection, made by `Pipe`, `Listener` or `Client`. The other end receives all
/// messages whole and in order. On a closed or moved-from object every member throws
/// `std::logic_error`, except `close`, `closed`, `readable` and `writable`.
///
/// `send_bytes` and `recv_bytes` speak the format of Python's `multiprocessing.connection`, so the
/// other end may be a Python program that calls the methods of these names. `send` and `recv` are
/// for two prong programs: Python's pickle is not supported.
///
/// Thread safety: one thread may send while another receives; two senders or two receivers must
/// take turns. No thread may use an end while another closes or moves it.
///
/// Process safety: once every copy of the other end is closed, or its processes have died, sending
/// throws `std::system_error` with EPIPE. Receiving then throws `EndOfFile` after the last message.
/// A fork copies all ends into the child; close those that a process does not use: a receiver that
/// keeps a copy of the sender's end waits for ever. An end moved into a `Process` as a direct
/// argument belongs to the child. `start()` closes it in the parent, and the other end in the
/// child.
class PRONG_API Connection {
public:
    Connection() noexcept; ///< creates a closed connection
    /// Takes over the end; `other` is closed afterwards.
    Connection(Connection&& other) noexcept;
    /// Closes this end, then takes over the other's.
    Connection& operator=(Connection&& other) noexcept;
    /// Closes the end.
    ~Connection();

    /// Sends one value for `recv<T>` of the same type; a text for `recv<std::string>`. Blocks while
    /// the buffer (about 200 KB) is full. Two processes that both send large messages and do not
    /// receive block for ever. *Throws* what encoding throws, before anything is sent;
    /// `std::system_error` with EPIPE if the other end is closed; `std::logic_error` on an end that
    /// only receives. A system error in mid-message ends sending; the other end receives
    /// `EndOfFile`.
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

    /// Blocks until the next message arrives, and decodes it. *Throws* `EndOfFile` if the other end
    /// is closed, also in mid-message; `std::logic_error` on an end that only sends; `CodecError`
    /// if the message is not a `T`: that message is discarded, and the next can be received.
    /// Throws `CodecError` as well if the other end sends no messages but other bytes: that ends
    /// the connection.
    template <typename T>
    T recv() {
        const std::vector<std::byte> message = recv_bytes();
        detail::Reader reader{message};
        T value = detail::decode<T>(reader);
        require_all_read(reader);
        return value;
    }

    /// Sends one message of bytes, of any size including zero. Blocks and throws like `send`.
    void send_bytes(std::span<const std::byte> message);
    /// Sends the bytes of a text.
    void send_bytes(std::string_view message) { send_bytes(std::as_bytes(std::span(message))); }

    /// Receives the next message as bytes; `send` and `send_bytes` may be mixed. Allocates memory
    /// as bytes arrive, not for the size that the sender announces. Blocks and throws like `recv`.
    /// On `std::bad_alloc` that message is discarded.
    std::vector<std::byte> recv_bytes();

    /// Returns whether a message or the end of file can be received. Blocks at most `timeout`;
    /// `std::nullopt`: no limit. *Default:* 0, does not block.
    [[nodiscard]] bool poll(Timeout timeout = std::chrono::seconds(0)) const;

    /// Closes this end. The peer sees end of file once no process has a copy. May be repeated.
    void close() noexcept;
    /// Returns whether the end was closed or moved away.
    [[nodiscard]] bool closed() const noexcept;

    /// Returns the descriptor, readable when a message arrives. Owned by the connection.
    [[nodiscard]] int fileno() const;

    /// Returns whether this end can receive at all; for data see `poll()`.
    [[nodiscard]] bool readable() const noexcept { return receives_; }
    /// Returns whether this end can send at all.
    [[nodiscard]] bool writable() const noexcept { return sends_; }

private:
    friend struct detail::ConnectionEnds;

    // What a Process does with those among its arguments, in the child.
    friend PRONG_API void prong_keep_end(Connection& connection) noexcept;
    friend PRONG_API void prong_drop_other_end(Connection& connection) noexcept;

    Connection(std::shared_ptr<detail::ConnectionEnds> ends, std::size_t side, bool receives,
               bool sends);

    [[nodiscard]] int receiving_fd() const;
    std::vector<std::byte> receive_message(detail::MessageSource& source);
    std::uint64_t receive_header(detail::MessageSource& source);
    void receive(detail::MessageSource& source, std::span<std::byte> part,
                 std::uint64_t message_bytes);
    void skip_unread(detail::MessageSource& source);
    static void require_all_read(const detail::Reader& reader);

    std::shared_ptr<detail::ConnectionEnds> ends_; // null when closed
    std::size_t side_ = 0;
    bool receives_ = false;
    bool sends_ = false;
    std::uint64_t unread_bytes_ = 0; // of a message whose receiver ran out of memory
};

} // namespace prong
