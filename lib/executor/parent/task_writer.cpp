#include <prong/detail/task_writer.hpp>

#include "executor/parent/core.hpp"
#include "executor/shared/memory_limit.hpp"

namespace prong::detail {

using ring::Record;

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
    auto handle = try_submit(type, options, Deadline::never());
    return std::move(*handle);
}

std::optional<TaskHandle> TaskWriter::try_submit(const TaskType& type, const TaskOptions* options,
                                                 Deadline limit) {
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
    // No process reads it: if the parent dies, all memory is freed.
    std::atomic<std::uint64_t> intent;
    const shm::Block block = executor::move_to_larger_block(
        state, {data(), size()}, more, shm::parent_owner, intent, "the task's argument list");
    const std::size_t used = size();
    if (block_ != 0) state.payload.free(block_, used);
    block_ = block.offset;
    set_window(state.payload.at(block_), used, block.capacity);
}

} // namespace prong::detail
