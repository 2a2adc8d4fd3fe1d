#include "executor/parent/core.hpp"

#include "base/clock.hpp"
#include "os/process.hpp"

#include <prong/error.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <ranges>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace prong::executor {
namespace {

using Nanoseconds = std::chrono::nanoseconds;

/// Waits are split into slices, after which the waiter checks the processes that it waits for. The
/// first slices are short, because a wake may have reached a stopped worker, but longer than the
/// kernel's tick: a timer that expires sooner is set in hardware, which takes as long as a wake.
constexpr Nanoseconds first_slice = std::chrono::milliseconds(12);
constexpr Nanoseconds longest_slice = std::chrono::milliseconds(64);

/// The shortest time between two checks of the supervisor and of shared memory.
constexpr Nanoseconds look_interval = std::chrono::milliseconds(10);

/// How long the supervisor may take to exit after it was asked to kill the workers; then it is
/// killed.
constexpr Nanoseconds supervisor_patience = std::chrono::seconds(10);

ring::Lane lane_of(Priority priority) {
    switch (priority) {
    case Priority::high:
        return ring::Lane::high;
    case Priority::low:
        return ring::Lane::low;
    case Priority::normal:
        break;
    }
    return ring::Lane::normal;
}

/// Returns whether the status is this task's and cancelled. The record may hold another task by
/// now.
bool is_cancelled(ring::Status status, const detail::TaskKey& task) {
    return status.generation == task.generation &&
           (status.state == ring::TaskState::cancelled || status.state == ring::TaskState::killed);
}

/// Whether this thread has woken a worker since it last waited. If it spun now, it would keep the
/// CPU that the kernel has perhaps chosen for the worker.
constinit thread_local bool has_woken_worker = false;

constexpr std::array all_lanes{ring::Lane::normal, ring::Lane::high, ring::Lane::low};

/// Returns true to at most one caller in each interval.
bool is_due(std::atomic<std::int64_t>& next_ns) noexcept {
    const std::int64_t now = base::coarse_now_ns();
    std::int64_t next = next_ns.load(std::memory_order_relaxed);
    return now >= next && next_ns.compare_exchange_strong(next, now + look_interval.count(),
                                                          std::memory_order_relaxed);
}

void lower(std::atomic<std::int64_t>& value, std::int64_t most) noexcept {
    std::int64_t now = value.load();
    while (most < now && !value.compare_exchange_weak(now, most)) {
    }
}

} // namespace

PoolCore::PoolCore(Setup setup)
    : state_(SharedState::create(setup.sizes)), records_(state_, link_),
      fork_base_(!state_.has_relay()), supervisor_options_(std::move(setup.supervisor)),
      max_pending_(std::min(setup.max_pending, state_.lanes[ring::Lane::normal].capacity())),
      fork_depth_(os::fork_depth()),
      may_leave_family_(state_.has_relay() && !supervisor_options_.relay.is_family),
      link_(state_, supervisor_options_.doorbell), audit_(state_) {
    state_.loops.open_port();
    TaskOptions defaults{.limits = setup.limits};
    if (!needs_settings(defaults)) return;
    TaskSettings settings{};
    write_settings(settings, defaults); // throws what each submit would
    default_options_ = defaults;
}

constinit os::ForkSafeMutex PoolCore::existence;

PoolCore::~PoolCore() {
    // The last task has been taken, so a thread that comes now does not find this core.
    const std::lock_guard lock(existence);
}

PoolCore* PoolCore::create(Setup setup) {
    return new PoolCore(std::move(setup));
}

void PoolCore::start() {
    supervisor_options_.program = getpid();
    link_.attach(fork_base_.start_supervisor(state_, supervisor_options_));
    state_.loops.become_parent();
    supervisor_options_.hooks = {}; // their captures may be in a module that is unloaded later
    supervisor_options_.relay = {};
    state_.region.keep_from_children(); // children that the user forks do not map it
}

void PoolCore::refuse_copy() {
    throw std::logic_error(
        "this process pool belongs to the process that created it and cannot be "
        "used in a process forked from that one, such as a worker: create a pool "
        "in this process");
}

void PoolCore::refuse_broken() {
    if (shut_down_.load()) return; // a pool that is shut down says so by its closed queue
    throw BrokenProcessPool(broken_cause());
}

