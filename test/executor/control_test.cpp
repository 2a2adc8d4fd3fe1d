// Ending tasks before their time: timeouts, deadlines, kill.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <prong/this_task.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stop_token>
#include <string>
#include <thread>

using namespace prong::test;
using prong::TaskTimeout;

namespace {

/// Keeps the processor busy.
void spin(int times) {
    std::atomic<int> done = 0;
    while (done.fetch_add(1, std::memory_order_relaxed) < times) {
    }
}

int spin_for_ever() {
    for (;;) spin(1000);
}

/// Returns when it is asked to.
auto until_asked(const Shared<Counter>& asked) {
    return with_captures([place = asked.get()] {
        while (!prong::this_task::stop_requested()) std::this_thread::sleep_for(1ms);
        ++*place;
        return 7;
    });
}

} // namespace

TEST_CASE("a task that runs past its timeout is ended, and its worker replaced") {
    ProcessPoolExecutor pool(1);
    const int before = pool.submit(pid_of_worker).get();
    auto sleeping = pool.with(TaskOptions{.timeout = 50ms}).submit(sleep_for_ever);
    CHECK_THROWS_AS(sleeping.get(), TaskTimeout);
    auto spinning = pool.with(TaskOptions{.timeout = 50ms, .grace = 0ms}).submit(spin_for_ever);
    const auto error = error_of<TaskTimeout>(spinning);
    CHECK_THAT(error.what(), Catch::Contains("spin_for_ever()") && Catch::Contains("50 ms"));
    CHECK(pool.submit(pid_of_worker).get() != before);
}

TEST_CASE("a task that ends in time is not touched, nor the ones after it") {
    ProcessPoolExecutor pool(2);
    const int before = pool.submit(pid_of_worker).get();
    auto timed = pool.with(TaskOptions{.timeout = 10s});
    for (int i = 0; i < 200; ++i) REQUIRE(timed.submit(square, i).get() == i * i);
    std::vector<Future<int>> pids;
    for (int i = 0; i < 50; ++i) pids.push_back(timed.submit(pid_of_worker));
    const auto all = results_of(pids);
    CHECK(std::ranges::count(all, before) +
              std::ranges::count_if(all, [before](int pid) { return pid != before; }) ==
          50);
    CHECK(pool.stats().killed == 0);
    CHECK(pool.stats().failed == 0);
}

TEST_CASE("a task is asked to stop before it is killed, and then keeps its worker") {
    const Shared<Counter> asked;
    ProcessPoolExecutor pool(1);
    const int before = pool.submit(pid_of_worker).get();
    auto future = pool.with(TaskOptions{.timeout = 20ms, .grace = 60s}).submit(until_asked(asked));
    CHECK_THROWS_AS(future.get(), TaskTimeout);
    CHECK(*asked == 1);
    CHECK(pool.submit(pid_of_worker).get() == before);
    CHECK(pool.submit([] { return prong::this_task::stop_requested(); }).get() == false);
}

TEST_CASE("a stop token calls back when the timeout expires") {
    ProcessPoolExecutor pool(1);
    const auto wait_for_callback = [] {
        std::atomic<bool> called = false;
        const std::stop_callback callback(prong::this_task::stop_token(), [&] { called = true; });
        while (!called) std::this_thread::sleep_for(1ms);
    };
    auto timed = pool.with(TaskOptions{.timeout = 20ms, .grace = 60s});
    const int before = pool.submit(pid_of_worker).get();
    for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(timed.submit(wait_for_callback).get(), TaskTimeout);
    CHECK(pool.submit(pid_of_worker).get() == before);
    auto unused = pool.with(TaskOptions{.timeout = 60s}).submit([] {
        return prong::this_task::stop_token().stop_possible();
    });
    CHECK(unused.get());
    CHECK_FALSE(prong::this_task::stop_token().stop_possible()); // no task
}

