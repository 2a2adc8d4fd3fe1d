// The callbacks of a Pool, and the thread that runs them.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"

#include <prong/prong.hpp>

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::AsyncResult;
using prong::callbacks;
using prong::Pool;
using prong::with_captures;

namespace {

using Numbers = std::vector<int>;

int fail(int n) {
    throw std::domain_error(std::to_string(n));
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& exception) {
        return exception.what();
    }
}

bool blocks_all_signals() {
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGALRM, SIGCHLD}) {
        if (sigismember(&blocked, signal) != 1) return false;
    }
    return true;
}

std::size_t threads() {
    return Holdings::now().threads.size();
}

} // namespace

TEST_CASE("done receives the result, error the exception, before a wait returns") {
    Pool pool(2);
    int value = 0;
    std::string error;
    const auto keep = [&](int n) { value = n; };
    const auto log = [&](const std::exception_ptr& e) { error = text_of(e); };
    const auto good = pool.apply_async(callbacks{.done = keep, .error = log}, square, 7);
    CHECK(good.get() == 49);
    CHECK(value == 49);
    CHECK(error.empty());
    const auto bad = pool.apply_async(callbacks{.done = keep, .error = log}, fail, 8);
    bad.wait();
    CHECK(error == "8");
    CHECK(value == 49);
    CHECK_THROWS_AS(bad.get(), std::domain_error);
    const auto died =
        pool.apply_async(callbacks{.error = log}, [] { static_cast<void>(std::raise(SIGKILL)); });
    CHECK_FALSE((died.wait(), died.successful()));
    CHECK(error.find("died of SIGKILL") != std::string::npos);
}

TEST_CASE("done takes the result by value, by reference, moved or not at all") {
    Pool pool(1);
    std::vector<std::string> calls;
    const auto text = [] { return std::string("x"); };
    const auto by_reference = [&](const std::string& s) { calls.push_back(s + "1"); };
    const auto by_value = [&](std::string s) { calls.push_back(s + "2"); };
    const auto by_move = [&](std::string&& s) { calls.push_back(std::move(s) + "3"); };
    const auto without = [&] { calls.emplace_back("4"); };
    pool.apply_async({.done = by_reference}, text).wait();
    pool.apply_async({.done = by_value}, text).wait();
    pool.apply_async({.done = by_move}, text).wait();
    pool.apply_async({.done = without}, text).wait();
    pool.apply_async({.done = std::function<void(std::string)>(by_value)}, text).wait();
    CHECK(calls == std::vector<std::string>{"x1", "x2", "x3", "4", "x2"});
    const auto nothing = [] {};
    pool.apply_async({.done = without}, nothing).wait();
    CHECK(calls.size() == 6);
    const auto owner = [&](std::unique_ptr<int> n) { calls.push_back(std::to_string(*n)); };
    pool.apply_async({.done = owner}, [] { return std::make_unique<int>(5); }).wait();
    CHECK(calls.back() == "5");
}

TEST_CASE("error takes an exception pointer, an exception or nothing") {
    Pool pool(1);
    std::vector<std::string> calls;
    const auto pointer = [&](std::exception_ptr error) { calls.push_back(text_of(error) + "1"); };
    const auto generic = [&](auto error) { calls.push_back(text_of(error) + "2"); };
    const auto exception = [&](const std::exception& error) {
        calls.push_back(std::string(error.what()) + "3");
    };
    const auto nothing = [&] { calls.emplace_back("4"); };
    pool.apply_async({.error = pointer}, fail, 7).wait();
    pool.apply_async({.error = generic}, fail, 7).wait();
    pool.apply_async({.error = exception}, fail, 7).wait();
    pool.apply_async({.error = nothing}, fail, 7).wait();
    CHECK(calls == std::vector<std::string>{"71", "72", "73", "4"});
}