std::string PoolCore::broken_cause() {
    std::string cause = "the process pool is broken: ";
    if (corrupted_.load(std::memory_order_acquire)) {
        cause += "a worker has corrupted the memory that it shares with this process";
    } else if (state_.control().broken.load(std::memory_order_acquire)) {
        cause += state_.control().cause.get();
    } else {
        cause += "its supervisor process has died";
    }
    return cause + "; create a new pool";
}

void PoolCore::close() noexcept {
    if (records_.close()) delete this;
}

void PoolCore::unref() noexcept {
    if (records_.unref()) delete this;
}

void PoolCore::abandon(const RecordRef& ref) noexcept {
    const ring::Status after = ring::abandon(state_.records[ref.index], ref.generation);
    const bool is_over = is_final(after.state) || after.generation != ref.generation;
    if (is_over ? records_.release(ref) : records_.abandon(ref)) delete this;
}

// Submitting

void PoolCore::throw_no_record() const {
    throw LimitExceeded(LimitKind::pending_tasks,
                        "all " + std::to_string(state_.records.size()) +
                            " task records of the pool belong to futures; take results or "
                            "destroy futures before submitting more");
}

/// Writes the task's settings; returns the flags for its status.
std::uint8_t PoolCore::write_options(const Written& task, const TaskOptions* options) {
    if (options == nullptr || (!needs_settings(*options) && task.earlier_attempts == 0)) {
        if (!default_options_) return 0;
        options = &*default_options_;
    }
    TaskOptions all = *options;
    if (default_options_) {
        const TaskLimits& defaults = default_options_->limits;
        TaskLimits& limits = all.limits;
        if (!limits.memory_bytes) limits.memory_bytes = defaults.memory_bytes;
        if (!limits.address_space_bytes) limits.address_space_bytes = defaults.address_space_bytes;
        if (!limits.cpu_time.value()) limits.cpu_time = defaults.cpu_time;
        if (!limits.max_file_bytes) limits.max_file_bytes = defaults.max_file_bytes;
    }
    TaskSettings& settings = state_.settings(task.index);
    write_settings(settings, all);
    settings.deaths.store(task.earlier_attempts, std::memory_order_relaxed);
    return ring::Status::has_options;
}

ring::Lane PoolCore::use_lane(Priority priority) noexcept {
    const ring::Lane lane = lane_of(priority);
    if (lane != ring::Lane::normal) state_.lanes.use_several();
    return lane;
}

void PoolCore::note_wake() noexcept {
    has_woken_worker = true;
}

ring::Position PoolCore::end_unqueued(std::uint32_t index, std::uint8_t flags, ring::Lane lane,
                                      ring::TaskState end) noexcept {
    // Not its own, but its number must not be an earlier task's.
    const ring::Position position = state_.lanes[lane].tail();
    state_.records[index].status.store(
        ring::Status{.state = end,
                     .flags = flags,
                     .generation = ring::generation_of(position, detail::TaskKey::no_lane)}
            .pack());
    if (end == ring::TaskState::expired) expired_.fetch_add(1);
    if (end == ring::TaskState::cancelled) cancelled_.fetch_add(1);
    unqueued_.fetch_add(1);
    return position;
}

void PoolCore::note_deadline(std::int64_t deadline_ns) noexcept {
    lower(next_deadline_ns_, deadline_ns);
}

bool PoolCore::wait_for_position(ring::Lane lane, detail::Deadline limit, detail::Deadline deadline,
                                 ring::Position& position) {
    wake_worker(); // for what this thread has queued before: it makes the room
    ring::RoomWords& room = state_.control().lanes.room;
    const ring::RoomWords::Waiter waiter(room);
    for (;;) {
        const std::uint32_t seen = room.made.load(); // before all that may make room
        state_.retire_entries();
        expire_late();
        const ring::Ring::ReserveResult result = state_.lanes.reserve(lane, max_pending_, position);
        if (result == ring::Ring::ReserveResult::ok) return true;
        if (result == ring::Ring::ReserveResult::closed)
            throw PoolShutdown("the pool has been shut down and accepts no more tasks");
        if (poll_health()) require_usable();
        if (limit.passed() || deadline.passed()) return false;
        const auto next_expiry = detail::Deadline::at_ns(next_deadline_ns_.load());
        os::futex_wait(room.made, seen, deadline.left(limit.left(next_expiry.left(first_slice))));
        rewake_workers();
    }
}

