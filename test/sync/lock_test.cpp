#include <prong/lock.hpp>

#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"
#include "support/eventually.hpp"
#include "support/forks.hpp"
#include "sync/family.hpp"

#include <prong/prong.hpp>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::Lock;
using prong::Process;
using prong::RLock;

TEST_CASE("one thread of one process holds a lock at a time") {
    const int rounds = how_often(5000, 200000);
    const Lock lock;
    const Shared<int> counter;
    const auto count = [&] {
        for (int i = 0; i < rounds; ++i) {
            const std::scoped_lock guard(lock);
            *counter = *counter + 1;
        }
    };
    std::vector<Process> processes;
    for (int i = 0; i < 3; ++i) {
        processes.emplace_back([&] {
            std::thread other(count);
            count();
            other.join();
        });
    }
    for (Process& process : processes) process.start();
    count();
    for (Process& process : processes) process.join();
    CHECK(*counter == 7 * rounds);
}

TEST_CASE("a lock works with the guards of the standard library") {
    Lock first;
    Lock second;
    {
        const std::scoped_lock both(first, second);
        Process other([&] {
            if (first.try_lock() || second.try_lock()) throw std::runtime_error("is free");
        });
        CHECK(run_to_exitcode(other) == 0);
    }
    std::unique_lock guard(first, std::defer_lock);
    CHECK(guard.try_lock_for(1ms));
    guard.unlock();
    CHECK(guard.try_lock_until(std::chrono::system_clock::now() + 1ms));
    std::unique_lock<Lock> timed(second, 1ms);
    CHECK(timed.owns_lock());
}

TEST_CASE("acquire and release are the names of Python") {
    const Lock lock;
    CHECK(lock.acquire());
    CHECK_FALSE(exitcode_of([&] { std::exit(lock.acquire_for(1ms) ? 1 : 0); }));
    lock.release();
    CHECK(lock.acquire_for(0s));
    lock.release();
}

TEST_CASE("a wait for a lock ends at its timeout") {
    const Lock lock;
    const Sleeper holder([&] { lock.lock(); });
    CHECK_FALSE(lock.try_lock());
    CHECK_FALSE(lock.try_lock_for(5ms));
    CHECK_FALSE(lock.try_lock_until(std::chrono::steady_clock::now() + 5ms));
    CHECK_FALSE(lock.acquire_for(5ms));
    CHECK_FALSE(lock.abandoned());
}

TEST_CASE("the next holder is told who was killed") {
    const Lock lock;
    Sleeper holder([&] { lock.lock(); }, "the holder");
    const int pid = holder.pid();
    std::thread killer([&] { holder.kill(); });
    const prong::Acquired acquired = lock.acquire_for(patience);
    killer.join();
    REQUIRE(acquired);
    CHECK(acquired.previous_died());
    CHECK(acquired.who().pid == pid);
    CHECK(acquired.who().name == "the holder");
    lock.release();

    CHECK(lock.abandoned());
    const prong::Acquired again = lock.acquire();
    CHECK_FALSE(again.previous_died());
    CHECK(again.who().pid == 0);
    CHECK(lock.abandoned());
    lock.mark_consistent();
    CHECK_FALSE(lock.abandoned());
    lock.release();
}

TEST_CASE("lock does not throw for a dead holder") {
    const Lock lock;
    Sleeper([&] { lock.lock(); }).kill();
    const std::scoped_lock guard(lock);
    CHECK(lock.abandoned());
}

TEST_CASE("try_lock takes the lock of a dead holder") {
    const Lock lock;
    Sleeper([&] { lock.lock(); }).kill();
    REQUIRE(lock.try_lock());
    CHECK(lock.abandoned());
    lock.unlock();
}

TEST_CASE("to exit with a lock is a death") {
    const Lock lock;
    Process process([&] { lock.lock(); });
    process.start();
    const int pid = process.pid();
    process.join();
    const prong::Acquired acquired = lock.acquire_for(patience);
    REQUIRE(acquired);
    CHECK(acquired.who().pid == pid);
    lock.release();
}

TEST_CASE("the end of a thread that holds a lock is a death") {
    const Lock lock;
    std::thread([&] { lock.lock(); }).join();
    const prong::Acquired acquired = lock.acquire_for(patience);
    REQUIRE(acquired);
    CHECK(acquired.previous_died());
    CHECK(acquired.who().pid == getpid());
    lock.release();
}

TEST_CASE("a lock survives the death of those who wait for it") {
    const Lock lock;
    lock.lock();
    std::vector<std::unique_ptr<Process>> waiting;
    for (int i = 0; i < 8; ++i) {
        waiting.push_back(std::make_unique<Process>([&] { lock.lock(); }));
        waiting.back()->start();
    }
    for (const auto& process : waiting) process->kill();
    lock.unlock();
    REQUIRE(lock.try_lock_for(patience));
    lock.unlock();
    waiting.clear();
}

