#pragma once

/// \file
/// Waits for the end of a pool in an event loop: `async_shutdown`.

#include <prong/asio/config.hpp>
#include <prong/asio/detail/executor.hpp>
#include <prong/asio/detail/operation.hpp>
#include <prong/detail/pool_end.hpp>
#include <prong/process_pool_executor.hpp>

#include <exception>
#include <optional>
#include <tuple>
#include <utility>

namespace prong {
namespace detail {

struct ShutdownBody {
    using Signature = void(std::exception_ptr);

    explicit ShutdownBody(const ProcessPoolExecutor& pool) {
        try {
            end.emplace(PoolAccess::core(pool));
        } catch (...) {
            error = std::current_exception();
        }
    }

    bool is_ready(LoopService& /*service*/) {
        if (error) std::rethrow_exception(error);
        return end->has_come();
    }
    void wait(LoopService& service, LoopOperation& operation,
              const net::any_io_executor& executor) const {
        service.await_end(operation, *end, executor);
    }
    bool try_finish() { return end->has_come(); }
    void cancel(LoopOperation& operation, net::cancellation_type /*type*/) noexcept {
        operation.abort();
    }
    std::tuple<std::exception_ptr> finish(std::exception_ptr failure) {
        return {std::move(failure)};
    }

    std::optional<PoolEnd> end; ///< empty: not this process's pool
    std::exception_ptr error;
};

} // namespace detail

/// Shuts the pool down at once, like `pool.shutdown(false)`, and completes when all tasks and
/// workers have ended. To cancel queued tasks, call `pool.shutdown(false, true)` before. The pool's
/// destructor does not block after that.
///
/// *Signature:* `void(std::exception_ptr)`. The exception is `std::logic_error` in a process that
/// is not the pool's, or `std::system_error`; else null. *Default token:* `use_awaitable`.
/// *Cancellation* of any strength ends the wait with Asio's `system_error` (`operation_aborted`),
/// but not the shutdown. Everything else is as for `async_get`.
template <typename Token = detail::net::use_awaitable_t<>>
auto async_shutdown(ProcessPoolExecutor& pool, Token&& token = {}) {
    return detail::initiate(std::forward<Token>(token), detail::ShutdownBody(pool));
}
/// Like `async_shutdown` above, but waits in the context of `where`, an executor or a context.
template <detail::ExecutorOrContext Where, typename Token = detail::net::use_awaitable_t<>>
auto async_shutdown(Where&& where, ProcessPoolExecutor& pool, Token&& token = {}) {
    return detail::initiate_in(std::forward<Where>(where), std::forward<Token>(token),
                               detail::ShutdownBody(pool));
}

} // namespace prong
