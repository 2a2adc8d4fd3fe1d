#pragma once

#include "executor/parent/core.hpp"
#include "os/child.hpp"

#include <prong/detail/task.hpp>
#include <prong/detail/task_writer.hpp>
#include <prong/future.hpp>
#include <prong/task_options.hpp>

#include <unistd.h>

#include <csignal>
#include <functional>
#include <limits>
#include <utility>

namespace prong::test {

/// A pool with supervisor and workers whose core is in the test's hands. (`ProcessPoolExecutor`
/// shows its to nobody.)
class CorePool {
public:
    /// A supervisor's whole life; returns its exit status.
    using Supervise = std::function<int(executor::SharedState&, int parent_pidfd)>;

    /// `supervise` replaces the real supervisor.
    explicit CorePool(unsigned workers, const Supervise& supervise = {},
                      const executor::Recycling& recycling = {})
        : core_(
              executor::PoolCore::create({.workers = workers,
                                          .max_pending = std::numeric_limits<std::uint64_t>::max(),
                                          .sizes = {.workers = workers,
                                                    .ring_entries = 1 << 12,
                                                    .records = 1 << 14,
                                                    .payload_span = 1 << 26,
                                                    .payload_most = 1 << 20},
                                          .supervisor = {.hooks = {}, .recycling = recycling}})) {
        if (!supervise) {
            core_->start();
            return;
        }
        os::Fork fork = os::fork_with_pidfd(os::ChildSignals::blocked);
        if (fork.pid == 0) _exit(supervise(core_->state(), fork.process.open()));
        supervisor_ = std::move(fork.process);
    }
    CorePool(const CorePool&) = delete;
    CorePool& operator=(const CorePool&) = delete;
    ~CorePool() {
        if (supervisor_) {
            core_->end_workers(proc::StopMode::kill);
            os::send_signal(supervisor_, SIGUSR1);
            os::reap(supervisor_);
        }
        core_->shutdown(true, false);
        core_->close();
    }

    template <typename F, typename... Args>
    auto submit(F&& f, Args&&... args) {
        return submit_with({}, std::forward<F>(f), std::forward<Args>(args)...);
    }
    template <typename F, typename... Args>
    auto submit_with(const TaskOptions& options, F&& f, Args&&... args) {
        detail::TaskWriter writer(*core_);
        detail::encode_task(writer, std::forward<F>(f), std::forward<Args>(args)...);
        return detail::FutureAccess::make<detail::task_result_t<F, Args...>>(
            std::move(writer).submit(detail::task_type<F, Args...>(), &options));
    }

    [[nodiscard]] executor::PoolCore& core() const { return *core_; }
    [[nodiscard]] executor::SharedState& state() const { return core_->state(); }

private:
    executor::PoolCore* core_;
    os::PidFd supervisor_; ///< the replaced one
};

} // namespace prong::test