/// Calls `visit(task)` for each queued task, including those that are to be tried again.
template <typename Visit>
void PoolCore::visit_queued(Visit visit) {
    for (const ring::Lane lane : all_lanes) {
        state_.lanes[lane].visit_queued([&](std::uint32_t index, std::uint32_t generation) {
            visit({.index = index,
                   .generation = generation,
                   .lane = static_cast<std::uint8_t>(lane)});
        });
    }
    state_.any_retried([&](const ring::Record& record) {
        visit({.index = static_cast<std::uint32_t>(&record - state_.records.data()),
               .generation = ring::status_of(record).generation});
        return false;
    });
}

bool PoolCore::has_late() const noexcept {
    const std::int64_t next = next_deadline_ns_.load();
    return next != no_alarm && base::steady_now_ns() >= next;
}

bool PoolCore::expire_late() noexcept {
    if (!has_late()) return false;
    const std::uint64_t before = expired_.load();
    next_deadline_ns_.store(no_alarm);
    visit_queued([this](const detail::TaskKey& task) {
        ring::Record& record = state_.records[task.index];
        const TaskSettings& settings = state_.settings(task.index);
        const bool has_options = ring::status_of(record).has(ring::Status::has_options);
        if (!has_options || settings.deadline_ns == 0) return;
        // Does nothing if the record holds its next task by now.
        if (is_too_late(settings))
            leave_queue(task, ring::expire(record, task.generation), expired_);
        else
            lower(next_deadline_ns_, settings.deadline_ns);
    });
    return expired_.load() != before;
}

bool PoolCore::may_queue_ended() noexcept {
    return state_.lanes.has_dead() || has_late();
}

/// Counts and announces a task that has left the queue without a worker.
void PoolCore::leave_queue(const detail::TaskKey& task, ring::Step step,
                           std::atomic<std::uint64_t>& count) noexcept {
    // A task in no lane can have made the step only if shared memory is corrupt.
    if (!step.made || task.lane == detail::TaskKey::no_lane) return;
    count.fetch_add(1);
    state_.lanes.forget(ring::Lane{task.lane}, task.index, task.generation);
    const bool is_announced = state_.announce(state_.records[task.index], step.after.flags);
    if (!state_.loops.task_claimed() || !is_announced) link_.try_notify();
}

void PoolCore::rewake_workers() noexcept {
    if (state_.lanes.has_work()) state_.notifier.wake_parked();
}

// Waiting

bool PoolCore::is_late(const ring::Status& status, std::uint32_t index) const noexcept {
    return status.state == ring::TaskState::queued && status.has(ring::Status::has_options) &&
           is_too_late(state_.settings(index));
}

ring::Status PoolCore::look(const detail::TaskKey& task) const noexcept {
    ring::Status now = ring::status_of(state_.records[task.index]);
    if (now.generation != task.generation || now.state == ring::TaskState::vacant)
        return {.state = ring::TaskState::lost, .generation = task.generation};
    if (is_late(now, task.index)) now.state = ring::TaskState::expired;
    return now;
}

ring::Status PoolCore::update(const detail::TaskKey& task) noexcept {
    ring::Record& record = state_.records[task.index];
    const ring::Status now = ring::status_of(record);
    if (now.generation != task.generation || now.state == ring::TaskState::vacant) {
        abort_corrupted();
        return ring::mark_lost(record, task.generation);
    }
    if (!is_late(now, task.index)) return now;
    const ring::Step step = ring::expire(record, task.generation);
    leave_queue(task, step, expired_);
    return step.after;
}

ring::Status PoolCore::resolve(const detail::TaskKey& task) {
    const ring::Status now = update(task);
    if (is_final(now.state)) return now;
    if (poll_health()) return mark_lost(task);
    if (!link_ || !audit_.is_inconsistent(task)) return now;
    abort_corrupted();
    return mark_lost(task);
}

bool PoolCore::cancel(const detail::TaskKey& task) noexcept {
    const ring::Step step = ring::cancel(state_.records[task.index], task.generation);
    leave_queue(task, step, cancelled_);
    return is_cancelled(step.after, task);
}

