#pragma once

#include "executor/shared/shared_state.hpp"

/// What `this_task` and `this_worker` answer from: set by the worker process.
namespace prong::executor {

/// From now on this process is this worker.
void become_worker(const SharedState& state, unsigned worker) noexcept;

/// The task that this worker process begins or, null, has ended. Not in processes whose workers are
/// threads.
void set_current_task(const ring::Record* record) noexcept;

/// Ends the thread behind `this_task::stop_token`, if the task has asked for it. Costs a load.
void forget_stop_token();

} // namespace prong::executor
