#pragma once

#include "base/fd.hpp"
#include "ipc/handshake.hpp"
#include "ipc/listening.hpp"
#include "os/descriptor.hpp"
#include "os/fork_safe_mutex.hpp"

#include <prong/detail/async_members.hpp>
#include <prong/detail/deadline.hpp>
#include <prong/timeout.hpp>

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <vector>

namespace prong::detail {

/// Accepts clients at an address, and makes handshakes with many of them at once.
///
/// Thread safety: any number of threads may accept at once. Process safety: a child of the process
/// that made it accepts clients as well. The handshakes that had begun belong to the parent.
class Acceptor {
public:
    struct Limits {
        Timeout handshake;        ///< for one client, in total
        std::size_t most_clients; ///< whose handshakes have begun
    };

    /// Binds and listens; with a key, clients must prove that they have it.
    Acceptor(const std::string& address, std::string key, Limits limits);
    Acceptor(const Acceptor&) = delete;
    Acceptor& operator=(const Acceptor&) = delete;
    /// Removes the file of a local socket, if it is still the one that this process made. Cancels
    /// operations.
    ~Acceptor();

    /// Blocks until a client has connected and passed the handshake. Returns nothing at the
    /// deadline.
    base::UniqueFd accept(Deadline deadline);

    /// Returns the address with the port that it is bound to.
    [[nodiscard]] const std::string& address() const { return address_; }

    /// Returns a descriptor that is readable when `accept` has something to do.
    int descriptor();

    /// Has an operation of an event loop cancelled at the end of this object, or no longer.
    void add(Cancellable& operation);
    void remove(Cancellable& operation) noexcept;

    /// Lets this process remove the file of the socket, or no longer.
    void own_file() noexcept { file_.own(); }
    void disown_file() noexcept { file_.disown(); }

private:
    /// A client whose handshake is not over.
    struct Client {
        os::GuardedFd socket;
        ipc::Handshake handshake;
        Deadline deadline;
    };
    using Clients = std::list<Client>; // the oldest first
    class Turn;

    void listen_at_first(const std::string& address);
    void enter_process(bool is_half_written);
    void reject_late();
    bool handle_event(base::UniqueFd& accepted);
    base::UniqueFd accept_client();
    base::UniqueFd advance(Clients::iterator client);
    base::UniqueFd take_out(Clients::iterator client);
    void reject(Clients::iterator client);

    const std::string key_;
    const Limits limits_;
    std::string address_;
    os::ForkSafeMutex mutex_; ///< guards the following
    os::GuardedFd socket_;
    os::GuardedFd events_; ///< the epoll instance of this process: socket and clients
    std::unique_ptr<Clients> clients_;
    std::vector<Cancellable*> operations_;
    unsigned home_; ///< `os::fork_depth()` of the process that the last three belong to
    ipc::SocketFile file_;
};

} // namespace prong::detail
