#pragma once

#include "executor/core_pool.hpp"
#include "executor/helpers.hpp"
#include "executor/invariants.hpp"
#include "os/futex.hpp"
#include "os/process.hpp"
#include "ring/lifecycle.hpp"
#include "steps/scenario.hpp"
#include "steps/tracee.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace prong::test {

/// Where a worker that has nothing to do goes to sleep. It never enters: a worker that stands here
/// counts as asleep, and continues as if woken. Some leave instead.
inline const Halt door{.places = {address_of(&os::futex_wait)}, .or_end = true};

/// Where the supervisor begins to replace a worker, having repaired what it has left.
inline const Halt repaired{.places = {address_of(&os::fork_process)}};

/// A worker that the harness moves. It returns to the door when its work is done.
class Puppet {
public:
    explicit Puppet(Tracee tracee) : tracee_(std::move(tracee)) {}

    Tracee& tracee() { return tracee_; }
    void to_door() { tracee_.run_to(door); }

    /// Returns whether it is at the door and has not been woken.
    [[nodiscard]] bool is_at_rest() const {
        try {
            return door.is_at(tracee_.address()) && !is_called();
        } catch (const std::system_error&) { // it has ended, or is about to
            return false;
        }
    }
    /// At the door: returns whether it has been woken.
    [[nodiscard]] bool is_called() const {
        return static_cast<std::uint32_t>(tracee_.word_at(tracee_.first_argument())) != 0;
    }

private:
    Tracee tracee_;
};

/// How workers differ from those of other pools: they leave after `max_tasks` tasks, or may be
/// killed by the supervisor. With a `relay`, that is the last worker.
struct Habits {
    std::optional<std::uint64_t> max_tasks = std::nullopt;
    bool workers_leave = max_tasks.has_value();
    int (*relay)(executor::RelayPort& port) = nullptr;

    static constexpr unsigned claims = 4;
    [[nodiscard]] executor::SupervisorOptions options() const {
        executor::SupervisorOptions options{
            .recycling = {.max_tasks = max_tasks, .max_resident_bytes = {}}};
        if (relay != nullptr)
            options.relay = {
                .claims = claims, .relaunches = 1'000'000, .run = relay, .is_family = true};
        return options;
    }
};

/// A pool of real processes, in which no worker makes a step but by the harness. All workers stand
/// at the door between the rounds, and the supervisor is traced so that each new worker is in hand
/// before its first instruction.
class Stage {
public:
    explicit Stage(unsigned workers, const CorePool::Supervise& supervise = {}, Habits habits = {})
        : pool_(habits.relay != nullptr ? workers - 1 : workers, supervise, habits.options()),
          workers_leave_(habits.workers_leave) {
        const pid_t supervisor = supervisor_of(getpid());
        std::vector<pid_t> pids;
        if (!eventually([&] { return (pids = workers_of(supervisor)).size() == workers; })) {
            throw std::runtime_error("the pool's processes do not come");
        }
        supervisor_ = Tracee(supervisor);
        for (const pid_t pid : pids) {
            workers_.emplace_back(Tracee(pid));
            workers_.back().tracee().interrupt();
        }
        pool_.state().notifier.wake_all(); // those that sleep: to the door
        for (Puppet& worker : workers_) worker.to_door();
        // The address of the word that a worker sleeps on shows which one it is.
        std::ranges::sort(workers_, {},
                          [](Puppet& worker) { return worker.tracee().first_argument(); });
        come_to_rest();
    }

    [[nodiscard]] CorePool& pool() { return pool_; }
    Puppet& worker(unsigned index) { return workers_[index]; }
    Tracee& supervisor() { return supervisor_; }
    /// The one that is woken first, and on which all is tried.
    Tracee& victim() { return workers_[0].tracee(); }
    [[nodiscard]] std::uint64_t deaths() const { return deaths_; }

    /// Submits a scenario's tasks, as if threads waited for each of them and for all together.
    std::vector<Expected> submit(const Scenario& scenario) {
        for (Counter& runs : *runs_) runs = 0;
        std::vector<Expected> tasks = scenario.submit(pool_, *runs_);
        pool_.state().control().waiting_for_completions = 1;
        const auto touched = static_cast<std::uint32_t>(pool_.core().record_counts().touched);
        for (std::uint32_t index = 0; index < touched; ++index) {
            static_cast<void>(pool_.core().watch(index, ring::Status::watched));
            static_cast<void>(pool_.core().watch(index, ring::Status::watched_with_others));
        }
        return tasks;
    }