TEST_CASE("a deadline counts from submit, and a task that comes too late never runs") {
    const Shared<Gate> gate;
    const Shared<Counter> ran;
    ProcessPoolExecutor pool(1);
    auto running = occupy(pool, gate);
    auto hurried = pool.with(TaskOptions{.deadline = 20ms});
    auto first = hurried.submit(count_up(ran));
    auto second = hurried.submit(count_up(ran));
    SECTION("seen by a wait") {
        CHECK_THROWS_AS(first.get(), TaskTimeout);
    }
    SECTION("seen by done") {
        CHECK(eventually([&] { return first.done(); }));
    }
    SECTION("seen by a wait for several") {
        std::vector<Future<int>> futures;
        futures.push_back(std::move(first));
        CHECK(prong::wait(futures, prong::ReturnWhen::first_completed).done.size() == 1);
    }
    SECTION("seen by the worker") {
        std::this_thread::sleep_for(25ms);
    }
    gate->open();
    running[0].get();
    CHECK_THROWS_AS(second.get(), TaskTimeout);
    CHECK(*ran == 0);
    auto stuck = pool.with(TaskOptions{.deadline = 20ms}).submit(sleep_for_ever);
    CHECK_THROWS_AS(stuck.get(), TaskTimeout);
    CHECK_THROWS_AS(pool.with(TaskOptions{.deadline = 0s}).submit(square, 1).get(), TaskTimeout);
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("a submit does not wait for room beyond its task's deadline") {
    const Shared<Gate> gate;
    const Shared<Counter> ran;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 1});
    auto running = occupy(pool, gate);
    auto queued = pool.submit(count_up(ran));
    const auto hurried = pool.with(TaskOptions{.deadline = 2ms});
    CHECK_FALSE(hurried.try_submit(count_up(ran)));
    auto late = hurried.submit(count_up(ran));
    CHECK(late.done());
    CHECK_FALSE(late.cancel());
    const auto stats = pool.stats();
    CHECK(stats.submitted == 3);
    CHECK(stats.failed == 1);
    CHECK(stats.queued == 1);
    CHECK_THROWS_WITH(late.get(), Catch::Contains("deadline"));
    gate->open();
    CHECK(queued.get() == 0);
    CHECK(*ran == 1);
}

TEST_CASE("of timeout and deadline the error names the one that was over") {
    ProcessPoolExecutor pool(1);
    const bool stops = GENERATE(true, false);
    const auto hang = [](bool until_asked) {
        while (!until_asked || !prong::this_task::stop_requested()) {
        }
    };
    const auto text_of = [&](TaskOptions options) {
        for (;; options.deadline = 4 * *options.deadline.value()) {
            auto future = pool.with(options).submit(hang, stops);
            const std::string text = error_of<TaskTimeout>(future).what();
            // A busy machine may not start the task before its deadline.
            if (text.find("was not started") == std::string::npos) return text;
        }
    };
    const auto grace = stops ? std::chrono::nanoseconds(60s) : 1ms;
    CHECK_THAT(text_of({.timeout = 60s, .deadline = 10ms, .grace = grace}),
               Catch::Contains("(deadline)"));
    CHECK_THAT(text_of({.timeout = 10ms, .deadline = 60s, .grace = grace}),
               Catch::Contains("(timeout 10 ms)"));
    CHECK_THAT(text_of({.deadline = 10ms, .grace = grace}), Catch::Contains("(deadline)"));
}

