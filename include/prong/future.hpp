#pragma once

#include <prong/codec.hpp>
#include <prong/detail/completion_set.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/error.hpp>

#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <ranges>
#include <stdexcept>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace prong {

template <typename R>
class Future;

namespace detail {
struct FutureAccess;
}

/// The result of a task, which may not be there yet.
///
/// A future is moved, not copied. Default-constructed, moved from or after `get` it is not
/// `valid()`, and every other call throws `std::logic_error`. Destroying a future neither waits nor
/// cancels; the memory of the result is given back, at once or when the task ends. A future stays
/// valid when its executor is gone.
///
/// Thread safety: one thread at a time for each future; different futures are independent.
///
/// Process safety: when the worker that runs the task dies, the future ends with `WorkerDied`; when
/// the pool breaks, with `BrokenProcessPool`. Waits never hang because a process has died. In a
/// process that was forked later the future is a copy: its destructor does nothing, and every other
/// call throws `std::logic_error`.
template <typename R>
class Future {
public:
    Future() noexcept = default;

    /// Whether there is a task behind it.
    [[nodiscard]] bool valid() const noexcept { return task_.valid(); }

    /// Waits for the task's end and moves its result out, or throws what ended it: the task's own
    /// exception, `WorkerDied`, `CancelledError`, `BrokenProcessPool`; with options also
    /// `TaskTimeout`, `LimitExceeded`, `PoisonedTask`. Not `valid()` afterwards,
    /// unless it threw `LimitExceeded` because this process has no memory for the result now.
    R get() {
        task_.wait_until(detail::never);
        return take();
    }
    /// The same under Python's name.
    R result() { return get(); }

    /// `get`, but throws `TimeoutError` when the result is not there after `wait`; the task goes on
    /// and the future stays valid.
    R get_for(detail::Timeout wait) {
        if (!wait_for(wait)) {
            throw TimeoutError("the result was not there in time; the task goes on, wait again");
        }
        return take();
    }

    /// Waits for the task's end.
    void wait() const { task_.wait_until(detail::never); }

    /// Waits at most so long (0: only looks); returns whether the task has ended. Running out of
    /// time does not cancel anything.
    bool wait_for(detail::Timeout wait) const { return task_.wait_until(detail::time_after(wait)); }
    /// Like `wait_for`, up to a point in time.
    template <typename Clock, typename Duration>
    bool wait_until(std::chrono::time_point<Clock, Duration> limit) const {
        const auto now = Clock::now();
        return wait_for(limit > now ? detail::Timeout(limit - now) : std::chrono::nanoseconds(0));
    }

    /// Waits for the task's end; the exception that `get` would throw, or null.
    [[nodiscard]] std::exception_ptr exception() const {
        wait();
        return task_.outcome().error;
    }

    /// Whether the task has ended, in whatever way.
    [[nodiscard]] bool done() const { return task_.done(); }
    /// Whether a worker has claimed the task and not ended it yet.
    [[nodiscard]] bool running() const { return task_.running(); }
    /// Whether it was cancelled, or killed by `kill`.
    [[nodiscard]] bool cancelled() const { return task_.cancelled(); }

    /// Cancels the task if no worker has claimed it. True if it is cancelled now: then it has not
    /// run and never will (or, if it is to be tried again after a death, not again).
    bool cancel() { return task_.cancel(); }

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
        if constexpr (!std::is_void_v<R>) return detail::decode<R>(outcome.result);
    }

    detail::TaskHandle task_;
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
};

template <typename T>
inline constexpr bool is_future = false;
template <typename R>
inline constexpr bool is_future<Future<R>> = true;

} // namespace detail

/// A range whose elements are futures, by reference.
template <typename Range>
concept FutureRange = std::ranges::forward_range<Range> &&
                      std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>> &&
                      detail::is_future<std::remove_cvref_t<std::ranges::range_reference_t<Range>>>;

/// When `wait` returns.
enum class ReturnWhen {
    first_completed, ///< a task has ended or was cancelled
    first_exception, ///< a task has ended with an exception, or all have ended
    all_completed,
};

/// Positions in the range that was waited for, ascending.
struct WaitResult {
    /// Futures whose tasks have ended.
    std::vector<std::size_t> done;
    /// All others.
    std::vector<std::size_t> not_done;
};

