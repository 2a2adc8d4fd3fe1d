#pragma once

#include <prong/asio/config.hpp>
#include <prong/asio/detail/executor.hpp>

#include <type_traits>
#include <utility>

/// \file
/// Begins operations by Asio's conventions. `Operation<Body, Handler, Executor>::start(body,
/// handler, executor)` begins one.

namespace prong::detail {

/// Initiates an operation that waits in the context of the handler's executor.
template <template <typename...> typename Operation>
struct Initiation {
    template <typename Handler, typename Body>
    void operator()(Handler&& handler, Body&& body) const {
        using Executor = net::associated_executor_t<std::decay_t<Handler>>;
        if constexpr (require_loop<Executor>()) {
            const Executor executor = net::get_associated_executor(handler);
            Operation<std::decay_t<Body>, std::decay_t<Handler>, Executor>::start(
                std::forward<Body>(body), std::forward<Handler>(handler), executor);
        }
    }
};

/// Initiates an operation that waits in the context of the given executor.
template <template <typename...> typename Operation, typename Executor>
class InitiationIn {
public:
    using executor_type = Executor;

    explicit InitiationIn(Executor executor) : executor_(std::move(executor)) {}

    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

    template <typename Handler, typename Body>
    void operator()(Handler&& handler, Body&& body) const {
        if constexpr (require_loop<Executor>()) {
            Operation<std::decay_t<Body>, std::decay_t<Handler>, Executor>::start(
                std::forward<Body>(body), std::forward<Handler>(handler), executor_);
        }
    }

private:
    Executor executor_;
};

/// The executor of a token's handlers, as far as the handler does not show it: `use_future` hides
/// that it is the system's.
template <typename Token>
struct HiddenExecutor {
    using type = net::io_context::executor_type;
};
template <typename Allocator>
struct HiddenExecutor<net::use_future_t<Allocator>> {
    using type = net::system_executor;
};

/// Begins an operation in the context of the handler's executor. Returns what the token says.
template <template <typename...> typename Operation, typename Signature, typename Token,
          typename Body>
auto initiate_operation(Token&& token, Body&& body) {
    if constexpr (require_loop<typename HiddenExecutor<std::remove_cvref_t<Token>>::type>())
        return net::async_initiate<Token, Signature>(Initiation<Operation>(), token,
                                                     std::forward<Body>(body));
}

/// Begins an operation in the context of `where`. Returns what the token says.
template <template <typename...> typename Operation, typename Signature, ExecutorOrContext Where,
          typename Token, typename Body>
auto initiate_operation_in(Where&& where, Token&& token, Body&& body) {
    auto executor = executor_of(std::forward<Where>(where));
    return net::async_initiate<Token, Signature>(
        InitiationIn<Operation, decltype(executor)>(executor), token, std::forward<Body>(body));
}

} // namespace prong::detail
