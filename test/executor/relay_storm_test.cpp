// The relay, and the workers behind it, are killed at random while a great many tasks run.

#include "executor/killer.hpp"
#include "executor/loopback.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/processes.hpp"
#include "support/sanitizer.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using prong::RankLost;

namespace {

constexpr int round_size = 1'000;

int rounds() {
    if (full_run()) return 200;
    return address_sanitizer ? 8 : 20;
}

/// So often the relay is to die at least.
int least_deaths() {
    if (full_run()) return 200;
    return address_sanitizer ? 6 : 15;
}

/// Kills the relays of this process's only pool, which it counts, and the workers behind them.
class RelayKiller : public Killer {
public:
    RelayKiller()
        : Killer(20ms, [supervisor = supervisor_of(getpid())](Random& random) {
              return strike(supervisor, random);
          }) {}

private:
    static int strike(pid_t supervisor, Random& random) {
        int relays = 0;
        for (const ProcessInfo& child : children_of(supervisor)) {
            if (child.state == 'Z') continue;
            const std::vector<ProcessInfo> pools = children_of(child.pid);
            if (pools.empty()) continue; // a local worker, or a relay that has just begun
            const std::vector<pid_t> workers = workers_of(pools.front().pid);
            if (random() % 3 == 0)
                relays += kill(child.pid, SIGKILL) == 0 ? 1 : 0;
            else if (!workers.empty())
                kill(workers[random() % workers.size()], SIGKILL);
        }
        return relays;
    }
};

/// A result that does not fit into a record for some of the tasks.
std::string work(int n) {
    return std::string(n % 64 == 0 ? 100'000U : 5U, static_cast<char>('a' + n % 26));
}

constexpr unsigned no_end = 1'000'000;

} // namespace

TEST_CASE("the relay is killed at random, and with retries every result is right") {
    LoopbackPool pool({.served = {.max_workers = 2}, .claims = 100, .relaunches = no_end});
    static_cast<void>(pool.submit(square, 1).get());
    const RelayKiller killer;
    int wrong = 0;
    for (int round = 0; round < rounds() || killer.kills() < least_deaths(); ++round) {
        std::vector<Future<std::string>> futures;
        for (int n = 0; n < round_size; ++n)
            futures.push_back(pool.with({.max_retries = 1'000}).submit(work, n));
        for (int n = 0; n < round_size; ++n)
            wrong += futures[static_cast<std::size_t>(n)].get() != work(n) ? 1 : 0;
    }
    CHECK(wrong == 0);
    CHECK(pool.stats().retried > 0);
    CHECK(pool.stats().running == 0);
}

TEST_CASE("the relay is killed at random: every future ends, and only what was sent is lost") {
    const int local = GENERATE(0, 1);
    LoopbackPool pool({.pool = {.max_workers = local},
                       .served = {.max_workers = 2},
                       .claims = 100,
                       .relaunches = no_end});
    static_cast<void>(pool.submit(square, 1).get());
    RelayKiller killer;
    int wrong = 0;
    int lost = 0;
    for (int round = 0; round < rounds() || killer.kills() < least_deaths(); ++round) {
        std::vector<Future<std::string>> futures;
        for (int n = 0; n < round_size; ++n) futures.push_back(pool.submit(work, n));
        for (int n = 0; n < round_size; ++n) {
            try {
                wrong += futures[static_cast<std::size_t>(n)].get() != work(n) ? 1 : 0;
            } catch (const RankLost& error) {
                wrong += error.rank() == far_rank ? 0 : 1;
                ++lost;
            } catch (const WorkerDied& error) {
                wrong += error.signal() == SIGKILL ? 0 : 1;
                ++lost;
            }
        }
    }
    killer.stop();
    CHECK(wrong == 0);
    CHECK(lost > 0);
    CHECK(square_after_kills(pool, 5) == 25);
    CHECK(eventually([&] { return pool.stats().running == 0; }));
}

TEST_CASE("threads cancel, kill, stop and drop remote tasks while the relay is killed") {
    LoopbackPool pool({.pool = {.max_workers = 1},
                       .served = {.max_workers = 2},
                       .claims = 20,
                       .relaunches = no_end});
    static_cast<void>(pool.submit(square, 1).get());
    RelayKiller killer;
    std::atomic<int> wrong = 0;
    const auto act = [&](unsigned thread) {
        std::mt19937_64 random(test_seed() + thread);
        for (int i = 0; i < 10 * round_size || killer.kills() < least_deaths(); ++i) {
            const int n = static_cast<int>(random() % 100);
            auto future = pool.with({.max_retries = n % 2}).submit(work, n);
            const auto what = random() % 6;
            if (what == 0) continue; // drop it
            if (what == 1) static_cast<void>(future.wait_for(std::chrono::microseconds(50)));
            const bool is_cancelled =
                (what == 2 && future.cancel()) || (what == 3 && future.kill());
            if (what == 4) future.request_stop();
            try {
                wrong += future.get() != work(n) || is_cancelled ? 1 : 0;
            } catch (const CancelledError&) {
                wrong += is_cancelled || what == 4 ? 0 : 1;
            } catch (const prong::Error&) { // lost, died, poisoned
                wrong += is_cancelled ? 1 : 0;
            }
        }
    };
    {
        std::vector<std::jthread> threads;
        for (unsigned thread = 0; thread < 3; ++thread) threads.emplace_back(act, thread);
    }
    killer.stop();
    CHECK(wrong == 0);
    CHECK(square_after_kills(pool, 5) == 25);
    CHECK(eventually([&] { return pool.stats().running == 0; }));
}