TEST_CASE("done with a parameter of another type is refused before the task is queued") {
    const Shared<Counter> calls;
    Pool pool(1);
    const callbacks other{.done = [](const std::string&) {}};
    CHECK_THROWS_AS(pool.apply_async(other, count_up(calls)), std::invalid_argument);
    CHECK_THROWS_AS(pool.apply_async(other, [] {}), std::invalid_argument);
    CHECK_THROWS_AS(pool.map_async(square, Numbers{1}, other), std::invalid_argument);
    CHECK(pool.apply(square, 2) == 4);
    CHECK(*calls == 0);
}

TEST_CASE("callbacks that are empty are as none") {
    const std::size_t before = threads();
    Pool pool(1);
    const callbacks none{.done = std::function<void(int)>(), .error = nullptr};
    CHECK(pool.apply_async(none, square, 3).get() == 9);
    CHECK(pool.apply_async({.done = nullptr}, square, 3).get() == 9);
    CHECK(threads() == before);
}

TEST_CASE("done of a map takes all results, also of an empty one") {
    Pool pool(2);
    Numbers all{1};
    const callbacks keep{.done = [&](const Numbers& results) { all = results; }};
    pool.map_async(square, Numbers{1, 2, 3}, 1, keep).wait();
    CHECK(all == Numbers{1, 4, 9});
    pool.starmap_async(square, std::vector<std::tuple<int>>{{4}}, keep).wait();
    CHECK(all == Numbers{16});
    pool.map_async(square, Numbers{}, keep).wait();
    CHECK(all.empty());
    std::string error;
    const callbacks log{.error = [&](const std::exception_ptr& e) { error += text_of(e); }};
    pool.map_async(fail, Numbers{1, 2, 3}, 1, log).wait();
    CHECK(error == "1");
}

TEST_CASE("callbacks run in one thread of the pool, which is started by the first") {
    const std::size_t before = threads();
    Pool pool(2);
    pool.apply_async(square, 1).wait();
    CHECK(threads() == before);
    std::vector<std::thread::id> ids;
    bool blocked = true;
    const auto note = [&] {
        ids.push_back(std::this_thread::get_id());
        blocked = blocked && blocks_all_signals();
    };
    for (int i = 0; i < 3; ++i) pool.apply_async({.done = note}, square, i).wait();
    CHECK(threads() == before + 1);
    REQUIRE(ids.size() == 3);
    CHECK(ids[0] != std::this_thread::get_id());
    CHECK((ids[1] == ids[0] && ids[2] == ids[0]));
    CHECK(blocked);
    CHECK_FALSE(blocks_all_signals());
}

TEST_CASE("callbacks run in the order in which the calls end") {
    const Shared<std::array<Gate, 3>> gates;
    Pool pool(3);
    Numbers order;
    std::vector<AsyncResult<int>> results;
    for (int i = 0; i < 3; ++i) {
        Gate* const gate = &(*gates)[static_cast<std::size_t>(i)];
        results.push_back(
            pool.apply_async({.done = [&](int n) { order.push_back(n); }}, with_captures([gate, i] {
                                 gate->pass();
                                 return i;
                             })));
        REQUIRE(gate->await_arrivals(1));
    }
    for (const int i : {1, 2, 0}) {
        (*gates)[static_cast<std::size_t>(i)].open();
        results[static_cast<std::size_t>(i)].wait();
    }
    CHECK(order == Numbers{1, 2, 0});
}

TEST_CASE("a callback that throws gives the result its exception") {
    Pool pool(1);
    const callbacks bad{.done = [](int) { throw std::length_error("done"); },
                        .error = [](std::exception_ptr) { throw std::length_error("error"); }};
    const auto good_task = pool.apply_async(bad, square, 1);
    const auto bad_task = pool.apply_async(bad, fail, 1);
    CHECK_THROWS_WITH(good_task.get(), "done");
    CHECK_THROWS_WITH(good_task.get(), "done");
    CHECK_THROWS_WITH(bad_task.get(), "error");
    CHECK_FALSE(good_task.successful());
    CHECK(pool.apply_async({.done = [](int) {}}, square, 2).get() == 4);
    pool.close();
    pool.join();
}

