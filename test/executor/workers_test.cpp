// Workers over time: recycling, hooks, priorities, statistics, what shutdown_for leaves.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <prong/this_task.hpp>

#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using prong::Priority;
using prong::WorkerState;

namespace {

/// What tasks leave behind, in order.
struct Trace {
    Counter count{0};
    std::array<std::atomic<int>, 256> entries{};

    void add(int entry) { entries[static_cast<std::size_t>(count++)] = entry; }
};

auto leave(const Shared<Trace>& trace, int entry) {
    return with_captures([place = trace.get(), entry] { place->add(entry); });
}

} // namespace

TEST_CASE("a worker is replaced after max_tasks_per_worker tasks") {
    const int workers = GENERATE(1, 3);
    const std::size_t most = GENERATE(1U, 2U, 20U);
    ProcessPoolExecutor pool(PoolOptions{.max_workers = workers, .max_tasks_per_worker = most});
    std::vector<Future<int>> futures;
    const int total = how_often(400, 4000);
    for (int i = 0; i < total; ++i) futures.push_back(pool.submit(pid_of_worker));
    std::map<int, std::size_t> tasks;
    for (auto& future : futures) ++tasks[future.get()];
    for (const auto& [pid, count] : tasks) CHECK(count <= most);
    CHECK(pool.submit(square, 5).get() == 25);
    for (const auto& worker : pool.stats().workers) CHECK(worker.deaths == 0);
}

TEST_CASE("all workers leave at once with a full queue, also when the pool ends") {
    // As in CPython's issues 115634 and 152978, where the pool hung.
    for (int round = 0; round < how_often(20, 200); ++round) {
        std::vector<Future<int>> futures;
        {
            ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .max_tasks_per_worker = 1});
            for (int i = 0; i < 30; ++i) futures.push_back(pool.submit(square, i));
            if (round % 2 == 0) pool.shutdown(false);
        }
        for (int i = 0; i < 30; ++i) REQUIRE(futures[static_cast<std::size_t>(i)].get() == i * i);
    }
}

TEST_CASE("a worker that has grown is replaced") {
    ProcessPoolExecutor pool(
        PoolOptions{.max_workers = 1, .max_worker_rss_bytes = std::size_t{256} << 20});
    const auto leak = [](std::size_t bytes) {
        auto* const memory = new volatile char[bytes];
        for (std::size_t i = 0; i < bytes; i += 1024) memory[i] = 'x';
        return static_cast<int>(getpid());
    };
    const int first = pool.submit(leak, std::size_t{1} << 20).get();
    CHECK(eventually([&] { return pool.submit(leak, std::size_t{16} << 20).get() != first; }));
    CHECK(pool.stats().workers[0].deaths == 0);
}

TEST_CASE("hooks run in each worker when it starts and when it leaves") {
    const Shared<Trace> trace;
    Trace* const place = trace.get();
    {
        ProcessPoolExecutor pool(PoolOptions{
            .max_workers = 1,
            .max_tasks_per_worker = 1,
            .initializer = [place] { place->add(1); },
            .on_worker_start = [place] { place->add(2 + prong::this_worker::index()); },
            .on_worker_exit = [place] { place->add(4 + prong::this_worker::index()); },
        });
        pool.submit(leave(trace, 3)).get();
        pool.submit(leave(trace, 3)).get();
    }
    REQUIRE(trace->count >= 8);
    for (int i = 0; i < trace->count; ++i) {
        const int expected = std::array{1, 2, 3, 4}[static_cast<std::size_t>(i) % 4];
        if (i < 8) CHECK(trace->entries[static_cast<std::size_t>(i)] == expected);
    }
}

TEST_CASE("a start hook that throws breaks the pool, an exit hook that throws harms nothing") {
    ProcessPoolExecutor broken(
        PoolOptions{.max_workers = 1, .on_worker_start = [] { throw std::runtime_error("no"); }});
    CHECK_THROWS_WITH(broken.submit(square, 1).get(), Catch::Contains("on_worker_start threw: no"));
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .on_worker_exit = [] { throw 1; }});
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("workers know their number") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(3);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3; ++i) {
        futures.push_back(pool.submit(with_captures([place = gate.get()] {
            place->pass();
            return prong::this_worker::index();
        })));
    }
    REQUIRE(gate->await_arrivals(3));
    gate->open();
    auto numbers = results_of(futures);
    std::ranges::sort(numbers);
    CHECK(numbers == std::vector{0, 1, 2});
    CHECK(prong::this_worker::index() == -1);
}

