// The many ways in which a pool ends.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/environment.hpp"

#include <prong/prong.hpp>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using prong::PoolShutdown;

namespace {

/// Children that have not ended.
bool has_children() {
    return supervisor_of(getpid()) != 0;
}

std::vector<Future<int>> submit_counting(ProcessPoolExecutor& pool, const Shared<Counter>& counter,
                                         int tasks) {
    std::vector<Future<int>> futures;
    for (int i = 0; i < tasks; ++i) futures.push_back(pool.submit(count_up(counter)));
    return futures;
}

} // namespace

TEST_CASE("shutdown runs what is pending, then the workers end") {
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(3);
    auto futures = submit_counting(pool, runs, 1000);
    pool.shutdown();
    CHECK(runs->load() == 1000);
    CHECK_FALSE(has_children());
    for (auto& future : futures) CHECK(future.done());
    pool.shutdown();
    pool.shutdown(false);
    pool.shutdown(true, true);
    CHECK(futures[0].get() < 1000);
}

TEST_CASE("join_for waits for the end after shutdown, and kills nothing") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    CHECK_THROWS_AS(pool.join_for(0s), std::logic_error);
    auto held = occupy(pool, gate);
    auto queued = pool.submit(square, 5);
    pool.shutdown(false);
    CHECK_FALSE(pool.join_for(0s));
    CHECK_FALSE(pool.join_for(5ms));
    gate->open();
    CHECK(pool.join_for(std::nullopt));
    CHECK_FALSE(has_children());
    CHECK(pool.join_for(0s));
    CHECK(queued.get() == 25);
    for (auto& future : held) CHECK(future.get() > 0);
}

TEST_CASE("join_for sees the end of workers that are terminated, and of a broken pool") {
    ProcessPoolExecutor pool(2);
    auto hanging = pool.submit([] { pause(); });
    SECTION("kill_workers") {
        pool.kill_workers();
    }
    SECTION("the supervisor is killed") {
        CHECK(eventually([&] { return hanging.running(); }));
        kill(supervisor_of(getpid()), SIGKILL);
        pool.shutdown(false);
    }
    CHECK(pool.join_for(std::nullopt));
    CHECK(hanging.done());
}

TEST_CASE("a pool that is shut down at once has run everything that was submitted") {
    const Shared<Counter> runs;
    int expected = 0;
    for (int round = 0; round < 200; ++round) {
        ProcessPoolExecutor pool(1 + round % 3);
        const int tasks = round % 7;
        auto futures = submit_counting(pool, runs, tasks);
        pool.shutdown();
        expected += tasks;
        for (auto& future : futures) CHECK(future.get() < expected);
        REQUIRE(runs->load() == expected);
    }
}

TEST_CASE("shutdown without waiting returns while tasks run, and they all come to their end") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(2);
    auto held = occupy(pool, gate);
    auto futures = submit_counting(pool, runs, 100);
    pool.shutdown(false);
    CHECK_FALSE(held[0].done());
    CHECK_THROWS_AS(pool.submit(square, 1), PoolShutdown);
    CHECK_THROWS_AS(pool.try_submit(square, 1), PoolShutdown);
    gate->open();
    for (auto& future : futures) CHECK(future.get() < 100);
    CHECK(held[1].get() > 0);
    CHECK(eventually([] { return !has_children(); }));
    pool.shutdown();
    CHECK(runs->load() == 100);
}

TEST_CASE("after shutdown submit says so, and so does map") {
    ProcessPoolExecutor pool(1);
    pool.shutdown();
    CHECK_THROWS_AS(pool.submit(square, 1), PoolShutdown);
    CHECK_THROWS_AS(pool.try_submit(square, 1), PoolShutdown);
    CHECK_THROWS_AS(pool.map(square, std::views::iota(0, 3)).get(), PoolShutdown);
}

