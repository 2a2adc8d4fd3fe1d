#pragma once

#include "executor/helpers.hpp"
#include "faults/judge.hpp"

#include <span>
#include <string_view>

namespace prong::test {

/// A program that uses prong as its user would: continues after an error where that makes sense,
/// and leaves nothing at the end.
struct Scenario {
    std::string_view name;
    void (*run)(Judge& judge, const Shared<Gate>& gate);
    Role first_child;            ///< what the parent forks
    std::span<const Call> calls; ///< what fails in a short run; empty: all
    /// What it may not work without, though others do.
    std::span<const Call> needs = {};
};

/// pool: small and large tasks, one that throws, one that kills its worker, one that is cancelled,
/// wait, as_completed, map, shutdown. kill, terminate: a pool that is ended while tasks run.
/// options: tasks with time limits and other options. two_pools: waits for futures of both. flood:
/// more tasks than stay in memory. parent_dies, supervisor_dies: while a pool works. process: a
/// `Process` with a `Pipe`, one that dies, one that is killed. objects: locks, queues and all other
/// shared objects. shared_memory: a `SharedMemory` in two processes.
/// listener: a client in another process. manager: objects of one that has a random address, and of
/// one that listens.
std::span<const Scenario> all_scenarios();

/// What a scenario must do if a call fails, after which others do what is `usual`.
Demand demand_of(const Scenario& scenario, Call call, Demand usual);

/// listener and manager, see above.
void use_listener(Judge& judge, const Shared<Gate>& gate);
void use_manager(Judge& judge, const Shared<Gate>& gate);

/// Programs that handle errors badly: one for each thing that the harness must find.
std::span<const Scenario> bad_scenarios();

} // namespace prong::test
