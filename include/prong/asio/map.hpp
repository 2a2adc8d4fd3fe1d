#pragma once

/// \file
/// `map` for event loops: `async_map`.

#include <prong/asio/config.hpp>
#include <prong/asio/detail/executor.hpp>
#include <prong/asio/detail/operation.hpp>
#include <prong/asio/submit.hpp>
#include <prong/map.hpp>
#include <prong/process_pool_executor.hpp>

#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace prong {
namespace detail {

/// Waits until the next element of a map may be there.
struct MapWaitBody {
    using Signature = void(std::exception_ptr);

    bool is_ready(LoopService& /*service*/) const { return is_gathered || run->is_ready(); }
    void wait(LoopService& service, LoopOperation& operation,
              const net::any_io_executor& executor) const {
        if (const TaskHandle* const task = run->awaited())
            service.await(operation, *task, executor);
        else
            service.poll(operation, run->pool(), executor);
    }
    bool try_finish() const { return run->poll(); }
    void cancel(LoopOperation& operation, net::cancellation_type /*type*/) noexcept {
        operation.abort();
    }
    std::tuple<std::exception_ptr> finish(std::exception_ptr error) { return {std::move(error)}; }

    MapRun* run;
    bool is_gathered; ///< what the operation waits for is there already
};

/// What the operations of a map share.
template <typename R>
struct AsyncMapState {
    using Value = typename MapResult<R>::value_type;
    using Progress = typename MapResult<R>::Progress;

    explicit AsyncMapState(std::unique_ptr<Progress> progress)
        : run(progress->run), results(std::move(progress)) {}

    /// Takes the next element, which is there, and goes on to the one after it, also if it throws.
    Value take() {
        auto position = results.begin();
        std::optional<Value> value;
        std::exception_ptr error;
        try {
            value.emplace(std::ranges::iter_move(position));
        } catch (...) {
            error = std::current_exception();
        }
        ++position;
        if (error) std::rethrow_exception(error);
        return std::move(*value);
    }

    /// Takes the first of what `gathered` holds.
    std::optional<Value> take_gathered() {
        if (gathered.empty()) return std::nullopt;
        std::optional<Value> first(std::move(gathered.front()));
        gathered.pop_front();
        return first;
    }

    MapRun& run;
    MapResult<R> results;
    std::deque<Value> gathered; ///< for all together, before an error or a cancellation
};

/// Takes one element, or nothing at the end.
template <typename R>
struct NextElement {
    using Element = std::optional<typename MapResult<R>::value_type>;
    using Signature = void(std::exception_ptr, Element);
    using End = std::tuple<std::exception_ptr, Element>;

    static bool is_gathered(const AsyncMapState<R>& map) { return !map.gathered.empty(); }
    /// Returns nothing if the element is not there yet.
    static std::optional<End> take(AsyncMapState<R>& map) {
        if (auto element = map.take_gathered()) return End(nullptr, std::move(element));
        if (!map.run.is_ready()) return std::nullopt;
        return End(nullptr, map.run.at_end() ? Element() : Element(map.take()));
    }
};

/// Takes all elements.
template <typename R>
struct AllElements {
    using Elements = std::vector<typename MapResult<R>::value_type>;
    using Signature = void(std::exception_ptr, Elements);
    using End = std::tuple<std::exception_ptr, Elements>;

    static bool is_gathered(const AsyncMapState<R>& /*map*/) { return false; }
    static std::optional<End> take(AsyncMapState<R>& map) {
        while (map.run.is_ready()) {
            if (map.run.at_end()) {
                Elements elements(std::make_move_iterator(map.gathered.begin()),
                                  std::make_move_iterator(map.gathered.end()));
                map.gathered.clear();
                return End(nullptr, std::move(elements));
            }
            map.gathered.push_back(map.take());
        }
        return std::nullopt;
    }
};
template <>
struct AllElements<void> {
    using Signature = void(std::exception_ptr);
    using End = std::tuple<std::exception_ptr>;

    static bool is_gathered(const AsyncMapState<void>& /*map*/) { return false; }
    static std::optional<End> take(AsyncMapState<void>& map) {
        while (map.run.is_ready()) {
            if (map.run.at_end()) return End(nullptr);
            map.take();
        }
        return std::nullopt;
    }
};

/// The implementation of a composed operation: `Taking` is one of the above. `Executor` is
/// `std::monostate` if the handler's is meant.
template <typename R, template <typename> typename Taking, typename Executor>
struct MapOperation {
    using End = typename Taking<R>::End;

    template <typename Self>
    void operator()(Self& self) {
        self.reset_cancellation_state(net::enable_total_cancellation());
        wait(self);
    }
    template <typename Self>
    void operator()(Self& self, std::exception_ptr error) {
        std::optional<End> end;
        try {
            if (error) std::rethrow_exception(error);
            // A cancellation after the inner wait has ended finds nothing to abort there.
            if (self.cancelled() != net::cancellation_type::none)
                throw SystemError(net::error::operation_aborted);
            end = Taking<R>::take(*state);
        } catch (...) {
            end.emplace();
            std::get<0>(*end) = std::current_exception();
        }
        if (!end) return wait(self);
        std::apply([&self](auto&... results) { self.complete(std::move(results)...); }, *end);
    }

private:
    template <typename Self>
    void wait(Self& self) {
        const MapWaitBody body{&state->run, Taking<R>::is_gathered(*state)};
        if constexpr (std::same_as<Executor, std::monostate>) {
            initiate(std::move(self), body);
        } else {
            const Executor where = executor;
            initiate_in(where, std::move(self), body);
        }
    }

public:
    std::shared_ptr<AsyncMapState<R>> state;
    Executor executor;
};

} // namespace detail

