// What all objects of the family have in common: who owns them, who may use them, when they end.

#include "shm/family_memory.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"
#include "sync/family.hpp"

#include <prong/prong.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <deque>
#include <fstream>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::Event;
using prong::Lock;
using prong::ObjectGone;
using prong::ProcessPoolExecutor;

namespace {

bool is_free(const Lock& lock) {
    if (!lock.try_lock()) return false;
    lock.unlock();
    return true;
}

struct Account {
    Lock lock;
    int balance = 0;
};

bool is_account_free(const Account& account) {
    return is_free(account.lock);
}

/// Each member has its default.
struct Office {
    prong::Queue<int> queue;
    prong::JoinableQueue<int> joinable;
    prong::SimpleQueue<int> simple;
    prong::Semaphore semaphore;
    prong::BoundedSemaphore bounded;
};

Lock give_back(Lock lock) {
    return lock;
}

/// An object that a worker has made and keeps.
Event make_event() {
    static std::deque<Event> events;
    events.emplace_back();
    events.back().set();
    return Event(std::as_const(events.back()));
}

bool maps_family_memory() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.find("memfd:prong-family") != std::string::npos) return true;
    }
    return false;
}

} // namespace

TEST_CASE("objects pass to workers that are older than they are") {
    ProcessPoolExecutor pool(1);
    pool.submit([] { return 0; }).get();
    const Lock lock;
    CHECK(pool.submit(is_free, lock).get());
    const std::scoped_lock guard(lock);
    CHECK_FALSE(pool.submit(is_free, lock).get());
    CHECK_FALSE(pool.submit(is_account_free, Account{.lock = lock}).get());
    std::vector<Lock> locks(2);
    locks.push_back(lock);
    CHECK(pool.map(is_free, locks).get() == std::vector{true, true, false});
    CHECK(pool.submit(give_back, lock).get() == lock);
}

TEST_CASE("plain structs of objects pass to tasks, and may be made by {}") {
    ProcessPoolExecutor pool(1);
    const Office office{};
    const auto visit = [](const Office& visited) {
        visited.queue.put(1);
        visited.joinable.put(2);
        visited.simple.put(3);
        return visited.semaphore.try_acquire() && visited.bounded.try_acquire();
    };
    CHECK(pool.submit(visit, office).get());
    CHECK(office.queue.get() + office.joinable.get() + office.simple.get() == 6);
    CHECK_FALSE(office.semaphore.try_acquire());
}

TEST_CASE("objects that a worker makes pass to the program and to other processes") {
    ProcessPoolExecutor pool(1);
    const Event event = pool.submit(make_event).get();
    CHECK(event.is_set());
    CHECK(exitcode_of([&] { std::exit(event.is_set() ? 0 : 1); }) == 0);
    ProcessPoolExecutor other(1);
    other.submit([](const Event& e) { e.clear(); }, event).get();
    CHECK_FALSE(event.is_set());
}

TEST_CASE("objects pass through a pipe") {
    auto [ours, theirs] = prong::Pipe();
    prong::Process process(
        [](prong::Connection connection) {
            const Lock lock = connection.recv<Lock>();
            connection.send(lock.try_lock());
        },
        std::move(theirs));
    process.start();
    const Lock lock;
    lock.lock();
    ours.send(lock);
    CHECK_FALSE(ours.recv<bool>());
    process.join();
    lock.unlock();
}

TEST_CASE("objects pass to the workers of a program with a zygote") {
    check_child([] {
        prong::start_zygote();
        const Lock lock;
        ProcessPoolExecutor pool(1);
        require(pool.submit(is_free, lock).get(), "the lock is free");
        lock.lock();
        require(!pool.submit(is_free, lock).get(), "the lock is held");
    });
}

TEST_CASE("an object ends with the handle that made it") {
    std::optional<Lock> owner(std::in_place);
    const Lock copy = *owner;
    CHECK(is_free(copy));
    SECTION("by the destructor") {
        owner.reset();
    }
    SECTION("by assignment") {
        const Lock other;
        *owner = other;
    }
    SECTION("after moves") {
        std::vector<Lock> owners;
        owners.push_back(std::move(*owner));
        owner.reset();
        CHECK(is_free(copy));
        owners.clear();
    }
    CHECK_THROWS_AS(copy.lock(), ObjectGone);
    CHECK_THROWS_AS(copy.try_lock(), ObjectGone);
    CHECK_THROWS_AS(copy.abandoned(), ObjectGone);
    CHECK_NOTHROW(copy.unlock());
    const Lock in_its_place;
    CHECK_THROWS_AS(copy.lock(), ObjectGone);
    ProcessPoolExecutor pool(1);
    CHECK_THROWS_AS(pool.submit(is_free, copy), ObjectGone);
}

TEST_CASE("an object that ends on its way to a task is gone there") {
    ProcessPoolExecutor pool(1);
    const Event started;
    const Event go_on;
    auto first = pool.submit(
        [](const Event& a, const Event& b) {
            a.set();
            b.wait();
        },
        started, go_on);
    std::optional<Lock> lock(std::in_place);
    auto second = pool.submit(is_free, *lock);
    started.wait();
    lock.reset();
    go_on.set();
    CHECK_THROWS_AS(second.get(), ObjectGone);
    first.get();
}

