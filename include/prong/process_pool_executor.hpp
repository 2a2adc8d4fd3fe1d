#pragma once

#include <prong/as_completed.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/task.hpp>
#include <prong/detail/task_writer.hpp>
#include <prong/error.hpp>
#include <prong/future.hpp>
#include <prong/map.hpp>
#include <prong/pool_options.hpp>
#include <prong/result_view.hpp>
#include <prong/stats.hpp>
#include <prong/task_options.hpp>
#include <prong/timeout.hpp>
#include <prong/wait.hpp>

#include <optional>
#include <ranges>
#include <utility>
#include <vector>

namespace prong {

namespace executor {
struct RelayOptions;
}

/// What `submit_batch` returns: a future for each element.
template <typename F, typename Range>
using batch_result_t = std::vector<Future<task_result_t<F, std::ranges::range_reference_t<Range>>>>;

namespace detail {

struct PoolAccess;

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

/// What `submit_batch` does.
template <typename F, std::ranges::input_range Range>
batch_result_t<F, Range> submit_task_batch(executor::PoolCore& core, const TaskOptions* options,
                                           const F& f, Range&& range) {
    using Element = std::ranges::range_reference_t<Range>;
    TaskBatch batch(core, task_type<F, Element>(), options);
    if constexpr (std::ranges::sized_range<Range>) batch.reserve(std::ranges::size(range));
    for (auto&& element : range) {
        TaskWriter writer(core);
        encode_task(writer, f, std::forward<decltype(element)>(element));
        if constexpr (!std::is_reference_v<Element> &&
                      is_moved_by_encoding<std::ranges::range_value_t<Range>>())
            writer.pledges().forget_handles(); // `element` ends here
        batch.add(std::move(writer));
    }
    batch_result_t<F, Range> futures;
    futures.reserve(batch.size());
    while (batch.size() != 0) {
        for (TaskHandle& task : batch.submit_some())
            futures.push_back(FutureAccess::make<task_result_t<F, Element>>(std::move(task)));
    }
    return futures;
}

} // namespace detail

/// Submits tasks with fixed options; made by `ProcessPoolExecutor::with`. Refers to the pool, which
/// must outlive it. *Throws* like the pool's members, and `std::invalid_argument` from all that
/// submit for options out of range.
///
/// Thread safety and process safety: like `ProcessPoolExecutor`.
class PRONG_API PoolWithOptions {
public:
    /// Called by `ProcessPoolExecutor::with`.
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
    std::optional<Future<task_result_t<F, Args...>>> try_submit_for(Timeout timeout, F&& f,
                                                                    Args&&... args) const {
        return detail::try_submit_task(*core_, &options_, detail::Deadline::after(timeout),
                                       std::forward<F>(f), std::forward<Args>(args)...);
    }
    /// Like `ProcessPoolExecutor::submit_batch`.
    template <typename F, std::ranges::input_range Range>
    batch_result_t<F, Range> submit_batch(F f, Range&& range) const {
        return detail::submit_task_batch(*core_, &options_, f, std::forward<Range>(range));
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
    friend struct detail::PoolAccess;

    executor::PoolCore* core_;
    TaskOptions options_;
};

/// Pool of worker processes that run functions and return their results through futures.
///
/// A supervisor process forks the workers when the pool is created. Workers see the program's
/// memory of that moment, copy-on-write; their changes stay local. They inherit files and pipes,
/// not network sockets (`PoolOptions::inherit`). Each worker runs one task at a time. Its stack has
/// RLIMIT_STACK bytes, or at least 8 MiB if that is unlimited, whichever thread creates the pool.
///
/// **What differs in a worker.**
/// - *Signals*: handlers, ignored and blocked signals are reset. SIGINT, SIGTTIN and SIGTTOU are
///   ignored, and SIGPIPE if the program ignores it. The program decides what Ctrl-C means. Crash
///   signals are handled, to record a backtrace.
/// - *Terminal*: a worker has none. Reading standard input fails, also in programs that a task
///   starts. Opening `/dev/tty` fails, so password prompts fail. Writing to standard output still
///   works. A worker that SIGTTIN or SIGTTOU stops nevertheless is killed.
/// - *Sockets* that lead to other programs: reading and writing fail with EBADF. Open new
///   connections in `PoolOptions::initializer`. Descriptors 0, 1 and 2 become `/dev/null` where
///   they were closed or such a socket.
/// - *Memory*: is never locked in workers. In the program call `mlockall` before creating the pool,
///   or with MCL_ONFAULT. Later, `mlockall(MCL_CURRENT)` commits the pool's whole reservation. The
///   kernel's out-of-memory killer prefers workers to the program.
/// - *Core dumps*: off. Only the soft limit is lowered: an initializer may raise it by `setrlimit`.
/// - *Output*: `stdout` and `stderr` are line-buffered and flushed after each task. Flush your
///   streams before creating the pool; every worker copies their buffers.
/// - *Exit*: exit handlers and static destructors of the program do not run. Only `stdout`,
///   `stderr`, `std::cout` and `std::clog` are flushed. Flush other streams in the task or in
///   `PoolOptions::on_worker_exit`. For coverage counters call `__gcov_dump` in that hook.
/// - *User*: workers keep the user of the moment when the pool was created (or the zygote started).
///   A program that drops privileges later still controls the pool; tasks keep the privileges.
/// - *Service managers* that stop a service by sending SIGTERM to all of its processes end running
///   tasks (`WorkerDied`). Have only the main process signalled (systemd: `KillMode=mixed`), or
///   ignore SIGTERM in an initializer; workers then end 3 seconds after `terminate_workers`.
///
/// **What a task leaves behind for the next one of its worker.** prong resets standard output and
/// error after `TaskOptions::capture_output`, the limits of `TaskLimits`, and the thread behind
/// `this_task::stop_token`. It clears timers (`alarm`, `setitimer`, `timer_create`) whose signal
/// would kill the worker. A function that left no timer in 16 runs is checked only every 1,024th
/// run, and before the next task that begins after a tick of the kernel's clock (1 to 10 ms). A
/// timer that is not found so may kill the next task (`WorkerDied`). The message then names `alarm`
/// or `setitimer`, but not `timer_create`.
/// Everything else stays until the worker is replaced: global variables, the heap, open
/// descriptors, signal handlers and masks, the working directory, umask, user, locale, environment,
/// rounding mode, resource limits, threads. Set what a task relies on in that task, or set
/// `PoolOptions::max_tasks_per_worker` to 1.
///
/// **Threads.** A program that creates pools while it has other threads should call `start_zygote`
/// early in `main`. Workers are then forked from the zygote and see the program's memory as it was
/// at that call. Without a zygote, only the calling thread exists in the workers. The C library
/// resets its own locks (memory, streams). Any other lock that a thread holds at the fork stays
/// locked: a mutex, a logger's, the guard of a static variable. A task that needs it hangs.
/// Libraries with internal threads (OpenMP, oneTBB, Asio) find none of them.
///
/// **Modules.** A function can be a task if its module (program or shared object) was loaded before
/// the pool was created, or the zygote started. Others are rejected with `std::invalid_argument`. A
/// module may be unloaded while the pool exists: its tasks continue, but errors no longer name
/// them.
///
/// **Static pools.** A pool with static storage duration may be used before and in `main`. It waits
/// for its tasks when the program exits. Its constructor forks the workers: objects defined later,
/// in this file or in files initialised later, do not exist in the workers. prong itself depends on
/// no static object.
///
/// **Random numbers.** The generators of the C library (`rand`, `random`, `drand48` and the like)
/// are seeded differently in each worker. A C++ engine created before the pool is copied to each
/// worker and draws equal numbers there. Seed it with `this_worker::seed()`, in
/// `PoolOptions::initializer` or in the task.
///
/// A task may create another pool; using its own pool throws `std::logic_error`.
///
/// Thread safety: any number of threads may call members at once; destroy the pool after all calls
/// have returned.
///
/// Process safety: a task that crashes fails with `WorkerDied`, its worker is replaced, and nothing
/// else is affected. When this process ends, even by SIGKILL, all workers end. In any process
/// forked from this one, workers included, the executor is inert: the destructor does nothing,
/// other members throw `std::logic_error`. This holds for every call that forks (`fork`, `_Fork`,
/// `clone`), unless parent and child share their memory, as after `vfork`.
class PRONG_API ProcessPoolExecutor {
public:
    /// Creates a pool with one worker for each CPU that this process may use.
    ProcessPoolExecutor() : ProcessPoolExecutor(PoolOptions{}) {}

