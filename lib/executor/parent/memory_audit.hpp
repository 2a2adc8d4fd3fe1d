#pragma once

#include "executor/parent/supervisor_link.hpp"
#include "executor/shared/shared_state.hpp"

#include <prong/detail/task_handle.hpp>

#include <cstdint>
#include <mutex>
#include <optional>

namespace prong::executor {

/// Detects whether a worker has corrupted shared memory.
///
/// Thread safety: any thread.
class MemoryAudit {
public:
    explicit MemoryAudit(SharedState& state) : state_(state) {}

    /// Rewrites the words that only this process writes, and wakes workers that may sleep although
    /// there is work. Returns false if that cannot help: the pool must be aborted.
    [[nodiscard]] bool repair(SupervisorLink& supervisor) noexcept;

    /// Returns whether the shared state of a task that is not final is impossible: queued where no
    /// worker will find it, or claimed by a worker that does not run it.
    [[nodiscard]] bool is_inconsistent(const detail::TaskKey& task) const noexcept;

private:
    /// Counts how often the queue was seen blocked. Returns whether that was too often.
    [[nodiscard]] bool observe_blocked() noexcept;

    SharedState& state_;
    std::mutex mutex_; ///< guards what the last repair has seen:
    std::uint64_t length_ = 0;
    std::optional<ring::Position> blocked_at_;
    unsigned times_blocked_ = 0;
    std::int64_t blocked_since_ns_ = 0;
};

} // namespace prong::executor
