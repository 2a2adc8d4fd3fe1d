#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace prong {

/// What a worker is at.
enum class WorkerState : unsigned char {
    absent,   ///< no process: not forked yet, or being replaced
    starting, ///< runs the initializer
    idle,     ///< waits for a task
    running,  ///< runs one
    stopped,  ///< by SIGSTOP
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(WorkerState state);

/// One worker, as it was seen.
struct WorkerStats {
    /// The worker's number, as `this_worker::index`.
    int index;
    int pid; ///< 0 if absent
    /// What the worker is doing.
    WorkerState state;
    std::string task;               ///< what it runs, such as `parse(std::string)`; else empty
    std::chrono::nanoseconds since; ///< how long it has been idle or run this task; coarse
    std::uint64_t finished;         ///< tasks that its number has finished, in all of its processes
    std::uint64_t deaths;           ///< how many of its processes died in place of leaving
};

/// A pool's counts since it was made, and its workers. Read while the pool runs, one figure after
/// the other: they may not fit together to the last task. `finished` and `failed` overlap: a task
/// that threw is in both.
struct PoolStats {
    std::uint64_t queued;    ///< tasks that wait for a worker; not cancelled or expired ones
    std::uint64_t running;   ///< tasks that a worker has claimed
    std::uint64_t submitted; ///< `map` counts by chunk
    std::uint64_t finished;  ///< tasks that ended while their worker survived, also by throwing
    std::uint64_t failed;    ///< tasks that threw, died, expired, timed out, or were killed
    std::uint64_t cancelled; ///< tasks cancelled before a worker had claimed them
    std::uint64_t retried;   ///< attempts after the first
    std::uint64_t killed;    ///< of the failed: ended with their worker, by `kill`, time or a limit
    /// One for each worker, by index.
    std::vector<WorkerStats> workers;
};

/// Tasks that `shutdown_for` did not wait for.
struct ShutdownReport {
    /// A worker that was killed while it ran a task.
    struct Killed {
        int pid;          ///< the worker's
        std::string task; ///< what it was running
    };
    std::vector<Killed> killed;  ///< their futures get `WorkerDied`
    std::uint64_t cancelled = 0; ///< queued until then; their futures get `CancelledError`

    /// Whether everything was finished in time.
    explicit operator bool() const { return killed.empty() && cancelled == 0; }
};

} // namespace prong
