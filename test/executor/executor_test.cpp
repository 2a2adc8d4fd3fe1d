// What a pool is made of, and what can be submitted to it.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/processes.hpp"

#include <prong/prong.hpp>

#include <sched.h>

#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace prong::test;

namespace {

std::string repeat(std::string_view text, int times) {
    std::string result;
    for (int i = 0; i < times; ++i) result += text;
    return result;
}

double sum(std::span<const double> values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
}

std::unique_ptr<int> doubled(std::unique_ptr<int> value) {
    *value *= 2;
    return value;
}

struct Scale {
    int factor;
    int operator()(int n) const { return factor * n; }
};

struct Account {
    std::string owner;
    int balance;
    [[nodiscard]] int balance_after(int payment) const { return balance - payment; }
    Account deposit(int amount) {
        balance += amount;
        return *this;
    }
};

/// Counts its objects in each process.
struct Counted {
    static inline int alive = 0;
    Counted() { ++alive; }
    Counted(const Counted& other) : text(other.text) { ++alive; }
    Counted& operator=(const Counted&) = default;
    ~Counted() { --alive; }
    template <typename Archive>
    void serialize(Archive& archive) {
        archive(text);
    }
    std::string text;
};

struct RefusesToBeEncoded {
    template <typename Archive>
    void save(Archive&) const {
        throw std::domain_error("not today");
    }
    template <typename Archive>
    void load(Archive&) {}
};

int global_number = 1;

} // namespace

TEST_CASE("a submitted function runs in another process, and its result comes back") {
    ProcessPoolExecutor pool(2);
    Future<int> future = pool.submit(square, 7);
    CHECK(future.get() == 49);
    const int pid = pool.submit(pid_of_worker).get();
    CHECK(pid != getpid());
    const auto descendants = descendants_of(getpid());
    CHECK(
        std::ranges::any_of(descendants, [&](const auto& process) { return process.pid == pid; }));
}

TEST_CASE("everything that can be called can be submitted") {
    ProcessPoolExecutor pool(1);
    CHECK(pool.submit(&square, 3).get() == 9);
    CHECK(pool.submit(Scale{.factor = 5}, 4).get() == 20);
    CHECK(pool.submit(std::plus<>(), 2, 3).get() == 5);
    CHECK(pool.submit(std::plus<int>(), 2, 3).get() == 5);
    CHECK(pool.submit(&Account::balance_after, Account{"a", 10}, 4).get() == 6);
    CHECK(pool.submit(&Account::deposit, Account{"a", 10}, 4).get().balance == 14);
    CHECK(pool.submit([](int a, int b) { return a - b; }, 5, 3).get() == 2);
    CHECK(pool.submit([](auto a, auto b) { return a + b; }, 1.5, 2).get() == 3.5);
    int offset = 100;
    CHECK(pool.submit(with_captures([offset](int n) { return n + offset; }), 1).get() == 101);
}

TEST_CASE("arguments and results are what the function declares") {
    ProcessPoolExecutor pool(1);
    CHECK(pool.submit(repeat, "ab", 3).get() == "ababab");
    CHECK(pool.submit(repeat, std::string("x"), short{2}).get() == "xx");
    const std::vector<double> values{1, 2.5, 3};
    CHECK(pool.submit(sum, values).get() == 6.5);
    CHECK(pool.submit(sum, std::array<double, 2>{1, 2}).get() == 3);
    CHECK(*pool.submit(doubled, std::make_unique<int>(21)).get() == 42);
    using Table = std::map<std::string, std::vector<int>>;
    const Table table{{"one", {1}}, {"none", {}}};
    CHECK(pool.submit([](Table t) { return t; }, table).get() == table);
    static_assert(std::is_same_v<decltype(pool.submit([] {})), Future<void>>);
    pool.submit([] {}).get();
}

TEST_CASE("arguments may change as soon as submit has returned") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    const auto held = occupy(pool, gate);
    std::string text = "before";
    Future<std::string> future = pool.submit(repeat, text, 1);
    text = "after.";
    gate->open();
    CHECK(future.get() == "before");
}

TEST_CASE("an argument that cannot be encoded throws in submit, and the pool continues") {
    ProcessPoolExecutor pool(1);
    CHECK_THROWS_AS(pool.submit([](RefusesToBeEncoded) {}, RefusesToBeEncoded{}),
                    std::domain_error);
    int (*const nothing)(int) = nullptr;
    CHECK_THROWS_AS(pool.submit(nothing, 1), std::invalid_argument);
    CHECK(pool.submit(square, 2).get() == 4);
}

