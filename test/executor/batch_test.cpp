// submit_batch: one task for each element, published together.

#include "executor/helpers.hpp"
#include "executor/invariants.hpp"
#include "support/catch.hpp"

#include <prong/prong.hpp>

#include <list>
#include <map>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <sstream>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace prong::test;
using prong::TaskTimeout;

namespace {

/// Cannot be encoded if it is negative.
struct Natural {
    int number;
    template <typename Archive>
    void save(Archive& archive) const {
        if (number < 0) throw std::domain_error("negative");
        archive(number);
    }
    template <typename Archive>
    void load(Archive& archive) {
        archive(number);
    }
};

int number_of(Natural natural) {
    return natural.number;
}

std::size_t length(std::string_view text) {
    return text.size();
}

int sum(std::span<const int> numbers) {
    return std::accumulate(numbers.begin(), numbers.end(), 0);
}

/// Numbers, behind which reading throws.
auto numbers_before_throw(int count) {
    return std::views::iota(0) | std::views::transform([count](int n) {
               if (n == count) throw std::range_error("no further");
               return n;
           });
}

std::vector<int> squares(int count) {
    std::vector<int> result;
    for (int n = 0; n < count; ++n) result.push_back(square(n));
    return result;
}

/// A batch of five tasks, two of which are queued while the others wait for room.
struct WaitingBatch {
    WaitingBatch() {
        CHECK(eventually([&] { return pool.stats().queued == 2; }));
    }

    /// Blocks until `submit_batch` has returned.
    std::vector<Future<int>>& finish() {
        submitter.join();
        return futures;
    }

    const Shared<Gate> gate;
    ProcessPoolExecutor pool{PoolOptions{.max_workers = 1, .max_pending = 2}};
    std::vector<Future<int>> held = occupy(pool, gate);
    std::vector<Future<int>> futures;
    std::thread submitter{[this] { futures = pool.submit_batch(square, std::views::iota(0, 5)); }};
};

int die_at_three(int n) {
    if (n == 3) std::raise(SIGKILL);
    return n;
}

} // namespace

TEST_CASE("a batch gives a future for each element of any range, in its order") {
    ProcessPoolExecutor pool(2);
    auto future = pool.submit_batch(square, std::views::iota(0, 5000));
    static_assert(std::is_same_v<decltype(future), std::vector<Future<int>>>);
    CHECK(results_of(future) == squares(5000));
    const std::list<int> list{1, 2, 3};
    auto of_list = pool.submit_batch([](int n) { return n + 1; }, list);
    CHECK(results_of(of_list) == std::vector{2, 3, 4});
    std::istringstream text("4 5 6");
    auto of_input = pool.submit_batch(square, std::views::istream<int>(text));
    CHECK(results_of(of_input) == std::vector{16, 25, 36});
    const std::map<std::string, int> ages{{"a", 1}, {"b", 2}};
    auto of_map =
        pool.submit_batch([](const std::pair<std::string, int>& age) { return age; }, ages);
    CHECK(results_of(of_map).back() == std::pair<std::string, int>("b", 2));
    auto of_void = pool.submit_batch([](int) {}, std::vector{1, 2});
    static_assert(std::is_same_v<decltype(of_void), std::vector<Future<void>>>);
    for (auto& each : of_void) each.get();
}

