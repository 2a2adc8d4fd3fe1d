#pragma once

#include <prong/asio/config.hpp>
#include <prong/asio/future.hpp>
#include <prong/detail/server_core.hpp>
#include <prong/error.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace prong::detail {

class ServerLoop;

/// Closes what servers have in a context when the context is destroyed before them.
class ServerService final : public net::execution_context::service {
public:
    using key_type = ServerService;
    static inline net::execution_context::id id;

    explicit ServerService(net::execution_context& context)
        : net::execution_context::service(context) {}

    void add(const std::shared_ptr<ServerLoop>& server) {
        const std::lock_guard lock(mutex_);
        std::erase_if(servers_, [](const auto& one) { return one.expired(); });
        servers_.push_back(server);
    }

private:
    void shutdown() noexcept override;

    std::mutex mutex_;
    std::vector<std::weak_ptr<ServerLoop>> servers_;
};

/// A server's part in an event loop: what it waits for, and what it does then.
///
/// Thread safety: any thread.
class ServerLoop : public std::enable_shared_from_this<ServerLoop> {
public:
    /// Takes from the options what the core does not.
    ServerLoop(net::any_io_executor executor, std::unique_ptr<ServerCore> core,
               const ServerOptions& options)
        : executor_(std::move(executor)), drain_timeout_(options.drain_timeout),
          on_error_(options.on_error), core_(std::move(core)) {
        io_.emplace(executor_);
        io_->listener.assign(core_->listener());
        io_->channel.assign(core_->channel());
    }

    [[nodiscard]] const net::any_io_executor& executor() const noexcept { return executor_; }

    /// Begins to accept, if it has not begun, and waits for the end of the server: calls
    /// `handler(error)` as `steady_timer::async_wait` does.
    template <typename Handler>
    void run(Handler&& handler) {
        core_->require_own_process();
        const std::lock_guard lock(mutex_);
        if (!is_started_ && !is_stopping_) {
            is_started_ = true;
            wait_for_client();
            wait_for_channel();
        }
        io_->end.async_wait(std::forward<Handler>(handler));
    }
    [[nodiscard]] bool has_ended() const {
        const std::lock_guard lock(mutex_);
        return has_ended_;
    }
    /// After the end: null if the server was stopped.
    [[nodiscard]] std::exception_ptr error() const {
        const std::lock_guard lock(mutex_);
        return error_;
    }

    void stop() {
        core_->require_own_process();
        const std::lock_guard lock(mutex_);
        if (!io_ || is_stopping_) return;
        is_stopping_ = true;
        close_listener();
        if (const auto limit = drain_timeout_.value()) {
            io_->drain.expires_after(*limit);
            io_->drain.async_wait(handler([](ServerLoop& self) {
                if (!self.has_ended_) self.core_->kill();
            }));
        }
        guard([](ServerLoop& self) { self.drain(); });
    }

    /// Ends the server and all connections; blocks until its processes have exited.
    static void close(std::shared_ptr<ServerLoop> self) noexcept {
        if (self->core_->is_copy()) {
            // What it has in the context would be taken out of the original's epoll instance.
            static_cast<void>(new std::shared_ptr<ServerLoop>(std::move(self)));
            return;
        }
        try {
            {
                const std::lock_guard lock(self->mutex_);
                self->is_closed_ = true;
                self->end(std::make_exception_ptr(SystemError(net::error::operation_aborted)));
                self->core_->kill();
            }
            self->core_->join();
        } catch (...) { // the supervisor cannot be reached: it ends with this process
        }
    }

    /// The context is being destroyed.
    void forget_context() noexcept {
        if (core_->is_copy()) return;
        const std::lock_guard lock(mutex_);
        is_stopping_ = true;
        core_->close_listener();
        io_.reset();
    }

    [[nodiscard]] ServerStats stats() const {
        core_->require_own_process();
        const std::lock_guard lock(mutex_);
        return core_->stats();
    }

private:
    /// What belongs to the context.
    struct Io {
        explicit Io(const net::any_io_executor& executor)
            : listener(executor), channel(executor), retry(executor), refused(executor),
              drain(executor), end(executor) {
            end.expires_at(net::steady_timer::time_point::max());
        }

        net::posix::stream_descriptor listener;
        net::posix::stream_descriptor channel; ///< hangs up when the pool has ended
        net::steady_timer retry;
        net::steady_timer refused;
        net::steady_timer drain;
        net::steady_timer end; ///< expires when the server has ended
    };

    using Wait = net::posix::stream_descriptor::wait_type;

    /// How long no client is accepted after an error such as the lack of a descriptor.
    static constexpr std::chrono::milliseconds retry_interval{100};
    static constexpr std::chrono::milliseconds refused_interval{500};
    /// Clients that are accepted in one go, so that other handlers have their turn.
    static constexpr int most_at_once = 64;

    /// What an operation calls at its end: does `body(*self)`, unless it was aborted or the context
    /// is being destroyed. Reports the errors that were met.
    template <typename Body>
    struct Handler {
        std::shared_ptr<ServerLoop> self;
        Body body;

