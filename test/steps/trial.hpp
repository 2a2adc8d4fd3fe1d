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
    Habits habits = {};
};

/// The victim is dead: the supervisor repairs and replaces.
inline void replace_victim(Stage& stage) {
    stage.replace(stage.worker(0));
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

/// Nobody wants the results any more.
inline void drop(Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
    tasks.clear();
    stage.come_to_rest();
    invariants.check_records(stage.pool().core()); // before others come, which release it
    check_all(stage, tasks, invariants);
}

inline constexpr Trial dropped{
    .name = "the future is dropped",
    .workers = 1,
    .way = &Stage::way_of_victim,
    .round =
        [](Stage& stage, const Scenario& scenario, const Point& point, Invariants& invariants) {
            auto tasks = stage.submit(scenario);
            const bool reached = stage.victim().run_to(point, door);
            drop(stage, tasks, invariants);
            return reached;
        },
};

/// Tries something at points of a way. `make` makes where
/// it takes place, `find_way` records the way there, `round` tries one point; after it a new place
/// is made, if that is used up or something went wrong.
template <typename Make, typename FindWay, typename Round>
Tally try_points(const std::string& what, const Share& share, Make make, FindWay find_way,
                 Round round, bool used_up) {
    auto place = make();
    const Path path = find_way(*place);
    Tally tally;
    for (const Point& point : sample(path, share)) {
        Invariants invariants;
        bool reached = false;
        try {
            // The clock decides how long somebody waits awake, so the way is not always the same.
            for (int attempt = 0; attempt < 3 && !reached && invariants.hold(); ++attempt) {
                if (!place) place = make();
                reached = round(*place, point, invariants);
                if (used_up) place.reset();
            }
        } catch (const std::exception& error) {
            invariants.require(false, error.what());
        }
        tally.count(point, reached, invariants);
        if (!invariants.hold()) place.reset();
    }
    tally.print(what, path.size());
    return tally;
}

/// `supervise` replaces the real supervisor.
inline Tally try_points(const Trial& trial, const Scenario& scenario, const Share& share,
                        const CorePool::Supervise& supervise = {}) {
    return try_points(
        trial.name + std::string(", ") + scenario.name, share,
        [&] { return std::make_unique<Stage>(trial.workers, supervise, trial.habits); },
        [&](Stage& stage) {
            if (!trial.ends_pool) stage.run(scenario); // the first time is not like the others
            return (stage.*trial.way)(scenario);
        },
        [&](Stage& stage, const Point& point, Invariants& invariants) {
            return trial.round(stage, scenario, point, invariants);
        },
        trial.ends_pool);
}

/// `try_points` where nothing must go wrong.
template <typename AnyTrial, typename Content>
void require_none_wrong(const AnyTrial& trial, const Content& content, const Share& share) {
    const Tally tally = try_points(trial, content, share);
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
