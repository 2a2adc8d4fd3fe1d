#pragma once

#include "executor/shared/shared_state.hpp"
#include "executor/worker/task_scope.hpp"

#include <cstdint>
#include <optional>

namespace prong::executor {

/// When a worker is replaced by a fresh one.
struct Recycling {
    std::optional<std::uint64_t> max_tasks;
    std::optional<std::uint64_t> max_resident_bytes;
};

/// Why a worker stops claiming tasks.
enum class Leaving : std::uint8_t {
    drained,   ///< the queue is closed and empty
    recycled,  ///< it has reached a limit of `Recycling`
    condemned, ///< it is being killed
    orphaned,  ///< the supervisor has died
};

/// Claims, runs and publishes tasks until there is a reason to leave. Runs in a worker process, or
/// in a thread of a test.
Leaving run_tasks(SharedState& state, unsigned worker, const Recycling& recycling = {},
                  const WorkerSurroundings& surroundings = {});

} // namespace prong::executor
