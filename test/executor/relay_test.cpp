// Pools whose tasks run elsewhere, through a relay: all that a pool promises, and the relay's end.

#include "executor/loopback.hpp"
#include "support/catch.hpp"
#include "support/processes.hpp"
#include "support/sanitizer.hpp"

#include <prong/prong.hpp>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace prong::test;
using Catch::Contains;
using prong::LimitExceeded;
using prong::PoisonedTask;
using prong::PoolStats;
using prong::RankLost;
using prong::TaskTimeout;

namespace {

int fail(const std::string& text) {
    throw std::runtime_error(text);
}

[[gnu::noinline]] int crash() {
    std::abort();
}

int die_until(int attempt) {
    if (prong::this_task::attempt() < attempt) raise(SIGKILL);
    return prong::this_task::attempt();
}

bool wait_for_stop() {
    while (!prong::this_task::stop_requested()) std::this_thread::sleep_for(1ms);
    return true;
}

int hang() {
    for (;;) std::this_thread::sleep_for(1h);
}

int spin() {
    const std::atomic<bool> is_over = false;
    while (!is_over.load()) {
    }
    return 0;
}

std::string repeat(const std::string& text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
}

/// The relay of the only pool of this process, which has no local workers.
pid_t relay_of_pool() {
    std::vector<pid_t> processes;
    const bool has_one = eventually([&] {
        const pid_t supervisor = supervisor_of(getpid());
        return supervisor != 0 && (processes = workers_of(supervisor)).size() == 1;
    });
    if (!has_one) throw std::runtime_error("there is not one relay");
    return processes.front();
}

template <typename R>
void await_running(const Future<R>& future) {
    REQUIRE(eventually([&] { return future.running(); }));
}

/// Blocks until the relay has claimed as many tasks.
void claim_all(prong::executor::RelayPort& port, std::span<prong::executor::RelayTask> tasks) {
    const auto take = [&](const prong::executor::RelayTask& task) {
        tasks.front() = task;
        tasks = tasks.subspan(1);
        return !tasks.empty();
    };
    while (!tasks.empty())
        if (port.claim(take) == 0) port.nap(1ms, true);
}

/// A task that has been sent: it runs, and stands before the gate.
Future<int> stand(ProcessPoolExecutor& pool, const Shared<Gate>& gate,
                  const TaskOptions& options = {}) {
    const int before = gate->arrivals();
    Future<int> future = pool.with(options).submit(pass(gate));
    if (!gate->await_arrivals(before + 1)) throw std::runtime_error("the task does not come");
    return future;
}

} // namespace

