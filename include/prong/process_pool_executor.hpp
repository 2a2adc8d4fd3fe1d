#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/task.hpp>
#include <prong/detail/task_writer.hpp>
#include <prong/error.hpp>
#include <prong/future.hpp>
#include <prong/map.hpp>
#include <prong/pool_options.hpp>
#include <prong/stats.hpp>
#include <prong/task_options.hpp>
#include <prong/timeout.hpp>

#include <optional>
#include <ranges>
#include <utility>

namespace prong {
namespace detail {

/// What `submit` and `try_submit` do; `options`: null for none.
template <typename F, typename... Args>
Future<task_result_t<F, Args...>> submit_task(executor::PoolCore& core, const TaskOptions* options,
                                              F&& f, Args&&... args) {
    TaskWriter writer(core);
    encode_task(writer, std::forward<F>(f), std::forward<Args>(args)...);
    return FutureAccess::make<task_result_t<F, Args...>>(
        std::move(writer).submit(task_type<F, Args...>(), options));
}

/// What `try_submit` and `try_submit_for` do: waits for room until `limit`.
template <typename F, typename... Args>
std::optional<Future<task_result_t<F, Args...>>>
try_submit_task(executor::PoolCore& core, const TaskOptions* options, Deadline limit, F&& f,
                Args&&... args) {
    TaskWriter writer(core);
    encode_task(writer, std::forward<F>(f), std::forward<Args>(args)...);
    auto task = writer.try_submit(task_type<F, Args...>(), options, limit);
    if (!task) return std::nullopt;
    return FutureAccess::make<task_result_t<F, Args...>>(std::move(*task));
}

} // namespace detail

/// A pool together with options for tasks, from `ProcessPoolExecutor::with`. It refers to the pool
/// and must not outlive it.
///
/// Thread safety and errors: as the pool's; `submit` also throws `std::invalid_argument` for
/// options out of range.
class PRONG_API PoolWithOptions {
public:
    /// Made by `ProcessPoolExecutor::with`.
    PoolWithOptions(executor::PoolCore& core, const TaskOptions& options);

