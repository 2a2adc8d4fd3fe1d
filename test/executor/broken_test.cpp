// What happens when no process is left to run tasks: a pool cannot start workers, a supervisor or
// the whole program is killed.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/environment.hpp"

#include <prong/prong.hpp>

#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using Catch::Matchers::Contains;

namespace {

/// The cause in the error of a future of a pool that must break.
std::string cause_of_break(std::function<void()> initializer) {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .initializer = std::move(initializer)});
    std::vector<Future<int>> futures;
    try {
        for (int i = 0; i < 10; ++i) futures.push_back(pool.submit(square, i));
    } catch (const BrokenProcessPool&) { // it may break that early
    }
    std::string cause;
    try {
        for (;;) futures.push_back(pool.submit(square, 1)), futures.back().wait();
    } catch (const BrokenProcessPool& error) {
        cause = error.what();
    }
    for (auto& future : futures) CHECK(error_of<BrokenProcessPool>(future).what() == cause);
    CHECK_THROWS_AS(pool.try_submit(square, 1), BrokenProcessPool);
    CHECK_THROWS_AS(pool.map(square, std::views::iota(0, 3)).get(), BrokenProcessPool);
    return cause;
}

/// A program that holds a pool, for the test to kill: it writes its processes to shared memory.
struct Program {
    Counter parent{0};
    Counter supervisor{0};
    std::array<Counter, 3> workers{};
    Counter grandchild{0};
    Counter ready{0};
};

/// Forks the program and waits until all of its processes are there.
void start(const Shared<Program>& program) {
    const pid_t pid = fork();
    if (pid == 0) {
        const Shared<Gate> gate;
        ProcessPoolExecutor pool(3);
        auto held = occupy(pool, gate);
        program->supervisor = supervisor_of(getpid());
        const auto workers = workers_of(program->supervisor);
        for (std::size_t i = 0; i < 3; ++i) program->workers[i] = workers.at(i);
        gate->open();
        static_cast<void>(results_of(held));
        held.clear();
        gate->close();
        // One of them works, one has forked, and one is idle.
        held.push_back(pool.submit(pass(gate)));
        pool.submit(with_captures([place = program.get()] {
                const pid_t child = fork();
                if (child == 0)
                    for (;;) pause();
                place->grandchild = child;
            }))
            .get();
        program->parent = getpid();
        program->ready = 1;
        for (;;) pause();
    }
    REQUIRE(eventually([&] { return program->ready == 1; }));
}

std::vector<pid_t> processes_of(const Program& program) {
    std::vector<pid_t> pids{program.supervisor};
    for (const Counter& worker : program.workers) pids.push_back(worker);
    return pids;
}

bool all_gone(const std::vector<pid_t>& pids) {
    return std::ranges::none_of(pids, is_running);
}

/// How often this thread has given up its CPU.
long sleeps_of_this_thread() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

} // namespace

TEST_CASE("an initializer that throws breaks the pool, and the error says what it threw") {
    const Shared<Counter> runs;
    const std::string cause = cause_of_break([&] {
        ++*runs;
        throw std::runtime_error("no tables to load");
    });
    CHECK_THAT(cause, Contains("no tables to load") && Contains("initializer"));
    CHECK(runs->load() >= 3);
    CHECK(runs->load() <= 3 + 2);
    CHECK_THAT(cause_of_break([] { throw 1; }), Contains("initializer"));
}

TEST_CASE("an initializer that ends its process breaks the pool, and the error says how") {
    CHECK_THAT(cause_of_break([] { _exit(4); }), Contains("exited with code 4"));
    CHECK_THAT(cause_of_break([] { std::exit(5); }), Contains("exited with code 5"));
    CHECK_THAT(cause_of_break([] { raise(SIGSEGV); }), Contains("SIGSEGV"));
    CHECK_THAT(cause_of_break([] { raise(SIGKILL); }), Contains("SIGKILL"));
}

TEST_CASE("initializers that fail sometimes do not break the pool") {
    const Shared<Counter> runs;
    const auto failing = [&] {
        if (++*runs % 3 != 0) throw std::runtime_error("not this time"); // two of three
    };
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .initializer = failing});
    for (int i = 0; i < 30; ++i) {
        REQUIRE(pool.submit(square, i).get() == i * i);
        CHECK_THROWS_AS(pool.submit([] { _exit(1); }).get(), WorkerDied);
    }
    CHECK(runs->load() >= 90);
}

TEST_CASE("a pool that breaks later loses running tasks too, and a new pool works") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    const auto initializer = [&] {
        if (++*runs > 2) throw std::runtime_error("worn out");
    };
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .initializer = initializer});
    auto held = occupy(pool, gate);
    Future<int> pending = pool.submit(square, 1);
    kill(workers_of(supervisor_of(getpid())).front(), SIGKILL);
    CHECK_THAT(error_of<BrokenProcessPool>(pending).what(), Contains("worn out"));
    int died = 0;
    for (auto& future : held) {
        try {
            future.get();
            FAIL("the gate was closed");
        } catch (const WorkerDied&) {
            ++died;
        } catch (const BrokenProcessPool&) {
        }
    }
    CHECK(died >= 1);
    ProcessPoolExecutor other(1);
    CHECK(other.submit(square, 3).get() == 9);
}

