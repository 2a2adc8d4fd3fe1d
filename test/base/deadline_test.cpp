#include "support/catch.hpp"

#include <prong/detail/deadline.hpp>

using prong::detail::Deadline;
using namespace std::chrono_literals;

TEST_CASE("A deadline that is never does not pass and leaves any amount of time") {
    const Deadline deadline = Deadline::never();
    CHECK(deadline.is_never());
    CHECK_FALSE(deadline.passed());
    CHECK(deadline.left(1h) == 1h);
}

TEST_CASE("A deadline of zero or less has passed") {
    for (const auto wait : {0ns, -1ns, -1'000'000'000'000ns}) {
        const Deadline deadline = Deadline::after(wait);
        CHECK(deadline.passed());
        CHECK(deadline.left(1h) == 0ns);
    }
}

TEST_CASE("What is left shrinks and is cut to the most that was asked for") {
    const Deadline deadline = Deadline::after(1h);
    CHECK_FALSE(deadline.passed());
    CHECK(deadline.left(1s) == 1s);
    const auto first = deadline.left(2h);
    CHECK(first <= 1h);
    CHECK(first > 59min);
    CHECK(deadline.left(2h) <= first);
}

TEST_CASE("A wait too long for the clock is never, in any unit") {
    CHECK(Deadline::after(std::chrono::hours::max()).is_never());
    CHECK(Deadline::after(std::chrono::nanoseconds::max()).is_never());
    CHECK(Deadline::after(std::chrono::duration<double>(1e300)).is_never());
    CHECK_FALSE(Deadline::after(std::chrono::hours(24 * 365)).is_never());
}

TEST_CASE("The longest negative wait has passed") {
    CHECK(Deadline::after(std::chrono::hours::min()).passed());
    CHECK(Deadline::after(std::chrono::nanoseconds::min()).passed());
    CHECK(Deadline::after(std::chrono::duration<double>(-1e300)).passed());
}

TEST_CASE("No wait given is never") {
    CHECK(Deadline::after(std::optional<std::chrono::seconds>()).is_never());
    CHECK(Deadline::after(std::optional<std::chrono::seconds>(0s)).passed());
}
