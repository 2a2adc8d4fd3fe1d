#pragma once

#include "executor/parent/parcel_ledger.hpp"
#include "executor/parent/supervisor_link.hpp"
#include "executor/shared/shared_state.hpp"
#include "os/brief_mutex.hpp"

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

namespace prong::executor {

/// Knows which records are in use, in private memory of the parent, which no worker can corrupt.
/// Records are reused last in, first out, so that their cache lines are warm. When no record is in
/// use any more, the pages that a flood of tasks has touched are returned to the system.
///
/// Thread safety: any thread.
class RecordStore {
public:
    /// `link` wakes the supervisor to trim the payload.
    RecordStore(SharedState& state, SupervisorLink& link)
        : state_(state), link_(link), parcels_(state) {}

    /// Returns what is known of the parcels of tasks.
    [[nodiscard]] ParcelLedger& parcels() { return parcels_; }

    /// Returns a record to write a task into; nothing when all are in use.
    std::optional<std::uint32_t> acquire() {
        Lock lock(mutex_);
        const bool is_ready = !free_.empty() && in_use_ != 0 && abandoned_.empty();
        if (!is_ready && !prepare(lock)) return std::nullopt;
        const std::uint32_t index = free_.back();
        free_.pop_back();
        ++in_use_;
        ++users_;
        return index;
    }

    /// Counts one more user, which needs no record.
    void ref() noexcept;

    // The next four return true to exactly one caller: after it no user of the store is left.

    /// Frees a record whose task has ended or was never queued, with its payload.
    [[nodiscard]] bool release(const RecordRef& ref) noexcept {
        free_payload(ref);
        const std::lock_guard lock(mutex_);
        give_back(ref.index);
        return one_user_less();
    }

    /// Takes over a record whose task may still be queued or running and has no future any more:
    /// frees it some time after the task's end.
    [[nodiscard]] bool abandon(const RecordRef& ref) noexcept;

    /// Ends a `ref`.
    [[nodiscard]] bool unref() noexcept;

    /// Closes the store: no record is acquired from now on.
    [[nodiscard]] bool close() noexcept;

    /// Frees all abandoned records whose tasks have ended.
    void release_ended() noexcept;

    /// Returns whether a task has ended that has not been released.
    [[nodiscard]] bool holds_ended() const;

    /// The states of all records that were ever used, at one moment.
    struct Counts {
        std::size_t touched;
        std::size_t free;
        std::size_t in_use;    ///< abandoned ones included
        std::size_t abandoned; ///< records without a future
    };
    [[nodiscard]] Counts counts() const;

private:
    using Lock = std::unique_lock<os::BriefMutex>;

    /// Frees the task's parcels; calls `use(begin, end)` for each block of its arguments and
    /// result.
    template <typename Use>
    void visit_payload(const RecordRef& ref, Use use) noexcept;
    void free_payload(const RecordRef& ref) noexcept;
    void discard_payload(const RecordRef& ref) noexcept;
    bool prepare(Lock& lock);
    bool make_free(Lock& lock);
    void give_back(std::uint32_t index) noexcept {
        free_.push_back(index); // cannot throw: the room was reserved
        if (--in_use_ == 0) all_are_free();
    }
    void all_are_free() noexcept;
    void find_lost_payload() noexcept;
    void release_abandoned(Lock& lock, std::size_t most) noexcept;
    [[nodiscard]] bool one_user_less() noexcept {
        --users_;
        return closed_ && users_ == 0;
    }

    SharedState& state_;
    SupervisorLink& link_;
    ParcelLedger parcels_;
    mutable os::BriefMutex mutex_;
    std::vector<std::uint32_t> free_;
    std::deque<RecordRef> abandoned_;
    std::uint32_t touched_ = 0;         ///< the first record that was never used
    std::size_t in_use_ = 0;            ///< abandoned ones included
    std::size_t users_ = 0;             ///< futures, task writers and others
    std::uint64_t left_unfinished_ = 0; ///< `Control::left_unfinished` at the last check
    bool closed_ = false;
};

template <typename Use>
void RecordStore::visit_payload(const RecordRef& ref, Use use) noexcept {
    parcels_.settle(ref);
    const ring::Record& record = state_.records[ref.index];
    if (ref.arguments != 0) use(ref.arguments, ring::read_once(record.arguments_end));
    const ring::Status status = ring::status_of(record);
    const bool has_result =
        status.generation == ref.generation && ring::has_end_bytes(status.state);
    if (!has_result) return;
    const std::uint64_t end = ring::read_once(record.result_end);
    if (end <= sizeof(ring::Record)) return;
    if (const auto begin = state_.payload.begin_of_bytes(end)) use(*begin, end);
}

inline void RecordStore::free_payload(const RecordRef& ref) noexcept {
    visit_payload(ref, [this](std::uint64_t begin, std::uint64_t end) {
        state_.payload.free(begin, end - begin); // an end that a worker has overwritten is cut
        if (state_.payload.wants_trimmer()) link_.try_notify();
    });
}

} // namespace prong::executor
