#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>
#include <prong/inherit.hpp>
#include <prong/task_options.hpp>
#include <prong/timeout.hpp>
#include <prong/worker_hook.hpp>

#include <cstddef>
#include <optional>
#include <string_view>

namespace prong {

/// What becomes of a pool when a worker dies.
enum class OnWorkerDeath : unsigned char {
    replace, ///< its task fails, another worker takes its place
    /// As in Python: every future that is pending gets `BrokenProcessPool`. Workers that the pool
    /// has killed itself (`kill`, a timeout, a limit) are replaced, and so are those whose task is
    /// tried again (`TaskOptions::max_retries`): only the death of the last attempt breaks the
    /// pool.
    break_pool,
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(OnWorkerDeath action);

/// How a pool is made. All fields have sensible defaults; name the ones that differ:
/// `PoolOptions{.max_workers = 4, .initializer = load_tables}`. The fields come in the order
/// behaviour, sizes, limits, hooks: designated initialisers must follow it.
struct PoolOptions {
    // Behaviour

    /// Number of worker processes, 1 to 1024. Default: the number of CPUs in the affinity masks of
    /// all threads together, at most the CPU quota of the cgroup. If OpenMP has pinned the whole
    /// process to one CPU (`OMP_PROC_BIND`, `GOMP_CPU_AFFINITY`), the CPUs of its cgroup instead.
    ///
    /// The workers may use these CPUs, also when the thread that makes the pool is pinned. Pin a
    /// worker in `initializer`, by `this_worker::index()`.
    std::optional<int> max_workers = std::nullopt;

    /// Whether a worker's death fails its task only, or breaks the pool. Default: fails its task.
    OnWorkerDeath on_worker_death = OnWorkerDeath::replace;

    /// The descriptors that the pool's processes keep, of those that the program (with
    /// `start_zygote`: the zygote) has open. Default: all but network sockets. What is kept cannot
    /// end: use `Inherit::standard_only` if the program uses pipes, `popen` or `flock`.
    Inherit inherit = Inherit::all_but_network;

    // Sizes

    /// Limit of queued tasks; beyond it `submit` waits and `try_submit` returns an empty optional.
    /// Cancelled and expired tasks do not count, but keep one of the 16 million places of the queue
    /// until a worker reaches them. Default and maximum: about 16 million, less under a small
    /// RLIMIT_AS or RLIMIT_FSIZE.
    std::optional<std::size_t> max_pending = std::nullopt;

    /// Limit of one argument list or result, in bytes; beyond it there is `LimitExceeded`. Cuts
    /// `last_output` to the end that fits. Default: the machine's memory, less under RLIMIT_AS or
    /// RLIMIT_FSIZE, which bound the pool's shared memory.
    std::optional<std::size_t> max_payload_bytes = std::nullopt;

    /// Limit of objects within each other in an argument or a result, such as the nodes of a list
    /// that is linked by `std::unique_ptr`; beyond it there is `CodecError`. Default: 1000. 0
    /// throws `std::invalid_argument`.
    ///
    /// Encoding and decoding take 60 to 500 bytes of stack for each, here and in the worker (up to
    /// 1.5 KiB without optimisation, 2.5 KiB with a sanitizer as well): a stack of 8 MiB holds
    /// 15,000. Beyond that the stack overflows, which is a crash. So does the destructor of a list
    /// that is too long for it.
    std::optional<std::size_t> max_nesting = std::nullopt;

    // Limits

    /// Limits for every task; `TaskOptions::limits` replaces them one by one.
    TaskLimits limits = {};

    /// Replaces a worker after this many tasks (`map`: chunks), minus a random 0 to 1/8 so that
    /// workers do not exit together. For code that leaks. Default: never.
    std::optional<std::size_t> max_tasks_per_worker = std::nullopt;

    /// Replaces a worker whose resident memory, without shared memory, exceeds this number of bytes
    /// after a task. Memory that it was forked with counts. Checked at most every 10 ms. Default:
    /// never.
    std::optional<std::size_t> max_worker_rss_bytes = std::nullopt;

    /// Time for `initializer` and `on_worker_start` together, and again for `on_worker_exit`. On
    /// expiry kills the worker: the start has failed as if `initializer` had thrown, and an exit is
    /// reported on stderr. Default: no limit.
    Timeout start_timeout = std::nullopt;

    // Hooks

    /// Runs in each worker before its first task, also in one that replaces another. Three failed
    /// starts in a row break the pool (50 if the worker was killed from outside by SIGKILL or
    /// SIGTERM). A start fails if `initializer` or `on_worker_start` throws or exceeds
    /// `start_timeout`, or the worker dies in it. Default: none.
    WorkerHook initializer = nullptr;

    /// Runs in each worker after `initializer`, under the same conditions. The pool's constructor
    /// destroys this process's copies of all three hooks. Default: none.
    WorkerHook on_worker_start = nullptr;

    /// Runs when a worker exits normally, not when it is killed. What it throws is printed to
    /// stderr. Default: none.
    WorkerHook on_worker_exit = nullptr;
};

} // namespace prong
