#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace prong::ring {

/// The life of a task. Who may make each step is in README.md.
enum class TaskState : std::uint8_t {
    vacant,    ///< no task yet
    queued,    ///< waits for a worker
    running,   ///< a worker has claimed it
    returned,  ///< result bytes are there
    thrown,    ///< an encoded exception is there
    died,      ///< its worker died; pid and exit code are there
    cancelled, ///< never ran, never will
    lost,      ///< the pool broke while it was queued or running
};

[[nodiscard]] constexpr bool is_final(TaskState state) {
    return state >= TaskState::returned;
}

/// The state word of a record, taken apart. One compare-and-swap changes all of it.
struct Status {
    TaskState state = TaskState::vacant;
    /// Somebody sleeps: on the word itself, or on the pool's completion word.
    static constexpr std::uint8_t watched = 1;
    static constexpr std::uint8_t watched_with_others = 2;
    std::uint8_t flags = 0;
    std::uint16_t owner = 0;      ///< the worker's index, from `running` on
    std::uint32_t generation = 0; ///< which of the tasks that the record has held

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
    /// pid and exit code, written by the supervisor before `died`.
    std::uint64_t result_offset;
    std::uint64_t result_length;
    std::byte bytes[80];

    static constexpr std::size_t bytes_offset = 48;
};
static_assert(sizeof(Record) == 128 && offsetof(Record, bytes) == Record::bytes_offset);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

} // namespace prong::ring
