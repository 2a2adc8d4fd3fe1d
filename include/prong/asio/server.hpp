#pragma once

/// \file
/// Servers whose connections are served by a bounded number of worker processes.

#include <prong/asio/config.hpp>
#include <prong/asio/detail/executor.hpp>
#include <prong/asio/detail/server_loop.hpp>
#include <prong/asio/server_options.hpp>
#include <prong/codec.hpp>
#include <prong/detail/connection_source.hpp>
#include <prong/detail/server_core.hpp>
#include <prong/process_pool_executor.hpp>
#include <prong/with_captures.hpp>

#include <unistd.h>

#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace prong {

namespace detail {

/// Whether a server's function returns a coroutine.
template <typename Result>
inline constexpr bool is_coroutine = false;
template <typename Executor>
inline constexpr bool is_coroutine<net::awaitable<void, Executor>> = true;

/// Calls a server's function with a socket of `context`; runs a coroutine to its end.
template <typename Serve, typename Socket>
void serve_socket(net::io_context& context, Serve& serve, Socket& socket) {
    if constexpr (is_coroutine<std::invoke_result_t<Serve&, Socket&>>) {
        // Whatever else it has begun ends with the context.
        net::co_spawn(context, std::invoke(serve, socket), [&context](std::exception_ptr error) {
            context.stop();
            if (error) std::rethrow_exception(error);
        });
        context.run();
    } else {
        std::invoke(serve, socket);
    }
}

/// What a worker runs for each connection. `Serve`: the function, or a pointer to where the worker
/// has it from the fork.
template <typename Protocol, typename Serve>
struct ServeConnection {
    ConnectionSource source;
    Protocol protocol;
    Serve serve;

    /// Serves the next connection. Returns false if there is none.
    bool operator()() {
        const int fd = source.receive();
        if (fd < 0) return false;
        net::io_context context;
        typename Protocol::socket socket(context);
        ErrorCode error;
        socket.assign(protocol, fd, error);
        if (error) {
            ::close(fd);
            throw SystemError(error);
        }
        if constexpr (ObjectPointer<Serve>) {
            serve_socket(context, *serve, socket);
        } else {
            serve_socket(context, serve, socket);
        }
        return true;
    }
};

/// Whether the function travels with each task; else it stays where it is.
template <typename Serve>
inline constexpr bool serve_travels =
    FunctionPointer<Serve> || is_a<Serve, WithCaptures> ||
    (std::is_empty_v<Serve> && std::is_trivially_copyable_v<Serve>);

template <typename Protocol, typename Serve>
ServerCore::Submit make_submit(const Protocol& protocol, Serve serve) {
    const auto submit_with = [protocol](auto held, auto get) -> ServerCore::Submit {
        return [=](const PoolWithOptions& pool, const ConnectionSource& source) {
            return pool.submit(with_captures(
                ServeConnection<Protocol, decltype(get(held))>{source, protocol, get(held)}));
        };
    };
    if constexpr (is_a<Serve, WithCaptures>) {
        return submit_with(serve, [](const auto& held) { return held.callable; });
    } else if constexpr (serve_travels<Serve>) {
        return submit_with(serve, [](const auto& held) { return held; });
    } else {
        return submit_with(std::make_shared<Serve>(std::move(serve)),
                           [](const auto& held) { return held.get(); });
    }
}

/// What `BasicServer::async_run` does.
struct RunServer {
    std::shared_ptr<ServerLoop> loop;
    bool has_begun = false;

    template <typename Self>
    void operator()(Self& self, ErrorCode = {}) {
        const std::shared_ptr<ServerLoop> server = loop; // moving `self` moves the member
        if (!std::exchange(has_begun, true)) {
            self.reset_cancellation_state(net::enable_total_cancellation());
        } else if (server->has_ended()) {
            return self.complete(server->error());
        } else { // the wait was cancelled
            server->stop();
        }
        server->run(std::move(self));
    }
};

} // namespace detail

/// Accepts connections in an event loop, and has each of them served by a worker process: never
/// more at once than there are workers. A connection whose worker crashes, exceeds its time or a
/// limit is closed; no other one is affected.
///
///     prong::TcpServer server(context, {tcp::v4(), 8080}, {.workers = 4}, [](tcp::socket& socket)
///     {
///         ... // blocking calls, in a worker
///     });
///     co_await server.async_run();
///
/// The workers are forked by the constructor; see `start_zygote` for programs with threads. They
/// are those of a `ProcessPoolExecutor`: replaced when they die, and gone when this process is.
///
/// Thread safety: `stop`, `stats` and `async_run` by any thread. Process safety: a copy in a forked
/// process does nothing when destroyed; `stop`, `stats` and `async_run` throw `std::logic_error`.
template <typename Protocol>
class BasicServer {
public:
    using protocol_type = Protocol;                     ///< `tcp`, or that of Unix sockets
    using endpoint_type = typename Protocol::endpoint;  ///< where the server listens
    using socket_type = typename Protocol::socket;      ///< a connection
    using executor_type = detail::net::any_io_executor; ///< of the context that it waits in

