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

/// The result of a task, which may not be there yet.
///
/// Include `<prong/codec.hpp>` or `<prong/prong.hpp>` where results are taken.
///
/// A future is moved, not copied. Default-constructed, moved from or after `get` it is not
/// `valid()`, and every call that needs a task throws `std::logic_error`. Destroying a future
/// neither waits nor cancels; the memory of the result is given back, at once or when the task
/// ends. A future stays valid when its executor is gone.
///
/// Thread safety: different futures are independent. One thread at a time uses a future; while it
/// waits in any call, or takes the result, any number of others may call `cancel`, `request_stop`
/// and `kill`. These three return false once the result has been taken.
///
/// Process safety: when the worker that runs the task dies, the future ends with `WorkerDied`; when
/// the pool breaks, with `BrokenProcessPool`. Waits never hang because a process has died. In a
/// process that was forked later the future is a copy: its destructor does nothing, and every other
/// call throws `std::logic_error`.
template <typename R>
class Future {
public:
    Future() noexcept = default;

    /// Returns whether there is a task behind it.
    [[nodiscard]] bool valid() const noexcept { return task_.valid(); }

    /// Blocks until the task has ended. Moves its result out, or throws what ended it: the task's
    /// own exception, `WorkerDied`, `CancelledError`, `BrokenProcessPool`; with options also
    /// `TaskTimeout`, `LimitExceeded`, `PoisonedTask`. The future is not `valid()` afterwards,
    /// unless it threw `LimitExceeded` because this process has no memory for the result now.
    R get() {
        task_.wait_until(detail::Deadline::never());
        return take();
    }
    /// Like `get()`; Python's name.
    R result() { return get(); }

    /// Like `get()`, but throws `TimeoutError` if the task has not ended after `timeout`. The task
    /// goes on then, and the future stays valid.
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

    /// Blocks until the task has ended, in whatever way. Returns the last 64 KiB that it has
    /// written to standard output and error. Empty without `TaskOptions::capture_output`, and if
    /// the pool's shared memory has no room for it beside the result. Call it before `get`.
    [[nodiscard]] std::string output() const {
        wait();
        return task_.output();
    }

    /// Returns whether the task has ended, in whatever way.
    [[nodiscard]] bool done() const { return task_.done(); }
    /// Returns whether a worker has claimed the task and has not ended it yet.
    [[nodiscard]] bool running() const { return task_.running(); }
    /// Returns whether the task was cancelled, or killed by `kill`.
    [[nodiscard]] bool cancelled() const { return task_.cancelled(); }

    /// Cancels the task if no worker has claimed it. Returns whether it is cancelled: then it has
    /// not run and never will (after a death that `TaskOptions::max_retries` allows: not again).
    bool cancel() { return task_.cancel(); }

    /// Cancels a queued task; asks a running one to stop: `this_task::stop_requested()` becomes
    /// true in it, and so does its `std::stop_token`. Does not block. Returns whether it was in
    /// time: false if the task had already ended. The task's result or exception remains its own,
    /// and a task that goes on is not killed. One whose worker dies is not tried again.
    bool request_stop() { return task_.request_stop(); }

    /// Cancels a queued task; kills the worker of a running one by SIGKILL, which is replaced.
    /// Returns true if the task has not completed and never will: `get` throws `CancelledError` as
    /// soon as the worker is gone. Returns false if the task has ended already, or is ending for
    /// another reason, such as its timeout. Throws `std::system_error` when the pool's supervisor
    /// cannot be reached.
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

/// A view of any future, whatever the type of its result: for futures of several types together.
/// Implicitly constructible from each of them. It refers to the future object, which must stay in
/// place; copies refer to the same one. Its members do what the future's do, with the same thread
/// safety; the result is taken from the future itself.
class AnyFuture {
public:
    template <typename R>
    AnyFuture(Future<R>& future) noexcept;
    /// Refused, in words.
    template <typename R>
    AnyFuture(const Future<R>&) {
        static_assert(std::is_same_v<R, AnyFuture>,
                      "prong: an AnyFuture refers to a future that is not const and stays in "
                      "place: give a temporary one a name");
    }

