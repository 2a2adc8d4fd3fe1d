#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <new>
#include <utility>
#include <vector>

/// What the processes of a workload do, with the primitives of any library.
namespace bench {

struct Job {
    int processes;
    /// Runs in each process.
    std::function<void(int process, std::int64_t count)> run;
    /// Returns how many operations all processes do together.
    std::function<std::int64_t(std::int64_t count)> operations;
    /// Returns whether the processes have done `operations` altogether.
    std::function<bool(std::int64_t operations)> is_right;
};

/// Makes an object in memory that all processes share, as long as the program runs.
template <typename T, typename... Args>
T& make_shared_object(Args&&... args) {
    void* const memory =
        mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return *new (memory) T(std::forward<Args>(args)...);
}

/// Each process increments a number under one lock.
template <typename Lock>
Job lock_job(Lock lock, int processes) {
    auto& number = make_shared_object<std::int64_t>(0);
    return {.processes = processes,
            .run =
                [lock, &number](int, std::int64_t count) {
                    for (std::int64_t i = 0; i < count; ++i) {
                        lock.lock();
                        ++number;
                        lock.unlock();
                    }
                },
            .operations = [=](std::int64_t count) { return count * processes; },
            .is_right = [&](std::int64_t operations) { return number == operations; }};
}

/// Two processes wait for their turn on one condition and its lock.
template <typename Lock, typename Condition>
Job condition_job(Lock lock, Condition condition) {
    auto& turn = make_shared_object<std::int64_t>(0);
    return {.processes = 2,
            .run =
                [=, &turn](int process, std::int64_t count) {
                    for (std::int64_t i = 0; i < count; ++i) {
                        lock.lock();
                        while (turn % 2 != process) condition.wait();
                        ++turn;
                        condition.notify_one();
                        lock.unlock();
                    }
                },
            .operations = [](std::int64_t count) { return count; },
            .is_right = [&](std::int64_t operations) { return turn == 2 * operations; }};
}

/// The parties of a barrier go from phase to phase.
template <typename Barrier>
Job barrier_job(Barrier barrier, int parties) {
    auto& arrivals = make_shared_object<std::atomic<std::int64_t>>(0);
    return {
        .processes = parties,
        .run =
            [=, &arrivals](int, std::int64_t count) {
                for (std::int64_t i = 0; i < count; ++i) {
                    ++arrivals;
                    barrier.wait();
                }
            },
        .operations = [](std::int64_t count) { return count; },
        .is_right = [=, &arrivals](std::int64_t phases) { return arrivals == phases * parties; }};
}

/// How many messages a queue holds at most.
inline std::size_t queue_capacity(std::size_t bytes) {
    return bytes < 65536 ? 256 : 16;
}

/// Half of the processes put messages into a queue, the other half take them.
template <typename Queue>
Job queue_job(Queue queue, int pairs, std::size_t bytes) {
    auto& sum = make_shared_object<std::atomic<std::int64_t>>(0);
    auto& total = make_shared_object<std::atomic<std::int64_t>>(0);
    return {.processes = 2 * pairs,
            .run =
                [=, &sum, &total](int process, std::int64_t count) {
                    std::vector<char> message(bytes, 'x');
                    std::int64_t number = 0;
                    std::int64_t local_sum = 0;
                    for (std::int64_t i = 0; i < count; ++i) {
                        if (process < pairs) {
                            std::memcpy(message.data(), &i, sizeof(i));
                            queue.put(message);
                            local_sum += i;
                        } else {
                            queue.get(message);
                            std::memcpy(&number, message.data(), sizeof(number));
                            local_sum -= number;
                        }
                    }
                    sum += local_sum;
                    if (process < pairs) total += count;
                },
            .operations = [=](std::int64_t count) { return count * pairs; },
            .is_right = [&](std::int64_t operations) { return sum == 0 && total == operations; }};
}

} // namespace bench
