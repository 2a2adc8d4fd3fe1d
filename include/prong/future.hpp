#pragma once

#include <prong/detail/completion_set.hpp>
#include <prong/detail/decode.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/error.hpp>
#include <prong/fwd.hpp>
#include <prong/timeout.hpp>

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <ranges>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace prong {

namespace detail {
struct FutureAccess;
}

/// Result of a task, available once the task has ended.
///
/// Include `<prong/codec.hpp>` or `<prong/prong.hpp>` where results are taken.
///
/// Is moved, not copied. A future is not `valid()` when default-constructed, moved from, or after
/// `get`. Every other member then throws `std::logic_error`. Exception: `cancel`, `request_stop`
/// and `kill` return false after `get`. Destroying a future neither waits nor cancels; the memory
/// of the result is freed, at once or when the task ends. A future stays valid after its executor
/// is destroyed.
///
/// Thread safety: different futures are independent. One thread at a time uses a future. While that
/// thread waits or takes the result, any number of others may call `cancel`, `request_stop` and
/// `kill`.
///
/// Process safety: if the worker that runs the task dies, the future ends with `WorkerDied`; if the
/// pool breaks, with `BrokenProcessPool`. Waits never hang because a process has died. In a process
/// forked later the future is an inert copy: its destructor does nothing, and every other call
/// throws `std::logic_error`.
template <typename R>
class Future {
public:
    /// Creates a future without a task.
    Future() noexcept = default;

    /// Returns whether the future has a task.
    [[nodiscard]] bool valid() const noexcept { return task_.valid(); }

    /// Blocks until the task has ended. Moves the result out. *Throws* the task's exception
    /// (`RemoteError` if its type is unknown), `WorkerDied`, `CancelledError`, `BrokenProcessPool`,
    /// `CodecError`, or `LimitExceeded` if shared memory has no room for the result. With options
    /// also throws `TaskTimeout`, `LimitExceeded` or `PoisonedTask`. Leaves the future invalid,
    /// except after `LimitExceeded` for lack of memory in this process.
    R get() {
        task_.wait_until(detail::Deadline::never());
        return take();
    }
    /// Like `get()`; Python's name.
    R result() { return get(); }

    /// Like `get()`, but throws `TimeoutError` if the task has not ended after `timeout`. Then the
    /// task continues, and the future stays valid.
    R get_for(Timeout timeout) {
        if (!wait_for(timeout)) {
            throw TimeoutError("the result was not there in time; the task goes on, wait again");
        }
        return take();
    }

    /// Blocks until the task has ended.
    void wait() const { task_.wait_until(detail::Deadline::never()); }

    /// Blocks until the task has ended, at most `timeout` (0: does not block). Returns whether the
    /// task has ended. A timeout does not cancel the task.
    bool wait_for(Timeout timeout) const {
        return task_.wait_until(detail::Deadline::after(timeout));
    }
    /// Like `wait_for`, until a point in time.
    template <typename Clock, typename Duration>
    bool wait_until(std::chrono::time_point<Clock, Duration> limit) const {
        return wait_for(detail::time_until(limit));
    }

    /// Blocks until the task has ended. Returns the exception that `get` would throw, or null.
    [[nodiscard]] std::exception_ptr exception() const {
        wait();
        return task_.outcome().error;
    }

    /// Blocks until the task has ended. Returns the last 64 KiB of its standard output and error.
    /// Call it before `get`. Returns an empty string without `TaskOptions::capture_output`, or if
    /// the pool's shared memory has no room for the output beside the result.
    [[nodiscard]] std::string output() const {
        wait();
        return task_.output();
    }

    /// Returns whether the task has ended, for whatever reason. Also ends it if the pool has
    /// broken, so a program may poll.
    [[nodiscard]] bool done() const { return task_.done(); }
    /// Returns whether a worker has claimed the task, which has not ended yet.
    [[nodiscard]] bool running() const { return task_.running(); }
    /// Returns whether the task was cancelled, or killed by `kill`.
    [[nodiscard]] bool cancelled() const { return task_.cancelled(); }

    /// Cancels the task if it is queued, also between two attempts. Returns whether the task is
    /// cancelled, true again when repeated. Then no worker starts it any more. Does not block.
    bool cancel() { return task_.cancel(); }

    /// Cancels a queued task; asks a running one to stop through `this_task::stop_requested()` and
    /// its `std::stop_token`. Does not kill the task and does not change its result or exception.
    /// Disables retries. Returns false if the task had already ended. Does not block.
    bool request_stop() { return task_.request_stop(); }

    /// Cancels a queued task. Kills the worker of a running task by SIGKILL; the worker is
    /// replaced. Returns true if the task has not completed and never will; `get` then throws
    /// `CancelledError` once the worker has ended. Returns false if the task has ended, or is
    /// already ending for another reason, such as its timeout. Does not block. *Throws*
    /// `std::system_error` if the pool's supervisor cannot be reached.
    bool kill() { return task_.kill(); }

private:
    friend struct detail::FutureAccess;

    explicit Future(detail::TaskHandle task) : task_(std::move(task)) {}

    R take() {
        detail::Outcome outcome = task_.outcome();
        if (!outcome.error) outcome.require_memory();
        struct Release { // whatever the result turns out to be, the record goes back
            detail::TaskHandle& task;
            ~Release() { task.release(); }
        } release{task_};
        if (outcome.error) std::rethrow_exception(outcome.error);
        if constexpr (!std::is_void_v<R>) return detail::Decoder<R>::decode(outcome.result);
    }

    detail::TaskHandle task_;
};

/// View of a future of any result type, for futures of several types together. Implicitly
/// constructible from each of them. Refers to the future object, which must stay in place; copies
/// refer to the same one. Take the result from the future itself. Thread safety: each member like
/// that of `Future`.
class AnyFuture {
public:
    /// Refers to `future`.
    template <typename R>
    AnyFuture(Future<R>& future) noexcept;
    /// Rejected at compile time with an explanation.
    template <typename R>
    AnyFuture(const Future<R>&) {
        static_assert(std::is_same_v<R, AnyFuture>,
                      "prong: an AnyFuture refers to a future that is not const and stays in "
                      "place: give a temporary one a name");
    }

    /// Like `Future::valid`.
    [[nodiscard]] bool valid() const noexcept { return task_->valid(); }
    /// Like `Future::wait`.
    void wait() const { task_->wait_until(detail::Deadline::never()); }
    /// Like `Future::wait_for`.
    bool wait_for(Timeout timeout) const {
        return task_->wait_until(detail::Deadline::after(timeout));
    }
    /// Like `Future::wait_until`.
    template <typename Clock, typename Duration>
    bool wait_until(std::chrono::time_point<Clock, Duration> limit) const {
        return wait_for(detail::time_until(limit));
    }
    /// Like `Future::done`.
    [[nodiscard]] bool done() const { return task_->done(); }
    /// Like `Future::running`.
    [[nodiscard]] bool running() const { return task_->running(); }
    /// Like `Future::cancelled`.
    [[nodiscard]] bool cancelled() const { return task_->cancelled(); }
    /// Like `Future::cancel`.
    bool cancel() const { return task_->cancel(); }
    /// Like `Future::request_stop`.
    bool request_stop() const { return task_->request_stop(); }
    /// Like `Future::kill`.
    bool kill() const { return task_->kill(); }

    /// Returns whether both refer to the same future: `any == future` identifies it.
    friend bool operator==(AnyFuture, AnyFuture) noexcept = default;
    /// Returns whether this refers to `future`.
    template <typename R>
    bool operator==(const Future<R>& future) const noexcept;

private:
    friend struct detail::FutureAccess;

    detail::TaskHandle* task_;
};

namespace detail {

/// What the rest of prong may do with a future.
struct FutureAccess {
    template <typename R>
    static Future<R> make(TaskHandle task) {
        return Future<R>(std::move(task));
    }
    template <typename R>
    static TaskHandle& task(Future<R>& future) {
        return future.task_;
    }
    template <typename R>
    static const TaskHandle& task(const Future<R>& future) {
        return future.task_;
    }
    static TaskHandle& task(AnyFuture future) { return *future.task_; }
};

template <typename T>
inline constexpr bool is_future = false;
template <typename R>
inline constexpr bool is_future<Future<R>> = true;
template <>
inline constexpr bool is_future<AnyFuture> = true;

} // namespace detail

template <typename R>
AnyFuture::AnyFuture(Future<R>& future) noexcept : task_(&detail::FutureAccess::task(future)) {}

template <typename R>
bool AnyFuture::operator==(const Future<R>& future) const noexcept {
    return task_ == &detail::FutureAccess::task(future);
}

/// Range of futures by reference, or of `AnyFuture`.
template <typename Range>
concept FutureRange =
    std::ranges::forward_range<Range> &&
    detail::is_future<std::remove_cvref_t<std::ranges::range_reference_t<Range>>> &&
    (std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>> ||
     std::same_as<std::ranges::range_value_t<Range>, AnyFuture>);

/// Condition on which `wait` returns.
enum class ReturnWhen {
    first_completed, ///< a task has ended or was cancelled
    first_exception, ///< a task has ended with an exception, or all have ended
    all_completed,   ///< all tasks have ended
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(ReturnWhen condition);

/// Positions in the range or tuple that `wait` was given, ascending.
struct WaitResult {
    /// Futures whose tasks have ended.
    std::vector<std::size_t> done;
    /// All others.
    std::vector<std::size_t> not_done;
};

namespace detail {

PRONG_API WaitResult wait_for_tasks(std::span<const TaskHandle* const> tasks, ReturnWhen when,
                                    const Timeout& timeout);

} // namespace detail

/// Blocks until futures of one or several pools have ended as `when` says, at most `timeout` (0:
/// does not block). Returns the positions of ended and other futures; neither takes results nor
/// throws `TimeoutError`. Returns at once for an empty range. *Default:* all, no timeout. *Throws*
/// `std::logic_error` for a future that is not valid.
///
/// For futures of several types use `wait(std::tie(a, b))`, `wait({a, b})`, or a range of
/// `AnyFuture`.
template <FutureRange Range>
WaitResult wait(Range&& futures, ReturnWhen when = ReturnWhen::all_completed,
                Timeout timeout = std::nullopt) {
    std::vector<const detail::TaskHandle*> tasks;
    if constexpr (std::ranges::sized_range<Range>) tasks.reserve(std::ranges::size(futures));
    for (auto&& future : futures) tasks.push_back(&detail::FutureAccess::task(future));
    return detail::wait_for_tasks(tasks, when, timeout);
}
/// Like the above, for futures of several types.
template <typename... Futures>
    requires(detail::is_future<std::remove_const_t<Futures>> && ...)
WaitResult wait(const std::tuple<Futures&...>& futures, ReturnWhen when = ReturnWhen::all_completed,
                Timeout timeout = std::nullopt) {
    const auto tasks = std::apply(
        [](const auto&... future) {
            return std::array<const detail::TaskHandle*, sizeof...(future)>{
                &detail::FutureAccess::task(future)...};
        },
        futures);
    return detail::wait_for_tasks(tasks, when, timeout);
}
/// Like the above, for a list.
// A template, so that `wait({})` is not ambiguous.
template <typename = void>
WaitResult wait(std::initializer_list<AnyFuture> futures,
                ReturnWhen when = ReturnWhen::all_completed, Timeout timeout = std::nullopt) {
    return wait(std::span(futures.begin(), futures.size()), when, timeout);
}

/// Range of futures in the order in which they end: `Future<T>&`, or `AnyFuture&` for several
/// types. Yields each future once; skips futures that were moved from or whose result was taken
/// meanwhile. The futures must stay in place; take results inside the loop. The timeout counts from
/// the call of `as_completed`. On expiry the next step throws `TimeoutError`. Thread safety: one
/// thread at a time.
template <typename Element>
class AsCompleted {
    using Place = std::conditional_t<std::same_as<Element, AnyFuture>, AnyFuture, Element*>;

public:
    /// Called by `as_completed`.
    explicit AsCompleted(std::vector<Place> places, detail::Deadline limit)
        : places_(std::move(places)), limit_(limit) {
        for (std::size_t i = 0; i < places_.size(); ++i)
            tasks_.add(detail::FutureAccess::task(at(i)), i);
    }

    /// Iterates once; `++` blocks until the next future ends.
    class Iterator {
    public:
        using iterator_concept = std::input_iterator_tag;
        using value_type = Element;
        using difference_type = std::ptrdiff_t;

        Iterator() = default;
        explicit Iterator(AsCompleted& owner) : owner_(&owner) {}

        Element& operator*() const { return owner_->current(); }
        Element* operator->() const { return &owner_->current(); }
        Iterator& operator++() {
            owner_->advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const { return owner_->at_end(); }

    private:
        AsCompleted* owner_ = nullptr;
    };

    /// Blocks until the first future has ended. *Throws* `TimeoutError`.
    Iterator begin() {
        if (!started_) collect();
        started_ = true;
        return Iterator(*this);
    }
    /// Reached after the last future.
    [[nodiscard]] std::default_sentinel_t end() const { return {}; }

private:
    [[nodiscard]] Element& at(std::size_t number) {
        if constexpr (std::is_pointer_v<Place>) {
            return *places_[number];
        } else {
            return places_[number];
        }
    }
    [[nodiscard]] Element& current() { return at(tasks_.ended()[next_]); }
    [[nodiscard]] bool at_end() const { return next_ == tasks_.ended().size(); }
    void advance() {
        do { // the loop's body may have taken more than the current one
            ++next_;
        } while (!at_end() && !current().valid());
        if (at_end()) collect();
    }

    /// Waits for what ends next, if anything does.
    void collect() {
        next_ = 0;
        if (!tasks_.wait(limit_) && tasks_.pending() != 0) {
            throw TimeoutError(std::to_string(tasks_.pending()) +
                               " futures had not ended in time; their tasks go on");
        }
    }

    std::vector<Place> places_;
    detail::CompletionSet tasks_;
    std::size_t next_ = 0; ///< in `tasks_.ended()`
    detail::Deadline limit_;
    bool started_ = false;
};

/// Returns the futures in the order in which they end; see `AsCompleted`. *Default:* no timeout.
/// *Throws* `std::logic_error` for a future that is not valid.
template <FutureRange Range>
    requires std::is_lvalue_reference_v<Range> || std::ranges::borrowed_range<Range> ||
             std::same_as<std::ranges::range_value_t<Range>, AnyFuture>
auto as_completed(Range&& futures, Timeout timeout = std::nullopt) {
    using Reference = std::ranges::range_reference_t<Range>;
    constexpr bool is_view = std::same_as<std::remove_cvref_t<Reference>, AnyFuture>;
    using Element = std::conditional_t<is_view, AnyFuture, std::remove_reference_t<Reference>>;
    static_assert(!std::is_const_v<Element>, "prong: as_completed needs futures that can be taken");
    const detail::Deadline limit = detail::Deadline::after(timeout);
    std::vector<std::conditional_t<is_view, AnyFuture, Element*>> places;
    std::unordered_set<const detail::TaskHandle*> seen;
    for (auto&& future : futures) {
        if (!seen.insert(&detail::FutureAccess::task(future)).second) continue;
        if constexpr (is_view) {
            places.push_back(future);
        } else {
            places.push_back(&future);
        }
    }
    return AsCompleted<Element>(std::move(places), limit);
}
/// Like the above, for futures of several types.
template <typename... Futures>
    requires(detail::is_future<Futures> && ...)
AsCompleted<AnyFuture> as_completed(const std::tuple<Futures&...>& futures,
                                    Timeout timeout = std::nullopt) {
    return as_completed(
        std::apply([](auto&... future) { return std::vector<AnyFuture>{future...}; }, futures),
        timeout);
}
/// Like the above, for a list.
// A template, so that `as_completed({})` is not ambiguous.
template <typename = void>
AsCompleted<AnyFuture> as_completed(std::initializer_list<AnyFuture> futures,
                                    Timeout timeout = std::nullopt) {
    return as_completed(std::span(futures.begin(), futures.size()), timeout);
}

} // namespace prong
