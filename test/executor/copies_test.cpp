// Processes that are copies of the program or of a worker, forked by any call: what they may do
// with objects of the original, and that these are not affected.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/forks.hpp"

#include <prong/prong.hpp>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <vector>

using namespace prong::test;

namespace {

/// Runs `body` in a child of each kind; what is not as it requires ends that.
template <typename Body>
void check_copies(Body body) {
    for (const WayToFork& way : ways_to_fork) {
        INFO(way.name);
        std::fflush(nullptr);
        const pid_t child = way.fork();
        if (child == 0) {
            alarm(60); // instead of hanging
            try {
                body();
            } catch (const std::exception& error) {
                std::fprintf(stderr, "in a copy (%s): %s\n", way.name, error.what());
                _exit(1);
            }
            _exit(0);
        }
        CHECK(end_of(child) == "exit 0");
    }
}

template <typename Call>
void require_refused(Call call, const std::string& what) {
    require_throws<std::logic_error>([&] { static_cast<void>(call()); }, what);
}

void require_refused(auto call, const std::string& what)
    requires std::is_void_v<decltype(call())>
{
    require_throws<std::logic_error>(call, what);
}

/// A task that forks a child in each way, which ends by `end`. Returns how the children ended that
/// did not end so.
template <typename End>
std::string fork_and_end(End end) {
    std::string others;
    for (const WayToFork& way : ways_to_fork) {
        const pid_t child = way.fork();
        if (child == 0) end();
        const std::string how = end_of(child);
        if (how != "exit 3") others += std::string(way.name) + ": " + how + "; ";
    }
    return others;
}

/// A task that a child leaves as its parent does: by returning what it has seen.
std::string return_twice(int way) {
    const pid_t child = ways_to_fork[way].fork();
    return child == 0 ? "the child's result" : end_of(child);
}

std::string throw_in_child(int way) {
    const pid_t child = ways_to_fork[way].fork();
    if (child == 0) throw std::runtime_error("the child's exception");
    return end_of(child);
}

constexpr int ways = static_cast<int>(std::size(ways_to_fork));

} // namespace

TEST_CASE("a copy of the program cannot use its pool, and does it no harm") {
    const Shared<Gate> gate;
    std::optional<ProcessPoolExecutor> pool(std::in_place, 2);
    auto held = occupy(*pool, gate);
    const auto with_options = pool->with(TaskOptions{.timeout = 60s});
    std::vector<Future<int>> futures;
    for (int i = 0; i < 10; ++i) futures.push_back(pool->submit(square, i));
    ProcessPoolExecutor free_pool(1);
    const auto make_text = [] { return std::string("text"); };
    prong::ResultView<std::string> view = free_pool.submit(make_text).view();
    auto ended = free_pool.submit(make_text);
    ended.wait();
    check_copies([&] {
        require_refused([&] { return pool->submit(square, 1); }, "submit");
        require_refused([&] { return pool->try_submit(square, 1); }, "try_submit");
        require_refused([&] { return pool->map(square, std::vector{1, 2}).get(); }, "map");
        require_refused([&] { return pool->with(TaskOptions{}); }, "with");
        const std::vector<int> numbers{1, 2};
        require_refused([&] { return pool->submit_batch(square, numbers); }, "submit_batch");
        require_refused([&] { return with_options.submit(square, 1); }, "submit with options");
        require_refused([&] { return with_options.try_submit(square, 1); }, "try_submit with them");
        require_refused([&] { return with_options.map(square, std::vector{1}); }, "map with them");
        require_refused([&] { pool->shutdown(); }, "shutdown");
        require_refused([&] { return pool->shutdown_for(0s); }, "shutdown_for");
        require_refused([&] { pool->terminate_workers(); }, "terminate_workers");
        require_refused([&] { pool->kill_workers(); }, "kill_workers");
        require_refused([&] { return pool->stats(); }, "stats");
        require_refused([&] { return pool->max_workers(); }, "max_workers");
        require_refused([&] { return futures[0].done(); }, "done");
        require_refused([&] { return futures[0].running(); }, "running");
        require_refused([&] { return futures[0].cancelled(); }, "cancelled");
        require_refused([&] { return futures[0].cancel(); }, "cancel");
        require_refused([&] { return futures[0].kill(); }, "kill");
        require_refused([&] { futures[0].wait(); }, "wait");
        require_refused([&] { futures[0].wait_for(0s); }, "wait_for");
        require_refused([&] { return futures[0].exception(); }, "exception");
        require_refused([&] { return futures[0].get(); }, "get");
        require_refused([&] { return futures[0].get_for(0s); }, "get_for");
        require_refused([&] { return prong::wait(futures); }, "wait for several");
        require_refused(
            [&] {
                for (auto& one : prong::as_completed(futures)) one.wait();
            },
            "as_completed");
        require_refused([&] { return ended.view(); }, "view");
        require_refused([&] { return view.data(); }, "data of a view");
        require_refused([&] { return view.begin(); }, "begin of a view");
        require_refused([&] { return std::string_view(view); }, "the text of a view");
        prong::ResultView<std::string> moved_view = std::move(view);
        require(moved_view.size() == 4 && view.empty(), "a view can be moved");
        moved_view = {};
        Future<int> moved = std::move(futures[0]);
        require(moved.valid() && !futures[0].valid(), "a future can be moved");
        require_refused([&] { return moved.get(); }, "get of a moved one");
        require(ProcessPoolExecutor(1).submit(square, 6).get() == 36, "its own pool");
        pool.reset();
        futures.clear();
        held.clear();
    });
    CHECK_FALSE(held[0].done());
    CHECK_FALSE(futures[0].done());
    CHECK(std::string_view(view) == "text");
    CHECK(std::string_view(ended.view()) == "text");
    gate->open();
    CHECK(results_of(held).size() == 2);
    for (int i = 0; i < 10; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i * i);
    CHECK(pool->submit(square, 5).get() == 25);
}

