#pragma once

#include "os/futex.hpp"
#include "ring/dead_entries.hpp"
#include "ring/lifecycle.hpp"

#include <algorithm>
#include <bit>
#include <optional>
#include <span>

namespace prong::ring {

/// The threads that wait for room in a queue, which may have several lanes.
struct RoomWords {
    os::FutexWord made; ///< changes when there is room, or there will never be any
    std::atomic<std::uint32_t> waiting;

    /// A thread that waits. It reads `made`, looks for room, and then sleeps until `made` changes.
    class Waiter {
    public:
        explicit Waiter(RoomWords& words) noexcept : words_(words) {
            words_.waiting.fetch_add(1);
            std::atomic_thread_fence(std::memory_order_seq_cst);
        }
        Waiter(const Waiter&) = delete;
        Waiter& operator=(const Waiter&) = delete;
        ~Waiter() { words_.waiting.fetch_sub(1); }

    private:
        RoomWords& words_;
    };

    /// Wakes the threads. Called after a sequentially consistent step that makes room or closes the
    /// queue: either this sees the thread, or the thread sees that step.
    void made_room() noexcept {
        if (waiting.load() != 0) wake_all();
    }
    void wake_all() noexcept {
        made.fetch_add(1, std::memory_order_release);
        os::futex_wake(made, os::everyone);
    }
};

/// The words of one ring that all processes share, beside its entries.
struct Cursor {
    /// No task before this position waits for a worker. A hint: any worker may advance it.
    alignas(128) std::atomic<std::uint64_t> head;
    /// The end of a closed ring, plus 1; 0 while it is open. Written by the parent.
    alignas(128) std::atomic<std::uint64_t> final_tail;
};

/// A queue of tasks: a ring of record indices, from the parent's threads to the workers.
///
/// A claim is one compare-and-swap of the record's status from queued to running with the owner's
/// index, so a task is at every instant either queued or owned. The ring only says where to look:
/// entries and head are hints, which may be lost or repeated without harm. README.md has the
/// protocol and its proof.
///
/// Thread safety: `reserve` and `publish` by any thread of the parent, `claim` by any worker.
/// Process safety: a worker may die at any instruction.
class Ring {
public:
    /// `entries` (their number is a power of two), `records`, `cursor` and `room` lie in shared
    /// memory.
    Ring(Cursor& cursor, RoomWords& room, std::span<std::atomic<std::uint64_t>> entries,
         std::span<Record> records, unsigned lane = 0)
        : cursor_(&cursor), room_(&room), entries_(entries), records_(records), lane_(lane),
          lap_shift_(static_cast<unsigned>(std::countr_zero(entries.size()))) {}

    /// Sets the position of the first task, for tests that start just below a wrap of the counters.
    void start_at(Position position) noexcept;

    // The parent's side.

    enum class ReserveResult : std::uint8_t { ok, full, closed };

    /// Takes the next position unless there are `limit` entries before it that no worker has
    /// passed, or the queue is closed.
    ReserveResult reserve(std::uint64_t limit, Position& position) noexcept;

    /// Like `reserve`, but counts tasks instead of entries, which takes longer.
    ReserveResult reserve_by_length(std::uint64_t limit, Position& position) noexcept;

    /// Makes the record `queued`, with these flags, at a reserved position.
    void publish(Position position, std::uint32_t index, std::uint8_t flags = 0) noexcept;

    /// Closes the queue: `reserve` returns `closed` from now on.
    void close() noexcept;

    /// Rewrites the words that only the parent writes, in case a worker has overwritten them.
    void rewrite_control_words() noexcept;

    /// Calls `visit(index, generation)` for each queued task.
    template <typename Visit>
    void visit_queued(Visit visit) const;

    /// Stops counting a task that `cancel` or `expire` has taken out of this queue.
    void forget(std::uint32_t index, std::uint32_t generation) noexcept;

    /// Returns the next position to be reserved.
    [[nodiscard]] Position tail() const noexcept;

    // Checks by the parent, which does not trust shared memory. They hold at every instant,
    // before and after every step of a worker or another thread, also if it died there.

    /// Returns whether the head lies between what was retired and the tail.
    [[nodiscard]] bool is_plausible() const noexcept;

    /// Returns whether the head has not yet passed a task that was published in this ring and has
    /// been queued ever since.
    [[nodiscard]] bool holds(std::uint32_t index, std::uint32_t generation) const noexcept;

    /// Returns the position at which workers cannot continue, or nothing. A thread may be about to
    /// publish there, so only a result that stays the same means something.
    [[nodiscard]] std::optional<Position> blocked_at() const noexcept;

    // The worker's side.

    /// Claims the oldest task that is queued. Returns false if there is none.
    bool claim(std::uint16_t owner, WorkerIntent& intent, Claim& claimed) noexcept;

    /// Returns whether a published entry is at the head.
    [[nodiscard]] bool has_work() const noexcept;

    /// Returns whether the queue is closed and the head has reached its end.
    [[nodiscard]] bool drained() const noexcept;

    /// Returns how many tasks are queued; ignores a wrong head.
    [[nodiscard]] std::uint64_t length() noexcept;

    /// Returns whether cancelled or expired tasks may have entries ahead of the head.
    [[nodiscard]] bool has_dead() noexcept { return dead_.any(trusted_head()); }

