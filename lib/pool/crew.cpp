#include "pool/crew.hpp"

#include "base/exit_text.hpp"
#include "pool/output.hpp"
#include "pool/task_scope.hpp"
#include "proc/process_state.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace prong::pool {
namespace {

/// The attempts at the task before the one that has just failed, and this one noted beside them.
void note_attempt(TaskSettings& settings, const WorkerEnd& end, Obituary& obituary) {
    const os::ProcessExit exit = end.exit;
    const std::uint32_t before =
        end.earlier_attempts.value_or(settings.deaths.load(std::memory_order_relaxed));
    const auto places = static_cast<std::uint32_t>(settings.last_deaths.size());
    for (std::uint32_t i = before - std::min(before, places - 1); i < before; ++i)
        obituary.earlier.push_back(settings.last_deaths[i % places]);
    settings.last_deaths[before % places] = {.pid = exit.pid, .exitcode = exit.exitcode};
    settings.deaths.store(before + 1, std::memory_order_relaxed);
    obituary.attempts = before + 1;
}

std::vector<const void*> frames_of(const CrashDump& crash) {
    std::vector<const void*> frames;
    if (crash.signal.load(std::memory_order_acquire) == 0) return frames;
    for (const std::uint64_t address : crash.frames) {
        if (address == 0) break;
        frames.push_back(reinterpret_cast<const void*>(address));
    }
    return frames;
}

/// The signal that ended the worker, where the kernel tells of another one.
os::ProcessExit true_exit(os::ProcessExit exit, const CrashDump& crash) {
    const int crashed = crash.signal.load(std::memory_order_acquire);
    if (crashed > 0 && exit.exitcode == -SIGALRM) exit.exitcode = -crashed; // crash_dump.cpp
    return exit;
}

/// Whether the worker was killed because its task wrote more than it may.
bool is_over_output(const SharedState& state, const ring::Claim& task, os::ProcessExit exit) {
    return exit.exitcode == -SIGXFSZ && task.status.has(ring::Status::has_options) &&
           state.settings(task.index).output_bytes != 0;
}

/// Makes the unfinished task of a dead worker final, or queues it again.
void end_task(SharedState& state, unsigned worker, const ring::Claim& task, const WorkerEnd& end) {
    WorkerSlot& slot = state.slot(worker);
    Obituary obituary{.death = {.pid = end.exit.pid,
                                .exitcode = end.exit.exitcode,
                                .out_of_memory = end.out_of_memory,
                                .frames = frames_of(slot.crash)},
                      .excess = end.excess};
    ring::TaskState otherwise = ring::TaskState::died;
    if (task.status.has(ring::Status::has_options)) {
        TaskSettings& settings = state.settings(task.index);
        note_attempt(settings, end, obituary);
        if (is_over_output(state, task, end.exit)) {
            obituary.excess = {LimitKind::output, settings.output_bytes, settings.output_bytes};
            otherwise = ring::TaskState::over_limit;
        } else if (end.may_retry && is_intact(settings) &&
                   obituary.attempts <= settings.max_retries &&
                   ring::requeue(task, slot.note).state == ring::TaskState::queued) {
            state.control().retried.fetch_add(1, std::memory_order_relaxed);
            state.control().retries.fetch_add(1, std::memory_order_release);
            return;
        }
        if (settings.capture_output != 0) obituary.death.last_output = captured_output(end.capture);
    }
    write_obituary(state, worker, *task.record, obituary);
    const ring::Status after = ring::bury(task, otherwise);
    Control& control = state.control();
    control.died.fetch_add(1, std::memory_order_relaxed);
    if (after.state != ring::TaskState::died)
        control.killed.fetch_add(1, std::memory_order_relaxed);
    state.announce(*task.record, after.flags);
}

} // namespace

PoolCrew::PoolCrew(SharedState& state, const CrewOptions& options)
    : state_(state), options_(options), supervisor_(getpid()), captures_(state.workers()),
      enforcer_(state, captures_) {}

proc::Crew::Wish PoolCrew::wish() {
    switch (state_.control().orders.load(std::memory_order_acquire)) {
    case Orders::run:
        return Wish::keep;
    case Orders::drain:
        return Wish::drain;
    case Orders::terminate:
        return Wish::terminate;
    case Orders::kill:
        break;
    }
    return Wish::kill; // also when the word has been overwritten with nonsense
}

bool PoolCrew::has_work() {
    return !state_.lanes.drained() || count_retries() != 0;
}

/// Counts again how many tasks are still to be tried again.
std::uint32_t PoolCrew::count_retries() {
    std::atomic<std::uint32_t>& retries = state_.control().retries;
    if (retries.load(std::memory_order_relaxed) == 0) return 0;
    std::uint32_t count = 0;
    for (unsigned worker = 0; worker < state_.workers(); ++worker)
        count += state_.retried_task(worker) != nullptr ? 1U : 0U;
    retries.store(count, std::memory_order_relaxed);
    return count;
}

int PoolCrew::work(unsigned worker) {
    proc::enter_worker(worker, options_.program);
    for (unsigned other = 0; other < captures_.size(); ++other) {
        if (other != worker) captures_[other].reset();
    }
    return run_worker_process(state_, worker, options_.hooks, options_.recycling,
                              {.capture = captures_[worker].get(), .supervisor = supervisor_});
}