TEST_CASE("the copy of an owner in a forked process does not end the object") {
    std::optional<Lock> owner(std::in_place);
    CHECK(exitcode_of([&] { owner.reset(); }) == 0);
    CHECK(is_free(*owner));
}

TEST_CASE("those who wait for an object that ends are told so") {
    std::optional<Lock> lock(std::in_place);
    std::optional<Event> event(std::in_place);
    std::optional<prong::Semaphore> semaphore(std::in_place, 0);
    std::optional<prong::Condition> condition(std::in_place);
    std::optional<prong::Barrier> barrier(std::in_place, 2);
    lock->lock();
    const auto is_told = [](auto wait) {
        try {
            wait();
        } catch (const ObjectGone&) {
            return;
        }
        throw std::runtime_error("was not told");
    };
    const prong::Semaphore ready(0);
    std::vector<std::function<void()>> waits{
        [&, copy = *lock] { copy.lock(); },
        [&, copy = *event] { copy.wait(); },
        [&, copy = *semaphore] { copy.acquire(); },
        [&, copy = *condition] {
            std::unique_lock guard(copy.lock());
            for (;;) copy.wait(guard);
        },
        [&, copy = *barrier] { copy.wait(); },
    };
    std::vector<prong::Process> processes;
    for (const auto& wait : waits) {
        processes.emplace_back([&] {
            ready.release();
            is_told(wait);
        });
    }
    for (prong::Process& process : processes) process.start();
    for (std::size_t i = 0; i < waits.size(); ++i) ready.acquire();
    lock.reset();
    event.reset();
    semaphore.reset();
    condition.reset();
    barrier.reset();
    for (prong::Process& process : processes) {
        process.join();
        CHECK(process.exitcode() == 0);
    }
}

TEST_CASE("ten thousand objects leave nothing behind") {
    const auto resident = [] {
        std::ifstream statm("/proc/self/statm");
        long all = 0;
        long now = 0;
        long shared = 0;
        statm >> all >> now >> shared;
        return shared;
    };
    const auto make_some = [] {
        for (int i = 0; i < 10000; ++i) {
            const Lock lock;
            const prong::Barrier barrier(100);
            const prong::BoundedSemaphore permits(1000);
            lock.lock();
            lock.unlock();
        }
    };
    make_some();
    const long before = resident();
    make_some();
    CHECK(resident() - before < 100);
}

TEST_CASE("many objects exist at once") {
    std::vector<Lock> locks(20000);
    for (const Lock& lock : locks) lock.lock();
    CHECK_FALSE(exitcode_of([&] { std::exit(locks[19999].try_lock() ? 1 : 0); }));
    for (const Lock& lock : locks) lock.unlock();
}

TEST_CASE("the objects of processes that are dead make room") {
    // As many processes as there are slots, and more, so that slots are used again.
    if (!full_run()) return;
    for (int i = 0; i < 5000; ++i) {
        CHECK(exitcode_of([] {
                  const Lock lock;
                  lock.lock();
                  _exit(0);
              }) == 0);
    }
}

TEST_CASE("the objects of a dead process end before others get their memory") {
    auto& next_member = prong::shm::FamilyMemory::get().header().next_member;
    auto [ours, theirs] = prong::Pipe();
    const std::uint32_t slot = next_member;
    Sleeper owner([&] {
        static const prong::BoundedSemaphore semaphore(300);
        theirs.send(prong::BoundedSemaphore(semaphore));
    });
    const auto semaphore = ours.recv<prong::BoundedSemaphore>();
    owner.kill();
    semaphore.acquire();
    next_member = slot;
    CHECK(exitcode_of([] { const Lock lock; }) == 0); // takes the slot of the dead
    CHECK_THROWS_AS(semaphore.acquire(), ObjectGone);
}

TEST_CASE("a process with little address space, small files or locked memory has objects") {
    const auto use = [] {
        const Lock lock;
        ProcessPoolExecutor pool(1);
        require(pool.submit(is_free, lock).get(), "the lock is free");
    };
    const auto with_limit = [&](auto resource, rlim_t most) {
        check_child([&] {
            const rlimit limit{.rlim_cur = most, .rlim_max = most};
            require(setrlimit(resource, &limit) == 0, "setrlimit");
            use();
        });
    };
    // A fresh program: this one has its memory already.
    INFO("the limits are those of the program that starts");
    with_limit(RLIMIT_FSIZE, 64 << 20);
    check_child([&] {
        if (mlockall(MCL_FUTURE) != 0) return; // not allowed here
        use();
    });
}

TEST_CASE("an object of another family is refused") {
    auto [ours, theirs] = prong::Pipe();
    const pid_t child = fork();
    if (child == 0) {
        const Lock lock;
        theirs.send(lock);
        _exit(0);
    }
    CHECK(maps_family_memory());
    CHECK_NOTHROW(ours.recv<Lock>());
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
}

TEST_CASE("bytes that are no object are refused") {
    const Lock lock;
    const Event event;
    auto [ours, theirs] = prong::Pipe();
    theirs.send(event);
    CHECK_THROWS_AS(ours.recv<Lock>(), prong::CodecError);
    const auto refuse = [&](std::uint64_t offset, std::uint64_t stamp) {
        theirs.send(std::pair{offset, stamp});
        CHECK_THROWS_AS(ours.recv<Lock>(), prong::Error);
    };
    refuse(0, 0);
    refuse(~std::uint64_t{0}, 1);
    refuse(4096, ~std::uint64_t{0});
}
