#include "support/catch.hpp"

#include <prong/timeout.hpp>

#include <limits>

using namespace std::chrono_literals;
using prong::Timeout;

TEST_CASE("a timeout is a duration of any unit, or no limit") {
    CHECK(Timeout(2s).value() == 2'000'000'000ns);
    CHECK(Timeout(std::chrono::duration<double>(0.5)).value() == 500ms);
    CHECK(Timeout(std::optional(3us)).value() == 3us);
    CHECK_FALSE(Timeout(std::nullopt).value());
    CHECK_FALSE(Timeout(std::optional<std::chrono::seconds>()).value());
}

TEST_CASE("a timeout out of range becomes the nearest one, and what is no number becomes zero") {
    CHECK(Timeout(-1s).value() == 0ns);
    CHECK(Timeout(std::chrono::hours::max()).value() == std::chrono::nanoseconds::max());
    const auto limit = std::numeric_limits<double>::infinity();
    CHECK(Timeout(std::chrono::duration<double>(limit)).value() == std::chrono::nanoseconds::max());
    CHECK(Timeout(std::chrono::duration<double>(-limit)).value() == 0ns);
    const auto nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(Timeout(std::chrono::duration<double>(nan)).value() == 0ns);
}
