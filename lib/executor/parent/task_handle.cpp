#include <prong/detail/task_handle.hpp>

#include "codec/exception.hpp"
#include "executor/parent/core.hpp"
#include "executor/parent/end_bytes.hpp"
#include "executor/shared/failure_report.hpp"
#include "executor/shared/memory_limit.hpp"
#include "ring/spinner.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>

namespace prong::detail {
namespace {

using ring::Record;
using ring::TaskState;

[[noreturn]] void throw_no_task() {
    throw std::logic_error("this future has no task: it was default-constructed, moved from, "
                           "or its result has been taken");
}

/// Returns the failure report, or an empty one if a worker has overwritten it.
executor::FailureReport failure_report_of(std::span<const std::byte> bytes) {
    try {
        return executor::read_failure_report(Reader(bytes));
    } catch (const CodecError&) {
        return {};
    }
}

} // namespace

executor::PoolCore& TaskHandle::core() const {
    executor::PoolCore* const core = pool();
    if (core == nullptr) throw_no_task();
    core->require_own_process();
    return *core;
}

void TaskHandle::release() noexcept {
    executor::PoolCore* const core = pool();
    if (core->is_copy()) return;
    // First: the core may be deleted by the next call.
    core_.store(nullptr, std::memory_order_relaxed);
    core->release({.index = key().index, .generation = generation_, .arguments = arguments_});
}

void TaskHandle::abandon() noexcept {
    executor::PoolCore* const core = pool();
    if (core->is_copy()) return;
    core->abandon({.index = key().index, .generation = generation_, .arguments = arguments_});
}

bool TaskHandle::done() const {
    core().poll_signal();
    return is_final(core().resolve(key()).state);
}

bool TaskHandle::running() const {
    core().poll_signal();
    return is_claimed(core().resolve(key()).state);
}

bool TaskHandle::cancelled() const {
    const TaskState state = core().look(key()).state;
    return state == TaskState::cancelled || state == TaskState::killed;
}

bool TaskHandle::failed() const {
    return core().look(key()).state != TaskState::returned;
}

/// Calls a function of the core that does nothing to a task whose record has been released.
template <typename Call>
bool TaskHandle::call_from_any_thread(Call call) {
    const std::lock_guard lock(executor::PoolCore::existence);
    executor::PoolCore* const core = pool(); // read once: another thread may be taking the result
    if (core == nullptr && type_ != nullptr) return false;
    if (core == nullptr) throw_no_task();
    core->require_own_process();
    return (core->*call)(key());
}

bool TaskHandle::cancel() {
    return call_from_any_thread(&executor::PoolCore::cancel);
}

bool TaskHandle::request_stop() {
    return call_from_any_thread(&executor::PoolCore::request_stop);
}

bool TaskHandle::kill() {
    return call_from_any_thread(&executor::PoolCore::kill);
}

bool TaskHandle::wait_until(Deadline limit) const {
    return core().wait(key(), limit);
}

Outcome TaskHandle::outcome() const {
    executor::PoolCore& pool = core();
    const executor::SharedState& state = pool.state();
    const ring::Status end = pool.wait(key());
    const auto bytes = executor::bytes_at_end(state, key().index, end);
    if (end.state != TaskState::returned)
        return {.result = {}, .error = error_at_end(end, bytes ? bytes->end : Bytes())};
    if (!bytes) {
        const std::string text = "the result of " + name() +
                                 " is at an address outside the pool's memory: a worker has "
                                 "corrupted the task's record";
        return {.result = {}, .error = std::make_exception_ptr(CodecError(text))};
    }
    Outcome outcome{.result = Reader(bytes->end), .error = nullptr};
    outcome.result.set_max_nesting(state.sizes().max_nesting);
    return outcome;
}

void Outcome::require_memory() const {
    executor::require_memory(result.remaining(), "this task's result");
}

std::string TaskHandle::output() const {
    executor::PoolCore& pool = core();
    const ring::Status end = pool.look(key());
    if (!ring::has_end_bytes(end.state)) return {};
    const auto bytes = executor::bytes_at_end(pool.state(), key().index, end);
    if (!bytes) return {};
    if (end.state != TaskState::returned && end.state != TaskState::thrown)
        return failure_report_of(bytes->end).death.last_output;
    return {reinterpret_cast<const char*>(bytes->output.data()), bytes->output.size()};
}

std::exception_ptr TaskHandle::error_at_end(const ring::Status& end, Bytes bytes) const {
    const executor::SharedState& state = pool()->state();
    const executor::TaskSettings* const settings =
        end.has(ring::Status::has_options) ? &state.settings(key().index) : nullptr;
    const bool tried = settings != nullptr && settings->deaths.load() != 0;
    switch (end.state) {
    case TaskState::thrown: {
        if (bytes.empty()) {
            return std::make_exception_ptr(LimitExceeded(
                LimitKind::shared_memory,
                name() + " ended, but the pool's shared memory has no room for its result or "
                         "exception: free memory, or raise "
                         "PoolOptions::max_payload_bytes"));
        }
        Reader reader(bytes);
        reader.set_max_nesting(state.sizes().max_nesting);
        return codec::decode_exception(reader);
    }
    case TaskState::died:
    case TaskState::timed_out:
    case TaskState::killed:
    case TaskState::over_limit:
        return executor::error_of(end.state, failure_report_of(bytes), settings, name());
    case TaskState::expired:
        return std::make_exception_ptr(TaskTimeout(
            name() + " was not started " + (tried ? "again " : "") + "before its deadline"));
    case TaskState::cancelled:
        return std::make_exception_ptr(
            CancelledError(name() + " was cancelled before " +
                           (tried ? "it was tried again" : "a worker claimed it")));
    default:
        return std::make_exception_ptr(BrokenProcessPool(pool()->broken_cause()));
    }
}

std::string TaskHandle::name() const {
    const executor::SharedState& state = pool()->state();
    const Record& record = state.records[key().index];
    const auto bytes = state.arguments_of(record);
    return pool()->fork_base().name_of(*type_, bytes.value_or(std::span<const std::byte>())) +
           " [task " + std::to_string(ring::number_of(generation_)) + "]";
}

} // namespace prong::detail