/// Waits for futures of one or several pools, without taking their results. Returns what is done
/// and what is not when the condition holds or the time is over (never: no timeout; 0: only looks);
/// it does not throw `TimeoutError`. An empty range is done at once. Throws `std::logic_error` for
/// a future that is not valid.
template <FutureRange Range>
WaitResult wait(Range&& futures, ReturnWhen when = ReturnWhen::all_completed,
                detail::Timeout timeout = std::nullopt) {
    const detail::TimePoint limit = detail::time_after(timeout);
    std::vector<const detail::TaskHandle*> tasks;
    if constexpr (std::ranges::sized_range<Range>) tasks.reserve(std::ranges::size(futures));
    for (auto& future : futures) tasks.push_back(&detail::FutureAccess::task(future));
    std::vector<bool> ended(tasks.size());
    if (when == ReturnWhen::all_completed) {
        for (std::size_t i = 0; i < tasks.size(); ++i) ended[i] = tasks[i]->wait_until(limit);
    } else {
        detail::CompletionSet set;
        for (std::size_t i = 0; i < tasks.size(); ++i) set.add(*tasks[i], i);
        for (bool enough = false; !enough && set.wait(limit);) {
            for (const std::size_t i : set.ended()) {
                ended[i] = true;
                enough = enough || when == ReturnWhen::first_completed ||
                         (!tasks[i]->cancelled() && tasks[i]->failed());
            }
        }
    }
    WaitResult result;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
        (ended[i] ? result.done : result.not_done).push_back(i);
    }
    return result;
}

/// The futures of a range, each as it ends: an input range of `Future<T>&`. A future that is in the
/// range several times comes once. When the time is over before all have ended, the next step
/// throws `TimeoutError`. The range must stay in place; taking results in the loop is what it is
/// for.
template <typename R>
class AsCompleted {
public:
    /// Made by `as_completed`.
    explicit AsCompleted(std::vector<Future<R>*> futures, detail::TimePoint limit)
        : futures_(std::move(futures)), limit_(limit) {
        for (std::size_t i = 0; i < futures_.size(); ++i)
            tasks_.add(detail::FutureAccess::task(*futures_[i]), i);
    }

    class Iterator {
    public:
        using iterator_concept = std::input_iterator_tag;
        using value_type = Future<R>;
        using difference_type = std::ptrdiff_t;

        Iterator() = default;
        explicit Iterator(AsCompleted& owner) : owner_(&owner) {}

        Future<R>& operator*() const { return *owner_->current(); }
        Future<R>* operator->() const { return owner_->current(); }
        Iterator& operator++() {
            owner_->advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const {
            return owner_->next_ == owner_->tasks_.ended().size();
        }

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
    [[nodiscard]] Future<R>* current() const { return futures_[tasks_.ended()[next_]]; }
    void advance() {
        if (++next_ == tasks_.ended().size()) collect();
    }

    /// Waits for what ends next, if anything does.
    void collect() {
        next_ = 0;
        if (!tasks_.wait(limit_) && tasks_.pending() != 0) {
            throw TimeoutError(std::to_string(tasks_.pending()) +
                               " futures had not ended in time; their tasks go on");
        }
    }

    std::vector<Future<R>*> futures_;
    detail::CompletionSet tasks_;
    std::size_t next_ = 0; ///< in `tasks_.ended()`
    detail::TimePoint limit_;
    bool started_ = false;
};

/// See `AsCompleted`. No timeout: waits for all. Throws `std::logic_error` for a future that is not
/// valid.
template <FutureRange Range>
    requires std::is_lvalue_reference_v<Range> || std::ranges::borrowed_range<Range>
auto as_completed(Range&& futures, detail::Timeout timeout = std::nullopt) {
    using Element = std::remove_reference_t<std::ranges::range_reference_t<Range>>;
    static_assert(!std::is_const_v<Element>, "prong: as_completed needs futures that can be taken");
    const detail::TimePoint limit = detail::time_after(timeout);
    std::vector<Element*> pointers;
    std::unordered_set<const Element*> seen;
    for (Element& future : futures) {
        if (seen.insert(&future).second) pointers.push_back(&future);
    }
    return AsCompleted(std::move(pointers), limit);
}

namespace detail {

/// A future in a braced list: refused, in words.
struct BracedFuture {
    template <typename R>
    BracedFuture(const Future<R>&) {
        static_assert(std::is_same_v<R, BracedFuture>,
                      "prong: wait and as_completed take a range of futures, such as a std::vector "
                      "or a std::array, not a braced list: a future cannot be copied into one");
    }
};

} // namespace detail

/// \cond refusals
// Templates, so that `wait({})` is no question.
template <typename = void>
WaitResult wait(std::initializer_list<detail::BracedFuture>, ReturnWhen = {},
                detail::Timeout = std::nullopt) {
    return {};
}
template <typename = void>
std::vector<detail::BracedFuture> as_completed(std::initializer_list<detail::BracedFuture>,
                                               detail::Timeout = std::nullopt) {
    return {};
}
/// \endcond

} // namespace prong
