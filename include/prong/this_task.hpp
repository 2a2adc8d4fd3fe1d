#pragma once

#include <prong/detail/export.hpp>

#include <stop_token>

/// What code that runs as a task may ask about itself. Everything here may be called anywhere, by
/// any thread: outside of a worker process, and in one that a task has forked, the answers are
/// those of a function that nobody limits.

namespace prong::this_task {

/// Whether the task has been asked to stop, because its time is over (`TaskOptions`). It should
/// tidy up and return, or throw, soon: after `TaskOptions::grace` its process is killed. Costs one
/// load.
[[nodiscard]] PRONG_API bool stop_requested() noexcept;

/// The same as a token, for what takes one and for `std::stop_callback` (which runs in a thread of
/// its own). The first call in a task starts that thread; it ends with the task.
[[nodiscard]] PRONG_API std::stop_token stop_token();

/// 1 when the task is tried for the first time, 2 for the first retry, and so on.
[[nodiscard]] PRONG_API int attempt() noexcept;

} // namespace prong::this_task

namespace prong::this_worker {

/// Which of the pool's workers this process is: 0 to `max_workers` - 1; one that replaces another
/// has its number. -1 in a process that is no worker.
[[nodiscard]] PRONG_API int index() noexcept;

} // namespace prong::this_worker
