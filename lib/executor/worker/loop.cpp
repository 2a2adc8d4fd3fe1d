#include "executor/worker/loop.hpp"

#include "base/clock.hpp"
#include "codec/exception.hpp"
#include "diag/throw_trace.hpp"
#include "executor/shared/result_writer.hpp"
#include "executor/worker/this_task.hpp"
#include "executor/worker/timer_sweep.hpp"
#include "executor/worker/warm_heap.hpp"
#include "os/capture.hpp"
#include "os/process.hpp"
#include "os/usage.hpp"
#include "ring/spinner.hpp"

#include <prong/detail/task_type.hpp>

#include <cxxabi.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>

namespace prong::executor {
namespace {

detail::Reader arguments_of(const SharedState& state, const ring::Record& record) {
    const auto bytes = state.arguments_of(record);
    if (!bytes) throw CodecError("the task's arguments were overwritten by a worker");
    detail::Reader reader(*bytes);
    reader.set_max_nesting(state.sizes().max_nesting);
    return reader;
}

/// Returns a number that distinguishes the functions that tasks run.
std::uint64_t kind_of(const SharedState& state, const ring::Record& record) {
    const auto* const type = reinterpret_cast<const detail::TaskType*>(record.task_type);
    std::uint64_t address = 0;
    if (!type->begins_with_address) return record.task_type;
    const auto arguments = state.arguments_of(record);
    if (arguments && arguments->size() >= sizeof(address))
        std::memcpy(&address, arguments->data(), sizeof(address));
    return record.task_type ^ address;
}

/// From this size on, memory of arguments and results is worth keeping in the heap.
constexpr std::uint64_t large_bytes = 1 << 16;

/// Writes the exception that is being handled in place of a result.
ring::TaskState write_exception(ResultWriter& writer, diag::ThrowTrace* trace) {
    writer.start_over();
    try {
        codec::encode_current_exception(writer, diag::take_frames(trace));
    } catch (...) { // no shared memory: the parent finds an empty result
        writer.start_over();
    }
    return ring::TaskState::thrown;
}

/// Runs the task and writes its result or exception. Returns how it ended. `trace` is null if the
/// place of the exception is not recorded. `on_bad_alloc` handles a `std::bad_alloc` in another
/// way, if it returns a state.
template <typename OnBadAlloc>
ring::TaskState execute(const SharedState& state, const ring::Record& record, ResultWriter& writer,
                        diag::ThrowTrace* trace, OnBadAlloc on_bad_alloc) {
    try {
        const auto* const type = reinterpret_cast<const detail::TaskType*>(record.task_type);
        detail::Reader arguments = arguments_of(state, record);
        if (trace != nullptr)
            trace->call([&] { type->run(arguments, writer); });
        else
            type->run(arguments, writer);
        detail::end_copy_of_worker(0);
        return ring::TaskState::returned;
    } catch (abi::__forced_unwind&) { // pthread_exit in the task ends this process
        detail::end_copy_of_worker(0);
        throw;
    } catch (const std::bad_alloc&) {
        detail::end_copy_of_worker(1);
        if (const auto end = on_bad_alloc()) return *end;
        return write_exception(writer, trace);
    } catch (...) {
        detail::end_copy_of_worker(1);
        return write_exception(writer, trace);
    }
}

/// Appends the task's output to its result, if there is shared memory for it.
void append_output(ResultWriter& writer, TaskSettings& settings, const TaskScope& scope) {
    const std::size_t before = writer.size();
    std::uint64_t length = 0;
    try {
        const std::string output = scope.last_output();
        writer.write(output.data(), output.size());
        length = output.size();
    } catch (...) { // no memory for it: the result counts more
        writer.rewind(before);
    }
    settings.output_length.store(length, std::memory_order_relaxed);
}

/// The loop of one worker.
class Worker {
public:
    Worker(SharedState& state, unsigned worker, const Recycling& recycling,
           const WorkerSurroundings& surroundings)
        : state_(state), slot_(state.slot(worker)), worker_(worker),
          owner_(static_cast<std::uint16_t>(worker)), recycling_(recycling),
          surroundings_(surroundings) {
        if (surroundings.supervisor != 0) timers_.emplace(); // not in threads of a test
    }

