#include "base/clock.hpp"
#include "executor/parent/core.hpp"

#include <algorithm>
#include <string_view>

namespace prong::executor {

PoolStats PoolCore::stats() {
    require_own_process();
    expire_late();
    poll_health(); // a program that only reads statistics detects the pool's end here
    const Control& control = state_.control();
    PoolStats stats{.queued = state_.lanes.length(),
                    .running = 0,
                    .submitted = unqueued_.load(),
                    .finished = 0,
                    .failed = control.died.load() + expired_.load(),
                    .cancelled = cancelled_.load(),
                    .retried = control.retried.load(),
                    .killed = control.killed.load(),
                    .workers = {}};
    for (const auto lane : {ring::Lane::normal, ring::Lane::high, ring::Lane::low})
        stats.submitted += state_.lanes[lane].tail();
    for (unsigned worker = 0; worker < workers(); ++worker) {
        stats.workers.push_back(stats_of(worker, base::steady_now_ns()));
        const WorkerStats& of_worker = stats.workers.back();
        stats.running += of_worker.task.empty() ? 0U : 1U;
        stats.finished += of_worker.finished;
        stats.failed += state_.slot(worker).failed.load();
    }
    stats.queued += state_.count_retried();
    if (has_ended()) stats.queued = 0; // no worker is left to run them
    return stats;
}

WorkerStats PoolCore::stats_of(unsigned worker, std::int64_t now_ns) {
    const WorkerSlot& slot = state_.slot(worker);
    WorkerStats stats{.index = static_cast<int>(worker),
                      .pid = has_ended() ? 0 : slot.pid.load(),
                      .state = WorkerState::absent,
                      .task = {},
                      .since = std::chrono::nanoseconds(
                          now_ns - std::clamp<std::int64_t>(slot.since_ns.load(), 0, now_ns)),
                      .finished = slot.finished.load(),
                      .deaths = slot.deaths.load()};
    if (stats.pid == 0) return stats;
    if (auto task = running_task(worker)) stats.task = std::move(task->name);
    stats.state = slot.stopped.load()                      ? WorkerState::stopped
                  : slot.start.load() != StartState::ready ? WorkerState::starting
                  : stats.task.empty()                     ? WorkerState::idle
                                                           : WorkerState::running;
    return stats;
}

std::optional<PoolCore::RunningTask> PoolCore::running_task(unsigned worker) const {
    const WorkerSlot& slot = state_.slot(worker);
    const auto task = state_.unfinished_task(worker);
    if (!task) return std::nullopt;
    RunningTask running{.pid = slot.pid.load(),
                        .index = task->index,
                        .status = task->status,
                        .name = "a task [task " +
                                std::to_string(ring::number_of(task->status.generation)) + "]"};
    const detail::TaskType* const type =
        known_types_.find(ring::read_once(task->record->task_type));
    if (type == nullptr) return running;
    // The task may end, and its record be reused, at any time: the bytes are only used to find a
    // function's name, and need not be right.
    const auto arguments = state_.arguments_of(*task->record);
    running.name.replace(
        0, std::string_view("a task").size(),
        fork_base_.name_of(*type, arguments.value_or(std::span<const std::byte>())));
    return running;
}

std::vector<PoolCore::RunningTask> PoolCore::running_tasks() const {
    std::vector<RunningTask> tasks;
    for (unsigned worker = 0; worker < workers(); ++worker) {
        if (auto task = running_task(worker)) tasks.push_back(std::move(*task));
    }
    return tasks;
}

} // namespace prong::executor
