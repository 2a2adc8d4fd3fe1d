#include "executor/supervisor/limit_monitor.hpp"

#include "base/clock.hpp"
#include "os/capture.hpp"
#include "os/usage.hpp"

#include <unistd.h>

#include <algorithm>

namespace prong::executor {

LimitMonitor::LimitMonitor(SharedState& state, const std::vector<base::UniqueFd>& captures)
    : state_(state), captures_(captures), workers_(state.workers()) {
    state_.control().next_alarm_ns.store(no_alarm);
}

std::int64_t LimitMonitor::look(const std::function<void(unsigned)>& kill) {
    const auto look_at_all = [&] {
        std::int64_t next = no_alarm;
        for (unsigned worker = 0; worker < workers_.size(); ++worker)
            next = std::min(next, look_at(worker, kill));
        return next;
    };
    // A worker that has begun a task meanwhile either sees the new alarm or is seen by the next
    // check: TaskScope::arm.
    for (std::int64_t next = look_at_all();;) {
        state_.control().next_alarm_ns.store(next);
        const std::int64_t again = look_at_all();
        if (again >= next) return next;
        next = again;
    }
}

LimitMonitor::Findings LimitMonitor::forget(unsigned worker) {
    const Watched watched = std::exchange(workers_[worker], {});
    return {.excess = watched.excess, .stop_at_ns = watched.stop_at_ns};
}

std::int64_t LimitMonitor::look_at(unsigned worker, const std::function<void(unsigned)>& kill) {
    const auto task = state_.unfinished_task(worker);
    if (!task) return no_alarm;
    if (task->status.state == ring::TaskState::condemned) {
        kill(worker);
        return no_alarm; // the next event is its end
    }
    if (!task->status.has(ring::Status::has_options)) return no_alarm;
    Watched& watched = workers_[worker];
    if (watched.generation != task->status.generation)
        watched = {.generation = task->status.generation};
    const std::int64_t now = base::steady_now_ns();
    const std::int64_t next =
        std::min(look_at_time(worker, *task, now), look_at_usage(worker, *task, now));
    if (ring::status_of(*task->record).state == ring::TaskState::condemned) kill(worker);
    return next;
}

std::int64_t LimitMonitor::look_at_time(unsigned worker, const ring::Claim& task,
                                        std::int64_t now) {
    const TaskSettings& settings = state_.settings(task.index);
    const WorkerSlot& slot = state_.slot(worker);
    Watched& watched = workers_[worker];
    // Read after the status: if this is the time of an earlier task, the status has changed since.
    std::int64_t stop_at = slot.stop_at_ns.load(std::memory_order_acquire);
    if (stop_at == 0 && slot.stopped.load(std::memory_order_relaxed)) {
        // The worker was stopped before it stored when its task must stop, or after the task has
        // finished but for the last step.
        if (watched.stop_at_ns == 0) watched.stop_at_ns = stop_time(settings, now);
        stop_at = watched.stop_at_ns;
    }
    if (stop_at == 0 || stop_at == no_alarm) return no_alarm;
    watched.stop_at_ns = stop_at;
    if (now < stop_at) return stop_at;
    ring::mark_overdue(*task.record, task.status);
    os::futex_wake(task.record->status, os::everyone); // a thread behind a stop token
    const std::int64_t grace = settings.grace_ns;
    if (stop_at > 0 && grace >= no_alarm - stop_at) return no_alarm;
    // A negative stop time means that shared memory is corrupt.
    if (stop_at > 0 && now < stop_at + grace) return stop_at + grace;
    ring::condemn(*task.record, task.status, ring::Verdict::timeout);
    return no_alarm;
}

std::int64_t LimitMonitor::look_at_usage(unsigned worker, const ring::Claim& task,
                                         std::int64_t now) {
    const TaskSettings& settings = state_.settings(task.index);
    if (!is_metered(settings)) return no_alarm;
    if (state_.slot(worker).stop_at_ns.load(std::memory_order_acquire) == 0) return no_alarm;
    Watched& watched = workers_[worker];
    if (now < watched.next_usage_ns) return watched.next_usage_ns;
    watched.next_usage_ns = now + usage_interval.count();
    if (settings.capture_output != 0) os::trim_capture(captures_[worker].get());
    const auto excess = measure(worker, settings);
    if (!excess) return watched.next_usage_ns;
    const ring::Status after = ring::condemn(*task.record, task.status, ring::Verdict::limit);
    if (ring::verdict_of(after) == ring::Verdict::limit) watched.excess = excess;
    return no_alarm;
}

std::optional<Excess> LimitMonitor::measure(unsigned worker, const TaskSettings& settings) const {
    const WorkerSlot& slot = state_.slot(worker);
    const pid_t pid = slot.pid.load(std::memory_order_relaxed);
    if (settings.resident_bytes != 0) {
        std::uint64_t start = slot.resident_at_start.load(std::memory_order_relaxed);
        // Unknown in a worker that cannot read /proc: then compare with what it had when it was
        // forked.
        if (start == 0) start = os::own_resident_bytes(getpid());
        const std::uint64_t used = os::own_resident_bytes(pid);
        if (used > start && used - start > settings.resident_bytes)
            return Excess{LimitKind::memory, settings.resident_bytes, used - start};
    }
    if (settings.cpu_ns != 0) {
        const std::int64_t total = os::processor_time(pid).count();
        const std::int64_t used =
            total - std::clamp<std::int64_t>(slot.cpu_ns_at_start.load(), 0, total);
        if (used > settings.cpu_ns)
            return Excess{LimitKind::cpu_time, static_cast<std::uint64_t>(settings.cpu_ns),
                          static_cast<std::uint64_t>(used)};
    }
    return std::nullopt;
}

} // namespace prong::executor
