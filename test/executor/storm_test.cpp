// Workers are killed at random while a great many tasks run.

#include "executor/helpers.hpp"
#include "executor/killer.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <prong/prong.hpp>

#include <csignal>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;

namespace {

std::uint64_t mix(std::uint64_t n) {
    n ^= n >> 31;
    n *= 0x9E3779B97F4A7C15;
    return n ^ n >> 29;
}

/// A result that does not fit into a record for some of the tasks.
std::vector<std::uint64_t> work(std::uint64_t n) {
    const std::size_t size = n % 64 == 0 ? 1000 : n % 5;
    std::vector<std::uint64_t> result{mix(n)};
    for (std::size_t i = 0; i < size; ++i) result.push_back(mix(result.back()));
    return result;
}

} // namespace

TEST_CASE("workers are killed at random: every future ends, and only what they ran is lost") {
    const auto tasks = static_cast<std::uint64_t>(how_often(100'000, 1'000'000));
    ProcessPoolExecutor pool(4);
    static_cast<void>(pool.submit(square, 1).get());
    Killer killer(supervisor_of(getpid()));
    std::vector<Future<std::vector<std::uint64_t>>> futures;
    for (std::uint64_t n = 0; n < tasks; ++n) futures.push_back(pool.submit(work, n));
    int died = 0;
    std::uint64_t wrong = 0;
    for (std::uint64_t n = 0; n < tasks; ++n) {
        try {
            if (futures[n].get() != work(n)) ++wrong;
        } catch (const WorkerDied& error) {
            ++died;
            if (error.exitcode() != -SIGKILL) ++wrong;
        }
    }
    const int kills = killer.stop();
    CHECK(wrong == 0);
    CHECK(died <= kills);
    CHECK(kills > 0);
    CHECK(square_after_kills(pool, 5) == 25);
}

TEST_CASE("workers are killed at random under map: every element comes, or its worker's death") {
    const auto count = static_cast<std::uint64_t>(how_often(100'000, 1'000'000));
    ProcessPoolExecutor pool(3);
    static_cast<void>(pool.submit(square, 1).get());
    Killer killer(supervisor_of(getpid()));
    std::uint64_t n = 0;
    std::uint64_t wrong = 0;
    auto results = pool.map(work, std::views::iota(std::uint64_t{0}, count));
    for (auto it = results.begin(); it != results.end(); ++it, ++n) {
        try {
            if (*it != work(n)) ++wrong;
        } catch (const WorkerDied&) {
        }
    }
    CHECK(killer.stop() > 0);
    CHECK(wrong == 0);
    CHECK(n == count);
}

TEST_CASE("threads submit, cancel, wait and drop futures while workers are killed") {
    const int rounds = how_often(2'000, 20'000);
    ProcessPoolExecutor pool(3);
    static_cast<void>(pool.submit(square, 1).get());
    Killer killer(supervisor_of(getpid()));
    std::atomic<int> wrong = 0;
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&, t] {
                std::mt19937_64 random(test_seed() + static_cast<unsigned>(t));
                for (int round = 0; round < rounds; ++round) try {
                        const int n = static_cast<int>(random() % 10'000);
                        Future<int> future = pool.submit(square, n);
                        const auto what = random() % 4;
                        const bool cancelled = what == 0 && future.cancel();
                        if (what == 1) continue; // drop it
                        if (what == 2)
                            static_cast<void>(future.wait_for(std::chrono::microseconds(50)));
                        try {
                            wrong += future.get() != n * n || cancelled ? 1 : 0;
                        } catch (const WorkerDied&) {
                            wrong += cancelled ? 1 : 0;
                        } catch (const CancelledError&) {
                            wrong += cancelled ? 0 : 1;
                        }
                    } catch (const BrokenProcessPool& error) {
                        ++wrong;
                        std::cerr << error.what() << std::endl;
                        return;
                    }
            });
        }
    }
    CHECK(killer.stop() > 0);
    CHECK(wrong == 0);
    CHECK(square_after_kills(pool, 5) == 25);
}
