#pragma once

#include "pool/shared_state.hpp"
#include "pool/worker.hpp"
#include "proc/supervisor.hpp"

#include <string>

namespace prong::pool {

/// The pool's workers as the supervisor keeps them: answers from shared memory, and repairs there
/// what a dead worker has left.
class PoolCrew final : public proc::Crew {
public:
    PoolCrew(SharedState& state, const WorkerHooks& hooks) : state_(state), hooks_(hooks) {}

    Wish wish() override;
    bool has_work() override;
    int work(unsigned worker) override;
    void starting(unsigned worker) override;
    bool ended(unsigned worker, os::ProcessExit exit) override;
    unsigned starts() override;
    std::string failure(unsigned worker) override;
    void stopped(unsigned worker) override;
    void continued(unsigned worker) override;
    void broke(const std::string& cause) override;

private:
    SharedState& state_;
    const WorkerHooks& hooks_;
};

/// Ends the task of a dead worker, takes back its payload blocks, and lets the other workers look
/// for work that a wake of its may have missed. Also for tests whose workers are threads.
void repair_after_death(SharedState& state, unsigned worker, os::ProcessExit exit) noexcept;

} // namespace prong::pool
