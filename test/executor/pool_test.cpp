// Pool: the calls of Python's multiprocessing.Pool, their results and how the pool ends.

#include "executor/helpers.hpp"
#include "support/catch.hpp"

#include <prong/prong.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::AsyncResult;
using prong::Pool;
using prong::PoolOptions;
using prong::with_captures;

namespace {

using Numbers = std::vector<int>;

std::string repeat(const std::string& text, int times) {
    std::string result;
    for (int i = 0; i < times; ++i) result += text;
    return result;
}

void ignore(int) {}

int fail(int n) {
    throw std::domain_error(std::to_string(n));
}

int fail_on_odd(int n) {
    return n % 2 != 0 ? fail(n) : n;
}

int kill_own_worker() {
    return std::raise(SIGKILL);
}

std::unique_ptr<int> allocate(int n) {
    return std::make_unique<int>(n);
}

Numbers squares(int count) {
    Numbers result;
    for (int i = 0; i < count; ++i) result.push_back(i * i);
    return result;
}

/// A range that can be read only once, and of unknown length.
auto read_once(std::istringstream& text) {
    return std::views::istream<int>(text);
}

template <typename Range>
Numbers collect(Range results) {
    Numbers all;
    for (const int n : results) all.push_back(n);
    return all;
}

/// An input that throws when its fourth element is read.
int throw_on_third(int n) {
    return n == 3 ? throw std::length_error("input") : n;
}

template <typename E, typename Call>
std::string message_of(Call call) {
    try {
        static_cast<void>(call());
    } catch (const E& error) {
        return error.what();
    }
    return "nothing was thrown";
}

} // namespace

// ---- calls --------------------------------------------------------------------------------------

TEST_CASE("apply waits for the result, which may be nothing or an exception") {
    Pool pool(2);
    CHECK(pool.apply(square, 5) == 25);
    CHECK(pool.apply(repeat, "ab", 3) == "ababab");
    CHECK(*pool.apply(allocate, 3) == 3);
    pool.apply(ignore, 1);
    CHECK_THROWS_WITH(pool.apply(fail, 7), "7");
}

TEST_CASE("apply_async returns before the task has ended") {
    const Shared<Gate> gate;
    Pool pool(1);
    const AsyncResult<int> held = pool.apply_async(pass(gate));
    const AsyncResult<int> next = pool.apply_async(square, 5);
    REQUIRE(gate->await_arrivals(1));
    CHECK_FALSE(held.ready());
    CHECK_FALSE(next.wait_for(1ms));
    CHECK_THROWS_AS(next.get_for(1ms), prong::TimeoutError);
    CHECK_THROWS_AS(held.successful(), std::logic_error);
    gate->open();
    held.wait();
    CHECK(held.ready());
    CHECK(held.successful());
    CHECK(next.get_for(1min) == 25);
}

TEST_CASE("a result may be taken any number of times, from copies and by several threads") {
    const Shared<Gate> gate;
    Pool pool(1);
    auto result = pool.apply_async(with_captures([gate = gate.get()] {
        gate->pass();
        return std::make_unique<int>(7);
    }));
    std::atomic<int> sum = 0;
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; ++i) threads.emplace_back([&, result] { sum += *result.get(); });
        gate->open();
    }
    CHECK(sum == 28);
    const auto moved = std::move(result);
    CHECK(*moved.get() == 7);
    CHECK(*result.get() == 7); // NOLINT(bugprone-use-after-move): there is no move
}

TEST_CASE("an exception keeps its type, and is thrown each time") {
    Pool pool(1);
    const auto result = pool.apply_async(fail, 7);
    for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(result.get(), std::domain_error);
    CHECK_FALSE(result.successful());
}

TEST_CASE("results stay good after the pool is gone") {
    std::optional<Pool> pool(std::in_place, 1);
    const auto result = pool->apply_async(repeat, "x", 100000);
    const auto all = pool->map_async(square, std::views::iota(0, 5));
    result.wait();
    all.wait();
    pool.reset();
    CHECK(result.get() == std::string(100000, 'x'));
    CHECK(all.get() == squares(5));
}

TEST_CASE("map gives the results in order, whatever the length and the chunk size") {
    Pool pool(2);
    for (const int count : {0, 1, 7, 8, 9, 1000}) {
        CHECK(pool.map(square, std::views::iota(0, count)) == squares(count));
        for (const std::size_t chunksize : {1U, 3U, 2000U})
            CHECK(pool.map(square, std::views::iota(0, count), chunksize) == squares(count));
    }
    CHECK_THROWS_AS(pool.map(square, Numbers{1}, 0), std::invalid_argument);
}

