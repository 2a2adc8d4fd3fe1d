// What the hooks of a pool may be, and how long they may take.

#include "executor/helpers.hpp"
#include "executor/supervisor/hook_monitor.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"

#include <prong/prong.hpp>

#include <unistd.h>

#include <memory>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace prong::test;
using Catch::Matchers::Contains;
using prong::WorkerHook;
using prong::executor::HookMonitor;
using prong::executor::SharedState;
using prong::executor::StartState;

namespace {

std::string word;
long sum = 0;

void set_word(const std::string& text, int times) {
    for (int i = 0; i < times; ++i) word += text;
}

void append_word(std::string_view text) {
    word += text;
}

/// The result of a hook is ignored, and need not be able to cross.
void* add_up(std::span<const int> numbers) {
    sum = std::accumulate(numbers.begin(), numbers.end(), 0L);
    return &sum;
}

void take_box(std::unique_ptr<int> box) {
    sum += *box;
}

std::string get_word() {
    return word;
}

void hang() {
    for (;;) pause();
}

/// Runs `test` as it is, and in a program with a zygote. It throws what is wrong.
template <typename Test>
void with_and_without_zygote(Test test) {
    test();
    const auto child = run_in_child([&] {
        prong::start_zygote();
        test();
        return 0;
    });
    CHECK(child.err == "");
    CHECK(child.exitcode == 0);
}

void require(bool condition, const char* what) {
    if (!condition) throw std::logic_error(what);
}

std::string cause_of_break(ProcessPoolExecutor& pool) {
    try {
        pool.submit(square, 1).get();
    } catch (const BrokenProcessPool& error) { // by either of the two
        return error.what();
    }
    throw std::logic_error("the pool does not break");
}

} // namespace

TEST_CASE("a hook may have arguments, with a zygote, too") {
    with_and_without_zygote([] {
        const std::vector<int> many(1'000'000, 2);
        ProcessPoolExecutor pool(PoolOptions{.max_workers = 1,
                                             .initializer = {set_word, "ab", 2},
                                             .on_worker_start = {append_word, std::string("c")},
                                             .on_worker_exit = {set_word, "d", 1}});
        require(pool.submit(get_word).get() == "ababc", "functions with arguments");
        ProcessPoolExecutor other(
            PoolOptions{.max_workers = 2,
                        .initializer = {add_up, many},
                        .on_worker_start = WorkerHook([](long more) { sum += more; }, 7)});
        for (int i = 0; i < 8; ++i)
            require(other.submit([] { return sum; }).get() == 2'000'007, "many arguments");
        int added = 3;
        ProcessPoolExecutor marked(
            PoolOptions{.max_workers = 1,
                        .initializer = {take_box, std::make_unique<int>(4)},
                        .on_worker_start = with_captures([added] { sum += added; })});
        require(marked.submit([] { return sum; }).get() == 7, "captures");
    });
}

TEST_CASE("each worker decodes the arguments of a hook anew") {
    ProcessPoolExecutor pool(PoolOptions{
        .max_workers = 1, .max_tasks_per_worker = 1, .initializer = {set_word, "x", 3}});
    for (int i = 0; i < 3; ++i) CHECK(pool.submit(get_word).get() == "xxx");
}

