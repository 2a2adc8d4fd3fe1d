#pragma once

#include "executor/parent/completion_signal.hpp"
#include "executor/parent/fork_base.hpp"
#include "executor/parent/known_types.hpp"
#include "executor/parent/memory_audit.hpp"
#include "executor/parent/records.hpp"
#include "executor/parent/supervisor_link.hpp"
#include "executor/shared/shared_state.hpp"
#include "os/fork_depth.hpp"
#include "os/fork_safe_mutex.hpp"
#include "ring/spinner.hpp"

#include <prong/detail/completion_port.hpp>
#include <prong/detail/deadline.hpp>
#include <prong/detail/pool_reference.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/stats.hpp>

#include <atomic>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace prong::executor {

/// The parent's side of a pool, on which executor, task writers and futures are built. It lives
/// until the executor and the last future are destroyed.
///
/// Thread safety: any thread. The core starts no thread: threads that submit or wait detect
/// that the supervisor has died, and end tasks that no process is left to end.
class PoolCore {
public:
    struct Setup {
        unsigned workers;
        std::uint64_t max_pending;
        SharedState::Sizes sizes;
        SupervisorOptions supervisor = {};
        TaskLimits limits = {}; ///< for tasks that have no limits in their options
    };
    /// Creates the shared memory, but no process yet. Throws `std::system_error`.
    static PoolCore* create(Setup setup);

    /// Starts the supervisor, which forks the workers. Without this call a test may run `run_tasks`
    /// in threads. Throws what `ForkBase::start_supervisor` throws; call `close` then, too.
    void start();

    /// Ends the executor's use, after `shutdown(true)`. Deletes the core unless futures are left.
    void close() noexcept;

    /// Keeps the core alive until `unref`.
    void ref() noexcept { records_.ref(); }
    void unref() noexcept;

    void shutdown(bool wait, bool cancel_queued);
    void end_workers(proc::StopMode mode);
    bool join_until(detail::Deadline limit);
    ShutdownReport shutdown_for(detail::Deadline limit);
    /// Returns a descriptor that becomes readable when the supervisor has ended; -1 if it was
    /// reaped. Throws `std::system_error`.
    [[nodiscard]] int supervisor_fd() const { return link_.fd(); }

    [[nodiscard]] PoolStats stats();
    /// Returns the state of a worker on this host that runs a task or not, without the task's name.
    [[nodiscard]] WorkerStats stats_of(unsigned worker, std::int64_t now_ns, bool has_task);

    /// Returns the number of workers on this machine.
    [[nodiscard]] unsigned workers() const { return state_.workers(); }
    /// Returns how many workers are known, those of other hosts included; at least 1.
    [[nodiscard]] unsigned known_workers() const noexcept;
    [[nodiscard]] SharedState& state() { return state_; }
    [[nodiscard]] ParcelLedger& parcels() { return records_.parcels(); }
    [[nodiscard]] RecordStore::Counts record_counts() const { return records_.counts(); }

    /// Returns whether this process is not the one that created the pool.
    [[nodiscard]] bool is_copy() const noexcept { return fork_depth_ != os::fork_depth(); }
    /// Throws `std::logic_error` if `is_copy()`.
    void require_own_process() const {
        if (is_copy()) [[unlikely]]
            refuse_copy();
    }

    // For task writers.

    /// Returns whether tasks may run in processes that are not of this fork family.
    [[nodiscard]] bool may_leave_family() const noexcept { return may_leave_family_; }

    [[nodiscard]] const ForkBase& fork_base() const { return fork_base_; }

