#pragma once

#include <prong/detail/export.hpp>

#include <cstdint>
#include <stop_token>

/// \file
/// What code that runs as a task may ask about itself. Everything here may be called anywhere, by
/// any thread. Outside of a worker process, and in a process that a task has forked,
/// `stop_requested()` is false, `stop_token()` is empty, `attempt()` is 1, `index()` is -1.
///
/// A process that a task forks, by any call, may read the task's arguments, also through
/// `std::string_view` and `std::span`, while the task runs. It is no worker: when the task's
/// function returns in it, it calls `_exit(0)`, after an exception `_exit(1)`; nothing of it
/// reaches the task's future. Until it ends or calls `exec` it keeps the pool's shared memory.

namespace prong::this_task {

/// Returns whether the task has been asked to stop: by `Future::request_stop`, or because its
/// timeout or deadline (`TaskOptions`) has expired. The task should then tidy up and return, or
/// throw, soon. After a timeout its process is killed when `TaskOptions::grace` has passed. Costs
/// one load.
[[nodiscard]] PRONG_API bool stop_requested() noexcept;

/// Returns the same as a token, for functions that take one and for `std::stop_callback`. Callbacks
/// run in a thread of prong's. The first call in a task starts that thread; it ends with the task.
///
/// A task whose function declares a `std::stop_token` as its first parameter gets this token if it
/// is submitted without one, as with `std::jthread`:
/// `pool.submit([](std::stop_token stop, int n) { … }, 3)`.
[[nodiscard]] PRONG_API std::stop_token stop_token();

/// 1 when the task is tried for the first time, 2 for the first retry, and so on.
[[nodiscard]] PRONG_API int attempt() noexcept;

} // namespace prong::this_task

namespace prong::this_worker {

/// Which of the pool's workers this process is: 0 to `max_workers` - 1; one that replaces another
/// has its number. -1 in a process that is no worker.
[[nodiscard]] PRONG_API int index() noexcept;

/// A random number that is the same whenever this worker process asks, and another one in each
/// other worker, also in one that replaces it. For engines that were made before the pool: all
/// workers have copies of those, which draw the same numbers until they are seeded.
///
///     prong::PoolOptions{.initializer = [] { engine.seed(prong::this_worker::seed()); }}
///
/// 0 in a process that is no worker; never 0 in a worker.
[[nodiscard]] PRONG_API std::uint64_t seed() noexcept;

} // namespace prong::this_worker
