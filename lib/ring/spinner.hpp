#pragma once

#include "base/relax.hpp"

#include <chrono>

namespace prong::ring {

/// Decides how long to spin before sleeping. A sleep costs two system calls and a wake-up of 5 to
/// 50 µs: spinning is cheaper if the wait usually ends before that, and otherwise only burns a
/// core. The budget doubles when spinning pays off and halves when it does not. It is zero on a
/// single CPU, or when as many others spin already.
///
/// Thread safety: one thread.
class Spinner {
public:
    /// Spins for a moment. Returns false when the budget is used up: the caller should sleep.
    /// `count_spinning()` returns how many processes or threads spin now, including the caller.
    template <typename Count>
    bool spin(Count count_spinning) noexcept {
        base::relax();
        // The clock and the count cost more than most looks at what is awaited.
        if (spun_ && ++looks_ % looks_per_check != 0) return true;
        return may_spin(count_spinning());
    }

    /// Ends the wait: the awaited event has come.
    void found() noexcept;

private:
    using Clock = std::chrono::steady_clock;

    [[nodiscard]] bool may_spin(unsigned spinning) noexcept;

    std::chrono::nanoseconds budget_ = most;
    Clock::time_point start_{};
    bool spun_ = false;
    unsigned looks_ = 0;

    static constexpr unsigned looks_per_check = 16;
    static constexpr std::chrono::nanoseconds most = std::chrono::microseconds(50);
    static constexpr std::chrono::nanoseconds least = std::chrono::microseconds(2);
};

} // namespace prong::ring
