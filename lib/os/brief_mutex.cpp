#include "os/brief_mutex.hpp"

#include "base/relax.hpp"

namespace prong::os {

void BriefMutex::wait() noexcept {
    constexpr int looks = 100;
    constexpr std::chrono::microseconds pause(20);
    do {
        for (int i = 0; i < looks && locked_.load(std::memory_order_relaxed) != 0; ++i)
            base::relax();
        // The thread that holds it may have no CPU.
        if (locked_.load(std::memory_order_relaxed) != 0) futex_wait(locked_, 1, pause);
    } while (locked_.exchange(1, std::memory_order_acquire) != 0);
}

} // namespace prong::os
