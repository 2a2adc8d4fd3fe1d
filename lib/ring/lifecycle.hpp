#pragma once

#include "ring/record.hpp"

#include <optional>
#include <span>

/// The steps of a task's state. Each is one compare-and-swap of the record's state word, so of
/// several that compete exactly one wins. Unless said otherwise a step returns the status after it,
/// also when another process has made the step, so that the caller learns why it lost.
///
/// Thread safety: any thread of any process.
namespace prong::ring {

/// The record and blocks that a worker is about to take. The supervisor finds them here after the
/// worker's death, without a search. The worker writes a word before it acts; the supervisor reads
/// it after reaping the worker.
struct alignas(64) WorkerIntent {
    /// The record that the worker is claiming or has claimed: index + 1.
    std::atomic<std::uint64_t> record;
    /// The payload block that the worker is taking or owns for this task's result: an offset. While
    /// a result moves to a larger block, `outgrown_block` is the block that it leaves.
    std::atomic<std::uint64_t> block;
    std::atomic<std::uint64_t> outgrown_block;
    /// The task that this dead worker left and that is to be tried again: generation, index + 1.
    /// Written by the supervisor; cleared by the worker that has claimed the task.
    std::atomic<std::uint64_t> retry;
};

/// A task that a worker has claimed.
struct Claim {
    Record* record;
    std::uint32_t index;
    Status status;
};

[[nodiscard]] inline Status status_of(const Record& record) noexcept {
    return Status::unpack(record.status.load(std::memory_order_acquire));
}

// The parent.

/// The outcome of a step.
struct Step {
    Status after; ///< the status, also if another process made the step
    bool made;    ///< whether this call made the step
};

/// Moves a queued task to cancelled.
Step cancel(Record& record, std::uint32_t generation) noexcept;

/// Moves a queued task to cancelled; sets `stop_requested` of a running one.
Step request_stop(Record& record, std::uint32_t generation) noexcept;

/// Moves a queued task whose deadline has passed to expired.
Step expire(Record& record, std::uint32_t generation) noexcept;

/// Marks the task as abandoned: its future was dropped. Does nothing if the task is final.
Status abandon(Record& record, std::uint32_t generation) noexcept;

/// Marks the task as watched: a thread is about to sleep until it ends. Does nothing if the task is
/// final.
Status watch(Record& record, std::uint8_t flag) noexcept;

/// Moves a task that is not final to lost, when no process is left to end it.
Status mark_lost(Record& record, std::uint32_t generation) noexcept;

// The worker.

/// Moves a queued task to running with this owner, and sets `claimed`. Returns false if the record
/// holds another task by now, or the task is no longer queued.
bool claim(std::span<Record> records, std::uint32_t index, std::uint32_t generation,
           std::uint16_t owner, WorkerIntent& intent, Claim& claimed) noexcept;

/// Claims the task that a dead worker `left` to be tried again. A worker looks into its own intent
/// first, then into the others, then into the queues.
std::optional<Claim> claim_retry(std::span<Record> records, std::uint16_t owner,
                                 WorkerIntent& intent, WorkerIntent& left) noexcept;

/// Moves a running task to `end`, unless it is condemned. If the status is still `running` after
/// this, its flags say why: an overdue task ends in `timed_out` only, an abandoned one only if the
/// end no longer `holds_payload`.
Status finish(const Claim& claim, TaskState end, bool holds_payload = false) noexcept;

/// Returns the record of the task that a dead worker left to be tried again, or null.
Record* retried(std::span<Record> records, const WorkerIntent& intent) noexcept;

// Stopping and killing.

/// Sets `overdue` and `stop_requested` of a running task if its status is still the one that was
/// `seen`.
Status mark_overdue(Record& record, Status seen) noexcept;

/// Why a task was condemned: decides the state that it ends in.
enum class Verdict : std::uint8_t { none, timeout, kill, limit };

/// Moves a running task to condemned if its status is still the one that was `seen`. The worker can
/// no longer finish it nor take another task, so killing the worker harms no other task.
Status condemn(Record& record, Status seen, Verdict verdict) noexcept;
[[nodiscard]] Verdict verdict_of(Status status) noexcept;

// The supervisor, for a worker that has been reaped.

/// Returns the task that the dead worker had claimed and not finished.
std::optional<Claim> unfinished(std::span<Record> records, std::uint16_t dead_owner,
                                const WorkerIntent& intent) noexcept;

/// Moves a running or condemned task to `timed_out`, `killed`, `over_limit` or else `end`, as its
/// flags say. Leaves an abandoned task as it is if its end `holds_payload`.
Status fail_dead(const Claim& claim, TaskState end, bool holds_payload = false) noexcept;

/// Moves a running task to queued again, with the same generation, and leaves it in this intent.
/// Does nothing if the task was condemned or a stop was requested meanwhile. Also called by the
/// relay, for its own tasks.
Status requeue(const Claim& claim, WorkerIntent& intent) noexcept;

} // namespace prong::ring
