#pragma once

#include "executor/parent/supervisor_link.hpp"
#include "executor/shared/shared_state.hpp"

#include <prong/detail/task_handle.hpp>

#include <cstdint>
#include <mutex>
#include <optional>

namespace prong::executor {

/// Finds out whether shared memory still makes sense, which a worker may have written over.
///
/// Thread safety: any thread.
class MemoryAudit {
public:
    explicit MemoryAudit(SharedState& state) : state_(state) {}

    /// Writes again what only this process writes, and wakes workers that may sleep though there is
    /// work. Returns false if that cannot help: the pool must be aborted.
    [[nodiscard]] bool repair(SupervisorLink& supervisor) noexcept;

    /// Whether shared memory says of a task that is not final what cannot be true: that it is
    /// queued where no worker will find it, or claimed by a worker that does not run it.
    [[nodiscard]] bool is_inconsistent(const detail::TaskKey& task) const noexcept;

private:
    [[nodiscard]] bool is_blocked() noexcept;

    SharedState& state_;
    std::mutex mutex_; ///< guards what the last repair saw:
    std::uint64_t length_ = 0;
    std::optional<ring::Position> blocked_at_;
    unsigned times_blocked_ = 0;
    std::int64_t blocked_since_ns_ = 0;
};

} // namespace prong::executor
