#pragma once

// Pools that show their insides to a test, which `ProcessPoolExecutor` does not.

#include "executor/parent/core.hpp"
#include "os/child.hpp"
#include "support/processes.hpp"

#include <prong/process_pool_executor.hpp>

#include <unistd.h>

#include <csignal>
#include <functional>
#include <limits>
#include <stdexcept>
#include <utility>

namespace prong::test {

/// A small pool without an executor or a process; its workers see the core at the same address.
/// Runs nothing until `start_processes`. Shut down and closed at its end.
class BarePool {
public:
    static constexpr std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();

    explicit BarePool(unsigned workers, std::uint64_t max_pending = no_limit,
                      executor::SupervisorOptions options = {})
        : core_(executor::PoolCore::create({.workers = workers,
                                            .max_pending = max_pending,
                                            .sizes = {.workers = workers,
                                                      .ring_entries = 1 << 12,
                                                      .records = 1 << 14,
                                                      .payload_span = 1 << 26,
                                                      .payload_most = 1 << 24,
                                                      .claims = options.relay.claims},
                                            .supervisor = std::move(options)})) {}
    BarePool(const BarePool&) = delete;
    BarePool& operator=(const BarePool&) = delete;
    ~BarePool() {
        core_->shutdown(true, false);
        core_->close();
    }

    void start_processes() { core_->start(); }

    template <typename F, typename... Args>
    auto submit(F&& f, Args&&... args) {
        return submit_with(nullptr, std::forward<F>(f), std::forward<Args>(args)...);
    }
    template <typename F, typename... Args>
    auto submit_with(const TaskOptions* options, F&& f, Args&&... args) {
        return detail::submit_task(*core_, options, std::forward<F>(f),
                                   std::forward<Args>(args)...);
    }
    template <typename F, std::ranges::input_range Range>
    auto submit_batch(F f, Range&& range, const TaskOptions* options = nullptr) {
        return detail::submit_task_batch(*core_, options, f, range);
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

/// A pool with supervisor and workers.
class CorePool : public BarePool {
public:
    /// A supervisor's whole life; returns its exit status.
    using Supervise = std::function<int(executor::SharedState&, const executor::SupervisorOptions&,
                                        int parent_pidfd)>;

    /// `supervise` replaces the real supervisor.
    explicit CorePool(unsigned workers, const Supervise& supervise = {},
                      const executor::SupervisorOptions& options = {})
        : BarePool(workers, no_limit, options) {
        if (!supervise) {
            start_processes();
            return;
        }
        os::Fork fork = os::fork_with_pidfd(os::ChildSignals::blocked);
        if (fork.pid == 0) _exit(supervise(state(), options, fork.process.open()));
        own_supervisor_ = std::move(fork.process);
    }
    ~CorePool() { end(); }

    /// Waits until the processes have ended.
    void end() {
        if (own_supervisor_) {
            core().end_workers(proc::StopMode::kill);
            os::send_signal(own_supervisor_, SIGUSR1);
            os::reap(own_supervisor_);
            own_supervisor_.reset();
        }
        core().shutdown(true, false);
    }

private:
    os::PidFd own_supervisor_; ///< which replaces the real one
};

} // namespace prong::test
