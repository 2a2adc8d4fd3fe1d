#include <prong/barrier.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/eventually.hpp"
#include "sync/family.hpp"

#include <prong/prong.hpp>

#include <atomic>
#include <csignal>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::Barrier;
using prong::BrokenBarrier;
using prong::Process;
using prong::ProcessPoolExecutor;

namespace {

/// Waits for as many to arrive.
bool arrive(const Barrier& barrier, int parties) {
    return eventually([&] { return barrier.n_waiting() == parties; });
}

int run_on_to_exitcode(Process& process) {
    process.join_for(patience);
    return process.exitcode().value_or(-1);
}

int wait_at(const Barrier& barrier) {
    return barrier.wait();
}

const Shared<std::atomic<int>> actions;

void count_action() {
    actions->fetch_add(1);
}

} // namespace

TEST_CASE("nobody leaves a barrier before all have arrived") {
    constexpr int parties = 3;
    const int rounds = how_often(200, 20000);
    const Barrier barrier(parties);
    const Shared<std::atomic<int>> arrived;
    const Shared<std::atomic<int>> wrong;
    const auto take_part = [&] {
        for (int i = 1; i <= rounds; ++i) {
            arrived->fetch_add(1);
            barrier.wait();
            const int seen = arrived->load();
            if (seen < i * parties || seen >= (i + 1) * parties) wrong->fetch_add(1);
            barrier.wait();
        }
    };
    std::vector<Process> others;
    others.emplace_back([&] {
        std::thread other(take_part);
        take_part();
        other.join();
    });
    others.front().start();
    take_part();
    CHECK(others.front().join_for(patience));
    CHECK(wrong->load() == 0);
    CHECK_FALSE(barrier.broken());
    CHECK(barrier.n_waiting() == 0);
    CHECK(barrier.parties() == parties);
}

TEST_CASE("each party has an index of its own") {
    const Barrier barrier(3);
    ProcessPoolExecutor pool(3);
    for (int round = 0; round < 5; ++round) {
        std::vector<prong::Future<int>> futures;
        for (int i = 0; i < 3; ++i) futures.push_back(pool.submit(wait_at, barrier));
        std::set<int> indices;
        for (auto& future : futures) indices.insert(future.get());
        CHECK(indices == std::set{0, 1, 2});
    }
}

TEST_CASE("one party runs the action, before anybody leaves") {
    const int rounds = 20;
    const Shared<std::atomic<int>> count;
    const Barrier barrier(3, [&] { count->fetch_add(1); });
    const Shared<std::atomic<int>> wrong;
    const auto take_part = [&] {
        for (int i = 1; i <= rounds; ++i) {
            barrier.wait();
            if (count->load() != i) wrong->fetch_add(1);
            barrier.wait_for(patience);
            if (count->load() != ++i) wrong->fetch_add(1);
        }
    };
    std::vector<Process> others;
    for (int i = 0; i < 2; ++i) others.emplace_back(take_part);
    for (Process& process : others) process.start();
    take_part();
    for (Process& process : others) CHECK(process.join_for(patience));
    CHECK(wrong->load() == 0);
}

TEST_CASE("an action passes to tasks if it has no captures") {
    actions->store(0);
    ProcessPoolExecutor pool(2);
    const Barrier barrier(2, count_action);
    auto first = pool.submit(wait_at, barrier);
    auto second = pool.submit(wait_at, barrier);
    CHECK(first.get() + second.get() == 1);
    CHECK(actions->load() == 1);
    int here = 0;
    const Barrier other(2, [&] { ++here; });
    CHECK_THROWS_AS(pool.submit(wait_at, other), prong::CodecError);
}

TEST_CASE("an action that throws breaks the barrier") {
    const Barrier barrier(2, [] { throw std::runtime_error("action"); });
    std::atomic<int> errors = 0;
    const auto take_part = [&] {
        try {
            barrier.wait();
        } catch (const BrokenBarrier&) {
            errors += 1;
        } catch (const std::runtime_error&) {
            errors += 10;
        }
    };
    std::thread other(take_part);
    take_part();
    other.join();
    CHECK(errors == 11);
    CHECK(barrier.broken());
}

TEST_CASE("a timeout breaks the barrier for all") {
    const Barrier barrier(3);
    const Shared<bool> was_told;
    Process other([&] {
        try {
            barrier.wait();
        } catch (const BrokenBarrier& error) {
            *was_told = error.who().pid == 0;
        }
    });
    other.start();
    REQUIRE(arrive(barrier, 1));
    CHECK_THROWS_AS(barrier.wait_for(2ms), BrokenBarrier);
    CHECK(other.join_for(patience));
    CHECK(*was_told);
    CHECK(barrier.broken());
    CHECK(barrier.n_waiting() == 0);
    CHECK_THROWS_AS(barrier.wait(), BrokenBarrier);
    barrier.reset();
    CHECK_FALSE(barrier.broken());
    CHECK_THROWS_AS(barrier.wait_for(0s), BrokenBarrier);
}

TEST_CASE("abort and reset end the waits of others with an error") {
    const Barrier barrier(2);
    const auto wait_for_error = [&] {
        try {
            barrier.wait();
        } catch (const BrokenBarrier&) {
            return;
        }
        throw std::runtime_error("not broken");
    };
    Process first(wait_for_error);
    first.start();
    REQUIRE(arrive(barrier, 1));
    barrier.abort();
    CHECK(first.join_for(patience));
    CHECK(first.exitcode() == 0);
    CHECK(barrier.broken());
    barrier.reset();
    Process second(wait_for_error);
    second.start();
    REQUIRE(arrive(barrier, 1));
    barrier.reset();
    CHECK(second.join_for(patience));
    CHECK(second.exitcode() == 0);
    std::thread other([&] { barrier.wait(); });
    barrier.wait();
    other.join();
}