bool PoolCore::request_stop(const detail::TaskKey& task) noexcept {
    ring::Record& record = state_.records[task.index];
    const ring::Step step = ring::request_stop(record, task.generation);
    if (is_cancelled(step.after, task)) {
        leave_queue(task, step, cancelled_);
        return true;
    }
    if (step.made && !notify_relay_of(step.after))
        os::futex_wake(record.status, os::everyone); // a thread behind a stop token
    return step.after.generation == task.generation && is_claimed(step.after.state);
}

bool PoolCore::kill(const detail::TaskKey& task) {
    ring::Record& record = state_.records[task.index];
    ring::Status status;
    do { // again if it has been claimed or requeued meanwhile
        if (cancel(task)) return true;
        if (poll_health()) return false; // no worker is left
        status = ring::status_of(record);
        if (status.generation != task.generation) return false; // a worker has overwritten it
        if (status.state == ring::TaskState::running)
            status = ring::condemn(record, status, ring::Verdict::kill);
    } while (status.state == ring::TaskState::running || status.state == ring::TaskState::queued);
    if (status.state != ring::TaskState::condemned) return false;
    if (!notify_relay_of(status)) link_.notify();
    return ring::verdict_of(status) == ring::Verdict::kill;
}

/// If the relay holds the task: makes it check what is asked of its tasks.
bool PoolCore::notify_relay_of(const ring::Status& status) noexcept {
    if (!state_.is_claim(status.owner)) return false;
    state_.control().relay.requests.fetch_add(1);
    state_.notifier.wake(state_.relay());
    return true;
}

ring::Status PoolCore::mark_lost(const detail::TaskKey& task) noexcept {
    // After terminate_workers a task may have been requeued although no worker is left to take it.
    if (!aborted_.load() && link_.stop_mode() >= proc::StopMode::terminate) cancel(task);
    return ring::mark_lost(state_.records[task.index], task.generation);
}

bool PoolCore::wait(const detail::TaskKey& task, detail::Deadline limit) {
    ring::Record& record = state_.records[task.index];
    thread_local ring::Spinner spinner;
    Nanoseconds slice = first_slice;
    for (;;) {
        const ring::Status now = update(task);
        if (is_final(now.state)) {
            spinner.found();
            return true;
        }
        if (has_ended()) {
            mark_lost(task);
            continue;
        }
        if (limit.passed()) {
            if (!poll_health()) return false;
            continue;
        }
        if (!std::exchange(has_woken_worker, false) && spin(spinner)) continue;

        const ring::Status watched = ring::watch(record, ring::Status::watched);
        if (is_final(watched.state)) continue;
        os::futex_wait(record.status, static_cast<std::uint32_t>(watched.pack()),
                       limit.left(slice));
        if (is_final(ring::status_of(record).state)) continue;
        resolve(task);
        rewake_workers();
        notify_if_due(task);
        slice = std::min(2 * slice, longest_slice);
    }
}

void PoolCore::sleep_until_completion(std::span<PoolCore* const> pools,
                                      std::span<const std::uint32_t> seen, bool may_spin,
                                      detail::Deadline limit) {
    thread_local ring::Spinner spinner;
    const auto is_unchanged = [&] {
        return std::ranges::equal(pools, seen, {}, &PoolCore::completions);
    };
    while (may_spin && is_unchanged() && pools.front()->spin(spinner)) {
    }
    if (!is_unchanged()) return spinner.found();
    std::vector<os::FutexWaiter> words;
    for (std::size_t i = 0; i < pools.size(); ++i) {
        Control& control = pools[i]->state_.control();
        // Sequentially consistent with announce: either that sees this count, or this sees the new
        // value.
        control.waiting_for_completions.fetch_add(1);
        words.push_back({.word = &control.completions, .expected = seen[i]});
    }
    const Nanoseconds slice = limit.left(longest_slice / 4);
    if (words.size() == 1)
        os::futex_wait(*words[0].word, words[0].expected, slice);
    else
        os::futex_wait_any(words, slice);
    for (PoolCore* const pool : pools) {
        pool->state_.control().waiting_for_completions.fetch_sub(1);
        pool->rewake_workers();
    }
}

void PoolCore::poll_signal() {
    if (signal_.has_ended()) link_.reap();
}

