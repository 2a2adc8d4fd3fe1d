#pragma once

#include <prong/detail/async_members.hpp>
#include <prong/detail/export.hpp>

#include <memory>
#include <optional>

namespace prong {
class Connection;
class Listener;
} // namespace prong

namespace prong::detail {

class Acceptor;

/// A listener for one operation of an event loop. Never blocks.
///
/// Thread safety: any thread, one at a time.
class PRONG_API ListenerPort {
public:
    /// Throws `std::logic_error` if the listener is closed.
    explicit ListenerPort(const Listener& listener);
    /// Before `enter`.
    ListenerPort(ListenerPort&&) noexcept = default;
    ListenerPort& operator=(ListenerPort&&) = delete;
    ~ListenerPort();

    /// Has `operation` cancelled when the listener is closed, until this object is destroyed.
    /// Returns false if it was closed.
    bool enter(Cancellable& operation);
    /// Returns a new descriptor that is readable when it is worth trying again.
    [[nodiscard]] int watch() const;
    /// Returns a client that has passed the handshake, if there is one. Throws like
    /// `Listener::accept`.
    [[nodiscard]] std::optional<Connection> try_accept() const;

private:
    std::weak_ptr<Acceptor> acceptor_;
    Cancellable* operation_ = nullptr;
};

} // namespace prong::detail
