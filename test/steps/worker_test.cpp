// A worker is taken through its work instruction by instruction, and at each of them something
// happens to it. Neither clock nor chance plays a part: only the test moves workers, and only a
// death moves the supervisor. So what the parent must see is exact.

#include "steps/trial.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>
#include <vector>

using namespace prong::test;

namespace {

constexpr Trial killed_at_start{
    .name = "SIGKILL from the fork on",
    .way = &Stage::way_of_replacement,
    .approach =
        [](Stage& stage, const Scenario& scenario, const Point& point,
           std::vector<Expected>& tasks) {
            tasks = stage.submit(scenario);
            stage.kill(stage.victim(), tasks);
            stage.victim() = stage.next_worker();
            return stage.victim().run_to(point, door);
        },
    .act = kill_and_check,
};

/// The way of a replacement. Recorded by the first round of `killed_twice`.
Path start;

/// The replacement is killed too, somewhere on its way.
constexpr Trial killed_twice{
    .name = "SIGKILL, and for the replacement",
    .approach =
        [](Stage& stage, const Scenario& scenario, const Point& point,
           std::vector<Expected>& tasks) {
            if (start.empty()) start = stage.way_of_replacement(scenario);
            return run_victim_to(stage, scenario, point, tasks);
        },
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            stage.kill(stage.victim(), tasks);
            stage.victim() = stage.next_worker();
            stage.victim().run_to(random_point(start), door);
            kill_and_check(stage, tasks, invariants);
        },
};

/// Another worker does all that it can in between.
constexpr Trial killed_beside_another{
    .name = "SIGKILL after another worker has run",
    .workers = 2,
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            tasks.push_back(stage.submit_another("another task"));
            stage.pool().core().rewake_workers(); // as a thread that waits for it does
            stage.come_to_rest(&stage.worker(0));
            kill_and_check(stage, tasks, invariants);
        },
};

/// A stopped worker delays no other, and continues on SIGCONT.
constexpr Trial stopped{
    .name = "SIGSTOP",
    .workers = 2,
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            const pid_t pid = stage.victim().pid();
            stage.victim().stop();
            Expected other = stage.submit_another("another task");
            const auto others_done = [&] {
                return other.done() && std::ranges::all_of(tasks, [](const Expected& task) {
                           return task.done() || task.running();
                       });
            };
            invariants.require(stage.come_to_rest_until(others_done, &stage.worker(0)),
                               "a stopped worker holds up others");
            invariants.check(other, {});
            continue_and_check(stage, pid, tasks, invariants);
        },
};

/// The parent kills the task: exactly then its worker dies, too.
constexpr Trial killed_by_future{
    .name = "Future::kill",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            const bool was_running = tasks.front().running();
            if (tasks.front().kill() && was_running) {
                invariants.require(stage.victim().await_end() == -SIGKILL, "no SIGKILL");
                replace_victim(stage);
            }
            stage.come_to_rest();
            check_all(stage, tasks, invariants);
        },
};

/// The worker dies, and the parent kills the task that is to be tried again.
constexpr Trial killed_before_retry{
    .name = "SIGKILL, and Future::kill before the retry",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            stage.kill(stage.victim(), tasks);
            stage.victim() = stage.next_worker();
            tasks.front().kill();
            stage.come_to_rest();
            check_all(stage, tasks, invariants);
        },
};

constexpr Trial dropped_and_killed{
    .name = "the future is dropped, and SIGKILL",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            tasks.clear();
            stage.kill(stage.victim(), tasks);
            replace_victim(stage);
            drop_and_check(stage, tasks, invariants);
        },
};

/// Marks the running tasks as the supervisor does on timeout. Returns whether any ran.
bool mark_overdue(Stage& stage) {
    bool is_overdue = false;
    for (prong::ring::Record& record : stage.pool().state().records.first(16)) {
        const auto status = prong::ring::status_of(record);
        if (status.state != prong::ring::TaskState::running) continue;
        is_overdue = prong::ring::mark_overdue(record, status).has(prong::ring::Status::overdue);
    }
    return is_overdue;
}

constexpr Trial overdue{
    .name = "overdue",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            if (mark_overdue(stage)) tasks.front().expect(Ending::timed_out);
            stage.come_to_rest();
            check_all(stage, tasks, invariants);
        },
};

