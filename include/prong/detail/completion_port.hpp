#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/task_handle.hpp>

#include <chrono>
#include <memory>

namespace prong::detail {

/// A task that something other than a blocked thread waits for.
class AwaitedTask {
public:
    AwaitedTask(const AwaitedTask&) = delete;
    AwaitedTask& operator=(const AwaitedTask&) = delete;

    /// The task has ended, or its pool has. Called once, by a thread that called `drain`,
    /// `poll` or `check`, with no lock of prong held. Must not block. The port does not touch the
    /// object any more.
    virtual void ended() noexcept = 0;

    struct Await;
    Await* await = nullptr; ///< the port's own; null: it does not wait

protected:
    AwaitedTask() = default;
    ~AwaitedTask() = default;
};

/// Tells event loops which tasks of a pool have ended, through one descriptor that they watch.
/// Belongs to the pool; usable as long as a task handle of the pool is alive.
///
/// Thread safety: any number of threads and loops at once.
class PRONG_API CompletionPort {
public:
    /// How often `check` is to be called at least while tasks are awaited.
    static constexpr std::chrono::milliseconds check_interval{64};

    explicit CompletionPort(executor::PoolCore& pool);
    CompletionPort(const CompletionPort&) = delete;
    CompletionPort& operator=(const CompletionPort&) = delete;
    ~CompletionPort();

    /// Returns the port of the task's pool. Throws `std::logic_error` if there is no task, or this
    /// process is not the pool's.
    static CompletionPort& of(const TaskHandle& task);
    /// Returns the port of a pool of this process.
    static CompletionPort& of(executor::PoolCore& pool);

    /// Returns a descriptor that is readable when `drain` has something to do; -1 if the program
    /// has closed it. The port's own, and only `drain` reads it; loops watch a copy (`dup`).
    [[nodiscard]] int fd() const noexcept;

    /// Calls `awaited.ended()` when the task has ended; the handle stays in place until then, or
    /// until `remove`. Returns false if it has ended already; `ended` is not called then. `ended`
    /// may be called before this returns: `awaited` must outlive the call. `is_polled`: the caller
    /// goes on to call `poll`, then `drain`, and needs the descriptor only after that. Throws
    /// `std::bad_alloc` or `std::system_error`.
    bool add(const TaskHandle& task, AwaitedTask& awaited, bool is_polled = false);

    /// Returns true if `awaited` was taken out before its task ended: `ended` will not be called.
    /// False: it was called, or another thread is about to.
    bool remove(AwaitedTask& awaited) noexcept;

    /// Calls `ended` of all whose tasks have ended, those of other loops too. Does not block.
    void drain() noexcept;

    /// Does what spins do before a thread sleeps: like `drain`, but costs only a look at one word
    /// unless a task has ended. `begins_anew`: the caller has not called it before, or a task that
    /// it awaits has ended since the last call. Returns whether to call it again soon; if not, call
    /// `drain`.
    bool poll(bool begins_anew) noexcept;

    /// Like `drain`; and does what a blocked thread does in between: detects that the supervisor
    /// has ended, continues what is stopped, expires queued tasks.
    void check() noexcept;

private:
    class State;
    std::unique_ptr<State> state_;
};

} // namespace prong::detail
