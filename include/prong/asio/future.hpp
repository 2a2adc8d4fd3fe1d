#pragma once

/// \file
/// Awaits tasks in an event loop: `async_get`, `async_wait`, `add_done_callback`.

#include <prong/asio/config.hpp>
#include <prong/asio/detail/executor.hpp>
#include <prong/asio/detail/operation.hpp>
#include <prong/asio/detail/value.hpp>
#include <prong/codec.hpp>
#include <prong/future.hpp>

#include <exception>
#include <new>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace prong {

namespace detail {

/// Waits for a task and owns its future.
template <typename R>
struct FutureBody {
    explicit FutureBody(Future<R>&& taken) noexcept : future(std::move(taken)) {}

    bool is_ready(LoopService& /*service*/) const { return future.done(); }
    void wait(LoopService& service, LoopOperation& operation,
              const net::any_io_executor& executor) const {
        service.await(operation, FutureAccess::task(future), executor);
    }

    Future<R> future;
};

template <typename R>
struct GetSignature {
    using type = void(std::exception_ptr, async_value_t<R>);
};
template <>
struct GetSignature<void> {
    using type = void(std::exception_ptr);
};

template <typename R>
struct GetBody : FutureBody<R> {
    using Signature = typename GetSignature<R>::type;

    using FutureBody<R>::FutureBody;

    void cancel(LoopOperation& /*operation*/, net::cancellation_type type) noexcept {
        const auto asks_for = [type](net::cancellation_type strength) {
            return (type & strength) != net::cancellation_type::none;
        };
        try {
            if (asks_for(net::cancellation_type::terminal))
                this->future.kill();
            else if (asks_for(net::cancellation_type::partial))
                this->future.request_stop();
            else if (asks_for(net::cancellation_type::total))
                this->future.cancel();
        } catch (...) { // the pool's supervisor cannot be reached: the task goes on
        }
    }

    auto finish(std::exception_ptr error) {
        using End = std::conditional_t<std::is_void_v<R>, std::tuple<std::exception_ptr>,
                                       std::tuple<std::exception_ptr, async_value_t<R>>>;
        try {
            if constexpr (std::is_void_v<R>) {
                if (!error) this->future.get();
            } else {
                if (!error) return End(nullptr, this->future.get());
            }
        } catch (...) {
            error = std::current_exception();
        }
        End end;
        std::get<0>(end) = std::move(error);
        return end;
    }
};

/// Hands the future over when the task has ended.
template <typename R>
struct TakeBody : FutureBody<R> {
    using Signature = void(Future<R>);

    using FutureBody<R>::FutureBody;

    void cancel(LoopOperation& /*operation*/, net::cancellation_type /*type*/) noexcept {}
    std::tuple<Future<R>> finish(const std::exception_ptr& /*error*/) {
        return std::tuple<Future<R>>(std::move(this->future));
    }
};

/// Returns the code of an error that an operation's start has thrown.
inline ErrorCode error_code_of(const std::exception_ptr& error) {
    try {
        if (error) std::rethrow_exception(error);
        return {};
    } catch (const std::exception& failed) {
        if (const auto* const system = dynamic_cast<const SystemError*>(&failed))
            return system->code();
        if (const auto* const system = dynamic_cast<const std::system_error*>(&failed))
            return system->code();
        if (dynamic_cast<const std::bad_alloc*>(&failed) != nullptr) return net::error::no_memory;
        return net::error::invalid_argument; // no task, or this process is not the pool's
    }
}

/// Waits for a task whose future stays with the caller.
struct WaitBody {
    using Signature = void(ErrorCode);

    bool is_ready(LoopService& /*service*/) const { return task->done(); }
    void wait(LoopService& service, LoopOperation& operation,
              const net::any_io_executor& executor) const {
        service.await(operation, *task, executor);
    }
    void cancel(LoopOperation& operation, net::cancellation_type /*type*/) noexcept {
        operation.abort();
    }
    std::tuple<ErrorCode> finish(const std::exception_ptr& error) { return error_code_of(error); }

    const TaskHandle* task;
};

} // namespace detail

