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

std::optional<std::uint32_t> RecordStore::acquire() {
    std::unique_lock lock(mutex_);
    if (!abandoned_.empty()) release_abandoned(lock, abandoned_per_acquire);
    if (in_use_ == 0) find_lost_payload();
    if (free_.empty() && !make_free(lock)) return std::nullopt;
    const std::uint32_t index = free_.back();
    free_.pop_back();
    ++in_use_;
    ++users_;
    return index;
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

bool RecordStore::release(const RecordRef& ref) noexcept {
    free_payload(ref);
    const std::lock_guard lock(mutex_);
    give_back(ref.index);
    return one_user_less();
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

bool RecordStore::one_user_less() noexcept {
    --users_;
    return closed_ && users_ == 0;
}

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

void RecordStore::free_payload(const RecordRef& ref) noexcept {
    visit_payload(ref, [this](std::uint64_t begin, std::uint64_t end) {
        state_.payload.free(begin, end - begin); // an end that a worker has overwritten is cut
        if (state_.payload.wants_trimmer()) link_.try_notify();
    });
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
