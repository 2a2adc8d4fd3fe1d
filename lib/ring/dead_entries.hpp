#pragma once

#include "ring/record.hpp"

#include <deque>
#include <mutex>

namespace prong::ring {

/// Counts the entries of a queue whose tasks have left it although no worker has passed them:
/// cancelled and expired ones. In the parent's private memory, by buckets of positions, so that a
/// bucket is forgotten when the head has passed it.
///
/// Thread safety: any thread.
class DeadEntries {
public:
    /// How many positions share a count.
    static constexpr Position bucket_size = 1024;
    [[nodiscard]] static constexpr Position bucket_of(Position position) {
        return position / bucket_size;
    }

    /// Counts one more. Without memory for the count the entry keeps its place in the queue.
    void add(Position position, Position head) noexcept;

    /// Returns the count of all buckets behind the head's own, in which the caller counts itself.
    [[nodiscard]] std::uint64_t count_behind_bucket_of(Position head) noexcept;

    /// Whether there may be any.
    [[nodiscard]] bool any(Position head) noexcept {
        const std::lock_guard lock(mutex_);
        forget_before(bucket_of(head));
        return total_ != 0;
    }

private:
    void forget_before(Position bucket) noexcept;

    std::mutex mutex_; ///< guards the next ones
    std::deque<std::uint32_t> counts_;
    Position first_ = 0; ///< the bucket of `counts_.front()`
    std::uint64_t total_ = 0;
};

} // namespace prong::ring
