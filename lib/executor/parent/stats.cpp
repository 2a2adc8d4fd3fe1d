#include "base/clock.hpp"
#include "executor/parent/core.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace prong::executor {
namespace {

/// A copy of what a task's arguments begin with, from which its name is found. The task may end,
/// and its memory be used again, at any time: the bytes need not be right, but are the same for
/// each look at them.
class Beginning {
public:
    explicit Beginning(std::span<const std::byte> arguments)
        : size_(std::min(arguments.size(), copy_.size())) {
        copy(arguments.data());
    }

    [[nodiscard]] std::span<const std::byte> bytes() const { return {copy_.data(), size_}; }

private:
    [[gnu::no_sanitize_thread]] void copy(const volatile std::byte* from) {
        for (std::size_t i = 0; i < size_; ++i) copy_[i] = from[i];
    }

    std::array<std::byte, 16> copy_{}; ///< more than an address
    std::size_t size_;
};

} // namespace

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
        auto task = running_task(worker);
        WorkerStats& of_worker =
            stats.workers.emplace_back(stats_of(worker, base::steady_now_ns(), task.has_value()));
        if (of_worker.state != WorkerState::absent && task) of_worker.task = std::move(task->name);
        stats.running += of_worker.task.empty() ? 0U : 1U;
        stats.finished += of_worker.finished;
        stats.failed += state_.slot(worker).failed.load();
    }
    if (state_.has_relay()) add_relay_stats(stats, base::steady_now_ns());
    stats.queued += state_.count_retried();
    if (has_ended()) stats.queued = 0; // no worker is left to run them
    return stats;
}

void PoolCore::add_relay_stats(PoolStats& stats, std::int64_t now_ns) {
    const WorkerSlot& relay = state_.slot(state_.relay());
    stats.finished += relay.finished.load();
    stats.failed += relay.failed.load();
    for (unsigned claim = 0; claim < state_.claims().size(); ++claim)
        stats.running += state_.unfinished_task(state_.owner_of_claim(claim)) ? 1U : 0U;
    const bool has_ended = this->has_ended();
    for (const RemoteWorker& worker : remote_workers()) {
        const bool is_present = worker.pid.load() != 0 && !has_ended;
        const std::uint32_t claim = worker.claim.load(std::memory_order_acquire);
        std::optional<RunningTask> task;
        if (is_present && claim < state_.claims().size())
            task = running_task(state_.owner_of_claim(claim));
        if (task && task->status.generation != worker.generation.load()) task.reset();
        WorkerState state =
            is_present ? std::min(worker.state.load(), WorkerState::stopped) : WorkerState::absent;
        if (state == WorkerState::running && !task) state = WorkerState::idle; // it has ended since
        stats.workers.push_back(
            {.index = worker.index.load(),
             .pid = is_present ? worker.pid.load() : 0,
             .state = state,
             .task = task ? std::move(task->name) : std::string(),
             .since = std::chrono::nanoseconds(
                 now_ns - std::clamp<std::int64_t>(worker.since_ns.load(), 0, now_ns)),
             .finished = worker.finished.load(),
             .deaths = worker.deaths.load(),
             .host = worker.host.get()});
    }
}

std::span<const RemoteWorker> PoolCore::remote_workers() const noexcept {
    const std::span<RemoteWorker> all = state_.remote_workers();
    const std::size_t used = state_.control().relay.remote_workers.load(std::memory_order_acquire);
    return all.first(std::min(used, all.size()));
}

unsigned PoolCore::known_workers() const noexcept {
    const auto present = std::ranges::count_if(
        remote_workers(), [](const RemoteWorker& worker) { return worker.pid.load() != 0; });
    return std::max(1U, workers() + static_cast<unsigned>(present));
}

WorkerStats PoolCore::stats_of(unsigned worker, std::int64_t now_ns, bool has_task) {
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
    stats.state = slot.stopped.load()                      ? WorkerState::stopped
                  : slot.start.load() != StartState::ready ? WorkerState::starting
                  : has_task                               ? WorkerState::running
                                                           : WorkerState::idle;
    return stats;
}

std::optional<PoolCore::RunningTask> PoolCore::running_task(unsigned owner) const {
    const auto task = state_.unfinished_task(owner);
    if (!task) return std::nullopt;
    RunningTask running{.pid = state_.is_claim(owner) ? 0 : state_.slot(owner).pid.load(),
                        .index = task->index,
                        .status = task->status,
                        .name = "a task [task " +
                                std::to_string(ring::number_of(task->status.generation)) + "]"};
    const detail::TaskType* const type =
        known_types_.find(ring::read_once(task->record->task_type));
    if (type == nullptr) return running;
    const auto arguments = state_.arguments_of(*task->record);
    const Beginning beginning(arguments.value_or(std::span<const std::byte>()));
    running.name.replace(0, std::string_view("a task").size(),
                         fork_base_.name_of(*type, beginning.bytes()));
    return running;
}

std::vector<PoolCore::RunningTask> PoolCore::running_tasks() const {
    std::vector<RunningTask> tasks;
    for (unsigned owner = 0; owner < state_.owners(); ++owner) {
        if (auto task = running_task(owner)) tasks.push_back(std::move(*task));
    }
    return tasks;
}

} // namespace prong::executor