    /// Returns `length` plus the entries of cancelled and expired tasks: faster.
    [[nodiscard]] std::uint64_t entries_ahead() const noexcept;

    /// Returns whether the head has passed a task that was published here; ignores a wrong
    /// head.
    [[nodiscard]] bool has_passed(Position position) const noexcept {
        return position < trusted_head();
    }

    /// Returns the position of a task that was published here, or of a later one if 2^32 tasks came
    /// after it.
    [[nodiscard]] Position position_of(std::uint32_t generation) const noexcept;

    /// Returns how many tasks can be queued at once, without a limit.
    [[nodiscard]] std::uint64_t capacity() const { return entries_.size() - retired_step(); }
    [[nodiscard]] std::uint64_t size() const { return entries_.size(); }

    /// Calls `discard(first, last)` for entries (counted from the ring's start) that all workers
    /// have passed, so that the parent can give their pages back: at most a quarter of a large ring
    /// at a time. `reserve` gives their positions out only after that.
    template <typename Discard>
    void retire(Discard discard);

private:
    [[nodiscard]] std::atomic<std::uint64_t>& entry(Position position) const {
        return entries_[position & (entries_.size() - 1)];
    }
    /// An entry: the record's index in the low half, then a bit that distinguishes it from
    /// untouched memory, then the lap, so that an entry of an earlier lap is not taken for a task.
    [[nodiscard]] std::uint64_t entry_value(Position position, std::uint32_t index) const {
        constexpr std::uint64_t written_bit = std::uint64_t{1} << 32;
        return index | written_bit | (position >> lap_shift_) << 33;
    }
    [[nodiscard]] bool is_published(Position position, std::uint64_t value) const {
        return value >> 32 == entry_value(position, 0) >> 32;
    }
    [[nodiscard]] Position trusted_head() const noexcept;
    /// Returns the record of the task that is queued at this position, or nothing.
    [[nodiscard]] std::optional<std::uint32_t> queued_at(Position position) const noexcept;
    [[nodiscard]] std::uint64_t count_dead(Position head, Position end) noexcept;
    [[nodiscard]] bool is_closed() const noexcept {
        return (tail_.load(std::memory_order_acquire) & closed_bit) != 0;
    }
    [[nodiscard]] bool has_room(Position tail, std::uint64_t limit) noexcept;
    void advance(Position from) noexcept;
    void prefetch(Position position) const noexcept;

    /// Returns how many entries are retired together.
    [[nodiscard]] std::uint64_t retired_step() const {
        return std::min<std::uint64_t>(entries_.size() / 4, 1 << 16);
    }

    static constexpr Position closed_bit = Position{1} << 63;

    Cursor* cursor_;
    RoomWords* room_;
    std::span<std::atomic<std::uint64_t>> entries_;
    std::span<Record> records_;
    unsigned lane_;
    unsigned lap_shift_; ///< a lap has 2 to the power of this positions
    // Private memory of the parent, which no worker can corrupt.
    alignas(64) std::atomic<Position> tail_{0};
    std::atomic<Position> seen_head_{0}; ///< an earlier head, or the present one
    std::atomic<Position> retired_{0};
    std::atomic_flag retiring_;
    DeadEntries dead_;
};

/// Returns whether fewer than `limit` entries are ahead of the head. Looks at the head, which the
/// workers change all the time, only if there were that many when this was last called.
inline bool Ring::has_room(Position tail, std::uint64_t limit) noexcept {
    // Acquire: the entry that is about to be reused has been read. Pairs with
    // `advance`, directly or by way of the release store below.
    if (tail - seen_head_.load(std::memory_order_acquire) < limit) return true;
    const Position head = cursor_->head.load(std::memory_order_acquire);
    const Position queued = tail - head;
    if (queued > entries_.size()) return true; // corrupt: only retirement limits
    seen_head_.store(head, std::memory_order_release);
    return queued < limit;
}

inline Ring::ReserveResult Ring::reserve(std::uint64_t limit, Position& position) noexcept {
    limit = std::min<std::uint64_t>(limit, entries_.size());
    Position tail = tail_.load(std::memory_order_relaxed);
    for (;;) {
        if ((tail & closed_bit) != 0) return ReserveResult::closed;
        if (!has_room(tail, limit) ||
            tail - retired_.load(std::memory_order_acquire) >= entries_.size()) {
            return ReserveResult::full;
        }
        if (tail_.compare_exchange_weak(tail, tail + 1, std::memory_order_relaxed)) {
            position = tail;
            return ReserveResult::ok;
        }
    }
}

inline void Ring::publish(Position position, std::uint32_t index, std::uint8_t flags) noexcept {
    const Status queued{
        .state = TaskState::queued, .flags = flags, .generation = generation_of(position, lane_)};
    // Release: the task's bytes. Pairs with the load of the status in claim.
    records_[index].status.store(queued.pack(), std::memory_order_release);
    // Release: the status. Pairs with the load of the entry in claim.
    entry(position).store(entry_value(position, index), std::memory_order_release);
}

template <typename Visit>
void Ring::visit_queued(Visit visit) const {
    const Position end = tail();
    for (Position position = trusted_head(); position != end; ++position) {
        if (const auto index = queued_at(position)) visit(*index, generation_of(position, lane_));
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
