// What a worker says of itself: its name, its parent, its random numbers.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/forks.hpp"

#include <prong/prong.hpp>

#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

using namespace prong::test;

namespace {

/// What a worker knows of its family.
struct Identity {
    std::string name;
    int pid;
    bool is_daemon;
    std::string parent_name;
    int parent_pid;
    bool parent_is_alive;
    bool parent_has_ended;
    std::size_t children;
};

Identity identity() {
    const auto self = prong::current_process();
    const auto parent = prong::parent_process().value();
    return {.name = self.name(),
            .pid = self.pid(),
            .is_daemon = self.daemon(),
            .parent_name = parent.name(),
            .parent_pid = parent.pid(),
            .parent_is_alive = parent.is_alive(),
            .parent_has_ended = parent.join_for(std::chrono::seconds(0)),
            .children = prong::active_children().size()};
}

std::string name_of_child() {
    prong::Process process([] {
        const bool is_named = prong::current_process().name() == "PoolWorker-0:1" &&
                              prong::parent_process()->name() == "PoolWorker-0";
        std::exit(is_named ? 10 : 11);
    });
    process.start();
    process.join();
    return process.exitcode() == 10 && prong::active_children().empty() ? process.name() : "wrong";
}

void require_family(ProcessPoolExecutor& pool, int program, const std::string& program_name) {
    const Identity worker = pool.submit(identity).get();
    require(worker.name == "PoolWorker-0", "its name is " + worker.name);
    require(worker.pid == pool.submit(pid_of_worker).get(), "its pid");
    require(worker.parent_name == program_name, "its parent is " + worker.parent_name);
    require(worker.parent_pid == program, "its parent's pid");
    require(worker.parent_is_alive && !worker.parent_has_ended, "its parent lives");
    require(worker.children == 0, "no children");
    require(pool.submit(name_of_child).get() == "PoolWorker-0:1", "a child's name");
    require(!worker.is_daemon, "no daemon");
}

/// Numbers from every generator of the C library that has its own state.
std::vector<long> draw() {
    return {random(), rand(), static_cast<long>(drand48() * 1e9), lrand48(), mrand48()};
}

struct Seeds {
    std::uint64_t of_initializer;
    std::uint64_t first;
    std::uint64_t second;
    int index;
};

std::uint64_t seed_in_initializer = 0;

Seeds seeds() {
    return {.of_initializer = seed_in_initializer,
            .first = prong::this_worker::seed(),
            .second = prong::this_worker::seed(),
            .index = prong::this_worker::index()};
}

} // namespace

TEST_CASE("a worker has a name, and the program is its parent") {
    for (const bool with_zygote : {false, true}) {
        INFO("with a zygote: " << with_zygote);
        check_child([with_zygote] {
            if (with_zygote) prong::start_zygote();
            ProcessPoolExecutor pool(1);
            require_family(pool, getpid(), "MainProcess");
            require(prong::current_process().name() == "MainProcess", "the program's own name");
            require(!prong::parent_process().has_value(), "the program's parent");
        });
    }
}

TEST_CASE("each worker is named after its index, also one that replaces another") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(3);
    const auto name = with_captures([place = gate.get()] {
        place->pass();
        return prong::current_process().name() + " " + std::to_string(prong::this_worker::index());
    });
    std::vector<Future<std::string>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(pool.submit(name));
    REQUIRE(gate->await_arrivals(3));
    gate->open();
    std::set<std::string> names;
    for (auto& future : futures) names.insert(future.get());
    CHECK(names == std::set<std::string>{"PoolWorker-0 0", "PoolWorker-1 1", "PoolWorker-2 2"});
    for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(pool.submit([] { _exit(3); }).get(), WorkerDied);
    const std::string again = pool.submit(name).get();
    CHECK(names.contains(again));
}

TEST_CASE("the workers of a process that is named have that for a parent") {
    prong::Process process([] {
        ProcessPoolExecutor pool(1);
        require_family(pool, getpid(), "Process with a pool");
    });
    process.set_name("Process with a pool");
    process.start();
    process.join();
    CHECK(process.exitcode() == 0);
}

TEST_CASE("the workers of a daemon are daemons: they start no processes") {
    prong::Process process([] {
        ProcessPoolExecutor pool(1);
        require(pool.submit(identity).get().is_daemon, "a daemon");
        require_throws<std::logic_error>([&] { pool.submit(name_of_child).get(); }, "no children");
    });
    process.set_daemon(true);
    process.start();
    process.join();
    CHECK(process.exitcode() == 0);
}

TEST_CASE("what a task forks has the name of its worker, and no seed") {
    ProcessPoolExecutor pool(1);
    const auto fork_and_ask = [](int way) {
        const pid_t child = ways_to_fork[way].fork();
        if (child == 0) {
            const bool right = prong::current_process().pid() == getpid() &&
                               prong::this_worker::seed() == 0 && prong::active_children().empty();
            _exit(right ? 3 : 1);
        }
        return end_of(child);
    };
    for (int way = 0; way < static_cast<int>(std::size(ways_to_fork)); ++way)
        CHECK(pool.submit(fork_and_ask, way).get() == "exit 3");
}

TEST_CASE("the C library's generators draw other numbers in each worker") {
    srandom(1);
    srand48(1);
    draw();
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(4);
    const auto draw_together = with_captures([place = gate.get()] {
        place->pass();
        return draw();
    });
    std::vector<Future<std::vector<long>>> futures;
    for (int i = 0; i < 4; ++i) futures.push_back(pool.submit(draw_together));
    REQUIRE(gate->await_arrivals(4));
    gate->open();
    std::vector<std::vector<long>> drawn;
    for (auto& future : futures) drawn.push_back(future.get());
    for (int i = 0; i < 4; ++i) CHECK_THROWS_AS(pool.submit([] { _exit(3); }).get(), WorkerDied);
    drawn.push_back(pool.submit(draw).get()); // of a replacement, most likely
    drawn.push_back(draw());
    for (std::size_t generator = 0; generator < drawn.front().size(); ++generator) {
        INFO("generator " << generator);
        std::set<long> numbers;
        for (const auto& of_process : drawn) numbers.insert(of_process[generator]);
        CHECK(numbers.size() == drawn.size());
    }
}

TEST_CASE("each worker has a seed, the same whenever it asks, and no other worker's") {
    CHECK(prong::this_worker::seed() == 0);
    const auto keep_seed = [] { seed_in_initializer = prong::this_worker::seed(); };
    for (const bool with_zygote : {false, true}) {
        INFO("with a zygote: " << with_zygote);
        check_child([&] {
            if (with_zygote) prong::start_zygote();
            ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .initializer = keep_seed});
            std::set<std::uint64_t> of_workers;
            for (int i = 0; i < 5; ++i) {
                const Seeds worker = pool.submit(seeds).get();
                require(worker.first != 0 && worker.index == 0, "a worker");
                require(worker.first == worker.second, "the same again");
                require(worker.first == worker.of_initializer, "the same as in the initializer");
                require(pool.submit(seeds).get().first == worker.first, "in the next task, too");
                of_workers.insert(worker.first);
                require_throws<WorkerDied>([&] { pool.submit([] { _exit(3); }).get(); },
                                           "replaced");
            }
            require(of_workers.size() == 5, "each replacement has its own seed");
        });
    }
}
