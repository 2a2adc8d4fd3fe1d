#include <prong/detail/server_core.hpp>

#include "base/errno.hpp"
#include "base/fd.hpp"
#include "ipc/address.hpp"
#include "ipc/listening.hpp"
#include "os/fork_depth.hpp"
#include "os/socket.hpp"
#include "proc/zygote.hpp"

#include <prong/error.hpp>
#include <prong/inherit.hpp>

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <deque>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace prong::detail {
namespace {

using Clock = std::chrono::steady_clock;

/// How long a refused client has to read the refusal. If the socket were closed at once, bytes of
/// the client that arrive later would make the kernel abort the connection.
constexpr std::chrono::seconds refusal_time{1};
/// Refused sockets that are kept; a further one closes the oldest.
constexpr std::size_t most_refused = 64;

/// What a message carries besides the socket: it must not be empty.
constexpr std::byte filler{};

void require(bool condition, const char* complaint) {
    if (!condition) throw std::invalid_argument(complaint);
}

void check(const ServerOptions& options, bool needs_fork) {
    require(options.max_connections != 0, "ServerOptions::max_connections must be at least 1");
    require(options.backlog.value_or(1) > 0, "ServerOptions::backlog must be at least 1");
    require(!options.connection.deadline.value() && options.connection.max_retries == 0 &&
                options.connection.priority == Priority::normal,
            "ServerOptions::connection: deadline, max_retries and priority have no meaning for a "
            "connection");
    require(!options.pool.max_pending,
            "ServerOptions::pool: max_pending has no meaning for a server, which has "
            "max_connections");
    require(!needs_fork || proc::Zygote::of_this_process() == nullptr,
            "a server's function must be a function, a lambda without captures or "
            "with_captures(...), because workers are forked from the zygote, which has nothing "
            "that was made after start_zygote()");
}

PoolOptions pool_options(const ServerOptions& options, int channel) {
    PoolOptions pool = options.pool;
    if (options.workers) pool.max_workers = options.workers;
    InheritAccess::keep(pool.inherit, channel);
    return pool;
}

/// Returns the number of connections that have ended.
std::uint64_t ended(const ServerStats& counts) {
    return counts.served + counts.failed + counts.crashed + counts.timed_out + counts.over_limit +
           counts.killed;
}

int copy_of(const base::UniqueFd& fd) {
    base::UniqueFd copy(fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (!copy) base::throw_errno("fcntl(F_DUPFD_CLOEXEC)");
    return copy.release();
}

struct Refused {
    base::UniqueFd socket;
    Clock::time_point until;
};

} // namespace

struct ServerCore::State {
    State(const ServerOptions& options, Submit submit_task,
          std::pair<base::UniqueFd, base::UniqueFd> ends)
        : submit(std::move(submit_task)), channel(std::move(ends.first)), source(ends.second.get()),
          pool(pool_options(options, ends.second.get())),
          with_options(pool.with(options.connection)),
          max_connections(
              options.max_connections.value_or(static_cast<std::size_t>(pool.max_workers()))),
          refuses(options.when_full == WhenFull::refuse), refusal(options.refusal) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() {
        try {
            pool.kill_workers(); // else the pool would wait for them
        } catch (...) {          // a copy, or the supervisor cannot be reached
        }
    }

    /// How many connections have been accepted and have not ended.
    [[nodiscard]] std::size_t connections() const {
        return tasks.size() - std::min(empty_tasks, tasks.size()) + due + pending.size();
    }
    [[nodiscard]] bool has_free_worker() const {
        return tasks.size() < static_cast<std::size_t>(pool.max_workers());
    }
    [[nodiscard]] bool is_full() const { return connections() >= max_connections; }

    void refuse(base::UniqueFd client) {
        ++counts.refused;
        if (refusal.empty()) return;
        static_cast<void>(
            send(client.get(), refusal.data(), refusal.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
        shutdown(client.get(), SHUT_WR);
        if (refused.size() == most_refused) refused.pop_front();
        refused.push_back({.socket = std::move(client), .until = Clock::now() + refusal_time});
    }

    const unsigned fork_depth = os::fork_depth();
    Submit submit;
    base::UniqueFd channel; ///< the workers and their supervisor have the other end
    ConnectionSource source;
    ProcessPoolExecutor pool;
    PoolWithOptions with_options;
    const std::size_t max_connections;
    const bool refuses;
    const std::string refusal;
    base::UniqueFd listener;
    ipc::SocketFile file;

    std::deque<base::UniqueFd> pending; ///< connections that are not in the channel yet
    std::size_t due = 0;                ///< tasks of connections in the channel, to be submitted
    std::size_t spare = 0;              ///< further tasks, which may find no connection
    std::size_t empty_tasks = 0;        ///< of `tasks`: as many find no connection
    Tasks tasks;
    std::deque<Refused> refused;
    bool is_killed = false;
    ServerStats counts{};
};

ServerCore::ServerCore(const sockaddr* address, std::size_t address_length,
                       const ServerOptions& options, Submit submit, bool needs_fork) {
    check(options, needs_fork);
    state_ = std::make_unique<State>(options, std::move(submit), os::message_socket_pair());
    // After the fork: a copy in another process would keep the port, however briefly.
    state_->listener = ipc::listen_at(ipc::Address(address, static_cast<socklen_t>(address_length)),
                                      options.backlog.value_or(SOMAXCONN), options.reuse_address);
    state_->file = ipc::SocketFile(ipc::Address::of(state_->listener.get()));
}

ServerCore::~ServerCore() = default;

bool ServerCore::is_copy() const noexcept {
    return state_->fork_depth != os::fork_depth();
}

void ServerCore::require_own_process() const {
    static_cast<void>(state_->pool.max_workers());
}

int ServerCore::listener() const {
    return copy_of(state_->listener);
}

int ServerCore::channel() const {
    return copy_of(state_->channel);
}

std::size_t ServerCore::local_address(sockaddr* address, std::size_t capacity) const {
    auto length = static_cast<socklen_t>(capacity);
    if (getsockname(state_->listener.get(), address, &length) != 0)
        base::throw_errno("getsockname");
    return std::min<std::size_t>(length, capacity);
}

bool ServerCore::wants_client() const {
    return state_->refuses || !state_->is_full();
}

bool ServerCore::accept_client() {
    base::UniqueFd client(accept4(state_->listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) {
        if (errno == EAGAIN) return false;
        if (!ipc::concerns_one_client(errno)) base::throw_errno("accept4");
        return true;
    }
    client = os::lift(std::move(client));
    if (state_->is_full()) {
        state_->refuse(std::move(client));
    } else {
        state_->pending.push_back(std::move(client));
        ++state_->counts.accepted;
    }
    return true;
}

bool ServerCore::has_refused() const {
    return !state_->refused.empty();
}

bool ServerCore::close_refused() {
    auto& refused = state_->refused;
    while (!refused.empty() && refused.front().until <= Clock::now()) refused.pop_front();
    return !refused.empty();
}

ServerCore::Tasks::iterator ServerCore::begin_task() {
    State& state = *state_;
    std::size_t& owed = state.has_free_worker() && state.spare != 0 ? state.spare : state.due;
    if (owed == 0) {
        if (state.pending.empty()) return state.tasks.end();
        const int socket = state.pending.front().get();
        if (!os::try_send_message(state.channel.get(), {&filler, 1}, {&socket, 1})) {
            if (state.tasks.empty()) base::throw_errno("sendmsg"); // no end of a task will help
            return state.tasks.end();
        }
        state.pending.pop_front();
        ++state.due;
    }
    state.tasks.push_back(state.submit(state.with_options, state.source));
    if (&owed == &state.spare) ++state.empty_tasks;
    --owed;
    return std::prev(state.tasks.end());
}

void ServerCore::owe_task() {
    if (!state_->is_killed) ++state_->spare;
}

std::exception_ptr ServerCore::end_task(Tasks::iterator task) {
    Task finished = std::move(*task);
    state_->tasks.erase(task);
    // One that died just before its connection leaves that to a spare task, which is not empty
    // then.
    if (state_->tasks.empty()) state_->empty_tasks = 0;
    ServerStats& counts = state_->counts;
    std::uint64_t* count = &counts.failed;
    std::exception_ptr error;
    try {
        if (finished.get())
            ++counts.served;
        else if (state_->empty_tasks != 0)
            --state_->empty_tasks;
        return nullptr;
    } catch (const BrokenProcessPool&) {
        // A spare task had no connection.
        if (ended(counts) < counts.accepted)
            ++*(state_->is_killed ? &counts.killed : &counts.crashed);
        throw;
    } catch (const TaskTimeout&) {
        count = &counts.timed_out;
        error = std::current_exception();
    } catch (const LimitExceeded&) {
        count = &counts.over_limit;
        error = std::current_exception();
    } catch (const WorkerDied&) {
        count = &counts.crashed;
        error = std::current_exception();
    } catch (...) {
        error = std::current_exception();
    }
    owe_task();
    ++*(state_->is_killed ? &counts.killed : count);
    return error;
}

ServerCore::Tasks& ServerCore::tasks() {
    return state_->tasks;
}

bool ServerCore::idle() const {
    return state_->tasks.empty() && state_->due == 0 && state_->pending.empty() &&
           state_->spare == 0;
}

void ServerCore::close_listener() noexcept {
    state_->file.remove();
    state_->listener.reset();
}

bool ServerCore::request_stop() {
    bool is_any_waiting = !state_->pending.empty();
    for (Task& task : state_->tasks) {
        if (task.running()) {
            task.request_stop();
        } else if (!task.done()) {
            is_any_waiting = true;
        }
    }
    return is_any_waiting;
}

void ServerCore::kill() {
    state_->is_killed = true;
    state_->due = state_->spare = 0;
    state_->counts.killed += state_->pending.size();
    state_->pending.clear();
    state_->refused.clear();
    state_->pool.kill_workers();
}

void ServerCore::shut_down() {
    state_->due = state_->spare = 0;
    state_->counts.killed += state_->pending.size();
    state_->pending.clear();
    state_->refused.clear();
    state_->pool.shutdown(false);
}

void ServerCore::join() {
    state_->pool.shutdown(true);
}

ServerStats ServerCore::stats() const {
    ServerStats stats = state_->counts;
    stats.active = state_->pool.stats().running;
    const std::size_t connections = state_->connections();
    stats.waiting = connections > stats.active ? connections - stats.active : 0;
    return stats;
}

} // namespace prong::detail
