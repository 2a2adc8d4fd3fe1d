#include "executor/supervisor/delegate.hpp"

#include "base/clock.hpp"
#include "diag/exit_text.hpp"
#include "executor/relay/process.hpp"
#include "executor/shared/failed_task.hpp"
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

/// Requeues the unfinished task of a dead worker, or fails it unless the pool breaks. Returns
/// whether it is requeued.
bool end_task(SharedState& state, unsigned worker, const ring::Claim& task, const WorkerEnd& end) {
    AttemptEnd attempt{.owner = worker,
                       .task = task,
                       .report = {.death = {.pid = end.exit.pid,
                                            .exitcode = end.exit.exitcode,
                                            .out_of_memory = end.out_of_memory,
                                            .frames = frames_of(state.slot(worker).crash)},
                                  .excess = end.excess},
                       .capture = end.capture,
                       .may_retry = end.may_retry,
                       .breaks_pool = end.breaks_pool,
                       .earlier_attempts = end.earlier_attempts};
    if (task.status.has(ring::Status::has_options))
        attempt.report.missed_deadline = is_deadline(state.settings(task.index), end.stop_at_ns);
    if (is_over_file_size(state, task, end.exit)) {
        const std::uint64_t most = state.settings(task.index).max_file_bytes;
        attempt.report.excess = {LimitKind::file_size, most, most};
        attempt.otherwise = ring::TaskState::over_limit;
        attempt.may_retry = false;
    }
    // The repair notifies the loops.
    return end_failed_task(state, std::move(attempt)).is_requeued;
}

} // namespace

PoolDelegate::PoolDelegate(SharedState& state, const SupervisorOptions& options)
    : state_(state), options_(options), supervisor_(getpid()), captures_(state.workers()),
      limit_monitor_(state, captures_), hook_monitor_(state, options.hooks.limit),
      payload_trimmer_(state.payload) {}

proc::StopMode PoolDelegate::stop_mode() {
    return state_.stop_mode();
}

bool PoolDelegate::has_work() {
    return !state_.lanes.drained() || count_retries() != 0;
}

/// Recounts the tasks that are to be tried again.
std::uint32_t PoolDelegate::count_retries() {
    std::atomic<std::uint32_t>& retries = state_.control().retries;
    std::uint32_t before = retries.load(std::memory_order_acquire);
    if (before == 0) return 0;
    const std::uint32_t count = state_.count_retried();
    // Fails if the relay has requeued a task meanwhile, which this count may not include.
    retries.compare_exchange_strong(before, count, std::memory_order_relaxed);
    return count;
}

int PoolDelegate::work(unsigned worker) {
    for (unsigned other = 0; other < captures_.size(); ++other) {
        if (other != worker) captures_[other].reset();
    }
    state_.loops.become_worker();
    if (is_relay(worker)) {
        return run_relay_process(state_, options_.relay,
                                 {.supervisor = supervisor_, .doorbell = options_.doorbell});
    }
    for (const int fd : options_.relay.kept) close(fd);
    proc::enter_worker(worker, options_.program);
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
    if (is_relay(worker)) return;
    hook_monitor_.starting(worker);
    if (captures_[worker])
        os::clear_capture(captures_[worker].get());
    else
        captures_[worker] = os::make_capture();
}

void PoolDelegate::started(unsigned worker, pid_t pid) {
    state_.slot(worker).pid.store(pid, std::memory_order_relaxed);
    if (is_relay(worker)) relay_pid_ = pid;
}

bool PoolDelegate::ended(unsigned worker, os::ProcessExit exit) {
    if (is_relay(worker)) {
        relay_ended(exit);
        return true; // its failed starts count as any other end
    }
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
        reason_to_give_up_ = cause_of_break({.pid = exit.pid, .exitcode = exit.exitcode});
    }
    return had_started;
}