TEST_CASE("a stopped process keeps its lock") {
    const Lock lock;
    Sleeper holder([&] { lock.lock(); });
    kill(holder.pid(), SIGSTOP);
    CHECK_FALSE(lock.try_lock_for(30ms));
    holder.kill();
    CHECK(lock.try_lock_for(patience));
    lock.unlock();
}

TEST_CASE("a process is found dead though the thread that first used a lock has ended") {
    const Lock lock;
    const Lock other;
    SECTION("and another thread went on") {
        Sleeper holder([&] {
            std::thread([&] { const std::scoped_lock guard(other); }).join();
            lock.lock();
        });
        CHECK_FALSE(lock.try_lock_for(30ms));
        holder.kill();
    }
    SECTION("and no other thread uses one") {
        const prong::BoundedSemaphore permits(1);
        Sleeper holder([&] { std::thread([&] { permits.acquire(); }).join(); });
        CHECK_FALSE(permits.try_acquire_for(30ms));
        holder.kill();
        CHECK(permits.try_acquire_for(patience));
        lock.lock();
        lock.unlock();
    }
    CHECK(lock.try_lock_for(patience));
    lock.unlock();
}

TEST_CASE("a thread may use locks to its very end") {
    const Lock lock;
    check_child([&] { // where this thread is the first that uses a lock
        std::thread([&] {
            lock.lock();
            lock.unlock();
            // Destroyed after prong's own data of this thread.
            pthread_key_t key{};
            pthread_key_create(&key, [](void* value) {
                const std::scoped_lock guard(*static_cast<const Lock*>(value));
            });
            pthread_setspecific(key, &lock);
        }).join();
        require(lock.try_lock_for(patience), "the lock is not free");
        lock.unlock();
    });
}

TEST_CASE("only the holder unlocks") {
    const Lock lock;
    CHECK_THROWS_AS(lock.unlock(), std::logic_error);
    lock.lock();
    std::thread([&] { CHECK_THROWS_AS(lock.unlock(), std::logic_error); }).join();
    CHECK(exitcode_of([&] { lock.release(); }) == 1);
    CHECK(exitcode_of([&] { lock.mark_consistent(); }) == 1);
    CHECK_FALSE(exitcode_of([&] { std::exit(lock.try_lock() ? 1 : 0); }));
    lock.unlock();
}

TEST_CASE("a lock in the place of one that ended while it was held is not held") {
    { Lock().lock(); }
    const Lock lock;
    CHECK_THROWS_AS(lock.unlock(), std::logic_error);
}

TEST_CASE("a forked child's copy of a guard does not unlock") {
    Lock lock;
    std::optional<std::unique_lock<Lock>> guard(lock);
    const pid_t child = fork();
    if (child == 0) {
        guard.reset();
        _exit(lock.try_lock() ? 1 : 0);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK_FALSE(exitcode_of([&] { std::exit(lock.try_lock() ? 1 : 0); }));
}

TEMPLATE_TEST_CASE("a forked child's copy of a guard does nothing after the parent has unlocked",
                   "", Lock, RLock) {
    TestType lock;
    std::optional<std::unique_lock<TestType>> guard(lock);
    std::optional<std::unique_lock<RLock>> again;
    if constexpr (std::is_same_v<TestType, RLock>) again.emplace(lock);
    auto [ours, theirs] = prong::Pipe();
    const pid_t child = fork();
    if (child == 0) {
        theirs.recv<int>();
        again.reset();
        guard.reset();
        _exit(lock.try_lock() ? 1 : 0); // another thread of the parent has it by now
    }
    again.reset();
    guard.reset();
    std::thread([&] {
        lock.lock();
        ours.send(0);
        CHECK(end_of(child) == "exit 0");
        lock.unlock();
    }).join();
}

TEST_CASE("a thread that locks a lock twice is told so") {
    const Lock lock;
    lock.lock();
    CHECK_THROWS_AS(lock.lock(), std::logic_error);
    CHECK_THROWS_AS(lock.acquire(), std::logic_error);
    CHECK_FALSE(lock.try_lock());
    CHECK_FALSE(lock.try_lock_for(patience));
    lock.unlock();
}

TEST_CASE("an RLock is free when it was released as often as it was acquired") {
    const RLock lock;
    const auto is_free = [&] {
        return exitcode_of([&] { std::exit(lock.try_lock() ? 0 : 1); }) == 0;
    };
    lock.lock();
    CHECK(lock.try_lock());
    CHECK(lock.acquire());
    for (int i = 0; i < 3; ++i) {
        CHECK_FALSE(is_free());
        lock.unlock();
    }
    CHECK(is_free());
    const prong::Acquired acquired = lock.acquire_for(patience);
    CHECK(acquired.previous_died());
    CHECK(lock.try_lock());
    lock.unlock();
    lock.unlock();
    CHECK_THROWS_AS(lock.unlock(), std::logic_error);
}
