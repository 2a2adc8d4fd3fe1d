#include "mpi/pace.hpp"

#include "base/clock.hpp"

#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>

namespace prong::mpi {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t patience_ns = 100'000;
/// An answer came soon, although both sides may have napped.
constexpr std::int64_t soon_ns = 500'000;
constexpr std::chrono::nanoseconds shortest = 20us;
constexpr std::chrono::nanoseconds longest = 1ms;
constexpr int share = 50;

constexpr std::int64_t interval_ns = 1'000'000;

} // namespace

/// Without the slack of 50 µs that a nap has by default.
Pace::Pace() {
    prctl(PR_SET_TIMERSLACK, 1UL);
}

void Pace::busy() {
    const std::int64_t now_ns = base::steady_now_ns();
    is_patient_ = now_ns - busy_ns_ < soon_ns;
    busy_ns_ = now_ns;
}

bool Pace::yield() {
    if (!is_patient_) return false;
    sched_yield();
    is_patient_ = base::steady_now_ns() - busy_ns_ < patience_ns;
    return is_patient_;
}

std::chrono::nanoseconds Pace::nap() const {
    const std::chrono::nanoseconds idle(base::steady_now_ns() - busy_ns_);
    return std::clamp(idle / share, shortest, longest);
}

bool Throughput::count(std::size_t tasks, std::int64_t now_ns) {
    ended_ += tasks;
    counted_ns_ = now_ns;
    const std::int64_t passed = now_ns - since_ns_;
    if (passed < interval_ns) return false;
    per_ns_ = static_cast<double>(ended_) / static_cast<double>(passed);
    peak_per_ns_ = std::max(per_ns_, peak_per_ns_ * 0.7);
    since_ns_ = now_ns;
    ended_ = 0;
    return true;
}

void Throughput::resume(std::int64_t now_ns) {
    since_ns_ += now_ns - counted_ns_;
    counted_ns_ = now_ns;
}

} // namespace prong::mpi
