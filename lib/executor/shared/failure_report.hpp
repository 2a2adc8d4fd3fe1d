#pragma once

#include "executor/shared/shared_state.hpp"

#include <prong/detail/wire.hpp>
#include <prong/error.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace prong::executor {

/// A limit that a task exceeded.
struct Excess {
    LimitKind kind;
    std::uint64_t allowed;
    std::uint64_t used;
};

/// The loss of a rank of the pool's job, with the host that it ran on.
struct LostRank {
    std::int32_t rank;
    std::string cause;
};

/// How a task ended that has neither returned nor thrown. Written in place of a result, usually by
/// the supervisor after the worker's death; read by the parent.
struct FailureReport {
    Death death = {}; ///< pid 0: the worker lives; the task ended after a stop request
    std::optional<Excess> excess = std::nullopt;
    std::vector<FailedAttempt> earlier = {}; ///< attempts before this one, at most the last 16
    std::uint32_t attempts = 1;
    bool missed_deadline = false; ///< the deadline, not the timeout, has passed
    /// The rank that ran the task was lost; of `death` then only the host is known.
    std::optional<LostRank> lost_rank = std::nullopt;
};

/// Writes the report where the parent reads the task's end. Leaves out what shared memory has no
/// room for, beginning with the start of the output; process, exit code and lost rank always have
/// room. `in_short`: writes only these, without payload.
void write_failure_report(const SharedState& state, unsigned owner, ring::Record& record,
                          const FailureReport& failure_report, bool in_short = false) noexcept;

/// Decodes a failure report. Throws `CodecError` for invalid bytes.
FailureReport read_failure_report(detail::Reader reader);

/// Returns the error for an exceeded limit. `what` is the task's name.
LimitExceeded limit_exceeded(const Excess& excess, const std::string& what,
                             std::string last_output = {});

/// Returns the error of a task with this end state. `settings` is null for a task without options.
std::exception_ptr error_of(ring::TaskState end, FailureReport failure_report,
                            const TaskSettings* settings, const std::string& task);

} // namespace prong::executor
