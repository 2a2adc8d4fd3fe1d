#include <prong/condition.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/processes.hpp"
#include "sync/family.hpp"

#include <prong/prong.hpp>

#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::Condition;
using prong::Lock;
using prong::Process;

namespace {

using Guard = std::unique_lock<Lock>;

} // namespace

TEST_CASE("a condition hands a ball to and fro between processes") {
    const int rounds = how_often(500, 50000);
    const Condition condition;
    const Shared<int> ball;
    const auto play = [&](int own) {
        for (int i = 0; i < rounds; ++i) {
            Guard guard(condition.lock());
            condition.wait(guard, [&] { return *ball % 2 == own; });
            ++*ball;
            condition.notify_one();
        }
    };
    Process other([&] { play(1); });
    other.start();
    play(0);
    CHECK(other.join_for(patience));
    CHECK(*ball == 2 * rounds);
}

TEST_CASE("notify_one ends one wait") {
    constexpr int waits = 4;
    const Condition condition;
    const prong::Semaphore asleep(0);
    const prong::Semaphore woken(0);
    std::vector<Process> processes;
    for (int i = 0; i < waits; ++i) {
        processes.emplace_back([&] {
            Guard guard(condition.lock());
            asleep.release();
            condition.wait(guard);
            woken.release();
        });
        processes.back().start();
        asleep.acquire();
    }
    Guard guard(condition.lock());
    const auto all_sleep = [] {
        return std::ranges::all_of(children_of(getpid()),
                                   [](const ProcessInfo& child) { return child.state == 'S'; });
    };
    while (!all_sleep()) std::this_thread::yield();
    condition.notify_one();
    guard.unlock();
    woken.acquire();
    CHECK_FALSE(woken.try_acquire_for(100ms)); // several slices
    condition.notify_all();
    for (Process& process : processes) CHECK(process.join_for(patience));
    CHECK(woken.value() == waits - 1);
}

TEST_CASE("the exit of a process that waits ends all waits") {
    const Condition condition;
    const prong::Semaphore asleep(0);
    Process waiter([&] {
        Guard guard(condition.lock());
        asleep.release();
        condition.wait(guard);
    });
    waiter.start();
    asleep.acquire();
    Process leaver([&] {
        std::thread([&] {
            Guard guard(condition.lock());
            asleep.release();
            condition.wait(guard);
        }).detach();
        asleep.acquire();
        const Guard guard(condition.lock()); // the thread has released it
    });
    leaver.start();
    CHECK(leaver.join_for(patience));
    CHECK(leaver.exitcode() == 0);
    CHECK(waiter.join_for(patience));
}

TEST_CASE("notify_all ends all waits") {
    const Condition condition;
    const Shared<int> waiting;
    const Shared<bool> go;
    std::vector<Process> processes;
    for (int i = 0; i < 4; ++i) {
        processes.emplace_back([&] {
            std::unique_lock guard(condition.lock());
            ++*waiting;
            condition.notify_all();
            condition.wait(guard, [&] { return *go; });
        });
    }
    for (Process& process : processes) process.start();
    {
        Guard guard(condition.lock());
        condition.wait(guard, [&] { return *waiting == 4; });
        *go = true;
    }
    condition.notify_all();
    for (Process& process : processes) CHECK(process.join_for(patience));
}

TEST_CASE("a wait for a condition ends at its timeout, with the lock held") {
    const Condition condition;
    Guard guard(condition.lock());
    while (condition.wait_for(guard, 2ms)) { // a death in another test may end it
    }
    CHECK_FALSE(condition.wait_for(guard, 2ms, [] { return false; }));
    CHECK(condition.wait_for(guard, 0s, [] { return true; }));
    CHECK_FALSE(exitcode_of([&] { std::exit(condition.lock().try_lock() ? 1 : 0); }));
}

TEST_CASE("several conditions share a lock") {
    const Lock lock;
    const Condition first(lock);
    const Condition second(lock);
    CHECK(first.lock() == lock);
    Guard guard(second.lock());
    CHECK_FALSE(first.wait_for(guard, 1ms, [] { return false; }));
}

TEST_CASE("a wait needs a guard that holds the condition's lock") {
    const Condition condition;
    Guard guard(condition.lock(), std::defer_lock);
    CHECK_THROWS_AS(condition.wait(guard), std::logic_error);
    Lock other;
    Guard other_guard(other);
    CHECK_THROWS_AS(condition.wait(other_guard), std::logic_error);
}

TEST_CASE("a death ends waits for a condition, so that no notification is lost with it") {
    const Condition condition;
    const Shared<bool> is_waiting;
    Process waiting([&] {
        Guard guard(condition.lock());
        *is_waiting = true;
        condition.notify_all();
        condition.wait(guard); // no notification ever comes
    });
    {
        Guard guard(condition.lock());
        waiting.start();
        condition.wait(guard, [&] { return *is_waiting; });
    }
    Sleeper([&] { (void)condition.lock().abandoned(); }).kill();
    Sleeper([&] { const Guard guard(condition.lock()); }).kill();
    CHECK(waiting.join_for(patience));
}