TEST_CASE("a timeout fires though its worker is stopped") {
    const Shared<std::atomic<int>> pid(0);
    ProcessPoolExecutor pool(1);
    auto future =
        pool.with(TaskOptions{.timeout = 300ms}).submit(with_captures([place = pid.get()] {
            *place = getpid();
            for (;;) pause();
        }));
    REQUIRE(eventually([&] { return *pid != 0; }));
    REQUIRE(kill(*pid, SIGSTOP) == 0);
    CHECK_THROWS_AS(future.get(), TaskTimeout);
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("a timeout fires though its worker has become another user") {
    if (geteuid() != 0) return;
    ProcessPoolExecutor pool(PoolOptions{
        .max_workers = 1, .initializer = [] { static_cast<void>(setuid(65534) == 0); }});
    auto future = pool.with(TaskOptions{.timeout = 20ms}).submit(sleep_for_ever);
    CHECK_THROWS_AS(future.get(), TaskTimeout);
}

TEST_CASE("many timeouts at once, among tasks that end in time") {
    ProcessPoolExecutor pool(4);
    std::vector<Future<void>> slow;
    std::vector<Future<int>> fast;
    for (int i = 0; i < 40; ++i) {
        slow.push_back(pool.with(TaskOptions{.timeout = 5ms, .grace = 5ms}).submit(sleep_for_ever));
        for (int k = 0; k < 10; ++k) {
            fast.push_back(pool.with(TaskOptions{.timeout = 60s}).submit(square, k));
            fast.push_back(pool.submit(square, k));
        }
    }
    for (auto& future : slow) CHECK_THROWS_AS(future.get(), TaskTimeout);
    for (std::size_t i = 0; i < fast.size(); ++i) {
        const int k = static_cast<int>(i / 2 % 10);
        CHECK(fast[i].get() == k * k);
    }
    CHECK(pool.stats().killed == 40);
}

TEST_CASE("a task that ends as its timeout expires has one end, and affects no other task") {
    ProcessPoolExecutor pool(2);
    int returned = 0;
    int timed_out = 0;
    std::vector<Future<int>> futures;
    std::vector<Future<int>> others;
    for (int i = 0; i < 300; ++i) {
        futures.push_back(pool.with(TaskOptions{.timeout = 1ms, .grace = 0ms})
                              .submit(
                                  [](int n) {
                                      const auto end = std::chrono::steady_clock::now() + 950us +
                                                       std::chrono::microseconds(n);
                                      while (std::chrono::steady_clock::now() < end) {
                                      }
                                      return n;
                                  },
                                  i % 100));
        others.push_back(pool.submit(square, i));
    }
    for (int i = 0; i < 300; ++i) {
        try {
            const int result = futures[static_cast<std::size_t>(i)].get();
            CHECK(result == i % 100);
            ++returned;
        } catch (const TaskTimeout&) {
            ++timed_out;
        }
        CHECK(others[static_cast<std::size_t>(i)].get() == i * i);
    }
    CHECK(returned + timed_out == 300);
}

TEST_CASE("kill ends a running task, cancels a queued one, and is too late for what has ended") {
    const Shared<Gate> gate;
    const Shared<Counter> ran;
    ProcessPoolExecutor pool(1);
    auto running = pool.submit(pass(gate));
    auto queued = pool.submit(count_up(ran));
    REQUIRE(gate->await_arrivals(1));
    CHECK_FALSE(running.cancel());
    CHECK(queued.kill());
    CHECK(running.kill());
    CHECK(running.kill());
    auto other = pool.submit(square, 3);
    CHECK_THROWS_AS(running.get(), CancelledError);
    CHECK_THROWS_AS(queued.get(), CancelledError);
    other.wait();
    CHECK_FALSE(other.kill());
    CHECK(other.get() == 9);
    CHECK(*ran == 0);
}

TEST_CASE("kill, cancel and the end of a task race; each returns the truth") {
    ProcessPoolExecutor pool(2);
    int returned = 0;
    int killed = 0;
    const auto briefly = [](int n) {
        spin(n);
        return n;
    };
    const int rounds = full_run() ? 20'000 : 400;
    for (int i = 0; i < rounds; ++i) {
        auto future = pool.submit(briefly, 1000);
        auto other = pool.submit(square, i % 1000);
        spin(i * 40 % 5000);
        const bool cancelled = i % 3 == 0 && future.cancel();
        const bool was_killed = future.kill();
        CHECK((!cancelled || was_killed));
        future.wait();
        CHECK(future.cancelled() == was_killed);
        if (was_killed) {
            CHECK_THROWS_AS(future.get(), CancelledError);
            ++killed;
        } else {
            CHECK(future.get() == 1000);
            ++returned;
        }
        CHECK(other.get() == i % 1000 * (i % 1000));
    }
    CHECK(returned + killed == rounds);
}

TEST_CASE("a task is killed, cancelled or asked to stop while another thread waits for it") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    for (int round = 0; round < 6; ++round) {
        const int arrivals = gate->arrivals();
        auto running = pool.submit(pass(gate));
        auto queued = pool.submit(square, 3);
        REQUIRE(gate->await_arrivals(arrivals + 1));
        std::atomic<int> cancelled = 0;
        const auto take = [&cancelled](Future<int>& future) {
            try {
                static_cast<void>(future.get());
            } catch (const CancelledError&) {
                ++cancelled;
            }
        };
        std::thread first([&] { take(running); });
        std::thread second([&] { take(queued); });
        CHECK((round % 3 == 0   ? queued.cancel()
               : round % 3 == 1 ? queued.request_stop()
                                : queued.kill()));
        CHECK(running.kill());
        first.join();
        second.join();
        CHECK(cancelled == 2);
        CHECK_FALSE(running.kill());
    }
}