    [[nodiscard]] bool valid() const noexcept { return task_->valid(); }
    void wait() const { task_->wait_until(detail::Deadline::never()); }
    bool wait_for(Timeout timeout) const {
        return task_->wait_until(detail::Deadline::after(timeout));
    }
    template <typename Clock, typename Duration>
    bool wait_until(std::chrono::time_point<Clock, Duration> limit) const {
        return wait_for(detail::time_until(limit));
    }
    [[nodiscard]] bool done() const { return task_->done(); }
    [[nodiscard]] bool running() const { return task_->running(); }
    [[nodiscard]] bool cancelled() const { return task_->cancelled(); }
    bool cancel() const { return task_->cancel(); }
    bool request_stop() const { return task_->request_stop(); }
    bool kill() const { return task_->kill(); }

    /// Returns whether both refer to the same future: `any == future` tells which one it is.
    friend bool operator==(AnyFuture, AnyFuture) noexcept = default;
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

/// A range of futures by reference, or of `AnyFuture`.
template <typename Range>
concept FutureRange =
    std::ranges::forward_range<Range> &&
    detail::is_future<std::remove_cvref_t<std::ranges::range_reference_t<Range>>> &&
    (std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>> ||
     std::same_as<std::ranges::range_value_t<Range>, AnyFuture>);

/// When `wait` returns.
enum class ReturnWhen {
    first_completed, ///< a task has ended or was cancelled
    first_exception, ///< a task has ended with an exception, or all have ended
    all_completed,
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(ReturnWhen condition);

/// Positions in the range or tuple that was waited for, ascending.
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

/// Blocks until futures of one or several pools have ended as `when` says, at most `timeout`.
/// Returns what is done and what is not; it neither takes results nor throws `TimeoutError`.
/// *Default:* all, no timeout (0: does not block). An empty range is done at once. *Throws*
/// `std::logic_error` for a future that is not valid.
///
/// Futures of several types are waited for as `wait(std::tie(a, b))`, `wait({a, b})`, or by a range
/// of `AnyFuture`.
template <FutureRange Range>
WaitResult wait(Range&& futures, ReturnWhen when = ReturnWhen::all_completed,
                Timeout timeout = std::nullopt) {
    std::vector<const detail::TaskHandle*> tasks;
    if constexpr (std::ranges::sized_range<Range>) tasks.reserve(std::ranges::size(futures));
    for (auto&& future : futures) tasks.push_back(&detail::FutureAccess::task(future));
    return detail::wait_for_tasks(tasks, when, timeout);
}
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
/// A template, so that `wait({})` is not ambiguous.
template <typename = void>
WaitResult wait(std::initializer_list<AnyFuture> futures,
                ReturnWhen when = ReturnWhen::all_completed, Timeout timeout = std::nullopt) {
    return wait(std::span(futures.begin(), futures.size()), when, timeout);
}

/// The futures of a range, each as it ends: an input range of `Future<T>&`, or of `AnyFuture&` for
/// several types. A future that is in the range several times comes once. One whose result has been
/// taken in the meantime, or which was moved from, does not come. When the timeout expires before
/// all have ended, the next step throws `TimeoutError`. The futures must stay in place; take their
/// results in the loop.
template <typename Element>
class AsCompleted {
    using Place = std::conditional_t<std::same_as<Element, AnyFuture>, AnyFuture, Element*>;

public:
    explicit AsCompleted(std::vector<Place> places, detail::Deadline limit)
        : places_(std::move(places)), limit_(limit) {
        for (std::size_t i = 0; i < places_.size(); ++i)
            tasks_.add(detail::FutureAccess::task(at(i)), i);
    }

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

    /// Waits for the first future.
    Iterator begin() {
        if (!started_) collect();
        started_ = true;
        return Iterator(*this);
    }
    /// Reached when all have come.
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
template <typename... Futures>
    requires(detail::is_future<Futures> && ...)
AsCompleted<AnyFuture> as_completed(const std::tuple<Futures&...>& futures,
                                    Timeout timeout = std::nullopt) {
    return as_completed(
        std::apply([](auto&... future) { return std::vector<AnyFuture>{future...}; }, futures),
        timeout);
}
/// A template, so that `as_completed({})` is not ambiguous.
template <typename = void>
AsCompleted<AnyFuture> as_completed(std::initializer_list<AnyFuture> futures,
                                    Timeout timeout = std::nullopt) {
    return as_completed(std::span(futures.begin(), futures.size()), timeout);
}

} // namespace prong
