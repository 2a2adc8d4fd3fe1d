#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/pledges.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/detail/task_type.hpp>
#include <prong/detail/wire.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace prong {
struct TaskOptions;
namespace ring {
enum class TaskState : std::uint8_t;
}
} // namespace prong

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
    ~TaskWriter() {
        if (core_ != nullptr) give_up();
    }

    /// Queues the task; waits while `max_pending` tasks are queued. If its deadline passes first,
    /// it has expired. `options`: null for none. Throws like the constructor, and
    /// `std::invalid_argument` for options out of range.
    TaskHandle submit(const TaskType& type, const TaskOptions* options = nullptr) &&;

    /// The same, but declines when there is no room at `limit`: the task may be submitted later
    /// then.
    std::optional<TaskHandle> try_submit(const TaskType& type, const TaskOptions* options,
                                         Deadline limit);

    Pledges& pledges() override;
    void require_family() const override;
    void check_captures(std::span<const std::byte> captures) const override;

    /// Says which attempt at a task with options this is, from 1.
    void set_attempt(unsigned attempt) noexcept { earlier_attempts_ = attempt - 1; }

private:
    friend class TaskBatch;

    bool queue(const TaskType& type, const TaskOptions* options, Deadline limit,
               TaskHandle& handle);
    void grow(std::size_t more) override;
    void give_up() noexcept;

    /// Whether there are parcels in the arguments, or perhaps in the result. Throws
    /// `std::invalid_argument` if there must be none.
    [[nodiscard]] bool has_parcels(const TaskType& type) const {
        return pledges_ != nullptr || (type.returns_parcels && may_return_parcels());
    }
    [[nodiscard]] bool may_return_parcels() const;
    /// Returns where the arguments end.
    [[nodiscard]] std::uint64_t end() const;

    executor::PoolCore* core_;
    std::uint64_t block_ = 0; ///< 0: in the record
    std::uint32_t index_;
    std::uint32_t earlier_attempts_ = 0;
    std::unique_ptr<Pledges> pledges_; ///< null: no parcel was encoded
};

/// Tasks of one type that have been written and are submitted together. What is dropped before it
/// is submitted leaves nothing behind.
///
/// Thread safety: one thread at a time; any number of batches at once.
class PRONG_API TaskBatch {
public:
    /// `options`: null for none.
    TaskBatch(executor::PoolCore& core, const TaskType& type, const TaskOptions* options);
    ~TaskBatch();
    TaskBatch(const TaskBatch&) = delete;
    TaskBatch& operator=(const TaskBatch&) = delete;

    /// Reserves memory for this number of tasks.
    void reserve(std::size_t tasks);

    /// Adds a task that has been written for the same pool. Throws `std::invalid_argument` for
    /// options out of range and for a function that the workers lack.
    void add(TaskWriter&& task);

    /// Returns how many tasks are not yet submitted.
    [[nodiscard]] std::size_t size() const { return tasks_.size() - submitted_; }

    /// Queues the next tasks in the order in which they were added; waits while `max_pending` tasks
    /// are queued. Expires those whose deadline passes first. Throws `PoolShutdown` and
    /// `BrokenProcessPool` only if none was submitted before: else the tasks that are left end with
    /// `CancelledError` or `BrokenProcessPool`. Returns their handles, of which the caller must
    /// move each before the next call.
    std::span<TaskHandle> submit_some();

private:
    struct Parcels;
    struct Task {
        std::uint32_t index;
        std::uint64_t block;
        std::unique_ptr<Parcels> parcels; ///< null: it has none
    };

    executor::PoolCore* core_;
    const TaskType* type_;
    const TaskOptions* options_;
    std::uint8_t flags_ = 0; ///< of each task's status
    std::vector<Task> tasks_;
    std::size_t submitted_ = 0; ///< the tasks before it have handles
    std::array<TaskHandle, 256> handles_;
    /// How the tasks end that are left when the queue takes no more.
    std::optional<ring::TaskState> end_;
};

} // namespace prong::detail