void PoolCrew::starting(unsigned worker) {
    WorkerSlot& slot = state_.slot(worker);
    slot.note.record.store(0, std::memory_order_relaxed);
    slot.ready.store(false, std::memory_order_relaxed);
    slot.leaving.store(false, std::memory_order_relaxed);
    slot.stopped.store(false, std::memory_order_relaxed);
    slot.stop_at_ns.store(0, std::memory_order_relaxed);
    slot.since_ns.store(coarse_now_ns(), std::memory_order_relaxed);
    slot.crash.signal.store(0, std::memory_order_relaxed);
    slot.crash.frames.fill(0);
    slot.failure.clear();
    if (captures_[worker])
        clear_capture(captures_[worker].get());
    else
        captures_[worker] = make_capture();
}

void PoolCrew::started(unsigned worker, pid_t pid) {
    state_.slot(worker).pid.store(pid, std::memory_order_relaxed);
}

bool PoolCrew::ended(unsigned worker, os::ProcessExit exit) {
    WorkerSlot& slot = state_.slot(worker);
    const bool had_started = slot.ready.load(std::memory_order_acquire);
    const bool has_left = slot.leaving.load(std::memory_order_acquire) && exit.exitcode == 0;
    slot.pid.store(0, std::memory_order_relaxed);
    const auto excess = enforcer_.forget(worker);
    const auto task = state_.unfinished_task(worker);
    const bool was_sentenced = task && (task->status.state == ring::TaskState::condemned ||
                                        is_over_output(state_, *task, exit));
    if (had_started && !has_left) {
        slot.deaths.store(slot.deaths.load() + 1, std::memory_order_relaxed);
        if (options_.break_on_death && !was_sentenced && wish() <= Wish::drain) {
            reason_to_give_up_ = "worker " + std::to_string(exit.pid) + " " +
                                 base::exit_text(exit.exitcode) +
                                 ", and the pool was made with OnWorkerDeath::break_pool";
        }
    }
    // In a broken pool the parent ends all tasks alike, with the cause.
    if (!reason_to_give_up_.empty() || state_.control().broken.load(std::memory_order_relaxed)) {
        return had_started;
    }
    repair_after_death(state_, worker,
                       {.exit = true_exit(exit, slot.crash),
                        .out_of_memory = exit.exitcode == -SIGKILL && !was_sentenced &&
                                         out_of_memory_kills_.take_one(),
                        .excess = excess,
                        .may_retry = wish() <= Wish::drain,
                        .earlier_attempts = task ? count_attempt(*task) : 0,
                        .capture = captures_[worker].get()});
    return had_started;
}

/// Counts one more failed attempt at a dead worker's task; returns how many there were before.
std::uint32_t PoolCrew::count_attempt(const ring::Claim& task) {
    std::erase_if(attempts_, [this](const Attempts& attempts) {
        const ring::Status status = ring::status_of(state_.records[attempts.index]);
        return status.generation != attempts.generation || is_final(status.state);
    });
    const auto found = std::ranges::find(attempts_, task.index, &Attempts::index);
    if (found != attempts_.end()) return found->count++;
    attempts_.push_back({.index = task.index, .generation = task.status.generation, .count = 1});
    return 0;
}

base::Deadline PoolCrew::attend(const std::function<void(unsigned)>& kill) {
    count_retries();
    const std::int64_t next = enforcer_.look(kill);
    if (next == no_alarm) return base::Deadline::never();
    return base::Deadline::at(
        std::chrono::steady_clock::time_point(std::chrono::nanoseconds(next)));
}

unsigned PoolCrew::starts() {
    return state_.control().starts.load(std::memory_order_acquire);
}

std::string PoolCrew::failure(unsigned worker) {
    return state_.slot(worker).failure.get();
}

void PoolCrew::stopped(unsigned worker) {
    state_.slot(worker).stopped.store(true, std::memory_order_relaxed);
    state_.parking.forget(worker);
}

void PoolCrew::continued(unsigned worker) {
    state_.slot(worker).stopped.store(false, std::memory_order_relaxed);
    state_.parking.wake(worker);
}

void PoolCrew::broke(const std::string& cause) {
    Control& control = state_.control();
    control.cause.set(cause);
    control.broken.store(true, std::memory_order_release);
    // Those who wait for one task look at the flag now and then; these can be told.
    control.completions.fetch_add(1);
    os::futex_wake(control.completions, os::everyone);
    for (ring::Cursor& cursor : control.lanes.cursors) {
        cursor.room.fetch_add(1);
        os::futex_wake(cursor.room, os::everyone);
    }
}

void repair_after_death(SharedState& state, unsigned worker, const WorkerEnd& end) noexcept {
    WorkerSlot& slot = state.slot(worker);
    if (const auto task = state.unfinished_task(worker)) {
        state.control().left_unfinished.fetch_add(1, std::memory_order_release);
        // The blocks had not been published with the task, so they are nobody's now.
        state.payload.reclaim(slot.note.block.load(std::memory_order_acquire), worker);
        state.payload.reclaim(slot.note.outgrown_block.load(std::memory_order_acquire), worker);
        end_task(state, worker, *task, end);
    }
    state.parking.forget(worker);
}

} // namespace prong::pool
