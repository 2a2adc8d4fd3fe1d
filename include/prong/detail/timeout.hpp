#pragma once

#include <chrono>
#include <optional>
#include <type_traits>

namespace prong::detail {

/// How long to wait, as an argument: any `std::chrono` duration (zero and less: do not wait), or
/// `std::nullopt` for as long as it takes. Durations too long for nanoseconds become the longest.
class Timeout {
public:
    using Value = std::optional<std::chrono::nanoseconds>;

    Timeout(std::nullopt_t) {}

    template <typename Rep, typename Period>
    Timeout(std::chrono::duration<Rep, Period> wait) : value_(clamp(wait)) {}

    template <typename Rep, typename Period>
    Timeout(const std::optional<std::chrono::duration<Rep, Period>>& wait) {
        if (wait) value_ = clamp(*wait);
    }

    /// A number is refused, in words.
    template <typename Number>
        requires std::is_arithmetic_v<Number>
    Timeout(Number) {
        static_assert(!std::is_arithmetic_v<Number>,
                      "prong: a number is no duration, it has no unit: write 2s (with using "
                      "namespace std::chrono_literals) or std::chrono::seconds(2)");
    }

    [[nodiscard]] const Value& value() const { return value_; }

private:
    template <typename Duration>
    static std::chrono::nanoseconds clamp(Duration wait) {
        using std::chrono::nanoseconds;
        const std::chrono::duration<double, std::nano> exact = wait;
        if (exact >= std::chrono::duration<double, std::nano>(nanoseconds::max())) {
            return nanoseconds::max();
        }
        return exact.count() <= 0 ? nanoseconds::zero()
                                  : std::chrono::duration_cast<nanoseconds>(wait);
    }

    Value value_;
};

} // namespace prong::detail
