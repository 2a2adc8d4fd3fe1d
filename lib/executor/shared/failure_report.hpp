#pragma once

#include "executor/shared/shared_state.hpp"

#include <prong/detail/wire.hpp>
#include <prong/error.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace prong::executor {

/// A limit that a task went beyond.
struct Excess {
    LimitKind kind;
    std::uint64_t allowed;
    std::uint64_t used;
};

/// What is known of the end of a task that has neither returned nor thrown: written in place of a
/// result, mostly by the supervisor after the worker's death.
struct FailureReport {
    Death death = {}; ///< pid 0: the worker lives, the task gave up when it was told to
    std::optional<Excess> excess = std::nullopt;
    std::vector<FailedAttempt> earlier = {}; ///< attempts before this one, the last of them at most
    std::uint32_t attempts = 1;
    bool missed_deadline = false; ///< if its time was over: not its timeout, but its deadline
};

/// Writes it where the parent will look for the task's end. Leaves out what there is no shared
/// memory for, from the output its beginning: process and exit code always find room. `in_short`:
/// writes no more than those, without payload.
void write_failure_report(const SharedState& state, unsigned worker, ring::Record& record,
                          const FailureReport& failure_report, bool in_short = false) noexcept;

/// Throws `CodecError` for bytes that no failure_report has.
FailureReport read_failure_report(detail::Reader reader);

/// What is thrown for it; `what`: the task.
LimitExceeded limit_exceeded(const Excess& excess, const std::string& what,
                             std::string last_output = {});

/// The error that a task with this end state throws. `settings` is null for a task without options.
std::exception_ptr error_of(ring::TaskState end, FailureReport failure_report,
                            const TaskSettings* settings, const std::string& task);

} // namespace prong::executor
