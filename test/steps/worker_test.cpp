// A worker is taken through its work instruction by instruction, and at each of them something
// happens to it. Neither clock nor chance plays a part: no process of the pool moves but by the
// test (or, the supervisor, because of a death), so what the parent sees is exact.

#include "steps/stage.hpp"
#include "steps/tally.hpp"
#include "support/catch.hpp"

#include <csignal>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using namespace prong::test;

namespace {

constexpr Scenario all_scenarios[] = {small_task, block_task, large_task, throwing_task,
                                      three_tasks};

/// What happens at one point. The stage is at rest before and afterwards, unless an invariant does
/// not hold.
using Round = void (*)(Stage& stage, const Scenario& scenario, Point point, Invariants& invariants);

void check_all(Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
    for (Expected& task : tasks) invariants.check(task, {});
    stage.check_accepts_work(invariants);
    invariants.check_at_rest(stage.pool().core(), stage.deaths());
}

void kill_victim(Stage& stage, std::vector<Expected>& tasks, Tracee& victim) {
    for (Expected& task : tasks) task.workers_die();
    stage.kill(victim);
}

void kill_worker(Stage& stage, const Scenario& scenario, Point point, Invariants& invariants) {
    auto tasks = stage.submit(scenario);
    stage.victim().run_to(point, door);
    kill_victim(stage, tasks, stage.victim());
    stage.worker(0).replace_by(stage.next_worker());
    stage.come_to_rest();
    check_all(stage, tasks, invariants);
}

/// Tries a round at the points of the victim's way.
void try_points(const std::string& what, const Scenario& scenario, unsigned workers, Round round,
                std::size_t few) {
    std::optional<Stage> stage(std::in_place, workers);
    const Path path = stage->way_of_victim(scenario);
    Tally tally(what + ", " + scenario.name, path.size());
    for (const Point& point : sample(path, few)) {
        Invariants invariants;
        try {
            round(*stage, scenario, point, invariants);
        } catch (const std::exception& error) {
            invariants.require(false, error.what());
        }
        tally.count(point, invariants);
        if (!invariants.hold()) stage.emplace(workers);
    }
    INFO(tally.examples());
    CHECK(tally.points() > 0);
    CHECK(tally.violations() == 0);
}

bool skipped() {
    const std::string reason = cannot_trace();
    if (!reason.empty()) WARN("skipped: " << reason);
    return !reason.empty();
}

} // namespace

TEST_CASE("a worker is killed at every instruction") {
    if (skipped()) return;
    for (const Scenario& scenario : all_scenarios) {
        try_points("SIGKILL", scenario, 1, kill_worker, 20);
    }
}