TEST_CASE("a worker keeps nothing of a task that has ended") {
    ProcessPoolExecutor pool(1);
    pool.submit([](const Counted&) { return Counted(); }, Counted()).get();
    CHECK(pool.submit([] { return Counted::alive; }).get() == 0);
}

TEST_CASE("a worker sees memory as it was when the pool was made, and changes only its own") {
    global_number = 2;
    ProcessPoolExecutor pool(1);
    global_number = 3;
    CHECK(pool.submit([] { return global_number++; }).get() == 2);
    CHECK(pool.submit([] { return global_number; }).get() == 3);
    CHECK(global_number == 3);
    CHECK(pool.submit([] { return ++global_number; }).get() == 4);
    CHECK(global_number == 3);
}

TEST_CASE("options out of range are refused, and nothing is left of the pool") {
    CHECK_THROWS_AS(ProcessPoolExecutor(0), std::invalid_argument);
    CHECK_THROWS_AS(ProcessPoolExecutor(-1), std::invalid_argument);
    CHECK_THROWS_AS(ProcessPoolExecutor(1'000'000), std::invalid_argument);
    CHECK_THROWS_WITH(ProcessPoolExecutor(PoolOptions{.max_workers = -1}),
                      Catch::Contains("max_workers is -1"));
    CHECK_THROWS_AS(ProcessPoolExecutor(PoolOptions{.max_pending = 0}), std::invalid_argument);
    CHECK_THROWS_AS(ProcessPoolExecutor(PoolOptions{.max_payload_bytes = 0}),
                    std::invalid_argument);
    CHECK_THROWS_AS(ProcessPoolExecutor(PoolOptions{.max_nesting = 0}), std::invalid_argument);
    CHECK(children_of(getpid()).empty());
}

TEST_CASE("by default there are as many workers as CPUs that this process may use") {
    const auto workers = [](int cpus) {
        return run_in_child([cpus] {
            cpu_set_t all;
            cpu_set_t some;
            CPU_ZERO(&some);
            sched_getaffinity(0, sizeof(all), &all);
            for (std::size_t cpu = 0; CPU_COUNT(&some) < cpus && cpu < CPU_SETSIZE; ++cpu) {
                if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &some);
            }
            sched_setaffinity(0, sizeof(some), &some);
            ProcessPoolExecutor pool;
            return pool.submit(square, 2).get() == 4 ? pool.max_workers() : -1;
        });
    };
    CHECK(workers(1).exitcode == 1);
    CHECK(ProcessPoolExecutor().max_workers() >= 1);
    if (std::thread::hardware_concurrency() >= 2) CHECK(workers(2).exitcode <= 2);
}

TEST_CASE("the constructor does not wait for the workers") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .initializer = [&] { gate->pass(); }});
    Future<int> future =
        pool.submit(square, 3); // would find a broken pool if the gate had timed out
    CHECK_FALSE(future.done());
    gate->open();
    CHECK(future.get() == 9);
}

TEST_CASE("the initializer runs once in each worker, before its first task") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    static bool initialized = false;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 3, .initializer = [&] {
                                             ++*runs;
                                             initialized = true;
                                         }});
    auto held = occupy(pool, gate);
    CHECK(runs->load() == 3);
    gate->open();
    CHECK(std::ranges::none_of(held, [](auto& future) { return future.get() == getpid(); }));
    for (int i = 0; i < 20; ++i) CHECK(pool.submit([] { return initialized; }).get());
    CHECK(runs->load() == 3);
    CHECK_FALSE(initialized);
}

TEST_CASE("the initializer may be anything that can be called") {
    static std::string word;
    auto text = std::make_shared<std::string>("kept by the pool");
    const auto set = [](const std::string& value, int) { word = value; };
    ProcessPoolExecutor pool(
        PoolOptions{.max_workers = 1, .initializer = std::bind(set, *text, 1)});
    CHECK(pool.submit([] { return word; }).get() == *text);
    ProcessPoolExecutor other(
        PoolOptions{.max_workers = 1, .initializer = [text] { word = *text; }});
    text.reset();
    CHECK(other.submit([] { return word; }).get() == "kept by the pool");
}

TEST_CASE("one worker runs the tasks in the order in which they were submitted") {
    const Shared<Counter> counter;
    ProcessPoolExecutor pool(1);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 1000; ++i) futures.push_back(pool.submit(count_up(counter)));
    for (int i = 0; i < 1000; ++i) REQUIRE(futures[static_cast<std::size_t>(i)].get() == i);
}

TEST_CASE("two workers run two tasks at the same time, with many of them waiting too") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    auto held = occupy(pool, gate); // or it throws
    std::vector<Future<int>> waiting;
    for (int i = 0; i < 100; ++i) waiting.push_back(pool.submit(square, i));
    CHECK(workers_of(supervisor_of(getpid())).size() == 2);
    gate->open();
    CHECK(held[0].get() != held[1].get());
    for (int i = 0; i < 100; ++i) CHECK(waiting[static_cast<std::size_t>(i)].get() == i * i);
}

