#include "executor/supervisor/delegate.hpp"

#include "base/clock.hpp"
#include "diag/exit_text.hpp"
#include "os/capture.hpp"
#include "proc/process_state.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

namespace prong::executor {
namespace {

constexpr const char* limit_name = "PoolOptions::start_timeout";

/// Writes to stderr, or nothing if that would block: the hook may hang for the same reason.
void warn(const std::string& text) {
    const base::UniqueFd file(
        open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
    [[maybe_unused]] const auto written =
        file ? write(file.get(), text.data(), text.size())
             : send(STDERR_FILENO, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/// Adds the earlier attempts at the task to the report, and this one to the settings.
void note_attempt(TaskSettings& settings, const WorkerEnd& end, FailureReport& failure_report) {
    const os::ProcessExit exit = end.exit;
    const std::uint32_t before =
        end.earlier_attempts.value_or(settings.deaths.load(std::memory_order_relaxed));
    const auto places = static_cast<std::uint32_t>(settings.last_deaths.size());
    for (std::uint32_t i = before - std::min(before, places - 1); i < before; ++i)
        failure_report.earlier.push_back(settings.last_deaths[i % places]);
    settings.last_deaths[before % places] = {.pid = exit.pid, .exitcode = exit.exitcode};
    settings.deaths.store(before + 1, std::memory_order_relaxed);
    failure_report.attempts = before + 1;
}

std::vector<const void*> frames_of(const diag::CrashDump& crash) {
    std::vector<const void*> frames;
    if (crash.signal.load(std::memory_order_acquire) == 0) return frames;
    for (const std::uint64_t address : crash.frames) {
        if (address == 0) break;
        frames.push_back(reinterpret_cast<const void*>(address));
    }
    return frames;
}

/// Returns the worker's exit with the signal of the crash, where the kernel reports the alarm that
/// ended the crash handler.
os::ProcessExit true_exit(os::ProcessExit exit, const diag::CrashDump& crash) {
    const int crashed = crash.signal.load(std::memory_order_acquire);
    if (crashed > 0 && exit.exitcode == -SIGALRM) exit.exitcode = -crashed; // crash_dump.cpp
    return exit;
}

/// Returns whether the worker was killed because its task exceeded its limit of file sizes.
bool is_over_file_size(const SharedState& state, const ring::Claim& task, os::ProcessExit exit) {
    return exit.exitcode == -SIGXFSZ && task.status.has(ring::Status::has_options) &&
           state.settings(task.index).max_file_bytes != 0;
}

/// Makes the task final with its failure report; an abandoned task keeps no payload.
ring::Status fail_dead(SharedState& state, unsigned worker, const ring::Claim& task,
                       const FailureReport& failure_report, ring::TaskState otherwise) {
    for (bool is_abandoned = task.status.has(ring::Status::abandoned);; is_abandoned = true) {
        if (is_abandoned) {
            state.payload.reclaim(state.slot(worker).intent.block.load(), worker);
            state.discard_arguments(*task.record);
        }
        write_failure_report(state, worker, *task.record, failure_report, is_abandoned);
        const ring::Status after = ring::fail_dead(task, otherwise, !is_abandoned);
        // Otherwise the future was dropped meanwhile.
        if (is_final(after.state) || is_abandoned) return after;
    }
}

/// Requeues the unfinished task of a dead worker, or fails it unless the pool breaks. Returns
/// whether it is requeued.
bool end_task(SharedState& state, unsigned worker, const ring::Claim& task, const WorkerEnd& end) {
    WorkerSlot& slot = state.slot(worker);
    FailureReport failure_report{.death = {.pid = end.exit.pid,
                                           .exitcode = end.exit.exitcode,
                                           .out_of_memory = end.out_of_memory,
                                           .frames = frames_of(slot.crash)},
                                 .excess = end.excess};
    ring::TaskState otherwise = ring::TaskState::died;
    if (task.status.has(ring::Status::has_options)) {
        TaskSettings& settings = state.settings(task.index);
        note_attempt(settings, end, failure_report);
        failure_report.missed_deadline = is_deadline(settings, end.stop_at_ns);
        if (is_over_file_size(state, task, end.exit)) {
            failure_report.excess = {LimitKind::file_size, settings.max_file_bytes,
                                     settings.max_file_bytes};
            otherwise = ring::TaskState::over_limit;
        } else if (end.may_retry && is_intact(settings) &&
                   failure_report.attempts <= settings.max_retries &&
                   ring::requeue(task, slot.intent).state == ring::TaskState::queued) {
            state.control().retried.fetch_add(1, std::memory_order_relaxed);
            state.control().retries.fetch_add(1, std::memory_order_release);
            return true;
        }
        if (settings.capture_output != 0)
            failure_report.death.last_output = os::captured_output(end.capture);
    }
    if (end.breaks_pool) return false;
    const ring::Status after = fail_dead(state, worker, task, failure_report, otherwise);
    Control& control = state.control();
    control.died.fetch_add(1, std::memory_order_relaxed);
    if (after.state != ring::TaskState::died)
        control.killed.fetch_add(1, std::memory_order_relaxed);
    state.announce(*task.record, after.flags);
    return false;
}

} // namespace

PoolDelegate::PoolDelegate(SharedState& state, const SupervisorOptions& options)
    : state_(state), options_(options), supervisor_(getpid()), captures_(state.workers()),
      limit_monitor_(state, captures_), hook_monitor_(state, options.hooks.limit) {}

proc::StopMode PoolDelegate::stop_mode() {
    // A worker may have overwritten the word: any unknown value counts as the strongest mode.
    return std::min(state_.control().stop_mode.load(std::memory_order_acquire),
                    proc::StopMode::kill);
}

bool PoolDelegate::has_work() {
    return !state_.lanes.drained() || count_retries() != 0;
}

/// Recounts the tasks that are to be tried again.
std::uint32_t PoolDelegate::count_retries() {
    std::atomic<std::uint32_t>& retries = state_.control().retries;
    if (retries.load(std::memory_order_relaxed) == 0) return 0;
    const std::uint32_t count = state_.count_retried();
    retries.store(count, std::memory_order_relaxed);
    return count;
}

int PoolDelegate::work(unsigned worker) {
    proc::enter_worker(worker, options_.program);
    for (unsigned other = 0; other < captures_.size(); ++other) {
        if (other != worker) captures_[other].reset();
    }
    const os::GuardedFd capture(std::move(captures_[worker]));
    return run_worker_process(
        state_, worker, options_.hooks, options_.recycling,
        {.capture = &capture, .supervisor = supervisor_, .doorbell = options_.doorbell});
}

void PoolDelegate::starting(unsigned worker) {
    WorkerSlot& slot = state_.slot(worker);
    slot.intent.record.store(0, std::memory_order_relaxed);
    slot.start.store(StartState::starting, std::memory_order_relaxed);
    slot.leaving.store(false, std::memory_order_relaxed);
    slot.stopped.store(false, std::memory_order_relaxed);
    slot.stop_at_ns.store(0, std::memory_order_relaxed);
    slot.since_ns.store(base::coarse_now_ns(), std::memory_order_relaxed);
    slot.crash.signal.store(0, std::memory_order_relaxed);
    slot.crash.frames.fill(0);
    slot.failure.clear();
    hook_monitor_.starting(worker);
    if (captures_[worker])
        os::clear_capture(captures_[worker].get());
    else
        captures_[worker] = os::make_capture();
}

void PoolDelegate::started(unsigned worker, pid_t pid) {
    state_.slot(worker).pid.store(pid, std::memory_order_relaxed);
}

bool PoolDelegate::ended(unsigned worker, os::ProcessExit exit) {
    WorkerSlot& slot = state_.slot(worker);
    const bool had_started = slot.start.load(std::memory_order_acquire) == StartState::ready;
    const bool exit_expired =
        had_started && hook_monitor_.has_killed(worker) && exit.exitcode == -SIGKILL;
    if (exit_expired) {
        warn("prong: worker " + std::to_string(exit.pid) + " was killed: on_worker_exit exceeded " +
             limit_name + "\n");
    }
    const bool has_left =
        slot.leaving.load(std::memory_order_acquire) && (exit.exitcode == 0 || exit_expired);
    slot.pid.store(0, std::memory_order_relaxed);
    const LimitMonitor::Findings findings = limit_monitor_.forget(worker);
    const auto task = state_.unfinished_task(worker);
    const bool was_sentenced = task && (task->status.state == ring::TaskState::condemned ||
                                        is_over_file_size(state_, *task, exit));
    const bool has_died = had_started && !has_left;
    if (has_died) slot.deaths.store(slot.deaths.load() + 1, std::memory_order_relaxed);
    const bool may_break = has_died && options_.break_on_death && !was_sentenced &&
                           stop_mode() <= proc::StopMode::drain;
    // In a broken pool the parent ends all tasks alike, with the cause.
    if (!reason_to_give_up_.empty() || state_.control().broken.load(std::memory_order_relaxed)) {
        return had_started;
    }
    const bool is_tried_again =
        repair_after_death(state_, worker,
                           {.exit = true_exit(exit, slot.crash),
                            .out_of_memory = exit.exitcode == -SIGKILL && !was_sentenced &&
                                             out_of_memory_kills_.take_one(),
                            .excess = findings.excess,
                            .stop_at_ns = findings.stop_at_ns,
                            .may_retry = stop_mode() <= proc::StopMode::drain,
                            .breaks_pool = may_break,
                            .earlier_attempts = task ? count_attempt(*task) : 0,
                            .capture = captures_[worker].get()});
    if (may_break && !is_tried_again) {
        reason_to_give_up_ = "worker " + std::to_string(exit.pid) + " " +
                             diag::exit_text(exit.exitcode) +
                             ", and the pool was made with OnWorkerDeath::break_pool";
    }
    return had_started;
}

/// Counts one more failed attempt at a dead worker's task. Returns how many there were before.
std::uint32_t PoolDelegate::count_attempt(const ring::Claim& task) {
    std::erase_if(attempts_, [this](const Attempts& attempts) {
        const ring::Status status = ring::status_of(state_.records[attempts.index]);
        return status.generation != attempts.generation || is_final(status.state);
    });
    const auto found = std::ranges::find(attempts_, task.index, &Attempts::index);
    if (found != attempts_.end()) return found->count++;
    attempts_.push_back({.index = task.index, .generation = task.status.generation, .count = 1});
    return 0;
}

detail::Deadline PoolDelegate::attend(const std::function<void(unsigned)>& kill) {
    count_retries();
    return std::min(hook_monitor_.look(kill), detail::Deadline::at_ns(limit_monitor_.look(kill)));
}

unsigned PoolDelegate::starts() {
    return state_.control().starts.load(std::memory_order_acquire);
}

std::string PoolDelegate::failure(unsigned worker) {
    if (hook_monitor_.has_killed(worker))
        return "initializer and on_worker_start exceeded " + std::string(limit_name);
    return state_.slot(worker).failure.get();
}

void PoolDelegate::stopped(unsigned worker) {
    state_.slot(worker).stopped.store(true, std::memory_order_relaxed);
    state_.notifier.forget(worker);
}

void PoolDelegate::continued(unsigned worker) {
    state_.slot(worker).stopped.store(false, std::memory_order_relaxed);
    state_.notifier.wake(worker);
}

void PoolDelegate::broke(const std::string& cause) {
    Control& control = state_.control();
    control.cause.set(cause);
    control.broken.store(true, std::memory_order_release);
    // Threads that wait for one task check the flag after each slice; these sleepers are woken.
    control.completions.fetch_add(1);
    os::futex_wake(control.completions, os::everyone);
    for (ring::Cursor& cursor : control.lanes.cursors) {
        cursor.room.fetch_add(1);
        os::futex_wake(cursor.room, os::everyone);
    }
}

bool repair_after_death(SharedState& state, unsigned worker, const WorkerEnd& end) noexcept {
    WorkerSlot& slot = state.slot(worker);
    bool is_tried_again = false;
    if (const auto task = state.unfinished_task(worker)) {
        state.control().left_unfinished.fetch_add(1, std::memory_order_release);
        // The blocks were not published with the task, so no other process refers to them.
        state.payload.reclaim(slot.intent.block.load(std::memory_order_acquire), worker);
        state.payload.reclaim(slot.intent.outgrown_block.load(std::memory_order_acquire), worker);
        is_tried_again = end_task(state, worker, *task, end);
    }
    state.notifier.forget(worker);
    return is_tried_again;
}

} // namespace prong::executor
