#include "executor/parent/memory_audit.hpp"

#include "base/clock.hpp"

#include <algorithm>
#include <chrono>
#include <ranges>

namespace prong::executor {
namespace {

/// A head that does not move for this many checks and this long is corrupt: not even a thread that
/// was preempted after it had reserved a position takes that long to publish its task.
constexpr unsigned most_times_blocked = 16;
constexpr std::chrono::nanoseconds longest_blocked = std::chrono::seconds(5);

} // namespace

bool MemoryAudit::repair(SupervisorLink& supervisor) noexcept {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return true;
    const proc::StopMode mode = supervisor.stop_mode();
    if (state_.control().stop_mode.load() != mode) {
        supervisor.request_stop(mode);
        supervisor.try_notify();
    }
    state_.lanes.rewrite_control_words();
    const std::uint64_t length = state_.lanes.length();
    if (state_.lanes.drained() || (length == length_ && state_.lanes.has_work()))
        state_.notifier.wake_all();
    length_ = length;
    return state_.lanes.is_plausible() && !observe_blocked();
}

bool MemoryAudit::observe_blocked() noexcept {
    const auto blocked_at = state_.lanes.blocked_at();
    const std::int64_t now = base::coarse_now_ns();
    if (!blocked_at || blocked_at != blocked_at_) {
        blocked_at_ = blocked_at;
        times_blocked_ = 0;
        blocked_since_ns_ = now;
    } else {
        ++times_blocked_;
    }
    return times_blocked_ >= most_times_blocked &&
           now - blocked_since_ns_ >= longest_blocked.count();
}

bool MemoryAudit::is_inconsistent(const detail::TaskKey& task) const noexcept {
    const ring::Record& record = state_.records[task.index];
    const std::uint64_t word = record.status.load();
    const ring::Status status = ring::Status::unpack(word);
    // The conclusion holds if the status is the same at the first and at the last look. Requeueing
    // restores the former status, but changes this counter before and after it does.
    const std::atomic<std::uint64_t>& requeued = state_.control().left_unfinished;
    const std::uint64_t requeued_before = requeued.load();
    if (record.status.load() != word) return false;
    bool has_future = true;
    if (status.generation == task.generation && ring::is_claimed(status.state)) {
        has_future = status.owner < state_.owners() &&
                     state_.intent(status.owner).record.load() == std::uint64_t{task.index} + 1 &&
                     (state_.is_claim(status.owner) || !state_.notifier.is_parked(status.owner));
    } else if (status.generation == task.generation && status.state == ring::TaskState::queued) {
        has_future = state_.lanes.holds(task.index, task.generation) ||
                     state_.any_retried([&](const ring::Record& each) { return &each == &record; });
    }
    return !has_future && record.status.load() == word && requeued.load() == requeued_before;
}

} // namespace prong::executor