constexpr Trial overdue_and_killed{
    .name = "overdue, and SIGKILL",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            if (mark_overdue(stage)) tasks.front().expect(Ending::timed_out);
            kill_and_check(stage, tasks, invariants);
        },
};

/// The future asks the task to stop: it ends as it would, and the worker's next task is not asked.
constexpr Trial asked_to_stop{
    .name = "Future::request_stop",
    .act = ask_to_stop_and_check,
};

/// The same, and the worker dies: a task that has been asked to stop is not tried again.
constexpr Trial asked_to_stop_and_killed{
    .name = "Future::request_stop, and SIGKILL",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            tasks.front().request_stop();
            kill_and_check(stage, tasks, invariants);
        },
};

/// The timeout expires while the worker stands still: it may then be killed, but not once it has
/// finished the task.
constexpr Trial time_is_over{
    .name = "timeout",
    .approach = // the way is that of a task with much time
    [](Stage& stage, const Scenario&, const Point& point, std::vector<Expected>& tasks) {
        return run_victim_to(stage, hurried_task, point, tasks);
    },
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            const pid_t pid = stage.victim().pid(); // 0: killed on its way already
            const bool has_finished = pid != 0 && tasks.front().done();
            tasks.front().expect(Ending::right, Ending::timed_out);
            std::this_thread::sleep_for(std::chrono::milliseconds(3)); // gives it an opportunity
            stage.to_door(stage.worker(0));
            if (stage.victim().pid() != pid) tasks.front().expect(Ending::timed_out);
            invariants.require(!has_finished || stage.victim().pid() == pid,
                               "a worker was killed for a task that it had finished");
            stage.come_to_rest();
            check_all(stage, tasks, invariants);
        },
    .habits = {.workers_leave = true},
};

/// The worker leaves after its task, and is killed meanwhile.
constexpr Trial killed_leaving{
    .name = "SIGKILL up to the exit of a worker for one task",
    .act = kill_and_check,
    .habits = {.max_tasks = 1},
};

/// Kills the supervisor, and the worker with it; the parent must notice.
void check_lost(Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
    for (Expected& task : tasks) {
        if (!task.done()) task.expect(Ending::broken);
    }
    const pid_t supervisor = stage.supervisor().pid();
    kill(supervisor, SIGKILL);
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(supervisor), &info, WEXITED | WNOWAIT);
    stage.supervisor().forget(); // the parent collects it
    if (!stage.victim().is_empty()) {
        invariants.require(stage.victim().await_end() == -SIGKILL,
                           "the worker has outlived its supervisor");
    }
    for (Expected& task : tasks) invariants.check(task);
    try {
        Expected late = stage.submit_another("a late task");
        late.expect(Ending::broken);
        invariants.check(late);
    } catch (const BrokenProcessPool&) { // the pool has noticed before
    }
    invariants.check_records(stage.pool().core()); // its memory goes with the pool
}

/// The supervisor, which should repair, is killed.
constexpr Trial supervisor_killed{
    .name = "SIGKILL for the supervisor",
    .act = check_lost,
    .ends_pool = true,
};

/// The supervisor is killed while it repairs what a dead worker has left.
constexpr Trial supervisor_killed_in_repair{
    .name = "SIGKILL for the supervisor while it repairs",
    .way = &Stage::way_of_repair,
    .approach =
        [](Stage& stage, const Scenario& scenario, const Point& point,
           std::vector<Expected>& tasks) {
            tasks = stage.submit(scenario);
            stage.kill_within_task(tasks);
            return stage.supervisor().run_to(point, repaired);
        },
    .act = check_lost,
    .ends_pool = true,
};

bool is_asleep(pid_t pid) {
    return std::ranges::any_of(list_processes(), [&](const ProcessInfo& process) {
        return process.pid == pid && process.state == 'S';
    });
}

} // namespace

TEST_CASE("a worker is killed at every instruction") {
    if (skipped()) return;
    require_none_wrong(killed, small_task, {.few = 25});
    require_none_wrong(killed, three_tasks, {.few = 25});
}

TEST_CASE("a worker is killed at every instruction of a task with payload") {
    if (skipped()) return;
    require_none_wrong(killed, block_task, {.few = 25});
    require_none_wrong(killed, large_task, {.few = 20});
}

TEST_CASE("a worker is killed at every instruction of a task that throws") {
    if (!full_run() || skipped()) return; // the way through the unwinder is long
    require_none_wrong(killed, throwing_task, {.few = 20});
}

