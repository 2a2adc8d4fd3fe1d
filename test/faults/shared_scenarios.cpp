#include "faults/shared_scenarios.hpp"

#include "faults/live.hpp"

#include <prong/prong.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace prong::test {
namespace {

using namespace std::chrono_literals;

/// Longer than any wait here takes, and shorter than the harness waits.
constexpr auto patience = 5s;

using Text = std::string;

struct Objects {
    Lock lock;
    Condition condition;
    Event event;
    Semaphore semaphore{0};
    BoundedSemaphore bounded{1};
    Barrier barrier{2};
    Value<int> value;
    Array<int> array = Array<int>(1000);
    JoinableQueue<Text> requests{4};
    SimpleQueue<Text> replies;
};

/// In a child: meets the parent at each kind of object, then answers requests.
void serve(const Objects& objects) {
    try {
        objects.event.wait();
        {
            std::unique_lock guard(objects.condition.lock());
            objects.condition.wait(guard, [&] { return objects.value.get() == 1; });
        }
        objects.semaphore.acquire();
        {
            const Permit permit = objects.bounded.permit();
            const std::scoped_lock guard(objects.lock);
            objects.barrier.wait();
            std::this_thread::sleep_for(3ms); // the parent waits for the lock
        }
        for (;;) {
            const Text request = objects.requests.get();
            objects.value.update([](int count) { return count + 1; });
            objects.array[request.size() % objects.array.size()] = 1;
            objects.replies.put({request.rbegin(), request.rend()});
            objects.requests.task_done();
        }
    } catch (const EndOfFile&) { // the parent has closed the queue
    } catch (const BrokenBarrier&) {
    }
}

void meet(Judge& judge, const Objects& objects) {
    judge.attempt("event, condition, semaphore, barrier", [&] {
        objects.event.set();
        {
            const std::scoped_lock guard(objects.condition.lock());
            objects.value.set(1);
        }
        objects.condition.notify_all();
        objects.semaphore.release();
        try {
            objects.barrier.wait_for(patience);
        } catch (const BrokenBarrier&) {
            if (!may_fail_in_child(judge)) throw;
        }
        judge.require("lock", objects.lock.try_lock_for(patience));
        objects.lock.mark_consistent();
        objects.lock.unlock();
        judge.require("permit", objects.bounded.try_acquire_for(patience));
        objects.bounded.release();
    });
}

void request(Judge& judge, const Objects& objects) {
    const bool is_certain = !may_fail_in_child(judge);
    int requests = 0;
    for (const std::size_t size : {10UL, 3'000'000UL, 20UL}) {
        Text text(size, 'x');
        text.front() = 'a';
        if (!judge.attempt("put", [&] { objects.requests.put(text); })) continue;
        ++requests;
        if (!is_certain) continue; // it may never be answered
        judge.attempt("get", [&] {
            std::ranges::reverse(text);
            judge.require("get", objects.replies.get() == text);
        });
    }
    if (!is_certain) return;
    judge.attempt("join", [&] {
        judge.require("join", objects.requests.join_for(patience));
        judge.require("value", objects.value.get() == 1 + requests);
        judge.require("array", requests == 0 || objects.array[10] + objects.array[0] > 0);
    });
}

/// A consumer that dies with a lock and an item.
void lose_consumer(Judge& judge, const Objects& objects) {
    const JoinableQueue<int> items;
    if (!judge.attempt("put", [&] { items.put(7); })) return;
    Process consumer([&] {
        objects.lock.lock();
        if (items.get() == 7) raise(SIGKILL);
    });
    live(judge, consumer, -SIGKILL, [] {});
    judge.attempt("lock after a death", [&] {
        const Acquired acquired = objects.lock.acquire_for(patience);
        judge.require("lock after a death",
                      acquired && (acquired.previous_died() || consumer.exitcode() != -SIGKILL));
        objects.lock.mark_consistent();
        objects.lock.unlock();
    });
    judge.attempt("get after a death", [&] {
        judge.require("get after a death", items.get_for(patience) == 7);
        items.task_done();
        judge.require("join", items.join_for(patience));
    });
}

} // namespace

void use_objects(Judge& judge, const Shared<Gate>&) {
    std::optional<Objects> objects;
    if (!judge.attempt("make objects", [&] { objects.emplace(); })) return;
    Process server(serve, std::cref(*objects));
    live(judge, server, 0, [&] {
        meet(judge, *objects);
        request(judge, *objects);
        judge.attempt("close", [&] {
            objects->barrier.abort();
            objects->requests.close();
        });
    });
    lose_consumer(judge, *objects);
}

void use_shared_memory(Judge& given, const Shared<Gate>&) {
    // Its size is the program's choice, so it is not tried again with less.
    Judge judge(board().plan.call == Call::mmap ? Demand::may_fail : given.demand());
    std::optional<SharedMemory> memory;
    constexpr std::size_t size = 100'000;
    const std::string name = "prong-faults-" + std::to_string(getpid());
    const std::filesystem::path file = "/dev/shm/" + name;
    if (!judge.attempt("create", [&] { memory.emplace(SharedMemory::create(name, size)); })) {
        const bool is_left = std::filesystem::remove(file);
        judge.require("nothing is left", !is_left || board().plan.call == Call::shm_unlink);
        return;
    }
    memory->bytes()[5] = std::byte{6};
    Process other([&] {
        const SharedMemory same = SharedMemory::open(name);
        if (same.bytes()[5] == std::byte{6}) same.bytes()[size - 1] = std::byte{7};
    });
    live(judge, other, 0, [] {});
    if (other.exitcode() == 0)
        judge.require("shared memory", memory->bytes()[size - 1] == std::byte{7});
    if (!judge.attempt("unlink", [&] { memory->unlink(); })) {
        std::filesystem::remove(file);
        return;
    }
    memory->close();
    judge.attempt_error<std::system_error>(
        "open after unlink", [&] { static_cast<void>(SharedMemory::open(name)); },
        [](const std::system_error& error) { return error.code().value() == ENOENT; });
}

} // namespace prong::test
