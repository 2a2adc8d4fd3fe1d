// A task takes its worker with it, and nothing else. The crash contract, row by row.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"
#include "support/sanitizer.hpp"

#include <prong/prong.hpp>

#include <pthread.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using Catch::Matchers::Contains;

namespace {

enum class Death { segfault, abort, quick_exit, exit, sigkill, sigterm, overflow };

[[gnu::noinline]] int overflow_stack(volatile char* before) {
    volatile char page[4096];
    page[0] = *before;
    return *before == 0 ? 0 : overflow_stack(page) + page[0];
}

void die(Death death) {
    switch (death) {
    case Death::segfault:
        std::raise(SIGSEGV);
        break;
    case Death::abort:
        std::abort();
    case Death::quick_exit:
        _exit(7);
    case Death::exit:
        std::exit(0);
    case Death::sigkill:
        std::raise(SIGKILL);
        break;
    case Death::sigterm:
        std::raise(SIGTERM);
        break;
    case Death::overflow: {
        char first = 1;
        overflow_stack(&first);
    }
    }
}

int exitcode_of(Death death) {
    static const std::map<Death, int> codes{{Death::segfault, -SIGSEGV}, {Death::abort, -SIGABRT},
                                            {Death::quick_exit, 7},      {Death::exit, 0},
                                            {Death::sigkill, -SIGKILL},  {Death::sigterm, -SIGTERM},
                                            {Death::overflow, -SIGSEGV}};
    return codes.at(death);
}

constexpr Death deaths[] = {Death::segfault, Death::abort,   Death::quick_exit, Death::exit,
                            Death::sigkill,  Death::sigterm, Death::overflow};

/// Kills its process when it is encoded or decoded there, but not in the test's own.
struct Deadly {
    static inline const pid_t tester = getpid();
    Death death = Death::segfault;
    bool when_encoded = false;
    std::string ballast; // written before the death

    template <typename Archive>
    void save(Archive& archive) const {
        archive(death, when_encoded, ballast);
        if (when_encoded && getpid() != tester) die(death);
    }
    template <typename Archive>
    void load(Archive& archive) {
        archive(death, when_encoded, ballast);
        if (!when_encoded && getpid() != tester) die(death);
    }
};

/// Takes a payload block first.
struct CannotBeEncoded {
    template <typename Archive>
    void save(Archive& archive) const {
        archive(std::string(1 << 20, 'x'));
        throw std::domain_error("no result");
    }
    template <typename Archive>
    void load(Archive&) {}
};

void parse_forever(std::string_view) {
    die(Death::segfault);
}

/// Checks that the pool has all of its workers again.
void check_recovered(ProcessPoolExecutor& pool, const Shared<Gate>& gate) {
    auto held = occupy(pool, gate);
    gate->open();
    auto pids = results_of(held);
    std::ranges::sort(pids);
    CHECK(std::ranges::adjacent_find(pids) == pids.end());
    gate->close();
}

[[gnu::noinline]] int crash_in_here(volatile int* place) {
    *place = 1;
    return *place + 1;
}

int call_null() {
    int (*volatile function)() = nullptr;
    return function() + 1;
}

int crash() {
    volatile int* volatile nowhere = nullptr; // so that the compiler does not know
    return crash_in_here(nowhere) + 1;
}

[[gnu::noinline]] int overflow(int n) {
    volatile char place[256] = {};
    place[0] = static_cast<char>(n);
    return n < 0 ? n : overflow(n + 1) + place[0];
}

} // namespace

TEST_CASE("a task that ends its process ends with WorkerDied, and a new worker takes its place") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    for (const Death death : deaths) {
        const int pid = pool.submit(pid_of_worker).get();
        Future<void> future = pool.submit(die, death);
        const auto error = error_of<WorkerDied>(future);
        CHECK(error.exitcode() == exitcode_of(death));
        CHECK(error.signal() == std::max(0, -exitcode_of(death)));
        CHECK_FALSE(is_running(error.pid()));
        CHECK_THAT(error.task(), Contains("die(") && Contains("[task "));
        CHECK_THAT(error.what(), Contains(std::to_string(error.pid())));
        CHECK(pid > 0);
        check_recovered(pool, gate);
    }
}