TEST_CASE("tasks run through a relay") {
    LoopbackPool pool;
    CHECK(pool.submit(square, 7).get() == 49);
    int next = 0;
    for (const int result : pool.map(square, std::views::iota(0, 10'000)))
        REQUIRE(result == square(next++));
    CHECK(next == 10'000);
    auto futures = pool.submit_batch(square, std::views::iota(0, 500));
    for (int i = 0; i < 500; ++i) REQUIRE(futures[static_cast<std::size_t>(i)].get() == square(i));
    CHECK(pool.try_submit(square, 3)->get() == 9);
}

TEST_CASE("a remote task's exception is thrown as it was, with its place") {
    LoopbackPool pool;
    CHECK_THROWS_WITH(pool.submit(fail, "no such file").get(), "no such file");
    CHECK_THROWS_AS(pool.submit(fail, "").get(), std::runtime_error);
    auto traced = pool.with({.capture_stack = true}).submit(fail, "here");
    CHECK_THAT(prong::thrown_at(traced.exception()), Contains("fail"));
}

TEST_CASE("a remote worker's death names its host") {
    LoopbackPool pool;
    auto killed = pool.submit([] { raise(SIGKILL); });
    const auto error = error_of<WorkerDied>(killed);
    CHECK(error.host() == far_host);
    CHECK(error.pid() != 0);
    CHECK(error.signal() == SIGKILL);
    CHECK_THAT(error.what(), Contains(" on far died of SIGKILL") || Contains(" on far was killed"));
    auto crashed = pool.submit(crash);
    const auto crash_error = error_of<WorkerDied>(crashed);
    CHECK(crash_error.signal() == SIGABRT);
    CHECK_THAT(crash_error.backtrace(), Contains("crash"));
    CHECK(pool.submit(square, 3).get() == 9);
    CHECK(pool.stats().failed == 2);
}

TEST_CASE("a remote task that exceeds its time ends") {
    LoopbackPool pool;
    auto late = pool.with({.timeout = 20ms, .grace = 0ms, .capture_output = true}).submit([] {
        std::puts("I wait");
        std::fflush(stdout);
        hang();
    });
    CHECK_THAT(error_of<TaskTimeout>(late).last_output(), Contains("I wait"));
    auto obedient = pool.with({.timeout = 20ms, .grace = 10s}).submit(wait_for_stop);
    CHECK_THROWS_AS(obedient.get(), TaskTimeout);
    auto too_late = pool.with({.deadline = 20ms, .grace = 0ms}).submit(hang);
    CHECK_THAT(error_of<TaskTimeout>(too_late).what(), Contains("deadline"));
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("a deadline passes while a remote task is queued here or there") {
    Shared<Gate> gate;
    LoopbackPool pool({.served = {.max_workers = 1}, .claims = 2});
    auto first = stand(pool, gate);
    // One waits there, the other one here.
    auto sent = pool.with({.deadline = 50ms}).submit(square, 1);
    await_running(sent);
    auto queued = pool.with({.deadline = 50ms}).submit(square, 2);
    CHECK_THROWS_AS(queued.get(), TaskTimeout);
    CHECK_THROWS_AS(sent.get(), TaskTimeout);
    gate->open();
    CHECK(first.get() > 0);
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("a remote task is limited") {
    LoopbackPool pool;
    if (!prong::test::address_sanitizer) { // which needs more itself
        auto greedy = pool.with({.limits = {.address_space_bytes = 64 << 20}}).submit([] {
            const std::vector<char> all(std::size_t{1} << 30);
            return all.size();
        });
        CHECK(error_of<LimitExceeded>(greedy).kind() == prong::LimitKind::address_space);
    }
    auto busy = pool.with({.limits = {.cpu_time = 50ms}}).submit([] { spin(); });
    CHECK(error_of<LimitExceeded>(busy).kind() == prong::LimitKind::cpu_time);
    LoopbackPool limited({.pool = {.limits = {.cpu_time = 50ms}}, .served = {.max_workers = 1}});
    auto by_default = limited.submit([] { spin(); });
    CHECK(error_of<LimitExceeded>(by_default).kind() == prong::LimitKind::cpu_time);
}

TEST_CASE("cancel is exact: a task that the relay has not claimed never runs") {
    Shared<Gate> gate;
    Shared<Counter> runs;
    LoopbackPool pool({.served = {.max_workers = 1}, .claims = 1});
    auto first = stand(pool, gate);
    CHECK_FALSE(first.cancel());
    auto second = pool.submit(count_up(runs));
    CHECK(second.cancel());
    CHECK(second.cancelled());
    gate->open();
    CHECK(first.get() > 0);
    CHECK_THROWS_AS(second.get(), CancelledError);
    CHECK(*runs == 0);
    CHECK(pool.submit(count_up(runs)).get() == 0);
}

TEST_CASE("a remote task is killed, running or waiting there") {
    Shared<Gate> gate;
    LoopbackPool pool({.served = {.max_workers = 1}});
    auto running = stand(pool, gate);
    auto waiting = pool.submit(square, 2);
    await_running(waiting); // claimed by the relay
    CHECK(waiting.kill());
    CHECK(running.kill());
    CHECK_THROWS_AS(waiting.get(), CancelledError);
    CHECK_THAT(error_of<CancelledError>(running).what(), Contains("killed"));
    CHECK(pool.submit(square, 3).get() == 9);
    CHECK(eventually([&] { return pool.stats().running == 0; }));
}

TEST_CASE("a remote task is asked to stop, running or waiting there") {
    Shared<Counter> runs;
    LoopbackPool pool({.served = {.max_workers = 1}});
    auto running = pool.submit(with_captures([place = runs.get()] {
        place->fetch_add(1);
        return wait_for_stop();
    }));
    REQUIRE(eventually([&] { return *runs == 1; }));
    auto waiting = pool.submit(hang);
    await_running(waiting);
    CHECK(waiting.request_stop());
    CHECK(running.request_stop());
    CHECK(running.get());
    CHECK_THROWS_AS(waiting.get(), CancelledError);
}

TEST_CASE("a task whose remote worker dies is tried again") {
    LoopbackPool pool;
    CHECK(pool.with({.max_retries = 2}).submit(die_until, 3).get() == 3);
    CHECK(pool.stats().retried == 2);
    auto poisoned = pool.with({.max_retries = 2}).submit(die_until, 9);
    const auto error = error_of<PoisonedTask>(poisoned);
    CHECK(error.attempts() == 3);
    REQUIRE(error.deaths().size() == 3);
    CHECK(error.deaths()[0].pid != error.deaths()[2].pid);
    CHECK(error.deaths()[2].host == far_host);
    auto stopped = pool.with({.max_retries = 100'000}).submit(die_until, 100'000);
    REQUIRE(eventually([&] { return pool.stats().retried > 5; }));
    CHECK(stopped.kill());
    CHECK_THROWS_AS(stopped.get(), CancelledError);
}

TEST_CASE("the output of a remote task is captured") {
    LoopbackPool pool;
    auto future = pool.with({.capture_output = true})
                      .submit(
                          [](int n) {
                              std::printf("%d is here\n", n);
                              return n;
                          },
                          7);
    future.wait();
    CHECK(future.output() == "7 is here\n");
    CHECK(future.get() == 7);
    auto failed = pool.with({.capture_output = true}).submit([] {
        std::puts("last words");
        throw std::runtime_error("thrown");
    });
    failed.wait();
    CHECK(failed.output() == "last words\n");
    CHECK_THROWS_WITH(failed.get(), "thrown");
}

TEST_CASE("large arguments and results pass through a relay") {
    LoopbackPool pool;
    for (const std::size_t size : {60UL, 61UL, 100UL, 65'536UL, 65'537UL, 5UL << 20}) {
        std::vector<unsigned> numbers(size);
        std::iota(numbers.begin(), numbers.end(), 0U);
        auto reversed = pool.submit(
            [](std::vector<unsigned> given) {
                std::ranges::reverse(given);
                return given;
            },
            numbers);
        std::ranges::reverse(numbers);
        REQUIRE(reversed.get() == numbers);
    }
}

TEST_CASE("a remote result for which there is no room is an error") {
    LoopbackPool pool({.pool = {.max_payload_bytes = 1 << 20}, .served = {.max_workers = 1}});
    auto too_large = pool.submit(repeat, "0123456789", 200'000);
    CHECK(error_of<LimitExceeded>(too_large).kind() == prong::LimitKind::shared_memory);
    CHECK(pool.submit(repeat, "ab", 2).get() == "abab");
    LoopbackPool small({.served = {.max_workers = 1, .max_payload_bytes = 1 << 20}});
    auto too_long = small.submit([](const std::string& text) { return text.size(); },
                                 std::string(2 << 20, 'x'));
    CHECK_THROWS_AS(too_long.get(), LimitExceeded);
    CHECK(small.submit(square, 3).get() == 9);
}

TEST_CASE("wait and as_completed see the end of remote tasks") {
    Shared<Gate> gate;
    LoopbackPool pool;
    std::vector<Future<int>> futures;
    for (int i = 0; i < 2'000; ++i) futures.push_back(pool.submit(square, i));
    std::vector<bool> seen(futures.size());
    for (Future<int>& future : prong::as_completed(futures))
        seen[static_cast<std::size_t>(&future - futures.data())] = true;
    CHECK(std::ranges::count(seen, true) == 2'000);
    std::vector<Future<int>> two;
    two.push_back(stand(pool, gate));
    two.push_back(pool.submit(square, 2));
    const auto result = prong::wait(two, prong::ReturnWhen::first_completed);
    CHECK(result.done == std::vector<std::size_t>{1});
    gate->open();
    CHECK(prong::wait(two).not_done.empty());
}

TEST_CASE("the relay claims urgent tasks first, and leaves the limit of the queue as it is") {
    Shared<Gate> gate;
    Shared<Counter> order;
    LoopbackPool pool({.pool = {.max_pending = 2}, .served = {.max_workers = 1}, .claims = 1});
    auto first = stand(pool, gate);
    auto low = pool.with({.priority = prong::Priority::low}).submit(count_up(order));
    auto high = pool.with({.priority = prong::Priority::high}).submit(count_up(order));
    CHECK_FALSE(pool.try_submit(square, 1));
    CHECK(pool.stats().queued == 2);
    gate->open();
    CHECK(high.get() == 0);
    CHECK(low.get() == 1);
    CHECK(first.get() > 0);
    for (int i = 0; i < 1'000; ++i) static_cast<void>(pool.submit(square, i)); // waits for room
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("a pool with a relay is shut down in each way") {
    SECTION("what is queued runs") {
        Shared<Counter> runs;
        LoopbackPool pool({.served = {.max_workers = 2}, .claims = 4});
        for (int i = 0; i < 200; ++i) static_cast<void>(pool.submit(count_up(runs)));
        pool.shutdown();
        CHECK(*runs == 200);
        CHECK_THROWS_AS(pool.submit(square, 1), prong::PoolShutdown);
    }
    SECTION("what is queued is cancelled") {
        Shared<Gate> gate;
        LoopbackPool pool({.served = {.max_workers = 1}, .claims = 1});
        auto first = stand(pool, gate);
        auto second = pool.submit(square, 2);
        pool.shutdown(false, true);
        CHECK_THROWS_AS(second.get(), CancelledError);
        CHECK_FALSE(pool.join_for(10ms));
        gate->open();
        CHECK(first.get() > 0);
        CHECK(pool.join_for(std::nullopt));
    }
    SECTION("what runs is killed") {
        Shared<Gate> gate;
        LoopbackPool pool({.served = {.max_workers = 1}, .claims = 1});
        auto first = stand(pool, gate);
        auto second = pool.submit(square, 2);
        const auto report = pool.shutdown_for(10ms);
        CHECK_FALSE(report);
        CHECK(report.killed.size() == 1);
        CHECK(report.cancelled == 1);
        CHECK_THROWS_AS(first.get(), WorkerDied);
        CHECK_THROWS_AS(second.get(), CancelledError);
    }
    SECTION("at once") {
        const bool kills = GENERATE(true, false);
        Shared<Gate> gate;
        LoopbackPool pool({.served = {.max_workers = 1}});
        auto first = stand(pool, gate);
        kills ? pool.kill_workers() : pool.terminate_workers();
        CHECK_THROWS_AS(first.get(), WorkerDied);
        CHECK(pool.join_for(std::nullopt));
    }
    SECTION("before the relay has begun") {
        LoopbackPool pool;
    }
}

TEST_CASE("statistics show the workers of other hosts") {
    Shared<Gate> gate;
    // The relay leaves one of three tasks to the local worker.
    LoopbackPool pool({.pool = {.max_workers = 1}, .served = {.max_workers = 2}, .claims = 2});
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(pool.submit(pass(gate)));
    REQUIRE(gate->await_arrivals(3));
    PoolStats stats;
    REQUIRE(eventually([&] {
        stats = pool.stats();
        return stats.workers.size() == 3 && std::ranges::all_of(stats.workers, [](auto& worker) {
                   return worker.state == prong::WorkerState::running;
               });
    }));
    CHECK(stats.running == 3);
    CHECK(stats.workers[0].host.empty());
    CHECK(stats.workers[2].host == far_host);
    CHECK(stats.workers[2].index == 1);
    CHECK(stats.workers[2].pid != 0);
    CHECK_FALSE(stats.workers[2].task.empty());
    gate->open();
    for (auto& future : futures) CHECK(future.get() > 0);
    CHECK(eventually([&] { return pool.stats().finished == 3 && pool.stats().running == 0; }));
    pool.shutdown();
    for (const auto& worker : pool.stats().workers) CHECK(worker.pid == 0);
}

TEST_CASE("local and remote workers share a queue") {
    Shared<Gate> gate;
    LoopbackPool pool({.pool = {.max_workers = 1}, .served = {.max_workers = 1}, .claims = 1});
    std::vector<Future<int>> futures;
    for (int i = 0; i < 2; ++i) futures.push_back(pool.submit(pass(gate)));
    CHECK(gate->await_arrivals(2));
    gate->open();
    CHECK(futures[0].get() != futures[1].get());
    for (auto& future : pool.submit_batch(square, std::views::iota(0, 5'000))) {
        const int result = future.get();
        REQUIRE(result >= 0);
    }
    auto poisoned = pool.with({.max_retries = 7}).submit(die_until, 9);
    CHECK(error_of<PoisonedTask>(poisoned).attempts() == 8);
    CHECK(pool.with({.max_retries = 7}).submit(die_until, 8).get() == 8);
}

TEST_CASE("a local worker takes what the relay has no room for") {
    Shared<Gate> gate;
    LoopbackPool pool({.pool = {.max_workers = 1}, .served = {.max_workers = 1}, .claims = 1});
    // One of them occupies the relay, for whose room no local worker waits.
    auto one = stand(pool, gate);
    auto other = stand(pool, gate);
    gate->open();
    CHECK(one.get() > 0);
    CHECK(other.get() > 0);
    for (int i = 0; i < 1'000; ++i) REQUIRE(pool.submit(square, i).get() == square(i));
}

TEST_CASE("a local worker tries again what the relay has lost and does not want") {
    const auto lose_one = [](prong::executor::RelayPort& port) {
        std::array<prong::executor::RelayTask, 1> task;
        claim_all(port, task);
        port.assign(task[0].claim, far_rank);
        port.lose(task[0].claim, far_host, "");
        while (!port.is_over()) port.nap(-1ns, false);
        return 0;
    };
    Shared<Gate> gate;
    LoopbackPool pool({.max_workers = 1}, {.claims = 1, .run = lose_one, .is_family = true});
    std::vector<Future<int>> futures;
    for (int i = 0; i < 2; ++i) futures.push_back(pool.with({.max_retries = 1}).submit(pass(gate)));
    // The relay has claimed one of them, and a local worker the other one.
    REQUIRE(eventually([&] { return pool.stats().retried == 1; }));
    gate->open();
    for (Future<int>& future : futures) CHECK(future.get() > 0);
}

TEST_CASE("the tasks of a relay that dies are lost or tried again, and another one follows") {
    Shared<Gate> gate;
    LoopbackPool pool({.served = {.max_workers = 2}, .relaunches = 1});
    auto lost = stand(pool, gate);
    auto again = stand(pool, gate, {.max_retries = 1});
    auto queued = pool.submit(square, 3);
    const pid_t relay = relay_of_pool();
    // The relay has told the host.
    REQUIRE(eventually([&] { return pool.stats().workers.size() == 2; }));
    kill(relay, SIGKILL);
    const auto error = error_of<RankLost>(lost);
    CHECK(error.rank() == far_rank);
    CHECK(error.host() == far_host);
    CHECK_THAT(error.what(), Contains("rank 1 on far was lost") && Contains("died of SIGKILL"));
    gate->open();
    CHECK(again.get() > 0);
    // Sent before, or not.
    try {
        const int result = queued.get();
        CHECK(result == 9);
    } catch (const RankLost&) {
        SUCCEED();
    }
    CHECK(pool.submit(square, 4).get() == 16);
}

TEST_CASE("a task that the relay has not sent is tried again, whatever its options") {
    Shared<Gate> gate;
    const prong::executor::RelayOptions relay{
        .claims = 4,
        .relaunches = 1,
        .run =
            [place = gate.get()](prong::executor::RelayPort& port) {
                if (place->arrivals() == 0) { // the first one only claims
                    while (port.claim([](const auto&) { return true; }) == 0) port.nap(1ms, true);
                    place->pass();
                }
                return Loopback(port, {.max_workers = 1}).run();
            },
        .is_family = true};
    LoopbackPool pool({}, relay);
    auto future = pool.submit(square, 7);
    REQUIRE(gate->await_arrivals(1));
    CHECK(future.running());
    kill(relay_of_pool(), SIGKILL);
    CHECK(future.get() == 49);
}

TEST_CASE("a task that waits elsewhere comes back to the queue, or ends if it was asked to") {
    Shared<Gate> gate;
    const auto take_back_all = [place = gate.get()](prong::executor::RelayPort& port) {
        std::array<prong::executor::RelayTask, 3> tasks;
        claim_all(port, tasks);
        for (const prong::executor::RelayTask& task : tasks) port.assign(task.claim, far_rank);
        place->pass();
        for (const prong::executor::RelayTask& task : tasks) port.take_back(task.claim);
        return Loopback(port, {.max_workers = 1}).run();
    };
    LoopbackPool pool({}, {.claims = 4, .run = take_back_all, .is_family = true});
    auto again = pool.submit(square, 7);
    auto stopped = pool.submit(square, 8);
    auto killed = pool.submit(square, 9);
    REQUIRE(gate->await_arrivals(1));
    CHECK(stopped.request_stop());
    CHECK(killed.kill());
    gate->open();
    CHECK(again.get() == 49);
    CHECK_THROWS_AS(stopped.get(), CancelledError);
    CHECK_THROWS_AS(killed.get(), CancelledError);
    CHECK(pool.stats().retried == 0);
}

TEST_CASE("all local workers that sleep take tasks that come back") {
    constexpr std::size_t count = 3;
    Shared<Gate> far;
    Shared<Gate> gate;
    const auto take_back_all = [place = far.get()](prong::executor::RelayPort& port) {
        std::array<prong::executor::RelayTask, count> tasks;
        claim_all(port, tasks);
        place->pass();
        for (const prong::executor::RelayTask& task : tasks) port.take_back(task.claim);
        while (!port.is_over()) port.nap(-1ns, false);
        return 0;
    };
    LoopbackPool pool({.max_workers = count},
                      {.claims = count, .run = take_back_all, .is_family = true});
    std::vector<Future<int>> futures;
    for (std::size_t i = 0; i < 2 * count; ++i) futures.push_back(pool.submit(pass(gate)));
    REQUIRE(gate->await_arrivals(count)); // each local worker has one, the relay the others
    REQUIRE(far->await_arrivals(1));
    gate->open();
    REQUIRE(
        eventually([&] { return std::ranges::count_if(futures, &Future<int>::done) == count; }));
    gate->close();
    REQUIRE(eventually([&] {
        return std::ranges::all_of(children_of(supervisor_of(getpid())),
                                   [](const ProcessInfo& each) { return each.state == 'S'; });
    }));
    far->open();
    CHECK(gate->await_arrivals(2 * count)); // each has one again
    gate->open();
    for (Future<int>& future : futures) CHECK(future.get() > 0);
}

TEST_CASE("the death of a remote worker breaks a pool that is to break") {
    LoopbackPool pool(
        {},
        {.claims = 4,
         .relaunches = 1000,
         .run =
             [](prong::executor::RelayPort& port) {
                 return Loopback(port, {.max_workers = 1}, prong::OnWorkerDeath::break_pool).run();
             },
         .is_family = true});
    CHECK(pool.with({.max_retries = 1}).submit(die_until, 2).get() == 2);
    auto killed = pool.submit(hang);
    await_running(killed);
    CHECK(killed.kill());
    CHECK_THROWS_AS(killed.get(), CancelledError);
    auto crashed = pool.submit(die_until, 2);
    auto other = pool.submit(hang);
    CHECK_THAT(error_of<BrokenProcessPool>(crashed).what(),
               Contains("on far died of SIGKILL") && Contains("break_pool"));
    CHECK_THROWS_AS(other.get(), BrokenProcessPool);
}

TEST_CASE("a pool whose relay has died too often is broken, and says why") {
    Shared<Gate> gate;
    LoopbackPool pool;
    auto running = stand(pool, gate);
    kill(relay_of_pool(), SIGKILL);
    CHECK_THAT(error_of<BrokenProcessPool>(running).what(),
               Contains("the relay") && Contains("SIGKILL"));
    CHECK_THROWS_AS(pool.submit(square, 3), BrokenProcessPool);
}

TEST_CASE("what a relay throws is the cause of the pool's end") {
    const bool throws = GENERATE(true, false);
    LoopbackPool pool({}, {.claims = 4, .run = [throws](prong::executor::RelayPort& port) -> int {
                               if (throws) throw std::runtime_error("no launcher was found");
                               port.set_failure("no launcher was found");
                               return 3;
                           }});
    const auto submit_and_get = [&] { return pool.submit(square, 3).get(); };
    CHECK_THROWS_WITH(submit_and_get(), Contains("no launcher was found"));
}

TEST_CASE("a relay that leaves before the pool is over is replaced") {
    Shared<Counter> starts;
    LoopbackPool pool({}, {.claims = 4,
                           .relaunches = 1,
                           .run = [place = starts.get()](prong::executor::RelayPort& port) {
                               if (place->fetch_add(1) == 0) return 0;
                               return Loopback(port, {.max_workers = 1}).run();
                           }});
    CHECK(pool.submit(square, 3).get() == 9);
    CHECK(*starts == 2);
}

TEST_CASE("a relay that is stopped is continued") {
    LoopbackPool pool;
    CHECK(pool.submit(square, 3).get() == 9);
    for (int i = 0; i < 10; ++i) {
        kill(relay_of_pool(), SIGSTOP);
        REQUIRE(pool.submit(square, i).get() == square(i));
    }
}

TEST_CASE("when the supervisor of a relay is killed no wait hangs") {
    Shared<Gate> gate;
    LoopbackPool pool;
    auto running = stand(pool, gate);
    kill(supervisor_of(getpid()), SIGKILL);
    CHECK_THROWS_AS(running.get(), BrokenProcessPool);
}

TEST_CASE("what remote tasks leave in memory when their futures are dropped goes back") {
    LoopbackPool pool({.served = {.max_workers = 2}});
    for (int i = 0; i < 50; ++i)
        static_cast<void>(pool.submit(repeat, std::string(100'000, 'x'), 10));
    for (int i = 0; i < 50; ++i) static_cast<void>(pool.submit(hang).kill());
    CHECK(pool.submit(square, 3).get() == 9);
    CHECK(eventually([&] { return pool.stats().running == 0; }));
    CHECK(pool.stats().finished >= 51);
}

TEST_CASE("what cannot leave this machine is refused") {
    LoopbackPool pool({.served = {.max_workers = 1}, .is_family = false});
    int number = 3;
    CHECK(pool.submit(with_captures([number] { return number; })).get() == 3);
    const auto by_address = with_captures([address = &number] { return *address; });
    CHECK_THROWS_WITH(pool.submit(by_address), Contains("address in this process"));
    const prong::Lock lock;
    CHECK_THROWS_WITH(pool.submit([](prong::Lock) {}, lock), Contains("another host"));
    const prong::Queue<int> queue;
    const std::vector<prong::Queue<int>> queues{queue};
    CHECK_THROWS_AS(pool.submit([](const std::vector<prong::Queue<int>>&) {}, queues),
                    std::invalid_argument);
    prong::SharedBuffer<int> buffer(10);
    CHECK_THROWS_WITH(pool.submit([](prong::SharedBuffer<int>) {}, std::move(buffer)),
                      Contains("SharedBuffer"));
    CHECK(buffer.size() == 10);
    const auto make = [] { return prong::SharedBuffer<int>(3); };
    CHECK_THROWS_AS(pool.submit(make), std::invalid_argument);
    CHECK_THROWS_AS(
        pool.submit_batch([](int) { return prong::SharedBuffer<int>(3); }, std::views::iota(0, 3)),
        std::invalid_argument);
    CHECK(pool.submit(square, 3).get() == 9);
}
