#pragma once

#include "base/fd.hpp"
#include "executor/shared/failure_report.hpp"
#include "executor/shared/shared_state.hpp"

#include <functional>
#include <optional>
#include <vector>

namespace prong::executor {

/// Watches running tasks in the supervisor. Requests overdue tasks to stop, condemns
/// tasks that do not stop or exceed a limit, and has the workers of condemned tasks killed. A
/// worker is only killed for a task that it can no longer finish, so never for one that it has
/// finished.
class LimitMonitor {
public:
    /// `captures`: the workers' captured output, by worker.
    LimitMonitor(SharedState& state, const std::vector<base::UniqueFd>& captures);

    /// Checks all workers; calls `kill(worker)` for each worker that is to be killed. Tells the
    /// workers when it is to be called again, and returns that time on the steady clock
    /// (`no_alarm`: not before a worker asks for it).
    std::int64_t look(const std::function<void(unsigned)>& kill);

    /// What is known about a worker's last task.
    struct Findings {
        std::optional<Excess> excess; ///< the limit for which it was condemned
        std::int64_t stop_at_ns;      ///< when it had to stop; 0: unknown
    };
    /// Forgets a worker that has ended, and returns what is known about its last task.
    Findings forget(unsigned worker);

private:
    /// What is known about a worker's task of this generation.
    struct Watched {
        std::uint32_t generation = 0;
        /// As the worker has stored it, or computed if the worker is stopped.
        std::int64_t stop_at_ns = 0;
        std::int64_t next_usage_ns = 0;
        std::optional<Excess> excess = std::nullopt;
    };

    std::int64_t look_at(unsigned worker, const std::function<void(unsigned)>& kill);
    std::int64_t look_at_time(unsigned worker, const ring::Claim& task, std::int64_t now);
    std::int64_t look_at_usage(unsigned worker, const ring::Claim& task, std::int64_t now);
    [[nodiscard]] std::optional<Excess> measure(unsigned worker,
                                                const TaskSettings& settings) const;

    SharedState& state_;
    const std::vector<base::UniqueFd>& captures_;
    std::vector<Watched> workers_;
};

} // namespace prong::executor
