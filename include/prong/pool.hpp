#pragma once

#include <prong/async_result.hpp>
#include <prong/callbacks.hpp>
#include <prong/codec.hpp>
#include <prong/detail/async_call.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/task.hpp>
#include <prong/error.hpp>
#include <prong/map.hpp>
#include <prong/pool_options.hpp>
#include <prong/process_pool_executor.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace prong {

namespace detail {

/// Returns the task's encoded result. Throws what has ended the task.
PRONG_API Reader result_of(const TaskHandle& task);

template <class R>
R decode_result(const AsyncCall& call) {
    Reader result = result_of(call.tasks().front().handle);
    if constexpr (!std::is_void_v<R>) return decode<R>(result);
}

/// The results of a map, if the function returns `R`.
template <class R>
using MapValue = std::conditional_t<std::is_void_v<R>, void, std::vector<R>>;

/// Throws the first error in input order.
template <class R>
MapValue<R> decode_map_results(const AsyncCall& call) {
    std::conditional_t<std::is_void_v<R>, std::monostate, std::vector<R>> results;
    for (const CallTask& task : call.tasks()) {
        ChunkReader chunk(result_of(task.handle), task.elements, plain_bytes<R>);
        while (chunk.left() != 0) {
            if constexpr (plain_bytes<R> != 0) {
                const std::span<const std::byte> values = chunk.values();
                append_values(results, values);
                chunk.next(values.size() / sizeof(R));
                if (chunk.left() == 0) break;
            }
            Reader value = chunk.value();
            if constexpr (!std::is_void_v<R>) results.push_back(decode<R>(value));
            chunk.set_end(value);
            chunk.next();
        }
    }
    if constexpr (!std::is_void_v<R>) return results;
}

/// Queues the elements of a map in chunks. Throws `std::invalid_argument` for a chunk size of 0.
/// Cancels what it has queued if it throws.
PRONG_API std::vector<CallTask> submit_chunks(executor::PoolCore& core, MapSource& source,
                                              std::size_t elements,
                                              std::optional<std::size_t> chunksize);

/// Returns a range of the same elements that can be read several times.
template <std::ranges::input_range Range>
auto multi_pass(Range& range) {
    if constexpr (std::ranges::forward_range<Range>) {
        return std::ranges::ref_view(range);
    } else {
        std::vector<std::ranges::range_value_t<Range>> elements;
        for (auto&& element : range) elements.push_back(std::forward<decltype(element)>(element));
        return elements;
    }
}

template <class R>
void run_callback(const callbacks& use, const AsyncCall& call, R (*decode)(const AsyncCall&)) {
    std::optional<std::conditional_t<std::is_void_v<R>, std::monostate, R>> result;
    std::exception_ptr error;
    try {
        if constexpr (std::is_void_v<R>) {
            decode(call);
        } else {
            result.emplace(decode(call));
        }
    } catch (...) {
        error = std::current_exception();
    }
    if (error) {
        use.error(error);
    } else if constexpr (std::is_void_v<R>) {
        use.done();
    } else {
        use.done(std::move(*result));
    }
}

} // namespace detail

/// Pool of worker processes with the interface of Python's `multiprocessing.Pool`. Like
/// `ProcessPoolExecutor`, on which it is built: tasks, workers, options and errors are the same.
/// For timeouts, limits or cancellation of single tasks use that class.
///
/// The destructor terminates the pool, as leaving a `with` block does in Python: call `close` and
/// `join` to have everything run to its end. Destroy what callbacks refer to after the pool, or
/// after `join`.
///
/// Has one thread if callbacks are used, with all signals blocked. `close`, `terminate` and `join`
/// may be called again.
///
/// Thread safety: any number of threads may call members at once. Destroy the pool after all calls
/// have returned; a callback may destroy it.
///
/// Process safety: like `ProcessPoolExecutor`.
class PRONG_API Pool {
public:
    /// Creates a pool with one worker for each CPU that this process may use.
    Pool() : Pool(PoolOptions{}) {}
    /// Creates a pool of `processes` workers. *Throws* like `ProcessPoolExecutor`.
    explicit Pool(int processes) : Pool(PoolOptions{.max_workers = processes}) {}
    /// Creates a pool with options. Python's `initializer` and `maxtasksperchild` are
    /// `PoolOptions::initializer` and `max_tasks_per_worker`. *Throws* like `ProcessPoolExecutor`.
    explicit Pool(PoolOptions options);

