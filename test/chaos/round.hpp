#pragma once

#include "chaos/driver.hpp"

#include <algorithm>
#include <deque>
#include <iostream>
#include <string>
#include <thread>

namespace prong::test {

/// One pool, from its beginning to its end, and what is done to it.
struct Round {
    std::uint64_t seed;
    std::chrono::milliseconds time;
    Adversary::Manner manner{};
    bool tasks_fork = true;
    std::chrono::milliseconds patience = std::chrono::seconds(20);
    GatedPool::Supervise supervise{};
    std::atomic<pid_t>* supervisor = nullptr; ///< receives its process
};

struct Tally {
    std::uint64_t tasks = 0;
    std::uint64_t signals = 0;

    Tally& operator+=(const Tally& other) {
        tasks += other.tasks;
        signals += other.signals;
        return *this;
    }
};

inline void print(const std::string& what, const Tally& tally, const Findings& findings) {
    std::cout << what << ": " << tally.tasks << " tasks, " << tally.signals << " signals, "
              << findings.count() << " violations\n"
              << findings.text() << std::flush;
}

inline executor::SupervisorOptions random_options(Random& random) {
    executor::SupervisorOptions delegate;
    if (one_in(random, 3))
        delegate.recycling.max_tasks = 1 + up_to(random, one_in(random, 2) ? 5 : 500);
    return delegate;
}

inline unsigned random_workers(Random& random) {
    constexpr std::array workers{1U, 1U, 2U, 3U, 4U, 5U, 8U, 16U};
    return workers[random() % workers.size()];
}

/// Each task that was submitted is in one of the counts, but for one for each death (a worker that
/// ends a task and dies before it has counted that) and for those that expired in the queue.
inline void check_counts(GatedPool& pool, Findings& findings, std::uint64_t may_have_expired) {
    const PoolStats stats = pool.core().stats();
    std::uint64_t deaths = stats.retried; // cancel may not count one that had just been put back
    for (const WorkerStats& worker : stats.workers) deaths += worker.deaths;
    const std::uint64_t ended =
        stats.finished + pool.state().control().died.load() + stats.cancelled;
    findings.require(
        ended <= stats.submitted && stats.submitted <= ended + deaths + may_have_expired,
        std::to_string(stats.submitted) + " tasks were submitted, and " + std::to_string(ended) +
            " have ended, with " + std::to_string(deaths) + " deaths");
}

/// Ends the pool in one of several ways.
inline void end_somehow(GatedPool& pool, Random& random) {
    executor::PoolCore& core = pool.core();
    switch (random() % 5) {
    case 0:
        core.end_workers(proc::StopMode::kill);
        break;
    case 1:
        core.end_workers(proc::StopMode::terminate);
        break;
    case 2:
        core.shutdown(false, one_in(random, 2));
        break;
    case 3:
        core.shutdown_for(
            detail::Deadline::after(std::chrono::microseconds(up_to(random, 20'000))));
        break;
    default:
        break;
    }
}

inline Tally play(const Round& round, Findings& findings) {
    Random random(round.seed);
    const auto before = Holdings::now();
    Circumstances circumstances;
    circumstances.patience = round.patience;
    circumstances.kills = round.manner.kills;
    circumstances.tasks_fork = round.tasks_fork;
    Judge judge(circumstances, findings);
    Tally tally;
    {
        const executor::SupervisorOptions options = random_options(random);
        GatedPool pool(random_workers(random), options, round.supervise);
        if (round.supervisor != nullptr) *round.supervisor = pool.supervisor();
        std::optional<Adversary> adversary(std::in_place, pool.supervisor(), pool.state().control(),
                                           round.manner, random());
        std::deque<Driver> drivers;
        for (std::uint32_t i = 0; i <= random() % 3; ++i)
            drivers.emplace_back(pool, circumstances, judge, findings, random(), i);
        const auto until = std::chrono::steady_clock::now() + round.time;
        {
            std::vector<std::jthread> threads;
            for (Driver& driver : drivers) threads.emplace_back([&] { driver.drive(until); });
        }
        const bool under_fire = !round.supervise && one_in(random, 3);
        if (under_fire) { // the pool ends with all that it has still to do
            circumstances.ending = true;
            end_somehow(pool, random);
        } else {
            adversary->calm_down();
        }
        for (Driver& driver : drivers) driver.finish();
        if (!under_fire && findings.hold()) {
            std::uint64_t may_have_expired = 0;
            for (Driver& driver : drivers) may_have_expired += driver.with_deadline();
            check_recovered(pool, findings, round.patience);
            check_at_rest(pool, findings, round.patience);
            check_counts(pool, findings, may_have_expired);
            findings.require(judge.undeserved_deaths() <= adversary->deadly_signals(),
                             std::to_string(judge.undeserved_deaths()) + " tasks have died of " +
                                 std::to_string(adversary->deadly_signals()) + " signals");
        }
        tally = {.tasks = pool.core().stats().submitted, .signals = adversary->signals()};
        if (!under_fire) {
            adversary.reset();
            end_somehow(pool, random);
        }
        if (round.supervisor != nullptr) *round.supervisor = 0;
        pool.end();
    }
    const std::string left = leaks_since(before, std::chrono::seconds(20));
    findings.require(left.empty(), "left behind:\n" + left);
    return tally;
}

} // namespace prong::test