        void operator()(ErrorCode error) {
            std::vector<std::exception_ptr> errors;
            {
                const std::lock_guard lock(self->mutex_);
                if (!error && self->io_) self->guard(body);
                errors.swap(self->errors_);
            }
            if (!self->on_error_) return;
            for (const std::exception_ptr& one : errors) {
                if (!self->is_closed_) self->on_error_(one); // which may destroy the server
            }
        }
    };

    template <typename Body>
    Handler<Body> handler(Body body) {
        return {shared_from_this(), body};
    }

    // The following with the mutex held.

    template <typename Body>
    void guard(Body body) {
        try {
            body(*this);
        } catch (const BrokenProcessPool&) {
            end(std::current_exception());
        } catch (...) {
            errors_.push_back(std::current_exception());
            if (!has_ended_) retry_later();
        }
    }

    void wait_for_client() {
        if (std::exchange(is_waiting_, true)) return;
        io_->listener.async_wait(Wait::wait_read, handler([](ServerLoop& self) {
                                     self.is_waiting_ = false;
                                     self.go_on();
                                 }));
    }

    /// All processes of the pool have the other end.
    void wait_for_channel() {
        io_->channel.async_wait(Wait::wait_error, handler([](ServerLoop& self) {
                                    if (self.has_ended_) return;
                                    self.core_->owe_task(); // throws the reason, or its future does
                                    self.go_on();
                                }));
    }

    /// Does what there is to do: begins tasks, accepts clients.
    void go_on() {
        await_tasks();
        begin_tasks();
        if (is_stopping_) return drain();
        if (is_waiting_ || is_retrying_) return;
        for (int count = 0; core_->wants_client(); ++count) {
            if (count == most_at_once || !core_->accept_client()) {
                wait_for_client();
                break;
            }
            begin_tasks();
        }
        if (core_->has_refused()) wait_for_refused();
    }

    void begin_tasks() {
        const auto none = core_->tasks().end();
        for (;;) {
            unawaited_.reserve(unawaited_.size() + 1); // while there is no task that could be lost
            const auto task = core_->begin_task();
            if (task == none) return;
            unawaited_.push_back(task);
            await_tasks();
        }
    }

    void await_tasks() {
        for (; !unawaited_.empty(); unawaited_.pop_back()) wait_for_task(unawaited_.back());
    }

    void wait_for_task(ServerCore::Tasks::iterator task) {
        async_wait(executor_, *task, [self = shared_from_this(), task](ErrorCode error) {
            self->handler([task, error](ServerLoop& loop) {
                if (!error) return loop.end_task(task);
                loop.unawaited_.push_back(task); // such as for lack of a descriptor
                loop.retry_later();
            })(ErrorCode());
        });
    }

    void end_task(ServerCore::Tasks::iterator task) {
        if (const std::exception_ptr error = core_->end_task(task)) errors_.push_back(error);
        if (!has_ended_) go_on();
    }

    /// Waits for the end of the connections.
    void drain() {
        if (core_->idle()) return end(nullptr);
        if (core_->request_stop()) retry_later(); // some of them wait for a worker
    }

    void retry_later() {
        if (std::exchange(is_retrying_, true)) return;
        io_->retry.expires_after(retry_interval);
        io_->retry.async_wait(handler([](ServerLoop& self) {
            self.is_retrying_ = false;
            if (!self.has_ended_) self.go_on();
        }));
    }

    void wait_for_refused() {
        if (std::exchange(is_closing_refused_, true)) return;
        io_->refused.expires_after(refused_interval);
        io_->refused.async_wait(handler([](ServerLoop& self) {
            self.is_closing_refused_ = false;
            if (self.core_->close_refused()) self.wait_for_refused();
        }));
    }

    void close_listener() {
        ErrorCode ignored;
        io_->listener.close(ignored);
        core_->close_listener();
    }

    void end(std::exception_ptr error) {
        if (std::exchange(has_ended_, true)) return;
        is_stopping_ = true;
        error_ = std::move(error);
        if (!io_) return;
        close_listener();
        ErrorCode ignored;
        io_->channel.close(ignored);
        io_->retry.cancel();
        io_->refused.cancel();
        io_->drain.cancel();
        io_->end.expires_at(net::steady_timer::time_point::min());
        core_->shut_down();
    }

    const net::any_io_executor executor_;
    const Timeout drain_timeout_;
    const std::function<void(std::exception_ptr)> on_error_;
    const std::unique_ptr<ServerCore> core_;

    mutable std::mutex mutex_; ///< guards the following, and `core_`
    std::optional<Io> io_;     ///< nothing: the context has been destroyed
    bool is_started_ = false;
    bool is_stopping_ = false; ///< accepts no more clients
    bool has_ended_ = false;
    bool is_waiting_ = false; ///< for a client
    bool is_retrying_ = false;
    bool is_closing_refused_ = false;
    std::vector<ServerCore::Tasks::iterator> unawaited_; ///< could not be awaited yet
    std::atomic<bool> is_closed_ = false;                ///< reports nothing more
    std::exception_ptr error_;
    std::vector<std::exception_ptr> errors_; ///< not reported yet
};

inline void ServerService::shutdown() noexcept {
    const std::lock_guard lock(mutex_);
    for (const auto& server : servers_) {
        if (const auto loop = server.lock()) loop->forget_context();
    }
}

} // namespace prong::detail
