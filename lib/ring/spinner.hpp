#pragma once

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
    /// Spins a little. Returns false when the budget is used up: the caller should sleep.
    /// `spinning` is the number of processes or threads that spin now, including the caller.
    bool spin(unsigned spinning) noexcept;

    /// Ends the wait: the awaited event has come.
    void found() noexcept;

private:
    using Clock = std::chrono::steady_clock;

    std::chrono::nanoseconds budget_ = most;
    Clock::time_point start_{};
    bool spun_ = false;

    static constexpr std::chrono::nanoseconds most = std::chrono::microseconds(50);
    static constexpr std::chrono::nanoseconds least = std::chrono::microseconds(2);
};

} // namespace prong::ring