/// Waits for the task and completes with its result. Takes the future; the task then belongs to the
/// operation.
///
/// *Signature:* `void(std::exception_ptr, R)`; `void(std::exception_ptr)` if `R` is `void`. The
/// exception is the one that `Future::get` throws, or null. If `R` has no default constructor, the
/// second is a `std::optional<R>` (`async_value_t`). A future without a task completes with
/// `std::logic_error`. *Default token:* `use_awaitable`.
///
/// Waits in the context of the handler's executor, which may be any of Asio's contexts. If few
/// tasks are awaited there, the context looks for their ends between other handlers for about 50
/// µs before it sleeps. (`poll` and `run_one` count that as handlers.) While it waits, a timer
/// looks at the pool every 64 ms. A token that has no executor (a plain callback,
/// `use_future`, `detached`) is rejected at compile time: pass an executor first, or bind one. The
/// result is decoded in the handler's executor.
///
/// *Cancellation:* `total` calls `Future::cancel`, `partial` calls `Future::request_stop`,
/// `terminal` calls `Future::kill`; the strongest counts. The operation then completes as the task
/// ends, for example with `CancelledError`. A task that is not cancelled continues, and so does the
/// operation: `total` does not end one whose task is running. Coroutines pass on `terminal` only,
/// unless `this_coro::reset_cancellation_state` says otherwise: `co_await (async_get(…,
/// as_tuple(use_awaitable)) || timer)` kills the task when the timer expires. (Without `as_tuple`,
/// `||` waits for the timer if the task throws, and drops the exception.)
///
/// Does not block. The handler is never called from within this function or a cancellation. If the
/// context is destroyed first, the operation ends without a call of its handler, as if the future
/// had been destroyed. The pool may be destroyed first.
///
/// Thread safety: any thread, any number of contexts and threads for a pool.
///
/// Process safety: completes whatever process dies, like `Future::get`.
template <typename R, typename Token = detail::net::use_awaitable_t<>>
auto async_get(Future<R>&& future, Token&& token = {}) {
    return detail::initiate(std::forward<Token>(token), detail::GetBody<R>(std::move(future)));
}
/// Like `async_get` above, but waits in the context of `where`, an executor or a context. A handler
/// without an executor is called there, too.
template <detail::ExecutorOrContext Where, typename R,
          typename Token = detail::net::use_awaitable_t<>>
auto async_get(Where&& where, Future<R>&& future, Token&& token = {}) {
    return detail::initiate_in(std::forward<Where>(where), std::forward<Token>(token),
                               detail::GetBody<R>(std::move(future)));
}

/// Waits until the task has ended. Leaves the result in the future, which must stay in place until
/// the handler is called, and must not be used meanwhile, except for `cancel`, `request_stop` and
/// `kill`.
///
/// *Signature:* `void(error_code)`. `invalid_argument` if the future has no task. *Default token:*
/// `use_awaitable`. *Cancellation* of any strength ends the wait with `operation_aborted`; the task
/// continues. Everything else is as for `async_get`.
template <typename R, typename Token = detail::net::use_awaitable_t<>>
auto async_wait(const Future<R>& future, Token&& token = {}) {
    return detail::initiate(std::forward<Token>(token),
                            detail::WaitBody{&detail::FutureAccess::task(future)});
}
/// Like `async_wait` above, but waits in the context of `where`, an executor or a context.
template <detail::ExecutorOrContext Where, typename R,
          typename Token = detail::net::use_awaitable_t<>>
auto async_wait(Where&& where, const Future<R>& future, Token&& token = {}) {
    return detail::initiate_in(std::forward<Where>(where), std::forward<Token>(token),
                               detail::WaitBody{&detail::FutureAccess::task(future)});
}
/// Rejected at compile time with an explanation.
template <typename R, typename... Token>
void async_wait(const Future<R>&& /*future*/, Token&&... /*token*/) {
    static_assert(sizeof...(Token) > 99,
                  "prong: async_wait refers to a future that stays in place: give a temporary one "
                  "a name, or use async_get");
}
/// Rejected at compile time with an explanation.
template <detail::ExecutorOrContext Where, typename R, typename... Token>
void async_wait(Where&& /*where*/, const Future<R>&& future, Token&&... /*token*/) {
    async_wait(std::move(future));
}

/// Calls `function(future)` once on an executor when the task has ended, for whatever reason;
/// `future.get()` does not block then. Takes the future: move it in. `where` is the executor or
/// context. Does not block. The call counts as outstanding work of the context until then. If the
/// context is destroyed first, the function is not called. What the function throws, it throws to
/// the context's `run`. *Throws* `std::logic_error` for a future without a task. Thread safety: any
/// thread.
template <detail::ExecutorOrContext Where, typename R, typename Function>
void add_done_callback(Where&& where, Future<R> future, Function&& function) {
    detail::FutureAccess::task(future).require_valid();
    const auto executor = detail::executor_of(std::forward<Where>(where));
    detail::initiate_in(executor,
                        detail::net::bind_executor(executor, std::forward<Function>(function)),
                        detail::TakeBody<R>(std::move(future)));
}

} // namespace prong
