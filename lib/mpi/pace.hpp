#pragma once

#include "base/clock.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace prong::mpi {

/// How long a process naps between two looks for messages, which cannot wake it: a fiftieth of the
/// time for which there has been nothing to do, at most 1 ms. So the looks of an idle process take
/// few per cent of a core, and an answer that comes soon is seen soon. If the last one came soon,
/// it yields to other processes for a while before the first nap.
class Pace {
public:
    Pace();

    /// There was something to do.
    void busy();

    /// Lets other processes run. Returns false when it is time to nap.
    bool yield();

    /// Returns how long to nap now.
    [[nodiscard]] std::chrono::nanoseconds nap() const;

    /// How long to nap while there is a backlog of at least twice that time.
    static constexpr std::chrono::microseconds unhurried{500};
    /// How long to nap while nothing is expected but signs of life.
    static constexpr std::chrono::milliseconds quiet{10};

private:
    std::int64_t busy_ns_ = base::steady_now_ns();
    bool is_patient_ = true;
};

/// How fast tasks end.
class Throughput {
public:
    /// Counts tasks that have ended. Returns whether there is a new rate: once per millisecond.
    bool count(std::size_t tasks, std::int64_t now_ns);

    /// There was no task since the last one ended: that time does not count.
    void resume(std::int64_t now_ns);

    [[nodiscard]] double per_ns() const { return per_ns_; }

    /// Returns when a task last ended, or when tasks came after none was there.
    [[nodiscard]] std::int64_t counted_ns() const { return counted_ns_; }

    /// Returns whether the rate is that of tasks which have ended since that time.
    [[nodiscard]] bool is_newer_than(std::int64_t time_ns) const { return since_ns_ > time_ns; }

    /// Returns whether this number of tasks lasts for two unhurried naps at the last highest rate:
    /// while workers wait for a loop that naps, the present rate is too low.
    [[nodiscard]] bool is_backlog(std::size_t waiting) const {
        const std::chrono::duration<double, std::nano> least = 2 * Pace::unhurried;
        return peak_per_ns_ != 0 && static_cast<double>(waiting) > peak_per_ns_ * least.count();
    }

private:
    std::int64_t since_ns_ = base::steady_now_ns();
    std::int64_t counted_ns_ = since_ns_;
    std::size_t ended_ = 0;
    double per_ns_ = 0; ///< 0: not known
    double peak_per_ns_ = 0;
};

} // namespace prong::mpi
