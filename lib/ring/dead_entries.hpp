#pragma once

#include "ring/record.hpp"

#include <deque>
#include <mutex>

namespace prong::ring {

/// Counts the entries of cancelled and expired tasks that no worker has passed. The counts lie in
/// the parent's private memory, one for each bucket of positions; a bucket that the head has passed
/// is forgotten.
///
/// Thread safety: any thread.
class DeadEntries {
public:
    /// The number of positions that share a count.
    static constexpr Position bucket_size = 1024;
    [[nodiscard]] static constexpr Position bucket_of(Position position) {
        return position / bucket_size;
    }

    /// Counts one more entry. Without memory for the count the entry keeps its place in the queue.
    void add(Position position, Position head) noexcept;

    /// Returns the sum of all buckets behind the head's; the caller counts within the head's
    /// bucket.
    [[nodiscard]] std::uint64_t count_behind_bucket_of(Position head) noexcept;

    /// Returns whether any dead entry may be ahead of the head.
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
