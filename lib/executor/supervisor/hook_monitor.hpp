#pragma once

#include "executor/shared/shared_state.hpp"

#include <prong/detail/deadline.hpp>
#include <prong/timeout.hpp>

#include <functional>
#include <vector>

namespace prong::executor {

/// Kills workers whose hooks exceed `PoolOptions::start_timeout`, at start and at exit.
class HookMonitor {
public:
    HookMonitor(SharedState& state, const Timeout::Value& limit)
        : state_(state), limit_(limit), workers_(state.workers()) {}

    /// Called before the worker is forked.
    void starting(unsigned worker) { workers_[worker] = {detail::Deadline::after(limit_)}; }

    /// Calls `kill(worker)` for each worker whose hooks exceed the limit. Returns when to call it
    /// again.
    detail::Deadline look(const std::function<void(unsigned)>& kill);

    /// Returns whether the worker was killed because of its hooks.
    [[nodiscard]] bool has_killed(unsigned worker) const { return workers_[worker].killed; }

private:
    struct Watched {
        detail::Deadline deadline = detail::Deadline::never();
        bool exiting = false; ///< it is the deadline of `on_worker_exit`
        bool killed = false;
    };

    detail::Deadline look_at(unsigned worker, const std::function<void(unsigned)>& kill);

    SharedState& state_;
    Timeout::Value limit_;
    std::vector<Watched> workers_;
};

} // namespace prong::executor
