// The relay is killed at every instruction on its way through tasks, which it runs itself.

#include "steps/relay_trial.hpp"
#include "support/catch.hpp"

#include <vector>

using namespace prong::test;

namespace {

constexpr Trial task_of_relay_killed{
    .name = "Future::kill of a task of the relay",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            tasks.front().kill();
            stage.come_to_rest();
            check_all(stage, tasks, invariants);
        },
    .habits = {.relay = run_relay},
};

constexpr Trial task_of_relay_killed_and_relay{
    .name = "Future::kill of a task of the relay, and SIGKILL",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            tasks.front().kill();
            kill_relay_and_check(stage, tasks, invariants);
        },
    .habits = {.relay = run_relay},
};

constexpr Trial task_of_relay_asked_to_stop{
    .name = "Future::request_stop of a task of the relay",
    .act = ask_to_stop_and_check,
    .habits = {.relay = run_relay},
};

constexpr Trial recalled_task_killed{
    .name = "Future::kill of a task that the relay takes back",
    .act = task_of_relay_killed.act,
    .habits = {.relay = run_recalling_relay},
};

constexpr Trial task_of_relay_dropped{
    .name = "the future of a task of the relay is dropped",
    .act = drop_and_check,
    .habits = {.relay = run_relay},
};

constexpr Trial task_of_relay_dropped_and_relay_killed{
    .name = "the future of a task of the relay is dropped, and SIGKILL",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            tasks.clear();
            stage.victim().kill();
            replace_victim(stage);
            drop_and_check(stage, tasks, invariants);
        },
    .habits = {.relay = run_relay},
};

/// Of the relay and a local worker the latter comes first.
constexpr Trial worker_killed_beside_relay{
    .name = "SIGKILL for a worker beside a relay",
    .workers = 2,
    .act = kill_and_check,
    .habits = {.relay = run_relay},
};

} // namespace

TEST_CASE("the relay is killed at every instruction of its tasks") {
    if (skipped()) return;
    require_none_wrong(relay_killed, small_task, {.few = 30});
    require_none_wrong(relay_killed, three_tasks, {.few = 40});
    require_none_wrong(relay_killed, block_task, {.few = 20});
    require_none_wrong(relay_killed, large_task, {.few = 20});
}

TEST_CASE("the relay is killed at every instruction of a task that is lost and tried again") {
    if (skipped()) return;
    require_none_wrong(losing_relay_killed, lost_task, {.few = 60});
}

TEST_CASE("the relay is killed at every instruction of a task that it takes back") {
    if (skipped()) return;
    require_none_wrong(recalling_relay_killed, small_task, {.few = 40});
    require_none_wrong(recalling_relay_killed, large_task, {.few = 20});
}

TEST_CASE("a task is killed or asked to stop at every instruction of the relay") {
    if (skipped()) return;
    require_none_wrong(task_of_relay_killed, block_task, {.few = 30});
    require_none_wrong(task_of_relay_killed_and_relay, block_task, {.few = 30});
    require_none_wrong(task_of_relay_asked_to_stop, small_task, {.few = 20});
    require_none_wrong(recalled_task_killed, block_task, {.few = 20});
}

TEST_CASE("a task's future is dropped at every instruction of the relay") {
    if (skipped()) return;
    require_none_wrong(task_of_relay_dropped, block_task, {.few = 20});
    require_none_wrong(task_of_relay_dropped, large_task, {.few = 20});
    require_none_wrong(task_of_relay_dropped_and_relay_killed, large_task, {.few = 20});
}

TEST_CASE("a worker beside a relay is killed at every instruction") {
    if (skipped()) return;
    require_none_wrong(worker_killed_beside_relay, small_task, {.few = 20});
    require_none_wrong(worker_killed_beside_relay, three_tasks, {.few = 20});
}