TEST_CASE("a copy of the program that is forked while map runs cannot continue it") {
    ProcessPoolExecutor pool(1);
    using Result = decltype(pool.map(square, std::views::iota(0, 1000)));
    std::optional<Result> result(pool.map(square, std::views::iota(0, 1000)));
    std::optional<Result> untouched(pool.map(square, std::views::iota(0, 1000)));
    auto it = result->begin();
    int sum = *it;
    check_copies([&] {
        require_refused([&] { return *it; }, "*it");
        require_refused([&] { ++it; }, "++it");
        require_refused([&] { return it == result->end(); }, "it == end");
        require_refused([&] { return result->get(); }, "get");
        require_refused([&] { return *untouched->begin(); }, "*begin()");
        result.reset();
        untouched.reset();
    });
    for (++it; it != result->end(); ++it) sum += *it;
    CHECK(sum == 332833500);
    CHECK(untouched->get().size() == 1000);
}

TEST_CASE("a copy of the program cannot use its Pool, and need not end its callback thread") {
    const Shared<Gate> gate;
    std::atomic<int> calls = 0;
    std::optional<prong::Pool> pool(std::in_place, 1);
    const prong::callbacks count{.done = [&] { ++calls; }};
    std::optional held(pool->apply_async(count, pass(gate)));
    std::optional mapped(pool->map_async(square, std::vector{1, 2}, count));
    std::optional empty(pool->map_async(square, std::vector<int>{}));
    check_copies([&] {
        require_refused([&] { return pool->apply(square, 1); }, "apply");
        require_refused([&] { return pool->apply_async(count, square, 1); }, "apply_async");
        require_refused([&] { return pool->map(square, std::vector<int>{}); }, "map");
        require_refused([&] { return pool->imap(square, std::vector<int>{}); }, "imap");
        require_refused([&] { pool->close(); }, "close");
        require_refused([&] { pool->terminate(); }, "terminate");
        require_refused([&] { pool->join(); }, "join");
        require_refused([&] { return held->get(); }, "get");
        require_refused([&] { return held->ready(); }, "ready");
        require_refused([&] { return mapped->wait_for(0s); }, "wait_for");
        require_refused([&] { return empty->get(); }, "get of nothing");
        require(prong::Pool(1).apply(square, 6) == 36, "a pool of its own");
        pool.reset();
        held.reset();
        mapped.reset();
        empty.reset();
    });
    gate->open();
    CHECK(mapped->get() == std::vector{1, 4});
    CHECK(calls == 2);
    pool->terminate(); // ends the callback thread
    held.reset();
    check_copies([&] { pool.reset(); });
}

TEST_CASE("a copy of the program may exit with a live pool, future and map") {
    static std::optional<ProcessPoolExecutor> pool;
    static std::optional<Future<int>> future;
    pool.emplace(1);
    future = pool->submit(square, 3);
    for (const WayToFork& way : ways_to_fork) {
        INFO(way.name);
        std::fflush(nullptr);
        const pid_t child = way.fork();
        if (child == 0) {
            alarm(60);
            std::exit(5); // destroys them
        }
        CHECK(end_of(child) == "exit 5");
    }
    CHECK(pool->submit(square, 2).get() == 4);
    CHECK(future->get() == 9);
    future.reset();
    pool.reset();
}

TEST_CASE("a copy of a worker cannot use the pool, and is no worker") {
    const Shared<Counter> children;
    static std::optional<ProcessPoolExecutor> pool;
    pool.emplace(1);
    const auto task = with_captures([counter = children.get()] {
        return fork_and_end([counter] {
            require_refused([] { return pool->submit(square, 1); }, "submit");
            require(prong::this_worker::index() == -1, "no worker");
            require(!prong::this_task::stop_requested(), "not asked to stop");
            require(!prong::this_task::stop_token().stop_possible(), "no stop token");
            require(prong::this_task::attempt() == 1, "the first attempt");
            require(ProcessPoolExecutor(1).submit(square, 6).get() == 36, "its own pool");
            pool.reset();
            counter->fetch_add(1);
            _exit(3);
        });
    });
    CHECK(pool->submit(task).get() == "");
    CHECK(pool->with(TaskOptions{.timeout = 60s}).submit(task).get() == "");
    CHECK(children->load() == 2 * ways);
    CHECK(pool->submit(square, 2).get() == 4);
    pool.reset();
}