TEST_CASE("what a task has started dies with it") {
    const Shared<std::atomic<int>> child(0);
    ProcessPoolExecutor pool(1);
    auto future =
        pool.with(TaskOptions{.timeout = 200ms}).submit(with_captures([place = child.get()] {
            const pid_t pid = fork();
            if (pid == 0) {
                for (;;) pause();
            }
            *place = pid;
            for (;;) pause();
        }));
    CHECK_THROWS_AS(future.get(), TaskTimeout);
    REQUIRE(*child != 0);
    CHECK(eventually([&] { return !is_running(*child); }));
}

TEST_CASE("map takes options for its elements") {
    ProcessPoolExecutor pool(2);
    const auto odd_ones_hang = [](int n) {
        if (n % 2 != 0) sleep_for_ever();
        return n;
    };
    auto results = pool.with(TaskOptions{.timeout = 50ms, .grace = 0ms})
                       .map(odd_ones_hang, std::vector{0, 1, 2, 3, 4});
    int expected = 0;
    for (auto it = results.begin(); it != results.end(); ++it, ++expected) {
        if (expected % 2 == 0) {
            CHECK(*it == expected);
        } else {
            CHECK_THROWS_AS(*it, TaskTimeout);
        }
    }
    CHECK(expected == 5);
}

TEST_CASE("the pool ends though tasks with options run") {
    const Shared<Gate> gate;
    SECTION("by kill") {
        Future<int> future;
        {
            ProcessPoolExecutor pool(1);
            future = pool.with(TaskOptions{.timeout = 60s}).submit(pass(gate));
            REQUIRE(gate->await_arrivals(1));
            pool.kill_workers();
        }
        CHECK_THROWS_AS(future.get(), WorkerDied);
    }
    SECTION("after the timeout") {
        ProcessPoolExecutor pool(1);
        pool.with(TaskOptions{.timeout = 50ms}).submit(sleep_for_ever);
    }
}

TEST_CASE("options out of range are refused") {
    ProcessPoolExecutor pool(1);
    CHECK_THROWS_AS(pool.with(TaskOptions{.max_retries = -1}).submit(square, 1),
                    std::invalid_argument);
    CHECK_THROWS_AS(pool.with(TaskOptions{.limits = {.memory_bytes = 0}}).submit(square, 1),
                    std::invalid_argument);
    CHECK(pool.submit(square, 2).get() == 4);
}