    /// Creates a pool of `max_workers` workers. *Throws* `std::invalid_argument` unless it is 1 to
    /// 1024; otherwise like the constructor below.
    explicit ProcessPoolExecutor(int max_workers)
        : ProcessPoolExecutor(PoolOptions{.max_workers = max_workers}) {}

    /// Creates a pool. Does not wait for the workers to start. *Throws* `std::invalid_argument` for
    /// options out of range, `std::system_error` if the system refuses memory, descriptors or
    /// processes, and `Error` if the zygote was killed or its descriptor closed.
    explicit ProcessPoolExecutor(PoolOptions options);

    /// Calls `shutdown(true)`; during stack unwinding cancels queued tasks first. Blocks until
    /// running tasks return: give tasks that may hang a timeout. Never throws.
    ~ProcessPoolExecutor();

    ProcessPoolExecutor(const ProcessPoolExecutor&) = delete;
    ProcessPoolExecutor& operator=(const ProcessPoolExecutor&) = delete;

    /// Queues `f(args...)` for a worker and returns its future. Encodes `f` and the arguments
    /// first; the caller may then change or destroy them. A `SharedBuffer` passes to the task and
    /// is empty then; the elements of a `SharedView` are not copied.
    ///
    /// Accepts functions, member functions, function objects, lambdas without captures, and
    /// `with_captures`. Passes the task's own `std::stop_token` to a leading token parameter.
    ///
    /// Blocks only while `max_pending` tasks are queued, at most until `TaskOptions::deadline`. On
    /// that expiry returns a future that has ended with `TaskTimeout`; the task never runs.
    ///
    /// *Throws* `PoolShutdown`, `BrokenProcessPool`, `CodecError` for a value without encoding, and
    /// `LimitExceeded` for arguments beyond `max_payload_bytes` or shared memory, or if all task
    /// records are in use (`LimitKind::pending_tasks`). *Throws* `std::invalid_argument` for a null
    /// function or one that the workers lack, `std::logic_error` in another process. Also throws
    /// what an argument's own `serialize` throws.
    template <typename F, typename... Args>
    Future<task_result_t<F, Args...>> submit(F&& f, Args&&... args) {
        return detail::submit_task(*core_, nullptr, std::forward<F>(f),
                                   std::forward<Args>(args)...);
    }

