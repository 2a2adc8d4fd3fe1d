#include "ring/dead_entries.hpp"

#include <new>

namespace prong::ring {

void DeadEntries::add(Position position, Position head) noexcept {
    const std::lock_guard lock(mutex_);
    forget_before(bucket_of(head));
    const Position bucket = bucket_of(position);
    if (bucket < first_) return; // the head has passed it
    try {
        if (counts_.size() <= bucket - first_) counts_.resize(bucket - first_ + 1);
    } catch (const std::bad_alloc&) {
        return;
    }
    ++counts_[bucket - first_];
    ++total_;
}

std::uint64_t DeadEntries::count_behind_bucket_of(Position head) noexcept {
    const std::lock_guard lock(mutex_);
    const Position own = bucket_of(head);
    forget_before(own);
    return total_ - (first_ == own && !counts_.empty() ? counts_.front() : 0);
}

void DeadEntries::forget_before(Position bucket) noexcept {
    for (; first_ < bucket && !counts_.empty(); ++first_) {
        total_ -= counts_.front();
        counts_.pop_front();
    }
    if (first_ < bucket) first_ = bucket;
}

} // namespace prong::ring