TEST_CASE("a party that dies in a barrier breaks it") {
    const Barrier barrier(3);
    Process party([&] { barrier.wait(); });
    party.set_name("the party");
    party.start();
    REQUIRE(arrive(barrier, 1));
    party.kill();
    try {
        barrier.wait();
        FAIL("not broken");
    } catch (const BrokenBarrier& error) {
        CHECK(error.who().pid == party.pid());
        CHECK(error.who().name == "the party");
        CHECK(std::string(error.what()).find("the party") != std::string::npos);
    }
    barrier.reset();
    CHECK_FALSE(barrier.broken());
}

TEST_CASE("a party of the previous phase that was killed is missed") {
    const Barrier barrier(2);
    Process party([&] {
        barrier.wait();
        sleep_for_ever();
    });
    party.start();
    barrier.wait();
    std::thread killer([&] { party.kill(); });
    try {
        barrier.wait();
        FAIL("not broken");
    } catch (const BrokenBarrier& error) {
        CHECK(error.who().pid == party.pid());
    }
    killer.join();
    party.join();
}

TEST_CASE("a barrier that a death has broken is whole after a reset") {
    const Barrier barrier(3);
    Process party([&] { barrier.wait(); });
    party.start();
    REQUIRE(arrive(barrier, 1));
    party.kill();
    party.join();
    CHECK_THROWS_AS(barrier.wait(), BrokenBarrier);
    barrier.reset();
    std::vector<Process> others;
    for (int i = 0; i < 2; ++i) {
        others.emplace_back([&] { barrier.wait(); });
        others.back().start();
        REQUIRE(arrive(barrier, i + 1));
        std::this_thread::sleep_for(50ms); // longer than a slice of a wait
    }
    barrier.wait();
    for (Process& process : others) CHECK(run_on_to_exitcode(process) == 0);
}

TEST_CASE("a wait is told of a reset though it sleeps through another one") {
    const Barrier barrier(2);
    const Shared<bool> was_told;
    Process party([&] {
        try {
            barrier.wait();
        } catch (const BrokenBarrier&) {
            *was_told = true;
        }
    });
    party.start();
    REQUIRE(arrive(barrier, 1));
    kill(party.pid(), SIGSTOP);
    barrier.reset();
    barrier.reset();
    kill(party.pid(), SIGCONT);
    CHECK(party.join_for(patience));
    CHECK(*was_told);
}

TEST_CASE("the action of a phase that was reset does not let another one run twice") {
    const Shared<std::atomic<int>> runs;
    const Shared<std::atomic<int>> may_end;
    const Barrier barrier(2, [&] {
        const int run = runs->fetch_add(1);
        while (may_end->load() <= run) std::this_thread::sleep_for(1ms);
    });
    std::atomic<int> left = 0;
    const auto take_part = [&] {
        try {
            barrier.wait();
            ++left;
        } catch (const BrokenBarrier&) {
        }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) threads.emplace_back(take_part);
    REQUIRE(eventually([&] { return runs->load() == 1; }));
    barrier.reset();
    for (int i = 0; i < 2; ++i) threads.emplace_back(take_part);
    REQUIRE(eventually([&] { return runs->load() == 2; }));
    may_end->store(1); // the action of the first phase ends, that of the second goes on
    std::this_thread::sleep_for(50ms); // longer than a slice of a wait
    CHECK(runs->load() == 2);
    may_end->store(2);
    for (std::thread& thread : threads) thread.join();
    CHECK(left == 2);
}

TEST_CASE("parties that have left in order are not missed") {
    const Barrier barrier(3);
    for (int round = 0; round < 3; ++round) {
        std::vector<Process> parties;
        for (int i = 0; i < 2; ++i) parties.emplace_back([&] { barrier.wait(); });
        parties.front().start();
        REQUIRE(arrive(barrier, 1));
        std::this_thread::sleep_for(50ms); // longer than a slice of a wait
        parties.back().start();
        barrier.wait();
        for (Process& process : parties) CHECK(process.join_for(patience));
        CHECK_FALSE(barrier.broken());
    }
}

TEST_CASE("more threads than parties wait for the next phase") {
    const Barrier barrier(2);
    std::vector<std::thread> threads;
    std::atomic<int> left = 0;
    for (int i = 0; i < 6; ++i) {
        threads.emplace_back([&] {
            barrier.wait();
            ++left;
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(left == 6);
}

TEST_CASE("a barrier has 1 to 65536 parties") {
    CHECK_THROWS_AS(Barrier(0), std::invalid_argument);
    CHECK_THROWS_AS(Barrier(-1), std::invalid_argument);
    CHECK_THROWS_AS(Barrier(65537), std::invalid_argument);
    CHECK(Barrier(1).wait() == 0);
}

TEST_CASE("a barrier passes to another process as a member") {
    struct Team {
        int number;
        Barrier barrier;
        std::string name;
    };
    auto [a, b] = prong::Pipe();
    const Team team{1, Barrier(2), "two"};
    a.send(team);
    const auto received = b.recv<Team>();
    REQUIRE((received.number == 1 && received.name == "two"));
    REQUIRE(received.barrier == team.barrier);
}
