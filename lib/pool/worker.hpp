#pragma once

#include "pool/shared_state.hpp"

#include <prong/worker_hook.hpp>

namespace prong::pool {

/// What the user has each worker run beside its tasks.
struct WorkerHooks {
    WorkerHook initializer;
};

/// The worker's loop: claims, runs and publishes tasks until the pool is drained. Runs in a worker
/// process, or in a thread of a test.
void run_tasks(SharedState& state, unsigned worker);

/// All of a worker process: prepares it, runs the initializer, says that it is ready, runs tasks.
/// Returns the exit status.
int run_worker_process(SharedState& state, unsigned worker, const WorkerHooks& hooks);

} // namespace prong::pool
