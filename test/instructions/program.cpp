// Runs tasks under callgrind, which writes a profile for each step: program [STEP]
// Prints each step and how many times a profile has it. STEP takes 100 instructions more.
//
// The worker is a thread, because Valgrind cannot run a pool's processes. While the program submits
// or gets, the worker is in a task that waits for a semaphore, and while the worker runs tasks, the
// program waits. So each step is counted alone, and nothing spins.

#include "executor/thread_pool.hpp"

#include <semaphore.h>
#include <sys/mman.h>
#include <valgrind/callgrind.h>

#include <cstdint>
#include <iostream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using prong::Future;
using prong::test::ThreadPool;

/// Valgrind 3.19 lacks the `mremap` by which a pool maps its memory, whose first page is mapped by
/// then. A pool without processes needs no more than fresh memory.
extern "C" void* __wrap_mremap(void*, std::size_t, std::size_t size, int, ...) {
    return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
}

namespace {

constexpr int rounds = 5; // the first one warms up, and clocks disturb some
constexpr int tasks = 1'000;
constexpr int elements = 20'000;
constexpr int elements_per_chunk = 2'000;

std::string_view slower_step;

/// Ends the profile of a step.
void end_step(const char* step, int times) {
    if (slower_step == step) {
        for (volatile int i = 0; i < 25 * times;) i = i + 1;
    }
    CALLGRIND_DUMP_STATS_AT(step);
    std::cout << step << " " << times << "\n";
}

class Semaphore {
public:
    Semaphore() { sem_init(&semaphore_, 0, 0); }

    void post() { sem_post(&semaphore_); }
    void wait() {
        while (sem_wait(&semaphore_) != 0) {
        }
    }

private:
    sem_t semaphore_{};
};

Semaphore held;
Semaphore released;

void hold() {
    held.post();
    released.wait();
}

// The first and the last task of those that the worker is to be counted for.

void begin() {
    hold();
    CALLGRIND_ZERO_STATS;
}
void end_tasks() {
    end_step("claim_run_finish", tasks);
    hold();
}
void end_map() {
    end_step("map_run", elements);
    hold();
}

int increment(int n) {
    return n + 1;
}

std::int64_t square(int n) {
    return std::int64_t{n} * n;
}

void require(bool right) {
    if (!right) throw std::logic_error("wrong result");
}

void run_tasks(ThreadPool& pool) {
    Future<void> first = pool.submit(begin);
    held.wait();
    std::vector<Future<int>> futures;
    futures.reserve(tasks);

    CALLGRIND_ZERO_STATS;
    for (int n = 0; n < tasks; ++n) futures.push_back(pool.submit(increment, n));
    end_step("submit", tasks);

    Future<void> last = pool.submit(end_tasks);
    released.post();
    held.wait();

    CALLGRIND_ZERO_STATS;
    int sum = 0;
    for (Future<int>& future : futures) sum += future.get();
    end_step("get", tasks);

    released.post();
    last.get();
    first.get();
    require(sum == tasks * (tasks + 1) / 2);
}

void run_map(ThreadPool& pool) {
    std::vector<int> numbers(elements);
    std::iota(numbers.begin(), numbers.end(), 0);
    const prong::MapOptions options{.chunksize = elements_per_chunk, .lookahead = elements};
    Future<void> first = pool.submit(begin);
    held.wait();

    CALLGRIND_ZERO_STATS;
    auto results = pool.map(options, square, numbers);
    end_step("map_submit", elements);

    Future<void> last = pool.submit(end_map);
    released.post();
    held.wait();

    CALLGRIND_ZERO_STATS;
    const std::vector<std::int64_t> squares = results.get();
    end_step("map_get", elements);

    released.post();
    last.get();
    first.get();
    for (int n = 0; n < elements; ++n) require(squares[static_cast<std::size_t>(n)] == square(n));
}

} // namespace

int main(int argc, char** argv) {
    if (argc > 1) slower_step = argv[1];
    ThreadPool pool(1);
    pool.start_all();
    for (int round = 0; round < rounds; ++round) {
        run_tasks(pool);
        run_map(pool);
    }
}
