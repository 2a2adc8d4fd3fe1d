#include "ring/spinner.hpp"

#include "os/cpus.hpp"

#include <algorithm>
#include <atomic>

namespace prong::ring {
namespace {

/// Asks the system once. Not a static variable of the function: a fork could leave its guard
/// locked.
unsigned cpus() {
    static constinit std::atomic<unsigned> known{0};
    unsigned count = known.load(std::memory_order_relaxed);
    if (count == 0) {
        count = os::available_cpus();
        known.store(count, std::memory_order_relaxed);
    }
    return count;
}

} // namespace

bool Spinner::may_spin(unsigned spinning) noexcept {
    if (spinning >= cpus()) return false; // the process that is to end the wait needs a CPU, too
    const Clock::time_point now = Clock::now();
    if (!spun_) {
        spun_ = true;
        start_ = now;
    } else if (now - start_ > budget_) {
        budget_ = std::max(budget_ / 2, least);
        spun_ = false;
        return false;
    }
    return true;
}

void Spinner::found() noexcept {
    if (spun_) budget_ = std::min(budget_ * 2, most);
    spun_ = false;
}

} // namespace prong::ring
