#include "executor/parent/records.hpp"

#include <algorithm>

namespace prong::executor {
namespace {

/// The number of records that keep their pages for the next tasks when the pool is idle (32 MiB):
/// touching a page anew costs as much as several tasks.
constexpr std::uint32_t warm_records = 1 << 18;

/// The number of abandoned records that each new task checks: they are freed faster than they come.
constexpr std::size_t abandoned_per_acquire = 2;

} // namespace

/// Frees what abandoned tasks and dead workers have left, and puts a record on the free list if
/// there is none. Returns false if all are in use.
bool RecordStore::prepare(Lock& lock) {
    release_abandoned(lock, abandoned_per_acquire);
    if (in_use_ == 0) find_lost_payload();
    return !free_.empty() || make_free(lock);
}

/// Puts a record on the free list: an abandoned one, or one that was never used.
bool RecordStore::make_free(Lock& lock) {
    if (touched_ == state_.records.size()) {
        release_abandoned(lock, abandoned_.size());
        return !free_.empty();
    }
    // Reserves room for all, so that giving back cannot fail.
    if (free_.capacity() <= touched_) free_.reserve(std::max<std::size_t>(2 * touched_, 1024));
    free_.push_back(touched_++);
    return true;
}

bool RecordStore::abandon(const RecordRef& ref) noexcept {
    const std::lock_guard lock(mutex_);
    try {
        abandoned_.push_back(ref);
    } catch (const std::bad_alloc&) { // the record stays in use until the pool is destroyed
    }
    return one_user_less();
}

bool RecordStore::close() noexcept {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    return users_ == 0;
}

void RecordStore::ref() noexcept {
    const std::lock_guard lock(mutex_);
    ++users_;
}

bool RecordStore::unref() noexcept {
    const std::lock_guard lock(mutex_);
    return one_user_less();
}

void RecordStore::release_ended() noexcept {
    std::unique_lock lock(mutex_);
    release_abandoned(lock, abandoned_.size());
}

bool RecordStore::holds_ended() const {
    std::vector<bool> in_use(state_.records.size());
    {
        const Lock lock(mutex_);
        std::fill_n(in_use.begin(), touched_, true);
        for (const std::uint32_t index : free_) in_use[index] = false;
    }
    for (std::size_t i = 0; i < in_use.size(); ++i)
        if (in_use[i] && is_final(ring::status_of(state_.records[i]).state)) return true;
    return false;
}

RecordStore::Counts RecordStore::counts() const {
    const std::lock_guard lock(mutex_);
    return {.touched = touched_,
            .free = free_.size(),
            .in_use = in_use_,
            .abandoned = abandoned_.size()};
}

void RecordStore::discard_payload(const RecordRef& ref) noexcept {
    visit_payload(ref, [this](std::uint64_t begin, std::uint64_t) {
        state_.payload.discard(begin);
        if (state_.payload.wants_trimmer()) link_.try_notify();
    });
}

/// Returns the pages beyond the warm records.
void RecordStore::all_are_free() noexcept {
    if (touched_ <= warm_records) return;
    state_.discard_records(warm_records, touched_);
    state_.payload.release_small();
    state_.retire_entries();
    touched_ = 0;
    std::vector<std::uint32_t>().swap(free_);
}

/// Frees the blocks of workers that died while they took or freed a block.
void RecordStore::find_lost_payload() noexcept {
    const std::uint64_t left = state_.control().left_unfinished.load(std::memory_order_acquire);
    if (left == left_unfinished_) return;
    if (state_.payload.reset()) left_unfinished_ = left;
}

/// Unlocks while it frees payload, which may take long.
void RecordStore::release_abandoned(Lock& lock, std::size_t most) noexcept {
    for (std::size_t i = 0; i < most && !abandoned_.empty(); ++i) {
        const RecordRef ref = abandoned_.front();
        abandoned_.pop_front();
        const ring::Status status = ring::status_of(state_.records[ref.index]);
        if (is_final(status.state) || status.generation != ref.generation) {
            lock.unlock();
            discard_payload(ref);
            lock.lock();
            give_back(ref.index);
        } else {
            abandoned_.push_back(ref); // cannot throw: an element was just removed
        }
    }
}

} // namespace prong::executor
