#include "os/fork_safe_mutex.hpp"

#include "os/fork_depth.hpp"

namespace prong::os {
namespace {

constexpr std::uint32_t has_waiters = 0x8000'0000;

} // namespace

bool ForkSafeMutex::lock() noexcept {
    const std::uint32_t own = fork_depth();
    std::uint32_t wanted = own;
    for (;;) {
        std::uint32_t holder = 0;
        if (holder_.compare_exchange_strong(holder, wanted, std::memory_order_acquire))
            return false;
        if ((holder & ~has_waiters) != own) {
            if (holder_.compare_exchange_strong(holder, wanted, std::memory_order_acquire))
                return true;
        } else if (holder == wanted || holder_.compare_exchange_strong(holder, own | has_waiters)) {
            wanted = own | has_waiters; // unlock wakes one of several waiters, which wakes the next
            futex_wait(holder_, wanted, std::chrono::nanoseconds(-1));
        }
    }
}

void ForkSafeMutex::unlock() noexcept {
    const std::uint32_t holder = holder_.exchange(0, std::memory_order_release);
    if ((holder & has_waiters) != 0) futex_wake(holder_, 1);
}

} // namespace prong::os
