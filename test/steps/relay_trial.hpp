#pragma once

#include "executor/relay/relay_port.hpp"
#include "executor/self_relay.hpp"
#include "steps/trial.hpp"

#include <prong/codec.hpp>
#include <prong/detail/wire.hpp>

#include <csignal>
#include <cstdint>
#include <vector>

namespace prong::test {

/// The end of a task whose worker has died.
inline void die_as_sent(executor::RelayPort& port, const executor::RelayTask& task) {
    detail::BufferWriter report; // as `write_failure_report` writes it
    detail::encode(report, std::int32_t{4711});
    detail::encode(report, std::int32_t{-SIGKILL});
    detail::encode(report, std::uint8_t{0});
    port.end(task.claim, {.state = ring::TaskState::died, .bytes = report.bytes()}, "far");
}

inline int run_relay(executor::RelayPort& port) {
    return relay_tasks(port, [](executor::RelayPort& own, const executor::RelayTask& task) {
        own.assign(task.claim, 1);
        run_as_sent(own, task);
    });
}

/// A relay that loses the first attempt at a task, and the second one with its worker.
inline int run_losing_relay(executor::RelayPort& port) {
    return relay_tasks(port, [](executor::RelayPort& own, const executor::RelayTask& task) {
        own.assign(task.claim, 1);
        if (!task.options || task.attempt > 2) return run_as_sent(own, task);
        if (task.attempt == 2) return die_as_sent(own, task);
        own.lose(task.claim, "far", "the cable was cut");
    });
}

/// A relay that sends each task, takes it back, and sends it again.
inline int run_recalling_relay(executor::RelayPort& port) {
    return relay_tasks(
        port, [taken = 0](executor::RelayPort& own, const executor::RelayTask& task) mutable {
            own.assign(task.claim, 1);
            if (++taken % 2 == 1) return own.take_back(task.claim);
            run_as_sent(own, task);
        });
}

/// A relay that says too late that it has sent a task.
inline int run_late_relay(executor::RelayPort& port) {
    return relay_tasks(port, [](executor::RelayPort& own, const executor::RelayTask& task) {
        run_as_sent(own, task, [&] { own.assign(task.claim, 1); });
    });
}

inline constexpr Scenario lost_task{
    "1 KiB, lost twice, and one more retry", [](CorePool& pool, RunCounts& runs) {
        return one(submit_echo(pool, runs[0], "the task", next_text(1000), {.max_retries = 3}));
    }};

/// Returns whether the relay has sent the task.
inline bool is_sent(Stage& stage, const Expected& task) {
    const executor::SharedState& state = stage.pool().state();
    const ring::Status status = ring::status_of(state.records[task.handle().key().index]);
    if (!ring::is_claimed(status.state) || !state.is_claim(status.owner)) return false;
    const auto& claim = state.claims()[status.owner - state.owner_of_claim(0)];
    return claim.rank.load() != executor::RelayClaim::not_sent;
}

/// Kills the relay, has it replaced, and checks all.
inline void kill_relay_and_check(Stage& stage, std::vector<Expected>& tasks,
                                 Invariants& invariants) {
    for (Expected& task : tasks) task.relay_dies(is_sent(stage, task));
    if (!stage.victim().is_empty()) stage.victim().kill();
    replace_victim(stage);
    check_all(stage, tasks, invariants);
}

inline constexpr Trial relay_killed{
    .name = "SIGKILL for the relay", .act = kill_relay_and_check, .habits = {.relay = run_relay}};

inline constexpr Trial recalling_relay_killed{.name = "SIGKILL for a relay that takes tasks back",
                                              .act = kill_relay_and_check,
                                              .habits = {.relay = run_recalling_relay}};

inline constexpr Trial losing_relay_killed{.name = "SIGKILL for a relay that loses tasks",
                                           .act = kill_relay_and_check,
                                           .habits = {.relay = run_losing_relay}};

} // namespace prong::test