    /// Runs all workers but `held` until they have nothing to do.
    void come_to_rest(const Puppet* held = nullptr) {
        for (bool again = true; again;) {
            again = false;
            for (Puppet& worker : workers_) {
                if (&worker == held || worker.is_at_rest()) continue;
                to_door(worker);
                again = true;
            }
        }
    }

    /// The same, while the supervisor may be about to wake a worker; until `done()`.
    template <typename Predicate>
    [[nodiscard]] bool come_to_rest_until(Predicate done, const Puppet* held = nullptr) {
        return eventually([&] {
            come_to_rest(held);
            return done();
        });
    }

    /// SIGKILL for a worker that is in hand, if it has not left: decides the end of what it runs.
    static void kill(Tracee& worker, std::vector<Expected>& tasks) {
        for (Expected& task : tasks) task.workers_die();
        if (!worker.is_empty()) worker.kill();
    }
    /// To the door; of those that may leave on the way, the one that stays.
    void to_door(Puppet& worker) {
        const bool is_there = !worker.tracee().is_empty();
        if (is_there && !worker.is_at_rest()) worker.to_door();
        while (worker.tracee().is_empty()) {
            if (!workers_leave_) throw std::runtime_error("a worker has ended");
            replace(worker);
        }
    }
    /// The worker has ended: the supervisor repairs and replaces. Takes the new one to the door.
    void replace(Puppet& worker) {
        worker.tracee() = next_worker();
        worker.to_door();
    }
    /// Returns the worker that replaces the one that has ended, before its first instruction.
    Tracee next_worker() {
        ++deaths_;
        Tracee worker = supervisor_.await_fork();
        supervisor_.resume();
        return worker;
    }

    /// Submits one more task.
    Expected submit_another(const char* name) {
        Counter& runs = runs_->back();
        runs = 0;
        return submit_echo(pool_, runs, name, next_value());
    }
    /// I8, after which all workers are back at the door: a new task is run.
    void check_accepts_work(Invariants& invariants) {
        Expected task = submit_another("a new task");
        come_to_rest();
        invariants.check(task, {});
    }

    void run(const Scenario& scenario) {
        std::vector<Expected> tasks = submit(scenario);
        end(tasks);
    }
    /// The victim's way through a scenario, from door to door.
    Path way_of_victim(const Scenario& scenario) {
        std::vector<Expected> tasks = submit(scenario);
        const Path path = victim().record(door);
        if (victim().is_empty()) replace(workers_[0]);
        end(tasks);
        return path;
    }
    /// The way of one that replaces the victim, from its first instruction through the scenario.
    Path way_of_replacement(const Scenario& scenario) {
        std::vector<Expected> tasks = submit(scenario);
        kill(victim(), tasks);
        victim() = next_worker();
        const Path path = victim().record(door);
        end(tasks);
        return path;
    }

    /// The supervisor's way, from its sleep, when a worker has died within a task.
    Path way_of_repair(const Scenario& scenario) {
        std::vector<Expected> tasks = submit(scenario);
        kill_within_task(tasks);
        const Path path = supervisor_.record(repaired);
        supervisor_.resume();
        replace(workers_[0]);
        end(tasks);
        return path;
    }
    /// The victim is killed when it is about to publish a result; the supervisor stands.
    void kill_within_task(std::vector<Expected>& tasks) {
        supervisor_.interrupt();
        victim().run_to({.places = {address_of(&ring::finish)}});
        kill(victim(), tasks);
    }

private:
    void end(std::vector<Expected>& tasks) {
        come_to_rest();
        for (Expected& task : tasks) static_cast<void>(task.end({}));
    }

    Shared<RunCounts> runs_;
    CorePool pool_;
    Tracee supervisor_;
    std::vector<Puppet> workers_;
    std::uint64_t deaths_ = 0;
    bool workers_leave_;
};

} // namespace prong::test
