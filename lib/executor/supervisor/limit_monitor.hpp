#pragma once

#include "base/fd.hpp"
#include "executor/shared/failure_report.hpp"
#include "executor/shared/shared_state.hpp"

#include <functional>
#include <optional>
#include <vector>

namespace prong::executor {

/// The supervisor's eye on running tasks: asks those to stop whose time is over, condemns those
/// that do not, or that use too much, and has the workers of condemned tasks killed. A worker is
/// only ever killed for a task that it cannot finish any more, so never for one that it has
/// finished.
class LimitMonitor {
public:
    /// `captures`: the workers' captured output, by worker.
    LimitMonitor(SharedState& state, const std::vector<base::UniqueFd>& captures);

    /// Checks all workers; calls `kill(worker)` for each worker that is to be killed. Tells the
    /// workers when it is to be called again, and returns that time on the steady clock
    /// (`no_alarm`: not before a worker asks for it).
    std::int64_t look(const std::function<void(unsigned)>& kill);

    /// What was found out about a worker's last task.
    struct Findings {
        std::optional<Excess> excess; ///< the limit that it was condemned for
        std::int64_t stop_at_ns;      ///< when its time was over; 0: not known
    };
    /// The worker has ended.
    Findings forget(unsigned worker);

private:
    /// What is kept of a worker, for its task of this generation.
    struct Watched {
        std::uint32_t generation = 0;
        std::int64_t stop_at_ns = 0; ///< as the worker has said, or as found out if it is stopped
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
