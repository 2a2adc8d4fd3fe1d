#pragma once

#include "executor/shared/shared_state.hpp"

/// The state behind `this_task` and `this_worker`, set by the worker process.
namespace prong::executor {

/// Makes this process the given worker.
void become_worker(const SharedState& state, unsigned worker) noexcept;

/// Sets the task that this worker process runs; null after its end. Does nothing in processes whose
/// workers are threads.
void set_current_task(const ring::Record* record) noexcept;

/// Ends the thread behind `this_task::stop_token`, if the task has one. Costs a load.
void forget_stop_token();

} // namespace prong::executor
