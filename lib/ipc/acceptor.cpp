#include "ipc/acceptor.hpp"

#include "base/errno.hpp"
#include "ipc/address.hpp"
#include "ipc/hmac.hpp"
#include "os/fork_depth.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <iterator>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace prong::detail {
namespace {

std::optional<os::FileId> file_at(const std::string& path) {
    const base::UniqueFd file(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    return os::FileId::of(file.get());
}

base::UniqueFd make_socket(int family, int type) {
    base::UniqueFd made(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!made) base::throw_errno("socket");
    return os::lift(std::move(made));
}

bool bind_to(const base::UniqueFd& socket, const ipc::Address& address) {
    return bind(socket.get(), address.data(), address.length()) == 0;
}

/// Returns whether this is the file of a socket that no process has any more.
bool is_stale(const ipc::Address& address) {
    struct stat status {};
    if (lstat(address.text().c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
    // Of another type, so that no connection is made: a socket that is there answers EPROTOTYPE.
    const base::UniqueFd probe = make_socket(AF_UNIX, SOCK_DGRAM);
    return connect(probe.get(), address.data(), address.length()) != 0 && errno == ECONNREFUSED;
}

/// Binds in place of a listener that was killed, if its file is what stands there.
bool replace_stale(const base::UniqueFd& socket, const ipc::Address& address) {
    const std::string path = address.text();
    // While one has the abstract name, no other one can take the new file for the stale one.
    const base::UniqueFd turn = make_socket(AF_UNIX, SOCK_STREAM);
    if (bind_to(turn, ipc::resolve("@" + path).front()) && is_stale(address) &&
        unlink(path.c_str()) == 0 && bind_to(socket, address))
        return true;
    errno = EADDRINUSE;
    return false;
}

base::UniqueFd listen_at(const ipc::Address& address) {
    base::UniqueFd listener = make_socket(address.family(), SOCK_STREAM);
    const std::string text = address.text();
    const int on = 1;
    if (address.family() != AF_UNIX)
        setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const bool is_bound =
        bind_to(listener, address) ||
        (errno == EADDRINUSE && text.front() == '/' && replace_stale(listener, address));
    if (!is_bound) base::throw_errno(("bind to " + text).c_str());
    if (listen(listener.get(), SOMAXCONN) != 0) base::throw_errno(("listen at " + text).c_str());
    return listener;
}

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

/// Returns whether `accept` failed because of one client, or of what happened to it on its way.
bool concerns_one_client(int error) {
    constexpr std::array errors{EAGAIN,    EINTR,        ECONNABORTED, EPERM,
                                EPROTO,    ENOPROTOOPT,  ENETDOWN,     ENETUNREACH,
                                EHOSTDOWN, EHOSTUNREACH, ENONET,       EOPNOTSUPP};
    return std::ranges::find(errors, error) != errors.end();
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
      home_(os::fork_depth()), file_owner_(home_) {
    if (!key_.empty()) ipc::require_hmac();
    listen_at_first(address);
    events_ = make_events(socket_.get());
}

void Acceptor::listen_at_first(const std::string& address) {
    std::exception_ptr error;
    for (const ipc::Address& one : ipc::resolve(address)) {
        try {
            socket_ = os::GuardedFd(listen_at(one));
            address_ = ipc::Address::of(socket_.get()).text();
            if (address_.front() == '/') file_id_ = file_at(address_);
            return;
        } catch (const std::system_error&) {
            if (!error) error = std::current_exception();
        }
    }
    std::rethrow_exception(error);
}

Acceptor::~Acceptor() {
    // Before the socket is closed: until then the number of its file cannot be used again.
    const bool is_ours = file_id_ && file_owner_ == os::fork_depth() && socket_.get() >= 0;
    if (is_ours && file_at(address_) == file_id_) unlink(address_.c_str());
}

void Acceptor::own_file() noexcept {
    file_owner_ = os::fork_depth();
}

void Acceptor::disown_file() noexcept {
    file_id_.reset();
}

/// In a child of the process that has used this so far: gives up what belongs to the parent.
void Acceptor::enter_process(bool is_half_written) {
    const bool is_copy = home_ != os::fork_depth();
    if (socket_.get() < 0 || (!is_copy && events_.get() < 0)) {
        throw std::logic_error("prong::Listener: its descriptor was closed by other code; workers "
                               "of a pool do not inherit listeners");
    }
    if (!is_copy) return;
    if (is_half_written) static_cast<void>(clients_.release());
    clients_ = std::make_unique<Clients>();
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
        } else if (!concerns_one_client(errno)) {
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
