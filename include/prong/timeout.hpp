#pragma once

#include <chrono>
#include <optional>
#include <type_traits>

namespace prong {

/// A duration that limits something; `std::nullopt`: no limit. Constructible from any `std::chrono`
/// duration. Zero and negative values make a wait poll, and end a task at once. Clamps durations
/// too long for nanoseconds.
class Timeout {
public:
    /// A duration, or none.
    using Value = std::optional<std::chrono::nanoseconds>;

    /// No limit.
    Timeout(std::nullopt_t) {}

    /// A limit of at least zero.
    template <typename Rep, typename Period>
    Timeout(std::chrono::duration<Rep, Period> duration) : value_(clamp(duration)) {}

    /// A limit, or no limit if it is empty.
    template <typename Rep, typename Period>
    Timeout(const std::optional<std::chrono::duration<Rep, Period>>& duration) {
        if (duration) value_ = clamp(*duration);
    }

    /// Rejected at compile time with an explanation.
    template <typename Number>
        requires std::is_arithmetic_v<Number>
    Timeout(Number) {
        static_assert(!std::is_arithmetic_v<Number>,
                      "prong: a number is no duration, it has no unit: write 2s (with using "
                      "namespace std::chrono_literals) or std::chrono::seconds(2)");
    }

    /// Returns the duration, at least zero; empty for no limit.
    [[nodiscard]] const Value& value() const { return value_; }

private:
    template <typename Duration>
    static std::chrono::nanoseconds clamp(Duration duration) {
        using std::chrono::nanoseconds;
        const std::chrono::duration<double, std::nano> exact = duration;
        if (exact >= std::chrono::duration<double, std::nano>(nanoseconds::max())) {
            return nanoseconds::max();
        }
        if (!(exact.count() > 0)) return nanoseconds::zero(); // also for "not a number"
        if constexpr (std::is_floating_point_v<typename Duration::rep>) {
            return std::chrono::duration_cast<nanoseconds>(exact);
        } else {
            return std::chrono::duration_cast<nanoseconds>(duration);
        }
    }

    Value value_;
};

} // namespace prong