TEST_CASE("a worker is killed at every instruction of its start") {
    if (skipped()) return;
    require_none_wrong(killed_at_start, small_task, {.few = 25});
}

TEST_CASE("a worker is killed at every instruction, and its replacement on its way") {
    if (skipped()) return;
    require_none_wrong(killed_twice, block_task, {.few = 25});
}

TEST_CASE("a worker is killed at every instruction when another has run in between") {
    if (skipped()) return;
    require_none_wrong(killed_beside_another, small_task, {.few = 30});
    require_none_wrong(killed_beside_another, block_task, {.few = 20});
    require_none_wrong(killed_beside_another, three_tasks, {.few = 30});
}

TEST_CASE("a worker is stopped at every instruction, while another works on") {
    if (skipped()) return;
    require_none_wrong(stopped, small_task, {.few = 30});
    require_none_wrong(stopped, block_task, {.few = 20});
    require_none_wrong(stopped, three_tasks, {.few = 20});
}

TEST_CASE("the supervisor is killed at every instruction of a worker") {
    if (skipped()) return;
    require_none_wrong(supervisor_killed, small_task, {.few = 30});
    require_none_wrong(supervisor_killed, block_task, {.few = 20});
}

TEST_CASE("the supervisor is killed at thousands of instructions of a repair") {
    if (skipped()) return;
    require_none_wrong(supervisor_killed_in_repair, small_task, {.few = 20, .most = 4000});
    require_none_wrong(supervisor_killed_in_repair, block_task, {.few = 20, .most = 4000});
}

TEST_CASE("a worker is killed at every instruction of a task with options, or that is retried") {
    if (skipped()) return;
    require_none_wrong(killed, task_with_options, {.few = 20});
    require_none_wrong(killed, retried_task, {.few = 30});
    require_none_wrong(killed_twice, retried_task, {.few = 20});
    require_none_wrong(killed_before_retry, retried_task, {.few = 20});
}

TEST_CASE("a task is killed by its future at every instruction of its worker") {
    if (skipped()) return;
    require_none_wrong(killed_by_future, small_task, {.few = 30});
    require_none_wrong(killed_by_future, block_task, {.few = 20});
    require_none_wrong(killed_by_future, task_with_options, {.few = 20});
}

TEST_CASE("a task is asked to stop by its future at every instruction of its worker") {
    if (skipped()) return;
    require_none_wrong(asked_to_stop, small_task, {.few = 30});
    require_none_wrong(asked_to_stop, task_with_options, {.few = 20});
    require_none_wrong(asked_to_stop_and_killed, small_task, {.few = 20});
    require_none_wrong(asked_to_stop_and_killed, retried_task, {.few = 30});
}

TEST_CASE("a task's timeout expires at every instruction of its worker") {
    if (skipped()) return;
    require_none_wrong(overdue, task_with_options, {.few = 30});
    require_none_wrong(overdue_and_killed, task_with_options, {.few = 30});
    require_none_wrong(time_is_over, task_with_options, {.few = 25});
}

TEST_CASE("a task's future is dropped at every instruction of its worker") {
    if (skipped()) return;
    require_none_wrong(dropped, block_task, {.few = 30});
    require_none_wrong(dropped, large_task, {.few = 30});
    require_none_wrong(dropped, task_with_options, {.few = 20});
    require_none_wrong(dropped_and_killed, block_task, {.few = 20});
    require_none_wrong(dropped_and_killed, large_task, {.few = 20});
    require_none_wrong(dropped_and_killed, retried_task, {.few = 20});
}

TEST_CASE("a worker that leaves after a task is killed at every instruction") {
    if (skipped()) return;
    require_none_wrong(killed_leaving, small_task, {.few = 25});
    require_none_wrong(killed_leaving, three_tasks, {.few = 25});
}

TEST_CASE("a worker is killed asleep, and when it has just been woken") {
    if (skipped()) return;
    Stage stage(1);
    for (int round = 0; round < 20; ++round) {
        Invariants invariants;
        std::vector<Expected> tasks;
        stage.victim().resume();
        REQUIRE(eventually([&] { return is_asleep(stage.victim().pid()); }));
        if (round % 2 == 1) tasks = stage.submit(small_task);
        stage.victim().interrupt();
        stage.kill(stage.victim(), tasks);
        replace_victim(stage);
        check_all(stage, tasks, invariants);
        INFO(invariants.violations());
        CHECK(invariants.hold());
    }
}