TEST_CASE("shutdown with cancel_futures cancels what no worker has claimed, and nothing else") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(2);
    auto held = occupy(pool, gate);
    auto futures = submit_counting(pool, runs, 100);
    const bool wait = GENERATE(false, true);
    std::thread opener([&] { // shutdown(true) waits for what runs
        if (eventually([&] { return futures.back().cancelled(); })) gate->open();
    });
    pool.shutdown(wait, true);
    opener.join();
    for (auto& future : futures) CHECK_THROWS_AS(future.get(), CancelledError);
    for (auto& future : held) CHECK(future.get() > 0);
    pool.shutdown();
    CHECK(runs->load() == 0);
}

TEST_CASE("a second shutdown can cancel what the first let run on") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    auto futures = submit_counting(pool, runs, 10);
    pool.shutdown(false);
    pool.shutdown(false, true);
    gate->open();
    pool.shutdown();
    CHECK(runs->load() == 0);
    for (auto& future : futures) CHECK(future.cancelled());
}

TEST_CASE("shutdown by several threads at once, while others submit") {
    for (int round = 0; round < 20; ++round) {
        const Shared<Counter> runs;
        std::atomic<int> accepted = 0;
        ProcessPoolExecutor pool(2);
        {
            std::vector<std::jthread> threads;
            for (int t = 0; t < 4; ++t) {
                threads.emplace_back([&] {
                    try {
                        for (;;) {
                            static_cast<void>(pool.submit(count_up(runs)));
                            ++accepted;
                        }
                    } catch (const PoolShutdown&) {
                    }
                });
            }
            while (accepted < 10) std::this_thread::yield();
            for (int t = 0; t < 4; ++t) threads.emplace_back([&, t] { pool.shutdown(t != 0); });
        }
        REQUIRE(runs->load() == accepted);
    }
}

TEST_CASE("the destructor waits for what is pending") {
    const Shared<Counter> runs;
    std::vector<Future<int>> futures;
    {
        ProcessPoolExecutor pool(2);
        futures = submit_counting(pool, runs, 500);
    }
    CHECK(runs->load() == 500);
    CHECK_FALSE(has_children());
}

TEST_CASE("the destructor cancels what is pending while an exception unwinds") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    std::vector<Future<int>> futures;
    std::vector<Future<int>> held;
    std::thread opener;
    try {
        ProcessPoolExecutor pool(1);
        held = occupy(pool, gate);
        futures = submit_counting(pool, runs, 100);
        opener = std::thread([&] { // the destructor waits for what runs
            if (eventually([&] { return futures.back().cancelled(); })) gate->open();
        });
        throw std::runtime_error("unwinds");
    } catch (const std::runtime_error&) {
    }
    opener.join();
    for (auto& future : futures) CHECK(future.cancelled());
    CHECK(held[0].get() > 0);
    CHECK(runs->load() == 0);
}

TEST_CASE("a pool that lives and dies while an exception unwinds runs its tasks") {
    const Shared<Counter> runs;
    struct InDestructor {
        const Shared<Counter>* runs;
        ~InDestructor() {
            ProcessPoolExecutor pool(1);
            static_cast<void>(submit_counting(pool, *runs, 10));
        }
    };
    try {
        const InDestructor object{&runs};
        throw std::runtime_error("unwinds");
    } catch (const std::runtime_error&) {
    }
    CHECK(runs->load() == 10);
}

TEST_CASE("terminate_workers and kill_workers end everything at once") {
    const bool kills = GENERATE(false, true);
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(2);
    auto held = occupy(pool, gate);
    auto futures = submit_counting(pool, runs, 100);
    kills ? pool.kill_workers() : pool.terminate_workers();
    CHECK_THROWS_AS(pool.submit(square, 1), PoolShutdown);
    for (auto& future : held) {
        const auto error = error_of<WorkerDied>(future);
        CHECK(error.signal() == (kills ? SIGKILL : SIGTERM));
    }
    for (auto& future : futures) CHECK_THROWS_AS(future.get(), CancelledError);
    CHECK(eventually([] { return !has_children(); }));
    pool.kill_workers();
    pool.terminate_workers();
    pool.shutdown();
    CHECK(runs->load() == 0);
}

