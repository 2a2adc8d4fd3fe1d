#pragma once

#include "executor/shared/shared_state.hpp"
#include "executor/supervisor/limit_monitor.hpp"
#include "executor/worker/loop.hpp"
#include "os/descriptor.hpp"
#include "os/doorbell.hpp"
#include "os/usage.hpp"
#include "proc/supervisor.hpp"

#include <sched.h>

#include <cstddef>
#include <string>
#include <vector>

namespace prong::executor {

/// What the supervisor's process has of the parent's wishes.
struct SupervisorOptions {
    WorkerHooks hooks = {};
    Recycling recycling = {};
    bool break_on_death = false;
    os::Inherited inherited = os::Inherited::all_but_network;
    std::vector<int> kept = {}; ///< the listed descriptors; at most `proc::most_kept`
    cpu_set_t cpus = {};        ///< what supervisor and workers may use; empty: as their parent
    os::Doorbell doorbell = {}; ///< wakes the supervisor where signals are forbidden
    int program = 0;            ///< the process that has made the pool
};

/// The pool's workers as the supervisor keeps them: answers from shared memory, and repairs there
/// what a dead worker has left.
class PoolDelegate final : public proc::SupervisorDelegate {
public:
    PoolDelegate(SharedState& state, const SupervisorOptions& options);

    proc::StopMode stop_mode() override;
    bool has_work() override;
    int work(unsigned worker) override;
    void starting(unsigned worker) override;
    void started(unsigned worker, pid_t pid) override;
    bool ended(unsigned worker, os::ProcessExit exit) override;
    std::string reason_to_give_up() override { return reason_to_give_up_; }
    unsigned starts() override;
    std::string failure(unsigned worker) override;
    base::Deadline attend(const std::function<void(unsigned)>& kill) override;
    void stopped(unsigned worker) override;
    void continued(unsigned worker) override;
    void broke(const std::string& cause) override;

private:
    /// A task that has failed, and how often: no worker can spoil the count.
    struct Attempts {
        std::uint32_t index;
        std::uint32_t generation;
        std::uint32_t count;
    };
    std::uint32_t count_attempt(const ring::Claim& task);
    std::uint32_t count_retries();

    SharedState& state_;
    const SupervisorOptions& options_;
    int supervisor_;
    std::vector<Attempts> attempts_;       ///< at tasks that may be tried again
    std::vector<base::UniqueFd> captures_; ///< by worker
    LimitMonitor limit_monitor_;
    os::OutOfMemoryKills out_of_memory_kills_;
    std::string reason_to_give_up_;
};

/// What the supervisor knows of a worker's end.
struct WorkerEnd {
    os::ProcessExit exit;
    bool out_of_memory = false;
    std::optional<Excess> excess = std::nullopt;
    std::int64_t stop_at_ns = 0; ///< when its task's time was over; 0: not known
    bool may_retry = true;       ///< somebody will take this worker's place
    /// Leave the task to the parent, which ends all tasks alike, unless it is tried again.
    bool breaks_pool = false;
    /// Attempts at its task that had failed before. Default: what shared memory says.
    std::optional<std::uint32_t> earlier_attempts = std::nullopt;
    int capture = -1;
};

/// Ends the task of a dead worker or has it tried again, takes back its payload blocks, and lets
/// the other workers look for work that a wake of its may have missed. Also for tests whose workers
/// are threads. Returns whether its task is tried again.
bool repair_after_death(SharedState& state, unsigned worker, const WorkerEnd& end) noexcept;

} // namespace prong::executor
