#include "executor/supervisor/hook_monitor.hpp"

#include <algorithm>

namespace prong::executor {

detail::Deadline HookMonitor::look(const std::function<void(unsigned)>& kill) {
    detail::Deadline next = detail::Deadline::never();
    if (!limit_) return next;
    for (unsigned worker = 0; worker < workers_.size(); ++worker)
        next = std::min(next, look_at(worker, kill));
    return next;
}

detail::Deadline HookMonitor::look_at(unsigned worker, const std::function<void(unsigned)>& kill) {
    WorkerSlot& slot = state_.slot(worker);
    Watched& watched = workers_[worker];
    const bool exiting = slot.leaving.load(std::memory_order_acquire);
    if (exiting && !watched.exiting)
        watched = {.deadline = detail::Deadline::after(limit_), .exiting = true};
    if (!exiting && slot.start.load(std::memory_order_acquire) == StartState::ready)
        return detail::Deadline::never();
    if (watched.killed) return detail::Deadline::never();
    if (!watched.deadline.passed()) return watched.deadline;
    // A worker that becomes ready now must not be killed: it may have claimed a task.
    StartState expected = StartState::starting;
    if (!exiting && !slot.start.compare_exchange_strong(expected, StartState::expired))
        return detail::Deadline::never();
    watched.killed = true;
    kill(worker);
    return detail::Deadline::never();
}

} // namespace prong::executor