    Leaving run();

private:
    bool found_work() { // false: another worker was faster
        return (state_.may_have_retried() && claim_retry()) ||
               state_.lanes.claim(owner_, slot_.intent, turn_, claim_);
    }
    bool claim_retry();
    [[nodiscard]] bool has_work() const;
    /// Returns whether no task will come any more. Does not rely on the rings alone: a worker may
    /// have overwritten them.
    [[nodiscard]] bool is_over() const {
        return state_.control().stop_mode.load(std::memory_order_relaxed) != proc::StopMode::none &&
               state_.lanes.drained();
    }
    bool complete();
    detail::Pledges* pledges();
    void settle_pledges(const ring::Status& end);
    ring::TaskState execute_task();
    ring::TaskState execute_with_options();
    [[nodiscard]] std::uint64_t payload_bytes(ring::TaskState end, bool has_large_arguments) const;
    void tend_memory(std::uint64_t payload_bytes, std::int64_t now_ns);
    ring::Status finish(ring::TaskState end, bool has_large_arguments);
    [[nodiscard]] bool may_be_tried_again() const;
    [[nodiscard]] FailureReport report_of_late_task() const;
    void count(ring::TaskState end);
    bool is_due_for_recycling();
    void park();
    void pass_work_on();
    [[nodiscard]] bool dies_with_supervisor() const;

    SharedState& state_;
    WorkerSlot& slot_;
    unsigned worker_;
    std::uint16_t owner_;
    const Recycling& recycling_;
    WorkerSurroundings surroundings_;