    /// Like `submit`, but does not block: returns an empty optional if `max_pending` tasks are
    /// queued.
    template <typename F, typename... Args>
    std::optional<Future<task_result_t<F, Args...>>> try_submit(F&& f, Args&&... args) {
        return detail::try_submit_task(*core_, nullptr, detail::Deadline::now(), std::forward<F>(f),
                                       std::forward<Args>(args)...);
    }

    /// Like `submit`, but blocks at most `timeout` for room. On expiry returns an empty optional,
    /// and the task never runs.
    template <typename F, typename... Args>
    std::optional<Future<task_result_t<F, Args...>>> try_submit_for(Timeout timeout, F&& f,
                                                                    Args&&... args) {
        return detail::try_submit_task(*core_, nullptr, detail::Deadline::after(timeout),
                                       std::forward<F>(f), std::forward<Args>(args)...);
    }

    /// Queues one task `f(element)` for each element of a range, and returns their futures in the
    /// same order. Costs less than `submit` for each, because the workers are woken once for many
    /// tasks. Each task is otherwise like one of `submit`: it has its own timeout, is cancelled and
    /// retried alone, and its crash fails no other.
    ///
    /// Encodes all elements first: if reading or encoding one throws, no task is queued. So the
    /// range must be finite, and may be changed or destroyed afterwards. Put what all tasks need,
    /// such as a `SharedView`, in a pair with each element. Returns an empty vector for an empty
    /// range.
    ///
    /// Blocks while `max_pending` tasks are queued, so a range may be longer than that: tasks are
    /// queued as there is room. If their `TaskOptions::deadline` passes first, the remaining tasks
    /// end with `TaskTimeout`. If another thread shuts the pool down meanwhile, or the pool breaks,
    /// they end with `CancelledError` or `BrokenProcessPool`.
    ///
    /// *Throws* like `submit`; then no task is queued.
    template <typename F, std::ranges::input_range Range>
    batch_result_t<F, Range> submit_batch(F f, Range&& range) {
        return detail::submit_task_batch(*core_, nullptr, f, std::forward<Range>(range));
    }

    /// Returns a handle that submits to this pool with `options`:
    /// `pool.with(TaskOptions{.timeout = 2s}).submit(parse, path)`. Does not check `options`;
    /// the members that submit do.
    [[nodiscard]] PoolWithOptions with(const TaskOptions& options) const {
        return {*core_, options};
    }

    /// Calls `f` in the workers for each element of a range, or of several ranges in step until the
    /// shortest ends. Returns the results in order; see `MapResult` and `MapOptions`. Submits the
    /// first chunks at once and reads the input at most `lookahead` elements ahead, so endless
    /// ranges work. An lvalue range must outlive the result; an rvalue range is moved into it.
    /// Blocks only while `max_pending` tasks are queued. *Throws* like `submit`, and what reading
    /// the first elements throws.
    template <typename F, std::ranges::input_range... Ranges>
        requires(sizeof...(Ranges) > 0)
    map_result_t<F, Ranges...> map(F f, Ranges&&... ranges) {
        return map(MapOptions{}, std::move(f), std::forward<Ranges>(ranges)...);
    }
    /// Like `map` above, with `options`.
    template <typename F, std::ranges::input_range... Ranges>
        requires(sizeof...(Ranges) > 0)
    map_result_t<F, Ranges...> map(const MapOptions& options, F f, Ranges&&... ranges) {
        return detail::make_map_result(*core_, options, nullptr, std::move(f),
                                       std::forward<Ranges>(ranges)...);
    }

