#include "mpi/pace.hpp"

#include <sys/prctl.h>

#include <algorithm>

namespace prong::mpi {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::nanoseconds shortest = 20us;
constexpr std::chrono::nanoseconds longest = 1ms;
constexpr int share = 30;

} // namespace

/// Without the slack of 50 µs that a nap has by default.
Pace::Pace() {
    prctl(PR_SET_TIMERSLACK, 1UL);
}

void Pace::busy() {
    spinner_.found();
    may_spin_ = true;
    busy_at_ = std::chrono::steady_clock::now();
}

bool Pace::spin() {
    if (may_spin_) may_spin_ = spinner_.spin([] { return 1U; });
    return may_spin_;
}

std::chrono::nanoseconds Pace::nap() const {
    const std::chrono::nanoseconds idle = std::chrono::steady_clock::now() - busy_at_;
    return std::clamp(idle / share, shortest, longest);
}

} // namespace prong::mpi
