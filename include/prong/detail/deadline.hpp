#pragma once

#include <prong/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>

namespace prong::detail {

/// A point on the steady clock until which a call waits, or never.
class Deadline {
public:
    using Clock = std::chrono::steady_clock;

    static Deadline at(Clock::time_point point) { return Deadline(point); }
    /// The same in nanoseconds since the clock's epoch.
    static Deadline at_ns(std::int64_t point) {
        return Deadline(Clock::time_point(std::chrono::nanoseconds(point)));
    }
    static Deadline now() { return Deadline(Clock::now()); }
    static Deadline never() { return Deadline(Clock::time_point::max()); }

    /// Returns the point `wait` from now. A duration too long for the clock is never; a negative
    /// one is now.
    template <typename Rep, typename Period>
    static Deadline after(std::chrono::duration<Rep, Period> wait) {
        const auto now = Clock::now();
        if (wait <= wait.zero()) return Deadline(now);
        const std::chrono::duration<double> room = Clock::time_point::max() - now;
        if (std::chrono::duration<double>(wait) >= room) return never();
        return Deadline(now + std::chrono::duration_cast<Clock::duration>(wait));
    }

    static Deadline after(const Timeout& timeout) {
        return timeout.value() ? after(*timeout.value()) : never();
    }

    friend auto operator<=>(const Deadline&, const Deadline&) = default;

    [[nodiscard]] bool is_never() const { return point_ == Clock::time_point::max(); }
    [[nodiscard]] bool passed() const { return !is_never() && Clock::now() >= point_; }

    /// Returns the time that is left, at least zero and at most `most`.
    [[nodiscard]] std::chrono::nanoseconds left(std::chrono::nanoseconds most) const {
        if (is_never()) return most;
        const std::chrono::nanoseconds rest = point_ - Clock::now();
        return std::clamp(rest, std::chrono::nanoseconds::zero(), most);
    }

private:
    explicit Deadline(Clock::time_point point) : point_(point) {}

    Clock::time_point point_;
};

/// Returns how long it is until a point on any clock; zero if that has passed.
template <typename Clock, typename Duration>
Timeout time_until(std::chrono::time_point<Clock, Duration> point) {
    // In floating point: a point such as `max()` may be too far off for the clock's own unit.
    using Seconds = std::chrono::duration<double>;
    const auto now = Clock::now().time_since_epoch();
    if (Seconds(point.time_since_epoch()) - Seconds(now) > std::chrono::hours(24 * 365))
        return std::nullopt;
    const auto left = point.time_since_epoch() - now;
    return left > left.zero() ? Timeout(left) : Timeout(std::chrono::nanoseconds(0));
}

} // namespace prong::detail