    /// Accepts no further tasks. Runs queued tasks to their end, or cancels them with
    /// `cancel_futures`. Running tasks always finish. With `wait`, blocks until all tasks and
    /// workers have ended. May be called again, also to wait later. *Throws* `std::logic_error` in
    /// another process.
    void shutdown(bool wait = true, bool cancel_futures = false);

    /// Blocks until all tasks and workers have ended, at most `timeout`; kills nothing. Returns
    /// whether they have ended. May be called again. *Throws* `std::logic_error` before `shutdown`,
    /// because workers do not exit until then. Thread safety: any thread.
    bool join_for(Timeout timeout);

    /// Like `shutdown()`, but waits for tasks at most `timeout` (`std::nullopt`: no limit). On
    /// expiry cancels queued tasks (`CancelledError`) and kills busy workers (`WorkerDied`), which
    /// takes some milliseconds. Also kills workers in a hook that does not return; the report omits
    /// them. Returns a report that converts to true if nothing was killed or cancelled. *Throws*
    /// `std::system_error` if the pool's supervisor cannot be reached.
    ShutdownReport shutdown_for(Timeout timeout);

    /// Shuts the pool down: later submissions throw `PoolShutdown`. Cancels queued tasks and sends
    /// SIGTERM to all workers, then SIGKILL after 3 seconds. Running tasks end with `WorkerDied`.
    /// Does not block. May be called again. *Throws* `std::system_error` if the pool's supervisor
    /// cannot be reached.
    void terminate_workers();

    /// Like `terminate_workers`, but sends SIGKILL at once.
    void kill_workers();

    /// Returns the number of workers that the pool keeps on this machine: of a `MpiPoolExecutor`,
    /// `MpiOptions::local_workers`, by default 0; `stats().workers` has the others.
    [[nodiscard]] int max_workers() const;

    /// Returns counts and the state of each worker. After the pool has ended or broken, all workers
    /// are absent and no task is queued. Does not block and costs the workers nothing.
    [[nodiscard]] PoolStats stats() const;

    /// Returns a descriptor that becomes readable when a task of the pool has ended, whenever it
    /// was submitted, for event loops that have no adapter (epoll, libuv, GLib, Qt). Each call
    /// returns the same one. It belongs to the pool, and stays open as long as the pool or one of
    /// its futures exists; one loop reads it. Only pools whose program has called this send
    /// anything.
    ///
    /// When it is readable, first drain it, then look at the futures with `done()`:
    ///
    ///     char bytes[256];
    ///     while (read(fd, bytes, sizeof(bytes)) > 0) {}
    ///
    /// It never blocks: `read` fails with `EAGAIN` when it is drained. It may be readable although
    /// no task has ended since. It does not become readable at the deadline of a queued task, but
    /// when a worker would start that task. Once all processes of the pool have ended, also by
    /// SIGKILL, all futures are done, and the descriptor stays readable with `read` returning 0:
    /// remove it from the loop.
    ///
    /// Blocks until the pool's processes have started. *Throws* `std::system_error` if the
    /// descriptor cannot be opened: it needs `/proc`, and the user as whom the pool was created.
    /// Thread safety: any thread.
    [[nodiscard]] int completion_fd();

protected:
    /// Creates a pool whose tasks may also run elsewhere: `relay` claims them. `max_workers` may be
    /// 0.
    ProcessPoolExecutor(PoolOptions options, executor::RelayOptions relay);

private:
    friend class Pool;
    friend struct detail::PoolAccess;

    executor::PoolCore* core_;
    int exceptions_at_start_;
};

namespace detail {

/// What the rest of prong may do with a pool.
struct PoolAccess {
    static executor::PoolCore& core(const ProcessPoolExecutor& pool) { return *pool.core_; }
    static executor::PoolCore& core(const PoolWithOptions& pool) { return *pool.core_; }
    /// Null: none.
    static const TaskOptions* options(const ProcessPoolExecutor& /*pool*/) { return nullptr; }
    static const TaskOptions* options(const PoolWithOptions& pool) { return &pool.options_; }
};

} // namespace detail

} // namespace prong
