#include "ring/ring.hpp"

namespace prong::ring {

void Ring::start_at(Position position) noexcept {
    tail_.store(position, std::memory_order_relaxed);
    seen_head_.store(position, std::memory_order_relaxed);
    retired_.store(position / retired_step() * retired_step(), std::memory_order_relaxed);
    cursor_->head.store(position, std::memory_order_relaxed);
}

Position Ring::tail() const noexcept {
    return tail_.load(std::memory_order_acquire) & ~closed_bit;
}

/// Returns the head if it lies between what was retired and the tail, else the former.
Position Ring::trusted_head() const noexcept {
    const Position begin = retired_.load(std::memory_order_acquire);
    const Position head = cursor_->head.load(std::memory_order_acquire); // as in reserve
    return head >= begin && head <= tail() ? head : begin;
}

bool Ring::is_plausible() const noexcept {
    const Position head = cursor_->head.load(std::memory_order_acquire);
    const bool is_between = head >= retired_.load(std::memory_order_acquire) && head <= tail();
    // If the head has moved meanwhile, so may have the words that it was compared with.
    return is_between || cursor_->head.load(std::memory_order_acquire) != head;
}

Position Ring::position_of(std::uint32_t generation) const noexcept {
    const Position end = tail();
    return end - (Position{(generation_of(end, lane_) - generation - 1) & position_mask} + 1);
}

bool Ring::holds(std::uint32_t index, std::uint32_t generation) const noexcept {
    if (generation >> 30 != lane_) return false; // a task of another lane
    const Position end = tail();
    const Position position = position_of(generation);
    if (end - position > std::min<Position>(end, entries_.size())) return false;
    return entry(position).load(std::memory_order_acquire) == entry_value(position, index) &&
           cursor_->head.load(std::memory_order_acquire) <= position;
}

std::optional<Position> Ring::blocked_at() const noexcept {
    const Position head = cursor_->head.load(std::memory_order_acquire);
    const bool is_blocked = head < tail() && !is_published(head, entry(head).load());
    return is_blocked ? std::optional(head) : std::nullopt;
}

Ring::ReserveResult Ring::reserve_by_length(std::uint64_t limit, Position& position) noexcept {
    const Position head = trusted_head();
    // This bound only grows as the head moves, so it holds for every later head.
    const Position end = head + count_dead(head, tail()) + std::min(limit, entries_.size());
    Position tail = tail_.load(std::memory_order_relaxed);
    for (;;) {
        if ((tail & closed_bit) != 0) return ReserveResult::closed;
        if (tail >= end || tail - retired_.load(std::memory_order_acquire) >= entries_.size())
            return ReserveResult::full;
        if (tail_.compare_exchange_weak(tail, tail + 1, std::memory_order_relaxed)) {
            position = tail;
            return ReserveResult::ok;
        }
    }
}

void Ring::close() noexcept {
    const Position end = tail_.fetch_or(closed_bit) & ~closed_bit;
    cursor_->final_tail.store(end + 1, std::memory_order_release);
}

void Ring::rewrite_control_words() noexcept {
    if (is_closed() && cursor_->final_tail.load() != tail() + 1)
        cursor_->final_tail.store(tail() + 1);
}

std::uint64_t Ring::entries_ahead() const noexcept {
    const Position head = trusted_head();
    return tail() - head;
}

std::uint64_t Ring::length() noexcept {
    const Position head = trusted_head();
    const Position end = tail();
    return end - head - count_dead(head, end);
}

std::optional<std::uint32_t> Ring::queued_at(Position position) const noexcept {
    const std::uint64_t value = entry(position).load(std::memory_order_acquire);
    const auto index = static_cast<std::uint32_t>(value);
    if (!is_published(position, value) || index >= records_.size()) return std::nullopt;
    const Status status = status_of(records_[index]);
    const bool is_queued =
        status.state == TaskState::queued && status.generation == generation_of(position, lane_);
    return is_queued ? std::optional(index) : std::nullopt;
}

/// Counts the entries from the head to the tail whose tasks have left the queue.
std::uint64_t Ring::count_dead(Position head, Position end) noexcept {
    if (!dead_.any(head)) return 0;
    std::uint64_t dead = dead_.count_behind_bucket_of(head);
    const Position bucket_end = (DeadEntries::bucket_of(head) + 1) * DeadEntries::bucket_size;
    for (Position position = head; position != std::min(bucket_end, end); ++position) {
        const std::uint64_t value = entry(position).load(std::memory_order_acquire);
        dead += is_published(position, value) && !queued_at(position) ? 1U : 0U;
    }
    return std::min(dead, end - head); // the head may be corrupt
}

void Ring::forget(std::uint32_t index, std::uint32_t generation) noexcept {
    // Otherwise the head has passed it: the task had been claimed and was requeued.
    if (holds(index, generation)) dead_.add(position_of(generation), trusted_head());
}

void Ring::advance(Position from) noexcept {
    // Release: this worker has read the entry. Pairs with reserve.
    if (cursor_->head.compare_exchange_strong(from, from + 1)) room_->made_room();
}

/// Brings the record of the next task to this CPU while this one runs.
void Ring::prefetch(Position position) const noexcept {
    const std::uint64_t value = entry(position).load(std::memory_order_relaxed);
    const auto index = static_cast<std::uint32_t>(value);
    if (is_published(position, value) && index < records_.size())
        __builtin_prefetch(&records_[index], 1);
}

bool Ring::claim(std::uint16_t owner, WorkerIntent& intent, Claim& claimed) noexcept {
    Position position = cursor_->head.load(std::memory_order_acquire);
    for (;;) {
        const std::uint64_t value = entry(position).load(std::memory_order_acquire);
        if (!is_published(position, value)) {
            // Nothing is published here, unless the head has moved and the entry is of a later lap.
            const Position now = cursor_->head.load(std::memory_order_acquire);
            if (now == position) return false;
            position = now;
            continue;
        }
        const bool made = ring::claim(records_, static_cast<std::uint32_t>(value),
                                      generation_of(position, lane_), owner, intent, claimed);
        advance(position); // also if another worker claimed it, or it was cancelled
        if (made) {
            prefetch(position + 1);
            return true;
        }
        position = cursor_->head.load(std::memory_order_acquire);
    }
}

bool Ring::has_work() const noexcept {
    const Position position = cursor_->head.load(std::memory_order_acquire);
    return is_published(position, entry(position).load(std::memory_order_acquire));
}

bool Ring::drained() const noexcept {
    const std::uint64_t end = cursor_->final_tail.load(std::memory_order_acquire);
    return end != 0 && cursor_->head.load(std::memory_order_acquire) >= end - 1;
}

} // namespace prong::ring
