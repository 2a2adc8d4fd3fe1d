#pragma once

#include <prong/asio/server_options.hpp>
#include <prong/detail/connection_source.hpp>
#include <prong/detail/export.hpp>
#include <prong/future.hpp>
#include <prong/process_pool_executor.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <string>

struct sockaddr;

namespace prong::detail {

/// What a server needs of the system and the pool, without an event loop: its listening socket, its
/// workers, the channel to them, the tasks that serve connections, and the counts.
///
/// The connection goes first, then the task that receives it, or any other: there is never a
/// connection in the channel without a task to come. A task may die before it has received one. So
/// after each that ended with an error one more is due as soon as a worker is free; it ends at once
/// if it finds none.
///
/// Thread safety: none. Process safety: a copy in a forked process does nothing when destroyed.
class PRONG_API ServerCore {
public:
    /// Whether the next task returned that it has served a connection, or found none.
    using Task = Future<bool>;
    using Tasks = std::list<Task>;
    /// Submits a task that serves a connection of the source. Its copies in the workers are those
    /// from before the fork.
    using Submit = std::function<Task(const PoolWithOptions&, const ConnectionSource&)>;

    /// Forks the workers, binds and listens. `needs_fork`: whether `submit` refers to memory of
    /// this process. Throws `std::system_error`; `std::invalid_argument` for options out of range,
    /// and if workers from a zygote cannot have what `submit` needs.
    ServerCore(const sockaddr* address, std::size_t address_length, const ServerOptions& options,
               Submit submit, bool needs_fork);
    ServerCore(const ServerCore&) = delete;
    ServerCore& operator=(const ServerCore&) = delete;
    ~ServerCore();

    /// Whether this process was forked from the server's.
    [[nodiscard]] bool is_copy() const noexcept;
    /// Throws `std::logic_error` if it was.
    void require_own_process() const;

    /// Returns a copy of the listening socket, and of the channel, which hangs up when all
    /// processes of the pool have ended. Both belong to the caller. Throws `std::system_error`.
    [[nodiscard]] int listener() const;
    [[nodiscard]] int channel() const;

    /// Writes the address that the server is bound to. Returns its length.
    std::size_t local_address(sockaddr* address, std::size_t capacity) const;

    /// Whether a client that connects is to be accepted.
    [[nodiscard]] bool wants_client() const;
    /// Accepts a client without blocking, or refuses it if the server is full. Returns false if
    /// there is none. Throws `std::system_error` if none can be accepted for a while.
    bool accept_client();
    /// Closes refused sockets whose clients have had time to read. Returns whether any are left.
    bool close_refused();
    [[nodiscard]] bool has_refused() const;

    /// Passes the next connection to the workers, or makes a task that is due. Returns
    /// `tasks().end()` if there is nothing to do now. Throws what `submit` throws, and
    /// `std::system_error`; what was to do is done by a later call.
    Tasks::iterator begin_task();
    /// Makes one more task due, unless the workers are killed.
    void owe_task();
    /// Takes a task that has ended, and counts. Returns what it threw, or null. Throws
    /// `BrokenProcessPool`.
    std::exception_ptr end_task(Tasks::iterator task);
    [[nodiscard]] Tasks& tasks();
    /// Whether no connection is left.
    [[nodiscard]] bool idle() const;

    /// Closes the listening socket, and removes its file.
    void close_listener() noexcept;
    /// Asks the connections that are being served now to end. Returns whether others wait.
    bool request_stop();
    /// Ends all connections. Does not block.
    void kill();
    /// Lets the workers exit; closes connections that have not reached them. Does not block.
    void shut_down();
    /// Blocks until the workers have exited.
    void join();

    [[nodiscard]] ServerStats stats() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace prong::detail
