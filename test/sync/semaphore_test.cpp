#include <prong/semaphore.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "sync/family.hpp"

#include <prong/prong.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::BoundedSemaphore;
using prong::Process;
using prong::Semaphore;

TEMPLATE_TEST_CASE("a semaphore gives out as many permits as it has", "", Semaphore,
                   BoundedSemaphore) {
    const TestType semaphore(2);
    CHECK(semaphore.value() == 2);
    semaphore.acquire();
    CHECK(semaphore.try_acquire());
    CHECK(semaphore.value() == 0);
    CHECK_FALSE(semaphore.try_acquire());
    CHECK_FALSE(semaphore.try_acquire_for(2ms));
    CHECK_FALSE(exitcode_of([&] { std::exit(semaphore.try_acquire() ? 1 : 0); }));
    semaphore.release();
    CHECK(semaphore.value() == 1);
    CHECK(semaphore.try_acquire_for(patience));
    semaphore.release(2);
    CHECK(semaphore.value() == 2);
    CHECK_THROWS_AS(semaphore.release(0), std::invalid_argument);
    CHECK_THROWS_AS(semaphore.release(-1), std::invalid_argument);
    CHECK_THROWS_AS(TestType(-1), std::invalid_argument);
}

TEMPLATE_TEST_CASE("no more processes than permits are at work", "", Semaphore, BoundedSemaphore) {
    constexpr int most = 2;
    const int rounds = how_often(300, 20000);
    const TestType semaphore(most);
    const Shared<std::atomic<int>> inside;
    const Shared<std::atomic<int>> largest;
    std::vector<Process> processes;
    for (int i = 0; i < 5; ++i) {
        processes.emplace_back([&] {
            for (int round = 0; round < rounds; ++round) {
                semaphore.acquire();
                const int now = inside->fetch_add(1) + 1;
                int before = largest->load();
                while (before < now && !largest->compare_exchange_weak(before, now)) {
                }
                std::this_thread::yield();
                inside->fetch_sub(1);
                semaphore.release();
            }
        });
    }
    for (Process& process : processes) process.start();
    for (Process& process : processes) process.join();
    CHECK(largest->load() <= most);
    CHECK(semaphore.value() == most);
}

TEST_CASE("any process releases a semaphore, and permits do not die") {
    const Semaphore semaphore(0);
    CHECK(exitcode_of([&] { semaphore.release(3); }) == 0);
    CHECK(semaphore.value() == 3);
    Sleeper([&] { semaphore.acquire(); }).kill();
    CHECK(semaphore.value() == 2);
}

TEST_CASE("the permits of a process that dies come back") {
    const BoundedSemaphore semaphore(3);
    Sleeper holder([&] {
        semaphore.acquire();
        semaphore.acquire();
    });
    CHECK(semaphore.value() == 1);
    semaphore.acquire();
    CHECK_FALSE(semaphore.try_acquire());
    holder.kill();
    CHECK(semaphore.try_acquire_for(patience));
    CHECK(semaphore.try_acquire_for(patience));
    CHECK_FALSE(semaphore.try_acquire());
    semaphore.release(3);
    CHECK(semaphore.value() == 3);
}

TEST_CASE("who waits for a permit gets that of a process that dies") {
    const BoundedSemaphore semaphore(1);
    Sleeper holder([&] { semaphore.acquire(); });
    Process waiting([&] { semaphore.acquire(); });
    waiting.start();
    CHECK_FALSE(waiting.join_for(30ms));
    holder.kill();
    CHECK(waiting.join_for(patience));
    CHECK(semaphore.try_acquire_for(patience)); // that of the process that has ended with it
    semaphore.release();
}

TEST_CASE("a process releases only what it has") {
    const BoundedSemaphore semaphore(3);
    CHECK_THROWS_AS(semaphore.release(), std::logic_error);
    semaphore.acquire();
    CHECK_THROWS_AS(semaphore.release(2), std::logic_error);
    CHECK(exitcode_of([&] { semaphore.release(); }) == 1);
    CHECK(semaphore.value() == 2);
    semaphore.release();
    CHECK(semaphore.value() == 3);
}

TEST_CASE("a bounded semaphore has 1 to 4096 permits") {
    CHECK_THROWS_AS(BoundedSemaphore(0), std::invalid_argument);
    CHECK_THROWS_AS(BoundedSemaphore(4097), std::invalid_argument);
    const BoundedSemaphore semaphore(4096);
    for (int i = 0; i < 4096; ++i) REQUIRE(semaphore.try_acquire());
    CHECK_FALSE(semaphore.try_acquire());
    semaphore.release(4096);
    CHECK(Semaphore(0).value() == 0);
}

TEST_CASE("a permit is given back by its destructor, once") {
    const BoundedSemaphore semaphore(2);
    {
        prong::Permit permit = semaphore.permit();
        prong::Permit moved = std::move(permit);
        CHECK(semaphore.value() == 1);
        moved = semaphore.permit();
        CHECK(semaphore.value() == 1);
    }
    CHECK(semaphore.value() == 2);
    std::optional<prong::Permit> permit(semaphore.permit());
    const pid_t child = fork();
    if (child == 0) {
        permit.reset();
        _exit(semaphore.value() == 1 ? 0 : 1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(semaphore.value() == 1);
}

TEST_CASE("a semaphore survives the death of those who wait for it") {
    const Semaphore semaphore(0);
    for (int i = 0; i < 5; ++i) {
        Process waiting([&] { semaphore.acquire(); });
        waiting.start();
        waiting.kill();
        waiting.join();
    }
    semaphore.release();
    CHECK(semaphore.try_acquire_for(patience));
}
