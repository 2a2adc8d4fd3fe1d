#include "os/fork_safe_mutex.hpp"

#include "support/catch.hpp"
#include "support/forks.hpp"

#include <atomic>
#include <thread>
#include <vector>

using prong::os::ForkSafeMutex;
using namespace prong::test;

TEST_CASE("one thread at a time holds the mutex") {
    ForkSafeMutex mutex;
    int count = 0;
    std::atomic<int> left_locked = 0;
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int n = 0; n < 10'000; ++n) {
                left_locked += mutex.lock() ? 1 : 0;
                ++count;
                mutex.unlock();
            }
        });
    }
    threads.clear();
    CHECK(count == 40'000);
    CHECK(left_locked == 0);
}

TEST_CASE("a mutex that another thread of the parent held is free in the child, and says so") {
    for (const WayToFork& way : ways_to_fork) {
        INFO(way.name);
        ForkSafeMutex mutex;
        std::atomic<bool> locked = false;
        std::atomic<bool> forked = false;
        std::jthread holder([&] {
            mutex.lock();
            locked = true;
            locked.notify_all();
            forked.wait(false);
            mutex.unlock();
        });
        locked.wait(false);
        const pid_t child = way.fork();
        if (child == 0) {
            alarm(30);
            const bool first = mutex.lock();
            mutex.unlock();
            const bool second = mutex.lock();
            _exit(first && !second ? 0 : 1);
        }
        CHECK(end_of(child) == "exit 0");
        forked = true;
        forked.notify_all();
        holder.join();
        CHECK_FALSE(mutex.lock());
    }
}
