#pragma once

#include <array>
#include <cstdint>

namespace prong::executor {

/// Clears the timers that a task has left running and whose signal would kill the next task: those
/// of `alarm`, `setitimer` and `timer_create` while the signal has its default action. A timer
/// whose signal is handled or ignored stays.
/// A look costs about a microsecond in system calls, a task perhaps a tenth of that. So a function
/// that has left nothing 16 times is trusted: looked after every 128th time, and when it has run
/// long.
///
/// Thread safety: one thread. Process safety: the worker that has made it.
class TimerSweep {
public:
    /// From now on. Leaves timers alone that run already: an initializer has set them.
    TimerSweep() noexcept;

    /// A task begins. `now_ns`: on the steady clock, coarse.
    void begin(std::int64_t now_ns) noexcept;

    /// A task has ended. `kind` tells functions apart.
    void end(std::uint64_t kind) noexcept;

    /// No task will begin for a while.
    void idle() noexcept;

private:
    /// The tasks of one function, among those that share a place.
    struct Trust {
        std::uint64_t kind = 0;
        std::uint32_t ended = 0; ///< since one has left a timer
    };

    /// Whether there was one.
    bool look() noexcept;

    std::array<Trust, 64> trusts_{};
    std::int64_t began_ns_ = 0;
    std::array<bool, 3> was_running_{}; ///< interval timers that an initializer has set: they stay
    bool is_due_ = false;               ///< a task has ended since the last look
    int next_timer_ = 0;                ///< the number of the next timer that is created
};

} // namespace prong::executor
