#include "executor/relay/relay_port.hpp"

#include "base/clock.hpp"
#include "executor/shared/failed_task.hpp"
#include "executor/shared/result_writer.hpp"
#include "executor/worker/task_scope.hpp"

#include <prong/error.hpp>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <utility>

namespace prong::executor {
namespace {

using ring::Status;
using ring::TaskState;

/// Returns the options for the pool that runs the task.
TaskOptions options_of(const TaskSettings& settings) {
    const auto time = [](std::int64_t ns) {
        return ns != 0 ? Timeout(std::chrono::nanoseconds(ns)) : Timeout(std::nullopt);
    };
    const auto bytes = [](std::uint64_t number) {
        return number != 0 ? std::optional<std::size_t>(number) : std::nullopt;
    };
    TaskOptions options{.timeout = time(settings.timeout_ns)};
    if (settings.deadline_ns != 0) {
        const std::int64_t left = settings.deadline_ns - base::steady_now_ns();
        options.deadline = std::chrono::nanoseconds(std::max<std::int64_t>(left, 1));
    }
    options.grace = std::chrono::nanoseconds(std::max<std::int64_t>(settings.grace_ns, 0));
    options.limits = {.memory_bytes = bytes(settings.resident_bytes),
                      .address_space_bytes = bytes(settings.address_space_bytes),
                      .cpu_time = time(settings.cpu_ns),
                      .max_file_bytes = bytes(settings.max_file_bytes)};
    options.capture_output = settings.capture_output != 0;
    options.capture_stack = settings.capture_stack != 0;
    return options;
}

/// Returns whether an end in this state has a failure report.
bool is_failure(TaskState state) {
    return state >= TaskState::died && state <= TaskState::over_limit;
}

/// Returns the report, or an empty one if its bytes are invalid.
FailureReport report_in(std::span<const std::byte> bytes) {
    try {
        return read_failure_report(detail::Reader(bytes));
    } catch (const CodecError&) {
        return {};
    }
}

} // namespace

class RelayPort::Impl {
public:
    Impl(SharedState& state, const WorkerSurroundings& surroundings);

    std::size_t claim(const Take& take);
    std::span<std::byte> reserve_end(std::uint32_t claim, std::size_t size);
    std::string end(std::uint32_t claim, const TaskEnd& end, std::string_view host,
                    OnWorkerDeath on_death);
    bool lose(std::uint32_t claim, std::string_view host, std::string_view cause);
    void take_back(std::uint32_t claim);
    std::vector<Request> take_requests();
    [[nodiscard]] bool has_idle_worker() const;
    [[nodiscard]] bool is_over() const;
    void nap(std::chrono::nanoseconds most, bool wants_tasks);
    void publish(int rank, std::string_view host, std::span<const RelayWorker> workers);

    [[nodiscard]] SharedState& state() const { return state_; }
    [[nodiscard]] std::uint32_t held() const { return held_; }
    [[nodiscard]] bool is_orphaned() const {
        return surroundings_.supervisor != 0 && getppid() != surroundings_.supervisor;
    }

private:
    /// A claim, and the task that it holds.
    struct Slot {
        ring::Claim task{};
        std::optional<ResultWriter> writer; ///< of the bytes of the task's end
        bool is_held = false;
        bool is_asked_to_stop = false;
        bool is_killed = false;
    };
    /// The `RemoteWorker`s of a rank.
    struct Reported {
        int rank;
        std::size_t first;
        std::size_t count;
    };

