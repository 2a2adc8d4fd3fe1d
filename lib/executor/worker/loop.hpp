#pragma once

#include "executor/shared/shared_state.hpp"
#include "executor/worker/task_scope.hpp"

#include <prong/worker_hook.hpp>

#include <cstdint>
#include <optional>

namespace prong::executor {

/// When a worker makes room for a fresh one.
struct Recycling {
    std::optional<std::uint64_t> max_tasks;
    std::optional<std::uint64_t> max_resident_bytes;
};

/// What runs in each worker besides tasks.
struct WorkerHooks {
    WorkerHook initializer;
    WorkerHook on_start;
    WorkerHook on_exit;
};

/// Why a worker takes no more tasks.
enum class Leaving : std::uint8_t {
    drained,   ///< there are no more
    recycled,  ///< it has done its part
    condemned, ///< it is being killed
    orphaned,  ///< the supervisor is gone
};

/// The worker's loop: claims, runs and publishes tasks. Runs in a worker process, or in a thread of
/// a test.
Leaving run_tasks(SharedState& state, unsigned worker, const Recycling& recycling = {},
                  const WorkerSurroundings& surroundings = {});

/// All of a worker process: prepares it, runs the hooks, says that it is ready, runs tasks.
/// Returns the exit status.
int run_worker_process(SharedState& state, unsigned worker, const WorkerHooks& hooks,
                       const Recycling& recycling, const WorkerSurroundings& surroundings);

} // namespace prong::executor
