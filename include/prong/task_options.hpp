#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>
#include <prong/timeout.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>

namespace prong {

/// Order in which workers claim queued tasks. Lower priorities are not starved: every fourth claim
/// prefers a normal task, every sixteenth a low one.
enum class Priority : unsigned char { high, normal, low };

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(Priority priority);

/// Limits what a task may use. Beyond a limit the task ends with `LimitExceeded`; its worker is
/// replaced where needed. Memory counts from the start of the task. An unset field means no limit
/// in `PoolOptions`, the pool's limit in `TaskOptions`. A limit of 0 bytes throws
/// `std::invalid_argument`.
struct TaskLimits {
    /// Limits the private resident memory, in bytes. Checked every 10 ms, so a task may exceed it
    /// that long. Needs `/proc`.
    std::optional<std::size_t> memory_bytes = std::nullopt;

    /// Limits the address space, in bytes (`RLIMIT_AS`). Allocations beyond it fail with
    /// `std::bad_alloc` in the task, which becomes `LimitExceeded`. Not for programs with
    /// AddressSanitizer.
    std::optional<std::size_t> address_space_bytes = std::nullopt;

    /// Limits the processor time of all threads of the task, without its child processes. Checked
    /// every 10 ms.
    Timeout cpu_time = std::nullopt;

    /// Limits the size of each file that the task writes, in bytes (`RLIMIT_FSIZE`), captured
    /// output included.
    std::optional<std::size_t> max_file_bytes = std::nullopt;
};

/// Options of one task: `pool.with(TaskOptions{.timeout = 2s}).submit(parse, path)`.
///
/// With `map`, each chunk is a task, so none of these bounds the whole; the default chunk is then
/// one element.
struct TaskOptions {
    /// Limits the run time of each attempt, from the moment a worker claims the task. On expiry
    /// asks the task to stop (`this_task::stop_requested`). After `grace` kills and replaces the
    /// worker. The future ends with `TaskTimeout`, even if the task returns within `grace`.
    /// *Default:* no limit.
    Timeout timeout = std::nullopt;

    /// Limits the time from `submit` to the end of the task, retries included. A task that no
    /// worker has claimed by then never runs. Also bounds how long `submit` waits for room. Ends
    /// like `timeout`. *Default:* no limit.
    Timeout deadline = std::nullopt;

    /// Time between the request to stop and the kill. `std::nullopt`: never kills. *Default:* 100
    /// ms.
    Timeout grace = std::chrono::milliseconds(100);

    /// Requeues the task up to this many times when its worker dies, or the rank that has it is
    /// lost: parts of it may run more than once. Does not retry after an exception, `Future::kill`
    /// or `request_stop`, a timeout or an exceeded limit. If the last attempt has killed its
    /// worker, too, the future throws `PoisonedTask`, with the last 16 deaths; if its rank was
    /// lost, `RankLost`. `this_task::attempt` returns the number of the attempt. *Default:* 0. A
    /// negative number makes `submit` throw `std::invalid_argument`.
    int max_retries = 0;

    /// Limits what the task may use. *Default:* `PoolOptions::limits`.
    TaskLimits limits = {};

    /// Selects which queued tasks workers claim first. *Default:* normal.
    Priority priority = Priority::normal;

    /// Captures standard output and error of the task and of the processes that it starts. Nothing
    /// reaches their usual destination. `Future::output()` returns the last 64 KiB, however the
    /// task has ended; so does `last_output()` of the error after a death, a timeout or an exceeded
    /// limit. With `map`, only errors carry it. *Default:* false.
    ///
    /// Takes a descriptor for each worker in the pool's supervisor: workers beyond RLIMIT_NOFILE
    /// capture nothing. Neither does a worker in which an earlier task has closed that descriptor;
    /// output then goes to its usual destination. Under RLIMIT_FSIZE output beyond that size is
    /// lost, and writing too much to any file fails with EFBIG in such a task, without SIGXFSZ.
    bool capture_output = false;

    /// Records the call stack of the place where the task's exception is thrown; `thrown_at`
    /// returns it. Costs some microseconds, only if an exception leaves the task. `get` then throws
    /// an object of a class derived from the exception's, unless that is final. For an exception
    /// that the task catches and throws again, records the place of the last throw. Needs x86-64 or
    /// AArch64; records nothing elsewhere. *Default:* false.
    bool capture_stack = false;
};

} // namespace prong