TEST_CASE("200 workers all work") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(200);
    CHECK(pool.max_workers() == 200);
    auto held = occupy(pool, gate);
    gate->open();
    const auto pids = results_of(held);
    CHECK(std::set<int>(pids.begin(), pids.end()).size() == 200);
}

TEST_CASE("try_submit declines when max_pending tasks wait, and takes more when one has begun") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 2});
    auto held = occupy(pool, gate);
    auto first = pool.try_submit(square, 1);
    auto second = pool.try_submit(square, 2);
    REQUIRE((first && second));
    for (int i = 0; i < 1000; ++i) CHECK_FALSE(pool.try_submit(square, 3));
    gate->open();
    CHECK(second->get() == 4);
    CHECK(first->get() == 1);
    CHECK(pool.try_submit(square, 4).value().get() == 16);
}

TEST_CASE("try_submit_for gives up when there is no room in time, and the task never runs") {
    const Shared<Gate> gate;
    const Shared<Counter> ran;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 1});
    const auto with_options = pool.with(TaskOptions{.max_retries = 1});
    auto held = occupy(pool, gate);
    auto queued = pool.try_submit_for(std::chrono::seconds(0), square, 2);
    REQUIRE(queued);
    for (const auto wait : {std::chrono::milliseconds(-1), std::chrono::milliseconds(5)}) {
        CHECK_FALSE(pool.try_submit_for(wait, count_up(ran)));
        CHECK_FALSE(with_options.try_submit_for(wait, count_up(ran)));
    }
    gate->open();
    CHECK(queued->get() == 4);
    pool.shutdown();
    CHECK(*ran == 0);
    CHECK_THROWS_AS(pool.try_submit_for(std::nullopt, square, 1), prong::PoolShutdown);
}

TEST_CASE("try_submit_for waits for room") {
    const auto wait = GENERATE(prong::Timeout(std::chrono::hours(1)), prong::Timeout(std::nullopt));
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 1});
    auto held = occupy(pool, gate);
    auto first = pool.submit(square, 2);
    std::optional<Future<int>> second;
    std::thread submitter([&] { second = pool.try_submit_for(wait, square, 3); });
    CHECK(first.cancel());
    submitter.join();
    gate->open();
    CHECK(second.value().get() == 9);
}

TEST_CASE("cancelled tasks make room, and are no longer queued") {
    const auto priority = GENERATE(prong::Priority::normal, prong::Priority::low);
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 3});
    auto held = occupy(pool, gate);
    const auto with_priority = pool.with(TaskOptions{.priority = priority});
    std::vector<Future<int>> futures;
    for (int round = 0; round < 2000; ++round) { // more than one part of the count
        while (auto future = with_priority.try_submit(square, round))
            futures.push_back(std::move(*future));
        REQUIRE(pool.stats().queued == 3);
        REQUIRE(futures[futures.size() - 2].cancel());
        REQUIRE(futures[futures.size() - 2].cancel()); // no second time
        REQUIRE(pool.stats().queued == 2);
    }
    CHECK(futures.size() == 2002);
    CHECK(pool.stats().cancelled == 2000);
    CHECK(pool.submit(square, 3).done() == false);
    CHECK_FALSE(pool.try_submit(square, 3));
    gate->open();
    CHECK(futures.back().get() == 1999 * 1999);
    CHECK(eventually([&] { return pool.stats().queued == 0; }));
}

TEST_CASE("a submit that waits for room gets that of a cancelled task") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 1});
    auto held = occupy(pool, gate);
    auto first = pool.submit(square, 2);
    std::optional<Future<int>> second;
    std::thread submitter([&] { second = pool.submit(square, 3); });
    CHECK(first.cancel());
    submitter.join();
    gate->open();
    CHECK(second->get() == 9);
}

TEST_CASE("tasks whose deadline has passed in the queue make room without a call for them") {
    const Shared<Gate> gate;
    const Shared<Counter> ran;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 3});
    auto held = occupy(pool, gate);
    const auto hurried = pool.with(TaskOptions{.deadline = std::chrono::milliseconds(1)});
    std::vector<Future<int>> late;
    for (int i = 0; i < 3; ++i) late.push_back(hurried.submit(count_up(ran)));
    SECTION("in statistics") {
        CHECK(eventually([&] { return pool.stats().queued == 0; }));
        CHECK(pool.stats().failed == 3);
    }
    SECTION("for try_submit") {
        CHECK(eventually([&] { return pool.try_submit(square, 3).has_value(); }));
    }
    SECTION("for submit") {
        static_cast<void>(pool.submit(square, 3));
    }
    gate->open();
    for (auto& future : late) CHECK_THROWS_AS(future.get(), prong::TaskTimeout);
    CHECK(*ran == 0);
}