TEST_CASE("the error of a death says which process died of what, running what") {
    ProcessPoolExecutor pool(1);
    auto future = pool.submit(parse_forever, "text");
    future.wait();
    CHECK_FALSE(future.running());
    CHECK_FALSE(future.cancelled());
    CHECK_FALSE(future.cancel());
    const auto error = error_of<WorkerDied>(future);
    const std::string pid = std::to_string(error.pid());
    CHECK(error.task() == "parse_forever(std::string_view) [task 0]");
    CHECK(error.what() ==
          "worker " + pid + " died of SIGSEGV (exit code -11) while running " + error.task());
}

TEST_CASE("a death while arguments are decoded or the result is encoded is the task's own") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    for (const Death death : {Death::segfault, Death::quick_exit, Death::exit, Death::sigkill}) {
        for (const std::size_t size : {0UL, 100UL, 1UL << 20, 16UL << 20}) {
            const std::string ballast(size, 'b');
            auto decoded = pool.submit([](const Deadly&) {}, Deadly{death, false, ballast});
            CHECK(error_of<WorkerDied>(decoded).exitcode() == exitcode_of(death));
            auto encoded = pool.submit(
                [](Death how, const std::string& text) {
                    return Deadly{how, true, text};
                },
                death, ballast);
            CHECK(error_of<WorkerDied>(encoded).exitcode() == exitcode_of(death));
        }
    }
    check_recovered(pool, gate);
}

TEST_CASE("an exception thrown while the result is encoded is the task's error") {
    ProcessPoolExecutor pool(1);
    const int worker = pool.submit(pid_of_worker).get();
    for (int i = 0; i < 100; ++i) {
        CHECK_THROWS_AS(pool.submit([] { return CannotBeEncoded(); }).get(), std::domain_error);
    }
    CHECK(pool.submit(pid_of_worker).get() == worker);
}

TEST_CASE("a death harms no task that runs or waits beside it") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(3);
    Future<int> beside = pool.submit(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    std::vector<Future<int>> waiting;
    std::vector<Future<void>> dying;
    for (int i = 0; i < 200; ++i) {
        if (i % 10 == 0)
            dying.push_back(pool.submit(die, deaths[static_cast<std::size_t>(i / 10) % 7]));
        waiting.push_back(pool.submit(square, i));
    }
    for (int i = 0; i < 200; ++i) CHECK(waiting[static_cast<std::size_t>(i)].get() == i * i);
    for (auto& future : dying) CHECK_THROWS_AS(future.get(), WorkerDied);
    CHECK_FALSE(beside.done());
    gate->open();
    CHECK(beside.get() > 0);
}

TEST_CASE("a replaced worker leaves no other asleep while there is work") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    for (int round = 0; round < 300; ++round) {
        CHECK_THROWS_AS(pool.submit(die, Death::quick_exit).get(), WorkerDied);
        check_recovered(pool, gate); // here no thread waits for a future and could wake them
    }
}

TEST_CASE("an idle worker that is killed is replaced, and no task notices") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    check_recovered(pool, gate);
    const pid_t supervisor = supervisor_of(getpid());
    for (int round = 0; round < 20; ++round) {
        const auto before = workers_of(supervisor);
        for (const pid_t worker : before) kill(worker, SIGKILL);
        CHECK(pool.submit(square, round).get() == round * round);
        CHECK(eventually([&] { // all of them are new
            const auto now = workers_of(supervisor);
            return now.size() == 2 && std::ranges::find_first_of(now, before) == now.end();
        }));
    }
}

TEST_CASE("all workers die again and again with a full backlog") {
    ProcessPoolExecutor pool(4);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 400; ++i) {
        futures.push_back(pool.submit([](int n) { return n % 2 == 0 ? n : (_exit(3), n); }, i));
    }
    for (int i = 0; i < 400; ++i) {
        auto& future = futures[static_cast<std::size_t>(i)];
        if (i % 2 == 0)
            CHECK(future.get() == i);
        else
            CHECK(error_of<WorkerDied>(future).exitcode() == 3);
    }
}

