#include "ring/ring.hpp"

namespace prong::ring {
namespace {

// An entry: low half the record's index, then a bit that tells it from untouched memory, then the
// lap, so that what an earlier lap left behind is not taken for a task.
constexpr std::uint64_t written_bit = std::uint64_t{1} << 32;

/// Changes the record's status by `change(status)` until that declines or wins; returns the status
/// after it.
template <typename Change>
Status change_status(Record& record, Change change) noexcept {
    std::uint64_t word = record.status.load(std::memory_order_acquire);
    for (;;) {
        Status status = Status::unpack(word);
        if (!change(status)) return status;
        if (record.status.compare_exchange_weak(word, status.pack(), std::memory_order_acq_rel,
                                                std::memory_order_acquire)) {
            return status;
        }
    }
}

} // namespace

std::uint64_t Ring::entry_value(Position position, std::uint32_t index) const {
    return index | written_bit | (position / entries_.size()) << 33;
}

bool Ring::is_published(Position position, std::uint64_t value) const {
    return value >> 32 == entry_value(position, 0) >> 32;
}

void Ring::start_at(Position position) noexcept {
    tail_.store(position, std::memory_order_relaxed);
    retired_.store(position / retired_step() * retired_step(), std::memory_order_relaxed);
    cursor_->head.store(position, std::memory_order_relaxed);
}

Position Ring::tail() const noexcept {
    return tail_.load(std::memory_order_acquire) & ~closed_bit;
}

/// The head as far as it can be true: at most a lap behind the tail.
Position Ring::trusted_head() const noexcept {
    const Position end = tail();
    const Position behind = end - cursor_->head.load(std::memory_order_relaxed);
    return end - std::min<Position>(behind <= entries_.size() ? behind : 0, end);
}

Ring::Refusal Ring::reserve(std::uint64_t limit, Position& position) noexcept {
    limit = std::min<std::uint64_t>(limit, entries_.size());
    Position tail = tail_.load(std::memory_order_relaxed);
    for (;;) {
        if ((tail & closed_bit) != 0) return Refusal::closed;
        // Acquire: the entry that is about to be reused has been read. Pairs with advance.
        const Position queued = tail - cursor_->head.load(std::memory_order_acquire);
        const bool nonsense = queued > entries_.size(); // then only retirement limits
        if ((queued >= limit && !nonsense) ||
            tail - retired_.load(std::memory_order_acquire) >= entries_.size()) {
            return Refusal::full;
        }
        if (tail_.compare_exchange_weak(tail, tail + 1, std::memory_order_relaxed)) {
            position = tail;
            return Refusal::none;
        }
    }
}

void Ring::publish(Position position, std::uint32_t index) noexcept {
    const Status queued{.state = TaskState::queued, .generation = generation_of(position)};
    // Release: the task's bytes. Pairs with the load of the status in claim.
    records_[index].status.store(queued.pack(), std::memory_order_release);
    // Release: the status. Pairs with the load of the entry in claim.
    entry(position).store(entry_value(position, index), std::memory_order_release);
}

Position Ring::close() noexcept {
    const Position end = tail_.fetch_or(closed_bit) & ~closed_bit;
    cursor_->final_tail.store(end + 1, std::memory_order_release);
    return end;
}

Status Ring::cancel(std::uint32_t index, std::uint32_t generation) const noexcept {
    return change_status(records_[index], [generation](Status& status) {
        if (status.state != TaskState::queued || status.generation != generation) return false;
        status.state = TaskState::cancelled;
        return true;
    });
}

Status Ring::watch(std::uint32_t index, std::uint8_t flag) const noexcept {
    return change_status(records_[index], [flag](Status& status) {
        if (is_final(status.state) || (status.flags & flag) != 0) return false;
        status.flags |= flag;
        return true;
    });
}

Status Ring::give_up(std::uint32_t index, std::uint32_t generation) const noexcept {
    return change_status(records_[index], [generation](Status& status) {
        if (is_final(status.state) && status.generation == generation) return false;
        status = {.state = TaskState::lost, .flags = status.flags, .generation = generation};
        return true;
    });
}

void Ring::advance(Position from) noexcept {
    // Release: this worker has read the entry. Pairs with reserve. Sequentially consistent with
    // the flag: either this sees who waits, or they see the head after they said so.
    if (cursor_->head.compare_exchange_strong(from, from + 1) &&
        cursor_->waiting_for_room.load() != 0) {
        cursor_->room.fetch_add(1, std::memory_order_release);
        os::futex_wake(cursor_->room, os::everyone);
    }
}

std::optional<Claim> Ring::claim(std::uint16_t owner, Note& note) noexcept {
    note.block.store(0, std::memory_order_relaxed);
    note.outgrown_block.store(0, std::memory_order_relaxed);
    Position position = cursor_->head.load(std::memory_order_acquire);
    for (;;) {
        const std::uint64_t value = entry(position).load(std::memory_order_acquire);
        if (!is_published(position, value)) {
            // Nothing here yet, unless the head has moved on and this is a later lap.
            const Position now = cursor_->head.load(std::memory_order_acquire);
            if (now == position) return std::nullopt;
            position = now;
            continue;
        }
        const auto index = static_cast<std::uint32_t>(value);
        if (index < records_.size()) {
            Record& record = records_[index];
            bool claimed = false;
            note.record.store(std::uint64_t{index} + 1, std::memory_order_release);
            const Status status = change_status(record, [&](Status& changed) {
                claimed = changed.state == TaskState::queued &&
                          changed.generation == generation_of(position);
                changed.state = claimed ? TaskState::running : changed.state;
                changed.owner = claimed ? owner : changed.owner;
                return claimed;
            });
            if (claimed) {
                advance(position);
                return Claim{.record = &record, .index = index, .status = status};
            }
        }
        advance(position); // claimed by another, or cancelled
        position = cursor_->head.load(std::memory_order_acquire);
    }
}

bool Ring::finish(const Claim& claim, TaskState state, std::uint8_t& flags) noexcept {
    bool finished = false;
    const Status after = change_status(*claim.record, [&](Status& status) {
        finished = status.state == TaskState::running && status.owner == claim.status.owner &&
                   status.generation == claim.status.generation;
        status.state = finished ? state : status.state;
        return finished;
    });
    flags = after.flags;
    return finished;
}

bool Ring::has_work() const noexcept {
    const Position position = cursor_->head.load(std::memory_order_acquire);
    return is_published(position, entry(position).load(std::memory_order_acquire));
}

bool Ring::drained() const noexcept {
    const std::uint64_t end = cursor_->final_tail.load(std::memory_order_acquire);
    return end != 0 && cursor_->head.load(std::memory_order_acquire) >= end - 1;
}

Record* Ring::repair(std::uint16_t dead_owner, const Note& note, int pid, int exitcode,
                     std::uint8_t& flags) noexcept {
    const std::uint64_t noted = note.record.load(std::memory_order_acquire);
    if (noted == 0 || noted > records_.size()) return nullptr;
    Record& record = records_[noted - 1];
    const Status status = Status::unpack(record.status.load(std::memory_order_acquire));
    if (status.state != TaskState::running || status.owner != dead_owner) return nullptr;
    record.result_offset = static_cast<std::uint64_t>(pid);
    record.result_length = static_cast<std::uint64_t>(exitcode);
    return finish({.record = &record,
                   .index = static_cast<std::uint32_t>(noted - 1),
                   .status = status},
                  TaskState::died, flags)
               ? &record
               : nullptr;
}

} // namespace prong::ring