    std::uint32_t acquire_record() {
        require_own_process();
        require_usable();
        const auto index = records_.acquire();
        if (!index) [[unlikely]]
            throw_no_record();
        state_.records[*index].status.store(ring::Status{}.pack(), std::memory_order_relaxed);
        return *index;
    }
    struct Written {
        std::uint32_t index;
        const detail::TaskType& type;
        std::uint64_t block;                ///< of the arguments, or 0: they are in the record
        std::uint64_t end;                  ///< of the arguments
        std::uint32_t earlier_attempts = 0; ///< at a task with options, elsewhere
    };
    /// Queues a task that has been written to a record, and makes `handle` refer to it. Returns
    /// false if there is no room until `limit`. A task whose deadline passes before that is
    /// expired, in no queue. `options` may be null.
    bool submit(const Written& task, const TaskOptions* options, detail::Deadline limit,
                detail::TaskHandle& handle);
    void release(const RecordRef& ref) noexcept {
        if (records_.release(ref)) delete this;
    }

    // The steps of `submit`, for a batch.

    /// Completes the record of a task that has been written. Returns the flags for its status.
    std::uint8_t complete(const Written& task, const TaskOptions* options);
    /// Returns the lane of tasks with these options, to which workers will look from now on.
    ring::Lane use_lane(const TaskOptions* options) noexcept {
        return options == nullptr ? ring::Lane::normal : use_lane(options->priority);
    }
    /// Queues a task whose record is complete, but wakes no worker. Returns false if there is no
    /// room until `limit` or the task's own deadline.
    bool enqueue(std::uint32_t index, std::uint8_t flags, ring::Lane lane, detail::Deadline limit,
                 ring::Position& position);
    /// Wakes a worker for what was queued, unless one is searching.
    void wake_worker() noexcept {
        if (state_.notifier.work_arrived()) note_wake();
    }
    /// Ends a task whose record is complete, in no queue. Returns a position for its handle.
    ring::Position end_unqueued(std::uint32_t index, std::uint8_t flags, ring::Lane lane,
                                ring::TaskState end) noexcept;
    /// Makes `handle`, which has no task, refer to one.
    void set_handle(detail::TaskHandle& handle, const detail::TaskType& type, std::uint64_t block,
                    std::uint32_t index, bool is_queued, ring::Lane lane,
                    ring::Position position) noexcept {
        const auto number = is_queued ? static_cast<std::uint8_t>(lane) : detail::TaskKey::no_lane;
        handle.core_.store(this, std::memory_order_relaxed);
        handle.type_ = &type;
        handle.arguments_ = block;
        handle.index_and_lane_ = 4 * index + number;
        handle.generation_ = ring::generation_of(position, number);
    }

    // For task handles. Functions that only look are const; functions that act have a verb for a
    // name.

    /// While it is locked no core is deleted, so a thread may use the core of a task that another
    /// thread is taking.
    static constinit os::ForkSafeMutex existence;

    void abandon(const RecordRef& ref) noexcept;

    /// Returns the task's status without changing anything: `lost` if the record holds another task
    /// or a worker has overwritten it, `expired` if the task's deadline has passed in the queue.
    [[nodiscard]] ring::Status look(const detail::TaskKey& task) const noexcept;

    /// Returns the task's status, and makes a task `expired` whose deadline has passed in the
    /// queue. Aborts the pool if a worker has overwritten the record.
    ring::Status update(const detail::TaskKey& task) noexcept;
    /// Does the same, and makes a task `lost` that no process is left to end. May reap the
    /// supervisor and abort the pool: prong starts no thread, so threads that wait must do this.
    ring::Status resolve(const detail::TaskKey& task);

    ring::Status watch(std::uint32_t index, std::uint8_t flag) const noexcept {
        return ring::watch(state_.records[index], flag);
    }
    bool cancel(const detail::TaskKey& task) noexcept;
    bool request_stop(const detail::TaskKey& task) noexcept;
    bool kill(const detail::TaskKey& task);
    bool wait(const detail::TaskKey& task, detail::Deadline limit);
    /// Blocks until the task has ended. Returns the status that `look` returns then.
    ring::Status wait(const detail::TaskKey& task) {
        const ring::Status now = ring::status_of(state_.records[task.index]);
        if (now.generation == task.generation && is_final(now.state)) return now;
        wait(task, detail::Deadline::never());
        return look(task);
    }

