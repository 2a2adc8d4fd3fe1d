#pragma once

// A relay that runs its tasks itself, as if another host had done so.

#include "executor/relay/relay_port.hpp"
#include "ring/worker_notifier.hpp"

#include <prong/detail/task_type.hpp>
#include <prong/detail/wire.hpp>

#include <vector>

namespace prong::test {

/// Runs the task, and calls `before_end` before it says so.
template <typename Act>
void run_as_sent(executor::RelayPort& port, const executor::RelayTask& task, Act before_end) {
    detail::BufferWriter result;
    detail::Reader arguments(task.arguments);
    task.type->run(arguments, result);
    before_end();
    port.end(task.claim, {.state = ring::TaskState::returned, .bytes = result.bytes()}, "far");
}
inline void run_as_sent(executor::RelayPort& port, const executor::RelayTask& task) {
    run_as_sent(port, task, [] {});
}

/// The relay's loop. `act` ends its tasks.
template <typename Act>
int relay_tasks(executor::RelayPort& port, Act act) {
    while (!port.is_over()) {
        std::vector<executor::RelayTask> tasks;
        port.claim([&](const executor::RelayTask& task) {
            tasks.push_back(task);
            return tasks.size() != 3;
        });
        for (const executor::RelayTask& task : tasks) act(port, task);
        static_cast<void>(port.take_requests());
        if (tasks.empty()) port.nap(ring::WorkerNotifier::without_limit, true);
    }
    return 0;
}

} // namespace prong::test
