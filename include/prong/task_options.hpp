#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>
#include <prong/timeout.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>

namespace prong {

/// Which tasks are taken first. Lower ones are not starved: every fourth time a worker looks for a
/// normal task first, every sixteenth for a low one.
enum class Priority : unsigned char { high, normal, low };

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(Priority priority);

/// What a task may use; beyond it the task ends with `LimitExceeded`, and its worker is replaced
/// where needed. Memory counts from what the worker had when the task began. Default: no limit.
struct TaskLimits {
    /// Resident memory of its own, in bytes. Looked at every 10 ms, so a task may be over it for
    /// that long. Needs `/proc`.
    std::optional<std::size_t> memory_bytes = std::nullopt;

    /// Address space, in bytes (`RLIMIT_AS`): allocations beyond it fail with `std::bad_alloc` in
    /// the task, which becomes `LimitExceeded`. Not for programs with AddressSanitizer.
    std::optional<std::size_t> address_space_bytes = std::nullopt;

    /// Processor time of all its threads, not of its children. Measured every 10 ms.
    Timeout cpu_time = std::nullopt;

    /// Size of any file that it writes, in bytes (`RLIMIT_FSIZE`), captured output included.
    std::optional<std::size_t> max_file_bytes = std::nullopt;
};

/// How one task is run: `pool.with(TaskOptions{.timeout = 2s}).submit(parse, path)`.
///
/// With `map`, each chunk is a task; the default chunk is then one element.
struct TaskOptions {
    /// How long it may run, from when a worker starts it; each retry anew. When it is over the task
    /// is asked to stop (`this_task::stop_requested`), after `grace` its worker is killed and
    /// replaced. The future gets `TaskTimeout` then, even if the task returned something within the
    /// grace.
    Timeout timeout = std::nullopt;

    /// The same from `submit` on, retries included. A task that no worker has started by then never
    /// runs. `submit` does not wait beyond it for room in the queue.
    Timeout deadline = std::nullopt;

    /// Time between the request to stop and the kill. `std::nullopt`: never kills. Default: 100 ms.
    Timeout grace = std::chrono::milliseconds(100);

    /// Requeues the task up to this many times when its worker dies. Does not retry after an
    /// exception, `Future::kill` or `request_stop`, a timeout or an exceeded limit. When all
    /// attempts have killed their worker, the future gets `PoisonedTask`, with the last 16 deaths.
    /// `this_task::attempt` tells the task which attempt it is. Default: 0.
    int max_retries = 0;

    /// What the task may use. Default: what `PoolOptions::limits` says.
    TaskLimits limits = {};

    /// Which queued tasks workers take first.
    Priority priority = Priority::normal;

    /// Captures standard output and error of the task and of the processes that it starts. Nothing
    /// reaches their usual destination. `Future::output()` returns the last 64 KiB, however the
    /// task has ended; so does `last_output()` of the error after a death, a timeout or an exceeded
    /// limit. With `map`, only errors carry it.
    ///
    /// Takes a descriptor for each worker in the pool's supervisor: workers beyond RLIMIT_NOFILE
    /// capture nothing. Neither does a worker in which an earlier task has closed that descriptor;
    /// output then goes to its usual destination. Under RLIMIT_FSIZE what exceeds that size is
    /// lost, and writing too much to any file fails with EFBIG in such a task, without SIGXFSZ.
    bool capture_output = false;
};

} // namespace prong
