#pragma once

#include "executor/relay/relay_port.hpp"
#include "executor/shared/shared_state.hpp"
#include "executor/worker/task_scope.hpp"

namespace prong::executor {

/// Runs the relay process of a pool: prepares it and calls `run`. Returns the exit status.
int run_relay_process(SharedState& state, const RelayOptions& options,
                      const WorkerSurroundings& surroundings);

} // namespace prong::executor