TEST_CASE("map takes ranges and results of many kinds") {
    const Shared<Counter> calls;
    Pool pool(2);
    Numbers numbers{0, 1, 2, 3};
    const Numbers constant = numbers;
    CHECK(pool.map(square, numbers) == squares(4));
    CHECK(pool.map(square, constant) == squares(4));
    CHECK(pool.map(square, constant | std::views::filter([](int n) { return n < 3; })) ==
          squares(3));
    std::istringstream text("0 1 2 3");
    CHECK(pool.map(square, read_once(text)) == squares(4));
    CHECK(pool.map([](int n) { return n > 1; }, numbers) ==
          std::vector<bool>{false, false, true, true});
    CHECK(*pool.map(allocate, numbers).back() == 3);
    struct Constant {
        const int number;
    };
    CHECK(pool.map([](int n) { return Constant{n}; }, numbers).back().number == 3);
    CHECK(pool.map([](const std::string& word) { return word.size(); },
                   std::vector<std::string>{"a", "bb"}) == std::vector<std::size_t>{1, 2});
    pool.map(with_captures([calls = calls.get()](int) { calls->fetch_add(1); }), numbers);
    CHECK(*calls == 4);
}

TEST_CASE("the default chunk size gives each worker four tasks, as in Python") {
    Pool pool(PoolOptions{.max_workers = 2, .max_tasks_per_worker = 1});
    const Numbers pids = pool.map([](int) { return pid_of_worker(); }, Numbers(17));
    std::vector<std::pair<int, int>> runs;
    for (const int pid : pids) {
        if (runs.empty() || runs.back().first != pid) runs.emplace_back(pid, 0);
        ++runs.back().second;
    }
    CHECK(runs.size() == 6); // of 3, 3, 3, 3, 3 and 2 elements
}

TEST_CASE("an error in map lets the others run, and the first in the input's order is thrown") {
    const Shared<Counter> calls;
    Pool pool(2);
    const auto task = with_captures([calls = calls.get()](int n) {
        calls->fetch_add(1);
        return fail_on_odd(n);
    });
    for (const std::size_t chunksize : {1U, 3U, 100U}) {
        calls->store(0);
        CHECK_THROWS_WITH(pool.map(task, std::views::iota(0, 100), chunksize), "1");
        CHECK(*calls == 100);
    }
}

TEST_CASE("map_async is ready when all have ended, also after an error") {
    const Shared<Gate> gate;
    Pool pool(2);
    const auto result = pool.map_async(with_captures([gate = gate.get()](int n) {
                                           if (n == 0) return fail(n);
                                           gate->pass();
                                           return n;
                                       }),
                                       Numbers{0, 1}, 1);
    REQUIRE(gate->await_arrivals(1));
    CHECK_FALSE(result.wait_for(1ms));
    gate->open();
    CHECK_THROWS_WITH(result.get(), "0");
    CHECK_FALSE(result.successful());
}

TEST_CASE("an input of map that throws cancels what it had queued") {
    const Shared<Gate> gate;
    const Shared<Counter> calls;
    Pool pool(1);
    const auto held = pool.apply_async(pass(gate));
    const Numbers numbers{0, 1, 2, 3};
    CHECK_THROWS_AS(
        pool.map_async(with_captures([calls = calls.get()](int) { return calls->fetch_add(1); }),
                       numbers | std::views::transform(throw_on_third), 1),
        std::length_error);
    gate->open();
    pool.apply(square, 1); // behind what was queued
    CHECK(*calls == 0);
}

TEST_CASE("starmap calls with the elements of tuples, pairs and arrays") {
    Pool pool(2);
    const std::vector<std::string> expected{"aa", "bbb"};
    CHECK(pool.starmap(repeat, std::vector<std::pair<std::string, int>>{{"a", 2}, {"b", 3}}) ==
          expected);
    CHECK(pool.starmap(repeat, std::vector<std::tuple<const char*, long>>{{"a", 2}, {"b", 3}}, 1) ==
          expected);
    const std::vector<std::array<int, 2>> arrays{{1, 2}, {3, 4}};
    CHECK(pool.starmap([](int a, int b) { return 10 * a + b; }, arrays) == Numbers{12, 34});
    const auto made = std::views::iota(1, 3) | std::views::transform([](int n) {
                          return std::tuple(std::string(1, static_cast<char>('`' + n)), n + 1);
                      });
    CHECK(pool.starmap(repeat, made) == expected);
    std::istringstream text("1 2 3");
    CHECK(pool.starmap(square, read_once(text) | std::views::transform([](int n) {
                                   return std::tuple(n);
                               })) == Numbers{1, 4, 9});
    const auto result =
        pool.starmap_async(fail_on_odd, std::vector<std::tuple<int>>{{2}, {3}, {5}}, 1);
    CHECK_THROWS_WITH(result.get(), "3");
}