TEST_CASE("submit waits while max_pending tasks wait") {
    constexpr int limit = 4;
    const Shared<Counter> submitted;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = limit});
    const auto seen = with_captures([place = submitted.get()] { return place->load(); });
    std::vector<Future<int>> futures;
    for (int i = 0; i < 500; ++i) {
        futures.push_back(pool.submit(seen));
        ++*submitted;
    }
    // When task i ran, i + 1 tasks had left the queue: there was room for no more than these.
    for (int i = 0; i < 500; ++i) {
        CHECK(futures[static_cast<std::size_t>(i)].get() <= i + 1 + limit);
    }
}

TEST_CASE("64 threads may submit to one pool") {
    ProcessPoolExecutor pool(2);
    std::atomic<int> wrong = 0;
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 64; ++t) {
            threads.emplace_back([&pool, &wrong, t] {
                std::vector<Future<int>> futures;
                for (int i = 0; i < 200; ++i) futures.push_back(pool.submit(std::plus<>(), t, i));
                for (int i = 0; i < 200; ++i) {
                    wrong += futures[static_cast<std::size_t>(i)].get() != t + i ? 1 : 0;
                }
            });
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("two pools do not disturb each other") {
    const Shared<Gate> gate;
    std::optional<ProcessPoolExecutor> first(std::in_place, 2);
    ProcessPoolExecutor second(2);
    auto held = occupy(*first, gate);
    for (int i = 0; i < 100; ++i) REQUIRE(second.submit(square, i).get() == i * i);
    gate->open();
    const auto pids = results_of(held);
    first.reset();
    CHECK(second.submit(square, 5).get() == 25);
    CHECK(std::ranges::find(pids, second.submit(pid_of_worker).get()) == pids.end());
}

TEST_CASE("a task may create its own pool") {
    ProcessPoolExecutor pool(2);
    const auto task = [](int n) {
        ProcessPoolExecutor inner(2);
        auto first = inner.submit(square, n);
        auto second = inner.submit(square, n + 1);
        return first.get() + second.get();
    };
    Future<int> first = pool.submit(task, 1);
    Future<int> second = pool.submit(task, 2);
    CHECK(first.get() == 1 + 4);
    CHECK(second.get() == 4 + 9);
}

TEST_CASE("a worker that uses its own pool gets a std::logic_error") {
    static ProcessPoolExecutor* own = nullptr;
    alignas(ProcessPoolExecutor) static std::byte place[sizeof(ProcessPoolExecutor)];
    own = reinterpret_cast<ProcessPoolExecutor*>(place); // known in the workers, too
    const auto pool = std::unique_ptr<ProcessPoolExecutor, void (*)(ProcessPoolExecutor*)>(
        new (place) ProcessPoolExecutor(1), [](ProcessPoolExecutor* it) { std::destroy_at(it); });
    CHECK_THROWS_AS(pool->submit([] { own->submit(square, 1); }).get(), std::logic_error);
    CHECK_THROWS_AS(pool->submit([] { own->try_submit(square, 1); }).get(), std::logic_error);
    CHECK_THROWS_AS(pool->submit([] { own->shutdown(); }).get(), std::logic_error);
    CHECK_THROWS_AS(pool->submit([] { own->kill_workers(); }).get(), std::logic_error);
    CHECK_THROWS_AS(
        pool->submit([] { return own->map(square, std::views::iota(0, 3)).get(); }).get(),
        std::logic_error);
    pool->submit([] { own->~ProcessPoolExecutor(); }).get(); // does nothing there
    CHECK(pool->submit(square, 3).get() == 9);
}

TEST_CASE("a future that a worker has inherited gets it a std::logic_error") {
    static std::vector<Future<int>> inherited;
    ProcessPoolExecutor first(1);
    inherited.push_back(first.submit(square, 2));
    inherited.push_back(first.submit(square, 3));
    ProcessPoolExecutor second(1);
    CHECK_THROWS_AS(second.submit([] { return inherited[0].get(); }).get(), std::logic_error);
    CHECK_THROWS_AS(second.submit([] { return inherited[0].done(); }).get(), std::logic_error);
    CHECK_THROWS_AS(second.submit([] { return inherited[0].cancel(); }).get(), std::logic_error);
    second.submit([] { inherited.clear(); }).get();
    CHECK(inherited[0].get() == 4);
    CHECK(inherited[1].get() == 9);
    inherited.clear();
}
