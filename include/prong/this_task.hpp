#pragma once

#include <prong/detail/export.hpp>

#include <cstdint>
#include <stop_token>

/// \file
/// What a task can query about itself. Callable from any thread and any process. Outside of a
/// worker process, and in a process that a task has forked, `stop_requested()` is false,
/// `stop_token()` is empty, `attempt()` is 1, `index()` is -1 and `seed()` is 0.
///
/// A process that a task forks, by any call, may read the task's arguments while the task runs,
/// also through `std::string_view` and `std::span`. It is no worker: when the task's function
/// returns in it, it calls `_exit(0)`, after an exception `_exit(1)`; its results are discarded.
/// Until it ends or calls `exec` it keeps the pool's shared memory.

namespace prong::this_task {

/// Returns whether the task has been asked to stop: by `Future::request_stop`, or because its
/// timeout or deadline (`TaskOptions`) has expired. The task should then tidy up and return, or
/// throw, soon. After a timeout its worker is killed when `TaskOptions::grace` has passed. Costs
/// one load.
[[nodiscard]] PRONG_API bool stop_requested() noexcept;

/// Returns a token with the same state, for `std::stop_callback` and functions that take one.
/// Callbacks run in an internal thread, started by the first call and ended with the task.
///
/// A task whose function declares a `std::stop_token` as its first parameter gets this token if it
/// is submitted without one, as with `std::jthread`:
/// `pool.submit([](std::stop_token stop, int n) { … }, 3)`.
[[nodiscard]] PRONG_API std::stop_token stop_token();

/// Returns 1 for the first attempt, 2 for the first retry, and so on.
[[nodiscard]] PRONG_API int attempt() noexcept;

} // namespace prong::this_task

namespace prong::this_worker {

/// Returns the worker's index, 0 to `max_workers` - 1; a replacement keeps it. Returns -1
/// elsewhere.
[[nodiscard]] PRONG_API int index() noexcept;

/// Returns a random number that is constant within a worker process and differs between processes.
/// Seed engines created before the pool with it; their copies otherwise draw equal numbers.
///
///     prong::PoolOptions{.initializer = [] { engine.seed(prong::this_worker::seed()); }}
///
/// Never returns 0 in a worker; returns 0 elsewhere.
[[nodiscard]] PRONG_API std::uint64_t seed() noexcept;

} // namespace prong::this_worker
