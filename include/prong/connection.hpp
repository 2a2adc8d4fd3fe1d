#pragma once

#include <prong/codec.hpp>
#include <prong/detail/async_members.hpp>
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
class ConnectionPort;
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
        detail::MessageWriter writer;
        encode(writer, value);
        send_bytes(writer.bytes());
        writer.post();
    }
    /// Sends a `SharedBuffer`, or what holds one, which moves to the receiver. Otherwise as above.
    template <typename T>
        requires(detail::is_moved_by_encoding<std::remove_cvref_t<T>>())
    void send(T&& value) {
        if constexpr (detail::require_passed_on<T>())
            send<std::remove_cvref_t<T>>(std::as_const(value));
    }

    /// Blocks until the next message arrives, and decodes it. *Throws* `EndOfFile` if the other end
    /// is closed, also in mid-message; `std::logic_error` on an end that only sends; `CodecError`
    /// if the message is not a `T`: that message is discarded, and the next can be received.
    /// Throws `CodecError` as well if the other end sends no messages but other bytes: that ends
    /// the connection.
    template <typename T>
    T recv() {
        return decode<T>(recv_bytes());
    }

    /// Sends one message of bytes, of any size including zero. Blocks and throws like `send`.
    void send_bytes(std::span<const std::byte> message);
    /// Sends the bytes of a text.
    void send_bytes(std::string_view message) { send_bytes(std::as_bytes(std::span(message))); }

    /// Receives the next message as bytes; `send` and `send_bytes` may be mixed. Allocates memory
    /// as bytes arrive, not for the size that the sender announces. Blocks and throws like `recv`.
    /// On `std::bad_alloc` that message is discarded.
    std::vector<std::byte> recv_bytes();

    /// Sends a value in an event loop: `async_send([executor,] value, [token])`, with
    /// `<prong/asio.hpp>`. The handler gets `(std::exception_ptr)`, of what `send` throws after it
    /// has encoded the value; the call encodes it, and throws the rest. *Default:* the handler's
    /// executor; `use_awaitable`. Until then nothing else may be sent; a second `async_send` fails
    /// with `std::logic_error`. A cancelled one (`operation_aborted`) has sent nothing, with one
    /// exception: if a part was sent, total and partial cancellation have no effect, and terminal
    /// cancellation ends sending. The end of the context does so, too. The other end receives
    /// `EndOfFile` then.
    template <typename... Args>
    auto async_send(Args&&... args) {
        return detail::DefinedInProngAsioHpp<Connection, Args...>().async_send(
            *this, std::forward<Args>(args)...);
    }
    /// Receives a value in an event loop: `async_recv<T>([executor,] [token])`. The handler gets
    /// `(std::exception_ptr, T)`, or a
    /// `std::optional<T>` if `T` has no default constructor; the exception is what `recv` throws.
    /// *Default:* like `async_send`. Until then nothing else may be received; a second `async_recv`
    /// fails with `std::logic_error`. A cancelled one (`operation_aborted`) loses nothing: a part
    /// of a message that has arrived stays here for the next receiver.
    template <typename T, typename... Args>
    auto async_recv(Args&&... args) {
        return detail::DefinedInProngAsioHpp<Connection, Args...>().template async_recv<T>(
            *this, std::forward<Args>(args)...);
    }
    /// Like `async_send`, for bytes that must exist until the handler runs.
    template <typename... Args>
    auto async_send_bytes(Args&&... args) {
        return detail::DefinedInProngAsioHpp<Connection, Args...>().async_send_bytes(
            *this, std::forward<Args>(args)...);
    }
    /// Like `async_recv`. The handler gets `(std::exception_ptr, std::vector<std::byte>)`.
    template <typename... Args>
    auto async_recv_bytes(Args&&... args) {
        return detail::DefinedInProngAsioHpp<Connection, Args...>().async_recv_bytes(
            *this, std::forward<Args>(args)...);
    }

    /// Returns whether a message or the end of file can be received. Blocks at most `timeout`;
    /// `std::nullopt`: no limit. *Default:* 0, does not block.
    [[nodiscard]] bool poll(Timeout timeout = std::chrono::seconds(0)) const;

    /// Closes this end. The peer sees end of file once no process has a copy. Cancels what an event
    /// loop sends and receives. May be repeated.
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
    friend class detail::ConnectionPort;
    template <typename, typename...>
    friend struct detail::DefinedInProngAsioHpp;

    // What a Process does with those among its arguments, in the child.
    friend PRONG_API void prong_keep_end(Connection& connection) noexcept;
    friend PRONG_API void prong_drop_other_end(Connection& connection) noexcept;

    Connection(std::shared_ptr<detail::ConnectionEnds> ends, std::size_t side, bool receives,
               bool sends);

    template <typename T>
    static void encode(detail::MessageWriter& writer, const T& value) {
        if constexpr (std::convertible_to<const T&, std::string_view>) {
            detail::encode(writer, std::string(std::string_view(value)));
        } else {
            detail::encode(writer, value);
        }
    }
    template <typename T>
    static T decode(std::span<const std::byte> message) {
        detail::Reader reader{message};
        T value = detail::decode<T>(reader);
        require_all_read(reader);
        return value;
    }

    [[nodiscard]] int receiving_fd() const;
    [[nodiscard]] int sending_fd() const;
    static void require_all_read(const detail::Reader& reader);

    std::shared_ptr<detail::ConnectionEnds> ends_; // null when closed
    std::size_t side_ = 0;
    bool receives_ = false;
    bool sends_ = false;
};

} // namespace prong
