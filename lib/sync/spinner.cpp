#include "sync/spinner.hpp"

#include "os/cpus.hpp"

#include <algorithm>

namespace prong::sync {
namespace {

unsigned cpus() {
    static const unsigned count = os::available_cpus();
    return count;
}

} // namespace

bool Spinner::spin(unsigned spinning) noexcept {
    if (spinning >= cpus()) return false; // the one that is waited for needs a CPU, too
    const Clock::time_point now = Clock::now();
    if (!spun_) {
        spun_ = true;
        start_ = now;
    } else if (now - start_ > budget_) {
        budget_ = std::max(budget_ / 2, least);
        spun_ = false;
        return false;
    }
    for (int i = 0; i < 16; ++i) relax();
    return true;
}

void Spinner::found() noexcept {
    if (spun_) budget_ = std::min(budget_ * 2, most);
    spun_ = false;
}

} // namespace prong::sync
