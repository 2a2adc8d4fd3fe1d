#pragma once

#include "base/deadline.hpp"
#include "executor/parent/fork_base.hpp"
#include "executor/parent/known_types.hpp"
#include "executor/parent/records.hpp"
#include "executor/shared/shared_state.hpp"
#include "os/child.hpp"
#include "os/fork_safe_mutex.hpp"

#include <prong/detail/task_handle.hpp>
#include <prong/pool_stats.hpp>

#include <atomic>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace prong::executor {

/// The parent's side of a pool: what executor, drafts and futures stand on. It lives until the
/// executor and the last future are gone.
///
/// Thread safety: any thread. There is none of its own: what has to be noticed (the supervisor's
/// death, tasks that nobody fetches) is noticed by whoever submits or waits.
class PoolCore {
public:
    struct Setup {
        unsigned workers;
        std::uint64_t max_pending;
        SharedState::Sizes sizes;
        SupervisorOptions supervisor = {};
        TaskLimits limits = {}; ///< of tasks that have none of their own
    };
    /// Makes the shared memory, but no process yet. Throws `std::system_error`.
    static PoolCore* create(Setup setup);

    /// Starts the supervisor, which forks the workers. Without it a test may run `run_tasks` in
    /// threads. Throws what `ForkBase::start_supervisor` throws; the core is to be left then, too.
    void start();

    /// The executor's end: `shutdown(true)` has been called. Deletes the core unless futures are
    /// left.
    void leave() noexcept;

    /// Keeps the core alive until `let_go`.
    void hold() noexcept { records_.hold(); }
    void let_go() noexcept;

    void shutdown(bool wait, bool cancel_queued);
    void end_workers(proc::StopMode mode);
    ShutdownReport shutdown_for(detail::TimePoint limit);

    [[nodiscard]] PoolStats stats();

    [[nodiscard]] unsigned workers() const { return state_.workers(); }
    [[nodiscard]] SharedState& state() { return state_; }
    [[nodiscard]] RecordStore::Counts record_counts() const { return records_.counts(); }

    /// Whether this process is not the one that made the pool.
    [[nodiscard]] bool is_copy() const noexcept;
    /// Throws `std::logic_error` if it is not.
    void require_own_process() const;

    // For drafts.

    [[nodiscard]] const ForkBase& fork_base() const { return fork_base_; }

    std::uint32_t acquire_record();
    /// Queues a task that has been written to a record; empty if there is no room until `limit`.
    /// One whose deadline passes before that has expired, in no queue. `options`: null for none.
    struct Written {
        std::uint32_t index;
        const detail::TaskType& type;
        std::uint64_t arguments;
        std::uint64_t length;
    };
    std::optional<detail::TaskHandle> submit(const Written& task, const TaskOptions* options,
                                             detail::TimePoint limit);
    void release(const RecordRef& ref) noexcept;

    // For task handles.

    /// While it is locked no core is deleted, so a thread may use that of a task which another
    /// thread is taking.
    static constinit os::ForkSafeMutex existence;

    void abandon(const RecordRef& ref) noexcept;
    /// Ends a task that waits in the queue if its deadline has passed.
    ring::Status status(const detail::TaskKey& task) noexcept;
    ring::Status watch(std::uint32_t index, std::uint8_t flag) const noexcept {
        return ring::watch(state_.records[index], flag);
    }
    bool cancel(const detail::TaskKey& task) noexcept;
    bool request_stop(const detail::TaskKey& task) noexcept;
    bool kill(const detail::TaskKey& task);
    bool wait(const detail::TaskKey& task, detail::TimePoint limit);

    /// Changes when a task that somebody watches with others has ended.
    [[nodiscard]] std::uint32_t completions() const noexcept {
        return state_.control().completions.load();
    }
    /// Sleeps until `completions` of one of the pools is not what was seen, at most until `limit`,
    /// or wakes earlier for another look.
    static void sleep_until_completion(std::span<PoolCore* const> pools,
                                       std::span<const std::uint32_t> seen,
                                       detail::TimePoint limit);
    /// How many tasks have left the queue without a worker. Changes before `completions` does.
    [[nodiscard]] std::uint64_t departures() const noexcept {
        return cancelled_.load() + expired_.load();
    }