    ring::Claim claim_{};
    std::uint64_t turn_ = slot_.finished.load(std::memory_order_relaxed);
    std::uint64_t first_turn_ = turn_;
    std::int64_t next_look_ns_ = 0;
    ring::Spinner spinner_;
    bool searching_ = true;
    bool has_captured_ = false;              ///< the task's output
    std::optional<detail::Pledges> pledges_; ///< of a task whose result may have parcels
    std::int64_t stop_at_ns_ = 0;            ///< of a task with options: when it must stop
    std::optional<TimerSweep> timers_;
    WarmHeap heap_;
};

Leaving Worker::run() {
    state_.notifier.set_searching(worker_);
    for (;;) {
        if (found_work()) {
            if (!state_.loops.task_claimed()) surroundings_.notify_supervisor();
            if (!complete()) return Leaving::condemned;
            if (is_due_for_recycling()) {
                pass_work_on();
                return Leaving::recycled;
            }
        } else if (is_over()) {
            state_.notifier.stop_searching(worker_);
            state_.notifier.wake_all(); // the others should leave, too
            return Leaving::drained;
        } else if (!searching_) {
            searching_ = true;
            slot_.since_ns.store(base::coarse_now_ns(), std::memory_order_relaxed);
            state_.notifier.set_searching(worker_); // and check again
        } else if (!spinner_.spin([this] { return state_.notifier.searching(); })) {
            if (!dies_with_supervisor()) return Leaving::orphaned;
            if (timers_) timers_->idle();
            park();
        }
    }
}

/// Claims a task that a dead worker has left: first that of this one's predecessor, whose intent is
/// needed for the next one.
bool Worker::claim_retry() {
    const unsigned owners = state_.owners();
    for (unsigned i = 0; i < owners; ++i) {
        ring::WorkerIntent& left = state_.intent((worker_ + i) % owners);
        if (const auto claimed = ring::claim_retry(state_.records, owner_, slot_.intent, left)) {
            claim_ = *claimed;
            return true;
        }
    }
    return false;
}

bool Worker::has_work() const {
    return state_.lanes.has_work() || state_.has_retried();
}

/// Runs the claimed task to its end. Returns false if the task is condemned.
bool Worker::complete() {
    const std::int64_t now = base::coarse_now_ns();
    slot_.since_ns.store(now, std::memory_order_relaxed);
    if (timers_) timers_->begin(now);
    const std::uint64_t kind = kind_of(state_, *claim_.record);
    if (searching_) {
        searching_ = false;
        spinner_.found();
        state_.notifier.stop_searching(worker_);
        if (state_.lanes.has_work()) state_.notifier.work_arrived(); // wakes the others
    }
    set_current_task(claim_.record);
    const bool has_options = claim_.status.has(ring::Status::has_options);
    const ring::TaskState end = has_options ? execute_with_options() : execute_task();
    const bool has_large_arguments = state_.has_large_arguments(*claim_.record);
    // Its record is the parent's later on.
    const std::uint64_t payload = payload_bytes(end, has_large_arguments);
    const ring::Status after = finish(end, has_large_arguments);
    set_current_task(nullptr);
    if (pledges_) settle_pledges(after);
    if (after.state == ring::TaskState::condemned) return false;
    if (std::exchange(has_captured_, false)) os::clear_capture(surroundings_.capture_fd());
    count(after.state);
    if (!state_.announce(*claim_.record, after.flags)) surroundings_.notify_supervisor();
    tend_memory(payload, now);
    if (timers_) timers_->end(kind);
    return true;
}

/// Returns where the parcels in the task's result are noted; null if there must be none.
detail::Pledges* Worker::pledges() {
    const auto* const type = reinterpret_cast<const detail::TaskType*>(claim_.record->task_type);
    if (!type->returns_parcels) return nullptr;
    const std::uint64_t item = std::uint64_t{claim_.index} << 32 | claim_.status.generation;
    return &pledges_.emplace(detail::ParcelRoute::result, state_.control().parcel_home.load(),
                             item);
}

/// The parcels are the parent's if the result is; else they are freed.
void Worker::settle_pledges(const ring::Status& end) {
    if (end.state == ring::TaskState::returned) pledges_->post();
    pledges_->drop();
    pledges_.reset();
}

ring::TaskState Worker::execute_task() {
    const auto not_special = []() -> std::optional<ring::TaskState> { return std::nullopt; };
    ResultWriter writer(state_, worker_, slot_.intent, *claim_.record, pledges());
    const ring::TaskState end = execute(state_, *claim_.record, writer, nullptr, not_special);
    writer.store();
    forget_stop_token();
    if (surroundings_.supervisor != 0) os::flush_task_output();
    return end;
}

ring::TaskState Worker::execute_with_options() {
    TaskSettings& settings = state_.settings(claim_.index);
    ring::Record& record = *claim_.record;
    if (is_too_late(settings)) return ring::TaskState::expired;
    // The task must neither hit its limit because of what earlier ones have left, nor use it.
    if (settings.resident_bytes != 0 || settings.address_space_bytes != 0) heap_.release();
    has_captured_ = settings.capture_output != 0;
    TaskScope scope(state_, worker_, settings, surroundings_);
    stop_at_ns_ = scope.stop_at_ns();
    ResultWriter writer(state_, worker_, slot_.intent, record, pledges());
    const auto over_limit = [&]() -> std::optional<ring::TaskState> {
        scope.leave(); // what comes now needs memory
        const auto excess = scope.memory_excess();
        if (!excess) return std::nullopt;
        writer.start_over();
        write_failure_report(state_, worker_, record,
                             {.death = {.last_output = scope.last_output()}, .excess = excess});
        return ring::TaskState::over_limit;
    };
    const ring::TaskState end = execute(state_, record, writer, scope.trace(), over_limit);
    forget_stop_token();
    scope.leave();
    if (end == ring::TaskState::over_limit) return end;
    append_output(writer, settings, scope);
    writer.store();
    return end;
}

/// Ends the task in its state word: an overdue task as timed out, an abandoned one without payload.
ring::Status Worker::finish(ring::TaskState end, bool has_large_arguments) {
    ring::Record& record = *claim_.record;
    bool holds_arguments = has_large_arguments && !may_be_tried_again();
    for (;;) {
        const bool holds_result = slot_.intent.block.load(std::memory_order_relaxed) != 0;
        const ring::Status after = ring::finish(claim_, end, holds_result || holds_arguments);
        const bool is_refused =
            after.state == ring::TaskState::running && after.generation == claim_.status.generation;
        if (!is_refused) return after;
        if (pledges_) pledges_->drop();
        state_.payload.reclaim(slot_.intent.block.load(std::memory_order_relaxed), worker_);
        slot_.intent.block.store(0, std::memory_order_release);
        const bool abandoned = after.has(ring::Status::abandoned);
        if (abandoned && std::exchange(holds_arguments, false)) state_.discard_arguments(record);
        if (after.has(ring::Status::overdue)) {
            end = ring::TaskState::timed_out;
            write_failure_report(state_, worker_, record, report_of_late_task(), abandoned);
        } else {
            ResultWriter(state_, worker_, record).store(); // nothing
        }
    }
}

/// Returns whether the arguments are needed again if this worker dies now.
bool Worker::may_be_tried_again() const {
    return claim_.status.has(ring::Status::has_options) &&
           state_.settings(claim_.index).max_retries != 0;
}

FailureReport Worker::report_of_late_task() const {
    const TaskSettings& settings = state_.settings(claim_.index);
    FailureReport failure_report{.missed_deadline = is_deadline(settings, stop_at_ns_)};
    if (settings.capture_output != 0)
        failure_report.death.last_output = os::captured_output(surroundings_.capture_fd());
    return failure_report;
}

void Worker::count(ring::TaskState end) {
    ++turn_;
    if (end != ring::TaskState::expired)
        slot_.finished.store(slot_.finished.load() + 1, std::memory_order_relaxed);
    if (end == ring::TaskState::returned) return;
    slot_.failed.store(slot_.failed.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

bool Worker::is_due_for_recycling() {
    if (recycling_.max_tasks && turn_ - first_turn_ >= *recycling_.max_tasks) return true;
    if (!recycling_.max_resident_bytes) return false;
    const std::int64_t now = base::steady_now_ns();
    if (now < next_look_ns_) return false;
    next_look_ns_ = now + usage_interval.count();
    if (os::own_resident_bytes(getpid()) <= *recycling_.max_resident_bytes) return false;
    if (!heap_.until_ns()) return true;
    heap_.release();
    return os::own_resident_bytes(getpid()) > *recycling_.max_resident_bytes;
}

/// Sleeps until there is work; the heap stays warm only for some time.
void Worker::park() {
    std::chrono::nanoseconds most = ring::WorkerNotifier::without_limit;
    if (heap_.until_ns()) {
        most = std::chrono::nanoseconds(*heap_.until_ns() - base::coarse_now_ns());
        if (most.count() <= 0) {
            heap_.release();
            most = ring::WorkerNotifier::without_limit;
        }
    }
    state_.notifier.park(
        worker_, [&] { return has_work() || is_over(); }, most);
}

/// Returns the size of the task's arguments or result, the larger one, if it may have used payload
/// blocks; else 0.
std::uint64_t Worker::payload_bytes(ring::TaskState end, bool has_large_arguments) const {
    const ring::Record& record = *claim_.record;
    if (end == ring::TaskState::returned && !has_large_arguments &&
        slot_.intent.block.load(std::memory_order_relaxed) == 0) {
        return 0;
    }
    const auto size = [](const SharedState::Bytes& bytes) { return bytes ? bytes->size() : 0; };
    return std::max(
        {size(state_.arguments_of(record)), size(state_.result_of(record)), std::size_t{1}});
}

/// Keeps the heap warm after large tasks, for some time, and has the supervisor trim the blocks
/// that a result has outgrown. `now_ns`: when the task began.
void Worker::tend_memory(std::uint64_t payload_bytes, std::int64_t now_ns) {
    if (payload_bytes != 0 && state_.payload.wants_trimmer()) surroundings_.notify_supervisor();
    if (payload_bytes >= large_bytes && surroundings_.supervisor != 0)
        heap_.keep(base::coarse_now_ns()); // the task may have run for long
    else if (heap_.until_ns() && now_ns >= *heap_.until_ns())
        heap_.release();
}

/// Wakes another worker: one that leaves must not be the only searching one while there is work.
void Worker::pass_work_on() {
    state_.notifier.stop_searching(worker_);
    if (state_.lanes.has_work()) state_.notifier.work_arrived();
}

/// Asks the kernel again to kill this worker with the supervisor: a task that changes the user
/// clears `PR_SET_PDEATHSIG`. Returns false if the supervisor has died.
bool Worker::dies_with_supervisor() const {
    return surroundings_.supervisor == 0 ||
           os::set_parent_death_signal(SIGKILL, surroundings_.supervisor);
}

} // namespace

Leaving run_tasks(SharedState& state, unsigned worker, const Recycling& recycling,
                  const WorkerSurroundings& surroundings) {
    return Worker(state, worker, recycling, surroundings).run();
}

} // namespace prong::executor