TEST_CASE("urgent tasks come first, others in turn, and none starves") {
    const Shared<Gate> gate;
    const Shared<Trace> trace;
    ProcessPoolExecutor pool(1);
    auto running = occupy(pool, gate);
    std::vector<Future<void>> futures;
    for (int i = 0; i < 40; ++i) {
        for (const Priority priority : {Priority::low, Priority::normal, Priority::high}) {
            futures.push_back(pool.with(TaskOptions{.priority = priority})
                                  .submit(leave(trace, static_cast<int>(priority))));
        }
    }
    gate->open();
    running[0].get();
    for (auto& future : futures) future.get();
    std::array<int, 3> among_first{};
    for (std::size_t i = 0; i < 32; ++i)
        ++among_first[static_cast<std::size_t>(trace->entries[i].load())];
    CHECK(among_first[static_cast<std::size_t>(Priority::high)] == 24);
    CHECK(among_first[static_cast<std::size_t>(Priority::normal)] == 6);
    CHECK(among_first[static_cast<std::size_t>(Priority::low)] == 2);
}

TEST_CASE("max_pending counts tasks of all priorities") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 4});
    auto running = occupy(pool, gate);
    std::vector<Future<int>> futures;
    for (const Priority priority :
         {Priority::low, Priority::high, Priority::normal, Priority::high})
        futures.push_back(pool.with(TaskOptions{.priority = priority}).submit(square, 3));
    for (const Priority priority : {Priority::low, Priority::high, Priority::normal})
        CHECK_FALSE(pool.with(TaskOptions{.priority = priority}).try_submit(square, 3));
    gate->open();
    for (auto& future : futures) CHECK(future.get() == 9);
    running[0].get();
}

TEST_CASE("statistics say what the pool and its workers do") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    auto running = pool.submit(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    auto crashed = pool.submit([] { std::abort(); });
    CHECK_THROWS_AS(crashed.get(), WorkerDied);
    auto thrown = pool.submit([] { throw 1; });
    CHECK_THROWS(thrown.get());
    CHECK(pool.with(TaskOptions{.max_retries = 1})
              .submit([] {
                  if (prong::this_task::attempt() == 1) std::abort();
                  return 1;
              })
              .get() == 1);
    REQUIRE(eventually([&] {
        const auto workers = pool.stats().workers;
        return std::ranges::count(workers, WorkerState::idle, &prong::WorkerStats::state) == 1;
    }));
    const auto stats = pool.stats();
    CHECK(stats.submitted == 4);
    CHECK(stats.finished == 2);
    CHECK(stats.failed == 2);
    CHECK(stats.retried == 1);
    CHECK(stats.running == 1);
    CHECK(stats.queued == 0);
    REQUIRE(stats.workers.size() == 2);
    const auto busy =
        std::ranges::find(stats.workers, WorkerState::running, &prong::WorkerStats::state);
    REQUIRE(busy != stats.workers.end());
    CHECK_FALSE(busy->task.empty());
    CHECK(busy->since >= 0s);
    CHECK(busy->deaths == 0);
    const auto idle =
        std::ranges::find(stats.workers, WorkerState::idle, &prong::WorkerStats::state);
    CHECK(idle->task.empty());
    CHECK(idle->deaths == 2);
    gate->open();
    CHECK(running.get() == busy->pid);
    pool.shutdown();
    for (const auto& worker : pool.stats().workers) CHECK(worker.state == WorkerState::absent);
}

TEST_CASE("statistics see a stopped worker, queued tasks, and cancelled and killed ones") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto running = pool.submit(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    auto first = pool.submit(square, 1);
    auto second = pool.submit(square, 2);
    CHECK(second.cancel());
    CHECK(pool.stats().queued == 1);
    CHECK(pool.stats().cancelled == 1);
    const int pid = pool.stats().workers[0].pid;
    REQUIRE(pid > 0); // a worker that runs a task has a number, however young it is
    REQUIRE(kill(pid, SIGSTOP) == 0);
    CHECK(eventually([&] { return pool.stats().workers[0].state == WorkerState::stopped; }));
    CHECK(running.kill());
    CHECK(first.get() == 1);
    CHECK(pool.stats().killed == 1);
    CHECK(eventually([&] { return pool.stats().queued == 0; }));
}

TEST_CASE("statistics can be read at any time by any thread") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 3, .max_tasks_per_worker = 10});
    std::atomic<bool> over = false;
    std::jthread reader([&] {
        while (!over) static_cast<void>(pool.stats());
    });
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3000; ++i) futures.push_back(pool.submit(square, i));
    for (int i = 0; i < 3000; ++i) REQUIRE(futures[static_cast<std::size_t>(i)].get() == i * i);
    over = true;
    reader.join();
    CHECK(pool.stats().finished == 3000);
}

