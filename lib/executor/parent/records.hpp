#pragma once

#include "executor/shared/shared_state.hpp"

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

namespace prong::executor {

/// What a future or draft holds of the pool's memory.
struct RecordRef {
    std::uint32_t index;      ///< of the record
    std::uint32_t generation; ///< of the task in it
    std::uint64_t arguments;  ///< the payload block of the arguments, or 0
};

/// Which records are in use: the parent's own knowledge, in private memory, which no worker can
/// spoil. Records are used again last in, first out, so that their cache lines are warm; when none
/// is in use any more, what a flood of tasks has touched goes back to the system.
///
/// Thread safety: any thread.
class RecordStore {
public:
    explicit RecordStore(SharedState& state) : state_(state) {}

    /// A record to write a task into; none when all are in use.
    std::optional<std::uint32_t> acquire();

    /// Counts one more user, who needs no record.
    void ref() noexcept;

    // The next five return true to the one caller after whom nobody uses the store any more.

    /// Takes back a record whose task has ended or was never queued, with its payload.
    [[nodiscard]] bool release(const RecordRef& ref) noexcept;

    /// As `release`, for a result that nobody has read: its memory goes back to the system.
    [[nodiscard]] bool discard(const RecordRef& ref) noexcept;

    /// Takes charge of a record whose task may still be queued or running, and which nobody will
    /// ask for: it is released some time after the task's end.
    [[nodiscard]] bool abandon(const RecordRef& ref) noexcept;

    /// Ends a `ref`.
    [[nodiscard]] bool unref() noexcept;

    /// Nothing will be acquired from now on.
    [[nodiscard]] bool close() noexcept;

    /// Releases all that were abandoned and whose tasks have ended.
    void release_ended() noexcept;

    /// How the records that were ever used are accounted for, at one moment.
    struct Counts {
        std::size_t touched;
        std::size_t free;
        std::size_t in_use;    ///< abandoned ones included
        std::size_t abandoned; ///< nobody will ask for them
    };
    [[nodiscard]] Counts counts() const;

private:
    /// The blocks that a task and its end hold, each with the bytes that were written to it.
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
    std::uint32_t touched_ = 0;         ///< records from here on were never used
    std::size_t in_use_ = 0;            ///< abandoned ones included
    std::size_t users_ = 0;             ///< futures, drafts and others that hold the store
    std::uint64_t left_unfinished_ = 0; ///< by dead workers, when that was last looked at
    bool closed_ = false;
};

} // namespace prong::executor
