#include "executor/shared/failed_task.hpp"

#include "diag/exit_text.hpp"
#include "os/capture.hpp"

#include <algorithm>

namespace prong::executor {
namespace {

/// Adds the earlier attempts at the task to the report, and this one to the settings.
void note_attempt(TaskSettings& settings, AttemptEnd& attempt) {
    FailureReport& report = attempt.report;
    const std::uint32_t before =
        attempt.earlier_attempts.value_or(settings.deaths.load(std::memory_order_relaxed));
    const auto places = static_cast<std::uint32_t>(settings.last_deaths.size());
    for (std::uint32_t i = before - std::min(before, places - 1); i < before; ++i)
        report.earlier.push_back(settings.last_deaths[i % places]);
    settings.last_deaths[before % places] = {.pid = report.death.pid,
                                             .exitcode = report.death.exitcode};
    settings.deaths.store(before + 1, std::memory_order_relaxed);
    report.attempts = before + 1;
}

bool requeue(SharedState& state, const ring::Claim& task, unsigned owner) noexcept {
    const ring::Status after = ring::requeue(task, state.intent(owner));
    if (after.state != ring::TaskState::queued) return false;
    state.control().retries.fetch_add(1, std::memory_order_release);
    state.control().left_unfinished.fetch_add(1, std::memory_order_release);
    return true;
}

/// Makes the task final with its failure report; an abandoned task keeps no payload.
ring::Status fail_dead(SharedState& state, const AttemptEnd& attempt) noexcept {
    const ring::Claim& task = attempt.task;
    for (bool is_abandoned = task.status.has(ring::Status::abandoned);; is_abandoned = true) {
        if (is_abandoned) {
            state.payload.reclaim(state.intent(attempt.owner).block.load(), attempt.owner);
            state.discard_arguments(*task.record);
        }
        write_failure_report(state, attempt.owner, *task.record, attempt.report, is_abandoned);
        const ring::Status after = ring::fail_dead(task, attempt.otherwise, !is_abandoned);
        // Otherwise the future was dropped meanwhile.
        if (is_final(after.state) || is_abandoned) return after;
    }
}

} // namespace

std::string cause_of_break(const Death& death) {
    return "worker " + std::to_string(death.pid) +
           (death.host.empty() ? std::string() : " on " + death.host) + " " +
           diag::exit_text(death.exitcode) +
           ", and the pool was made with OnWorkerDeath::break_pool";
}

bool requeue_unstarted(SharedState& state, const ring::Claim& task, unsigned owner) noexcept {
    state.control().left_unfinished.fetch_add(1, std::memory_order_release);
    return requeue(state, task, owner);
}

AttemptStep end_failed_task(SharedState& state, AttemptEnd attempt) noexcept {
    Control& control = state.control();
    control.left_unfinished.fetch_add(1, std::memory_order_release);
    // The blocks were not published with the task, so no other process refers to them.
    const ring::WorkerIntent& intent = state.intent(attempt.owner);
    state.payload.reclaim(intent.block.load(std::memory_order_acquire), attempt.owner);
    state.payload.reclaim(intent.outgrown_block.load(std::memory_order_acquire), attempt.owner);
    if (attempt.is_unstarted && requeue(state, attempt.task, attempt.owner))
        return {.is_requeued = true};
    if (attempt.task.status.has(ring::Status::has_options)) {
        TaskSettings& settings = state.settings(attempt.task.index);
        note_attempt(settings, attempt);
        if (attempt.may_retry && is_intact(settings) &&
            attempt.report.attempts <= settings.max_retries &&
            requeue(state, attempt.task, attempt.owner)) {
            control.retried.fetch_add(1, std::memory_order_relaxed);
            return {.is_requeued = true};
        }
        if (settings.capture_output != 0 && attempt.capture >= 0)
            attempt.report.death.last_output = os::captured_output(attempt.capture);
    }
    if (attempt.breaks_pool) return {.breaks_pool = true};
    const ring::Status after = fail_dead(state, attempt);
    control.died.fetch_add(1, std::memory_order_relaxed);
    if (after.state != ring::TaskState::died)
        control.killed.fetch_add(1, std::memory_order_relaxed);
    return {.is_announced = state.announce(*attempt.task.record, after.flags)};
}

} // namespace prong::executor
