#pragma once

#include "steps/stage.hpp"
#include "steps/tally.hpp"
#include "support/catch.hpp"

#include <csignal>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace prong::test {

/// The victim is dead: the supervisor repairs and replaces.
inline void replace_victim(Stage& stage) {
    stage.replace(stage.worker(0));
    stage.come_to_rest();
}

/// Checks all, at rest: a task that has not ended by now never will.
inline void check_all(Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
    for (Expected& task : tasks) invariants.check(task, {});
    stage.check_accepts_work(invariants);
    invariants.check_at_rest(stage.pool().core(), stage.deaths());
}

/// Submits the tasks and takes the victim to the point. Returns whether it has come there; else it
/// is at the end of its way.
inline bool run_victim_to(Stage& stage, const Scenario& scenario, const Point& point,
                          std::vector<Expected>& tasks) {
    tasks = stage.submit(scenario);
    return stage.victim().run_to(point, door);
}

/// What is tried at every point of a way. The pool is at rest before and afterwards.
struct Trial {
    const char* name;
    unsigned workers = 1;
    Path (Stage::*way)(const Scenario&) = &Stage::way_of_victim;
    /// Submits the tasks and goes to the point. Returns whether it was reached.
    bool (*approach)(Stage& stage, const Scenario& scenario, const Point& point,
                     std::vector<Expected>& tasks) = run_victim_to;
    /// What happens at the point, and the checks.
    void (*act)(Stage& stage, std::vector<Expected>& tasks, Invariants& invariants);
    bool ends_pool = false;
    Habits habits = {};
};

/// Kills the victim, has it replaced, and checks all.
inline void kill_and_check(Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
    stage.kill(stage.victim(), tasks);
    replace_victim(stage);
    check_all(stage, tasks, invariants);
}

/// Continues the victim, which was stopped, and checks all.
inline void continue_and_check(Stage& stage, pid_t pid, std::vector<Expected>& tasks,
                               Invariants& invariants) {
    ::kill(pid, SIGCONT);
    for (Expected& task : tasks) invariants.check(task);
    stage.victim() = Tracee(pid);
    stage.victim().interrupt();
    stage.pool().state().notifier.wake_all();
    stage.to_door(stage.worker(0));
    tasks.clear();
    Expected last = stage.submit_another("a new task");
    invariants.require(stage.come_to_rest_until([&] { return last.done(); }), "no new work");
    invariants.check(last, {});
    invariants.check_at_rest(stage.pool().core(), stage.deaths());
}

inline constexpr Trial killed{.name = "SIGKILL", .act = kill_and_check};

/// Drops the futures, then checks all.
inline void drop_and_check(Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
    tasks.clear();
    stage.come_to_rest();
    invariants.check_records(stage.pool().core()); // before others come, which release it
    check_all(stage, tasks, invariants);
}

/// Asks the first task to stop.
inline void ask_to_stop_and_check(Stage& stage, std::vector<Expected>& tasks,
                                  Invariants& invariants) {
    const bool had_ended = tasks.front().done();
    invariants.require(tasks.front().request_stop() != had_ended,
                       "request_stop returned the wrong value");
    stage.come_to_rest();
    check_all(stage, tasks, invariants);
}

inline constexpr Trial dropped{.name = "the future is dropped", .act = drop_and_check};

/// Tries something at points of a way. `make` creates the processes, `find_way` records their way,
/// `round` tries one point. New processes are created after each round if it ends them
/// (`used_up`), and after a violation.
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
            // Waits spin for a time that the clock decides, so the way is not always the same.
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
            std::vector<Expected> tasks;
            const bool reached = trial.approach(stage, scenario, point, tasks);
            trial.act(stage, tasks, invariants);
            return reached;
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

} // namespace prong::test
