#pragma once

// Pools that show their insides to a test.

#include "executor/parent/core.hpp"
#include "executor/supervisor/delegate.hpp"
#include "executor/worker/loop.hpp"

#include <prong/detail/task.hpp>
#include <prong/future.hpp>
#include <prong/process_pool_executor.hpp>

#include <limits>
#include <thread>
#include <utility>
#include <vector>

namespace prong::test {

/// A small pool without an executor or a process; its workers see the core at the same address.
/// Nobody works in it until `start_processes`. Shut down and left at its end.
class BarePool {
public:
    static constexpr std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();

    explicit BarePool(unsigned workers, std::uint64_t max_pending = no_limit)
        : core_(executor::PoolCore::create({.workers = workers,
                                            .max_pending = max_pending,
                                            .sizes = {.workers = workers,
                                                      .ring_entries = 1 << 12,
                                                      .records = 1 << 14,
                                                      .payload_span = 1 << 22,
                                                      .payload_most = 1 << 20}})) {}
    BarePool(const BarePool&) = delete;
    BarePool& operator=(const BarePool&) = delete;
    ~BarePool() {
        core_->shutdown(true, false);
        core_->close();
    }

    void start_processes() { core_->start(); }

    template <typename F, typename... Args>
    auto submit(F&& f, Args&&... args) {
        return detail::submit_task(*core_, nullptr, std::forward<F>(f),
                                   std::forward<Args>(args)...);
    }
    template <typename F, std::ranges::input_range... Ranges>
    auto map(const MapOptions& options, F f, Ranges&&... ranges) {
        return detail::make_map_result(*core_, options, nullptr, std::move(f),
                                       std::forward<Ranges>(ranges)...);
    }
    [[nodiscard]] PoolWithOptions with(const TaskOptions& options) const {
        return {*core_, options};
    }

    [[nodiscard]] executor::PoolCore& core() const { return *core_; }
    [[nodiscard]] executor::SharedState& state() const { return core_->state(); }

private:
    executor::PoolCore* core_;
};

/// A pool whose workers are threads: what ThreadSanitizer can follow. Drained and joined at its
/// end.
class ThreadPool : public BarePool {
public:
    using BarePool::BarePool;
    ~ThreadPool() { drain(); }

    /// A worker begins to take tasks. When it leaves, what the supervisor would do is done: the
    /// others look again, of whom one may have gone to sleep before the last task was claimed.
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

} // namespace prong::test