TEST_CASE("what a task leaves running in its worker's group ends with the worker") {
    const Shared<Counter> child;
    ProcessPoolExecutor pool(1);
    auto future = pool.submit(with_captures([place = child.get()] {
        const pid_t pid = fork();
        if (pid == 0) {
            for (;;) pause();
        }
        *place = pid;
        _exit(1);
    }));
    CHECK_THROWS_AS(future.get(), WorkerDied);
    CHECK(eventually([&] { return !is_running(*child); }));
}

TEST_CASE("a worker writes no core file") {
    ProcessPoolExecutor pool(1);
    CHECK(pool.submit([] {
                  rlimit limit{};
                  getrlimit(RLIMIT_CORE, &limit);
                  return limit.rlim_cur;
              })
              .get() == 0);
}

TEST_CASE("the others continue while a worker is stopped, whether it is busy or idle") {
    const Shared<Gate> gate;
    const Shared<Gate> second;
    const Shared<Counter> busy;
    ProcessPoolExecutor pool(2);
    check_recovered(pool, gate);
    Future<void> task = pool.submit(
        with_captures([place = busy.get(), first_gate = gate.get(), second_gate = second.get()] {
            *place = getpid();
            first_gate->pass();
            second_gate->pass();
        }));
    REQUIRE(eventually([&] { return *busy != 0; }));
    auto workers = workers_of(supervisor_of(getpid()));
    std::erase(workers, *busy);
    const pid_t idle = workers.at(0);

    kill(*busy, SIGSTOP);
    for (int i = 0; i < 100; ++i) REQUIRE(pool.submit(pid_of_worker).get_for(60s) == idle);
    kill(*busy, SIGCONT);
    gate->open();
    REQUIRE(second->await_arrivals(1));

    kill(idle, SIGSTOP);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 100; ++i) futures.push_back(pool.submit(pid_of_worker));
    second->open();
    task.get_for(60s);
    for (auto& future : futures) REQUIRE(future.get_for(60s) == *busy);
    kill(idle, SIGCONT);
    gate->close();
    check_recovered(pool, gate);
}

TEST_CASE("a task that ends its thread unwinds nothing of the program's") {
    const Shared<Counter> destroyed;
    check_child([&] {
        struct Guard {
            Counter* destroyed;
            ~Guard() { ++*destroyed; }
        } guard{destroyed.get()};
        ProcessPoolExecutor pool(1);
        auto future = pool.submit([] { pthread_exit(nullptr); });
        require_throws<WorkerDied>([&] { future.get(); }, "a task that ends its thread");
        require(pool.submit(square, 3).get() == 9, "there is another worker");
    });
    CHECK(*destroyed == 1);
}

TEST_CASE("the error of a crash says where it was") {
    ProcessPoolExecutor pool(1);
    auto future = pool.submit(crash);
    const auto death = error_of<WorkerDied>(future);
    CHECK(death.signal() == SIGSEGV);
    CHECK_THAT(death.backtrace(), Contains("crash_in_here(int volatile*)"));
    CHECK_THAT(death.backtrace(), Contains("crash_test.cpp"));
    auto aborted = pool.submit([] { std::abort(); });
    const auto abortion = error_of<WorkerDied>(aborted);
    CHECK(abortion.signal() == SIGABRT);
    CHECK_THAT(abortion.backtrace(), Contains("abort"));
    auto exited = pool.submit([] { _exit(3); });
    CHECK(error_of<WorkerDied>(exited).backtrace().empty());
    auto killed = pool.submit([] { return raise(SIGKILL); });
    CHECK(error_of<WorkerDied>(killed).backtrace().empty());
    auto nowhere = pool.submit(call_null);
    CHECK_THAT(error_of<WorkerDied>(nowhere).backtrace(), Contains("call_null()"));
}

TEST_CASE("a stack overflow and a crash in a thread are reported, too") {
    ProcessPoolExecutor pool(1);
    auto deep = pool.submit(overflow, 0);
    const auto death = error_of<WorkerDied>(deep);
    CHECK(death.signal() == SIGSEGV);
    if (!address_sanitizer) CHECK_THAT(death.backtrace(), Contains("overflow(int)"));
    auto threaded = pool.submit([] { std::thread([] { crash(); }).join(); });
    CHECK_THAT(error_of<WorkerDied>(threaded).backtrace(),
               Contains("crash_in_here(int volatile*)"));
    CHECK(pool.submit(square, 2).get() == 4);
}
