#include "executor/parent/records.hpp"

#include <algorithm>

namespace prong::executor {
namespace {

/// So many records stay touched for the next tasks when the pool is idle (8 MiB).
constexpr std::uint32_t warm_records = 1 << 16;

/// Each new task looks at so many abandoned ones, so that they are cleared faster than they come.
constexpr std::size_t abandoned_per_acquire = 2;

} // namespace

std::optional<std::uint32_t> RecordStore::acquire() {
    const std::lock_guard lock(mutex_);
    if (!abandoned_.empty()) release_abandoned(abandoned_per_acquire);
    if (in_use_ == 0) find_lost_payload();
    if (free_.empty() && touched_ == state_.records.size()) {
        release_abandoned(abandoned_.size());
        if (free_.empty()) return std::nullopt;
    }
    std::uint32_t index = touched_;
    if (free_.empty()) {
        // Room for all to come back, so that giving back cannot fail.
        if (free_.capacity() <= touched_) free_.reserve(std::max<std::size_t>(2 * touched_, 1024));
        ++touched_;
    } else {
        index = free_.back();
        free_.pop_back();
    }
    ++in_use_;
    ++users_;
    return index;
}

bool RecordStore::release(const RecordRef& ref) noexcept {
    free_payload(ref);
    const std::lock_guard lock(mutex_);
    give_back(ref.index);
    return one_user_less();
}

bool RecordStore::discard(const RecordRef& ref) noexcept {
    discard_payload(ref);
    const std::lock_guard lock(mutex_);
    give_back(ref.index);
    return one_user_less();
}

bool RecordStore::abandon(const RecordRef& ref) noexcept {
    const std::lock_guard lock(mutex_);
    try {
        abandoned_.push_back(ref);
    } catch (const std::bad_alloc&) { // then the record stays in use until the pool is gone
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
    const std::lock_guard lock(mutex_);
    release_abandoned(abandoned_.size());
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
void RecordStore::visit_payload(const RecordRef& ref, Use use) const noexcept {
    const ring::Record& record = state_.records[ref.index];
    if (ref.arguments != 0) use(ref.arguments, ring::read_once(record.arguments_length));
    const ring::Status status = ring::status_of(record);
    const bool has_result =
        status.generation == ref.generation && ring::has_end_bytes(status.state);
    if (!has_result) return;
    const std::uint64_t result = ring::read_once(record.result_offset);
    if (result >= sizeof(ring::Record)) use(result, ring::read_once(record.result_length));
}

void RecordStore::free_payload(const RecordRef& ref) const noexcept {
    visit_payload(ref, [this](std::uint64_t offset, std::uint64_t used) {
        state_.payload.free(offset, used);
    });
}

void RecordStore::discard_payload(const RecordRef& ref) const noexcept {
    visit_payload(ref,
                  [this](std::uint64_t offset, std::uint64_t) { state_.payload.discard(offset); });
}

void RecordStore::give_back(std::uint32_t index) noexcept {
    free_.push_back(index); // within what was reserved
    if (--in_use_ != 0 || touched_ <= warm_records) return;
    // All are free: forget those beyond the warm ones and give their pages back.
    state_.discard_records(warm_records, touched_);
    state_.payload.trim();
    state_.retire_entries();
    touched_ = 0;
    std::vector<std::uint32_t>().swap(free_);
}

/// Takes back what workers have lost that died while they took or freed a block.
void RecordStore::find_lost_payload() noexcept {
    const std::uint64_t left = state_.control().left_unfinished.load(std::memory_order_acquire);
    if (left == left_unfinished_) return;
    left_unfinished_ = left;
    state_.payload.reset();
}

void RecordStore::release_abandoned(std::size_t most) noexcept {
    for (std::size_t i = 0; i < most && !abandoned_.empty(); ++i) {
        const RecordRef ref = abandoned_.front();
        abandoned_.pop_front();
        const ring::Status status = ring::status_of(state_.records[ref.index]);
        if (is_final(status.state) || status.generation != ref.generation) {
            discard_payload(ref);
            give_back(ref.index);
        } else {
            abandoned_.push_back(ref); // the deque has just had room for it
        }
    }
}

} // namespace prong::executor
