#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>
#include <prong/pool_options.hpp>
#include <prong/task_options.hpp>
#include <prong/timeout.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace prong {

/// What happens to a client that connects while a server has `max_connections`.
enum class WhenFull : unsigned char {
    wait,   ///< stays in the kernel's backlog until another connection has ended; beyond the
            ///< backlog, its attempt to connect fails or takes longer, as the kernel does it
    refuse, ///< gets `ServerOptions::refusal`, and the connection is closed
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(WhenFull action);

/// Options of a server. All fields have sensible defaults; name the ones that differ:
/// `ServerOptions{.workers = 4, .connection = {.timeout = 5s}}`. Designated initialisers must
/// follow the order of the fields.
struct ServerOptions {
    /// Number of worker processes; each serves one connection at a time, so that many clients who
    /// are silent stop the server, unless `connection.timeout` is set. Has precedence over
    /// `pool.max_workers`. *Default:* that, or else one for each CPU.
    std::optional<int> workers = std::nullopt;

    /// Limits the connections that have been accepted and have not ended. Those beyond `workers`
    /// are accepted already and wait for a worker. With fewer than `workers`, some workers stay
    /// idle. *Default:* as many as workers. 0 throws `std::invalid_argument`.
    std::optional<std::size_t> max_connections = std::nullopt;

    /// Selects what happens to further clients. *Default:* they wait.
    WhenFull when_full = WhenFull::wait;

    /// Bytes that a refused client gets before the end of the connection, such as the text of an
    /// HTTP response with status 503. Only as much as the socket takes at once. *Default:* none.
    std::string refusal = {};

    /// Limits the clients that the kernel keeps until they are accepted; the kernel has a limit of
    /// its own (`net.core.somaxconn`). *Default:* the kernel's limit. 0 or less throws
    /// `std::invalid_argument`.
    std::optional<int> backlog = std::nullopt;

    /// Lets the server bind to a port whose former connections have not been forgotten yet. Has no
    /// effect on local sockets. *Default:* true.
    bool reuse_address = true;

    /// Limits the time between `stop` and the end of the last connection. On expiry kills the
    /// workers. *Default:* no limit.
    Timeout drain_timeout = std::nullopt;

    /// Options of each connection: `timeout` from the moment a worker begins to serve it, `grace`,
    /// `limits`, `capture_output` (for the errors), `capture_stack`. `deadline`, `max_retries` and
    /// `priority` have no meaning for connections: if they are set the server's constructor throws
    /// `std::invalid_argument`. *Default:* no limits.
    TaskOptions connection = {};

    /// Options of the workers, such as `initializer`, `max_tasks_per_worker` (connections) and
    /// `inherit`. `max_pending` has no meaning for a server: if it is set the server's constructor
    /// throws `std::invalid_argument`.
    PoolOptions pool = {};

    /// Is called in the event loop with each error that does not end the server: what `serve` has
    /// thrown, how a connection ended (`WorkerDied`, `TaskTimeout`, `LimitExceeded`), why no client
    /// could be accepted (`std::system_error`). What it throws leaves the event loop's `run`.
    /// *Default:* errors are only counted.
    std::function<void(std::exception_ptr)> on_error = nullptr;
};

/// Counts of a server since its creation. Each accepted connection is in exactly one of the fields
/// from `served` on, except that a worker may die just before it would have received one: then the
/// death is counted, and another worker serves the connection.
struct ServerStats {
    std::uint64_t accepted;   ///< connections accepted to be served
    std::uint64_t refused;    ///< connections refused, because the server was full
    std::uint64_t served;     ///< `serve` has returned
    std::uint64_t failed;     ///< `serve` has thrown
    std::uint64_t crashed;    ///< the worker died
    std::uint64_t timed_out;  ///< `TaskOptions::timeout` has expired
    std::uint64_t over_limit; ///< a limit of `TaskOptions::limits` was exceeded
    std::uint64_t killed;     ///< killed when `drain_timeout` expired, or still waiting when the
                              ///< server ended
    std::size_t active;       ///< connections that a worker serves now
    std::size_t waiting;      ///< connections that wait for a worker
};

} // namespace prong