    /// Spins for a moment. Returns false if the calling thread should sleep now.
    bool spin(ring::Spinner& spinner) const noexcept {
        return spinner.spin([this] { return state_.notifier.searching(); });
    }

    /// Returns a word that changes when a task ends that is watched together with others.
    [[nodiscard]] std::uint32_t completions() const noexcept {
        return state_.control().completions.load();
    }
    /// Blocks until `completions` of one of the pools is no longer the value in `seen`, at most
    /// until `limit`. May return earlier, so that the caller checks again.
    static void sleep_until_completion(std::span<PoolCore* const> pools,
                                       std::span<const std::uint32_t> seen, bool may_spin,
                                       detail::Deadline limit);
    /// Returns how many tasks have left the queue without a worker. Changes before `completions`
    /// does.
    [[nodiscard]] std::uint64_t departures() const noexcept {
        return cancelled_.load() + expired_.load();
    }

    [[nodiscard]] detail::CompletionPort& port() noexcept { return port_; }
    /// Returns what `completion_fd()` does. Throws `std::system_error`.
    int open_completion_fd() { return signal_.open(records_); }
    /// Notifies the supervisor if the task must stop before the supervisor's next alarm.
    void notify_if_due(const detail::TaskKey& task) noexcept {
        const bool has_options =
            ring::status_of(state_.records[task.index]).has(ring::Status::has_options);
        if (has_options) link_.notify_if_due(task.index);
    }

    /// Returns whether the deadline of a queued task has passed.
    [[nodiscard]] bool has_late() const noexcept;
    /// Expires the queued tasks whose deadline has passed. Returns whether there was any.
    bool expire_late() noexcept;
    /// Returns whether the queue may hold tasks that have ended there.
    [[nodiscard]] bool may_queue_ended() noexcept;

    /// Returns whether it is known that no process is left to run a task.
    [[nodiscard]] bool has_ended() const noexcept {
        return link_.has_ended() || aborted_.load(std::memory_order_acquire);
    }
    /// Checks the supervisor and shared memory, at most every 10 ms: reaps a supervisor that has
    /// ended, continues one that is stopped, and aborts the pool if shared memory is corrupt.
    /// Returns `has_ended()`.
    bool poll_health();
    /// Lets `has_ended` say what the program may have learned from `completion_fd`.
    void poll_signal();
    /// Wakes sleeping workers if tasks are queued: an earlier wake may have reached a worker that
    /// was then stopped.
    void rewake_workers() noexcept;
    [[nodiscard]] std::string broken_cause();

private:
    explicit PoolCore(Setup setup);
    ~PoolCore();

    /// Blocks until there is a position. Returns false at `limit` or at the task's own `deadline`.
    bool wait_for_position(ring::Lane lane, detail::Deadline limit, detail::Deadline deadline,
                           ring::Position& position);
    void note_deadline(std::int64_t deadline_ns) noexcept;
    template <typename Visit>
    void visit_queued(Visit visit);
    void leave_queue(const detail::TaskKey& task, ring::Step step,
                     std::atomic<std::uint64_t>& count) noexcept;
    [[nodiscard]] bool is_late(const ring::Status& status, std::uint32_t index) const noexcept;
    void audit_shared_memory() noexcept;
    void abort_corrupted() noexcept;
    void abort() noexcept;
    ring::Status mark_lost(const detail::TaskKey& task) noexcept;
    bool notify_relay_of(const ring::Status& status) noexcept;
    bool wait_for_supervisor(detail::Deadline limit);
    std::uint8_t write_options(const Written& task, const TaskOptions* options);
    ring::Lane use_lane(Priority priority) noexcept;
    static void note_wake() noexcept;
    /// The task that a worker runs.
    struct RunningTask {
        int pid;
        std::uint32_t index; ///< of the record
        ring::Status status;
        std::string name;
    };
    [[nodiscard]] std::optional<RunningTask> running_task(unsigned owner) const;
    [[nodiscard]] std::span<const RemoteWorker> remote_workers() const noexcept;
    void add_relay_stats(PoolStats& stats, std::int64_t now_ns);
    [[nodiscard]] std::vector<RunningTask> running_tasks() const;
    std::uint64_t cancel_queued() noexcept;
    [[nodiscard]] bool is_broken() const noexcept {
        return state_.control().broken.load(std::memory_order_acquire) || has_ended();
    }
    void require_usable() {
        if (is_broken()) [[unlikely]]
            refuse_broken();
    }
    [[noreturn]] static void refuse_copy();
    void refuse_broken();
    [[noreturn]] void throw_no_record() const;