TEST_CASE("arguments of hooks that exceed max_payload_bytes are refused with a zygote") {
    with_and_without_zygote([] {
        const std::string large(100'000, 'x');
        const bool has_zygote = !children_of(getpid()).empty();
        try {
            ProcessPoolExecutor pool(PoolOptions{
                .max_workers = 1, .max_payload_bytes = 4096, .initializer = {set_word, large, 1}});
            require(pool.submit([] { return word.size(); }).get() == large.size(), "it is copied");
            require(!has_zygote, "it crosses shared memory");
        } catch (const prong::LimitExceeded&) {
            require(has_zygote, "only a request is limited");
        }
    });
}

TEST_CASE("an initializer that exceeds start_timeout breaks the pool, and the error says so") {
    with_and_without_zygote([] {
        for (const bool in_initializer : {true, false}) {
            PoolOptions options{.max_workers = 2, .start_timeout = 5ms};
            (in_initializer ? options.initializer : options.on_worker_start) = hang;
            ProcessPoolExecutor pool(std::move(options));
            const std::string cause = cause_of_break(pool);
            require(cause.find("3 tries in a row") != std::string::npos, cause.c_str());
            require(cause.find("exceeded PoolOptions::start_timeout") != std::string::npos,
                    cause.c_str());
        }
    });
}

TEST_CASE("a worker that exceeds start_timeout once is replaced") {
    const Shared<Counter> starts;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .start_timeout = 1s, .initializer = [&] {
                                             if (++*starts == 1) hang();
                                         }});
    CHECK(pool.submit(square, 3).get() == 9);
    CHECK(*starts >= 2);
    CHECK(pool.stats().workers[0].deaths == 0);
}

TEST_CASE("a pool whose workers hang at start can be shut down") {
    const Shared<Counter> starts;
    ProcessPoolExecutor pool(
        PoolOptions{.max_workers = 1, .start_timeout = 50ms, .initializer = [&] {
                        ++*starts;
                        hang();
                    }});
    REQUIRE(eventually([&] { return *starts >= 1; }));
    pool.shutdown();
    CHECK(children_of(getpid()).empty());
}

TEST_CASE(
    "an on_worker_exit that exceeds start_timeout is killed, reported, and no worker's death") {
    const auto child = run_in_child([] {
        const Shared<Counter> exits;
        const auto hang_first = [&] {
            if (++*exits == 1) hang();
        };
        ProcessPoolExecutor pool(PoolOptions{.max_workers = 1,
                                             .on_worker_death = prong::OnWorkerDeath::break_pool,
                                             .max_tasks_per_worker = 1,
                                             .start_timeout = 400ms,
                                             .on_worker_exit = hang_first});
        // Beyond the supervisor's alarm for the start: only the worker's notice wakes it then.
        pool.submit([] { std::this_thread::sleep_for(1s); }).get();
        require(pool.submit(square, 4).get() == 16, "its worker's successor");
        pool.shutdown();
        require(pool.stats().workers[0].deaths == 0, "a death");
        return 0;
    });
    CHECK(child.exitcode == 0);
    CHECK_THAT(child.err, Contains("on_worker_exit exceeded PoolOptions::start_timeout"));
}

TEST_CASE("only workers whose hooks run are killed") {
    SharedState state = SharedState::create(SharedState::choose_sizes(3, 0));
    HookMonitor monitor(state, 0ns);
    std::vector<unsigned> killed;
    const auto kill = [&](unsigned worker) { killed.push_back(worker); };
    for (unsigned worker = 0; worker < 3; ++worker) {
        state.slot(worker).start.store(StartState::starting);
        monitor.starting(worker);
    }
    state.slot(1).start.store(StartState::ready);
    for (int i = 0; i < 2; ++i) CHECK(monitor.look(kill).is_never());
    CHECK(killed == std::vector<unsigned>{0, 2});
    CHECK(state.slot(0).start.load() == StartState::expired);
    CHECK(state.slot(1).start.load() == StartState::ready);
    CHECK_FALSE(monitor.has_killed(1));
    state.slot(1).leaving.store(true);
    for (int i = 0; i < 2; ++i) CHECK(monitor.look(kill).is_never());
    CHECK(killed == std::vector<unsigned>{0, 2, 1});
    monitor.starting(1);
    CHECK_FALSE(monitor.has_killed(1));
}

TEST_CASE("start_timeout concerns pools with hooks only, and is more than 0") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .start_timeout = 1ns});
    CHECK(pool.submit(square, 3).get() == 9);
    CHECK_THROWS_AS(ProcessPoolExecutor(PoolOptions{.max_workers = 1, .start_timeout = 0s}),
                    std::invalid_argument);
}
