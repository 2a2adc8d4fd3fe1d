#pragma once

#include "steps/stage.hpp"
#include "steps/tally.hpp"
#include "support/catch.hpp"

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace prong::test {

/// What is tried at every point of a way. The pool is at rest before and afterwards.
struct Trial {
    const char* name;
    unsigned workers;
    Path (Stage::*way)(const Scenario&);
    /// Returns whether it has come to the point; else it was at the end of the way.
    bool (*round)(Stage& stage, const Scenario& scenario, const Point& point,
                  Invariants& invariants);
    bool ends_pool = false;
};

/// The victim is dead: the supervisor repairs and replaces.
inline void replace_victim(Stage& stage) {
    stage.worker(0).replace_by(stage.next_worker());
    stage.come_to_rest();
}

/// All is over, and nothing else will happen: what has not ended by now never will.
inline void check_all(Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
    for (Expected& task : tasks) invariants.check(task, {});
    stage.check_accepts_work(invariants);
    invariants.check_at_rest(stage.pool().core(), stage.deaths());
}

inline constexpr Trial killed{
    .name = "SIGKILL",
    .workers = 1,
    .way = &Stage::way_of_victim,
    .round =
        [](Stage& stage, const Scenario& scenario, const Point& point, Invariants& invariants) {
            auto tasks = stage.submit(scenario);
            const bool reached = stage.victim().run_to(point, door);
            stage.kill(stage.victim(), tasks);
            replace_victim(stage);
            check_all(stage, tasks, invariants);
            return reached;
        },
};

/// Tries it at all points of a way, or at a `few` if this is no full run. `supervise` replaces the
/// real supervisor.
inline Tally try_points(const Trial& trial, const Scenario& scenario, std::size_t few,
                        const CorePool::Supervise& supervise = {}) {
    auto stage = std::make_unique<Stage>(trial.workers, supervise);
    const Path path = (*stage.*trial.way)(scenario);
    Tally tally;
    for (const Point& point : sample(path, few)) {
        Invariants invariants;
        bool reached = false;
        try {
            reached = trial.round(*stage, scenario, point, invariants);
        } catch (const std::exception& error) {
            invariants.require(false, error.what());
        }
        tally.count(point, reached, invariants);
        if (trial.ends_pool || !invariants.hold()) {
            stage.reset();
            stage = std::make_unique<Stage>(trial.workers, supervise);
        }
    }
    tally.print(trial.name + std::string(", ") + scenario.name, path.size());
    return tally;
}

/// The same, where nothing must go wrong.
inline void require_none_wrong(const Trial& trial, const Scenario& scenario, std::size_t few) {
    const Tally tally = try_points(trial, scenario, few);
    INFO(tally.examples());
    CHECK(tally.points() > 0);
    CHECK(tally.violations() == 0);
}

inline bool skipped() {
    const std::string reason = cannot_trace();
    if (!reason.empty()) WARN("skipped: " << reason);
    return !reason.empty();
}

} // namespace prong::test
