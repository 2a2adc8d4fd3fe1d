#pragma once

#include <prong/asio/detail/attempts.hpp>
#include <prong/asio/detail/value.hpp>
#include <prong/connection.hpp>
#include <prong/detail/connection_port.hpp>

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

/// \file
/// Messages in the event loops of Asio: `Connection::async_send` and `async_recv`.

namespace prong::detail {

/// An attempt to use a connection.
template <typename... Values>
class UseConnection : public ThrowingAttempt<Values...> {
public:
    UseConnection(const Connection& connection, ConnectionPort::Direction direction)
        : port_(connection, direction) {}

    [[nodiscard]] int watch() const { return port_.watch(); }

protected:
    /// Returns false if the connection was closed meanwhile.
    bool enter(Cancellable& operation) {
        if (port_.is_closed()) return false;
        port_.enter(operation);
        return true;
    }
    [[nodiscard]] ConnectionPort& port() { return port_; }

private:
    ConnectionPort port_;
};

/// An attempt to receive a message, which `Decode` makes a `T` of.
template <typename T, typename Decode>
class Receive final : public UseConnection<async_value_t<T>> {
public:
    Receive(const Connection& connection, Decode decode)
        : UseConnection<async_value_t<T>>(connection, ConnectionPort::Direction::receive),
          decode_(decode) {}

    auto attempt(Cancellable& operation) -> typename Receive::Result {
        if (!this->enter(operation)) return this->cancelled();
        auto message = this->port().try_receive();
        if (!message) return std::nullopt;
        return std::tuple<std::exception_ptr, async_value_t<T>>(nullptr,
                                                                decode_(std::move(*message)));
    }

private:
    Decode decode_;
};

/// An attempt to send a message, to which `Message` points.
template <typename Message>
class Send final : public UseConnection<> {
public:
    Send(const Connection& connection, Message message)
        : UseConnection(connection, ConnectionPort::Direction::send), message_(std::move(message)) {
    }

    Result attempt(Cancellable& operation) {
        if (!enter(operation)) return cancelled();
        if (!port().try_send(message_->bytes())) return std::nullopt;
        message_->post();
        return std::exception_ptr();
    }
    bool gives_up(net::cancellation_type type) {
        return !port().has_begun() ||
               (type & net::cancellation_type::terminal) != net::cancellation_type::none;
    }

private:
    Message message_;
};

/// Bytes of the caller.
class BorrowedMessage {
public:
    explicit BorrowedMessage(std::span<const std::byte> bytes) : bytes_(bytes) {}
    explicit BorrowedMessage(std::string_view text) : bytes_(std::as_bytes(std::span(text))) {}

    [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
    void post() const noexcept {}
    const BorrowedMessage* operator->() const { return this; }

private:
    std::span<const std::byte> bytes_;
};

template <typename... Args>
struct DefinedInProngAsioHpp<Connection, Args...> {
    template <typename Value, typename... Rest>
        requires(!ExecutorOrContext<Value>)
    static auto async_send(const Connection& connection, Value&& value, Rest&&... rest) {
        return send<Value>(connection, value, std::forward<Rest>(rest)...);
    }
    template <ExecutorOrContext Where, typename Value, typename... Rest>
    static auto async_send(const Connection& connection, Where&& where, Value&& value,
                           Rest&&... rest) {
        return send<Value>(connection, value, where, std::forward<Rest>(rest)...);
    }

    template <typename Message, typename... Rest>
        requires(!ExecutorOrContext<Message>)
    static auto async_send_bytes(const Connection& connection, const Message& message,
                                 Rest&&... rest) {
        return start_send(connection, BorrowedMessage(message), std::forward<Rest>(rest)...);
    }
    template <ExecutorOrContext Where, typename Message, typename... Rest>
    static auto async_send_bytes(const Connection& connection, Where&& where,
                                 const Message& message, Rest&&... rest) {
        return start_send(connection, BorrowedMessage(message), where, std::forward<Rest>(rest)...);
    }

    template <typename T>
    static auto async_recv(const Connection& connection, Args&&... args) {
        return receive<T>(
            connection,
            [](const std::vector<std::byte>& message) { return Connection::decode<T>(message); },
            std::forward<Args>(args)...);
    }
    static auto async_recv_bytes(const Connection& connection, Args&&... args) {
        return receive<std::vector<std::byte>>(
            connection, [](std::vector<std::byte> message) { return message; },
            std::forward<Args>(args)...);
    }

private:
    template <typename Value, typename T, typename... Rest>
    static auto send(const Connection& connection, const T& value, Rest&&... rest) {
        if constexpr (require_passed_on<Value>()) {
            auto writer = std::make_unique<MessageWriter>();
            Connection::encode(*writer, value);
            writer->forget_handles();
            return start_send(connection, std::move(writer), std::forward<Rest>(rest)...);
        }
    }

    template <typename Message, typename... Rest>
    static auto start_send(const Connection& connection, Message message, Rest&&... rest) {
        return start_attempts<void(std::exception_ptr)>(
            Send<Message>(connection, std::move(message)), std::forward<Rest>(rest)...);
    }

    template <typename T, typename Decode, typename... Rest>
    static auto receive(const Connection& connection, Decode decode, Rest&&... rest) {
        return start_attempts<void(std::exception_ptr, async_value_t<T>)>(
            Receive<T, Decode>(connection, decode), std::forward<Rest>(rest)...);
    }
};

} // namespace prong::detail
