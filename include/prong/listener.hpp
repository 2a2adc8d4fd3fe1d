#pragma once

#include <prong/connection.hpp>
#include <prong/detail/async_members.hpp>
#include <prong/detail/export.hpp>
#include <prong/timeout.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

/// \file
/// Connects programs that are no relatives, also on different machines. An address is
/// "host:port" or "[IPv6]:port" (TCP), "/path" (a local socket with a file), or "@name" (a local
/// socket with an abstract name, which needs no file).
///
/// Both ends speak the protocol of Python's `multiprocessing.connection`, so either may be a Python
/// program, which uses `Listener`, `Client`, `send_bytes` and `recv_bytes` from there. With an
/// authkey both sides prove, before anything else, that they have the same key, without revealing
/// it. Nothing is encrypted, and an attacker who can change data on the way can take over a
/// connection: use TCP within a trusted network only.

namespace prong {

namespace detail {
class Acceptor;
class ListenerPort;
} // namespace detail

/// Accepts connections at an address: `prong::Listener listener("localhost:0", "key");`.
///
/// A client that has a wrong key, breaks the protocol or is silent is disconnected and never
/// returned. It neither throws here nor delays other clients: handshakes run side by side, during
/// `accept` and `accept_for`.
///
/// A closed or moved-from object throws `std::logic_error`, except from `close` and `closed`.
///
/// Thread safety: any number of threads may accept at once. No thread may use a listener while
/// another closes or moves it.
///
/// Process safety: after a fork, parent and child may both accept; each client goes to one of
/// them. A handshake belongs to the process in which it began. A listener moved into a `Process` as
/// a direct argument belongs to the child. Workers of a pool do not inherit listeners.
class PRONG_API Listener {
public:
    /// The time that a client has for the whole handshake. It is then disconnected.
    static constexpr std::chrono::seconds handshake_timeout{10};
    /// Clients whose handshake is not over. One more disconnects the oldest of them, so that silent
    /// clients keep no other client out.
    static constexpr std::size_t max_handshakes = 128;

    /// Binds to the address and listens. Port 0 becomes a free port. A name that stands for several
    /// addresses binds to the first that is possible, IPv4 first; an empty host (":80") binds to
    /// all of this machine. The file of a listener that was killed is replaced. A new file has the
    /// permissions that the umask leaves. *Default:* no authkey, everybody is let in.
    ///
    /// *Throws* `std::invalid_argument` for a malformed address; `Error` for an unknown host, or
    /// for an authkey if prong was built without the library nettle; `std::system_error`, with
    /// EADDRINUSE if another socket has the address.
    explicit Listener(const std::string& address, std::string authkey = {});

    /// Takes over the listener; `other` is closed afterwards.
    Listener(Listener&& other) noexcept;
    /// Closes this listener, then takes over the other's.
    Listener& operator=(Listener&& other) noexcept;
    /// Closes the listener.
    ~Listener();

    /// Blocks until a client is connected and has passed the handshake. *Throws*
    /// `std::system_error`, for example if the process can open no more descriptors.
    Connection accept();

    /// Like `accept`, but blocks at most `timeout` (0: does not block). Returns nothing on expiry;
    /// handshakes that have begun go on in the next call.
    std::optional<Connection> accept_for(Timeout timeout);

    /// Accepts a client in an event loop: `async_accept([executor,] [token])`, with
    /// `<prong/asio.hpp>`. The handler gets `(std::exception_ptr, Connection)`; the exception is
    /// what `accept` throws. *Default:* the handler's executor; `use_awaitable`. Any number may be
    /// in progress. An operation that was cancelled, or whose listener was closed
    /// (`operation_aborted`), accepts no client. A client whose time for the handshake is over is
    /// disconnected when the next one comes.
    template <typename... Args>
    auto async_accept(Args&&... args) {
        return detail::DefinedInProngAsioHpp<Listener, Args...>().async_accept(
            *this, std::forward<Args>(args)...);
    }

    /// Returns the address with the port that the system has chosen, and a host in numbers, such as
    /// "127.0.0.1:40123"; a path or an abstract name as it is.
    [[nodiscard]] std::string address() const;

    /// Returns a descriptor that is readable when `accept_for(0s)` has something to do: accept a
    /// client, or go on with a handshake. For `wait`, `poll` or an event loop only. Owned by the
    /// listener; a child of a fork has another one.
    [[nodiscard]] int fileno() const;

    /// Stops listening and disconnects clients whose handshake is not over. Removes the file of a
    /// local socket in the process that created the listener, if it is still the same file.
    /// Connections that were accepted stay open. May be repeated.
    void close() noexcept;
    /// Returns whether the listener was closed or moved away.
    [[nodiscard]] bool closed() const noexcept { return acceptor_ == nullptr; }

private:
    friend class detail::ListenerPort;

    // What a Process does with a listener among its arguments: in the child, and in the parent.
    friend PRONG_API void prong_keep_end(Listener& listener) noexcept;
    friend PRONG_API void prong_give_away(Listener& listener, int child) noexcept;

    detail::Acceptor& acceptor() const;

    std::shared_ptr<detail::Acceptor> acceptor_; // null when closed
};

/// Connects to a `Listener` at `address`, of this or another program, and makes the handshake if
/// `authkey` is not empty. Blocks until the listener has accepted, at most `timeout`, which does
/// not bound the lookup of a host's name. With an authkey, a listener that has none never accepts.
/// *Default:* no authkey; no limit.
///
/// *Throws* `AuthenticationError` if the keys differ; `TimeoutError`; `EndOfFile` if the listener
/// closes the connection during the handshake; `std::system_error` if the address cannot be
/// reached; otherwise like the constructor of `Listener`. Thread safety: any thread.
PRONG_API Connection Client(const std::string& address, const std::string& authkey = {},
                            Timeout timeout = std::nullopt);

} // namespace prong
