#pragma once

#include "os/futex.hpp"
#include "ring/dead_entries.hpp"
#include "ring/lifecycle.hpp"

#include <algorithm>
#include <optional>
#include <span>

namespace prong::ring {

/// The words that all processes share beside entries and records.
struct Cursor {
    /// A hint: no position before it is waiting for a worker. Anyone may help it forward.
    alignas(128) std::atomic<std::uint64_t> head;
    /// One past the last position there will ever be, once the queue is closed; until then zero.
    alignas(128) std::atomic<std::uint64_t> final_tail;
    /// Changes when the head has moved while somebody waits for room.
    os::FutexWord room;
    std::atomic<std::uint32_t> waiting_for_room;
};

/// The queue of tasks: a ring of record indices, from the parent's threads to the workers.
///
/// A claim is one compare-and-swap of the record's status from queued to running with the owner's
/// name, so there is no instant at which a task is neither queued nor owned. The ring only says
/// where to look: entries and head are hints whose loss or repetition harms nothing. README.md
/// has the protocol and its proof.
///
/// Thread safety: `reserve` and `publish` by any thread of the parent, `claim` by any worker.
/// Process safety: a worker may die at any instruction.
class Ring {
public:
    /// `entries` (a power of two of them), `records` and `cursor` lie in shared memory.
    Ring(Cursor& cursor, std::span<std::atomic<std::uint64_t>> entries, std::span<Record> records)
        : cursor_(&cursor), entries_(entries), records_(records) {}

    /// Where the first task goes; tests start just below a wrap of the counters.
    void start_at(Position position) noexcept;

    // The parent's side.

    enum class ReserveResult : std::uint8_t { ok, full, closed };

    /// Takes the next position unless there are `limit` entries before it that no worker has
    /// passed, or the queue is closed.
    ReserveResult reserve(std::uint64_t limit, Position& position) noexcept;

    /// As `reserve`, but counts tasks, not entries: slower.
    ReserveResult reserve_by_length(std::uint64_t limit, Position& position) noexcept;

    /// Makes the record `queued`, with these flags, at a position that was reserved.
    void publish(Position position, std::uint32_t index, std::uint8_t flags = 0) noexcept;

    /// No position is given out from now on.
    void close() noexcept;

    /// Writes again what the parent alone writes, in case a worker has written over it.
    void rewrite_control_words() noexcept;

    /// Calls `visit(index, generation)` for everything that is queued.
    template <typename Visit>
    void visit_queued(Visit visit) const;

    /// Does not count a task any more that `cancel` or `expire` has taken out of this queue.
    void forget(std::uint32_t index, std::uint32_t generation) noexcept;

    /// Wakes those who wait for room.
    void wake_waiting() noexcept;

    /// One past the last position so far.
    [[nodiscard]] Position tail() const noexcept;

    // What the parent knows without trusting shared memory. All of it is exact: whatever a worker
    // or another thread is about to do, or died in, these hold.

    /// Whether the head can be true.
    [[nodiscard]] bool is_plausible() const noexcept;

    /// Whether a task that was published in this ring, and has been queued ever since, is still to
    /// come.
    [[nodiscard]] bool holds(std::uint32_t index, std::uint32_t generation) const noexcept;

    /// The position from which workers get no further. A thread that is about to publish there may
    /// be the reason, so this means something only if it lasts.
    [[nodiscard]] std::optional<Position> blocked_at() const noexcept;

    // The worker's side.

    /// Claims the oldest task that is queued.
    std::optional<Claim> claim(std::uint16_t owner, WorkerIntent& intent) noexcept;

    /// Whether a task is waiting for a worker.
    [[nodiscard]] bool has_work() const noexcept;

    /// Whether the queue is closed and everything in it has been claimed.
    [[nodiscard]] bool drained() const noexcept;

    /// How many tasks wait for a worker, as far as that can be true.
    [[nodiscard]] std::uint64_t length() noexcept;

    /// Whether some may have left the queue since, without a worker.
    [[nodiscard]] bool has_dead() noexcept { return dead_.any(trusted_head()); }

    /// The same as `length`, with those that have: faster.
    [[nodiscard]] std::uint64_t entries_ahead() const noexcept;

    /// Whether the head has passed a task that was published here, as far as that can be true.
    [[nodiscard]] bool has_passed(Position position) const noexcept {
        return position < trusted_head();
    }

    /// The position of a task that was published here, or that of a later one if 2^32 came after.
    [[nodiscard]] Position position_of(std::uint32_t generation) const noexcept;

    /// How many tasks can be queued at once, whatever the limit.
    [[nodiscard]] std::uint64_t capacity() const { return entries_.size() - retired_step(); }
    [[nodiscard]] std::uint64_t size() const { return entries_.size(); }
    [[nodiscard]] Cursor& cursor() const { return *cursor_; }

    /// Calls `discard(first, last)` for entries (counted from the ring's start) that all workers
    /// have gone past, a quarter of a large ring or less at a time: the parent gives their pages
    /// back. They are used again only after that.
    template <typename Discard>
    void retire(Discard discard);

private:
    [[nodiscard]] std::atomic<std::uint64_t>& entry(Position position) const {
        return entries_[position & (entries_.size() - 1)];
    }
    [[nodiscard]] std::uint64_t entry_value(Position position, std::uint32_t index) const;
    [[nodiscard]] bool is_published(Position position, std::uint64_t value) const;
    [[nodiscard]] Position trusted_head() const noexcept;
    /// The record of the task that is queued at this position, or none.
    [[nodiscard]] std::optional<std::uint32_t> queued_at(Position position) const noexcept;
    [[nodiscard]] std::uint64_t count_dead(Position head, Position end) noexcept;
    [[nodiscard]] bool is_closed() const noexcept {
        return (tail_.load(std::memory_order_acquire) & closed_bit) != 0;
    }
    void advance(Position from) noexcept;

    /// How many entries are retired together.
    [[nodiscard]] std::uint64_t retired_step() const {
        return std::min<std::uint64_t>(entries_.size() / 4, 1 << 16);
    }

    static constexpr Position closed_bit = Position{1} << 63;

    Cursor* cursor_;
    std::span<std::atomic<std::uint64_t>> entries_;
    std::span<Record> records_;
    // The parent's own, which no worker can spoil.
    alignas(64) std::atomic<Position> tail_{0};
    std::atomic<Position> retired_{0};
    std::atomic_flag retiring_;
    DeadEntries dead_;
};

template <typename Visit>
void Ring::visit_queued(Visit visit) const {
    const Position end = tail();
    for (Position position = trusted_head(); position != end; ++position) {
        if (const auto index = queued_at(position)) visit(*index, generation_of(position));
    }
}

template <typename Discard>
void Ring::retire(Discard discard) {
    if (retiring_.test_and_set(std::memory_order_acquire)) return;
    const std::uint64_t step = retired_step();
    Position begin = retired_.load(std::memory_order_relaxed);
    for (; trusted_head() >= begin + step; begin += step) {
        const std::uint64_t first = begin & (entries_.size() - 1);
        discard(first, first + step);
        retired_.store(begin + step, std::memory_order_release); // pairs with reserve
    }
    retiring_.clear(std::memory_order_release);
}

} // namespace prong::ring
