#pragma once

#include <prong/asio/config.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

/// \file
/// In which context an operation waits.

namespace prong::detail {

template <typename T>
concept LoopContext = std::derived_from<T, net::execution_context> &&
                      requires(T& context) { context.get_executor(); };

/// What an operation takes as its first argument, to wait there: an executor, or a context such as
/// an `io_context`.
template <typename T>
concept ExecutorOrContext = LoopContext<std::remove_reference_t<T>> ||
                            net::execution::is_executor<std::remove_cvref_t<T>>::value ||
                            net::is_executor<std::remove_cvref_t<T>>::value;

template <ExecutorOrContext T>
auto executor_of(T&& executor_or_context) {
    if constexpr (LoopContext<std::remove_reference_t<T>>)
        return executor_or_context.get_executor();
    else
        return std::remove_cvref_t<T>(std::forward<T>(executor_or_context));
}

template <typename Executor>
auto& context_of(const Executor& executor) {
    if constexpr (net::execution::is_executor<Executor>::value)
        return net::query(executor, net::execution::context);
    else
        return executor.context();
}

/// Compiles only if operations can wait in a context of this executor; else the compiler says what
/// to do. The system's context would have to start a thread for that.
template <typename Executor>
consteval bool require_loop() {
    using Context = std::remove_cvref_t<decltype(context_of(std::declval<Executor>()))>;
    constexpr bool has_loop = !std::same_as<Context, net::system_context>;
    static_assert(has_loop,
                  "prong: this completion token has no executor: pass an executor or io_context as "
                  "the first argument, or give the handler one by bind_executor");
    return has_loop;
}

/// Returns an executor of the same context that is no strand: what runs there is delayed by no
/// handler, and does not count as work.
template <typename Executor>
net::any_io_executor loop_executor(const Executor& executor) {
    if constexpr (requires { executor.get_inner_executor(); }) {
        return loop_executor(executor.get_inner_executor());
    } else {
        if constexpr (std::same_as<Executor, net::any_io_executor>) {
            using Io = net::io_context::executor_type;
            using Pool = net::thread_pool::executor_type;
            if (const auto* const strand = executor.template target<net::strand<Io>>())
                return strand->get_inner_executor();
            if (const auto* const strand = executor.template target<net::strand<Pool>>())
                return strand->get_inner_executor();
            if (const auto* const strand = executor.template target<net::strand<Executor>>())
                return loop_executor(strand->get_inner_executor());
        }
        return net::prefer(executor, net::execution::outstanding_work.untracked);
    }
}

} // namespace prong::detail
