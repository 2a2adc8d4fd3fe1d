#include "manager/client.hpp"

#include "codec/exception.hpp"
#include "manager/greeting.hpp"
#include "manager/message_wait.hpp"
#include "os/fork_depth.hpp"
#include "os/fork_safe_mutex.hpp"
#include "os/socket.hpp"

#include <prong/connection.hpp>
#include <prong/error.hpp>
#include <prong/listener.hpp>

#include <cerrno>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace prong::manager {
namespace {

using detail::ManagerAddress;

/// Returns whether the manager is there, and other code has not closed the descriptor.
bool is_usable(const Connection& connection) {
    try {
        return !connection.poll(); // the manager sends nothing unasked: only its end is readable
    } catch (const std::logic_error&) {
        return false;
    }
}

/// The connections of this process that no call uses. A forked child forgets those of its parent.
class IdleConnections {
public:
    /// Takes out a usable connection; returns a closed one if there is none.
    Connection take(const ManagerAddress& manager) {
        const std::scoped_lock guard(*this);
        for (auto entry = entries_->begin(); entry != entries_->end();) {
            if (!is_usable(entry->connection)) {
                entry = entries_->erase(entry);
            } else if (entry->manager == manager) {
                Connection found = std::move(entry->connection);
                entries_->erase(entry);
                return found;
            } else {
                ++entry;
            }
        }
        return {};
    }

    void put_back(const ManagerAddress& manager, Connection connection) {
        const std::scoped_lock guard(*this);
        entries_->push_back({manager, std::move(connection)});
    }

    void forget(const ManagerAddress& manager) {
        const std::scoped_lock guard(*this);
        std::erase_if(*entries_, [&](const Entry& entry) { return entry.manager == manager; });
    }

    void lock() {
        const bool is_half_written = mutex_.lock();
        if (entries_ != nullptr && home_ == os::fork_depth()) return;
        if (!is_half_written) delete entries_;
        entries_ = nullptr;
        try {
            entries_ = new std::vector<Entry>;
        } catch (...) {
            mutex_.unlock();
            throw;
        }
        home_ = os::fork_depth();
    }
    void unlock() noexcept { mutex_.unlock(); }

private:
    struct Entry {
        ManagerAddress manager;
        Connection connection;
    };

    os::ForkSafeMutex mutex_;               ///< guards the following
    std::vector<Entry>* entries_ = nullptr; ///< never destroyed: threads may outlive `main`
    unsigned home_ = 0; ///< `os::fork_depth()` of the process that `entries_` belongs to
};

constinit IdleConnections idle_connections;

/// Connects. Tries again if the manager, which has too many clients at that moment or has just
/// died, closes the connection.
Connection connect_to(const ManagerAddress& manager) {
    constexpr int attempts = 20;
    for (int attempt = 1;; ++attempt) {
        try {
            Connection connection = Client(manager.address, manager.authkey);
            os::detect_lost_peer(connection.fileno());
            greet(connection, manager.address);
            return connection;
        } catch (const EndOfFile&) {
            if (attempt == attempts) throw;
        } catch (const std::system_error& error) {
            const int code = error.code().value();
            if ((code != ECONNRESET && code != EPIPE) || attempt == attempts) throw;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(attempt));
    }
}

[[noreturn]] void throw_died(const ManagerAddress& manager, const std::string& what) {
    throw ManagerDied("the manager at " + manager.address + " has died or was shut down: " + what);
}

/// Calls `step`, which uses a connection to the manager; turns errors that its end explains into
/// `ManagerDied`.
template <typename Step>
auto as_death(const ManagerAddress& manager, Step step) {
    try {
        return step();
    } catch (const EndOfFile& error) {
        throw_died(manager, error.what());
    } catch (const std::system_error& error) {
        const int code = error.code().value();
        // What a process lacks itself tells nothing about the manager.
        if (code == EMFILE || code == ENFILE || code == ENOMEM || code == ENOBUFS) throw;
        throw_died(manager, error.what());
    }
}

} // namespace

void connect(const ManagerAddress& manager) {
    idle_connections.put_back(manager, connect_to(manager));
}

void forget(const ManagerAddress& manager) noexcept {
    try {
        idle_connections.forget(manager);
    } catch (const std::bad_alloc&) { // they stay open
    }
}

} // namespace prong::manager

namespace prong::detail {

Reply call_manager(const ManagerAddress& manager, std::span<const std::byte> request) {
    if (manager.address.empty())
        throw std::logic_error("prong::Proxy: a default-constructed proxy refers to no object");
    std::vector<std::byte> reply = manager::as_death(manager, [&] {
        Connection connection = manager::idle_connections.take(manager);
        if (connection.closed()) connection = manager::connect_to(manager);
        connection.send_bytes(request);
        thread_local ring::Spinner spinner;
        manager::spin_for_message(connection, spinner);
        std::vector<std::byte> received = connection.recv_bytes();
        manager::idle_connections.put_back(manager, std::move(connection));
        return received;
    });
    Reader reader{reply};
    if (!detail::decode<bool>(reader)) std::rethrow_exception(codec::decode_exception(reader));
    return Reply(std::move(reply));
}

} // namespace prong::detail
