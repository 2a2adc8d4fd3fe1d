#pragma once

#include <chrono>

namespace prong::ring {

/// Tells the processor that this is a spin loop.
inline void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// Decides how long waiting awake is worth it. A sleep costs two system calls and a wake-up of
/// 5 to 50 µs, so a wait that usually ends before that is better spun through; one that does not
/// only burns a core. The budget doubles when spinning pays off and halves when it does not; on a
/// single CPU, or when as many others spin already, it is zero.
///
/// Thread safety: one thread.
class Spinner {
public:
    /// Spins a little; false when the budget is used up: sleep then. `spinning` is how many
    /// processes or threads spin now, this one included.
    bool spin(unsigned spinning) noexcept;

    /// What was waited for has come.
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
