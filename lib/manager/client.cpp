#include "manager/client.hpp"

#include "codec/exception.hpp"
#include "manager/channel.hpp"
#include "manager/greeting.hpp"
#include "os/fork_depth.hpp"
#include "os/fork_safe_mutex.hpp"
#include "os/socket.hpp"

#include <prong/connection.hpp>
#include <prong/error.hpp>
#include <prong/listener.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace prong::manager {
namespace {

using detail::ManagerAddress;

/// The connections of this process that no call uses. A forked child forgets those of its parent.
class IdleChannels {
public:
    /// Takes out the one that was used last; returns nothing if there is none.
    std::optional<Channel> take(const ManagerAddress& manager) {
        const std::scoped_lock guard(*this);
        const auto entry = std::find_if(entries_->rbegin(), entries_->rend(),
                                        [&](const Entry& one) { return one.manager == manager; });
        if (entry == entries_->rend()) return std::nullopt;
        std::optional<Channel> found = std::move(entry->channel);
        entries_->erase(std::next(entry).base());
        return found;
    }

    /// Keeps the channel for later calls; without memory, closes it.
    void put_back(const ManagerAddress& manager, Channel channel) {
        const std::scoped_lock guard(*this);
        try {
            entries_->push_back({manager, std::move(channel)});
        } catch (const std::bad_alloc&) { // the call that has used it succeeded all the same
        }
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
        Channel channel;
    };

    os::ForkSafeMutex mutex_;               ///< guards the following
    std::vector<Entry>* entries_ = nullptr; ///< never destroyed: threads may outlive `main`
    unsigned home_ = 0; ///< `os::fork_depth()` of the process that `entries_` belongs to
};

constinit IdleChannels idle_channels;

/// Returns whether an error of a connection tells that its other end is not there.
bool is_lost_peer(const std::system_error& error) {
    constexpr std::array errors{EPIPE,     ECONNRESET,   ECONNREFUSED, ENOENT,     ETIMEDOUT,
                                EHOSTDOWN, EHOSTUNREACH, ENETDOWN,     ENETUNREACH};
    return std::ranges::find(errors, error.code().value()) != errors.end();
}

/// Connects. Tries again if the manager closes the connection: it has too many clients at that
/// moment, or has just died.
Channel connect_to(const ManagerAddress& manager) {
    constexpr int attempts = 20;
    std::string reason;
    for (int attempt = 1; attempt <= attempts; ++attempt) {
        try {
            Connection connection = Client(manager.address, manager.authkey);
            os::detect_lost_peer(connection.fileno());
            greet(connection, manager.address);
            return Channel(std::move(connection));
        } catch (const EndOfFile& error) {
            reason = error.what();
        } catch (const std::system_error& error) {
            const int code = error.code().value();
            if (code != ECONNRESET && code != EPIPE) throw;
            reason = error.what();
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(attempt));
    }
    throw Error("the manager at " + manager.address +
                " lets no further client in; it may lack threads or memory: " + reason);
}

/// Sends a request by a connection that was idle. Returns false if the manager or other code of
/// this process has closed it meanwhile: then the manager has not received the whole request.
bool try_send(Channel& channel, const ManagerAddress& manager, std::span<const std::byte> request) {
    const bool is_local = manager.address.front() == '/' || manager.address.front() == '@';
    try {
        // TCP takes the first message after the manager's end as if it could be delivered. (The
        // manager sends nothing unasked: only its end is readable.)
        if (!is_local && channel.poll()) return false;
        channel.send(request);
        return true;
    } catch (const std::logic_error&) {
        return false;
    } catch (const std::system_error& error) {
        if (error.code().value() != EPIPE) throw;
        return false;
    }
}

/// Sends a request. Returns the connection by which the reply will come.
Channel begin_call(const ManagerAddress& manager, std::span<const std::byte> request) {
    while (std::optional<Channel> idle = idle_channels.take(manager))
        if (try_send(*idle, manager, request)) return std::move(*idle);
    Channel channel = connect_to(manager);
    channel.send(request);
    return channel;
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
        if (!is_lost_peer(error)) throw; // such as what this process lacks
        throw_died(manager, error.what());
    }
}

} // namespace

void connect(const ManagerAddress& manager) {
    idle_channels.put_back(manager, connect_to(manager));
}

void forget(const ManagerAddress& manager) noexcept {
    try {
        idle_channels.forget(manager);
    } catch (const std::bad_alloc&) { // they stay open
    }
}

void require_success(std::span<const std::byte> reply) {
    detail::Reader reader{reply};
    if (!detail::decode<bool>(reader)) std::rethrow_exception(codec::decode_exception(reader));
}

} // namespace prong::manager

namespace prong::detail {

Reply call_manager(const ManagerAddress& manager, std::span<const std::byte> request) {
    if (manager.address.empty())
        throw std::logic_error("prong::Proxy: a default-constructed proxy refers to no object");
    std::vector<std::byte> reply = manager::as_death(manager, [&] {
        manager::Channel channel = manager::begin_call(manager, request);
        std::vector<std::byte> received = channel.receive();
        manager::idle_channels.put_back(manager, std::move(channel));
        return received;
    });
    manager::require_success(reply);
    return Reply(std::move(reply));
}

} // namespace prong::detail
