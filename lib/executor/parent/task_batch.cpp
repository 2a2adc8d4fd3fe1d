#include <prong/detail/task_writer.hpp>

#include "executor/parent/core.hpp"

#include <prong/detail/pledges.hpp>
#include <prong/error.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

namespace prong::detail {

/// The parcels in a task's arguments, and perhaps in its result.
struct TaskBatch::Parcels {
    Parcels(executor::ParcelLedger& ledger, std::uint32_t index, const TaskType& type,
            std::unique_ptr<Pledges> own, const TaskOptions* options)
        : pledges(std::move(own)), draft(ledger, index, type, pledges.get(), options) {}

    std::unique_ptr<Pledges> pledges;
    executor::ParcelLedger::Draft draft;
};

TaskBatch::TaskBatch(executor::PoolCore& core, const TaskType& type, const TaskOptions* options)
    : core_(&core), type_(&type), options_(options) {}

TaskBatch::~TaskBatch() {
    if (core_->is_copy()) {
        for (Task& task : tasks_) static_cast<void>(task.parcels.release()); // the parent's
        return;
    }
    for (; submitted_ != tasks_.size(); ++submitted_) {
        Task& task = tasks_[submitted_];
        task.parcels.reset();
        core_->release({.index = task.index, .generation = 0, .arguments = task.block});
    }
}

void TaskBatch::reserve(std::size_t tasks) {
    tasks_.reserve(tasks);
}

void TaskBatch::add(TaskWriter&& task) {
    // All begin with the same callable.
    if (tasks_.empty()) core_->fork_base().require_known(*type_, {task.data(), task.size()});
    flags_ = core_->complete(
        {.index = task.index_, .type = *type_, .block = task.block_, .end = task.end()}, options_);
    std::unique_ptr<Parcels> parcels;
    if (task.has_parcels(*type_))
        parcels = std::make_unique<Parcels>(core_->parcels(), task.index_, *type_,
                                            std::move(task.pledges_), options_);
    tasks_.push_back({.index = task.index_, .block = task.block_, .parcels = std::move(parcels)});
    task.core_ = nullptr;
}

std::span<TaskHandle> TaskBatch::submit_some() {
    const ring::Lane lane = core_->use_lane(options_);
    const std::size_t count = std::min(size(), handles_.size());
    for (TaskHandle& handle : std::span(handles_).first(count)) {
        Task& task = tasks_[submitted_];
        ring::Position position = 0;
        bool is_queued = false;
        try {
            if (!end_)
                is_queued = core_->enqueue(task.index, flags_, lane, Deadline::never(), position);
        } catch (const PoolShutdown&) {
            if (submitted_ == 0) throw;
            end_ = ring::TaskState::cancelled;
        } catch (const BrokenProcessPool&) {
            if (submitted_ == 0) throw;
            end_ = ring::TaskState::lost;
        }
        if (!is_queued) {
            const ring::TaskState end = end_.value_or(ring::TaskState::expired);
            position = core_->end_unqueued(task.index, flags_, lane, end);
        }
        core_->set_handle(handle, *type_, task.block, task.index, is_queued, lane, position);
        if (const auto parcels = std::move(task.parcels)) parcels->draft.keep(handle.generation_);
        ++submitted_;
    }
    core_->wake_worker();
    return {handles_.data(), count};
}

} // namespace prong::detail