TEST_CASE("an initializer that never returns does not keep the pool from being killed") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .initializer = [&] { gate->pass(); }});
    Future<int> future = pool.submit(square, 1);
    REQUIRE(gate->await_arrivals(2));
    pool.kill_workers();
    pool.shutdown();
    CHECK_THROWS_AS(future.get(), CancelledError);
}

TEST_CASE("when the supervisor is killed no wait hangs, and the workers end") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    auto held = occupy(pool, gate);
    std::vector<Future<int>> pending;
    for (int i = 0; i < 10; ++i) pending.push_back(pool.submit(square, i));
    const pid_t supervisor = supervisor_of(getpid());
    const auto workers = workers_of(supervisor);
    std::thread getter([&] { CHECK_THROWS_AS(held[0].get(), BrokenProcessPool); });
    std::thread waiter([&] { CHECK(prong::wait(pending).not_done.empty()); });
    kill(supervisor, SIGKILL);
    getter.join();
    waiter.join();
    CHECK_THROWS_AS(held[1].get_for(60s), BrokenProcessPool);
    for (auto& future : pending) {
        CHECK(future.done());
        CHECK_FALSE(future.cancelled());
        CHECK_THROWS_AS(future.get(), BrokenProcessPool);
    }
    CHECK_THROWS_AS(pool.submit(square, 1), BrokenProcessPool);
    CHECK(eventually([&] { return all_gone(workers); }));
    pool.shutdown();
}

TEST_CASE("a supervisor that is killed while it starts workers leaves none of them") {
    const Shared<Gate> gate;
    std::mt19937_64 random(test_seed());
    std::uniform_int_distribution<int> microseconds(0, 1000);
    for (int i = 0; i < (full_run() ? 5000 : 300); ++i) {
        ProcessPoolExecutor pool(8);
        pid_t supervisor = 0; // the only child
        std::ifstream("/proc/thread-self/children") >> supervisor;
        REQUIRE(supervisor > 0);
        std::this_thread::sleep_for(std::chrono::microseconds(microseconds(random)));
        kill(supervisor, SIGKILL);
        CHECK_THROWS_AS(pool.submit(pass(gate)).get(), BrokenProcessPool);
    } // and no orphan
}

TEST_CASE("a worker that finds its supervisor dead right after the fork ends") {
    static Counter* forks = nullptr;
    const Shared<Counter> counter;
    forks = counter.get();
    pthread_atfork(nullptr, nullptr, [] {
        if (forks == nullptr || ++*forks != 2) return; // the first one is the supervisor
        const pid_t supervisor = getppid();
        kill(supervisor, SIGKILL);
        while (getppid() == supervisor) std::this_thread::yield();
    });
    prctl(PR_SET_CHILD_SUBREAPER, 1); // to find and reap what was left
    {
        ProcessPoolExecutor pool(1);
        CHECK_THROWS_AS(pool.submit(square, 1).get(), BrokenProcessPool);
    }
    forks = nullptr;
    CHECK(eventually([] {
        while (waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        return children_of(getpid()).empty();
    }));
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST_CASE("polling detects the end of the supervisor, and so do wait, as_completed and map") {
    const Shared<Gate> gate;
    std::vector<Future<int>> futures;
    std::optional<ProcessPoolExecutor> pool(std::in_place, 1);
    futures = occupy(*pool, gate);
    for (int i = 0; i < 3; ++i) futures.push_back(pool->submit(square, i));
    auto mapped = pool->map(square, std::views::iota(0, 10));
    kill(supervisor_of(getpid()), SIGKILL);
    CHECK(eventually([&] { return futures[2].done(); }));
    CHECK_FALSE(futures[0].running());
    CHECK(prong::wait(futures, prong::ReturnWhen::first_exception).done.size() > 1);
    int ended = 0;
    for (auto& future : prong::as_completed(futures)) {
        CHECK_THROWS_AS(future.get(), BrokenProcessPool);
        ++ended;
    }
    CHECK(ended == 4);
    CHECK_THROWS_AS(mapped.get(), BrokenProcessPool);
    pool.reset();
}

TEST_CASE("the futures of a pool that has ended do not sleep, each for itself") {
    constexpr std::size_t count = 5000;
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    auto mapped = pool.map({.chunksize = 1, .lookahead = count}, square,
                           std::views::iota(0, static_cast<int>(count)));
    std::vector<Future<int>> futures;
    for (std::size_t i = 0; i < 4 * count; ++i) futures.push_back(pool.submit(square, 1));
    SECTION("killed from outside") {
        kill(supervisor_of(getpid()), SIGKILL);
    }
    SECTION("by kill_workers") {
        pool.kill_workers();
    }
    SECTION("by terminate_workers") {
        pool.terminate_workers();
    }
    const long sleeps = sleeps_of_this_thread();
    std::size_t errors = 0;
    const auto take = [&](auto get) {
        try {
            get();
        } catch (const prong::Error&) {
            ++errors;
        }
    };
    for (std::size_t i = 0; i < count; ++i) take([&] { futures[i].get(); });
    for (std::size_t i = count; i < 2 * count; ++i) errors += futures[i].exception() ? 1U : 0U;
    std::span rest = std::span(futures).subspan(2 * count);
    CHECK(prong::wait(rest.first(count)).not_done.empty());
    for (auto& future : prong::as_completed(rest)) take([&] { future.get(); });
    for (auto it = mapped.begin(); it != mapped.end(); ++it) take([&] { *it; });
    CHECK(errors == 5 * count);
    CHECK(sleeps_of_this_thread() - sleeps < 500);
}

TEST_CASE("submit does not wait for room in a pool that has lost its supervisor") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 1});
    auto held = occupy(pool, gate);
    auto queued = pool.submit(square, 1);
    kill(supervisor_of(getpid()), SIGKILL);
    CHECK_THROWS_AS(pool.submit(square, 2), BrokenProcessPool);
}