    /// Terminates the pool and blocks until its processes and a running callback have ended. Never
    /// throws.
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    /// Runs `f(args...)` in a worker, blocks until it has ended, and returns the result. *Throws*
    /// the task's exception, and what `ProcessPoolExecutor::submit` throws; `std::logic_error`
    /// after `close` or `terminate`, as all calls below.
    template <typename F, typename... Args>
    task_result_t<F, Args...> apply(F&& f, Args&&... args) {
        return accept([&] {
                   return executor_.submit(std::forward<F>(f), std::forward<Args>(args)...);
               })
            .get();
    }

    /// Like `ProcessPoolExecutor::completion_fd`: readable when a task of any call has ended.
    [[nodiscard]] int completion_fd() { return executor_.completion_fd(); }

    /// Like `apply`, but returns at once.
    template <typename F, typename... Args>
        requires(!std::same_as<std::remove_cvref_t<F>, callbacks>)
    AsyncResult<task_result_t<F, Args...>> apply_async(F&& f, Args&&... args) {
        return apply_async(callbacks{}, std::forward<F>(f), std::forward<Args>(args)...);
    }
    /// Like `apply_async` above; calls `use.done` or `use.error` when the task has ended.
    template <typename F, typename... Args>
    AsyncResult<task_result_t<F, Args...>> apply_async(callbacks use, F&& f, Args&&... args) {
        using R = task_result_t<F, Args...>;
        return call_async<R>(std::move(use), &detail::decode_result<R>, [&] {
            auto future = executor_.submit(std::forward<F>(f), std::forward<Args>(args)...);
            std::vector<detail::CallTask> tasks(1);
            tasks[0].handle = std::move(detail::FutureAccess::task(future));
            return tasks;
        });
    }

    /// Calls `f` for each element of `range` and returns the results in order, or nothing if `f`
    /// returns `void`. Reads and queues all elements at once: use `imap` for long inputs. Blocks
    /// until all calls have ended, also after an error. *Throws* the first error in input order.
    ///
    /// Each task takes `chunksize` elements; a dying worker fails all elements of its task.
    /// *Default:* a quarter of a worker's share. *Throws* `std::invalid_argument` for 0.
    template <typename F, std::ranges::input_range Range>
    auto map(F f, Range&& range, std::optional<std::size_t> chunksize = std::nullopt) {
        return map_async(std::move(f), range, chunksize).get();
    }
    /// Like `map`, but returns at once. `done` takes all results together.
    template <typename F, std::ranges::input_range Range>
    auto map_async(F f, Range&& range, std::optional<std::size_t> chunksize = std::nullopt,
                   callbacks use = {}) {
        auto elements = detail::multi_pass(range);
        return map_over(std::move(f), chunksize, std::move(use), std::views::all(elements));
    }
    /// Like `map_async` above, with the default chunk size.
    template <typename F, std::ranges::input_range Range>
    auto map_async(F f, Range&& range, callbacks use) {
        return map_async(std::move(f), range, std::nullopt, std::move(use));
    }

    /// Like `map`; the elements are tuples (pairs, arrays) of the arguments of one call.
    template <typename F, std::ranges::input_range Range>
    auto starmap(F f, Range&& range, std::optional<std::size_t> chunksize = std::nullopt) {
        return starmap_async(std::move(f), range, chunksize).get();
    }
    /// Like `starmap`, but returns at once.
    template <typename F, std::ranges::input_range Range>
    auto starmap_async(F f, Range&& range, std::optional<std::size_t> chunksize = std::nullopt,
                       callbacks use = {}) {
        auto tuples = detail::multi_pass(range);
        return [&]<std::size_t... Index>(std::index_sequence<Index...>) {
            return map_over(std::move(f), chunksize, std::move(use),
                            std::views::elements<Index>(tuples)...);
        }(std::make_index_sequence<std::tuple_size_v<std::ranges::range_value_t<Range>>>{});
    }
    /// Like `starmap_async` above, with the default chunk size.
    template <typename F, std::ranges::input_range Range>
    auto starmap_async(F f, Range&& range, callbacks use) {
        return starmap_async(std::move(f), range, std::nullopt, std::move(use));
    }