/// Results of a `map` in an event loop, one by one or all together. Chunks of the input are
/// submitted as results are taken, so no more than `MapOptions::lookahead` elements are read ahead.
///
/// The input is read where operations are started, and in the executor of their handlers. Destroyed
/// without an outstanding operation, it cancels unclaimed chunks.
///
/// Thread safety: one operation at a time. Process safety: like `MapResult`.
template <typename R>
class AsyncMap {
public:
    /// One result; `std::monostate` for a `void` function.
    using value_type = typename MapResult<R>::value_type;

    /// Called by `async_map`.
    explicit AsyncMap(std::shared_ptr<detail::AsyncMapState<R>> state) : state_(std::move(state)) {}

    /// Completes with the next result, or with an empty optional after the last one. An element
    /// that has thrown completes with its exception; the next operation goes on behind it.
    ///
    /// *Signature:* `void(std::exception_ptr, std::optional<value_type>)`. *Default token:*
    /// `use_awaitable`. *Cancellation* of any strength ends the wait with Asio's `system_error`
    /// (`operation_aborted`); no result is lost, the next operation goes on. Everything else is as
    /// for `async_get`.
    template <typename Token = detail::net::use_awaitable_t<>>
        requires(!detail::ExecutorOrContext<Token>)
    auto async_next(Token&& token = {}) {
        return start<detail::NextElement>(std::forward<Token>(token));
    }
    /// Like the above, but waits in the context of `where`, an executor or a context.
    template <detail::ExecutorOrContext Where, typename Token = detail::net::use_awaitable_t<>>
    auto async_next(Where&& where, Token&& token = {}) {
        return start_in<detail::NextElement>(detail::executor_of(std::forward<Where>(where)),
                                             std::forward<Token>(token));
    }

    /// Completes with all results that are left, or with the first exception; results before it
    /// belong to the next call, which goes on behind it.
    ///
    /// *Signature:* `void(std::exception_ptr, std::vector<value_type>)`; `void(std::exception_ptr)`
    /// for a `void` function. Everything else is as for `async_next`.
    template <typename Token = detail::net::use_awaitable_t<>>
        requires(!detail::ExecutorOrContext<Token>)
    auto operator()(Token&& token = {}) {
        return start<detail::AllElements>(std::forward<Token>(token));
    }
    /// Like the above, but waits in the context of `where`, an executor or a context.
    template <detail::ExecutorOrContext Where, typename Token = detail::net::use_awaitable_t<>>
    auto operator()(Where&& where, Token&& token = {}) {
        return start_in<detail::AllElements>(detail::executor_of(std::forward<Where>(where)),
                                             std::forward<Token>(token));
    }

private:
    template <template <typename> typename Taking, typename Token>
    auto start(Token&& token) {
        using Operation = detail::MapOperation<R, Taking, std::monostate>;
        return detail::net::async_compose<Token, typename Taking<R>::Signature>(
            Operation{.state = state_, .executor = {}}, token);
    }
    template <template <typename> typename Taking, typename Executor, typename Token>
    auto start_in(Executor executor, Token&& token) {
        using Operation = detail::MapOperation<R, Taking, Executor>;
        return detail::net::async_compose<Token, typename Taking<R>::Signature>(
            Operation{.state = state_, .executor = executor}, token, executor);
    }

    std::shared_ptr<detail::AsyncMapState<R>> state_;
};

/// Like `map`, for event loops:
///
///     auto squares = async_map(pool, square, numbers);
///     while (auto n = co_await squares.async_next()) use(*n);       // one by one
///     auto all = co_await async_map(pool, square, numbers)();       // or all together
///
/// `pool` is a `ProcessPoolExecutor` or `MpiPoolExecutor`, or `pool.with(options)`. Submits the
/// first chunks at once, as far as there is room in the queue; does not block. An lvalue range must
/// outlive the result; an rvalue range is moved into it. *Throws* like `map`, and
/// `std::invalid_argument` for `MapOptions::timeout`: let a timer cancel the operation instead.
template <detail::SubmitsTasks Pool, typename F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
auto async_map(Pool&& pool, const MapOptions& options, F f, Ranges&&... ranges) {
    using R = task_result_t<F, std::ranges::range_reference_t<Ranges>...>;
    using Source = detail::MapSourceOf<F, std::views::all_t<Ranges>...>;
    using State = detail::AsyncMapState<R>;
    if constexpr (detail::require_task<F, std::ranges::range_reference_t<Ranges>...>()) {
        if (options.timeout.value())
            throw std::invalid_argument("async_map takes no MapOptions::timeout: let a timer "
                                        "cancel the operation");
        return AsyncMap<R>(std::make_shared<State>(std::make_unique<typename State::Progress>(
            detail::PoolAccess::core(pool), options, detail::PoolAccess::options(pool),
            std::make_unique<Source>(std::move(f), std::forward<Ranges>(ranges)...), false)));
    } else {
        return AsyncMap<R>(nullptr); // so that the refusal is the only error
    }
}
/// Like `async_map` above, without options.
template <detail::SubmitsTasks Pool, typename F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0)
auto async_map(Pool&& pool, F f, Ranges&&... ranges) {
    return async_map(std::forward<Pool>(pool), MapOptions{}, std::move(f),
                     std::forward<Ranges>(ranges)...);
}

} // namespace prong
