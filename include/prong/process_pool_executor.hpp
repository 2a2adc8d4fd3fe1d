#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/task.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/error.hpp>
#include <prong/future.hpp>
#include <prong/map.hpp>
#include <prong/pool_stats.hpp>
#include <prong/task_options.hpp>
#include <prong/worker_hook.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace prong {
namespace detail {

/// What `submit` and `try_submit` do; `options`: null for none.
template <typename F, typename... Args>
Future<task_result_t<F, Args...>> submit_task(pool::PoolCore& core, const TaskOptions* options,
                                              F&& f, Args&&... args) {
    Draft draft(core);
    encode_task(draft, std::forward<F>(f), std::forward<Args>(args)...);
    return FutureAccess::make<task_result_t<F, Args...>>(
        std::move(draft).submit(task_type<F, Args...>(), options));
}

template <typename F, typename... Args>
std::optional<Future<task_result_t<F, Args...>>>
try_submit_task(pool::PoolCore& core, const TaskOptions* options, F&& f, Args&&... args) {
    Draft draft(core);
    encode_task(draft, std::forward<F>(f), std::forward<Args>(args)...);
    auto task = std::move(draft).try_submit(task_type<F, Args...>(), options);
    if (!task) return std::nullopt;
    return FutureAccess::make<task_result_t<F, Args...>>(std::move(*task));
}

} // namespace detail

/// What becomes of a pool when a worker dies.
enum class OnWorkerDeath : unsigned char {
    replace, ///< its task fails, another worker takes its place
    /// As in Python: every future that is pending gets `BrokenProcessPool`. Workers that the pool
    /// has killed itself (`kill`, a timeout, a limit) are replaced.
    break_pool,
};

/// How a pool is made. All fields have sensible defaults; name the ones that differ:
/// `PoolOptions{.max_workers = 4, .initializer = load_tables}`.
struct PoolOptions {
    /// Worker processes, 1 to 1024. Default: as many as CPUs that this process may use.
    std::optional<int> max_workers = std::nullopt;

    /// Runs in each worker before its first task, also in one that replaces a dead one. It is
    /// copied by the fork, so it may hold anything (with `start_zygote`: a plain function or a
    /// lambda without captures). If it throws or dies three times in a row with
    /// no worker starting in between, the pool is broken.
    WorkerHook initializer = nullptr;

    /// Tasks that wait for a worker; beyond it `submit` waits and `try_submit` declines.
    /// Default and most: about 16 million, less under a small `RLIMIT_AS`.
    std::optional<std::size_t> max_pending = std::nullopt;

    /// The largest argument list or result, in bytes; beyond it there is `LimitExceeded`.
    /// Default: the machine's memory, less under `RLIMIT_AS`.
    std::optional<std::size_t> max_payload_bytes = std::nullopt;

    /// Limits for every task; `TaskOptions::limits` replaces them one by one.
    TaskLimits limits = {};

    /// So many tasks at most (`map`: chunks) for a worker, then a fresh one takes its place; up to
    /// an eighth fewer, at random, so that not all leave at once. For code that leaks.
    std::optional<std::size_t> max_tasks_per_worker = std::nullopt;

    /// A worker that has more resident memory of its own than this after a task, in bytes, is
    /// replaced. What the parent had when the pool was made counts.
    std::optional<std::size_t> max_worker_rss_bytes = std::nullopt;

    /// Run in each worker, like the initializer after which the first comes; the second when a
    /// worker leaves of its own accord, not when it dies. `this_worker::index` tells which it is.
    /// This process destroys its copies of all three hooks before the constructor returns.
    WorkerHook on_worker_start = nullptr;
    WorkerHook on_worker_exit = nullptr;

    OnWorkerDeath on_worker_death = OnWorkerDeath::replace;
};

/// A pool together with options for tasks, from `ProcessPoolExecutor::with`. It refers to the pool
/// and must not outlive it.
///
/// Thread safety and errors: as the pool's; `submit` also throws `std::invalid_argument` for
/// options out of range.
class PRONG_API PoolWithOptions {
public:
    PoolWithOptions(pool::PoolCore& core, const TaskOptions& options);