/// Repairs what a relay has left that has ended. Gives up the pool if it is not to be replaced.
void PoolDelegate::relay_ended(os::ProcessExit exit) {
    WorkerSlot& slot = state_.slot(state_.relay());
    slot.pid.store(0, std::memory_order_relaxed);
    const proc::StopMode mode = stop_mode();
    relay_has_left_ = exit.exitcode == 0 && slot.leaving.load(std::memory_order_acquire);
    std::string cause = slot.failure.get();
    if (cause.empty())
        cause = "the relay " + std::to_string(exit.pid) + " " + diag::exit_text(exit.exitcode);
    const bool is_hopeless = state_.control().relay.is_hopeless.load(std::memory_order_acquire);
    const bool breaks_pool = !relay_has_left_ && mode <= proc::StopMode::drain &&
                             (is_hopeless || relay_ends_++ >= options_.relay.relaunches);
    // In a broken pool the parent ends all tasks alike, with the cause.
    if (!reason_to_give_up_.empty() || state_.control().broken.load(std::memory_order_relaxed))
        return;
    if (breaks_pool) {
        reason_to_give_up_ = cause;
        return;
    }
    for (unsigned claim = 0; claim < state_.claims().size(); ++claim) {
        const auto task = state_.unfinished_task(state_.owner_of_claim(claim));
        if (task) end_task_of_relay(claim, *task, exit, cause);
    }
    state_.control().relay.remote_workers.store(0, std::memory_order_release);
    state_.notifier.forget(state_.relay());
    state_.loops.repair();
}

/// Requeues or fails a task that a dead relay held.
void PoolDelegate::end_task_of_relay(unsigned claim, const ring::Claim& task, os::ProcessExit exit,
                                     const std::string& cause) {
    const std::int32_t rank = state_.claims()[claim].rank.load(std::memory_order_acquire);
    const bool may_retry = stop_mode() <= proc::StopMode::drain;
    FailureReport report;
    if (may_retry) {
        report.lost_rank = LostRank{.rank = rank, .cause = cause};
        const auto workers = state_.remote_workers();
        const auto found = std::ranges::find_if(workers, [rank](const RemoteWorker& worker) {
            return worker.rank.load(std::memory_order_relaxed) == rank;
        });
        if (rank != RelayClaim::not_sent && found != workers.end())
            report.death.host = found->host.get();
    } else { // the pool has killed it
        report.death = {.pid = exit.pid, .exitcode = exit.exitcode};
    }
    const bool is_unstarted = may_retry && rank == RelayClaim::not_sent;
    end_failed_task(state_, {.owner = state_.owner_of_claim(claim),
                             .task = task,
                             .report = std::move(report),
                             .may_retry = may_retry,
                             .is_unstarted = is_unstarted,
                             .earlier_attempts = is_unstarted ? std::optional<std::uint32_t>()
                                                              : count_attempt(task)});
}

/// Counts one more failed attempt at a dead worker's task. Returns how many there were before.
std::uint32_t PoolDelegate::count_attempt(const ring::Claim& task) {
    // The relay counts in shared memory only.
    const bool has_options = task.status.has(ring::Status::has_options);
    const std::uint32_t shared = state_.has_relay() && has_options
                                     ? state_.settings(task.index).deaths.load()
                                     : std::uint32_t{0};
    std::erase_if(attempts_, [this](const Attempts& attempts) {
        const ring::Status status = ring::status_of(state_.records[attempts.index]);
        return status.generation != attempts.generation || is_final(status.state);
    });
    const auto found = std::ranges::find(attempts_, task.index, &Attempts::index);
    if (found != attempts_.end()) return std::max(found->count++, shared);
    attempts_.push_back({.index = task.index, .generation = task.status.generation, .count = 1});
    return shared;
}

detail::Deadline PoolDelegate::attend(const std::function<void(unsigned)>& kill) {
    count_retries();
    state_.loops.repair_if_wanted();
    return std::min({hook_monitor_.look(kill), detail::Deadline::at_ns(limit_monitor_.look(kill)),
                     payload_trimmer_.look()});
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
    state_.loops.repair();
    // A stopped worker delays its own task only, a stopped relay those of all hosts.
    if (is_relay(worker)) kill(relay_pid_, SIGCONT);
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
    control.lanes.room.wake_all();
    state_.loops.repair();
}

bool repair_after_death(SharedState& state, unsigned worker, const WorkerEnd& end) noexcept {
    bool is_tried_again = false;
    if (const auto task = state.unfinished_task(worker))
        is_tried_again = end_task(state, worker, *task, end);
    state.notifier.forget(worker);
    state.loops.repair();
    return is_tried_again;
}

} // namespace prong::executor