TEST_CASE("what a task has forked may leave the task's function, and that is its end") {
    const Shared<Counter> exits;
    const auto count_exit = [counter = exits.get()] { counter->fetch_add(1); };
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .on_worker_exit = count_exit});
    const int worker = pool.submit(pid_of_worker).get();
    const auto careful = pool.with(TaskOptions{.timeout = 60s, .capture_output = true});
    for (int way = 0; way < ways; ++way) {
        INFO(ways_to_fork[way].name);
        CHECK(pool.submit(return_twice, way).get() == "exit 0");
        CHECK(pool.submit(throw_in_child, way).get() == "exit 1");
        CHECK(careful.submit(return_twice, way).get() == "exit 0");
        CHECK(careful.submit(throw_in_child, way).get() == "exit 1");
        pool.submit([](int n) { return_twice(n); }, way).get();
        CHECK(pool.submit(pid_of_worker).get() == worker);
    }
    const std::vector<int> elements{0, 1, 2, 3, 0, 1, 2, 3};
    const prong::MapOptions chunks{.chunksize = 4};
    for (const auto& end : pool.map(chunks, return_twice, elements)) CHECK(end == "exit 0");
    for (const auto& end : pool.map(chunks, throw_in_child, elements)) CHECK(end == "exit 1");
    pool.map(
            chunks, [](int way) { return_twice(way); }, elements)
        .get();
    CHECK(pool.submit(pid_of_worker).get() == worker);
    CHECK(pool.stats().finished == static_cast<std::uint64_t>(5 * ways + ways + 2 + 6));
    pool.shutdown();
    CHECK(exits->load() == 1);
}

TEST_CASE("what a hook has forked may leave the hook, and that is its end") {
    const Shared<Counter> clean_ends;
    const auto hook = [counter = clean_ends.get()] {
        for (int way = 0; way < ways; ++way) {
            const pid_t child = ways_to_fork[way].fork();
            if (child == 0) return;
            if (end_of(child) == "exit 0") counter->fetch_add(1);
        }
    };
    const auto throwing = [counter = clean_ends.get()] {
        for (int way = 0; way < ways; ++way) {
            const pid_t child = ways_to_fork[way].fork();
            if (child == 0) throw std::runtime_error("in a child");
            if (end_of(child) == "exit 1") counter->fetch_add(1);
        }
    };
    {
        ProcessPoolExecutor pool(PoolOptions{.max_workers = 1,
                                             .initializer = hook,
                                             .on_worker_start = throwing,
                                             .on_worker_exit = hook});
        CHECK(pool.submit(square, 2).get() == 4);
        CHECK(clean_ends->load() == 2 * ways);
    }
    CHECK(clean_ends->load() == 3 * ways);
}

TEST_CASE("what a task forks reads the views that the task was called with") {
    ProcessPoolExecutor pool(1);
    const auto sum_in_children = [](std::span<const int> numbers) {
        return fork_and_end([&] {
            const int expected = static_cast<int>(numbers.size()) * numbers.front();
            _exit(std::accumulate(numbers.begin(), numbers.end(), 0) == expected ? 3 : 1);
        });
    };
    const auto run_tool = [](std::string_view command) {
        return fork_and_end([&] {
            const std::string text(command);
            execl("/bin/sh", "sh", "-c", text.c_str(), nullptr);
            _exit(127);
        });
    };
    CHECK(pool.submit(sum_in_children, std::vector<int>(3, 7)).get() == "");
    CHECK(pool.submit(sum_in_children, std::vector<int>(1 << 20, 7)).get() == "");
    CHECK(pool.submit(run_tool, "exit 3").get() == "");
    CHECK(pool.submit(run_tool, "exit 3 # " + std::string(1 << 16, 'x')).get() == "");
    CHECK(pool.map(run_tool, std::vector<std::string>(8, "exit 3")).get() ==
          std::vector<std::string>(8));
}

TEST_CASE("what a task forks cannot write to the memory that it shares with the program") {
    ProcessPoolExecutor pool(1);
    const auto write_in_child = [](std::string_view text) {
        const pid_t child = fork();
        if (child == 0) {
            signal(SIGSEGV, SIG_DFL);
            const_cast<char&>(text.front()) = 'y';
            _exit(3);
        }
        return end_of(child) + " " + std::string(text);
    };
    CHECK(pool.submit(write_in_child, "x").get() == "signal " + std::to_string(SIGSEGV) + " x");
}
