#pragma once

#include "executor/readable.hpp"
#include "steps/trial.hpp"

#include <prong/detail/completion_port.hpp>

#include <algorithm>
#include <list>
#include <optional>
#include <vector>

namespace prong::test {

/// Awaits a task, and counts how often it is told of its end.
class LoopAwait final : public detail::AwaitedTask {
public:
    explicit LoopAwait(const Expected& task)
        : port_(detail::CompletionPort::of(task.handle())),
          ends_(port_.add(task.handle(), *this) ? 0 : 1) {}
    LoopAwait(const LoopAwait&) = delete;
    LoopAwait& operator=(const LoopAwait&) = delete;
    ~LoopAwait() { port_.remove(*this); }

    void ended() noexcept override { ++ends_; }
    [[nodiscard]] int ends() const { return ends_; }

private:
    detail::CompletionPort& port_;
    int ends_;
};

/// An event loop that looks at its tasks when the port is readable, and at no other time.
class TestLoop {
public:
    explicit TestLoop(executor::PoolCore& core) : port_(core.port()) {}

    void await(const Expected& task) { awaits_.emplace_back(task); }
    /// Reads the port. Returns whether each task was told of once.
    [[nodiscard]] bool all_told() {
        if (is_readable(port_.fd())) port_.drain();
        return std::ranges::all_of(awaits_, [](const LoopAwait& one) { return one.ends() == 1; });
    }

private:
    detail::CompletionPort& port_;
    std::list<LoopAwait> awaits_;
};

/// The loop of the present round.
inline std::optional<TestLoop> test_loop;

/// Has a loop await the scenario's tasks.
template <const Scenario& scenario>
std::vector<Expected> submit_awaited(CorePool& pool, RunCounts& runs) {
    test_loop.reset();
    std::vector<Expected> tasks = scenario.submit(pool, runs);
    test_loop.emplace(pool.core());
    for (const Expected& task : tasks) test_loop->await(task);
    pool.core().port().drain(); // what earlier rounds have sent
    return tasks;
}

inline constexpr Scenario awaited_task{"an int that a loop awaits", submit_awaited<small_task>};
inline constexpr Scenario awaited_tasks{"three tasks that a loop awaits",
                                        submit_awaited<three_tasks>};

/// The worker is killed, and the loop is told of all ends.
inline constexpr Trial killed_under_loop{
    .name = "SIGKILL while a loop waits",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            stage.kill(stage.victim(), tasks);
            replace_victim(stage);
            invariants.require(test_loop->all_told(), "a loop is not told of an end");
            test_loop.reset();
            check_all(stage, tasks, invariants);
        },
};

} // namespace prong::test