TEST_CASE("elements of a batch are passed as submit passes arguments") {
    ProcessPoolExecutor pool(1);
    std::vector<std::string> texts{"", "ab", std::string(100'000, 'x')};
    auto lengths = pool.submit_batch(length, texts);
    texts.assign(3, "changed");
    CHECK(results_of(lengths) == std::vector<std::size_t>{0, 2, 100'000});
    auto literals = pool.submit_batch(length, std::vector<const char*>{"one", "three"});
    CHECK(results_of(literals) == std::vector<std::size_t>{3, 5});
    auto sums = pool.submit_batch(sum, std::vector<std::vector<int>>{{1, 2}, {}, {3, 4, 5}});
    CHECK(results_of(sums) == std::vector{3, 0, 12});
    auto captured =
        pool.submit_batch(with_captures([by = 10](int n) { return n * by; }), std::vector{1, 2});
    CHECK(results_of(captured) == std::vector{10, 20});
    auto tokens = pool.submit_batch(
        [](const std::stop_token& token, int n) { return token.stop_possible() ? n : -1; },
        std::vector{1, 2});
    CHECK(results_of(tokens) == std::vector{1, 2});
}

TEST_CASE("an empty batch has no futures") {
    ProcessPoolExecutor pool(1);
    CHECK(pool.submit_batch(square, std::vector<int>{}).empty());
    CHECK(pool.with(TaskOptions{.max_retries = 1}).submit_batch(square, std::list<int>{}).empty());
    CHECK(pool.stats().submitted == 0);
}

TEST_CASE("a batch of which an element cannot be read or encoded leaves nothing") {
    CorePool pool(1);
    const std::vector<Natural> naturals{{1}, {2}, {-3}, {4}};
    CHECK_THROWS_AS(pool.submit_batch(number_of, naturals), std::domain_error);
    CHECK_THROWS_AS(pool.submit_batch(square, numbers_before_throw(1000)), std::range_error);
    int (*const nothing)(int) = nullptr;
    CHECK_THROWS_AS(pool.submit_batch(nothing, std::vector{1, 2}), std::invalid_argument);
    const TaskOptions bad{.max_retries = -1};
    CHECK_THROWS_AS(pool.submit_batch(square, std::vector{1, 2}, &bad), std::invalid_argument);
    const std::string large(1000, 'x');
    const auto more_than_records =
        std::views::iota(0, 1 << 15) |
        std::views::transform([&](int) -> const std::string& { return large; });
    CHECK_THROWS_AS(pool.submit_batch(length, more_than_records), prong::LimitExceeded);
    CHECK(pool.core().stats().submitted == 0);
    Invariants invariants;
    invariants.check_at_rest(pool.core(), 0);
    CHECK(invariants.violations().empty());
    auto futures = pool.submit_batch(number_of, std::vector<Natural>{{1}, {2}});
    CHECK(results_of(futures) == std::vector{1, 2});
}

TEST_CASE("a batch of a pool that has ended, or of a worker's own, is refused") {
    ProcessPoolExecutor ended(1);
    ended.shutdown();
    CHECK_THROWS_AS(ended.submit_batch(square, std::vector{1, 2}), prong::PoolShutdown);
    ProcessPoolExecutor broken(1);
    kill(supervisor_of(getpid()), SIGKILL);
    // Its worker may run tasks until it is killed, too.
    CHECK(eventually([&] {
        try {
            broken.submit(square, 1).get();
        } catch (const BrokenProcessPool&) {
            return true;
        }
        return false;
    }));
    CHECK_THROWS_AS(broken.submit_batch(square, std::vector{1, 2}), BrokenProcessPool);
    static ProcessPoolExecutor* own = nullptr;
    const auto in_copy = [] { own->submit_batch(square, std::vector{1}); };
    own = &ended;
    ProcessPoolExecutor other(1);
    CHECK_THROWS_AS(other.submit(in_copy).get(), std::logic_error);
}

TEST_CASE("a batch wakes as many workers as it has tasks for") {
    const int tasks = GENERATE(8, 2500);
    const Shared<Gate> gate;
    CorePool pool(8);
    const prong::executor::SharedState& state = pool.state();
    const auto are_parked = [&] {
        return std::ranges::all_of(std::views::iota(0U, 8U), [&](unsigned worker) {
            return state.notifier.is_parked(worker);
        });
    };
    CHECK(eventually(are_parked));
    const auto stand = with_captures([place = gate.get()](int n) {
        place->pass();
        return n;
    });
    auto futures = pool.submit_batch(stand, std::views::iota(0, tasks));
    CHECK(gate->await_arrivals(8));
    gate->open();
    for (int i = 0; i < tasks; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i);
}

TEST_CASE("a batch that is larger than max_pending is queued as there is room") {
    const Shared<Counter> begun;
    const Shared<Gate> gate;
    constexpr int limit = 4;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = limit});
    const auto task = with_captures([place = gate.get(), begun = begun.get()](int n) {
        place->pass();
        begun->fetch_add(1);
        return square(n);
    });
    std::vector<Future<int>> futures;
    std::thread submitter([&] { futures = pool.submit_batch(task, std::views::iota(0, 500)); });
    CHECK(gate->await_arrivals(1));
    CHECK(eventually([&] { return pool.stats().queued == limit; }));
    CHECK(pool.stats().submitted == limit + 1);
    CHECK_FALSE(pool.try_submit(square, 1));
    gate->open();
    submitter.join();
    CHECK(*begun >= 500 - limit - 1);
    CHECK(results_of(futures) == squares(500));
}

TEST_CASE("tasks of a batch are cancelled, retried and die alone") {
    const Shared<Counter> attempts;
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    auto held = occupy(pool, gate);
    auto futures = pool.submit_batch(die_at_three, std::views::iota(0, 6));
    CHECK(futures[1].cancel());
    const auto die_once = with_captures([place = attempts.get()](int n) {
        if (n == 2 && place->fetch_add(1) == 0) std::raise(SIGKILL);
        return n;
    });
    auto retried =
        pool.with(TaskOptions{.max_retries = 1}).submit_batch(die_once, std::views::iota(0, 4));
    gate->open();
    for (int n = 0; n < 6; ++n) {
        Future<int>& future = futures[static_cast<std::size_t>(n)];
        if (n == 1)
            CHECK_THROWS_AS(future.get(), CancelledError);
        else if (n == 3)
            CHECK(error_of<WorkerDied>(future).signal() == SIGKILL);
        else
            CHECK(future.get() == n);
    }
    CHECK(results_of(retried) == std::vector{0, 1, 2, 3});
    CHECK(*attempts == 2);
}

TEST_CASE("each task of a batch has its own timeout") {
    ProcessPoolExecutor pool(2);
    const auto task = [](int n) {
        if (n % 2 == 1) sleep_for_ever();
        return n;
    };
    auto futures =
        pool.with(TaskOptions{.timeout = 50ms}).submit_batch(task, std::vector{0, 1, 2, 3});
    CHECK(futures[0].get() == 0);
    CHECK_THROWS_AS(futures[1].get(), TaskTimeout);
    CHECK(futures[2].get() == 2);
    CHECK_THROWS_AS(futures[3].get(), TaskTimeout);
}

TEST_CASE("a batch runs with its priority") {
    const Shared<Gate> gate;
    const Shared<Counter> turn;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    const auto take_turn = with_captures([place = turn.get()](int) { return place->fetch_add(1); });
    auto low = pool.with(TaskOptions{.priority = prong::Priority::low})
                   .submit_batch(take_turn, std::vector{0, 1});
    auto high = pool.with(TaskOptions{.priority = prong::Priority::high})
                    .submit_batch(take_turn, std::vector{0, 1});
    gate->open();
    CHECK(results_of(high) == std::vector{0, 1});
    CHECK(results_of(low) == std::vector{2, 3});
}

TEST_CASE("tasks of a batch for which there is no room until their deadline expire") {
    const Shared<Gate> gate;
    const Shared<Counter> ran;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 2});
    auto held = occupy(pool, gate);
    const auto count = with_captures([place = ran.get()](int) { return place->fetch_add(1); });
    auto futures =
        pool.with(TaskOptions{.deadline = 5ms}).submit_batch(count, std::views::iota(0, 10));
    CHECK(futures.size() == 10);
    CHECK(pool.stats().submitted == 11);
    gate->open();
    for (auto& future : futures) CHECK_THROWS_AS(future.get(), TaskTimeout);
    CHECK(*ran == 0);
    CHECK(pool.stats().failed == 10);
}

