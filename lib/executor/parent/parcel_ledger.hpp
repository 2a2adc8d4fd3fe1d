#pragma once

#include "executor/shared/shared_state.hpp"

#include <prong/detail/pledges.hpp>
#include <prong/detail/task_type.hpp>
#include <prong/task_options.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

namespace prong::executor {

/// The part of the pool's memory that a future or a task writer owns.
struct RecordRef {
    std::uint32_t index;      ///< of the record
    std::uint32_t generation; ///< of the task in it
    std::uint64_t arguments;  ///< the payload block of the arguments, or 0
};

/// Knows, in private memory of the parent, which parcels (`lib/buffer`) were pledged to tasks, and
/// which tasks may return some. Frees those that no process has claimed when the task's record is
/// released, and what dead workers have left.
///
/// Thread safety: any thread.
class ParcelLedger {
public:
    explicit ParcelLedger(const SharedState& state) : state_(state) {}
    ParcelLedger(const ParcelLedger&) = delete;
    ParcelLedger& operator=(const ParcelLedger&) = delete;
    /// Frees the arguments of tasks without a future, and the results that dead workers have left.
    ~ParcelLedger();

    /// Says that the pool's tasks have parcels. Returns the pool's `sync::ParcelWords::home`.
    std::uint64_t open();

    /// Enters a task before it is queued; crosses it out again unless it is kept.
    class Draft {
    public:
        /// `pledges` and `options`: null if there are none. Throws `std::bad_alloc`.
        Draft(ParcelLedger& ledger, std::uint32_t index, const detail::TaskType& type,
              detail::Pledges* pledges, const TaskOptions* options);
        ~Draft();
        Draft(const Draft&) = delete;
        Draft& operator=(const Draft&) = delete;

        /// The task is queued.
        void keep(std::uint32_t generation) noexcept;

    private:
        ParcelLedger& ledger_;
        std::uint32_t index_;
        detail::Pledges* pledges_;
        bool kept_ = false;
    };

    /// Ends what is left of the parcels of a task whose record is being released.
    void settle(const RecordRef& ref) noexcept {
        if (count_.load(std::memory_order_relaxed) != 0) settle_entry(ref);
    }

private:
    struct Entry {
        std::vector<detail::Pledges::Pledge> arguments;
        bool returns_parcels;
        std::optional<std::uint32_t> generation; ///< once the task is queued
    };

    void settle_entry(const RecordRef& ref) noexcept;
    void settle_result(const RecordRef& ref) noexcept;
    [[nodiscard]] bool is_in_use(std::uint64_t item) const;
    void free_orphans(bool all) noexcept;

    const SharedState& state_;
    std::atomic<std::uint64_t> home_ = 0;
    std::atomic<std::size_t> count_ = 0; ///< of entries
    std::mutex mutex_;
    std::unordered_map<std::uint32_t, Entry> entries_; ///< by the record's index
    std::uint64_t left_unfinished_ = 0; ///< `Control::left_unfinished` at the last check
};

} // namespace prong::executor