TEST_CASE("imap gives results in order, while the others are computed") {
    const Shared<Gate> gate;
    Pool pool(2);
    auto results = pool.imap(with_captures([gate = gate.get()](int n) {
                                 if (n == 1) gate->pass();
                                 return n * n;
                             }),
                             std::views::iota(0, 5));
    auto it = results.begin();
    CHECK(*it == 0);
    gate->open();
    ++it;
    CHECK(collect(std::ranges::subrange(it, results.end())) == Numbers{1, 4, 9, 16});
    CHECK(collect(pool.imap(square, std::views::iota(0, 1000), 100)) == squares(1000));
    CHECK_THROWS_AS(pool.imap(square, Numbers{1}, 0), std::invalid_argument);
}

TEST_CASE("imap_unordered gives results as they come") {
    const Shared<Gate> gate;
    Pool pool(2);
    const auto task = with_captures([gate = gate.get()](int n) {
        if (n == 0) gate->pass();
        return n;
    });
    auto results = pool.imap_unordered(task, std::views::iota(0, 3));
    auto it = results.begin();
    const int first = *it;
    ++it;
    const int second = *it;
    CHECK(first + second == 3);
    gate->open();
    ++it;
    CHECK(*it == 0);
    Numbers all = collect(pool.imap_unordered(square, std::views::iota(0, 1000), 10));
    std::ranges::sort(all);
    CHECK(all == squares(1000));
}

TEST_CASE("imap throws what the input throws after the results before it") {
    Pool pool(2);
    const Numbers numbers{0, 1, 2, 3, 4};
    for (const std::size_t chunksize : {1U, 2U}) {
        auto results =
            pool.imap(square, numbers | std::views::transform(throw_on_third), chunksize);
        auto it = results.begin();
        for (const int expected : {0, 1, 4}) {
            CHECK(*it == expected);
            ++it;
        }
        CHECK_THROWS_AS(*it, std::length_error);
    }
}

// ---- the pool -----------------------------------------------------------------------------------

TEST_CASE("a pool has at least one worker") {
    CHECK_THROWS_AS(Pool(0), std::invalid_argument);
    CHECK_THROWS_AS(Pool(-1), std::invalid_argument);
    Pool pool;
    CHECK(pool.apply(square, 2) == 4);
}

TEST_CASE("a pool has an initializer, and replaces workers after a number of tasks") {
    static int offset = 0;
    Pool pool(PoolOptions{
        .max_workers = 1, .max_tasks_per_worker = 1, .initializer = [] { offset = 100; }});
    const auto task = [](int n) { return std::pair(offset + n, pid_of_worker()); };
    const auto first = pool.apply(task, 1);
    const auto second = pool.apply(task, 2);
    CHECK(first.first == 101);
    CHECK(second.first == 102);
    CHECK(first.second != second.second);
}

TEST_CASE("a worker's death fails its task, and the pool goes on") {
    Pool pool(2);
    CHECK_THROWS_AS(pool.apply(kill_own_worker), prong::WorkerDied);
    const auto kill_for_two = [](int n) { return n == 2 ? kill_own_worker() : n; };
    CHECK_THROWS_AS(pool.map(kill_for_two, std::views::iota(0, 5), 1), prong::WorkerDied);
    CHECK(pool.map(square, std::views::iota(0, 100)) == squares(100));
}

