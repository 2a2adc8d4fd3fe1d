#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/detail/task_type.hpp>
#include <prong/detail/wire.hpp>

#include <cstdint>
#include <optional>

namespace prong {
struct TaskOptions;
}

namespace prong::detail {

/// A task that is being written: takes a record and encodes straight into it. Dropped before
/// `submit`, it leaves nothing behind.
///
/// Thread safety: one thread at a time; any number of writers at once.
class PRONG_API TaskWriter final : public Writer {
public:
    /// Throws `PoolShutdown`, `BrokenProcessPool`, `LimitExceeded` when all records are in use,
    /// `std::logic_error` in a process that is not the pool's.
    explicit TaskWriter(executor::PoolCore& core);
    ~TaskWriter();

    /// Queues the task; waits while `max_pending` tasks are queued. If its deadline passes first,
    /// it has expired. `options`: null for none. Throws like the constructor, and
    /// `std::invalid_argument` for options out of range.
    TaskHandle submit(const TaskType& type, const TaskOptions* options = nullptr) &&;

    /// The same, but declines when there is no room at `limit`: the task may be submitted later
    /// then.
    std::optional<TaskHandle> try_submit(const TaskType& type, const TaskOptions* options,
                                         Deadline limit);

private:
    void grow(std::size_t more) override;

    executor::PoolCore* core_;
    std::uint64_t block_ = 0; ///< 0: in the record
    std::uint32_t index_;
};

} // namespace prong::detail
