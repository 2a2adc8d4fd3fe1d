#pragma once

#include "executor/shared/failure_report.hpp"
#include "executor/shared/shared_state.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace prong::executor {

/// An attempt at a task that has failed: its worker has died, or the rank that ran it was lost.
struct AttemptEnd {
    unsigned owner = 0; ///< of the task
    ring::Claim task = {};
    FailureReport report = {}; ///< without earlier attempts
    int capture = -1;          ///< the worker's captured output, if the report does not have it
    /// The task's state afterwards, unless it was sentenced.
    ring::TaskState otherwise = ring::TaskState::died;
    bool may_retry = true;
    /// Requeues the task, and does not count the attempt: nothing has run.
    bool is_unstarted = false;
    /// Leaves the task to the parent, which ends all tasks alike, unless it is tried again.
    bool breaks_pool = false;
    /// Failed attempts before this one. Default: the count in shared memory.
    std::optional<std::uint32_t> earlier_attempts = std::nullopt;
};

/// What has become of the task.
struct AttemptStep {
    bool is_requeued = false;
    bool breaks_pool = false; ///< the task is left to the parent
    /// Whether the waiters know: else the supervisor has to be notified, as for
    /// `SharedState::announce`.
    bool is_announced = true;
};

/// Requeues the task, or fails it unless the pool breaks. Frees the payload of its result. Called
/// by the supervisor for a dead owner, or by the owner itself.
AttemptStep end_failed_task(SharedState& state, AttemptEnd attempt) noexcept;

/// Returns why a pool that was made with `OnWorkerDeath::break_pool` breaks.
std::string cause_of_break(const Death& death);

/// Requeues a claimed task that has not started. Returns false if it was asked to stop or condemned
/// meanwhile.
bool requeue_unstarted(SharedState& state, const ring::Claim& task, unsigned owner) noexcept;

} // namespace prong::executor
