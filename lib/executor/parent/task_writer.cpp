#include <prong/detail/task_writer.hpp>

#include "executor/parent/core.hpp"
#include "executor/shared/memory_limit.hpp"
#include "os/memory_map.hpp"

#include <prong/detail/pledges.hpp>

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace prong::detail {
namespace {

/// No address is less: the kernel maps nothing below (`vm.mmap_min_addr`).
constexpr std::uintptr_t least_address = 1 << 16;

[[noreturn]] void refuse_parcel() {
    throw std::invalid_argument(
        "a prong::SharedBuffer or SharedView lies in the memory of this host, and a task of this "
        "pool may run on another one: pass or return a std::vector instead");
}

} // namespace

using ring::Record;

TaskWriter::TaskWriter(executor::PoolCore& core)
    : Writer(core.state().sizes().max_nesting), core_(&core), index_(core.acquire_record()) {
    Record& record = core.state().records[index_];
    set_window(record.bytes, 0, sizeof(record.bytes) - Record::room_for_end);
}

void TaskWriter::give_up() noexcept {
    if (core_->is_copy()) return;
    core_->release({.index = index_, .generation = 0, .arguments = block_});
}

TaskHandle TaskWriter::submit(const TaskType& type, const TaskOptions* options) && {
    TaskHandle handle;
    queue(type, options, Deadline::never(), handle);
    return handle;
}

std::optional<TaskHandle> TaskWriter::try_submit(const TaskType& type, const TaskOptions* options,
                                                 Deadline limit) {
    TaskHandle handle;
    if (!queue(type, options, limit, handle)) return std::nullopt;
    return handle;
}

bool TaskWriter::queue(const TaskType& type, const TaskOptions* options, Deadline limit,
                       TaskHandle& handle) {
    core_->fork_base().require_known(type, {data(), size()});
    std::optional<executor::ParcelLedger::Draft> draft;
    if (has_parcels(type)) draft.emplace(core_->parcels(), index_, type, pledges_.get(), options);
    const executor::PoolCore::Written task{.index = index_,
                                           .type = type,
                                           .block = block_,
                                           .end = end(),
                                           .earlier_attempts = earlier_attempts_};
    if (!core_->submit(task, options, limit, handle)) return false;
    core_ = nullptr;
    if (draft) draft->keep(handle.generation_);
    return true;
}

Pledges& TaskWriter::pledges() {
    if (core_->may_leave_family()) refuse_parcel();
    if (!pledges_) pledges_ = std::make_unique<Pledges>(ParcelRoute::task, core_->parcels().open());
    return *pledges_;
}

bool TaskWriter::may_return_parcels() const {
    if (core_->may_leave_family()) refuse_parcel();
    return true;
}

void TaskWriter::require_family() const {
    if (!core_->may_leave_family()) return;
    throw std::invalid_argument(
        "a task of this pool may run on another host, which has no object that processes of this "
        "program share (lock, queue, value and the like): use a prong::Manager that listens on "
        "the network instead");
}

void TaskWriter::check_captures(std::span<const std::byte> captures) const {
    if (!core_->may_leave_family()) return;
    std::uintptr_t word = 0;
    for (; captures.size() >= sizeof(word); captures = captures.subspan(sizeof(word))) {
        std::memcpy(&word, captures.data(), sizeof(word));
        if (word < least_address || !os::is_mapped(word)) continue;
        throw std::invalid_argument(
            "with_captures: a captured variable is an address in this process, which means "
            "nothing on another host, where a task of this pool may run: pass what lies there as "
            "an argument");
    }
}

std::uint64_t TaskWriter::end() const {
    const bool is_in_record = block_ == 0 || size() == 0;
    return (is_in_record ? Record::bytes_offset : block_) + size();
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
