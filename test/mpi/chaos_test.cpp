// Processes of a job are killed at random, while tasks run: each future ends, and each result is
// right.

#include "mpi/helpers.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <csignal>
#include <iostream>
#include <random>

using namespace prong::test;

namespace {

/// A millisecond of work for every sixteenth, nothing for the others.
int work(int n) {
    if (n % 16 == 0) std::this_thread::sleep_for(1ms);
    return square(n);
}

/// Kills, stops or continues some process of the job; returns what it has done, in words.
std::string disturb(std::mt19937_64& random) {
    const Job job = Job::now();
    const auto pick = [&](const std::vector<pid_t>& from) {
        return from.empty() ? 0 : from[random() % from.size()];
    };
    std::string what;
    pid_t victim = 0;
    switch (random() % 8) {
    case 0:
        what = "relay";
        victim = job.relay;
        break;
    case 1:
        what = "launcher";
        victim = job.launcher;
        break;
    case 2:
        what = "daemon";
        victim = pick(job.daemons);
        break;
    case 3:
    case 4:
        what = "rank";
        victim = pick(job.servers);
        break;
    default: { // a worker, a supervisor or a zygote of a rank; or the stub
        what = "process of a rank";
        std::vector<pid_t> below;
        for (const pid_t server : job.servers) {
            for (const ProcessInfo& process : descendants_of(server)) below.push_back(process.pid);
        }
        victim = pick(below);
    }
    }
    if (victim == 0) return {};
    kill(victim, SIGKILL);
    return what;
}

} // namespace

TEST_CASE("every task ends while processes of the job are killed at random") {
    const auto seed = test_seed();
    std::mt19937_64 random(seed);
    const int count = how_often(4000, 100'000);
    constexpr int batch = 250;
    MpiOptions options{
        .workers_per_host = 2, .ranks = 2, .relaunches = 100'000, .rank_timeout = 2s};
    if (test_hosts().size() > 2) options.hosts = {"node2", "node3"};
    MpiPoolExecutor pool(options);
    std::map<std::string, int> disturbed;
    std::map<Ending, int> endings;
    int others = 0;
    for (int begin = 0; begin < count; begin += batch) {
        std::vector<Future<int>> futures;
        for (int i = begin; i < begin + batch; ++i) {
            futures.push_back(
                pool.with(TaskOptions{.max_retries = i % 2 == 0 ? 1000 : 0}).submit(work, i));
        }
        static_cast<void>(futures.front().wait_for(1min)); // the job is there
        ++disturbed[disturb(random)];
        for (int i = 0; i < batch; ++i) {
            try {
                const Ending ending =
                    ending_of(futures[static_cast<std::size_t>(i)], square(begin + i));
                ++endings[ending];
                if (ending == Ending::lost) CHECK(i % 2 != 0);
            } catch (const WorkerDied&) {
                CHECK(i % 2 != 0);
                ++others;
            }
        }
        REQUIRE(endings[Ending::pending] == 0);
    }
    CHECK(endings[Ending::wrong] == 0);
    CHECK(endings[Ending::right] >= count / 2);
    CHECK(retrying(pool).submit(square, 5).get() == 25);
    std::cout << count << " tasks, " << endings[Ending::lost] << " lost with their ranks, "
              << others << " with their workers; killed:";
    for (const auto& [what, times] : disturbed) std::cout << " " << what << " " << times;
    std::cout << "\n";
}
