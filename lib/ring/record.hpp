#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace prong::ring {

/// The life of a task. Who may make each step is in README.md.
enum class TaskState : std::uint8_t {
    vacant,     ///< no task yet
    queued,     ///< waits for a worker
    running,    ///< a worker has claimed it
    condemned,  ///< its worker can no longer finish it and is being killed for it
    returned,   ///< result bytes are there
    thrown,     ///< an encoded exception is there
    died,       ///< its worker died; as in the following three, an failure_report is there
    timed_out,  ///< its time was over, and it ended or was ended
    killed,     ///< somebody wanted it killed while it was running
    over_limit, ///< it needed more than it may
    expired,    ///< its time was over before a worker had claimed it
    cancelled,  ///< never ran, never will
    lost,       ///< the pool broke while it was queued or running
};

[[nodiscard]] constexpr bool is_final(TaskState state) {
    return state >= TaskState::returned;
}

/// Whether the record says where a result, an exception or an failure_report is.
[[nodiscard]] constexpr bool has_end_bytes(TaskState state) {
    return state >= TaskState::returned && state <= TaskState::over_limit;
}

/// Whether a worker is busy with the task, or was when it died.
[[nodiscard]] constexpr bool is_claimed(TaskState state) {
    return state == TaskState::running || state == TaskState::condemned;
}

/// A place in the queue, which also numbers the tasks.
using Position = std::uint64_t;

/// The low half of a position tells the tasks of one record apart.
[[nodiscard]] constexpr std::uint32_t generation_of(Position position) {
    return static_cast<std::uint32_t>(position);
}

/// The state word of a record, taken apart. One compare-and-swap changes all of it.
struct Status {
    TaskState state = TaskState::vacant;
    /// Somebody sleeps: on the word itself, or on the pool's completion word.
    static constexpr std::uint8_t watched = 1;
    static constexpr std::uint8_t watched_with_others = 2;
    /// The task has options beside its arguments.
    static constexpr std::uint8_t has_options = 4;
    /// The running task's time is over: it ends as timed out. Set together with `stop_requested`.
    static constexpr std::uint8_t overdue = 8;
    /// Set by the parent, read by who ends the task: its future is gone, so its end keeps no
    /// payload. (The two bits before are the verdict's.)
    static constexpr std::uint8_t abandoned = 64;
    /// The running task should return soon, and is not tried again.
    static constexpr std::uint8_t stop_requested = 128;
    std::uint8_t flags = 0;
    std::uint16_t owner = 0;      ///< the worker's index, from `running` on
    std::uint32_t generation = 0; ///< which of the tasks that the record has held

    [[nodiscard]] bool has(std::uint8_t flag) const { return (flags & flag) != 0; }

    static Status unpack(std::uint64_t word) {
        return {.state = static_cast<TaskState>(word & 0xff),
                .flags = static_cast<std::uint8_t>(word >> 8),
                .owner = static_cast<std::uint16_t>(word >> 16),
                .generation = static_cast<std::uint32_t>(word >> 32)};
    }
    [[nodiscard]] std::uint64_t pack() const {
        return static_cast<std::uint64_t>(state) | std::uint64_t{flags} << 8 |
               std::uint64_t{owner} << 16 | std::uint64_t{generation} << 32;
    }
};

/// One task in shared memory: its state, what to run, and its arguments and result where they fit.
/// An offset below `sizeof(Record)` is within the record, any other is a payload block.
struct alignas(128) Record {
    /// A packed `Status`. Its lower half, with state and flags, is what waiters sleep on.
    std::atomic<std::uint64_t> status;
    /// The address of the `TaskType`. Written by the parent before `queued`.
    std::uint64_t task_type;
    /// The encoded arguments. Written by the parent before `queued`.
    std::uint64_t arguments_offset;
    std::uint64_t arguments_length;
    /// The encoded result or exception, written by the worker before `returned` or `thrown`; or
    /// the failure_report, written by the supervisor before `died` and the like.
    std::uint64_t result_offset;
    std::uint64_t result_length;
    std::byte bytes[80];

    static constexpr std::size_t bytes_offset = 48;
    /// Arguments that leave less than this go to a payload block: there must be room to say how
    /// the task ended, even when the machine has no more memory.
    static constexpr std::size_t room_for_end = 16;
};

/// Reads a word that another process may be changing, exactly once: what was checked is what is
/// used.
[[nodiscard]] inline std::uint64_t read_once(const std::uint64_t& word) noexcept {
    return *static_cast<const volatile std::uint64_t*>(&word);
}

static_assert(sizeof(Record) == 128 && offsetof(Record, bytes) == Record::bytes_offset);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

} // namespace prong::ring