    template <typename F, typename... Args>
    auto submit(F&& f, Args&&... args) const {
        return detail::submit_task(*core_, &options_, std::forward<F>(f),
                                   std::forward<Args>(args)...);
    }
    template <typename F, typename... Args>
    auto try_submit(F&& f, Args&&... args) const {
        return detail::try_submit_task(*core_, &options_, std::forward<F>(f),
                                       std::forward<Args>(args)...);
    }
    template <typename F, std::ranges::input_range... Ranges>
        requires(sizeof...(Ranges) > 0)
    auto map(F f, Ranges&&... ranges) const {
        return map(MapOptions{}, std::move(f), std::forward<Ranges>(ranges)...);
    }
    template <typename F, std::ranges::input_range... Ranges>
        requires(sizeof...(Ranges) > 0)
    auto map(const MapOptions& options, F f, Ranges&&... ranges) const {
        return detail::make_map_result(*core_, options, &options_, std::move(f),
                                       std::forward<Ranges>(ranges)...);
    }

private:
    pool::PoolCore* core_;
    TaskOptions options_;
};

/// A pool of worker processes that run functions and hand their results back through futures.
///
/// The workers are forked when the pool is made (by a supervisor process, never by a thread of this
/// one): they see the program's memory as it was then, copy-on-write, and what they change stays
/// with them. They inherit open files and pipes, not network sockets. Each worker runs one task at
/// a time.
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
    /// range, `std::system_error` when memory, descriptors or processes are not to be had, `Error`
    /// when the zygote has been killed.
    explicit ProcessPoolExecutor(PoolOptions options);

    /// `shutdown(true)`; while an exception unwinds, what is pending is cancelled first. Never
    /// throws.
    ~ProcessPoolExecutor();

    ProcessPoolExecutor(const ProcessPoolExecutor&) = delete;
    ProcessPoolExecutor& operator=(const ProcessPoolExecutor&) = delete;

    /// Queues `f(args...)` for a worker and returns at once. The arguments are encoded here: what
    /// goes wrong in that throws here, and they may be destroyed or changed right afterwards.
    /// Waits only while `max_pending` tasks are queued.
    ///
    /// Throws `PoolShutdown` after `shutdown`, `BrokenProcessPool`, `LimitExceeded` when the
    /// arguments do not fit into shared memory, `std::invalid_argument` for a function that the
    /// workers do not have, `std::logic_error` in a process that is not the
    /// pool's (inside its own workers, say).
    template <typename F, typename... Args>
    auto submit(F&& f, Args&&... args) {
        return detail::submit_task(*core_, nullptr, std::forward<F>(f),
                                   std::forward<Args>(args)...);
    }

    /// `submit`, but declines (empty) instead of waiting when `max_pending` tasks are queued.
    template <typename F, typename... Args>
    auto try_submit(F&& f, Args&&... args) {
        return detail::try_submit_task(*core_, nullptr, std::forward<F>(f),
                                       std::forward<Args>(args)...);
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
    auto map(F f, Ranges&&... ranges) {
        return map(MapOptions{}, std::move(f), std::forward<Ranges>(ranges)...);
    }
    template <typename F, std::ranges::input_range... Ranges>
        requires(sizeof...(Ranges) > 0)
    auto map(const MapOptions& options, F f, Ranges&&... ranges) {
        return detail::make_map_result(*core_, options, nullptr, std::move(f),
                                       std::forward<Ranges>(ranges)...);
    }

    /// Accepts no more tasks. What is queued still runs, unless `cancel_futures` cancels it first;
    /// what is running is always finished. With `wait`, returns when all is done and the workers
    /// are gone. May be called again, also to wait after all.
    void shutdown(bool wait = true, bool cancel_futures = false);

    /// `shutdown`, but waits at most so long; then cancels what is queued and kills the workers
    /// that are still busy, whose tasks fail with `WorkerDied`. Returns what that was: true if
    /// there was no need. (Hooks that do not return are killed, too, and not in the report.)
    ShutdownReport shutdown_for(detail::Timeout wait);

    /// Ends the pool now: queued tasks are cancelled, workers get SIGTERM (SIGKILL), and the tasks
    /// that they were running fail with `WorkerDied`. Does not wait.
    void terminate_workers();
    void kill_workers();

    [[nodiscard]] unsigned max_workers() const;

    /// What the pool and each of its workers are at. Costs the workers nothing.
    [[nodiscard]] PoolStats stats() const;

private:
    pool::PoolCore* core_;
    int exceptions_at_start_;
};

} // namespace prong