TEST_CASE("what a task forks is no worker, and has no limits") {
    ProcessPoolExecutor pool(1);
    const auto fork_and_ask = [] {
        const pid_t child = fork();
        if (child == 0) {
            const bool is_none = !prong::this_task::stop_requested() &&
                                 prong::this_task::attempt() == 1 &&
                                 !prong::this_task::stop_token().stop_possible() &&
                                 prong::this_worker::index() == -1;
            _exit(is_none ? 0 : 1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        return status;
    };
    CHECK(pool.submit(fork_and_ask).get() == 0);
    CHECK(pool.with(TaskOptions{.timeout = 60s}).submit(fork_and_ask).get() == 0);
}

TEST_CASE("a running task is asked to stop by its future, and its result is its own") {
    const Shared<Gate> started;
    const Shared<Counter> asked;
    ProcessPoolExecutor pool(1);
    const auto until_asked_after_gate = [&] {
        return with_captures([gate = started.get(), place = asked.get()] {
            gate->pass();
            while (!prong::this_task::stop_requested()) std::this_thread::yield();
            return ++*place;
        });
    };
    started->open();
    const auto options = GENERATE(TaskOptions{}, TaskOptions{.timeout = 60s, .max_retries = 1});
    auto running = pool.with(options).submit(until_asked_after_gate());
    auto queued = pool.submit(count_up(asked));
    auto last = pool.submit([] { return prong::this_task::stop_requested(); });
    REQUIRE(started->await_arrivals(1));
    CHECK(queued.request_stop());
    CHECK(queued.cancelled());
    CHECK(queued.request_stop());
    CHECK(running.request_stop());
    CHECK(running.get() == 1);
    CHECK_THROWS_AS(queued.get(), CancelledError);
    CHECK_FALSE(last.get());
    CHECK(pool.stats().cancelled == 1);
    auto ended = pool.submit(square, 3);
    ended.wait();
    CHECK_FALSE(ended.request_stop());
    CHECK(ended.get() == 9);
}

TEST_CASE("a task that was asked to stop is not tried again") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto future = pool.with(TaskOptions{.max_retries = 3}).submit(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    CHECK(future.request_stop());
    for (const pid_t worker : workers_of(supervisor_of(getpid()))) kill(worker, SIGKILL);
    CHECK(error_of<WorkerDied>(future).signal() == SIGKILL);
    CHECK(gate->arrivals() == 1);
}

TEST_CASE("a task that is asked to stop may still be killed, and then says so") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto future = pool.submit(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    CHECK(future.request_stop());
    CHECK(future.kill());
    CHECK(future.request_stop());
    CHECK_THROWS_AS(future.get(), CancelledError);
}

namespace {

/// How many tasks sleep. (A task does not take a pointer.)
std::atomic<int>* sleepers = nullptr;

int sleep_until_stopped(std::stop_token stop, int result) {
    ++*sleepers;
    std::atomic<bool> is_stopped = false;
    const std::stop_callback callback(std::move(stop), [&] {
        is_stopped = true;
        is_stopped.notify_all();
    });
    is_stopped.wait(false);
    return result;
}

struct Sleeper {
    int result;
    int sleep(std::stop_token stop, int more) const {
        return sleep_until_stopped(std::move(stop), result + more);
    }
};

struct SleepsWhenCalled {
    int operator()(const std::stop_token& stop, int result) const {
        return sleep_until_stopped(stop, result);
    }
};

} // namespace

TEST_CASE("a function that takes a stop token first gets its task's own") {
    const Shared<Counter> asleep;
    sleepers = asleep.get();
    ProcessPoolExecutor pool(1);
    auto check = [&, count = 0](Future<int> future) mutable {
        ++count;
        REQUIRE(eventually([&] { return *asleep == count; }));
        CHECK_FALSE(future.done());
        CHECK(future.request_stop());
        CHECK(future.get() == 5);
    };
    check(pool.submit(sleep_until_stopped, 5));
    check(pool.submit([](std::stop_token stop) { return sleep_until_stopped(stop, 5); }));
    check(pool.submit(with_captures([result = 5](std::stop_token stop) {
        return sleep_until_stopped(std::move(stop), result);
    })));
    check(pool.submit(SleepsWhenCalled(), 5));
    check(pool.submit(&Sleeper::sleep, Sleeper{2}, 3));
    check(pool.with(TaskOptions{.timeout = 60s}).submit(sleep_until_stopped, 5));
    auto timed =
        pool.with(TaskOptions{.timeout = 20ms, .grace = 60s}).submit(sleep_until_stopped, 5);
    CHECK_THROWS_AS(timed.get(), TaskTimeout);
    sleepers = nullptr;
}

TEST_CASE("map gives each element the token of its task") {
    ProcessPoolExecutor pool(2);
    const auto twice = [](std::stop_token stop, int n) {
        return stop.stop_possible() && !stop.stop_requested() ? 2 * n : -1;
    };
    int expected = 0;
    for (const int result : pool.map(twice, std::vector{0, 1, 2, 3, 4})) {
        CHECK(result == expected);
        expected += 2;
    }
    CHECK(expected == 10);
}

TEST_CASE(
    "request_stop and the end of a task race; it returns the truth, and stops no other task") {
    ProcessPoolExecutor pool(2);
    const auto briefly = [](int n) {
        spin(n);
        return n;
    };
    const auto is_asked = [] { return prong::this_task::stop_requested(); };
    const int rounds = full_run() ? 20'000 : 400;
    for (int i = 0; i < rounds; ++i) {
        auto future = pool.submit(briefly, 1000);
        auto other = pool.submit(is_asked);
        spin(i * 40 % 5000);
        const bool had_ended = future.done();
        const bool in_time = future.request_stop();
        CHECK_FALSE((had_ended && in_time));
        future.wait();
        if (future.cancelled()) {
            CHECK(in_time);
        } else {
            CHECK(future.get() == 1000);
        }
        CHECK_FALSE(other.get());
    }
}