TEST_CASE("a batch that waits for room when the pool is shut down keeps what was queued") {
    WaitingBatch batch;
    batch.pool.shutdown(false);
    auto& futures = batch.finish();
    REQUIRE(futures.size() == 5);
    CHECK(futures[2].done());
    CHECK(futures[2].cancel()); // it is cancelled already
    CHECK(batch.pool.stats().submitted == 6);
    CHECK(batch.pool.stats().cancelled == 3);
    batch.gate->open();
    CHECK(futures[0].get() == 0);
    CHECK(futures[1].get() == 1);
    for (std::size_t i = 2; i < 5; ++i) CHECK_THROWS_AS(futures[i].get(), CancelledError);
}

TEST_CASE("a batch that waits for room when the pool breaks ends all of its futures") {
    WaitingBatch batch;
    kill(supervisor_of(getpid()), SIGKILL);
    auto& futures = batch.finish();
    REQUIRE(futures.size() == 5);
    CHECK(prong::wait(futures).done.size() == 5);
    for (auto& future : futures) CHECK_THROWS_AS(future.get(), BrokenProcessPool);
}

TEST_CASE("futures of a batch may be dropped, and outlive the pool") {
    std::vector<Future<std::size_t>> futures;
    {
        ProcessPoolExecutor pool(2);
        futures = pool.submit_batch(length, std::vector<std::string>(3000, std::string(300, 'x')));
        futures.resize(1000);
    }
    CHECK(results_of(futures) == std::vector<std::size_t>(1000, 300));
}
