#pragma once

#include "executor/relay/relay_port.hpp"
#include "executor/shared/shared_state.hpp"
#include "executor/supervisor/hook_monitor.hpp"
#include "executor/supervisor/limit_monitor.hpp"
#include "executor/supervisor/payload_trimmer.hpp"
#include "executor/worker/process.hpp"
#include "os/descriptor.hpp"
#include "os/doorbell.hpp"
#include "os/usage.hpp"
#include "proc/supervisor.hpp"

#include <sched.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace prong::executor {

/// The options of a pool that concern supervisor and workers.
struct SupervisorOptions {
    WorkerHooks hooks = {};
    Recycling recycling = {};
    bool break_on_death = false;
    os::Inherited inherited = os::Inherited::all_but_network;
    std::vector<int> kept = {}; ///< the listed descriptors; at most `proc::most_kept`
    cpu_set_t cpus = {};        ///< the CPUs of supervisor and workers; empty: as their parent
    os::Doorbell doorbell = {}; ///< wakes the supervisor where signals are forbidden
    int program = 0;            ///< the process that created the pool
    RelayOptions relay = {};
};

/// Connects the supervisor to the pool's shared memory: answers its questions from there, and
/// repairs there what a dead worker has left.
class PoolDelegate final : public proc::SupervisorDelegate {
public:
    PoolDelegate(SharedState& state, const SupervisorOptions& options);

    proc::StopMode stop_mode() override;
    bool has_work() override;
    bool is_wanted(unsigned worker) override { return !is_relay(worker) || !relay_has_left_; }
    int work(unsigned worker) override;
    void starting(unsigned worker) override;
    void started(unsigned worker, pid_t pid) override;
    bool ended(unsigned worker, os::ProcessExit exit) override;
    std::string reason_to_give_up() override { return reason_to_give_up_; }
    unsigned starts() override;
    std::string failure(unsigned worker) override;
    detail::Deadline attend(const std::function<void(unsigned)>& kill) override;
    void stopped(unsigned worker) override;
    void continued(unsigned worker) override;
    void broke(const std::string& cause) override;

    /// Called when no worker is left: see `PayloadTrimmer::finish`.
    void release_payload(const std::function<bool()>& is_urgent) {
        payload_trimmer_.finish(is_urgent);
    }

private:
    /// The number of failed attempts at a task, in private memory, which no worker can corrupt.
    struct Attempts {
        std::uint32_t index;
        std::uint32_t generation;
        std::uint32_t count;
    };
    [[nodiscard]] bool is_relay(unsigned worker) const { return worker >= state_.workers(); }
    void relay_ended(os::ProcessExit exit);
    void end_task_of_relay(unsigned claim, const ring::Claim& task, os::ProcessExit exit,
                           const std::string& cause);
    std::uint32_t count_attempt(const ring::Claim& task);
    std::uint32_t count_retries();

    SharedState& state_;
    const SupervisorOptions& options_;
    int supervisor_;
    std::vector<Attempts> attempts_;       ///< of tasks that may be tried again
    std::vector<base::UniqueFd> captures_; ///< by worker
    LimitMonitor limit_monitor_;
    HookMonitor hook_monitor_;
    PayloadTrimmer payload_trimmer_;
    os::OutOfMemoryKills out_of_memory_kills_;
    std::string reason_to_give_up_;
    pid_t relay_pid_ = 0;
    unsigned relay_ends_ = 0; ///< before its time
    bool relay_has_left_ = false;
};

/// What the supervisor knows about a worker's end.
struct WorkerEnd {
    os::ProcessExit exit;
    bool out_of_memory = false;
    std::optional<Excess> excess = std::nullopt;
    std::int64_t stop_at_ns = 0; ///< when its task had to stop; 0: unknown
    bool may_retry = true;       ///< another worker will take the task
    /// Leaves the task to the parent, which ends all tasks alike, unless it is tried again.
    bool breaks_pool = false;
    /// Failed attempts at its task before this one. Default: the count in shared memory.
    std::optional<std::uint32_t> earlier_attempts = std::nullopt;
    int capture = -1;
};

/// Fails or requeues the task of a dead worker, frees its payload blocks, and wakes the other
/// workers, because its death may have cost them a wake. Also used by tests whose workers are
/// threads. Returns whether the task is requeued.
bool repair_after_death(SharedState& state, unsigned worker, const WorkerEnd& end) noexcept;

} // namespace prong::executor
