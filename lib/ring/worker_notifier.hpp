#pragma once

#include "os/futex.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <span>

namespace prong::ring {

/// A set of up to 1,024 workers, one bit each. Bits instead of a count, because a repair must take
/// back exactly what a dead worker had set.
class WorkerSet {
public:
    static constexpr unsigned capacity = 1024;

    void insert(unsigned worker) noexcept { word(worker).fetch_or(bit(worker)); }
    /// Returns whether the worker was a member.
    bool erase(unsigned worker) noexcept {
        return (word(worker).fetch_and(~bit(worker)) & bit(worker)) != 0;
    }
    void clear(unsigned workers) noexcept;
    [[nodiscard]] bool contains(unsigned worker) const noexcept {
        return (words_[worker / 64].load() & bit(worker)) != 0;
    }
    [[nodiscard]] unsigned count(unsigned workers) const noexcept;
    [[nodiscard]] bool empty(unsigned workers) const noexcept { return first(workers) < 0; }
    /// Returns the member with the lowest number; -1 if there is none.
    [[nodiscard]] int first(unsigned workers) const noexcept;

private:
    static std::uint64_t bit(unsigned worker) { return std::uint64_t{1} << (worker % 64); }
    std::atomic<std::uint64_t>& word(unsigned worker) { return words_[worker / 64]; }

    std::array<std::atomic<std::uint64_t>, capacity / 64> words_;
};

/// The words of a notifier in shared memory. Any worker and the parent set and clear bits; the
/// supervisor clears the bits of dead and stopped workers.
struct NotifierWords {
    /// Workers that are looking for work, or were woken to do so.
    alignas(128) WorkerSet searching;
    /// Workers that sleep, or are about to.
    alignas(128) WorkerSet parked;
};
struct alignas(64) WakeWord {
    os::FutexWord woken; ///< set by the process that wakes this worker; cleared by the worker
};

/// Puts workers to sleep until there is work, and wakes them. At most one worker is woken at a
/// time: while one is searching no other is woken, and a worker that finds work and leaves more
/// behind wakes the next (as in Go's scheduler). There is no lock and no count: a worker may be
/// killed at any instruction, also between choosing another worker and waking it. The supervisor
/// then takes back its bits (`forget`) and wakes the others. test/model shows that no worker sleeps
/// then while a task waits.
///
/// Thread safety: any thread of any process; `park` and `set_searching` only by the worker itself.
class WorkerNotifier {
public:
    WorkerNotifier(NotifierWords& words, std::span<WakeWord> wake_words)
        : words_(&words), wake_words_(wake_words),
          workers_(static_cast<unsigned>(wake_words.size())) {}

    /// Wakes a worker, unless one is searching already. Call it after publishing a task. Returns
    /// whether it has woken one.
    bool work_arrived() noexcept {
        // Sequentially consistent with park: either this sees the bit, or that sees the work.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        return !words_->parked.empty(workers_) && wake_one();
    }

    /// Wakes each parked worker, because a wake may have reached a stopped or dead worker.
    void wake_parked() noexcept;

    /// Wakes all workers, also those that a dead process had chosen and not woken.
    void wake_all() noexcept;

    void set_searching(unsigned worker) noexcept { words_->searching.insert(worker); }
    void stop_searching(unsigned worker) noexcept { words_->searching.erase(worker); }

    [[nodiscard]] unsigned searching() const noexcept { return words_->searching.count(workers_); }

    /// Returns whether the worker sleeps, or is about to. A parked worker runs no task.
    [[nodiscard]] bool is_parked(unsigned worker) const noexcept {
        return words_->parked.contains(worker);
    }

    static constexpr std::chrono::nanoseconds without_limit{-1};

    /// Parks the worker and sleeps until it is woken, at most for `most`, unless `work_visible()`
    /// after the bit is set. The worker is searching before and after.
    template <typename Predicate>
    void park(unsigned worker, Predicate work_visible,
              std::chrono::nanoseconds most = without_limit) noexcept;

    /// Sleeps until this worker is woken, at most for `most`, without being parked: no task wakes
    /// it.
    void doze(unsigned worker, std::chrono::nanoseconds most) noexcept { sleep(worker, most); }

    /// Takes back the bits that a dead or stopped worker had set, and wakes the others.
    void forget(unsigned worker) noexcept;

    /// Wakes a worker that may have missed a wake because it was stopped.
    void wake(unsigned worker) noexcept;

private:
    /// Wakes a parked worker, unless one is searching.
    bool wake_one() noexcept;
    /// Wakes this parked worker. Returns false if another process has taken its bit first.
    bool choose(unsigned worker) noexcept;
    void sleep(unsigned worker, std::chrono::nanoseconds most) noexcept;

    NotifierWords* words_;
    std::span<WakeWord> wake_words_;
    unsigned workers_;
};

inline int WorkerSet::first(unsigned workers) const noexcept {
    for (unsigned i = 0; i * 64 < workers; ++i) {
        const std::uint64_t members = words_[i].load(std::memory_order_relaxed);
        if (members == 0) continue;
        const auto worker = i * 64 + static_cast<unsigned>(std::countr_zero(members));
        return worker < workers ? static_cast<int>(worker) : -1; // -1: the set is corrupt
    }
    return -1;
}

template <typename Predicate>
void WorkerNotifier::park(unsigned worker, Predicate work_visible,
                          std::chrono::nanoseconds most) noexcept {
    words_->parked.insert(worker);
    words_->searching.erase(worker);
    // Sequentially consistent with work_arrived: either this sees the work, or that sees the bit.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!work_visible() || !words_->parked.erase(worker)) sleep(worker, most);
    words_->searching.insert(worker);
    words_->parked.erase(worker); // still set after `wake_all` of a worker that is about to park
}

} // namespace prong::ring
