#include <prong/detail/task_handle.hpp>

#include "codec/exception.hpp"
#include "executor/parent/core.hpp"
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

/// The report that the bytes hold; an empty one if a worker has written over it.
executor::FailureReport failure_report_of(std::span<const std::byte> bytes) {
    try {
        return executor::read_failure_report(Reader(bytes));
    } catch (const CodecError&) {
        return {};
    }
}

/// The bytes that a record says it has, or nothing if that cannot be: a worker may have written
/// anything there, and may be about to.
std::optional<std::span<const std::byte>> checked_bytes(const executor::SharedState& state,
                                                        const Record& record, std::uint64_t offset,
                                                        const std::uint64_t& length_word) {
    const std::uint64_t length = ring::read_once(length_word);
    if (offset < sizeof(Record)) {
        if (offset < Record::bytes_offset || length > sizeof(Record) - offset) return std::nullopt;
        return std::span(reinterpret_cast<const std::byte*>(&record) + offset, length);
    }
    if (!state.payload.contains(offset, length)) return std::nullopt;
    return std::span<const std::byte>(state.payload.at(offset), length);
}

/// How many of a record's bytes, from the end, are not the result or exception but captured output.
std::size_t output_length(const executor::SharedState& state, std::uint32_t index,
                          ring::Status status, std::span<const std::byte> bytes) {
    if (!status.has(ring::Status::has_options)) return 0;
    const std::uint64_t length = state.settings(index).output_length.load();
    return length <= bytes.size() ? length : 0;
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
    core_.store(nullptr, std::memory_order_relaxed); // first: the core may be gone afterwards
    core->release({.index = key().index, .generation = generation_, .arguments = arguments_});
}

void TaskHandle::abandon() noexcept {
    executor::PoolCore* const core = pool();
    if (core->is_copy()) return;
    core->abandon({.index = key().index, .generation = generation_, .arguments = arguments_});
}

bool TaskHandle::done() const {
    if (has_ended()) return true;
    if (!pool()->is_lost(key())) return false;
    return is_final(pool()->mark_lost(key()).state);
}

bool TaskHandle::has_ended() const {
    return is_final(core().status(key()).state);
}

bool TaskHandle::running() const {
    return is_claimed(core().status(key()).state) && !done();
}

bool TaskHandle::cancelled() const {
    const TaskState state = core().status(key()).state;
    return state == TaskState::cancelled || state == TaskState::killed;
}

bool TaskHandle::failed() const {
    return core().status(key()).state != TaskState::returned;
}

/// Calls something of the core that does nothing to a task whose record has been given back.
template <typename Call>
bool TaskHandle::call_from_any_thread(Call call) {
    const std::lock_guard lock(executor::PoolCore::existence);
    executor::PoolCore* const core = pool(); // once: another thread may be taking the result
    if (core == nullptr && type_ != nullptr) return false;
    if (core == nullptr) throw_no_task();
    core->require_own_process();
    return (core->*call)(key());
}

bool TaskHandle::cancel() {
    return call_from_any_thread(&executor::PoolCore::cancel);
}

bool TaskHandle::request_stop() {
    using Call = bool (executor::PoolCore::*)(const TaskKey&) noexcept;
    return call_from_any_thread(Call{&executor::PoolCore::request_stop});
}

bool TaskHandle::kill() {
    return call_from_any_thread(&executor::PoolCore::kill);
}

bool TaskHandle::wait_until(TimePoint limit) const {
    return core().wait(key(), limit);
}

void TaskHandle::require_memory() const {
    executor::PoolCore& pool = core();
    if (pool.status(key()).state != TaskState::returned) return;
    executor::require_memory(ring::read_once(pool.state().records[key().index].result_length),
                             "this task's result");
}

Reader TaskHandle::result() const {
    if (const std::exception_ptr error = exception()) std::rethrow_exception(error);
    const executor::SharedState& state = core().state();
    const Record& record = state.records[key().index];
    const auto bytes =
        checked_bytes(state, record, ring::read_once(record.result_offset), record.result_length);
    if (!bytes) {
        throw CodecError("the result of " + name() +
                         " is said to lie outside of the pool's "
                         "memory: the worker that ran it has written where it should not");
    }
    const ring::Status status = core().status(key());
    Reader reader(bytes->first(bytes->size() - output_length(state, key().index, status, *bytes)));
    reader.set_max_nesting(state.sizes().max_nesting);
    return reader;
}

