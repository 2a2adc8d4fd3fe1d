#pragma once

#include <prong/asio/detail/attempts.hpp>
#include <prong/detail/listener_port.hpp>
#include <prong/listener.hpp>

/// \file
/// Clients of a `Listener` in the event loops of Asio: `Listener::async_accept`.

namespace prong::detail {

class Accept final : public ThrowingAttempt<Connection> {
public:
    explicit Accept(const Listener& listener) : port_(listener) {}

    Result attempt(Cancellable& operation) {
        if (!port_.enter(operation)) return cancelled();
        auto connection = port_.try_accept();
        if (!connection) return std::nullopt;
        return std::tuple<std::exception_ptr, Connection>(nullptr, std::move(*connection));
    }
    [[nodiscard]] int watch() const { return port_.watch(); }

private:
    ListenerPort port_;
};

template <typename... Args>
struct DefinedInProngAsioHpp<Listener, Args...> {
    static auto async_accept(const Listener& listener, Args&&... args) {
        return start_attempts<void(std::exception_ptr, Connection)>(Accept(listener),
                                                                    std::forward<Args>(args)...);
    }
};

} // namespace prong::detail