TEST_CASE("when the program, its supervisor or both are killed, nothing is left") {
    const bool kill_parent = GENERATE(true, false);
    const bool kill_supervisor = GENERATE(true, false);
    const bool supervisor_stopped = GENERATE(false, true);
    if (!kill_parent && !kill_supervisor) return;
    if (supervisor_stopped && !kill_supervisor) return;
    prctl(PR_SET_CHILD_SUBREAPER, 1); // to find and reap what was left
    const Shared<Program> program;
    start(program);
    const auto pids = processes_of(*program);
    if (supervisor_stopped) kill(program->supervisor, SIGSTOP);
    if (kill_supervisor) kill(program->supervisor, SIGKILL);
    if (kill_parent) kill(program->parent, SIGKILL);
    CAPTURE(kill_parent, kill_supervisor);
    CHECK(eventually([&] { return all_gone(pids); }));
    if (!kill_supervisor) CHECK(eventually([&] { return !is_running(program->grandchild); }));
    kill(program->parent, SIGKILL);
    kill(program->grandchild, SIGKILL);
    for (const pid_t pid : {program->parent.load(), program->grandchild.load()}) {
        CHECK(eventually([&] { return !is_running(pid); }));
    }
    while (waitpid(-1, nullptr, 0) > 0) {
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST_CASE("a stopped supervisor is continued by the calls that need it") {
    ProcessPoolExecutor pool(1);
    const auto stop = [] { return kill(getppid(), SIGSTOP); };
    CHECK(pool.submit(stop).get() == 0);
    auto dies = pool.submit([] { raise(SIGKILL); });
    CHECK_THROWS_AS(dies.get(), WorkerDied);
    CHECK(pool.submit(stop).get() == 0);
    auto hangs = pool.submit([] { pause(); });
    REQUIRE(eventually([&] { return hangs.running(); }));
    CHECK(hangs.kill());
    CHECK_THROWS_AS(hangs.get(), CancelledError);
    CHECK(pool.submit(stop).get() == 0);
    CHECK(pool.shutdown_for(10s));
}

TEST_CASE("a program that only tries to submit detects the end of the supervisor") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 1});
    auto running = pool.submit(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    auto queued = pool.submit(square, 1);
    CHECK_FALSE(pool.try_submit(square, 2));
    kill(supervisor_of(getpid()), SIGKILL);
    CHECK(eventually([&] {
        try {
            return pool.try_submit(square, 3).has_value();
        } catch (const BrokenProcessPool&) {
            return true;
        }
    }));
    CHECK_THROWS_AS(pool.try_submit_for(0s, square, 3), BrokenProcessPool);
}

TEST_CASE("a program that only calls done() continues a stopped supervisor") {
    ProcessPoolExecutor pool(1);
    CHECK(pool.submit(square, 3).get() == 9);
    kill(supervisor_of(getpid()), SIGSTOP);
    auto future = pool.submit([] { raise(SIGKILL); });
    CHECK(eventually([&] { return future.done(); }));
    CHECK_THROWS_AS(future.get(), WorkerDied);
    kill(supervisor_of(getpid()), SIGSTOP);
    auto other = pool.submit([] { raise(SIGKILL); });
    REQUIRE(eventually([&] { return other.running() || other.done(); }));
    CHECK(eventually([&] { return !other.running(); }));
    CHECK_THROWS_AS(other.get(), WorkerDied);
}

TEST_CASE("a program that only calls join_for continues a stopped supervisor") {
    ProcessPoolExecutor pool(1);
    CHECK(pool.submit(square, 3).get() == 9);
    kill(supervisor_of(getpid()), SIGSTOP);
    pool.shutdown(false);
    CHECK(eventually([&] { return pool.join_for(0s); }));
}
