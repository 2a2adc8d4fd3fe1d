#pragma once

#include "executor/relay/relay_port.hpp"

#include <prong/detail/export.hpp>
#include <prong/detail/task_type.hpp>
#include <prong/pool_options.hpp>
#include <prong/stats.hpp>
#include <prong/task_options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace prong::executor {

/// Runs tasks that come from another host in a pool of this process: the counterpart of
/// `RelayPort`. The caller gives each task a number that no other task has at that time. Calls do
/// not block.
///
/// Thread safety: one thread.
class PRONG_API ServedTasks {
public:
    /// Creates the pool. Throws like the constructor of `ProcessPoolExecutor`.
    explicit ServedTasks(PoolOptions options);
    ServedTasks(const ServedTasks&) = delete;
    ServedTasks& operator=(const ServedTasks&) = delete;
    /// Kills the workers that run tasks.
    ~ServedTasks();

    /// Returns shared memory for the arguments of a task, which `submit` then finds in place. Also
    /// for arguments that arrive in pieces. Returns an empty span if there is no room: the task
    /// then ends with `LimitExceeded`, and `submit` is not called.
    std::span<std::byte> reserve(std::uint64_t number, std::size_t size);

    /// Queues a task. If it cannot be queued, it ends with what `ProcessPoolExecutor::submit`
    /// throws; in a broken pool no task ends. `options`: as of `RelayTask`; `attempt`: from 1.
    void submit(std::uint64_t number, const detail::TaskType& type,
                std::span<const std::byte> arguments, const std::optional<TaskOptions>& options,
                unsigned attempt = 1);

    /// Ends a task that cannot be queued with the exception that is being handled, such as one of a
    /// function that this program does not have.
    void fail(std::uint64_t number);

    struct Ended {
        std::uint64_t number;
        TaskEnd end; ///< the bytes are good until `release`
    };
    /// Returns the tasks that have ended since the last call; good until the next one.
    std::span<const Ended> take_ended();

    /// Frees a task: one that has ended, one for which memory was reserved, or one whose end is not
    /// wanted any more. The number of the last may be used again only by another `ServedTasks`.
    void release(std::uint64_t number);

    /// Does nothing if the task has ended.
    void request_stop(std::uint64_t number);
    void kill(std::uint64_t number);
    /// Cancels all tasks that no worker has started: they end with `ring::TaskState::cancelled`.
    void cancel_waiting();

    /// Ends the workers in order, which runs `on_worker_exit`. Blocks until that is done; kills
    /// what still runs after `most`.
    void shutdown(std::chrono::nanoseconds most);
    /// Ends the workers by SIGTERM, as `ProcessPoolExecutor::terminate_workers` does. Blocks until
    /// they have ended; kills what still runs after `most`.
    void terminate(std::chrono::nanoseconds most);

    /// Returns how many tasks there are that have not been released.
    [[nodiscard]] std::size_t held() const noexcept;

    struct Worker {
        WorkerStats stats;      ///< without `task`
        std::uint64_t task = 0; ///< the number of the task that it runs, if `is_running`
        bool is_running = false;
    };
    /// Returns the state of each worker. Without names of functions: to find the first one takes
    /// long, because debugging information is read.
    [[nodiscard]] std::vector<Worker> workers() const;
    /// Returns why the pool can run no more tasks; an empty text if it can.
    [[nodiscard]] std::string broken_cause() const;
    /// Returns whether any worker has ever been ready: its initializer has returned.
    [[nodiscard]] bool has_started() const noexcept;

    /// Sleeps, at most for `most`; ends at once when a task has ended.
    void nap(std::chrono::nanoseconds most);

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace prong::executor