std::exception_ptr TaskHandle::exception() const {
    executor::PoolCore& pool = core();
    const executor::SharedState& state = pool.state();
    const Record& record = state.records[key().index];
    const ring::Status status = pool.status(key());
    const auto bytes =
        checked_bytes(state, record, ring::read_once(record.result_offset), record.result_length);
    switch (status.state) {
    case TaskState::returned:
        return nullptr;
    case TaskState::thrown: {
        const std::size_t output = bytes ? output_length(state, key().index, status, *bytes) : 0;
        if (!bytes || bytes->size() == output) {
            return std::make_exception_ptr(LimitExceeded(
                LimitKind::shared_memory,
                name() + " ended, but the pool's shared memory has no room for its result or "
                         "exception: free memory, or raise "
                         "PoolOptions::max_payload_bytes"));
        }
        Reader reader(bytes->first(bytes->size() - output));
        reader.set_max_nesting(state.sizes().max_nesting);
        return codec::decode_exception(reader);
    }
    case TaskState::died:
    case TaskState::timed_out:
    case TaskState::killed:
    case TaskState::over_limit: {
        const bool has_options = status.has(ring::Status::has_options);
        return executor::error_of(status.state,
                                  failure_report_of(bytes.value_or(std::span<const std::byte>())),
                                  has_options ? &state.settings(key().index) : nullptr, name());
    }
    case TaskState::expired: {
        const bool tried = state.settings(key().index).deaths.load() != 0;
        return std::make_exception_ptr(TaskTimeout(name() + " was not started " +
                                                   (tried ? "again " : "") +
                                                   "before its deadline had passed"));
    }
    case TaskState::cancelled: {
        const bool tried =
            status.has(ring::Status::has_options) && state.settings(key().index).deaths.load() != 0;
        return std::make_exception_ptr(
            CancelledError(name() + " was cancelled before " +
                           (tried ? "it was tried again" : "a worker had claimed it")));
    }
    default:
        return std::make_exception_ptr(BrokenProcessPool(pool.broken_cause()));
    }
}

std::string TaskHandle::output() const {
    executor::PoolCore& pool = core();
    const executor::SharedState& state = pool.state();
    const Record& record = state.records[key().index];
    const ring::Status status = pool.status(key());
    const auto bytes =
        checked_bytes(state, record, ring::read_once(record.result_offset), record.result_length);
    if (!bytes || !ring::has_end_bytes(status.state)) return {};
    if (status.state == TaskState::returned || status.state == TaskState::thrown) {
        const auto text = bytes->last(output_length(state, key().index, status, *bytes));
        return {reinterpret_cast<const char*>(text.data()), text.size()};
    }
    return failure_report_of(*bytes).death.last_output;
}

std::string TaskHandle::name() const {
    executor::PoolCore& pool = core();
    const executor::SharedState& state = pool.state();
    const Record& record = state.records[key().index];
    const std::uint64_t offset = arguments_ != 0 ? arguments_ : Record::bytes_offset;
    const auto bytes = checked_bytes(state, record, offset, record.arguments_length);
    return pool.fork_base().name_of(*type_, bytes.value_or(std::span<const std::byte>())) +
           " [task " + std::to_string(generation_) + "]";
}

PoolReference::PoolReference(executor::PoolCore& core) : core_(&core) {
    core.require_own_process();
    core.hold();
}

PoolReference::~PoolReference() {
    if (core_ != nullptr && !core_->is_copy()) core_->let_go();
}

// TaskWriter

TaskWriter::TaskWriter(executor::PoolCore& core)
    : Writer(core.state().sizes().max_nesting), core_(&core), index_(core.acquire_record()) {
    Record& record = core.state().records[index_];
    set_window(record.bytes, 0, sizeof(record.bytes) - Record::room_for_end);
}

TaskWriter::~TaskWriter() {
    if (core_ == nullptr || core_->is_copy()) return;
    core_->release({.index = index_, .generation = 0, .arguments = block_});
}

TaskHandle TaskWriter::submit(const TaskType& type, const TaskOptions* options) && {
    auto handle = try_submit(type, options, never);
    return std::move(*handle);
}

std::optional<TaskHandle> TaskWriter::try_submit(const TaskType& type, const TaskOptions* options,
                                                 TimePoint limit) {
    core_->fork_base().require_known(type, {data(), size()});
    auto handle = core_->submit({.index = index_,
                                 .type = type,
                                 .arguments = block_ != 0 ? block_ : Record::bytes_offset,
                                 .length = size()},
                                options, limit);
    if (handle) core_ = nullptr;
    return handle;
}

void TaskWriter::grow(std::size_t more) {
    const executor::SharedState& state = core_->state();
    const std::size_t used = size();
    const std::size_t wanted = executor::grown_size(used, more, state.payload.largest());
    executor::require_shared_memory(state, wanted, "the task's argument list");
    std::atomic<std::uint64_t> intent; // nobody needs to know: if the parent dies, all is gone
    const auto block = state.payload.allocate(wanted, shm::parent_owner, intent);
    if (!block) executor::throw_no_shared_memory(state, wanted, "the task's argument list");
    std::byte* const place = state.payload.at(block->offset);
    std::copy_n(data(), used, place);
    if (block_ != 0) state.payload.free(block_, used);
    block_ = block->offset;
    set_window(place, used, block->capacity);
}

} // namespace prong::detail
