#pragma once

#include "executor/core_pool.hpp"
#include "executor/supervisor/delegate.hpp"
#include "executor/worker/loop.hpp"

#include <thread>
#include <vector>

namespace prong::test {

/// A pool whose workers are threads: what ThreadSanitizer can follow. Drained and joined at its
/// end.
class ThreadPool : public BarePool {
public:
    using BarePool::BarePool;
    ~ThreadPool() { drain(); }

    /// Starts a worker. When it leaves, does what the supervisor would do: wakes the others,
    /// because one may have fallen asleep before the last task was claimed.
    void start(unsigned worker) {
        threads_.emplace_back([this, worker] {
            executor::run_tasks(state(), worker);
            executor::repair_after_death(state(), worker, {.exit = {.pid = 0, .exitcode = 0}});
        });
    }
    void start_all() {
        for (unsigned worker = 0; worker < core().workers(); ++worker) start(worker);
    }
    /// Runs what is queued, then ends the workers.
    void drain(bool cancel_queued = false) {
        core().shutdown(false, cancel_queued);
        threads_.clear();
    }

private:
    std::vector<std::jthread> threads_;
};

/// Calls `body(i)` for each i below `count`, in a thread of its own. Blocks until all have
/// returned.
template <typename Body>
void in_threads(int count, Body body) {
    std::vector<std::jthread> threads;
    for (int i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
}

} // namespace prong::test