TEST_CASE("terminate_workers gets an idle pool, and one that is just starting") {
    for (int round = 0; round < 50; ++round) {
        ProcessPoolExecutor pool(2);
        if (round % 2 == 0) CHECK(pool.submit(square, 2).get() == 4);
        round % 3 == 0 ? pool.kill_workers() : pool.terminate_workers();
        pool.shutdown();
    }
    CHECK_FALSE(has_children());
}

TEST_CASE("a worker that ignores SIGTERM can still be killed") {
    const Shared<Gate> gate;
    const Shared<Counter> ignoring;
    ProcessPoolExecutor pool(1);
    auto stubborn = pool.submit(with_captures([place = gate.get(), count = ignoring.get()] {
        std::signal(SIGTERM, SIG_IGN);
        ++*count;
        place->pass();
    }));
    REQUIRE(eventually([&] { return *ignoring == 1; }));
    pool.terminate_workers();
    CHECK_FALSE(stubborn.done());
    pool.kill_workers();
    CHECK(error_of<WorkerDied>(stubborn).signal() == SIGKILL);
}

TEST_CASE("shutdown wakes workers that are stopped, so that it ends") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    auto held = occupy(pool, gate);
    const auto workers = workers_of(supervisor_of(getpid()));
    for (const pid_t worker : workers) kill(worker, SIGSTOP);
    gate->open();
    SECTION("stopped before") {
        pool.shutdown();
    }
    SECTION("stopped meanwhile") {
        pool.shutdown(false);
        for (const pid_t worker : workers) kill(worker, SIGSTOP);
        pool.shutdown();
    }
    for (auto& future : held) CHECK(future.get() > 0);
}

TEST_CASE("workers that die during shutdown are replaced while there is work") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(2);
    auto held = occupy(pool, gate);
    auto futures = submit_counting(pool, runs, 100);
    pool.shutdown(false);
    for (const pid_t worker : workers_of(supervisor_of(getpid()))) kill(worker, SIGKILL);
    for (auto& future : held) CHECK_THROWS_AS(future.get(), WorkerDied);
    pool.shutdown();
    CHECK(runs->load() == 100);
    for (auto& future : futures) CHECK(future.get() < 100);
}

TEST_CASE("many pools are made and ended one after the other") {
    const int pools = full_run() ? 1000 : 200;
    std::mt19937_64 random(test_seed());
    for (int i = 0; i < pools; ++i) {
        ProcessPoolExecutor pool(1 + static_cast<int>(random() % 3));
        std::optional<Future<int>> future;
        if (random() % 4 != 0) future = pool.submit(square, i);
        if (random() % 4 == 0)
            pool.shutdown(false, random() % 2 == 0);
        else if (future && random() % 2 == 0)
            REQUIRE(future->get() == i * i);
    }
    CHECK_FALSE(has_children());
}

TEST_CASE("a static pool runs what is pending when main returns") {
    const Shared<Counter> runs;
    const auto child = run_in_child([&]() -> int {
        static ProcessPoolExecutor pool(2);
        for (int i = 0; i < 100; ++i) static_cast<void>(pool.submit(count_up(runs)));
        std::exit(3);
    });
    CHECK(child.exitcode == 3);
    CHECK(runs->load() == 100);
}

TEST_CASE("when the program exits with a live pool nothing is left of it") {
    const Shared<Counter> worker;
    const Shared<Counter> supervisor;
    const bool quick = GENERATE(false, true);
    const auto child = run_in_child([&]() -> int {
        const Shared<Gate> gate;
        ProcessPoolExecutor pool(1);
        auto held = occupy(pool, gate);
        *supervisor = supervisor_of(getpid());
        *worker = workers_of(*supervisor).front();
        quick ? _exit(4) : std::exit(4);
    });
    CHECK(child.exitcode == 4);
    CHECK(eventually([&] { return !is_running(*worker) && !is_running(*supervisor); }));
}
