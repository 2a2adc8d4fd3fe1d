// map, and how it ends before its time.

#include "executor/helpers.hpp"
#include "support/catch.hpp"

#include <prong/prong.hpp>

#include <csignal>
#include <optional>
#include <ranges>
#include <thread>
#include <vector>

using namespace prong::test;
using prong::MapOptions;

namespace {

/// Stands before the gate, then gives its number.
auto pass_number(const Shared<Gate>& gate) {
    return with_captures([place = gate.get()](int n) {
        place->pass();
        return n;
    });
}

} // namespace

TEST_CASE("get of a map continues after its timeout, with what it had before") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    const auto pass_third = with_captures([place = gate.get()](int n) {
        if (n == 3) place->pass();
        return n;
    });
    auto results = pool.map(prong::MapOptions{.chunksize = 1, .timeout = std::chrono::seconds(1)},
                            pass_third, std::vector<int>{1, 2, 3, 4});
    CHECK_THROWS_AS(results.get(), prong::TimeoutError);
    gate->open();
    CHECK(results.get() == std::vector<int>{1, 2, 3, 4});
}

TEST_CASE("map throws TimeoutError for a result that is not there in time, and can continue") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    const bool ordered = GENERATE(true, false);
    const auto task = with_captures([place = gate.get()](int n) {
        if (n == 2) place->pass();
        return n;
    });
    auto results = pool.map(MapOptions{.chunksize = 1, .timeout = 50ms, .ordered = ordered}, task,
                            std::views::iota(0, 3));
    CHECK(gate->await_arrivals(1)); // the other results are there then
    auto it = results.begin();
    CHECK(*it == 0);
    CHECK(*++it == 1);
    ++it;
    const bool asks = GENERATE(true, false); // else passes over it unseen
    if (asks)
        CHECK_THROWS_AS(*it, prong::TimeoutError);
    else
        CHECK_THROWS_AS(++it, prong::TimeoutError);
    std::thread opener([&] {
        CHECK(gate->await_arrivals(1));
        gate->open();
    });
    CHECK(*it == 2); // waits
    opener.join();
    CHECK(++it == results.end());
}

TEST_CASE("the get of a map throws the first TimeoutError, and a later one waits") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    const bool ordered = GENERATE(true, false);
    auto results = pool.map(MapOptions{.timeout = 1ms, .ordered = ordered}, pass_number(gate),
                            std::views::iota(0, 3));
    CHECK_THROWS_AS(results.get(), prong::TimeoutError);
    gate->open();
    CHECK(results.get() == std::vector{0, 1, 2});
}

TEST_CASE(
    "a map whose timeout has expired does not wait for room, and loses nothing of its input") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 2});
    auto held = occupy(pool, gate);
    const bool ordered = GENERATE(true, false);
    const bool has_room = GENERATE(true, false);
    std::vector<Future<int>> queued;
    while (!has_room && queued.size() < 2) queued.push_back(pool.submit(square, 1));
    auto results = pool.map(MapOptions{.chunksize = 1, .timeout = 1ms, .ordered = ordered}, square,
                            std::views::iota(0, 20));
    auto it = results.begin();
    CHECK_THROWS_AS(*it, prong::TimeoutError);
    gate->open();
    auto all = results.get();
    if (!ordered) std::ranges::sort(all);
    REQUIRE(all.size() == 20);
    CHECK(all.back() == 19 * 19);
}

TEST_CASE("dropping a map that has found no room drops what it has read") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 1});
    auto held = occupy(pool, gate);
    auto queued = pool.submit(square, 3);
    { auto dropped = pool.map(MapOptions{.timeout = 0ms}, square, std::views::iota(0, 20)); }
    auto shut_down = pool.map(MapOptions{.timeout = 0ms}, square, std::views::iota(0, 20));
    pool.shutdown(false);
    gate->open();
    CHECK(queued.get() == 9);
    CHECK_THROWS_AS(shut_down.get(), prong::PoolShutdown);
}

TEST_CASE("a map without time gives what is there, and only then times out") {
    ProcessPoolExecutor pool(2);
    const auto results_or_timeout = [&](auto timeout) {
        return pool.map(MapOptions{.timeout = timeout}, square, std::views::iota(0, 10)).get();
    };
    CHECK_THROWS_AS(pool.map(
                            MapOptions{.timeout = 0ms},
                            [](int n) {
                                for (;;) pause();
                                return n;
                            },
                            std::views::iota(0, 1))
                        .get(),
                    prong::TimeoutError);
    CHECK(results_or_timeout(std::chrono::hours::max()).size() == 10);
    CHECK(results_or_timeout(std::nullopt).size() == 10);
    pool.kill_workers();
}

