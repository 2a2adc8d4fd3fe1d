#pragma once

#include "ring/record.hpp"

#include <optional>
#include <span>

/// The steps of a task's life: each is one compare-and-swap of its record's state word, so of
/// several that compete exactly one wins. Unless said otherwise they return the status after the
/// step, whoever has made it, which tells the losers the truth.
///
/// Thread safety: any thread of any process.
namespace prong::ring {

/// What a worker is about to do, in shared memory, so that the supervisor finds it after the
/// worker's death without a search. Written by the worker before it acts, read by the supervisor
/// when the worker has been reaped.
struct alignas(64) WorkerIntent {
    /// The record that the worker tries to claim or has claimed: index + 1.
    std::atomic<std::uint64_t> record;
    /// The payload block that it tries to take or holds for this task's result: an offset. While
    /// a result moves to a larger block, also the one that it comes from.
    std::atomic<std::uint64_t> block;
    std::atomic<std::uint64_t> outgrown_block;
    /// Written by the supervisor when this worker is dead: the task that it left and that shall be
    /// tried again, before any other: generation, index + 1. Cleared by who has claimed it.
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

/// What a step has come to.
struct Step {
    Status after; ///< whoever has made it
    bool made;    ///< whether this call has
};

/// Queued to cancelled.
Step cancel(Record& record, std::uint32_t generation) noexcept;

/// Queued to cancelled; running: sets `stop_requested`.
Step request_stop(Record& record, std::uint32_t generation) noexcept;

/// Queued to expired: its deadline has passed.
Step expire(Record& record, std::uint32_t generation) noexcept;

/// Says in the flags that nobody will ask for the task's end; final: too late to say so.
Status abandon(Record& record, std::uint32_t generation) noexcept;

/// Says in the flags that somebody is going to sleep until the task's end; final: no need to.
Status watch(Record& record, std::uint8_t flag) noexcept;

/// Anything that is not final to lost, when nobody is left to end it.
Status give_up(Record& record, std::uint32_t generation) noexcept;

// The worker.

/// Queued to running with this owner; empty if it is not that task, or no longer queued.
std::optional<Claim> claim(std::span<Record> records, std::uint32_t index, std::uint32_t generation,
                           std::uint16_t owner, WorkerIntent& intent) noexcept;

/// The task that some dead worker has `left` to be tried again, if it still is to be. A worker
/// claims what its own predecessor has left before it claims from a queue.
std::optional<Claim> claim_retry(std::span<Record> records, std::uint16_t owner,
                                 WorkerIntent& intent, WorkerIntent& left) noexcept;

/// Running to `end`, unless the task is condemned. If the status is still `running` after this, the
/// flags tell how to end it: one that is overdue ends in `timed_out` and no other state, one that
/// is abandoned only if the end `holds_payload` no more.
Status finish(const Claim& claim, TaskState end, bool holds_payload = false) noexcept;

/// The record of that task, or null if there is none.
Record* retried(std::span<Record> records, const WorkerIntent& intent) noexcept;

// Who ends a task before its time.

/// Sets `overdue` and `stop_requested` if the status is still what was `seen`: a running task.
Status mark_overdue(Record& record, Status seen) noexcept;

/// What a condemned task becomes when its worker is dead.
enum class Verdict : std::uint8_t { none, timeout, kill, limit };

/// Running to condemned if it is still the task that was `seen`. Its worker cannot finish it any
/// more, nor take another one: it may be killed without harm to any other task.
Status condemn(Record& record, Status seen, Verdict verdict) noexcept;
[[nodiscard]] Verdict verdict_of(Status status) noexcept;

// The supervisor, for a worker that has been reaped.

/// The task that the dead worker had claimed and not finished.
std::optional<Claim> unfinished(std::span<Record> records, std::uint16_t dead_owner,
                                const WorkerIntent& intent) noexcept;

/// Running or condemned to the state that fits the case: `timed_out`, `killed`, `over_limit` or
/// else `end`. Leaves an abandoned task as it is if its end `holds_payload`.
Status fail_dead(const Claim& claim, TaskState end, bool holds_payload = false) noexcept;

/// Running to queued again, with the same generation, for the next worker with this note; not if it
/// has been condemned or asked to stop meanwhile.
Status requeue(const Claim& claim, WorkerIntent& intent) noexcept;

} // namespace prong::ring
