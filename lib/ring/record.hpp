#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace prong::ring {

/// The states of a task. README.md says which process makes each step.
enum class TaskState : std::uint8_t {
    vacant,     ///< no task yet
    queued,     ///< waits in a ring, or in a dead worker's intent
    running,    ///< a worker has claimed it
    condemned,  ///< its worker can no longer finish it and is being killed
    returned,   ///< the result is in place
    thrown,     ///< an encoded exception is in place
    died,       ///< its worker died; in this state and the next three a failure report is in place
    timed_out,  ///< its timeout or deadline passed while it ran
    killed,     ///< the parent killed it while it ran
    over_limit, ///< it exceeded a limit
    expired,    ///< its deadline passed before a worker claimed it
    cancelled,  ///< removed from the queue by the parent
    lost,       ///< the pool broke while the task was queued or running
};

[[nodiscard]] constexpr bool is_final(TaskState state) {
    return state >= TaskState::returned;
}

/// Returns whether the record holds the place of a result, an exception or a failure report.
[[nodiscard]] constexpr bool has_end_bytes(TaskState state) {
    return state >= TaskState::returned && state <= TaskState::over_limit;
}

/// Returns whether a worker runs the task, or ran it when it died.
[[nodiscard]] constexpr bool is_claimed(TaskState state) {
    return state == TaskState::running || state == TaskState::condemned;
}

/// A position in a ring; also numbers the tasks.
using Position = std::uint64_t;

/// The bits of a position that are in a generation; the two above them are the lane, because each
/// lane counts its positions from 0.
inline constexpr std::uint32_t position_mask = 0x3fffffff;

/// Returns the number that distinguishes the tasks that one record holds in turn.
[[nodiscard]] constexpr std::uint32_t generation_of(Position position, unsigned lane = 0) {
    return (static_cast<std::uint32_t>(position) & position_mask) | lane << 30;
}

/// Returns the number of a task in its lane, as messages show it.
[[nodiscard]] constexpr std::uint32_t number_of(std::uint32_t generation) {
    return generation & position_mask;
}

/// The state word of a record, unpacked. One compare-and-swap changes all of it.
struct Status {
    TaskState state = TaskState::vacant;
    /// A thread sleeps on the word itself; or on the pool's completion word, or a loop awaits the
    /// task.
    static constexpr std::uint8_t watched = 1;
    static constexpr std::uint8_t watched_with_others = 2;
    /// The task has `TaskSettings`.
    static constexpr std::uint8_t has_options = 4;
    /// The running task must end as timed out. Set by the supervisor together with
    /// `stop_requested`.
    static constexpr std::uint8_t overdue = 8;
    /// The task's future was dropped, so its end keeps no payload. Set by the parent, read by the
    /// process that ends the task. (The two bits before hold the verdict.)
    static constexpr std::uint8_t abandoned = 64;
    /// The running task should return soon, and is not tried again. Set by parent or supervisor.
    static constexpr std::uint8_t stop_requested = 128;
    std::uint8_t flags = 0;
    std::uint16_t owner = 0;      ///< the number of the worker, or of the claim, that has it
    std::uint32_t generation = 0; ///< the low half of the task's position

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

/// One task in shared memory: its state, its type, and its arguments and result where they fit. The
/// state, a small argument list and a small result lie in one cache line.
///
/// Where bytes lie is one word, the offset of their end. One up to `sizeof(Record)` is within the
/// record: arguments begin at `bytes_offset`, a result behind the arguments. Any other is within
/// the region, in a payload block, with whose start the bytes begin.
struct alignas(128) Record {
    /// A packed `Status`. Waiters sleep on its lower half, which has state and flags.
    std::atomic<std::uint64_t> status;
    /// The address of the `TaskType`. Written by the parent before `queued`.
    std::uint64_t task_type;
    /// The end of the encoded arguments. Written by the parent before `queued`.
    std::uint64_t arguments_end;
    /// The end of the encoded result or exception, written by the worker before `returned` or
    /// `thrown`; or of the failure report, written by the supervisor before `died`, `timed_out`,
    /// `killed` or `over_limit`.
    std::uint64_t result_end;
    std::byte bytes[96];

    static constexpr std::size_t bytes_offset = 32;
    /// A result within the record begins at a multiple of this.
    static constexpr std::size_t alignment = 16;
    /// Arguments that leave less room than this move to a payload block: the failure report must
    /// fit even when the machine has no memory left.
    static constexpr std::size_t room_for_end = 16;
};

/// Reads a word exactly once, because another process may change it: the value that was checked is
/// the value that is used.
[[nodiscard]] inline std::uint64_t read_once(const std::uint64_t& word) noexcept {
    return *static_cast<const volatile std::uint64_t*>(&word);
}

/// Returns where a result within the record begins: behind the arguments that end at this offset,
/// if they are within the record, too.
[[nodiscard]] constexpr std::uint64_t result_begin(std::uint64_t arguments_end) {
    if (arguments_end < Record::bytes_offset || arguments_end > sizeof(Record))
        return Record::bytes_offset;
    return (arguments_end + Record::alignment - 1) / Record::alignment * Record::alignment;
}

static_assert(sizeof(Record) == 128 && offsetof(Record, bytes) == Record::bytes_offset);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

} // namespace prong::ring
