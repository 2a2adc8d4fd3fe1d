#pragma once

#include "faults/scenarios.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace prong::test {

/// How one run of a scenario went.
struct Outcome {
    std::string violations; ///< empty: none
    unsigned injected;      ///< how often the planned fault happened
};

/// Runs the scenario in a child process, with the planned fault if there is one, and judges
/// what it does and leaves. `prepare` runs in that process before.
Outcome run(
    const Scenario& scenario, const std::optional<Plan>& plan, Demand demand,
    std::chrono::seconds limit = std::chrono::seconds(20),
    const std::function<void()>& prepare = [] {});

} // namespace prong::test
