#include "os/fork_safe_mutex.hpp"

#include "os/fork_depth.hpp"

namespace prong::os {

bool ForkSafeMutex::lock() noexcept {
    const std::uint32_t own = fork_depth();
    for (;;) {
        std::uint32_t holder = 0;
        if (holder_.compare_exchange_strong(holder, own, std::memory_order_acquire)) return false;
        if (holder == own) {
            futex_wait(holder_, own, std::chrono::nanoseconds(-1));
        } else if (holder_.compare_exchange_strong(holder, own, std::memory_order_acquire)) {
            return true;
        }
    }
}

void ForkSafeMutex::unlock() noexcept {
    holder_.store(0, std::memory_order_release);
    futex_wake(holder_, 1);
}

} // namespace prong::os
