#pragma once

#include "os/futex.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <span>

namespace prong::ring {

/// One bit for each of up to 1024 workers. Bits and not a count, because what a dead worker had
/// set must be taken back exactly.
class WorkerSet {
public:
    static constexpr unsigned capacity = 1024;

    void insert(unsigned worker) noexcept { word(worker).fetch_or(bit(worker)); }
    /// Whether it was a member.
    bool erase(unsigned worker) noexcept {
        return (word(worker).fetch_and(~bit(worker)) & bit(worker)) != 0;
    }
    void clear(unsigned workers) noexcept;
    [[nodiscard]] bool contains(unsigned worker) const noexcept {
        return (words_[worker / 64].load() & bit(worker)) != 0;
    }
    [[nodiscard]] unsigned count(unsigned workers) const noexcept;
    [[nodiscard]] bool empty(unsigned workers) const noexcept { return first(workers) < 0; }
    /// The member with the lowest number; -1 if there is none.
    [[nodiscard]] int first(unsigned workers) const noexcept;

private:
    static std::uint64_t bit(unsigned worker) { return std::uint64_t{1} << (worker % 64); }
    std::atomic<std::uint64_t>& word(unsigned worker) { return words_[worker / 64]; }

    std::array<std::atomic<std::uint64_t>, capacity / 64> words_;
};

/// The words of a parking lot in shared memory.
struct NotifierWords {
    /// Awake and looking for work, or woken and on the way.
    alignas(128) WorkerSet searching;
    /// Asleep, or about to be.
    alignas(128) WorkerSet parked;
};
struct alignas(64) WakeWord {
    os::FutexWord woken; ///< set by who wakes this worker, cleared by the worker
};

/// Where workers sleep until there is work. One worker at most is woken at a time: while one is
/// searching nobody wakes another, and a worker that finds work and leaves more behind wakes the
/// next (as in Go's scheduler). No lock and no count: a worker may be killed at any instruction,
/// or stopped after having been chosen, and `forget` takes back what it had set or was set for it,
/// and wakes the others. test/model shows that no task is left to sleepers then.
///
/// Thread safety: any thread of any process; `park` and `set_searching` only by the worker itself.
class WorkerNotifier {
public:
    WorkerNotifier(NotifierWords& words, std::span<WakeWord> wake_words)
        : words_(&words), wake_words_(wake_words),
          workers_(static_cast<unsigned>(wake_words.size())) {}

    /// After work was put where workers look: wakes a worker unless one is searching already.
    void work_arrived() noexcept;

    /// Wakes those that sleep: when a wake may have gone to somebody who does not come.
    void wake_parked() noexcept;

    /// Wakes all, also those that somebody else was about to wake who is gone now.
    void wake_all() noexcept;

    void set_searching(unsigned worker) noexcept { words_->searching.insert(worker); }
    void stop_searching(unsigned worker) noexcept { words_->searching.erase(worker); }

    [[nodiscard]] unsigned searching() const noexcept { return words_->searching.count(workers_); }

    /// Whether the worker sleeps, or is about to. Then it runs nothing.
    [[nodiscard]] bool is_parked(unsigned worker) const noexcept {
        return words_->parked.contains(worker);
    }

    /// Sleeps until woken, unless `work_visible()` after the worker has said that it is about to.
    /// The worker is searching before and after.
    template <typename Predicate>
    void park(unsigned worker, Predicate work_visible) noexcept;

    /// Takes back what a worker had set that is dead or stopped, and lets the others look.
    void forget(unsigned worker) noexcept;

    /// Makes a worker look that may have slept through a wake (it was stopped).
    void wake(unsigned worker) noexcept;

private:
    /// Wakes this parked worker, unless somebody else does.
    bool choose(unsigned worker) noexcept;
    void sleep(unsigned worker) noexcept;

    NotifierWords* words_;
    std::span<WakeWord> wake_words_;
    unsigned workers_;
};

template <typename Predicate>
void WorkerNotifier::park(unsigned worker, Predicate work_visible) noexcept {
    words_->parked.insert(worker);
    words_->searching.erase(worker);
    // Sequentially consistent with work_arrived: either this sees the work, or that sees the bit.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!work_visible() || !words_->parked.erase(worker)) sleep(worker);
    words_->searching.insert(worker);
    words_->parked.erase(worker); // still there after a wake that was meant for everybody
}

} // namespace prong::ring
