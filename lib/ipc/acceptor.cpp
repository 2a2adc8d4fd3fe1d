#include "ipc/acceptor.hpp"

#include "base/errno.hpp"
#include "ipc/address.hpp"
#include "ipc/hmac.hpp"
#include "ipc/listening.hpp"
#include "os/fork_depth.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace prong::detail {
namespace {

void watch(int events, int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(events, EPOLL_CTL_ADD, fd, &event) != 0) base::throw_errno("epoll_ctl");
}

os::GuardedFd make_events(int listener) {
    base::UniqueFd events(epoll_create1(EPOLL_CLOEXEC));
    if (!events) base::throw_errno("epoll_create1");
    watch(events.get(), listener);
    return os::GuardedFd(os::lift(std::move(events)));
}

} // namespace

/// While it lives, no other thread changes the acceptor, which is as this process needs it.
class Acceptor::Turn {
public:
    explicit Turn(Acceptor& acceptor) : acceptor_(acceptor) {
        const bool is_half_written = acceptor_.mutex_.lock();
        try {
            acceptor_.enter_process(is_half_written);
        } catch (...) {
            acceptor_.mutex_.unlock();
            throw;
        }
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() { acceptor_.mutex_.unlock(); }

private:
    Acceptor& acceptor_;
};

Acceptor::Acceptor(const std::string& address, std::string key, Limits limits)
    : key_(std::move(key)), limits_(limits), clients_(std::make_unique<Clients>()),
      home_(os::fork_depth()) {
    if (!key_.empty()) ipc::require_hmac();
    listen_at_first(address);
    events_ = make_events(socket_.get());
}

void Acceptor::listen_at_first(const std::string& address) {
    std::exception_ptr error;
    for (const ipc::Address& one : ipc::resolve(address)) {
        try {
            socket_ = os::GuardedFd(ipc::listen_at(one));
            const ipc::Address bound = ipc::Address::of(socket_.get());
            address_ = bound.text();
            file_ = ipc::SocketFile(bound);
            return;
        } catch (const std::system_error&) {
            if (!error) error = std::current_exception();
        }
    }
    std::rethrow_exception(error);
}

Acceptor::~Acceptor() {
    if (socket_.get() >= 0) file_.remove(); // else another listener may have the file by now
    if (home_ != os::fork_depth()) return;
    for (Cancellable* const operation : operations_) operation->cancel();
}

void Acceptor::add(Cancellable& operation) {
    const Turn turn(*this);
    operations_.push_back(&operation);
}

void Acceptor::remove(Cancellable& operation) noexcept {
    const std::lock_guard lock(mutex_);
    if (home_ == os::fork_depth()) std::erase(operations_, &operation);
}

/// In a child of the process that has used this so far: gives up what belongs to the parent.
void Acceptor::enter_process(bool is_half_written) {
    const bool is_copy = home_ != os::fork_depth();
    if (socket_.get() < 0 || (!is_copy && events_.get() < 0)) {
        throw std::logic_error("prong::Listener: its descriptor was closed by other code; workers "
                               "of a pool do not inherit listeners");
    }
    if (!is_copy) return;
    if (is_half_written) {
        static_cast<void>(clients_.release());
        std::construct_at(&operations_);
    }
    clients_ = std::make_unique<Clients>();
    operations_.clear();
    events_ = make_events(socket_.get());
    home_ = os::fork_depth();
}

int Acceptor::descriptor() {
    const Turn turn(*this);
    return events_.get();
}

base::UniqueFd Acceptor::accept(Deadline deadline) {
    for (;;) {
        base::UniqueFd accepted;
        int events = -1;
        Deadline until = deadline;
        {
            const Turn turn(*this);
            reject_late();
            const bool was_busy = handle_event(accepted);
            if (accepted || (was_busy && deadline.passed())) return accepted;
            if (was_busy) continue;
            events = events_.get();
            if (!clients_->empty()) until = std::min(until, clients_->front().deadline);
        }
        if (!os::wait_readable(events, until) && deadline.passed()) return {};
    }
}

/// Rejects clients whose time is over.
void Acceptor::reject_late() {
    while (!clients_->empty() && clients_->front().deadline.passed()) reject(clients_->begin());
}

/// Handles one event, if there is any, and returns whether there was.
bool Acceptor::handle_event(base::UniqueFd& accepted) {
    epoll_event event{};
    const int count =
        base::retry_interrupted([&] { return epoll_wait(events_.get(), &event, 1, 0); });
    if (count < 0) base::throw_errno("epoll_wait");
    if (count == 0) return false;
    if (event.data.fd == socket_.get()) {
        accepted = accept_client();
        return true;
    }
    const auto client = std::ranges::find_if(
        *clients_, [&](const Client& one) { return one.socket.get() == event.data.fd; });
    if (client != clients_->end()) accepted = advance(client);
    return true;
}

/// Accepts a client and begins the handshake. Returns its socket if there is none to be made.
base::UniqueFd Acceptor::accept_client() {
    base::UniqueFd socket(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) {
        const bool is_out_of_descriptors = errno == EMFILE || errno == ENFILE;
        if (is_out_of_descriptors && !clients_->empty()) {
            reject(clients_->begin());
        } else if (!ipc::concerns_one_client(errno)) {
            base::throw_errno("accept4");
        }
        return {};
    }
    socket = os::lift(std::move(socket));
    os::send_without_delay(socket.get());
    if (key_.empty()) return socket;
    if (clients_->size() == limits_.most_clients) reject(clients_->begin());
    watch(events_.get(), socket.get());
    clients_->push_back({.socket = os::GuardedFd(std::move(socket)),
                         .handshake = ipc::Handshake(ipc::Side::listener, key_),
                         .deadline = Deadline::after(limits_.handshake)});
    return advance(std::prev(clients_->end()));
}

/// Goes on with a handshake as far as that needs no wait. Returns the socket if it is over.
base::UniqueFd Acceptor::advance(Clients::iterator client) {
    ipc::Handshake& handshake = client->handshake;
    const int fd = client->socket.get();
    for (;;) {
        const std::string output = handshake.take_output();
        // The buffer of a client that receives has room for all output of a handshake.
        const bool is_sent =
            output.empty() || send(fd, output.data(), output.size(), MSG_DONTWAIT | MSG_NOSIGNAL) ==
                                  static_cast<ssize_t>(output.size());
        if (handshake.finished()) return take_out(client);
        if (!is_sent || handshake.failed()) break;
        const std::span<std::byte> room = handshake.room();
        const ssize_t received = recv(fd, room.data(), room.size(), MSG_DONTWAIT);
        if (received < 0 && (errno == EAGAIN || errno == EINTR)) return {};
        if (received <= 0) break;
        handshake.received(static_cast<std::size_t>(received));
    }
    reject(client);
    return {};
}

/// Ends the watch over a client and returns its socket.
base::UniqueFd Acceptor::take_out(Clients::iterator client) {
    base::UniqueFd socket = client->socket.release();
    clients_->erase(client);
    // Closing would not do: a process that was forked meanwhile may have a copy.
    if (socket) epoll_ctl(events_.get(), EPOLL_CTL_DEL, socket.get(), nullptr);
    return socket;
}

void Acceptor::reject(Clients::iterator client) {
    const base::UniqueFd socket = take_out(client);
    shutdown(socket.get(), SHUT_RDWR);
}

} // namespace prong::detail