bool PoolCore::poll_health() {
    if (has_ended()) return true;
    if (state_.control().broken.load(std::memory_order_acquire)) abort();
    if (link_ && is_due(next_look_ns_)) {
        if (link_.reap_until(detail::Deadline::now())) return true;
        link_.continue_if_stopped();
        audit_shared_memory();
    }
    return has_ended();
}

// Corrupt shared memory

void PoolCore::audit_shared_memory() noexcept {
    if (!audit_.repair(link_)) abort_corrupted();
}

void PoolCore::abort_corrupted() noexcept {
    corrupted_.store(true, std::memory_order_release);
    abort();
}

/// Asks the supervisor to kill all workers and exit: tasks that are not final will not become so.
void PoolCore::abort() noexcept {
    if (aborted_.exchange(true)) return;
    link_.request_stop(proc::StopMode::kill);
    link_.try_notify();
}

// Ending

void PoolCore::shutdown(bool wait, bool cancel_queued) {
    shut_down_.store(true);
    state_.lanes.close();
    if (cancel_queued) this->cancel_queued();
    link_.request_stop(proc::StopMode::drain);
    link_.try_notify();
    if (wait) wait_for_supervisor(detail::Deadline::never());
}

/// Blocks until the supervisor has ended, and reaps it; returns false at `limit`. Audits shared
/// memory meanwhile, and kills a supervisor that does not obey.
bool PoolCore::wait_for_supervisor(detail::Deadline limit) {
    if (!link_) return true;
    Nanoseconds slice = first_slice;
    try {
        while (!link_.reap_until(detail::Deadline::after(limit.left(slice)))) {
            link_.continue_if_stopped();
            slice = std::min(2 * slice, 4 * longest_slice);
            if (state_.control().broken.load()) abort();
            audit_shared_memory();
            if (link_.stop_mode() >= proc::StopMode::kill) {
                const std::int64_t now = base::steady_now_ns();
                std::int64_t asked = 0;
                if (kill_asked_ns_.compare_exchange_strong(asked, now)) asked = now;
                const bool is_late = now - asked >= Nanoseconds(supervisor_patience).count();
                if (is_late && !link_.kill()) link_.give_up();
            }
            if (limit.passed()) return false;
        }
    } catch (const std::system_error&) { // poll fails
        link_.reap();
    }
    return true;
}

/// Cancels the tasks that no worker has claimed, including those that are to be tried again.
std::uint64_t PoolCore::cancel_queued() noexcept {
    std::uint64_t count = 0;
    visit_queued([&](const detail::TaskKey& task) {
        const ring::Step step = ring::cancel(state_.records[task.index], task.generation);
        leave_queue(task, step, cancelled_);
        count += step.made ? 1 : 0;
    });
    records_.release_ended();
    return count;
}

bool PoolCore::join_until(detail::Deadline limit) {
    if (!shut_down_.load()) {
        throw std::logic_error("join_for() was called before shutdown(): the workers of a pool "
                               "that accepts tasks do not exit");
    }
    return wait_for_supervisor(limit);
}

ShutdownReport PoolCore::shutdown_for(detail::Deadline limit) {
    shutdown(false, false);
    ShutdownReport report;
    if (wait_for_supervisor(limit)) return report;
    report.cancelled = cancel_queued();
    const std::vector<RunningTask> running = running_tasks();
    link_.request_stop(proc::StopMode::kill);
    link_.notify();
    wait_for_supervisor(detail::Deadline::never());
    for (const RunningTask& task : running) {
        const ring::Status end = ring::status_of(state_.records[task.index]);
        const bool was_faster = end.generation != task.status.generation ||
                                end.state == ring::TaskState::returned ||
                                end.state == ring::TaskState::thrown;
        if (!was_faster) report.killed.push_back({.pid = task.pid, .task = task.name});
    }
    return report;
}

void PoolCore::end_workers(proc::StopMode mode) {
    shutdown(false, true);
    link_.request_stop(mode);
    link_.notify();
}

} // namespace prong::executor

namespace prong::detail {

PoolReference::PoolReference(executor::PoolCore& core) : core_(&core) {
    core.require_own_process();
    core.ref();
}

PoolReference::~PoolReference() {
    if (core_ != nullptr && !core_->is_copy()) core_->unref();
}

} // namespace prong::detail