    /// Forks the workers, binds to `endpoint`, and listens. Clients may connect from then on; they
    /// are accepted after `async_run`. The file of a local socket whose server was killed is
    /// replaced.
    ///
    /// `serve` is called with a connected, blocking socket of a fresh `io_context`, in a worker.
    /// The connection ends when it returns or throws. It may be a coroutine that returns
    /// `awaitable<void>`: the worker runs it to its end. Any callable will do: workers have it, and
    /// what it refers to, as it was when they were forked. With a zygote it must be a function, a
    /// lambda without captures or `with_captures(...)`.
    ///
    /// `executor` runs the server's own handlers and `ServerOptions::on_error`: pass a strand if
    /// several threads run the context and `on_error` must not be called by two of them at once.
    ///
    /// *Throws* `std::system_error`, with EADDRINUSE if another socket has the address;
    /// `std::invalid_argument` for options out of range, and for a function that workers from a
    /// zygote cannot have; what the constructor of `ProcessPoolExecutor` throws.
    template <detail::ExecutorOrContext Executor, typename Serve>
    BasicServer(Executor&& executor, const endpoint_type& endpoint, const ServerOptions& options,
                Serve&& serve)
        : endpoint_(endpoint) {
        using Function = std::decay_t<Serve>;
        if constexpr (!detail::is_a<Function, detail::WithCaptures>)
            static_assert(std::invocable<Function&, socket_type&>,
                          "prong: a server's function must be callable with a reference to a "
                          "socket, such as tcp::socket&");
        const executor_type io = detail::executor_of(std::forward<Executor>(executor));
        auto core = std::make_unique<detail::ServerCore>(
            endpoint.data(), endpoint.size(), options,
            detail::make_submit<Protocol, Function>(endpoint.protocol(),
                                                    std::forward<Serve>(serve)),
            !detail::serve_travels<Function>);
        endpoint_.resize(core->local_address(endpoint_.data(), endpoint_.capacity()));
        loop_ = std::make_shared<detail::ServerLoop>(io, std::move(core), options);
        detail::net::use_service<detail::ServerService>(detail::context_of(io)).add(loop_);
    }
    BasicServer(const BasicServer&) = delete;
    BasicServer& operator=(const BasicServer&) = delete;
    /// Ends all connections and kills the workers; blocks until they have exited, which takes some
    /// milliseconds. Completes `async_run` with `operation_aborted`. To let connections end, `stop`
    /// the server and wait for `async_run` first.
    ~BasicServer() { detail::ServerLoop::close(std::move(loop_)); }

    /// Returns the address that the server is bound to, with the port that the system has chosen.
    [[nodiscard]] const endpoint_type& local_endpoint() const noexcept { return endpoint_; }

    /// Returns the executor that the server was made with.
    [[nodiscard]] executor_type get_executor() const noexcept { return loop_->executor(); }

    /// Accepts clients until the server is stopped and the last connection has ended. Completes
    /// with `void(std::exception_ptr)`: null after `stop`; `BrokenProcessPool` if no worker can
    /// serve any more; Asio's `system_error` (`operation_aborted`) if the server is destroyed.
    /// Cancellation of any kind does what `stop` does. May be called again: each call waits for the
    /// same end. *Default token:* `use_awaitable`.
    template <typename Token = detail::net::use_awaitable_t<>>
    auto async_run(Token&& token = Token()) {
        return detail::net::async_compose<Token, void(std::exception_ptr)>(
            detail::RunServer{loop_}, token, loop_->executor());
    }

    /// Accepts no more clients; closes the listening socket. Connections go on, also those that
    /// wait for a worker; `this_task::stop_requested` becomes true in those that are being served.
    /// If they have not ended after `ServerOptions::drain_timeout`, by default never, the workers
    /// are killed. A handler that waits for a silent client does not notice the stop. Does not
    /// block. May be called again.
    void stop() { loop_->stop(); }

    /// Returns counts of connections. Does not block.
    [[nodiscard]] ServerStats stats() const { return loop_->stats(); }

private:
    endpoint_type endpoint_;
    std::shared_ptr<detail::ServerLoop> loop_;
};

/// Serves TCP connections.
using TcpServer = BasicServer<detail::net::ip::tcp>;

/// Serves connections of local (Unix) sockets. The file of the socket is removed by `stop` and by
/// the destructor.
using UnixServer = BasicServer<detail::net::local::stream_protocol>;

} // namespace prong
