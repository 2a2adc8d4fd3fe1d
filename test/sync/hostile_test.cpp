// A member of the family writes random bytes to the memory that all share. What the others see is
// wrong then, but none of them crashes, and waits with a timeout end.

#include "shm/family_memory.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"
#include "sync/cell.hpp"
#include "sync/family.hpp"
#include "sync/object.hpp"

#include <prong/prong.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <exception>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::detail::HandleAccess;
using prong::detail::ObjectId;
using prong::shm::FamilyMemory;

namespace {

using Random = std::mt19937_64;

/// The objects that are used and attacked.
struct Objects {
    prong::Lock lock;
    prong::RLock recursive;
    prong::Semaphore semaphore{2};
    prong::BoundedSemaphore bounded{2};
    prong::Event event;
    prong::Condition condition;
    prong::Barrier barrier{2};
    prong::Queue<std::string> queue{4};
    prong::JoinableQueue<std::string> joinable;

    [[nodiscard]] std::vector<ObjectId> ids() const {
        return {HandleAccess::parts(lock),           HandleAccess::parts(recursive),
                HandleAccess::parts(semaphore),      HandleAccess::parts(bounded),
                HandleAccess::parts(event),          HandleAccess::parts(condition).condition,
                HandleAccess::parts(condition).lock, HandleAccess::parts(barrier).id,
                HandleAccess::parts(queue),          HandleAccess::parts(joinable)};
    }
};

/// What an attack writes to.
struct Area {
    std::byte* begin;
    std::size_t size;
};

std::vector<Area> areas_of(const Objects& objects) {
    const FamilyMemory& memory = FamilyMemory::get();
    constexpr std::size_t slots = 4096; // as many bytes: those of the first members
    std::vector<Area> areas{{memory.at(0), sizeof(FamilyMemory::Header)},
                            {memory.members(), slots},
                            {memory.members(), FamilyMemory::members_bytes},
                            {memory.members() + FamilyMemory::members_bytes, 4096}};
    for (const ObjectId id : objects.ids()) {
        areas.push_back({memory.at(id.offset), sizeof(prong::sync::Cell)});
        const auto& cell = *reinterpret_cast<prong::sync::Cell*>(memory.at(id.offset));
        if (cell.data == 0) continue;
        areas.push_back({memory.at(cell.data), cell.data_bytes});
        // Only the first places of a large ring are in use.
        areas.push_back({memory.at(cell.data), std::min<std::size_t>(cell.data_bytes, 4096)});
    }
    return areas;
}

/// The blocks of the items that are in the queues now: each whole, and its header.
std::vector<Area> item_areas_of(const std::vector<ObjectId>& ids) {
    const FamilyMemory& memory = FamilyMemory::get();
    std::vector<Area> areas;
    for (const ObjectId id : ids) {
        memory.for_each_owned(prong::sync::owner_of_items(id.stamp), [&](prong::shm::Block block) {
            areas.push_back({memory.at(block.offset), block.capacity});
            areas.push_back({memory.at(block.offset), 64});
        });
    }
    return areas;
}

/// Bytes that hit more than random ones would.
std::uint64_t bad_value(Random& random) {
    switch (random() % 4) {
    case 0:
        return random() % 4;
    case 1:
        return ~std::uint64_t{0} >> random() % 64;
    case 2:
        return std::uint64_t{1} << random() % 64;
    default:
        return random();
    }
}

/// Until it is killed.
[[noreturn]] void scribble(const Objects& objects, std::uint64_t seed) {
    Random random(seed);
    const std::vector<ObjectId> ids = objects.ids();
    const std::vector<Area> fixed = areas_of(objects);
    std::vector<Area> items;
    for (;;) {
        if (random() % 32 == 0) items = item_areas_of(ids);
        const std::vector<Area>& areas = items.empty() || random() % 4 != 0 ? fixed : items;
        const Area& area = areas[random() % areas.size()];
        const std::uint64_t value = bad_value(random);
        const std::size_t size = std::size_t{1} << random() % 4;
        const std::size_t place = random() % (area.size / size) * size;
        std::memcpy(area.begin + place, &value, size);
        if (random() % 4 == 0)
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
    }
}

/// Does something that may fail.
template <typename F>
void attempt(F f) {
    try {
        f();
    } catch (const std::exception&) {
    }
}

/// A lock that is waited for no longer than a moment: whoever has it may never release it.
class HastyLock {
public:
    explicit HastyLock(const prong::Lock& lock) : lock_(lock) {}
    void lock() {
        if (!lock_.try_lock_for(2ms)) throw prong::Error("not free");
    }
    void unlock() { lock_.unlock(); }

private:
    prong::Lock lock_;
};

void use(const Objects& objects, Random& random) {
    switch (random() % 15) {
    case 0:
        if (std::unique_lock<const prong::Lock> guard(objects.lock, 1ms); guard.owns_lock())
            std::this_thread::yield();
        break;
    case 1:
        if (objects.recursive.try_lock_for(1ms)) {
            attempt([&] { static_cast<void>(objects.recursive.try_lock()); });
            attempt([&] { objects.recursive.unlock(); });
            objects.recursive.unlock();
        }
        break;
    case 2:
        if (objects.semaphore.try_acquire_for(1ms)) objects.semaphore.release();
        break;
    case 3:
        if (objects.bounded.try_acquire_for(1ms)) objects.bounded.release();
        static_cast<void>(objects.bounded.value());
        break;
    case 4:
        if (!objects.event.wait_for(1ms)) objects.event.set();
        objects.event.clear();
        break;
    case 5: {
        HastyLock lock(objects.condition.lock());
        std::unique_lock guard(lock);
        objects.condition.wait_for(guard, 1ms);
        break;
    }
    case 6:
        objects.condition.notify_all();
        objects.condition.lock().mark_consistent();
        break;
    case 7:
        objects.barrier.wait_for(1ms);
        break;
    case 8:
        objects.barrier.reset();
        static_cast<void>(objects.barrier.n_waiting());
        break;
    case 9:
        static_cast<void>(objects.queue.put_for(1ms, std::string(random() % 2000, 'x')));
        break;
    case 10:
        static_cast<void>(objects.queue.get_for(1ms));
        static_cast<void>(objects.queue.size());
        break;
    case 11:
        static_cast<void>(objects.joinable.put_for(1ms, std::string(random() % 2000, 'x')));
        break;
    case 12:
        static_cast<void>(objects.joinable.get_for(1ms));
        objects.joinable.task_done();
        break;
    case 13:
        static_cast<void>(objects.joinable.join_for(1ms));
        static_cast<void>(objects.joinable.full());
        break;
    default: { // a new object, in a new thread
        const prong::BoundedSemaphore own(3);
        if (own.try_acquire_for(1ms)) own.release();
    }
    }
}

/// Uses the objects for a while, from a thread that changes, and in a child that joins the family.
void use_for(std::chrono::milliseconds time, const Objects& objects, std::uint64_t seed) {
    Random random(seed);
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
        const auto use_some = [&] {
            for (int i = 0; i < 20; ++i) attempt([&] { use(objects, random); });
        };
        std::thread(use_some).join();
        const pid_t child = fork();
        if (child == 0) {
            use_some();
            _exit(0);
        }
        int status = -1;
        require(waitpid(child, &status, 0) == child && status == 0,
                "a child has ended with status " + std::to_string(status));
    }
}