TEST_CASE("join waits until all callbacks have run, also of calls that callbacks make") {
    Pool pool(2);
    std::atomic<int> left = 100;
    std::function<void(int)> again = [&](int) {
        if (--left > 0) pool.apply_async({.done = again}, square, 1);
    };
    pool.apply_async({.done = again}, square, 1);
    CHECK(eventually([&] { return left == 0; }));
    int sum = 0;
    for (int i = 0; i < 1000; ++i) pool.apply_async({.done = [&](int n) { sum += n; }}, square, i);
    pool.close();
    pool.join();
    CHECK(sum == 332833500);
}

TEST_CASE("a callback may take its own result and others, and may not join") {
    const Shared<Gate> gate;
    Pool pool(2);
    std::optional<AsyncResult<int>> own;
    std::optional<AsyncResult<int>> other;
    int sum = 0;
    std::string refusal;
    const auto hold = [&](int) {
        sum = own->get() + other->get() + pool.apply(square, 3);
        pool.close();
        try {
            pool.join();
        } catch (const std::logic_error& error) {
            refusal = error.what();
        }
    };
    own = pool.apply_async({.done = hold}, with_captures([gate = gate.get()] {
                               gate->pass();
                               return 1;
                           }));
    other = pool.apply_async({.done = [](int) {}}, square, 2);
    gate->open();
    own->wait();
    CHECK(sum == 1 + 4 + 9);
    CHECK(refusal.find("join() was called in a callback") == 0);
    pool.join();
}

TEST_CASE("terminate begins no further callback, and every wait ends") {
    const Shared<Gate> gate;
    Pool pool(1);
    int calls = 0;
    const callbacks count{.done = [&] { ++calls; }, .error = [&](std::exception_ptr) { ++calls; }};
    const auto first = pool.apply_async({.done =
                                             [&] {
                                                 ++calls;
                                                 pool.terminate();
                                             }},
                                        square, 3);
    const auto held = pool.apply_async(count, pass(gate));
    const auto queued = pool.apply_async(count, square, 1);
    CHECK(first.get() == 9);
    held.wait();
    CHECK_FALSE(held.successful());
    CHECK_THROWS_AS(queued.get(), prong::CancelledError);
    pool.join();
    CHECK(calls == 1);
}

TEST_CASE("the destructor waits for a running callback, and begins no other") {
    const Shared<Gate> gate;
    Gate in_callback;
    std::atomic<int> calls = 0;
    std::optional<Pool> pool(std::in_place, 1);
    const auto first = pool->apply_async({.done =
                                              [&] {
                                                  in_callback.pass();
                                                  ++calls;
                                              }},
                                         square, 3);
    const auto held = pool->apply_async({.done = [&] { ++calls; }}, pass(gate));
    REQUIRE(in_callback.await_arrivals(1));
    std::jthread opener([&] { in_callback.open(); });
    pool.reset();
    CHECK(calls == 1);
    CHECK(first.get() == 9);
    CHECK_THROWS_AS(held.get(), prong::Error);
}

TEST_CASE("a callback may destroy the pool") {
    std::optional<Pool> pool(std::in_place, 1);
    const auto result = pool->apply_async({.done = [&] { pool.reset(); }}, square, 3);
    CHECK(result.get() == 9);
    CHECK_FALSE(pool);
}

TEST_CASE("what a callback holds is destroyed before a wait returns") {
    Pool pool(1);
    auto owned = std::make_shared<int>(1);
    const std::weak_ptr<int> watch = owned;
    const auto result =
        pool.apply_async({.done = [owned = std::move(owned)] { *owned = 2; }}, square, 3);
    result.wait();
    CHECK(watch.expired());
}