    /// Calls `f` for each element of `range`. Returns the results in order as they are computed, as
    /// `ProcessPoolExecutor::map` does: reads the input only as far ahead as keeps the workers
    /// busy. Read the results to their end before `join`, which ends the reading of the input.
    /// *Default:* one element a task.
    template <typename F, std::ranges::input_range Range>
    map_result_t<F, Range> imap(F f, Range&& range, std::size_t chunksize = 1) {
        return accept([&] {
            return executor_.map(MapOptions{.chunksize = chunksize}, std::move(f),
                                 std::forward<Range>(range));
        });
    }
    /// Like `imap`, but returns results as tasks end, in any order.
    template <typename F, std::ranges::input_range Range>
    map_result_t<F, Range> imap_unordered(F f, Range&& range, std::size_t chunksize = 1) {
        return accept([&] {
            return executor_.map(MapOptions{.chunksize = chunksize, .ordered = false}, std::move(f),
                                 std::forward<Range>(range));
        });
    }

    /// Accepts no further calls; all calls made before run to their end. Does not block. *Throws*
    /// `std::logic_error` in another process, as the two calls below.
    void close();

    /// Accepts no further calls. Cancels what is queued and ends the workers: SIGTERM, after 3
    /// seconds SIGKILL. Begins no further callback. Does not block. *Throws* `std::system_error` if
    /// the pool's supervisor cannot be reached.
    void terminate();

    /// Blocks until all workers have ended and all callbacks have run. *Throws* `std::logic_error`
    /// before `close` or `terminate`, and in a callback.
    void join();

private:
    void require_open() const;
    [[noreturn]] static void throw_closed();
    [[nodiscard]] executor::PoolCore& core() const { return *executor_.core_; }

    /// Calls `submit`. Throws `std::logic_error` if the pool is closed, or is terminated meanwhile.
    template <typename Submit>
    auto accept(Submit submit) {
        require_open();
        try {
            return submit();
        } catch (const PoolShutdown&) {
            throw_closed();
        }
    }

    /// `submit` returns the call's tasks.
    template <typename R, typename Submit>
    AsyncResult<R> call_async(callbacks use, R (*decode)(const detail::AsyncCall&), Submit submit) {
        if constexpr (std::is_void_v<R>) {
            use.done.require();
        } else {
            use.done.template require<R>();
        }
        const bool has_callbacks = use.done || use.error;
        if (has_callbacks) callbacks_.start();
        const auto call = std::make_shared<detail::AsyncCall>(core(), accept(std::move(submit)));
        if (has_callbacks) {
            call->set_callback([use = std::move(use), decode, &call = *call] {
                detail::run_callback(use, call, decode);
            });
            callbacks_.add(call);
        }
        return {call, decode};
    }

    /// Calls `f` with the elements of views of equal length, in step.
    template <typename F, typename View, typename... Views>
    auto map_over(F f, std::optional<std::size_t> chunksize, callbacks use, View first,
                  Views... others) {
        using R = task_result_t<F, std::ranges::range_reference_t<View>,
                                std::ranges::range_reference_t<Views>...>;
        using Result = AsyncResult<detail::MapValue<R>>;
        if constexpr (detail::require_task<F, std::ranges::range_reference_t<View>,
                                           std::ranges::range_reference_t<Views>...>()) {
            const auto size = static_cast<std::size_t>(std::ranges::distance(first));
            return call_async(std::move(use), &detail::decode_map_results<R>, [&] {
                detail::MapSourceOf<F, View, Views...> source(std::move(f), std::move(first),
                                                              std::move(others)...);
                return detail::submit_chunks(core(), source, size, chunksize);
            });
        } else {
            return Result(nullptr, nullptr); // so that the refusal is the only error
        }
    }

    ProcessPoolExecutor executor_;
    detail::CallbackThread callbacks_;
    std::atomic<bool> closed_ = false;
};

} // namespace prong