    /// Like `ProcessPoolExecutor::submit`.
    template <typename F, typename... Args>
    Future<task_result_t<F, Args...>> submit(F&& f, Args&&... args) const {
        return detail::submit_task(*core_, &options_, std::forward<F>(f),
                                   std::forward<Args>(args)...);
    }
    /// Like `ProcessPoolExecutor::try_submit`.
    template <typename F, typename... Args>
    std::optional<Future<task_result_t<F, Args...>>> try_submit(F&& f, Args&&... args) const {
        return detail::try_submit_task(*core_, &options_, detail::Deadline::now(),
                                       std::forward<F>(f), std::forward<Args>(args)...);
    }
    /// Like `ProcessPoolExecutor::try_submit_for`.
    template <typename F, typename... Args>
    std::optional<Future<task_result_t<F, Args...>>> try_submit_for(Timeout wait, F&& f,
                                                                    Args&&... args) const {
        return detail::try_submit_task(*core_, &options_, detail::Deadline::after(wait),
                                       std::forward<F>(f), std::forward<Args>(args)...);
    }
    /// Like `ProcessPoolExecutor::map`.
    template <typename F, std::ranges::input_range... Ranges>
        requires(sizeof...(Ranges) > 0)
    map_result_t<F, Ranges...> map(F f, Ranges&&... ranges) const {
        return map(MapOptions{}, std::move(f), std::forward<Ranges>(ranges)...);
    }
    /// Like `ProcessPoolExecutor::map`.
    template <typename F, std::ranges::input_range... Ranges>
        requires(sizeof...(Ranges) > 0)
    map_result_t<F, Ranges...> map(const MapOptions& options, F f, Ranges&&... ranges) const {
        return detail::make_map_result(*core_, options, &options_, std::move(f),
                                       std::forward<Ranges>(ranges)...);
    }

private:
    executor::PoolCore* core_;
    TaskOptions options_;
};

/// A pool of worker processes that run functions and hand their results back through futures.
///
/// The workers are forked when the pool is made (by a supervisor process, never by a thread of this
/// one): they see the program's memory as it was then, copy-on-write, and what they change stays
/// with them. They inherit open files and pipes, not network sockets (`PoolOptions::inherit`). Each
/// worker runs one task at a time, on a stack of RLIMIT_STACK bytes (at least 8 MiB if that is
/// unlimited), whatever the thread that makes the pool has.
///
/// **What differs in a worker.**
/// - *Signals*: handlers, ignored and blocked signals are reset. SIGINT is ignored (the program
///   decides what Ctrl-C means), so are SIGTTIN and SIGTTOU, and SIGPIPE if it was. Crashes are
///   handled, to record a backtrace.
/// - *Terminal*: a worker has none. Reading standard input fails, also for tools that a task
/// starts;
///   so does opening `/dev/tty`, and with it a password prompt. Printing goes on. A worker that is
///   stopped by SIGTTIN or SIGTTOU all the same dies of that.
/// - *Sockets* that lead to other programs: reading and writing fail with EBADF. Open a connection
/// of
///   the worker's own in `PoolOptions::initializer`. 0, 1 and 2 are `/dev/null` where they were
///   closed or such a socket.
/// - *Memory*: not locked, whatever `mlockall` has said in the program. Call it before making the
///   pool, or with MCL_ONFAULT: `mlockall(MCL_CURRENT)` afterwards fills the pool's reservation.
///   The kernel's out-of-memory killer prefers workers to the program.
/// - *Core dumps*: off. Only the soft limit is lowered: an initializer may raise it by `setrlimit`.
/// - *Output*: `stdout` and `stderr` are written in whole lines, and after each task. Flush streams
///   of your own before making the pool: what is in their buffers is copied to every worker.
/// - *Exit*: neither exit handlers nor destructors of the program run. No other streams are flushed
///   than `stdout`, `stderr`, `std::cout` and `std::clog`: call `fflush` or `flush` in the task or
///   in `PoolOptions::on_worker_exit`, there also `__gcov_dump` for coverage counters.
/// - *User*: the one that the program has when the pool is made (or the zygote started). A program
///   that gives up its rights later still controls the pool; its tasks keep them.
/// - *Service managers* that stop a service by a SIGTERM to all of its processes end running tasks
///   (`WorkerDied`). Have the main process signalled only (systemd: `KillMode=mixed`), or ignore
///   SIGTERM in an initializer; then `terminate_workers` takes 3 seconds.
///
/// **What a task leaves behind for the next one of its worker.** prong resets standard output and
/// error after `TaskOptions::capture_output`, the limits of `TaskLimits`, and the thread behind
/// `this_task::stop_token`. It clears timers (`alarm`, `setitimer`, `timer_create`) whose signal
/// would kill the worker. A function that has left none 16 times is checked every 128th time only,
/// and when it has run for 2 ms or more: should it leave one then, the next task may fail with
/// `WorkerDied`, whose text says so of `alarm` and `setitimer`. Anything else stays until the
/// worker is replaced: global variables, the heap, open descriptors, signal handlers and masks, the
/// working directory, umask, user, locale, environment, rounding mode, resource limits, threads.
/// Set what a task relies on in that task, or set `PoolOptions::max_tasks_per_worker` to 1.
///
/// A program that makes pools while it has other threads should call `start_zygote` at the start of
/// `main`; workers are forked from the zygote then, and see the program's memory as it was there.
/// Without it, of all threads only the calling one is copied to the workers. The C library's own
/// locks (memory, streams) are put right there. Not so any other lock that a thread holds at that
/// instant, such as a mutex, a logger's, or that of a static variable being initialised: a task
/// that needs it hangs. And libraries that use threads of their own (OpenMP, oneTBB, Asio) find
/// none.
///
/// A function can be a task if its module (program or shared object) was loaded before the pool
/// was made, or the zygote started; others are refused with `std::invalid_argument`. A module may
/// be unloaded while the pool exists: its tasks go on, and errors do not name them any more.
///
/// A pool with static storage duration may be used before and in `main`, and waits for its tasks
/// when the program exits. Its workers are forked by its constructor: objects that are defined
/// after the pool, and those of files whose static objects are constructed later, do not exist in
/// the workers. Prong itself needs no static object of its own.
///
/// Random numbers: the generators of the C library (`rand`, `random`, `drand48` and the like) are
/// seeded differently in each worker. An engine of C++ that exists before the pool is copied to
/// each worker and draws the same numbers there: seed it with `this_worker::seed()`, in
/// `PoolOptions::initializer` or in the task.
///
/// Thread safety: any number of threads may use one executor at once; its destruction is the last
/// use.
///
/// Process safety: a task that crashes fails with `WorkerDied`, its worker is replaced, and nothing
/// else is affected. When this process ends, however it ends, all workers end with it. In a process
/// forked from this one (and so inside the pool's own workers) the executor is a dead copy: its
/// destructor does nothing, everything else throws `std::logic_error`. That holds for every call
/// that forks (`fork`, `_Fork`, `clone`), unless parent and child share their memory as `vfork`
/// does.
class PRONG_API ProcessPoolExecutor {
public:
    /// One worker for each CPU that this process may use.
    ProcessPoolExecutor() : ProcessPoolExecutor(PoolOptions{}) {}

    /// `max_workers` workers; less than 1 throws `std::invalid_argument`.
    explicit ProcessPoolExecutor(int max_workers)
        : ProcessPoolExecutor(PoolOptions{.max_workers = max_workers}) {}

    /// Returns without waiting for the workers. Throws `std::invalid_argument` for options out of
    /// range, `std::system_error` when the system refuses memory, descriptors or processes, `Error`
    /// when the zygote has been killed or its descriptor closed.
    explicit ProcessPoolExecutor(PoolOptions options);