    [[nodiscard]] ring::WorkerIntent& intent_of(std::uint32_t claim) const {
        return state_.claims()[claim].intent;
    }
    std::optional<std::uint32_t> claim_one();
    std::optional<std::uint32_t> claim_left_here();
    bool claim_left_by_workers(std::uint16_t owner, std::uint32_t claim, ring::Claim& task);
    void hold(std::uint32_t claim, const ring::Claim& task);
    [[nodiscard]] RelayTask describe(std::uint32_t claim) const;
    ResultWriter& writer_of(std::uint32_t claim);
    TaskState write(std::uint32_t claim, const TaskEnd& end);
    void finish(std::uint32_t claim, TaskState end, std::string_view host);
    [[nodiscard]] Status finish_record(std::uint32_t claim, TaskState end);
    AttemptStep fail(std::uint32_t claim, AttemptEnd attempt);
    void requeued(std::uint32_t claim);
    void let_go(std::uint32_t claim);
    void count(TaskState end);
    void stop_searching();
    std::span<RemoteWorker> remote_workers_of(int rank, std::size_t count);

    SharedState& state_;
    WorkerSlot& slot_;
    WorkerSurroundings surroundings_;
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_;
    /// Claims whose intents may hold a task that is to be tried again. Not free until it is
    /// claimed.
    std::deque<std::uint32_t> waiting_;
    std::uint32_t held_ = 0;
    std::uint64_t turn_ = 0;     ///< how many tasks have been claimed
    std::uint64_t requests_ = 0; ///< `RelayWords::requests` at the last look
    bool searching_ = false;
    std::vector<Reported> reported_;
};

RelayPort::Impl::Impl(SharedState& state, const WorkerSurroundings& surroundings)
    : state_(state), slot_(state.slot(state.relay())), surroundings_(surroundings),
      slots_(state.claims().size()) {
    // What an earlier relay has reported is out of date.
    state_.control().relay.remote_workers.store(0, std::memory_order_release);
    for (auto claim = static_cast<std::uint32_t>(slots_.size()); claim-- != 0;) {
        state_.claims()[claim].rank.store(RelayClaim::not_sent, std::memory_order_relaxed);
        const bool is_waiting = ring::retried(state_.records, intent_of(claim)) != nullptr;
        if (is_waiting)
            waiting_.push_back(claim);
        else
            free_.push_back(claim);
    }
}

// Claiming

std::size_t RelayPort::Impl::claim(const Take& take) {
    std::size_t count = 0;
    bool wants_more = true;
    while (wants_more) {
        const auto claim = claim_one();
        if (!claim) break;
        if (!state_.loops.task_claimed()) surroundings_.notify_supervisor();
        const ring::Claim& task = slots_[*claim].task;
        const bool has_options = task.status.has(Status::has_options);
        if (has_options && is_too_late(state_.settings(task.index))) {
            finish(*claim, TaskState::expired, {});
        } else {
            ++count;
            wants_more = take(describe(*claim));
        }
    }
    stop_searching();
    return count;
}

std::optional<std::uint32_t> RelayPort::Impl::claim_one() {
    if (const auto claim = claim_left_here()) return claim;
    if (free_.empty()) return std::nullopt;
    const std::uint32_t claim = free_.back();
    const auto owner = static_cast<std::uint16_t>(state_.owner_of_claim(claim));
    ring::Claim task{};
    if (!claim_left_by_workers(owner, claim, task) &&
        !state_.lanes.claim(owner, intent_of(claim), turn_, task))
        return std::nullopt;
    free_.pop_back();
    hold(claim, task);
    return claim;
}

/// Claims a task that is to be tried again and stands in an intent of the relay itself. Frees the
/// claims whose tasks have been taken by others.
std::optional<std::uint32_t> RelayPort::Impl::claim_left_here() {
    while (!waiting_.empty()) {
        const std::uint32_t claim = waiting_.front();
        const auto owner = static_cast<std::uint16_t>(state_.owner_of_claim(claim));
        ring::WorkerIntent& intent = intent_of(claim);
        const auto task = ring::claim_retry(state_.records, owner, intent, intent);
        waiting_.pop_front();
        // It counts them anew: while there may be any, workers search all intents.
        if (waiting_.empty()) surroundings_.notify_supervisor();
        if (task) {
            hold(claim, *task);
            return claim;
        }
        free_.push_back(claim);
    }
    return std::nullopt;
}

/// Claims a task that a dead worker has left to be tried again.
bool RelayPort::Impl::claim_left_by_workers(std::uint16_t owner, std::uint32_t claim,
                                            ring::Claim& task) {
    if (!state_.may_have_retried()) return false;
    for (unsigned worker = 0; worker < state_.workers(); ++worker) {
        const auto claimed =
            ring::claim_retry(state_.records, owner, intent_of(claim), state_.slot(worker).intent);
        if (!claimed) continue;
        task = *claimed;
        return true;
    }
    return false;
}

void RelayPort::Impl::hold(std::uint32_t claim, const ring::Claim& task) {
    Slot& slot = slots_[claim];
    slot.task = task;
    slot.is_held = true;
    slot.is_asked_to_stop = false;
    slot.is_killed = false;
    ++held_;
    ++turn_;
}

RelayTask RelayPort::Impl::describe(std::uint32_t claim) const {
    const ring::Claim& task = slots_[claim].task;
    RelayTask described{
        .claim = claim,
        .type = reinterpret_cast<const detail::TaskType*>(task.record->task_type),
        // If a worker has overwritten their place, they will not decode.
        .arguments = state_.arguments_of(*task.record).value_or(std::span<const std::byte>()),
        .options = std::nullopt,
        .attempt = 1};
    if (task.status.has(Status::has_options)) {
        const TaskSettings& settings = state_.settings(task.index);
        described.options = options_of(settings);
        described.attempt += settings.deaths.load(std::memory_order_relaxed);
    }
    return described;
}

/// Leaves the search to others. A wake that this relay got may have been meant for several tasks.
void RelayPort::Impl::stop_searching() {
    if (!std::exchange(searching_, false)) return;
    state_.notifier.stop_searching(state_.relay());
    // Sequentially consistent with work_arrived: either that sees no searcher, or this sees the
    // work.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (state_.lanes.has_work()) state_.notifier.work_arrived();
}

// Ending

ResultWriter& RelayPort::Impl::writer_of(std::uint32_t claim) {
    Slot& slot = slots_[claim];
    if (!slot.writer) slot.writer.emplace(state_, state_.owner_of_claim(claim), *slot.task.record);
    return *slot.writer;
}

std::span<std::byte> RelayPort::Impl::reserve_end(std::uint32_t claim, std::size_t size) {
    ResultWriter& writer = writer_of(claim);
    writer.start_over();
    try {
        return {writer.reserve(size), size};
    } catch (const LimitExceeded&) {
        return {};
    }
}

/// Writes the bytes of an end that the task has reached itself, if they are not in place. Returns
/// the state that it ends in.
TaskState RelayPort::Impl::write(std::uint32_t claim, const TaskEnd& end) {
    ResultWriter& writer = writer_of(claim);
    TaskState state = end.state;
    std::uint64_t output_length = end.output_length;
    if (end.bytes.data() == writer.data() && end.bytes.size() <= writer.size()) {
        writer.rewind(end.bytes.size());
    } else {
        writer.start_over();
        try {
            writer.write(end.bytes.data(), end.bytes.size());
        } catch (const LimitExceeded&) { // the parent finds an empty result
            writer.start_over();
            state = TaskState::thrown;
            output_length = 0;
        }
    }
    writer.store();
    const ring::Claim& task = slots_[claim].task;
    if (task.status.has(Status::has_options))
        state_.settings(task.index).output_length.store(output_length, std::memory_order_relaxed);
    return state;
}

std::string RelayPort::Impl::end(std::uint32_t claim, const TaskEnd& end, std::string_view host,
                                 OnWorkerDeath on_death) {
    if (!is_failure(end.state)) {
        const bool has_bytes = end.state == TaskState::returned || end.state == TaskState::thrown;
        finish(claim, has_bytes ? write(claim, end) : end.state, host);
        return {};
    }
    FailureReport report = report_in(end.bytes);
    report.death.host = host;
    report.earlier.clear(); // counted here: an earlier attempt may have run elsewhere
    report.attempts = 1;
    if (report.death.pid != 0 || end.state == TaskState::died || end.state == TaskState::killed) {
        const bool is_killed =
            ring::status_of(*slots_[claim].task.record).state == TaskState::condemned;
        const bool breaks_pool = on_death == OnWorkerDeath::break_pool &&
                                 end.state == TaskState::died && !is_killed &&
                                 state_.stop_mode() <= proc::StopMode::drain;
        std::string cause = breaks_pool ? cause_of_break(report.death) : std::string();
        const AttemptStep step =
            fail(claim,
                 {.report = std::move(report), .otherwise = end.state, .breaks_pool = breaks_pool});
        return step.breaks_pool ? cause : std::string();
    }
    // Its worker lives.
    writer_of(claim).start_over();
    write_failure_report(state_, state_.owner_of_claim(claim), *slots_[claim].task.record, report);
    finish(claim, end.state, host);
    return {};
}

bool RelayPort::Impl::lose(std::uint32_t claim, std::string_view host, std::string_view cause) {
    const std::int32_t rank = state_.claims()[claim].rank.load(std::memory_order_relaxed);
    FailureReport report;
    report.death.host = host;
    report.lost_rank = LostRank{.rank = rank, .cause = std::string(cause)};
    return fail(claim, {.report = std::move(report)}).is_requeued;
}

void RelayPort::Impl::take_back(std::uint32_t claim) {
    const bool may_run = state_.stop_mode() <= proc::StopMode::drain;
    if (may_run && requeue_unstarted(state_, slots_[claim].task, state_.owner_of_claim(claim))) {
        let_go(claim);
        requeued(claim);
    } else {
        finish(claim, TaskState::cancelled, {});
    }
}

/// Ends the task in its state word, unless it was killed: then it ends as such.
void RelayPort::Impl::finish(std::uint32_t claim, TaskState end, std::string_view host) {
    const Status after = finish_record(claim, end);
    if (after.state == TaskState::condemned) {
        fail(claim,
             {.report = {.death = {.host = std::string(host)}}, .otherwise = TaskState::killed});
        return;
    }
    count(after.state);
    if (!state_.announce(*slots_[claim].task.record, after.flags))
        surroundings_.notify_supervisor();
    let_go(claim);
    free_.push_back(claim);
}

/// An abandoned task ends without payload.
Status RelayPort::Impl::finish_record(std::uint32_t claim, TaskState end) {
    const ring::Claim& task = slots_[claim].task;
    const unsigned owner = state_.owner_of_claim(claim);
    std::atomic<std::uint64_t>& block = intent_of(claim).block;
    const bool may_be_tried_again =
        task.status.has(Status::has_options) && state_.settings(task.index).max_retries != 0;
    bool holds_arguments = !may_be_tried_again && state_.has_large_arguments(*task.record);
    for (;;) {
        const bool holds_result = block.load(std::memory_order_relaxed) != 0;
        const Status after = ring::finish(task, end, holds_result || holds_arguments);
        const bool is_refused =
            after.state == TaskState::running && after.generation == task.status.generation;
        if (!is_refused) return after;
        state_.payload.reclaim(block.load(std::memory_order_relaxed), owner);
        block.store(0, std::memory_order_release);
        if (after.has(Status::abandoned) && std::exchange(holds_arguments, false))
            state_.discard_arguments(*task.record);
        if (after.has(Status::overdue)) end = TaskState::timed_out; // by a corrupt word
        ResultWriter(state_, owner, *task.record).store();          // nothing
    }
}

/// Requeues the task, or ends it with the report, or leaves it to the parent.
AttemptStep RelayPort::Impl::fail(std::uint32_t claim, AttemptEnd attempt) {
    attempt.owner = state_.owner_of_claim(claim);
    attempt.task = slots_[claim].task;
    attempt.may_retry =
        attempt.otherwise == TaskState::died && state_.stop_mode() <= proc::StopMode::drain;
    const AttemptStep step = end_failed_task(state_, std::move(attempt));
    let_go(claim);
    if (step.is_requeued) {
        requeued(claim);
    } else if (!step.breaks_pool) {
        if (!step.is_announced) surroundings_.notify_supervisor();
        free_.push_back(claim);
    }
    return step;
}

/// The claim's intent holds a task that any worker may claim. Wakes them all: who passes on a
/// search looks at the queues only.
void RelayPort::Impl::requeued(std::uint32_t claim) {
    waiting_.push_back(claim);
    state_.notifier.wake_parked();
}

void RelayPort::Impl::let_go(std::uint32_t claim) {
    state_.claims()[claim].rank.store(RelayClaim::not_sent, std::memory_order_relaxed);
    Slot& slot = slots_[claim];
    slot.is_held = false;
    slot.writer.reset();
    --held_;
}

void RelayPort::Impl::count(TaskState end) {
    const auto increment = [](std::atomic<std::uint64_t>& number) {
        number.store(number.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    };
    if (end != TaskState::expired) increment(slot_.finished);
    if (end != TaskState::returned) increment(slot_.failed);
}

// The pool

std::vector<RelayPort::Request> RelayPort::Impl::take_requests() {
    std::vector<Request> requests;
    const std::uint64_t now = state_.control().relay.requests.load(std::memory_order_acquire);
    if (now == requests_) return requests;
    requests_ = now;
    for (std::uint32_t claim = 0; claim < slots_.size(); ++claim) {
        Slot& slot = slots_[claim];
        if (!slot.is_held) continue;
        const Status status = ring::status_of(*slot.task.record);
        if (status.state == TaskState::condemned) {
            if (!std::exchange(slot.is_killed, true)) requests.push_back({claim, true});
        } else if (status.has(Status::stop_requested)) {
            if (!std::exchange(slot.is_asked_to_stop, true)) requests.push_back({claim, false});
        }
    }
    return requests;
}

bool RelayPort::Impl::has_idle_worker() const {
    for (unsigned worker = 0; worker < state_.workers(); ++worker) {
        if (state_.notifier.is_parked(worker)) return true;
    }
    return false;
}

bool RelayPort::Impl::is_over() const {
    return state_.stop_mode() != proc::StopMode::none && held_ == 0 && state_.lanes.drained() &&
           !state_.has_retried();
}

void RelayPort::Impl::nap(std::chrono::nanoseconds most, bool wants_tasks) {
    if (!wants_tasks || (free_.empty() && waiting_.empty())) {
        stop_searching();
        state_.notifier.doze(state_.relay(), most);
        return;
    }
    searching_ = true; // as far as others can tell, from here on
    state_.notifier.park(
        state_.relay(),
        [this] { return state_.lanes.has_work() || state_.has_retried() || is_over(); }, most);
}

/// Returns a rank's part of the shared list; shorter than wanted if the list is full.
std::span<RemoteWorker> RelayPort::Impl::remote_workers_of(int rank, std::size_t count) {
    const std::span<RemoteWorker> all = state_.remote_workers();
    const auto found = std::ranges::find(reported_, rank, &Reported::rank);
    if (found != reported_.end() && found->count >= count)
        return all.subspan(found->first, found->count);
    const std::size_t used = state_.control().relay.remote_workers.load(std::memory_order_relaxed);
    count = std::min(count, all.size() - std::min(used, all.size()));
    for (RemoteWorker& worker : all.subspan(used, count)) {
        worker.rank.store(rank, std::memory_order_relaxed);
        worker.pid.store(0, std::memory_order_relaxed);
        worker.finished.store(0, std::memory_order_relaxed);
        worker.deaths.store(0, std::memory_order_relaxed);
        worker.claim.store(RemoteWorker::no_claim, std::memory_order_relaxed);
    }
    if (found != reported_.end()) reported_.erase(found);
    reported_.push_back({.rank = rank, .first = used, .count = count});
    state_.control().relay.remote_workers.store(static_cast<std::uint32_t>(used + count),
                                                std::memory_order_release);
    return all.subspan(used, count);
}

void RelayPort::Impl::publish(int rank, std::string_view host,
                              std::span<const RelayWorker> workers) {
    const std::int64_t now = base::steady_now_ns();
    const std::span<RemoteWorker> places = remote_workers_of(rank, workers.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
        RemoteWorker& place = places[i];
        place.host.set(host);
        if (i >= workers.size()) {
            place.pid.store(0, std::memory_order_relaxed);
            continue;
        }
        const auto& [worker, claim] = workers[i];
        place.index.store(worker.index, std::memory_order_relaxed);
        place.pid.store(worker.pid, std::memory_order_relaxed);
        place.state.store(worker.state, std::memory_order_relaxed);
        place.since_ns.store(now - worker.since.count(), std::memory_order_relaxed);
        place.finished.store(worker.finished, std::memory_order_relaxed);
        place.deaths.store(worker.deaths, std::memory_order_relaxed);
        if (claim)
            place.generation.store(slots_[*claim].task.status.generation,
                                   std::memory_order_relaxed);
        place.claim.store(claim.value_or(RemoteWorker::no_claim), std::memory_order_release);
    }
}

RelayPort::RelayPort(SharedState& state, const WorkerSurroundings& surroundings)
    : impl_(std::make_unique<Impl>(state, surroundings)) {}

RelayPort::~RelayPort() = default;

std::uint32_t RelayPort::claims() const noexcept {
    return static_cast<std::uint32_t>(impl_->state().claims().size());
}

std::uint32_t RelayPort::held() const noexcept {
    return impl_->held();
}

std::size_t RelayPort::claim(const Take& take) {
    return impl_->claim(take);
}

void RelayPort::assign(std::uint32_t claim, int rank) noexcept {
    impl_->state().claims()[claim].rank.store(rank, std::memory_order_release);
}

std::span<std::byte> RelayPort::reserve_end(std::uint32_t claim, std::size_t size) {
    return impl_->reserve_end(claim, size);
}

std::string RelayPort::end(std::uint32_t claim, const TaskEnd& end, std::string_view host,
                           OnWorkerDeath on_death) {
    return impl_->end(claim, end, host, on_death);
}

void RelayPort::end_without_room(std::uint32_t claim) {
    impl_->end(claim, {.state = TaskState::thrown, .bytes = {}}, {}, OnWorkerDeath::replace);
}

bool RelayPort::lose(std::uint32_t claim, std::string_view host, std::string_view cause) {
    return impl_->lose(claim, host, cause);
}

void RelayPort::take_back(std::uint32_t claim) {
    impl_->take_back(claim);
}

std::vector<RelayPort::Request> RelayPort::take_requests() {
    return impl_->take_requests();
}

bool RelayPort::has_idle_worker() const noexcept {
    return impl_->has_idle_worker();
}

proc::StopMode RelayPort::stop_mode() const noexcept {
    return impl_->state().stop_mode();
}

bool RelayPort::is_over() const {
    return impl_->is_over();
}

bool RelayPort::is_orphaned() const noexcept {
    return impl_->is_orphaned();
}

void RelayPort::nap(std::chrono::nanoseconds most, bool wants_tasks) {
    impl_->nap(most, wants_tasks);
}

void RelayPort::publish(int rank, std::string_view host, std::span<const RelayWorker> workers) {
    impl_->publish(rank, host, workers);
}

void RelayPort::set_failure(std::string_view cause) noexcept {
    SharedState& state = impl_->state();
    state.slot(state.relay()).failure.set(cause);
}

void RelayPort::give_up(std::string_view cause) noexcept {
    set_failure(cause);
    impl_->state().control().relay.is_hopeless.store(true, std::memory_order_release);
}

} // namespace prong::executor
