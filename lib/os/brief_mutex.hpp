#pragma once

#include "os/futex.hpp"

namespace prong::os {

/// A mutex for work of some nanoseconds: locking costs one atomic step, unlocking a store. So
/// `unlock` wakes no thread: one that finds the mutex locked polls it 100 times, then every 20 µs.
///
/// Thread safety: any thread of one process.
class BriefMutex {
public:
    void lock() noexcept {
        if (locked_.exchange(1, std::memory_order_acquire) != 0) wait();
    }
    void unlock() noexcept { locked_.store(0, std::memory_order_release); }

private:
    void wait() noexcept;

    FutexWord locked_{0};
};

} // namespace prong::os