    /// `shutdown(true)`; while an exception unwinds, what is pending is cancelled first. Never
    /// throws.
    ~ProcessPoolExecutor();

    ProcessPoolExecutor(const ProcessPoolExecutor&) = delete;
    ProcessPoolExecutor& operator=(const ProcessPoolExecutor&) = delete;

    /// Queues `f(args...)` for a worker and returns at once. The arguments are encoded here: what
    /// goes wrong in that throws here, and they may be destroyed or changed right afterwards.
    /// Waits only while `max_pending` tasks are queued, and not beyond `TaskOptions::deadline`:
    /// then the future has ended with `TaskTimeout`, and the task never runs.
    ///
    /// Throws `PoolShutdown` after `shutdown`, `BrokenProcessPool`, `LimitExceeded` when the
    /// arguments do not fit into shared memory, `std::invalid_argument` for a function that the
    /// workers do not have, `std::logic_error` in a process that is not the
    /// pool's (inside its own workers, say).
    template <typename F, typename... Args>
    Future<task_result_t<F, Args...>> submit(F&& f, Args&&... args) {
        return detail::submit_task(*core_, nullptr, std::forward<F>(f),
                                   std::forward<Args>(args)...);
    }

    /// Like `submit`, but never waits: returns an empty optional when `max_pending` tasks are
    /// queued, else one with the future.
    template <typename F, typename... Args>
    std::optional<Future<task_result_t<F, Args...>>> try_submit(F&& f, Args&&... args) {
        return detail::try_submit_task(*core_, nullptr, detail::Deadline::now(), std::forward<F>(f),
                                       std::forward<Args>(args)...);
    }

    /// Like `submit`, but waits at most `wait` for room: returns an empty optional on expiry, and
    /// the task never runs.
    template <typename F, typename... Args>
    std::optional<Future<task_result_t<F, Args...>>> try_submit_for(Timeout wait, F&& f,
                                                                    Args&&... args) {
        return detail::try_submit_task(*core_, nullptr, detail::Deadline::after(wait),
                                       std::forward<F>(f), std::forward<Args>(args)...);
    }

    /// The same pool with options for what is submitted through it:
    /// `pool.with(TaskOptions{.timeout = 2s}).submit(parse, path)`.
    [[nodiscard]] PoolWithOptions with(const TaskOptions& options) const {
        return {*core_, options};
    }

    /// Calls `f` in the workers for each element of a range (or of several in step, up to the end
    /// of the shortest), and gives the results in order; see `MapResult` and `MapOptions`. Starts
    /// at once and reads ahead only so far, so endless ranges work. An lvalue range must outlive
    /// the result, an rvalue is taken along.
    template <typename F, std::ranges::input_range... Ranges>
        requires(sizeof...(Ranges) > 0)
    map_result_t<F, Ranges...> map(F f, Ranges&&... ranges) {
        return map(MapOptions{}, std::move(f), std::forward<Ranges>(ranges)...);
    }
    /// The same with options for this map.
    template <typename F, std::ranges::input_range... Ranges>
        requires(sizeof...(Ranges) > 0)
    map_result_t<F, Ranges...> map(const MapOptions& options, F f, Ranges&&... ranges) {
        return detail::make_map_result(*core_, options, nullptr, std::move(f),
                                       std::forward<Ranges>(ranges)...);
    }

    /// Accepts no more tasks. What is queued still runs, unless `cancel_futures` cancels it first;
    /// what is running is always finished. With `wait`, returns when all is done and the workers
    /// are gone. May be called again, also to wait after all.
    void shutdown(bool wait = true, bool cancel_futures = false);

    /// Blocks until all work is done and the workers are gone, at most for `wait`; kills nothing.
    /// Returns whether that is so: call it again to wait longer. Throws `std::logic_error` before
    /// `shutdown`, because until then workers do not leave. Any thread may call it.
    bool join_for(Timeout wait);

    /// Like `shutdown()`, but waits at most `wait` (`std::nullopt`: without limit). On expiry
    /// cancels queued tasks and kills busy workers; their futures end with `WorkerDied`. Returns a
    /// report that converts to true if nothing had to be killed or cancelled. Kills hooks that do
    /// not return without reporting them. Throws `std::system_error` when the pool's supervisor
    /// cannot be reached.
    ShutdownReport shutdown_for(Timeout wait);

    /// Cancels queued tasks and sends SIGTERM to the workers; after 3 seconds SIGKILL to those that
    /// are left. The tasks that they were running end with `WorkerDied`. Does not wait. Throws
    /// `std::system_error` when the pool's supervisor cannot be reached.
    void terminate_workers();

    /// Like `terminate_workers`, but sends SIGKILL at once.
    void kill_workers();

    /// The number of workers that the pool keeps.
    [[nodiscard]] int max_workers() const;

    /// What the pool and each of its workers are at. Costs the workers nothing.
    [[nodiscard]] PoolStats stats() const;

private:
    executor::PoolCore* core_;
    int exceptions_at_start_;
};

} // namespace prong
