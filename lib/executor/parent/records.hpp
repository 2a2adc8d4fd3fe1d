#pragma once

#include "executor/shared/shared_state.hpp"

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

namespace prong::executor {

/// The part of the pool's memory that a future or a task writer owns.
struct RecordRef {
    std::uint32_t index;      ///< of the record
    std::uint32_t generation; ///< of the task in it
    std::uint64_t arguments;  ///< the payload block of the arguments, or 0
};

/// Knows which records are in use, in private memory of the parent, which no worker can corrupt.
/// Records are reused last in, first out, so that their cache lines are warm. When no record is in
/// use any more, the pages that a flood of tasks has touched are returned to the system.
///
/// Thread safety: any thread.
class RecordStore {
public:
    explicit RecordStore(SharedState& state) : state_(state) {}

    /// Returns a record to write a task into; nothing when all are in use.
    std::optional<std::uint32_t> acquire();

    /// Counts one more user, which needs no record.
    void ref() noexcept;

    // The next five return true to exactly one caller: after it no user of the store is left.

    /// Frees a record whose task has ended or was never queued, with its payload.
    [[nodiscard]] bool release(const RecordRef& ref) noexcept;

    /// Like `release`, for a result that was never read: its memory is returned to the system.
    [[nodiscard]] bool discard(const RecordRef& ref) noexcept;

    /// Takes over a record whose task may still be queued or running and has no future any more:
    /// frees it some time after the task's end.
    [[nodiscard]] bool abandon(const RecordRef& ref) noexcept;

    /// Ends a `ref`.
    [[nodiscard]] bool unref() noexcept;

    /// Closes the store: no record is acquired from now on.
    [[nodiscard]] bool close() noexcept;

    /// Frees all abandoned records whose tasks have ended.
    void release_ended() noexcept;

    /// The states of all records that were ever used, at one moment.
    struct Counts {
        std::size_t touched;
        std::size_t free;
        std::size_t in_use;    ///< abandoned ones included
        std::size_t abandoned; ///< records without a future
    };
    [[nodiscard]] Counts counts() const;

private:
    /// Calls `use(offset, length)` for each block of a task's arguments and result.
    template <typename Use>
    void visit_payload(const RecordRef& ref, Use use) const noexcept;
    void free_payload(const RecordRef& ref) const noexcept;
    void discard_payload(const RecordRef& ref) const noexcept;
    void give_back(std::uint32_t index) noexcept;
    void find_lost_payload() noexcept;
    void release_abandoned(std::size_t most) noexcept;
    [[nodiscard]] bool one_user_less() noexcept;

    SharedState& state_;
    mutable std::mutex mutex_;
    std::vector<std::uint32_t> free_;
    std::deque<RecordRef> abandoned_;
    std::uint32_t touched_ = 0;         ///< the first record that was never used
    std::size_t in_use_ = 0;            ///< abandoned ones included
    std::size_t users_ = 0;             ///< futures, task writers and others
    std::uint64_t left_unfinished_ = 0; ///< `Control::left_unfinished` at the last check
    bool closed_ = false;
};

} // namespace prong::executor