void survive(std::uint64_t seed) {
    const Objects objects;
    const pid_t attacker = fork();
    if (attacker == 0) scribble(objects, seed);
    std::vector<pid_t> users;
    for (int i = 0; i < 2; ++i) {
        users.push_back(fork());
        if (users.back() != 0) continue;
        int result = 0;
        try {
            use_for(std::chrono::milliseconds(how_often(400, 5000)), objects, ++seed);
        } catch (const std::exception& error) {
            std::cerr << error.what() << std::endl;
            result = 1;
        }
        _exit(result);
    }
    bool crashed = false;
    for (const pid_t user : users) {
        int status = -1;
        waitpid(user, &status, 0);
        crashed = crashed || status != 0;
    }
    kill(attacker, SIGKILL);
    waitpid(attacker, nullptr, 0);
    require(!crashed, "a process has crashed");
}

} // namespace

TEST_CASE("a member that writes random bytes to shared memory crashes no other") {
    // Each time in a family of its own, which is spoilt then.
    Random seeds(test_seed());
    for (int i = 0; i < how_often(3, 30); ++i) check_child([&] { survive(seeds()); });
}

TEST_CASE("an item whose length exceeds its block is refused") {
    check_child([] {
        for (std::uint64_t distance = 0; distance < 40; ++distance) {
            const prong::Queue<std::string> queue;
            queue.put("text");
            const Area header = item_areas_of({HandleAccess::parts(queue)}).front();
            const std::uint64_t length = ~std::uint64_t{0} - distance;
            std::memcpy(header.begin + 16, &length, sizeof(length)); // see queue.cpp
            bool is_refused = false;
            try {
                static_cast<void>(queue.try_get());
            } catch (const prong::Error&) {
                is_refused = true;
            }
            require(is_refused, "not refused");
        }
    });
}
