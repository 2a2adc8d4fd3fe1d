#include "sync/parking_lot.hpp"

#include <bit>

namespace prong::sync {

unsigned WorkerSet::count(unsigned workers) const noexcept {
    unsigned total = 0;
    for (unsigned i = 0; i * 64 < workers; ++i) {
        total += static_cast<unsigned>(std::popcount(words_[i].load(std::memory_order_relaxed)));
    }
    return total;
}

bool WorkerSet::empty(unsigned workers) const noexcept {
    for (unsigned i = 0; i * 64 < workers; ++i) {
        if (words_[i].load(std::memory_order_relaxed) != 0) return false;
    }
    return true;
}

int WorkerSet::take_any(unsigned workers) noexcept {
    for (unsigned i = 0; i * 64 < workers; ++i) {
        std::uint64_t members = words_[i].load();
        while (members != 0) {
            const auto worker = i * 64 + static_cast<unsigned>(std::countr_zero(members));
            if (worker >= workers) break; // overwritten with nonsense
            if (erase(worker)) return static_cast<int>(worker);
            members = words_[i].load();
        }
    }
    return -1;
}

void ParkingLot::work_arrived() noexcept {
    // Sequentially consistent with park: either this sees the bit, or that sees the work.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (signs_->parked.empty(workers_) || !signs_->searching.empty(workers_)) return;
    const int worker = signs_->parked.take_any(workers_);
    if (worker < 0) return;
    signs_->searching.insert(static_cast<unsigned>(worker)); // so that nobody wakes another
    wake(static_cast<unsigned>(worker));
}

void ParkingLot::wake_parked() noexcept {
    for (int worker = signs_->parked.take_any(workers_); worker >= 0;
         worker = signs_->parked.take_any(workers_)) {
        wake(static_cast<unsigned>(worker));
    }
}

void ParkingLot::wake_all() noexcept {
    for (unsigned worker = 0; worker < workers_; ++worker) {
        signs_->parked.erase(worker);
        wake(worker);
    }
}

void ParkingLot::wake(unsigned worker) noexcept {
    berths_[worker].woken.store(1, std::memory_order_release);
    os::futex_wake(berths_[worker].woken, 1);
}

void ParkingLot::sleep(unsigned worker) noexcept {
    os::FutexWord& woken = berths_[worker].woken;
    while (woken.load(std::memory_order_acquire) == 0) {
        os::futex_wait(woken, 0, std::chrono::nanoseconds(-1));
    }
    woken.store(0, std::memory_order_relaxed);
}

void ParkingLot::forget(unsigned worker) noexcept {
    signs_->searching.erase(worker);
    signs_->parked.erase(worker);
    wake_all();
}

} // namespace prong::sync
