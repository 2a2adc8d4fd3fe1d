#pragma once

#include <prong/detail/deadline.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/pool_reference.hpp>
#include <prong/detail/task_handle.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace prong::detail {

/// A task of an asynchronous call.
struct CallTask {
    TaskHandle handle;
    std::size_t elements = 1; ///< of a map: in its chunk
};

/// An asynchronous call of a `Pool`: its tasks, and what its callbacks have made of the result. The
/// results stay in shared memory, so any number of threads may decode them.
///
/// Thread safety: any thread. Process safety: in a process that was forked since, every call throws
/// `std::logic_error`, and destruction does nothing.
class PRONG_API AsyncCall {
public:
    AsyncCall(executor::PoolCore& core, std::vector<CallTask> tasks)
        : pool_(core), tasks_(std::move(tasks)) {}

    [[nodiscard]] const std::vector<CallTask>& tasks() const { return tasks_; }

    /// Sets what the callback thread runs after all tasks have ended. What it throws becomes the
    /// result's exception.
    void set_callback(std::function<void()> callback);

    /// Waits for all tasks, then for the callback, at most until `limit`. Returns whether they have
    /// ended. Does not wait for the callback in a callback thread, which could not run it
    /// meanwhile.
    [[nodiscard]] bool wait_until(Deadline limit) const;

    /// After the end: throws what the callback has thrown.
    void require_no_callback_error() const;

    /// Called by the callback thread, once.
    void run_callback() noexcept;
    void skip_callback() noexcept;

private:
    PoolReference pool_;
    std::vector<CallTask> tasks_;
    std::function<void()> callback_;
    std::exception_ptr callback_error_;
    std::atomic<std::uint32_t> callback_pending_ = 0; ///< 1: not yet run; also a futex
};

/// The thread of a pool that runs callbacks in the order in which the calls end, started by the
/// first of them.
///
/// Thread safety: any thread. Process safety: in a process that was forked since, only destruction
/// is allowed, and does nothing.
class PRONG_API CallbackThread {
public:
    explicit CallbackThread(executor::PoolCore& core);
    /// Like `stop`, and waits for a callback that runs in another thread.
    ~CallbackThread();
    CallbackThread(const CallbackThread&) = delete;
    CallbackThread& operator=(const CallbackThread&) = delete;

    /// Starts the thread unless it runs. Throws `std::system_error`.
    void start();
    /// Has the call's callback run at its end. The thread must have been started.
    void add(std::shared_ptr<AsyncCall> call);
    /// Begins no further callback: skips those of all calls that have been or will be added.
    void stop() noexcept;
    /// Waits until the callbacks of all calls have run or were skipped. Throws `std::logic_error`
    /// in a callback.
    void wait_until_idle();
    /// Returns whether a callback of any pool is running in this thread.
    [[nodiscard]] static bool is_current() noexcept;

private:
    class State;
    std::shared_ptr<State> state_; ///< the thread has it too
};

} // namespace prong::detail
