// A worker is killed or stopped at every instruction on its way through a task whose end event
// loops of the parent await. They have no tick: only the descriptors wake them.

#include "os/wake_pipe.hpp"
#include "steps/loop_trial.hpp"
#include "support/catch.hpp"

#include <string>
#include <vector>

using namespace prong::test;

namespace {

/// Another task ends meanwhile: the loop is told of it.
constexpr Trial stopped_under_loop{
    .name = "SIGSTOP while a loop waits",
    .workers = 2,
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            const pid_t pid = stage.victim().pid();
            stage.victim().stop();
            Expected other = stage.submit_another("another task");
            TestLoop loop(stage.pool().core());
            loop.await(other);
            const bool is_told = stage.come_to_rest_until(
                [&] {
                    static_cast<void>(test_loop->all_told());
                    return loop.all_told();
                },
                &stage.worker(0));
            invariants.require(is_told, "a loop is not told while a worker is stopped");
            test_loop.reset();
            invariants.check(other, {});
            continue_and_check(stage, pid, tasks, invariants);
        },
};

/// The descriptor of `completion_fd`.
int signal_fd(CorePool& pool) {
    return pool.core().open_completion_fd();
}

constexpr Scenario signalled_task{"an int for a reader of completion_fd",
                                  [](CorePool& pool, RunCounts& runs) {
                                      std::vector<Expected> tasks = small_task.submit(pool, runs);
                                      prong::os::clear_wakes(signal_fd(pool));
                                      return tasks;
                                  }};

constexpr Trial killed_under_reader{
    .name = "SIGKILL while completion_fd is read",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            stage.kill(stage.victim(), tasks);
            replace_victim(stage);
            invariants.require(tasks.front().done() && is_readable(signal_fd(stage.pool())),
                               "completion_fd does not tell of an end");
            check_all(stage, tasks, invariants);
        },
};

} // namespace

TEST_CASE("a worker is killed at every instruction of a task that a loop awaits") {
    if (skipped()) return;
    require_none_wrong(killed_under_loop, awaited_task, {.few = 60});
    require_none_wrong(killed_under_loop, awaited_tasks, {.few = 30});
}

TEST_CASE("a worker is stopped at every instruction of a task that a loop awaits") {
    if (skipped()) return;
    require_none_wrong(stopped_under_loop, awaited_task, {.few = 60});
}

TEST_CASE("a worker is killed at every instruction of a task that completion_fd tells of") {
    if (skipped()) return;
    require_none_wrong(killed_under_reader, signalled_task, {.few = 60});
}
