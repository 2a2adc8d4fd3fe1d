#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace prong {

/// State of a worker.
enum class WorkerState : unsigned char {
    absent,   ///< no process: not forked yet, or being replaced
    starting, ///< runs the initializer
    idle,     ///< waits for a task
    running,  ///< runs a task
    stopped,  ///< stopped by SIGSTOP
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(WorkerState state);

/// State and counts of one worker.
struct WorkerStats {
    /// The worker's number among those of its host; what `this_worker::index` returns there.
    int index;
    int pid; ///< 0 if absent
    /// What the worker is doing.
    WorkerState state;
    std::string task; ///< the task that it runs, such as `parse(std::string)`; else empty
    std::chrono::nanoseconds since; ///< time that it has been idle or has run this task; coarse
    std::uint64_t finished;         ///< tasks finished by all processes of this index
    std::uint64_t deaths;           ///< processes that died instead of exiting normally
    std::string host = {};          ///< empty: this program's
};

/// Counts of a pool since its creation, and its workers. Counters are read one after the other and
/// may differ by tasks that end meanwhile. `finished` and `failed` overlap: a task that threw is in
/// both.
struct PoolStats {
    std::uint64_t queued;    ///< tasks that wait for a worker, without cancelled and expired ones
    std::uint64_t running;   ///< tasks that a worker has claimed
    std::uint64_t submitted; ///< tasks submitted; a chunk of `map` is one task
    std::uint64_t finished;  ///< tasks that ended while their worker survived, also by throwing
    std::uint64_t failed;    ///< tasks that threw, crashed, expired, exceeded limits or were killed
    std::uint64_t cancelled; ///< number of tasks cancelled before a worker claimed them
    std::uint64_t retried;   ///< attempts after the first
    std::uint64_t killed;    ///< failed tasks whose worker was killed: `kill`, timeout, limit
    /// One for each worker, by index; then those of other hosts, as they have last reported.
    std::vector<WorkerStats> workers;
};

/// Tasks that `shutdown_for` killed or cancelled.
struct ShutdownReport {
    /// A worker that was killed while it ran a task.
    struct Killed {
        int pid;          ///< the worker's process id; 0: the task ran on another host
        std::string task; ///< the task that it was running
    };
    std::vector<Killed> killed;  ///< their futures throw `WorkerDied`
    std::uint64_t cancelled = 0; ///< queued tasks; their futures throw `CancelledError`

    /// Returns whether nothing was killed or cancelled.
    explicit operator bool() const { return killed.empty() && cancelled == 0; }
};

} // namespace prong