TEST_CASE("break_pool: a death breaks the pool, as in Python") {
    const Shared<Gate> gate;
    const Shared<Gate> all_queued;
    ProcessPoolExecutor pool(
        PoolOptions{.max_workers = 2, .on_worker_death = prong::OnWorkerDeath::break_pool});
    CHECK(pool.submit(square, 3).get() == 9);
    auto running = pool.submit(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    auto crashed = pool.submit(with_captures([place = all_queued.get()] {
        place->pass();
        std::abort();
    }));
    REQUIRE(all_queued->await_arrivals(1));
    std::vector<Future<int>> queued;
    for (int i = 0; i < 10; ++i) queued.push_back(pool.submit(square, i));
    all_queued->open();
    CHECK_THROWS_AS(crashed.get(), BrokenProcessPool);
    CHECK_THROWS_WITH(running.get(), Catch::Contains("SIGABRT") && Catch::Contains("break_pool"));
    for (auto& future : queued) { // those that had returned before keep their results
        try {
            future.get();
        } catch (const BrokenProcessPool&) {
        }
    }
    CHECK_THROWS_AS(pool.submit(square, 1), BrokenProcessPool);
}

TEST_CASE("break_pool ignores workers that exit normally") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2,
                                         .on_worker_death = prong::OnWorkerDeath::break_pool,
                                         .max_tasks_per_worker = 3});
    for (int i = 0; i < 50; ++i) CHECK(pool.submit(square, i).get() == i * i);
}

TEST_CASE("break_pool does not mind workers that are killed for what their task does") {
    ProcessPoolExecutor pool(
        PoolOptions{.max_workers = 1, .on_worker_death = prong::OnWorkerDeath::break_pool});
    auto hangs = pool.with({.timeout = 10ms, .grace = 0s}).submit([] { pause(); });
    CHECK_THROWS_AS(hangs.get(), prong::TaskTimeout);
    auto writes = pool.with({.limits = {.max_file_bytes = 1}}).submit([] { raise(SIGXFSZ); });
    CHECK_THROWS_AS(writes.get(), prong::LimitExceeded);
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("break_pool lets a task be tried again before its death breaks the pool") {
    const Shared<Counter> attempts;
    ProcessPoolExecutor pool(
        PoolOptions{.max_workers = 1, .on_worker_death = prong::OnWorkerDeath::break_pool});
    const auto dies_until = [&](int last) {
        return with_captures([place = attempts.get(), last] {
            if (++*place < last) raise(SIGKILL);
            return place->load();
        });
    };
    CHECK(pool.with({.max_retries = 2}).submit(dies_until(3)).get() == 3);
    CHECK(pool.submit(square, 3).get() == 9);
    *attempts = 0;
    auto dies = pool.with({.max_retries = 2}).submit(dies_until(1000));
    CHECK_THROWS_AS(dies.get(), BrokenProcessPool);
    CHECK(*attempts == 3);
    CHECK_THROWS_AS(pool.submit(square, 1), BrokenProcessPool);
}

TEST_CASE("shutdown_for counts what it cancels, not what was cancelled before") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto running = pool.submit(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    std::vector<Future<int>> queued;
    for (int i = 0; i < 5; ++i) queued.push_back(pool.submit(square, i));
    CHECK(queued[1].cancel());
    CHECK(queued[3].cancel());
    CHECK(pool.shutdown_for(0s).cancelled == 3);
    pool.shutdown(false, true);
    pool.kill_workers();
    CHECK(pool.stats().cancelled == 5);
    CHECK(pool.stats().queued == 0);
}

TEST_CASE("shutdown_for waits when that is enough, and says what it killed when not") {
    SECTION("enough") {
        ProcessPoolExecutor pool(2);
        auto future = pool.submit(square, 3);
        const auto report = pool.shutdown_for(60s);
        CHECK(report);
        CHECK(report.killed.empty());
        CHECK(future.get() == 9);
    }
    SECTION("not enough") {
        const Shared<Gate> gate;
        ProcessPoolExecutor pool(1);
        auto running = pool.submit(pass(gate));
        REQUIRE(gate->await_arrivals(1));
        auto queued = pool.submit(square, 3);
        const int pid = pool.stats().workers[0].pid;
        const auto report = pool.shutdown_for(20ms);
        CHECK_FALSE(report);
        REQUIRE(report.killed.size() == 1);
        CHECK(report.killed[0].pid == pid);
        CHECK_THAT(report.killed[0].task, Catch::Contains("[task 0]"));
        CHECK(report.cancelled == 1);
        CHECK_THROWS_AS(running.get(), WorkerDied);
        CHECK_THROWS_AS(queued.get(), CancelledError);
        CHECK_THROWS_AS(pool.submit(square, 1), prong::PoolShutdown);
        CHECK(pool.shutdown_for(0s));
    }
    SECTION("a worker that is stopped") {
        ProcessPoolExecutor pool(1);
        const int pid = pool.submit(pid_of_worker).get();
        REQUIRE(kill(pid, SIGSTOP) == 0);
        pool.shutdown_for(50ms);
    }
}
