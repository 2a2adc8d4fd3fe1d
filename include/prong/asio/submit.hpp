#pragma once

/// \file
/// Submits tasks from an event loop to a pool that may be full: `async_submit`.

#include <prong/asio/config.hpp>
#include <prong/asio/detail/executor.hpp>
#include <prong/asio/detail/operation.hpp>
#include <prong/detail/delayed_task.hpp>
#include <prong/process_pool_executor.hpp>

#include <concepts>
#include <exception>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>

namespace prong {
namespace detail {

/// A pool, perhaps with options.
template <typename T>
concept SubmitsTasks = std::derived_from<std::remove_cvref_t<T>, ProcessPoolExecutor> ||
                       std::same_as<std::remove_cvref_t<T>, PoolWithOptions>;

template <typename R>
struct SubmitBody {
    using Signature = void(std::exception_ptr, Future<R>);

    bool is_ready(LoopService& service) {
        if (error) std::rethrow_exception(error);
        if (!task) throw std::logic_error("this task has been submitted already");
        return !service.is_full(task->pool()) && task->try_submit(); // first come, first served
    }
    void wait(LoopService& service, LoopOperation& operation,
              const net::any_io_executor& executor) {
        service.await_room(operation, task->pool(), executor);
    }
    bool try_finish() { return task->try_submit(); }
    void cancel(LoopOperation& operation, net::cancellation_type /*type*/) noexcept {
        operation.abort();
    }
    std::tuple<std::exception_ptr, Future<R>> finish(std::exception_ptr failure) {
        if (failure) return {std::move(failure), Future<R>()};
        return {nullptr, FutureAccess::make<R>(std::move(task->task()))};
    }

    std::unique_ptr<DelayedTask> task; ///< null: it could not be written, or has been submitted
    std::exception_ptr error;
};

} // namespace detail

/// A task that `async_submit` has encoded and that is not submitted yet. Destroyed, it leaves
/// nothing behind.
template <typename R>
class AsyncSubmit {
public:
    /// Called by `async_submit`.
    explicit AsyncSubmit(detail::SubmitBody<R> body) : body_(std::move(body)) {}

    /// Waits for room, then submits the task and completes with its future. May be called once.
    ///
    /// *Signature:* `void(std::exception_ptr, Future<R>)`. The exception is the one that `submit`
    /// throws, or null. *Default token:* `use_awaitable`. *Cancellation* of any strength completes
    /// with Asio's `system_error` (`operation_aborted`), and the task is never submitted.
    /// Everything else is as for `async_get`.
    template <typename Token = detail::net::use_awaitable_t<>>
        requires(!detail::ExecutorOrContext<Token>)
    auto operator()(Token&& token = {}) {
        return detail::initiate(std::forward<Token>(token), std::move(body_));
    }
    /// Like the above, but waits in the context of `where`, an executor or a context.
    template <detail::ExecutorOrContext Where, typename Token = detail::net::use_awaitable_t<>>
    auto operator()(Where&& where, Token&& token = {}) {
        return detail::initiate_in(std::forward<Where>(where), std::forward<Token>(token),
                                   std::move(body_));
    }

private:
    detail::SubmitBody<R> body_;
};

/// Like `submit`, for event loops: waits without blocking while `PoolOptions::max_pending` tasks
/// are queued. Encodes `f` and the arguments at once, as `submit` does. Returns an object that is
/// called with a completion token: `Future<int> future = co_await async_submit(pool, square,
/// 7)();`.
///
/// `pool` is a `ProcessPoolExecutor` or `MpiPoolExecutor`, or `pool.with(options)`.
/// `TaskOptions::deadline` counts from this call; if it passes first, the future has ended with
/// `TaskTimeout`. Submissions in one context that wait for the same pool are served in order. What
/// `submit` throws, the operation completes with. Does not block. The pool may be destroyed first:
/// the operation then completes with `PoolShutdown`. Thread safety: any thread.
template <detail::SubmitsTasks Pool, typename F, typename... Args>
AsyncSubmit<task_result_t<F, Args...>> async_submit(Pool&& pool, F&& f, Args&&... args) {
    using R = task_result_t<F, Args...>;
    detail::SubmitBody<R> body;
    try {
        auto task = std::make_unique<detail::DelayedTask>(detail::PoolAccess::core(pool),
                                                          detail::task_type<F, Args...>(),
                                                          detail::PoolAccess::options(pool));
        detail::encode_task(task->writer(), std::forward<F>(f), std::forward<Args>(args)...);
        body.task = std::move(task);
    } catch (...) {
        body.error = std::current_exception();
    }
    return AsyncSubmit<R>(std::move(body));
}

} // namespace prong
