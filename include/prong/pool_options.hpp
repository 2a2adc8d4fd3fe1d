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

/// What happens to a pool when a worker dies.
enum class OnWorkerDeath : unsigned char {
    replace, ///< its task fails, the worker is replaced
    /// As in Python: every future that has not ended gets `BrokenProcessPool`. Workers that the
    /// pool itself has killed (`kill`, a timeout, a limit) are replaced. So are those whose task is
    /// retried (`TaskOptions::max_retries`): only the death of the last attempt breaks the pool.
    break_pool,
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(OnWorkerDeath action);

/// Options of a pool. All fields have sensible defaults; name the ones that differ:
/// `PoolOptions{.max_workers = 4, .initializer = load_tables}`. The fields come in the order
/// behaviour, sizes, limits, hooks: designated initialisers must follow it.
struct PoolOptions {
    // Behaviour

    /// Number of worker processes, 1 to 1024. *Default:* the number of CPUs in the affinity masks
    /// of all threads together, at most the CPU quota of the cgroup. If OpenMP has pinned the whole
    /// process to one CPU (`OMP_PROC_BIND`, `GOMP_CPU_AFFINITY`), the CPUs of its cgroup instead.
    ///
    /// The workers may use these CPUs, also when the thread that creates the pool is pinned. Pin a
    /// worker in `initializer`, by `this_worker::index()`.
    std::optional<int> max_workers = std::nullopt;

    /// Selects whether a worker's death fails its task only, or breaks the pool. *Default:* fails
    /// its task.
    OnWorkerDeath on_worker_death = OnWorkerDeath::replace;

    /// Selects which open descriptors of the program (with a zygote: of the zygote) the pool's
    /// processes keep. `Inherit::only` always names descriptors of the program. Use
    /// `Inherit::standard_only` with pipes, `popen` or `flock`: inherited descriptors stay open.
    /// *Default:* all but network sockets.
    Inherit inherit = Inherit::all_but_network;

    // Sizes

    /// Limits the queued tasks; beyond it `submit` waits and `try_submit` returns an empty
    /// optional. Cancelled and expired tasks do not count, but keep one of the 16 million places of
    /// the queue until a worker reaches them. *Default:* the maximum, about 16 million, less under
    /// a small RLIMIT_AS or RLIMIT_FSIZE. 0 throws `std::invalid_argument`.
    std::optional<std::size_t> max_pending = std::nullopt;

    /// Limits one argument list or result, in bytes. Arguments beyond it make `submit` throw
    /// `LimitExceeded`; a result beyond it ends the future with it. Values that fit into a task's
    /// record (some 90 bytes) are not limited. A chunk of `map` takes 8 to 16 bytes besides, and
    /// what separates its elements. Cuts `last_output` to the end that fits. *Default:* the
    /// machine's memory, less under RLIMIT_AS or RLIMIT_FSIZE, which bound the pool's shared
    /// memory. 0 throws `std::invalid_argument`.
    std::optional<std::size_t> max_payload_bytes = std::nullopt;

    /// Limits the nesting depth of objects in an argument or result, such as a list linked by
    /// `std::unique_ptr`. Beyond it throws `CodecError`. *Default:* 1000. 0 throws
    /// `std::invalid_argument`.
    ///
    /// Encoding and decoding take 60 to 500 bytes of stack per level, here and in the worker (up to
    /// 1.5 KiB without optimisation, 2.5 KiB with a sanitizer as well): a stack of 8 MiB holds
    /// 15,000 levels. Beyond that the stack overflows, which is a crash. Destroying such a list
    /// overflows the stack too.
    std::optional<std::size_t> max_nesting = std::nullopt;

    // Limits

    /// Limits for every task; each field of `TaskOptions::limits` replaces its own. *Default:* no
    /// limits.
    TaskLimits limits = {};

    /// Replaces a worker after this many tasks (`map`: chunks), minus a random 0 to 1/8 so that
    /// workers do not exit together. For code that leaks. *Default:* never. 0 throws
    /// `std::invalid_argument`.
    std::optional<std::size_t> max_tasks_per_worker = std::nullopt;

    /// Replaces a worker whose resident memory, without shared memory, exceeds this number of bytes
    /// after a task. Memory that it was forked with counts. Checked at most every 10 ms. *Default:*
    /// never. 0 throws `std::invalid_argument`.
    std::optional<std::size_t> max_worker_rss_bytes = std::nullopt;

    /// Time for `initializer` and `on_worker_start` together, and again for `on_worker_exit`. On
    /// expiry kills the worker: the start has failed as if `initializer` had thrown; an exit is
    /// reported on stderr. Has no effect without hooks. *Default:* no limit. 0 throws
    /// `std::invalid_argument`.
    Timeout start_timeout = std::nullopt;

    // Hooks

    /// Runs in each worker before its first task, also in a replacement. The constructor does not
    /// wait for it: its failure appears as `BrokenProcessPool` at futures and `submit`. Three
    /// failed starts in a row break the pool (50 if the worker was killed from outside by SIGKILL
    /// or SIGTERM). A start fails if `initializer` or `on_worker_start` throws or exceeds
    /// `start_timeout`, or the worker dies in it. *Default:* none.
    WorkerHook initializer = nullptr;

    /// Runs in each worker after `initializer`, under the same conditions. The pool's constructor
    /// destroys this process's copies of all three hooks. *Default:* none.
    WorkerHook on_worker_start = nullptr;

    /// Runs when a worker exits normally, not when it is killed. Prints an exception that it throws
    /// to stderr. *Default:* none.
    WorkerHook on_worker_exit = nullptr;
};

} // namespace prong
