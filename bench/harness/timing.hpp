#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bench {

/// The same clock in all processes.
inline std::int64_t now_ns() {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Stopwatch {
public:
    [[nodiscard]] double seconds() const {
        return std::chrono::duration<double>(Clock::now() - start_).count();
    }

private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point start_ = Clock::now();
};

/// Calls `timed` for `seconds` altogether, at least `least` times; `between` runs before each call,
/// untimed. Returns the seconds of each call.
template <typename Timed, typename Between>
std::vector<double> sample(double seconds, std::size_t least, Timed timed, Between between) {
    std::vector<double> times;
    for (const Stopwatch all; all.seconds() < seconds || times.size() < least;) {
        between();
        const Stopwatch one;
        timed();
        times.push_back(one.seconds());
    }
    return times;
}

template <typename Timed>
std::vector<double> sample(double seconds, std::size_t least, Timed timed) {
    return sample(seconds, least, timed, [] {});
}

/// 0.5 is the median, 0.99 what 99 of 100 do not exceed.
inline double quantile(std::vector<double> values, double share) {
    const auto position = static_cast<std::size_t>(share * static_cast<double>(values.size()));
    const std::size_t index = std::min(position, values.size() - 1);
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index),
                     values.end());
    return values[index];
}

} // namespace bench
