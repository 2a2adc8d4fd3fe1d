#pragma once

#include <prong/error.hpp>
#include <prong/future.hpp>
#include <prong/pool_options.hpp>
#include <prong/process_pool_executor.hpp>
#include <prong/task_options.hpp>
#include <prong/with_captures.hpp>

#include "os/futex.hpp"
#include "support/error_of.hpp"
#include "support/eventually.hpp"
#include "support/processes.hpp"
#include "support/shared.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <utility>
#include <vector>

namespace prong::test {

// What most tests name, for files that use this namespace.
using prong::BrokenProcessPool;
using prong::CancelledError;
using prong::Future;
using prong::PoolOptions;
using prong::ProcessPoolExecutor;
using prong::TaskOptions;
using prong::with_captures;
using prong::WorkerDied;
using namespace std::chrono_literals;

using Counter = std::atomic<int>;

/// Tasks stand before it until the test opens it.
class Gate {
public:
    /// A gate that stays closed throws after a minute, so that a failing test ends.
    void pass() {
        arrivals_.fetch_add(1);
        const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(1);
        while (open_.load() == 0) {
            os::futex_wait(open_, 0, std::chrono::seconds(1));
            if (std::chrono::steady_clock::now() > limit) throw std::logic_error("gate not opened");
        }
    }
    void open() {
        open_.store(1);
        os::futex_wake(open_, os::everyone);
    }
    void close() { open_.store(0); }

    /// How many have come to it, whether or not they have passed.
    [[nodiscard]] int arrivals() const { return arrivals_.load(); }
    [[nodiscard]] bool await_arrivals(int count) const {
        return eventually([&] { return arrivals() >= count; });
    }

private:
    os::FutexWord open_{0};
    Counter arrivals_{0};
};

/// A task that stands before the gate, then gives its worker's pid.
inline auto pass(const Shared<Gate>& gate) {
    return with_captures([place = gate.get()] {
        place->pass();
        return static_cast<int>(getpid());
    });
}

/// Makes all workers stand before the gate, and waits until they do.
inline std::vector<Future<int>> occupy(ProcessPoolExecutor& pool, const Shared<Gate>& gate) {
    const int before = gate->arrivals();
    const int workers = pool.max_workers();
    std::vector<Future<int>> futures;
    for (int i = 0; i < workers; ++i) futures.push_back(pool.submit(pass(gate)));
    if (!gate->await_arrivals(before + workers)) throw std::runtime_error("workers do not come");
    return futures;
}

/// Adds one, and says how often that had been done before.
inline auto count_up(const Shared<Counter>& counter) {
    return with_captures([place = counter.get()] { return place->fetch_add(1); });
}

/// Wraps round, without undefined behaviour, where `map` has read far ahead.
inline int square(int n) {
    const auto number = static_cast<unsigned>(n);
    return static_cast<int>(number * number);
}

/// Runs `square` in a pool of which processes were killed; the last kills may be late.
template <typename Pool>
int square_after_kills(Pool& pool, int n) {
    return pool.with({.max_retries = 3}).submit(square, n).get();
}

inline int pid_of_worker() {
    return getpid();
}

/// The only supervisor among this process's children, 0 if there is none yet or several.
inline pid_t supervisor_of(pid_t parent) {
    auto children = children_of(parent);
    std::erase_if(children, [](const ProcessInfo& child) { return child.state == 'Z'; });
    return children.size() == 1 ? children.front().pid : 0;
}

/// The workers that live now.
inline std::vector<pid_t> workers_of(pid_t supervisor) {
    if (supervisor == 0) throw std::logic_error("no supervisor"); // 0: the parent of the system's
    std::vector<pid_t> workers;
    for (const ProcessInfo& child : children_of(supervisor)) {
        if (child.state != 'Z') workers.push_back(child.pid);
    }
    return workers;
}

template <typename Futures>
auto results_of(Futures& futures) {
    std::vector<decltype(futures.front().get())> results;
    for (auto& future : futures) results.push_back(future.get());
    return results;
}

} // namespace prong::test
