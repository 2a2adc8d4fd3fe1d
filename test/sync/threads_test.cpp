// The objects between threads of one process, for ThreadSanitizer: what they protect are plain
// variables.

#include "support/catch.hpp"
#include "support/environment.hpp"

#include <prong/barrier.hpp>
#include <prong/condition.hpp>
#include <prong/event.hpp>
#include <prong/lock.hpp>
#include <prong/queue.hpp>
#include <prong/semaphore.hpp>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

using namespace prong::test;

namespace {

constexpr int threads = 4;

/// Runs `body(index)` in several threads.
template <typename Body>
void in_threads(Body body) {
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i) running.emplace_back([&body, i] { body(i); });
    for (std::thread& thread : running) thread.join();
}

int rounds() {
    return how_often(300, 30000);
}

} // namespace

TEST_CASE("threads count under a lock") {
    const prong::Lock lock;
    const prong::RLock recursive;
    int count = 0;
    int other_count = 0;
    in_threads([&](int) {
        for (int i = 0; i < rounds(); ++i) {
            {
                const std::scoped_lock guard(lock);
                ++count;
            }
            const std::scoped_lock guard(recursive);
            const std::scoped_lock again(recursive);
            ++other_count;
        }
    });
    CHECK(count == threads * rounds());
    CHECK(other_count == threads * rounds());
}

TEST_CASE("threads count under a permit") {
    const prong::Semaphore semaphore;
    const prong::BoundedSemaphore bounded;
    int count = 0;
    int other_count = 0;
    in_threads([&](int) {
        for (int i = 0; i < rounds(); ++i) {
            semaphore.acquire();
            ++count;
            semaphore.release();
            const prong::Permit permit = bounded.permit();
            ++other_count;
        }
    });
    CHECK(count == threads * rounds());
    CHECK(other_count == threads * rounds());
}

TEST_CASE("a thread sees what was done before an event was set") {
    std::vector<prong::Event> events(100);
    std::vector<int> values(events.size());
    in_threads([&](int index) {
        for (std::size_t i = 0; i < events.size(); ++i) {
            if (index == 0) {
                values[i] = 7;
                events[i].set();
            } else {
                events[i].wait();
                if (values[i] != 7) std::abort();
            }
        }
    });
}

TEST_CASE("threads take turns by a condition") {
    const prong::Condition condition;
    int turn = 0;
    in_threads([&](int index) {
        for (int i = 0; i < rounds() / 10; ++i) {
            std::unique_lock guard(condition.lock());
            condition.wait(guard, [&] { return turn % threads == index; });
            ++turn;
            condition.notify_all();
        }
    });
    CHECK(turn == threads * (rounds() / 10));
}

TEST_CASE("threads see at a barrier what the others did before") {
    int values[threads] = {};
    int sum = 0;
    const prong::Barrier arrived(threads, [&] {
        for (const int value : values) sum += value;
    });
    const prong::Barrier seen(threads);
    in_threads([&](int index) {
        for (int i = 1; i <= rounds() / 10; ++i) {
            values[index] = i;
            arrived.wait();
            if (sum != threads * i * (i + 1) / 2) std::abort();
            seen.wait();
        }
    });
}

TEST_CASE("threads pass items through queues, and each is done once") {
    const prong::Queue<std::vector<int>> queue(2);
    const prong::JoinableQueue<int> sums;
    in_threads([&](int index) {
        for (int i = 1; i <= rounds() / 10; ++i) {
            if (index % 2 == 0) {
                queue.put({i, i});
                if (sums.try_get()) sums.task_done();
            } else {
                const std::vector<int> numbers = queue.get();
                sums.put(numbers[0] + numbers[1]);
            }
        }
    });
    CHECK(queue.empty());
    while (sums.try_get()) sums.task_done();
    CHECK(sums.join_for(std::chrono::seconds(0)));
}
