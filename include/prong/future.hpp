#pragma once

#include <prong/detail/deadline.hpp>
#include <prong/detail/decode.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/error.hpp>
#include <prong/fwd.hpp>
#include <prong/timeout.hpp>

#include <chrono>
#include <concepts>
#include <exception>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>

namespace prong {

namespace detail {
struct FutureAccess;
}

/// Result of a task, available once the task has ended.
///
/// Include `<prong/codec.hpp>` or `<prong/prong.hpp>` where results are taken. For several futures
/// together see `wait` in `<prong/wait.hpp>` and `as_completed` in `<prong/as_completed.hpp>`.
///
/// Is moved, not copied. A future is not `valid()` when default-constructed, moved from, or after
/// `get` or `view`. Every other member then throws `std::logic_error`. Exception: `cancel`,
/// `request_stop` and `kill` return false after `get` or `view`. Destroying a future neither waits
/// nor cancels; the memory of the result is freed, at once or when the task ends. A future stays
/// valid after its executor is destroyed.
///
/// Thread safety: different futures are independent. One thread at a time uses a future. While that
/// thread waits or takes the result, any number of others may call `cancel`, `request_stop` and
/// `kill`.
///
/// Process safety: if the worker that runs the task dies, the future ends with `WorkerDied`; if its
/// rank is lost, with `RankLost`; if the pool breaks, with `BrokenProcessPool`. Waits never hang
/// because a process has died. In a process forked later the future is an inert copy: its
/// destructor does nothing, and every other call throws `std::logic_error`.
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
    /// also throws `TaskTimeout`, `LimitExceeded` or `PoisonedTask`; on many machines `RankLost`.
    /// Leaves the future invalid, except after `LimitExceeded` for lack of memory in this process.
    R get() {
        detail::Outcome outcome = task_.outcome();
        if (!outcome.error) outcome.require_memory();
        struct Release { // decoding may throw: the record goes back all the same
            detail::TaskHandle& task;
            ~Release() { task.release(); }
        } release{task_};
        if (outcome.error) std::rethrow_exception(outcome.error);
        if constexpr (!std::is_void_v<R>) return detail::Decoder<R>::decode(outcome.result);
    }
    /// Like `get()`; Python's name.
    R result() { return get(); }

    /// Like `get()`, but throws `TimeoutError` if the task has not ended after `timeout`. Then the
    /// task continues, and the future stays valid.
    R get_for(Timeout timeout) {
        if (!wait_for(timeout)) {
            throw TimeoutError("the result was not there in time; the task goes on, wait again");
        }
        return get();
    }

    /// Like `get`, but returns a view of a result whose elements lie in one piece, such as a
    /// `std::vector` or `std::string`: they are read where the worker wrote them, without a copy.
    /// Blocks and *throws* like `get`, and leaves the future invalid. `ResultView` in
    /// `<prong/result_view.hpp>` says which results have a view.
    ResultView<R> view() {
        task_.wait_until(detail::Deadline::never());
        return ResultView<R>::of(task_.take());
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
    [[nodiscard]] std::exception_ptr exception() const { return task_.outcome().error; }

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

    explicit Future(detail::TaskHandle&& task) : task_(std::move(task)) {}

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
    static Future<R> make(TaskHandle&& task) {
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

} // namespace prong
