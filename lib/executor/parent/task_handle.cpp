#include <prong/detail/task_handle.hpp>

#include "codec/exception.hpp"
#include "executor/parent/core.hpp"
#include "executor/shared/failure_report.hpp"
#include "executor/shared/memory_limit.hpp"
#include "ring/spinner.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>

namespace prong::detail {
namespace {

using ring::Record;
using ring::TaskState;

/// The error that an failure_report tells of.
std::exception_ptr error_of(TaskState end, Reader bytes, const executor::TaskSettings* settings,
                            const std::string& task) {
    executor::FailureReport failure_report;
    try {
        failure_report = executor::read_failure_report(bytes);
    } catch (const CodecError&) { // a worker has written over it: what is known is how it ended
    }
    return executor::error_of(end, std::move(failure_report), settings, task);
}

} // namespace

executor::PoolCore& TaskHandle::core() const {
    if (core_ == nullptr) {
        throw std::logic_error("this future has no task: it was default-constructed, moved from, "
                               "or its result has been taken");
    }
    core_->require_own_process();
    return *core_;
}

void TaskHandle::release() noexcept {
    if (core_->is_copy()) return;
    std::exchange(core_, nullptr)
        ->release({.index = key().index, .generation = generation_, .arguments = arguments_});
}

void TaskHandle::abandon() noexcept {
    if (core_->is_copy()) return;
    core_->abandon({.index = key().index, .generation = generation_, .arguments = arguments_});
}

bool TaskHandle::done() const {
    return core().is_over(key());
}

bool TaskHandle::running() const {
    return is_claimed(core().look(key()).state) && !core_->is_over(key());
}

bool TaskHandle::cancelled() const {
    const TaskState state = core().look(key()).state;
    return state == TaskState::cancelled || state == TaskState::killed;
}

bool TaskHandle::failed() const {
    return core().look(key()).state != TaskState::returned;
}

bool TaskHandle::cancel() {
    return core().cancel(key());
}

bool TaskHandle::kill() {
    return core().kill(key());
}

bool TaskHandle::wait_until(TimePoint limit) const {
    return core().wait(key(), limit);
}

Outcome TaskHandle::outcome() const {
    executor::PoolCore& pool = core();
    const executor::SharedState& state = pool.state();
    const ring::Status end = pool.look(key());
    const auto bytes = state.result_of(state.records[key().index]);
    if (end.state != TaskState::returned) return {.result = {}, .error = error_at_end(end, bytes)};
    if (!bytes) {
        const std::string text = "the result of " + name() +
                                 " is at an address outside the pool's memory: a worker has "
                                 "corrupted the task's record";
        return {.result = {}, .error = std::make_exception_ptr(CodecError(text))};
    }
    Outcome outcome{.result = Reader(*bytes), .error = nullptr};
    outcome.result.set_max_nesting(state.sizes().max_nesting);
    return outcome;
}

void Outcome::require_memory() const {
    executor::require_memory(result.remaining(), "this task's result");
}

std::exception_ptr TaskHandle::error_at_end(const ring::Status& end,
                                            const std::optional<Bytes>& bytes) const {
    const executor::SharedState& state = core_->state();
    const executor::TaskSettings* const settings =
        end.has(ring::Status::has_options) ? &state.settings(key().index) : nullptr;
    const bool tried = settings != nullptr && settings->deaths.load() != 0;
    switch (end.state) {
    case TaskState::thrown: {
        if (!bytes || bytes->empty()) {
            return std::make_exception_ptr(LimitExceeded(
                LimitKind::shared_memory,
                name() + " ended, but the pool's shared memory has no room for its result or "
                         "exception: free memory, or raise "
                         "PoolOptions::max_payload_bytes"));
        }
        Reader reader(*bytes);
        reader.set_max_nesting(state.sizes().max_nesting);
        return codec::decode_exception(reader);
    }
    case TaskState::died:
    case TaskState::timed_out:
    case TaskState::killed:
    case TaskState::over_limit:
        return error_of(end.state, bytes ? Reader(*bytes) : Reader(), settings, name());
    case TaskState::expired:
        return std::make_exception_ptr(TaskTimeout(
            name() + " was not started " + (tried ? "again " : "") + "before its deadline"));
    case TaskState::cancelled:
        return std::make_exception_ptr(
            CancelledError(name() + " was cancelled before " +
                           (tried ? "it was tried again" : "a worker claimed it")));
    default:
        return std::make_exception_ptr(BrokenProcessPool(core_->broken_cause()));
    }
}

std::string TaskHandle::name() const {
    const executor::SharedState& state = core_->state();
    const Record& record = state.records[key().index];
    const std::uint64_t offset = arguments_ != 0 ? arguments_ : Record::bytes_offset;
    const auto bytes = state.bytes_at(record, offset, ring::read_once(record.arguments_length));
    return core_->fork_base().name_of(*type_, bytes.value_or(std::span<const std::byte>())) +
           " [task " + std::to_string(generation_) + "]";
}

} // namespace prong::detail