TEST_CASE("a closed pool runs what it has, and refuses more") {
    const Shared<Gate> gate;
    Pool pool(1);
    const auto held = pool.apply_async(pass(gate));
    const auto pending = pool.map_async(square, std::views::iota(0, 1000), 1);
    auto lazy = pool.imap(square, std::views::iota(0, 1000));
    CHECK(message_of<std::logic_error>([&] {
              pool.join();
              return 0;
          }).find("join() was called before close()") == 0);
    pool.close();
    const auto refused = [&](auto call) {
        return message_of<std::logic_error>(call).find("this Pool is closed") == 0;
    };
    CHECK(refused([&] { return pool.apply(square, 1); }));
    CHECK(refused([&] { return pool.apply_async(square, 1); }));
    CHECK(refused([&] { return pool.apply_async({.done = [] {}}, square, 1); }));
    CHECK(refused([&] { return pool.map(square, Numbers{}); }));
    CHECK(refused([&] { return pool.map_async(square, Numbers{1}); }));
    CHECK(refused([&] { return pool.starmap(square, std::vector<std::tuple<int>>{}); }));
    CHECK(refused([&] { return pool.imap(square, Numbers{}); }));
    CHECK(refused([&] { return pool.imap_unordered(square, Numbers{}); }));
    gate->open();
    CHECK(collect(std::move(lazy)) == squares(1000));
    pool.join();
    CHECK(held.ready());
    CHECK(pending.get() == squares(1000));
    pool.close();
    pool.join();
    pool.terminate();
    CHECK(refused([&] { return pool.apply(square, 1); }));
}

TEST_CASE("terminate ends every wait, and no task runs any more") {
    const Shared<Gate> gate;
    const Shared<Counter> calls;
    Pool pool(1);
    const auto running = pool.apply_async(pass(gate));
    const auto queued = pool.apply_async(count_up(calls));
    const auto mapped = pool.map_async(
        with_captures([calls = calls.get()](int) { return calls->fetch_add(1); }), Numbers(100));
    auto lazy = pool.imap(square, std::views::iota(0, 1000));
    REQUIRE(gate->await_arrivals(1));
    bool has_died = false;
    {
        const std::jthread waiting([&] {
            has_died = message_of<prong::WorkerDied>([&] {
                           return running.get();
                       }).find("died of SIGTERM") != std::string::npos;
        });
        pool.terminate();
    }
    CHECK(has_died);
    CHECK_THROWS_AS(queued.get(), prong::CancelledError);
    CHECK_THROWS_AS(mapped.get(), prong::CancelledError);
    CHECK(mapped.ready());
    CHECK_FALSE(mapped.successful());
    CHECK_THROWS_AS(lazy.get(), prong::Error);
    CHECK_THROWS_AS(pool.apply(square, 1), std::logic_error);
    pool.terminate();
    pool.join();
    CHECK(*calls == 0);
}

TEST_CASE("the destructor terminates") {
    const Shared<Gate> gate;
    const Shared<Counter> calls;
    std::optional<Pool> pool(std::in_place, 1);
    const auto running = pool->apply_async(pass(gate));
    const auto queued = pool->apply_async(count_up(calls));
    REQUIRE(gate->await_arrivals(1));
    pool.reset();
    CHECK_THROWS_AS(running.get(), prong::WorkerDied);
    CHECK_THROWS_AS(queued.get(), prong::CancelledError);
    CHECK(*calls == 0);
}

TEST_CASE("a call that waits for room is refused when the pool is terminated") {
    const Shared<Gate> gate;
    Pool pool(PoolOptions{.max_workers = 1, .max_pending = 1});
    const auto running = pool.apply_async(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    const auto queued = pool.apply_async(square, 1);
    bool refused = false;
    {
        const std::jthread waiting([&] {
            refused = message_of<std::logic_error>([&] {
                          return pool.apply(square, 2);
                      }).find("this Pool is closed") == 0;
        });
        pool.terminate();
    }
    CHECK(refused);
}

TEST_CASE("when the supervisor is killed no wait hangs, and the error callback runs") {
    const Shared<Gate> gate;
    Pool pool(1);
    std::atomic<int> errors = 0;
    const auto running =
        pool.apply_async({.error = [&](std::exception_ptr) { ++errors; }}, pass(gate));
    REQUIRE(gate->await_arrivals(1));
    kill(supervisor_of(getpid()), SIGKILL);
    CHECK_THROWS_AS(running.get(), prong::BrokenProcessPool);
    CHECK(errors == 1);
}

TEST_CASE("a task cannot use its own pool") {
    static std::optional<Pool> pool;
    pool.emplace(1);
    CHECK_THROWS_AS(pool->apply([] { return pool->apply(square, 1); }), std::logic_error);
    CHECK_THROWS_AS(pool->apply([] { return pool->apply_async(square, 1).get(); }),
                    std::logic_error);
    CHECK_THROWS_AS(pool->apply([] { pool->close(); }), std::logic_error);
    CHECK_THROWS_AS(pool->apply([] { pool->terminate(); }), std::logic_error);
    CHECK_THROWS_AS(pool->apply([] { pool->join(); }), std::logic_error);
    CHECK(pool->apply(square, 2) == 4);
    pool.reset();
}
