#pragma once

#include <prong/detail/deadline.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/task_type.hpp>
#include <prong/detail/wire.hpp>
#include <prong/fwd.hpp>
#include <prong/timeout.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <utility>

namespace prong {
namespace executor {
class PoolCore;
class ServedTasks;
} // namespace executor
namespace ring {
struct Status;
}
} // namespace prong

namespace prong::detail {

/// Which task: its record, which of that record's tasks it is, and its queue (a `ring::Lane`).
struct TaskKey {
    static constexpr std::uint8_t no_lane = 3; ///< it was never queued

    std::uint32_t index = 0;
    std::uint32_t generation = 0;
    std::uint8_t lane = 0;
};

/// How a task has ended: its encoded result where it lies, good until the task is released, or the
/// error that takes its place.
struct Outcome {
    Reader result;
    std::exception_ptr error; ///< null: there is a result

    /// Throws `LimitExceeded` if this process has no memory for so large a result.
    PRONG_API void require_memory() const;
};

/// A task that has been submitted: the part of a future that does not depend on the result's type.
/// It owns the task's record in shared memory; dropped, it leaves the record to the pool.
///
/// Thread safety: one thread at a time, and at the same time any number of threads that call
/// `cancel`, `request_stop` or `kill`. Process safety: in a process that was forked since,
/// destruction does nothing, it can be moved, and every other call but `valid` throws
/// `std::logic_error`.
class PRONG_API TaskHandle {
public:
    TaskHandle() noexcept = default;
    TaskHandle(TaskHandle&& other) noexcept
        : core_(other.pool()), type_(other.type_), arguments_(other.arguments_),
          index_and_lane_(other.index_and_lane_), generation_(other.generation_) {
        other.core_.store(nullptr, std::memory_order_relaxed);
        other.type_ = nullptr;
    }
    TaskHandle& operator=(TaskHandle&& other) noexcept {
        TaskHandle(std::move(other)).swap(*this);
        return *this;
    }
    ~TaskHandle() {
        if (valid()) abandon();
    }

    [[nodiscard]] bool valid() const noexcept { return pool() != nullptr; }
    /// Throws `std::logic_error` if there is no task, or this process is not the pool's.
    void require_valid() const { core(); }
    executor::PoolCore& core() const;

    /// Whether a wait would return at once: the task has ended, or its pool has.
    [[nodiscard]] bool done() const;
    [[nodiscard]] bool running() const;
    [[nodiscard]] bool cancelled() const;
    /// Whether the task ended in an error of any kind; only after its end.
    [[nodiscard]] bool failed() const;

    // False if the result has been taken.

    /// Whether the task is cancelled now.
    bool cancel();
    /// Whether the task is cancelled now, or had not ended when it was asked to stop.
    bool request_stop();
    /// Whether the task is cancelled now, or was killed while running, or is about to be.
    bool kill();

    /// Waits for the task's end, at most until `limit`; returns `done()`.
    bool wait_until(Deadline limit) const;

    /// Waits for the end; returns how that was. A new exception object each time.
    [[nodiscard]] Outcome outcome() const;

    /// After the end: the captured output, empty if there is none.
    [[nodiscard]] std::string output() const;

    /// Gives the record back to the pool; no longer valid then.
    void release() noexcept;

    /// After the end: moves the task to another handle, like a move in all but this: other threads
    /// may meanwhile call `cancel`, `request_stop` or `kill`, which return false then.
    [[nodiscard]] TaskHandle take() noexcept {
        TaskHandle taken;
        taken.type_ = type_;
        taken.arguments_ = arguments_;
        taken.index_and_lane_ = index_and_lane_;
        taken.generation_ = generation_;
        taken.core_.store(core_.exchange(nullptr, std::memory_order_relaxed),
                          std::memory_order_relaxed);
        return taken;
    }

    /// Which task; valid ones only.
    [[nodiscard]] TaskKey key() const {
        return {.index = index_and_lane_ / 4,
                .generation = generation_,
                .lane = static_cast<std::uint8_t>(index_and_lane_ % 4)};
    }

private:
    using Bytes = std::span<const std::byte>;

    friend class executor::PoolCore;
    friend class executor::ServedTasks;
    friend class CompletionPort;
    friend class CompletionSet;
    friend class TaskWriter;
    friend class TaskBatch;

    void swap(TaskHandle& other) noexcept {
        executor::PoolCore* const pool_of_other = other.pool();
        other.core_.store(pool(), std::memory_order_relaxed);
        core_.store(pool_of_other, std::memory_order_relaxed);
        std::swap(type_, other.type_);
        std::swap(arguments_, other.arguments_);
        std::swap(index_and_lane_, other.index_and_lane_);
        std::swap(generation_, other.generation_);
    }
    [[nodiscard]] executor::PoolCore* pool() const noexcept {
        return core_.load(std::memory_order_relaxed);
    }
    template <typename Call>
    bool call_from_any_thread(Call call);
    void abandon() noexcept;
    [[nodiscard]] std::exception_ptr error_at_end(const ring::Status& end, Bytes bytes) const;
    [[nodiscard]] std::string name() const;

    std::atomic<executor::PoolCore*> core_ = nullptr;
    const TaskType* type_ = nullptr;   ///< stays when the result is taken
    std::uint64_t arguments_ = 0;      ///< the payload block of the arguments, or 0
    std::uint32_t index_and_lane_ = 0; ///< four times the one, plus the other: 32 bytes in all
    std::uint32_t generation_ = 0;
};

} // namespace prong::detail
