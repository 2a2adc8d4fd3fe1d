#pragma once

#include "executor/shared/shared_state.hpp"
#include "executor/worker/loop.hpp"
#include "executor/worker/task_scope.hpp"

#include <prong/timeout.hpp>
#include <prong/worker_hook.hpp>

#include <optional>

namespace prong::executor {

/// The user's functions that each worker runs besides tasks.
struct WorkerHooks {
    WorkerHook initializer;
    WorkerHook on_start;
    WorkerHook on_exit;
    Timeout::Value limit = std::nullopt; ///< of the first two together, and of the last
};

/// Runs a worker process: prepares it, calls the hooks, marks it as ready, runs tasks. Returns the
/// exit status.
int run_worker_process(SharedState& state, unsigned worker, const WorkerHooks& hooks,
                       const Recycling& recycling, const WorkerSurroundings& surroundings);

} // namespace prong::executor
