#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>

/// The steady clock in nanoseconds, in the form that shared memory holds.
namespace prong::base {

[[nodiscard]] inline std::int64_t steady_now_ns() {
    return std::chrono::steady_clock::now().time_since_epoch().count();
}

/// Returns the same to within some milliseconds (the kernel's tick), in a few nanoseconds.
[[nodiscard]] inline std::int64_t coarse_now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

} // namespace prong::base
