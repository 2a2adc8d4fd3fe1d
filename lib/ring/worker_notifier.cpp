#include "ring/worker_notifier.hpp"

#include <bit>

namespace prong::ring {

unsigned WorkerSet::count(unsigned workers) const noexcept {
    unsigned total = 0;
    for (unsigned i = 0; i * 64 < workers; ++i) {
        total += static_cast<unsigned>(std::popcount(words_[i].load(std::memory_order_relaxed)));
    }
    return total;
}

void WorkerSet::clear(unsigned workers) noexcept {
    for (unsigned i = 0; i * 64 < workers; ++i) words_[i].store(0);
}

bool WorkerNotifier::wake_one() noexcept {
    // Bounded, because a worker that corrupts shared memory may set bits again and again.
    for (unsigned tries = 0; tries < workers_; ++tries) {
        const int chosen = words_->parked.first(workers_);
        if (chosen < 0 || !words_->searching.empty(workers_)) return false;
        if (choose(static_cast<unsigned>(chosen))) return true;
    }
    return false;
}

bool WorkerNotifier::choose(unsigned worker) noexcept {
    // In this order: once the worker is no longer parked it may be busy at any time, and a
    // searching bit that is set after that would keep all processes from waking the others.
    words_->searching.insert(worker);
    if (words_->parked.erase(worker)) {
        wake(worker);
        return true;
    }
    words_->searching.erase(worker); // another process was faster
    return false;
}

void WorkerNotifier::wake_parked() noexcept {
    for (unsigned worker = 0; worker < workers_; ++worker) {
        if (words_->parked.contains(worker)) choose(worker);
    }
}

void WorkerNotifier::wake_all() noexcept {
    for (unsigned worker = 0; worker < workers_; ++worker) {
        words_->parked.erase(worker);
        wake(worker);
    }
}

void WorkerNotifier::wake(unsigned worker) noexcept {
    wake_words_[worker].woken.store(1, std::memory_order_release);
    os::futex_wake(wake_words_[worker].woken, 1);
}

void WorkerNotifier::sleep(unsigned worker, std::chrono::nanoseconds most) noexcept {
    os::FutexWord& woken = wake_words_[worker].woken;
    while (woken.load(std::memory_order_acquire) == 0) {
        os::futex_wait(woken, 0, most);
        if (most != without_limit) break; // perhaps too early: the caller looks at the clock
    }
    woken.store(0, std::memory_order_relaxed);
}

void WorkerNotifier::forget(unsigned worker) noexcept {
    // In this order: a process that is choosing the worker either fails from now on and takes its
    // searching bit back, or has set that bit before all are cleared.
    words_->parked.erase(worker);
    // All bits, because the worker may have set another worker's in `choose`. A worker that really
    // is searching and is no longer counted costs at most one wake too many.
    words_->searching.clear(workers_);
    wake_all();
}

} // namespace prong::ring
