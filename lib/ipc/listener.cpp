#include <prong/listener.hpp>

#include "base/errno.hpp"
#include "base/fd.hpp"
#include "ipc/acceptor.hpp"
#include "ipc/address.hpp"
#include "ipc/connection_ends.hpp"
#include "ipc/handshake.hpp"
#include "ipc/hmac.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

#include <prong/detail/deadline.hpp>
#include <prong/detail/listener_port.hpp>
#include <prong/error.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <exception>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace prong {

using detail::ConnectionEnds;
using detail::Deadline;

Listener::Listener(const std::string& address, std::string authkey)
    : acceptor_(std::make_shared<detail::Acceptor>(
          address, std::move(authkey),
          detail::Acceptor::Limits{.handshake = handshake_timeout,
                                   .most_clients = max_handshakes})) {}

Listener::Listener(Listener&& other) noexcept = default;
Listener& Listener::operator=(Listener&& other) noexcept = default;
Listener::~Listener() = default;

detail::Acceptor& Listener::acceptor() const {
    if (!acceptor_) throw std::logic_error("prong::Listener: used after close()");
    return *acceptor_;
}

Connection Listener::accept() {
    return ConnectionEnds::connection(acceptor().accept(Deadline::never()));
}

std::optional<Connection> Listener::accept_for(Timeout timeout) {
    base::UniqueFd accepted = acceptor().accept(Deadline::after(timeout));
    if (!accepted) return std::nullopt;
    return ConnectionEnds::connection(std::move(accepted));
}

std::string Listener::address() const {
    return acceptor().address();
}

int Listener::fileno() const {
    return acceptor().descriptor();
}

void Listener::close() noexcept {
    acceptor_.reset();
}

detail::ListenerPort::ListenerPort(const Listener& listener) : acceptor_(listener.acceptor_) {
    static_cast<void>(listener.acceptor());
}

detail::ListenerPort::~ListenerPort() {
    if (operation_ == nullptr) return;
    if (const auto acceptor = acceptor_.lock()) acceptor->remove(*operation_);
}

bool detail::ListenerPort::enter(Cancellable& operation) {
    const auto acceptor = acceptor_.lock();
    if (!acceptor) return false;
    if (operation_ == nullptr) acceptor->add(operation);
    operation_ = &operation;
    return true;
}

int detail::ListenerPort::watch() const {
    return os::watch(acceptor_.lock()->descriptor(), os::Readiness::readable).release();
}

std::optional<Connection> detail::ListenerPort::try_accept() const {
    base::UniqueFd accepted = acceptor_.lock()->accept(Deadline::now());
    if (!accepted) return std::nullopt;
    return ConnectionEnds::connection(std::move(accepted));
}

void prong_keep_end(Listener& listener) noexcept {
    if (listener.acceptor_) listener.acceptor_->own_file();
}

void prong_give_away(Listener& listener, int /*child*/) noexcept {
    if (listener.acceptor_) listener.acceptor_->disown_file();
}

namespace {

[[noreturn]] void throw_timeout(const std::string& address) {
    throw TimeoutError("prong::Client: " + address + " has not let this process in in time");
}

base::UniqueFd connect_to(const ipc::Address& address, Deadline deadline) {
    base::UniqueFd connection(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!connection) base::throw_errno("socket");
    connection = os::lift(std::move(connection));
    os::limit_sending(connection.get(), deadline);
    const int result = base::retry_interrupted(
        [&] { return connect(connection.get(), address.data(), address.length()); });
    if (result != 0) {
        if (errno == EINPROGRESS || errno == EAGAIN) throw_timeout(address.text());
        base::throw_errno(("connect to " + address.text()).c_str());
    }
    os::limit_sending(connection.get(), Deadline::never());
    os::send_without_delay(connection.get());
    return connection;
}

base::UniqueFd connect_to_first(const std::string& address, Deadline deadline) {
    std::exception_ptr error;
    for (const ipc::Address& one : ipc::resolve(address)) {
        try {
            return connect_to(one, deadline);
        } catch (const std::system_error&) {
            if (!error) error = std::current_exception();
        }
    }
    std::rethrow_exception(error);
}

void shake_hands(int fd, const std::string& address, const std::string& key, Deadline deadline) {
    ipc::Handshake handshake(ipc::Side::client, key);
    for (;;) {
        const std::string output = handshake.take_output();
        os::send_all(fd, std::as_bytes(std::span(output)), {});
        if (handshake.failed()) throw AuthenticationError(address + ": " + handshake.failure());
        const std::span<std::byte> room = handshake.room();
        if (room.empty()) return;
        if (!os::wait_readable(fd, deadline)) throw_timeout(address);
        const std::size_t received = os::receive_some(fd, room);
        if (received == 0) throw EndOfFile(address + " has closed the connection in the handshake");
        handshake.received(received);
    }
}

} // namespace

Connection Client(const std::string& address, const std::string& authkey, Timeout timeout) {
    if (!authkey.empty()) ipc::require_hmac();
    const Deadline deadline = Deadline::after(timeout);
    base::UniqueFd socket = connect_to_first(address, deadline);
    shake_hands(socket.get(), address, authkey, deadline);
    return ConnectionEnds::connection(std::move(socket));
}

} // namespace prong
