#pragma once

#include <prong/detail/deadline.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/pool_reference.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/detail/task_writer.hpp>
#include <prong/task_options.hpp>

#include <optional>

namespace prong::detail {

/// A task that is submitted when there is room for it, without a blocked thread. Its deadline
/// counts from its construction.
///
/// Thread safety: one thread at a time.
class PRONG_API DelayedTask {
public:
    /// `options`: null for none. Throws like `TaskWriter`.
    DelayedTask(executor::PoolCore& pool, const TaskType& type, const TaskOptions* options);

    [[nodiscard]] executor::PoolCore& pool() const { return pool_.core(); }
    /// Where the task is to be written.
    [[nodiscard]] Writer& writer() { return writer_; }

    /// Returns whether the task is submitted now, or has expired: then `task` has it. Does not
    /// block. Throws like `TaskWriter::submit`.
    bool try_submit();
    [[nodiscard]] TaskHandle& task() { return task_; }

private:
    PoolReference pool_;
    TaskWriter writer_;
    const TaskType* type_;
    std::optional<TaskOptions> options_;
    Deadline deadline_ = Deadline::never();
    TaskHandle task_;
};

} // namespace prong::detail