    SharedState state_;
    RecordStore records_;
    ForkBase fork_base_;
    SupervisorOptions supervisor_options_;
    std::optional<TaskOptions> default_options_;
    KnownTypes known_types_;
    std::uint64_t max_pending_;
    unsigned fork_depth_;
    bool may_leave_family_;

    std::atomic<std::uint64_t> cancelled_ = 0;
    std::atomic<std::uint64_t> expired_ = 0;  ///< tasks, before a worker claimed them
    std::atomic<std::uint64_t> unqueued_ = 0; ///< tasks that have ended in no queue
    /// No queued task has an earlier deadline.
    std::atomic<std::int64_t> next_deadline_ns_ = no_alarm;
    std::atomic<bool> aborted_ = false;   ///< the supervisor was asked to kill all workers and exit
    std::atomic<bool> corrupted_ = false; ///< because a worker has overwritten shared memory
    std::atomic<bool> shut_down_ = false;
    std::atomic<std::int64_t> kill_asked_ns_ = 0; ///< since when a wait has seen `StopMode::kill`
    std::atomic<std::int64_t> next_look_ns_ = 0;  ///< by `poll_health`
    SupervisorLink link_;
    MemoryAudit audit_;
    detail::CompletionPort port_{*this};
    CompletionSignal signal_{state_.loops, link_};
};

inline std::uint8_t PoolCore::complete(const Written& task, const TaskOptions* options) {
    ring::Record& record = state_.records[task.index];
    record.task_type = reinterpret_cast<std::uint64_t>(&task.type);
    record.arguments_end = task.end;
    known_types_.insert(task.type);
    const bool is_plain = options == nullptr && !default_options_;
    return is_plain ? std::uint8_t{0} : write_options(task, options);
}

inline bool PoolCore::submit(const Written& task, const TaskOptions* options,
                             detail::Deadline limit, detail::TaskHandle& handle) {
    const std::uint8_t flags = complete(task, options);
    const ring::Lane lane = use_lane(options);
    ring::Position position = 0;
    const bool is_queued = enqueue(task.index, flags, lane, limit, position);
    if (is_queued) {
        wake_worker();
    } else if (limit.passed()) {
        return false;
    } else { // the task's deadline has passed
        position = end_unqueued(task.index, flags, lane, ring::TaskState::expired);
    }
    set_handle(handle, task.type, task.block, task.index, is_queued, lane, position);
    return true;
}

inline bool PoolCore::enqueue(std::uint32_t index, std::uint8_t flags, ring::Lane lane,
                              detail::Deadline limit, ring::Position& position) {
    const bool has_options = (flags & ring::Status::has_options) != 0;
    const std::int64_t own_deadline_ns = has_options ? state_.settings(index).deadline_ns : 0;
    const bool has_position =
        state_.lanes.reserve(lane, max_pending_, position) == ring::Ring::ReserveResult::ok ||
        wait_for_position(
            lane, limit, detail::Deadline::at_ns(own_deadline_ns != 0 ? own_deadline_ns : no_alarm),
            position);
    if (!has_position) return false;
    state_.lanes[lane].publish(position, index, flags);
    if (position % 1024 == 0) state_.retire_entries();
    // Only now: a thread that checks all queued tasks either finds this task or sees the new
    // deadline.
    if (own_deadline_ns != 0) note_deadline(own_deadline_ns);
    return true;
}

} // namespace prong::executor