TEST_CASE("dropping a map cancels what has not started") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    const auto task = with_captures([place = runs.get()](int) { ++*place; });
    {
        auto dropped = pool.map(task, std::views::iota(0, 1000));
        auto assigned = pool.map(task, std::views::iota(0, 1000));
        assigned = std::move(dropped);
    }
    gate->open();
    CHECK(pool.submit(square, 2).get() == 4);
    CHECK(runs->load() == 0);
}

TEST_CASE("a map that has been moved continues") {
    ProcessPoolExecutor pool(2);
    auto first = pool.map(square, std::views::iota(0, 1000));
    CHECK(*first.begin() == 0);
    auto second = std::move(first);
    int n = 0;
    for (const int result : second) {
        REQUIRE(result == n * n);
        ++n;
    }
    CHECK(n == 1000);
}

TEST_CASE("what map has read before shutdown can still be taken, then it says PoolShutdown") {
    ProcessPoolExecutor pool(2);
    const bool wait = GENERATE(false, true);
    auto short_one = pool.map(square, std::views::iota(0, 3));
    auto long_one = pool.map(MapOptions{.lookahead = 10}, square, std::views::iota(0));
    pool.shutdown(wait);
    CHECK(short_one.get() == std::vector{0, 1, 4});
    auto it = long_one.begin();
    for (int i = 0; i < 10; ++i, ++it) REQUIRE(*it == i * i);
    CHECK_THROWS_AS(*it, prong::PoolShutdown);
}

TEST_CASE("a map outlives its executor") {
    std::optional<ProcessPoolExecutor> pool(std::in_place, 2);
    auto results = pool->map(square, std::views::iota(0, 100));
    auto endless = pool->map(square, std::views::iota(0));
    auto dropped = pool->map(square, std::views::iota(0));
    pool.reset();
    CHECK(results.get().size() == 100);
    CHECK_THROWS_AS(endless.get(), prong::PoolShutdown);
}

TEST_CASE("shutdown with cancel_futures cancels what map has queued") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    auto results = pool.map(square, std::views::iota(0, 10));
    pool.shutdown(false, true);
    gate->open();
    CHECK_THROWS_AS(results.get(), CancelledError);
}

TEST_CASE("a worker that dies takes the elements of its chunk with it, and no others") {
    ProcessPoolExecutor pool(2);
    const std::size_t chunksize = GENERATE(1U, 5U);
    const bool ordered = GENERATE(true, false);
    const auto task = [](int n) {
        if (n % 50 == 22) std::raise(SIGKILL);
        return n;
    };
    auto results = pool.map(MapOptions{.chunksize = chunksize, .ordered = ordered}, task,
                            std::views::iota(0, 500));
    std::vector<int> seen;
    int died = 0;
    for (auto it = results.begin(); it != results.end(); ++it) {
        try {
            seen.push_back(*it);
        } catch (const WorkerDied& error) {
            CHECK(error.signal() == SIGKILL);
            ++died;
        }
    }
    CHECK(died == static_cast<int>(10 * chunksize));
    std::vector<int> expected;
    for (int n = 0; n < 500; ++n) {
        const bool is_in_chunk = chunksize == 1 ? n % 50 == 22 : n % 50 >= 20 && n % 50 < 25;
        if (!is_in_chunk) expected.push_back(n);
    }
    if (!ordered) std::ranges::sort(seen);
    CHECK(seen == expected);
}

TEST_CASE("a task of a map that throws what cannot be encoded, or ends its thread, is one error") {
    ProcessPoolExecutor pool(1);
    const auto task = [](int n) {
        if (n == 3) throw 3;
        return n;
    };
    auto results = pool.map(MapOptions{.chunksize = 10}, task, std::views::iota(0, 6));
    int sum = 0;
    for (auto it = results.begin(); it != results.end(); ++it) {
        try {
            sum += *it;
        } catch (const prong::RemoteError& error) {
            CHECK(error.type_name() == "int");
            sum += 100;
        }
    }
    CHECK(sum == 112);
}

TEST_CASE("several threads may each run a map over one pool") {
    ProcessPoolExecutor pool(2);
    std::atomic<int> wrong = 0;
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 8; ++t) {
            threads.emplace_back([&, t] {
                int n = t;
                for (const int result : pool.map(square, std::views::iota(t, t + 5000))) {
                    wrong += result == n * n ? 0 : 1;
                    ++n;
                }
                wrong += n == t + 5000 ? 0 : 1;
            });
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("map waits for room when max_pending tasks wait") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .max_pending = 3});
    auto results = pool.map(MapOptions{.chunksize = 1}, square, std::views::iota(0, 2000)).get();
    CHECK(results.size() == 2000);
    CHECK(results.back() == 1999 * 1999);
}