    /// Ends what waits in the queue beyond its deadline. Whether there was any.
    bool expire_late() noexcept;
    /// Whether the queue may hold tasks that have ended there.
    [[nodiscard]] bool may_queue_ended() noexcept;

    /// Whether nobody is left to run anything. Now and then, looks for the supervisor's death, and
    /// whether shared memory still makes sense.
    bool has_ended();
    /// Whether that is known already: only looks at what was seen before.
    [[nodiscard]] bool is_known_to_have_ended() const noexcept;
    /// Whether nobody is left to run this task, which is not final: `has_ended`, or a worker has
    /// written over what the others need to know of it, which breaks the pool.
    bool is_lost(const detail::TaskKey& task);
    /// Ends a task that nobody is left to end; returns its status then.
    ring::Status mark_lost(const detail::TaskKey& task) noexcept;
    /// Wakes sleeping workers if there is work: one may have been stopped after it was chosen.
    void rewake_workers() noexcept;
    [[nodiscard]] std::string broken_cause();

private:
    explicit PoolCore(Setup setup);
    ~PoolCore();

    /// Writes them down and wakes the workers; the supervisor is to be told.
    void request_stop(proc::StopMode mode) noexcept;
    /// False if there is none until `limit`, or until the task's own `deadline`.
    bool wait_for_position(ring::Lane lane, base::Deadline limit, base::Deadline deadline,
                           ring::Position& position);
    void wait_for_room(ring::Ring& ring, std::chrono::nanoseconds most);
    template <typename Visit>
    void visit_queued(Visit visit);
    void leave_queue(const detail::TaskKey& task, ring::Step step,
                     std::atomic<std::uint64_t>& count) noexcept;
    [[nodiscard]] bool is_inconsistent(const detail::TaskKey& task) const noexcept;
    void audit_shared_memory() noexcept;
    void abort() noexcept;
    bool wait_for_supervisor(base::Deadline limit);
    bool kill_supervisor() noexcept;
    std::uint8_t write_options(std::uint32_t index, const TaskOptions* options);
    void notify_supervisor();
    void continue_supervisor_if_stopped() noexcept;
    void try_notify_supervisor() noexcept;
    void notify_supervisor_if_due(std::uint32_t index) noexcept;
    /// What a worker is at.
    struct RunningTask {
        int pid;
        std::uint32_t index; ///< of the record
        ring::Status status;
        std::string name;
    };
    [[nodiscard]] std::optional<RunningTask> running_task(unsigned worker) const;
    [[nodiscard]] std::vector<RunningTask> running_tasks() const;
    [[nodiscard]] WorkerStats stats_of(unsigned worker, std::int64_t now_ns);
    std::uint64_t cancel_queued() noexcept;
    void require_usable();
    void reap_supervisor();

    SharedState state_;
    RecordStore records_;
    ForkBase fork_base_;
    SupervisorOptions supervisor_options_;
    std::optional<TaskOptions> default_options_;
    KnownTypes known_types_;
    std::uint64_t max_pending_;
    unsigned fork_depth_;

    std::atomic<std::uint64_t> cancelled_ = 0;
    std::atomic<std::uint64_t> expired_ = 0;  ///< before a worker had them
    std::atomic<std::uint64_t> unqueued_ = 0; ///< of these, without ever having been queued
    /// No task that is queued has a deadline before this.
    std::atomic<std::int64_t> next_deadline_ns_ = no_alarm;
    std::atomic<proc::StopMode> stop_mode_ = proc::StopMode::none;
    std::atomic<bool> ended_ = false;     ///< the supervisor is gone
    std::atomic<bool> aborted_ = false;   ///< it is to go, since nothing can be relied on any more
    std::atomic<bool> corrupted_ = false; ///< that is because a worker has spoilt shared memory
    std::atomic<std::int64_t> next_look_ns_ = 0;
    std::mutex supervisor_mutex_; ///< guards the next ones
    os::PidFd supervisor_;        ///< none if workers are threads of a test
    bool shut_down_ = false;

    /// What was seen at the last looks.
    struct AuditState {
        std::uint64_t length = 0;
        std::optional<ring::Position> blocked_at = std::nullopt;
        unsigned times_blocked = 0;
        std::int64_t blocked_since_ns = 0;
    };
    std::mutex audit_mutex_; ///< guards the next one
    AuditState audit_;
};

} // namespace prong::executor
