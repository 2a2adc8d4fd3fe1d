#pragma once

#include <array>
#include <cstdint>

namespace prong::executor {

/// Clears timers that a task has left running and whose signal would kill the next task: timers of
/// `alarm`, `setitimer` and `timer_create` whose signal has its default action. Timers whose signal
/// is handled or ignored stay. A sweep costs some microseconds in system calls, a task perhaps a
/// fiftieth of that. So a function that has left no timer 16 times is trusted: it is swept after
/// every 1024th time, and before the next task when the kernel's clock has ticked (1 to 10 ms).
///
/// Thread safety: one thread. Process safety: the worker that created it.
class TimerSweep {
public:
    /// Starts watching. Timers that already run were set by an initializer, and stay.
    TimerSweep() noexcept;

    /// Called before a task. `now_ns`: on the steady clock, coarse.
    void begin(std::int64_t now_ns) noexcept;

    /// Called after a task. `kind` distinguishes functions.
    void end(std::uint64_t kind) noexcept;

    /// Called before the worker sleeps.
    void idle() noexcept;

private:
    /// The tasks of one function; functions whose hashes collide replace each other.
    struct Trust {
        std::uint64_t kind = 0;
        std::uint32_t ended = 0; ///< since a task has left a timer
    };

    /// Sweeps if a task has ended since the last sweep.
    void sweep_what_is_due() noexcept;
    /// Clears deadly timers. Returns whether there were any.
    bool sweep() noexcept;

    std::array<Trust, 64> trusts_{};
    std::int64_t tick_ns_ = 0;          ///< when the last task began, coarse
    std::array<bool, 3> was_running_{}; ///< set by an initializer: they stay
    bool is_due_ = false;               ///< a task has ended since the last sweep
    int next_timer_ = 0;                ///< the number of the next timer that is created
};

} // namespace prong::executor
