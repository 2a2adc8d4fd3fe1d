// Tasks that are tried again when their worker has died.

#include "executor/helpers.hpp"
#include "support/catch.hpp"

#include <prong/this_task.hpp>

#include <string>
#include <vector>

using namespace prong::test;
using prong::PoisonedTask;

namespace {

/// Dies until it is tried for the n-th time.
int succeed_at(int attempt) {
    if (prong::this_task::attempt() < attempt) raise(attempt % 2 == 0 ? SIGSEGV : SIGKILL);
    return prong::this_task::attempt();
}

void die() {
    raise(SIGKILL);
}

std::string repeat(const std::string& text, int times) {
    if (prong::this_task::attempt() == 1) raise(SIGKILL);
    std::string result;
    for (int i = 0; i < times; ++i) result += text;
    return result;
}

} // namespace

TEST_CASE("a task is tried again when its worker has died") {
    ProcessPoolExecutor pool(2);
    auto patient = pool.with(TaskOptions{.max_retries = 3});
    for (int attempt = 1; attempt <= 4; ++attempt)
        CHECK(patient.submit(succeed_at, attempt).get() == attempt);
    const std::string text(3000, 'x'); // arguments in a payload block are kept, too
    CHECK(patient.submit(repeat, text, 40).get().size() == 120'000);
    CHECK(pool.stats().retried == 7);
    CHECK(prong::this_task::attempt() == 1);
    CHECK(pool.submit([] { return prong::this_task::attempt(); }).get() == 1);
}

TEST_CASE("a task that kills its workers again and again is poisoned, and affects no other") {
    ProcessPoolExecutor pool(2);
    auto poison = pool.with(TaskOptions{.max_retries = 4}).submit(die);
    std::vector<Future<int>> others;
    for (int i = 0; i < 500; ++i) others.push_back(pool.submit(square, i));
    for (int i = 0; i < 500; ++i) CHECK(others[static_cast<std::size_t>(i)].get() == i * i);
    const auto error = error_of<PoisonedTask>(poison);
    CHECK(error.attempts() == 5);
    REQUIRE(error.deaths().size() == 5);
    for (const prong::Death& death : error.deaths()) {
        CHECK(death.exitcode == -SIGKILL);
        CHECK(death.pid > 0);
    }
    CHECK(error.deaths()[0].pid != error.deaths()[4].pid);
    CHECK_THAT(error.what(), Catch::Contains("die()") && Catch::Contains("5 attempts"));
    auto long_poison = pool.with(TaskOptions{.max_retries = 30}).submit(die);
    const auto long_error = error_of<PoisonedTask>(long_poison);
    CHECK(long_error.attempts() == 31);
    CHECK(long_error.deaths().size() == 16);
}

TEST_CASE("what throws, runs too long, is killed or exceeds a limit is not tried again") {
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(1);
    const auto misbehave = [&](int how) {
        return with_captures([place = runs.get(), how] {
            ++*place;
            if (how == 0) throw std::runtime_error("no");
            for (std::atomic<int> i = 0;; ++i) {
            }
        });
    };
    auto thrown = pool.with(TaskOptions{.max_retries = 3}).submit(misbehave(0));
    CHECK_THROWS_AS(thrown.get(), std::runtime_error);
    auto slow = pool.with(TaskOptions{.timeout = 30ms, .max_retries = 3}).submit(misbehave(1));
    CHECK_THROWS_AS(slow.get(), prong::TaskTimeout);
    auto busy =
        pool.with(TaskOptions{.max_retries = 3, .limits = {.cpu_time = 30ms}}).submit(misbehave(1));
    CHECK_THROWS_AS(busy.get(), prong::LimitExceeded);
    auto unwanted = pool.with(TaskOptions{.max_retries = 3}).submit(misbehave(1));
    REQUIRE(eventually([&] { return unwanted.running(); }));
    CHECK(unwanted.kill());
    CHECK_THROWS_AS(unwanted.get(), CancelledError);
    CHECK(*runs <= 4);
}

TEST_CASE("a retry is in time for shutdown, and not after kill_workers") {
    SECTION("shutdown") {
        Future<int> future;
        {
            ProcessPoolExecutor pool(1);
            future = pool.with(TaskOptions{.max_retries = 5}).submit(succeed_at, 5);
        }
        CHECK(future.get() == 5);
    }
    SECTION("kill_workers at the second attempt, which is no poison") {
        const Shared<Gate> gate;
        ProcessPoolExecutor pool(1);
        const auto die_and_wait = with_captures([place = gate.get()] {
            if (prong::this_task::attempt() == 1) raise(SIGSEGV);
            place->pass();
        });
        auto future = pool.with(TaskOptions{.max_retries = 5}).submit(die_and_wait);
        REQUIRE(gate->await_arrivals(1));
        pool.kill_workers();
        CHECK_THROWS_AS(future.get(), WorkerDied);
    }
    SECTION("kill_workers") {
        const Shared<Gate> gate;
        ProcessPoolExecutor pool(1);
        auto future = pool.with(TaskOptions{.max_retries = 5}).submit(pass(gate));
        REQUIRE(gate->await_arrivals(1));
        pool.kill_workers();
        CHECK_THROWS_AS(future.get(), prong::Error);
    }
}

TEST_CASE("many tasks are tried again while workers die at random") {
    ProcessPoolExecutor pool(4);
    auto patient = pool.with(TaskOptions{.max_retries = 1000});
    const auto unlucky = [](int n) {
        static unsigned state = static_cast<unsigned>(getpid()) * 2654435761U;
        state = state * 1664525 + 1013904223;
        if (state >> 28 == 0) raise(SIGKILL);
        return n;
    };
    std::vector<Future<int>> futures;
    for (int i = 0; i < 2000; ++i) futures.push_back(patient.submit(unlucky, i));
    for (int i = 0; i < 2000; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i);
    CHECK(pool.stats().retried > 0);
}

TEST_CASE("each element of a map is tried again by itself") {
    ProcessPoolExecutor pool(2);
    auto results =
        pool.with(TaskOptions{.max_retries = 2})
            .map([](int n) { return succeed_at(n % 3 + 1) * 100 + n; }, std::views::iota(0, 20));
    int n = 0;
    for (const int result : results) {
        CHECK(result == (n % 3 + 1) * 100 + n);
        ++n;
    }
    CHECK(n == 20);
}

TEST_CASE("attempts at a task are not those at the task before it in its record") {
    ProcessPoolExecutor pool(1);
    for (const auto priority : {prong::Priority::high, prong::Priority::low}) {
        CHECK(pool.with(TaskOptions{.max_retries = 1}).submit(succeed_at, 2).get() == 2);
        const TaskOptions other{.max_retries = 1, .priority = priority};
        CHECK(pool.with(other).submit(succeed_at, 2).get() == 2);
    }
}
