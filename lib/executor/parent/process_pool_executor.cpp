#include <prong/process_pool_executor.hpp>

#include "executor/parent/core.hpp"
#include "executor/relay/relay_port.hpp"
#include "executor/shared/option_check.hpp"
#include "os/cpus.hpp"
#include "proc/inherit.hpp"

#include <algorithm>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>

namespace prong {
namespace {

/// `has_relay`: there may be no other worker than those of other hosts.
unsigned checked_workers(const PoolOptions& options, bool has_relay) {
    const int least = has_relay ? 0 : 1;
    const int most = static_cast<int>(ring::WorkerSet::capacity) - (has_relay ? 1 : 0);
    const int workers =
        options.max_workers.value_or(std::min(static_cast<int>(os::available_cpus()), most));
    if (workers < least || workers > most) {
        throw std::invalid_argument("max_workers is " + std::to_string(workers) + "; a pool has " +
                                    std::to_string(least) + " to " + std::to_string(most) +
                                    " workers");
    }
    return static_cast<unsigned>(workers);
}

executor::Recycling recycling_of(const PoolOptions& options) {
    executor::Recycling recycling;
    if (options.max_tasks_per_worker)
        recycling.max_tasks = executor::at_least_one(options.max_tasks_per_worker,
                                                     "PoolOptions::max_tasks_per_worker", 0);
    if (options.max_worker_rss_bytes)
        recycling.max_resident_bytes = executor::at_least_one(
            options.max_worker_rss_bytes, "PoolOptions::max_worker_rss_bytes", 0);
    return recycling;
}

/// The time limit of hooks; none if there is no hook.
Timeout start_limit_of(const PoolOptions& options) {
    const Timeout& limit = options.start_timeout;
    if (limit.value() && limit.value()->count() == 0)
        throw std::invalid_argument("PoolOptions::start_timeout must be more than 0");
    const bool has_hooks = options.initializer || options.on_worker_start || options.on_worker_exit;
    return has_hooks ? limit : Timeout(std::nullopt);
}

} // namespace

ProcessPoolExecutor::ProcessPoolExecutor(PoolOptions options)
    : ProcessPoolExecutor(std::move(options), executor::RelayOptions{}) {}

ProcessPoolExecutor::ProcessPoolExecutor(PoolOptions options, executor::RelayOptions relay)
    : core_(nullptr), exceptions_at_start_(std::uncaught_exceptions()) {
    const unsigned workers = checked_workers(options, relay.claims != 0);
    const std::size_t max_pending = executor::at_least_one(
        options.max_pending, "PoolOptions::max_pending", std::numeric_limits<std::size_t>::max());
    const std::size_t payload =
        executor::at_least_one(options.max_payload_bytes, "PoolOptions::max_payload_bytes", 0);
    executor::SharedState::Sizes sizes = executor::SharedState::choose_sizes(workers, payload);
    sizes.max_nesting = executor::at_least_one(options.max_nesting, "PoolOptions::max_nesting",
                                               detail::default_max_nesting);
    sizes.claims = std::min(relay.claims, executor::RelayOptions::most_claims);
    const Timeout start_limit = start_limit_of(options);
    core_ = executor::PoolCore::create(
        {.workers = workers,
         .max_pending = max_pending,
         .sizes = sizes,
         .supervisor = {.hooks = {.initializer = std::move(options.initializer),
                                  .on_start = std::move(options.on_worker_start),
                                  .on_exit = std::move(options.on_worker_exit),
                                  .limit = start_limit.value()},
                        .recycling = recycling_of(options),
                        .break_on_death = options.on_worker_death == OnWorkerDeath::break_pool,
                        .inherited = proc::inherited_by(options.inherit),
                        .kept = proc::checked_descriptors(options.inherit),
                        .cpus = os::process_cpus(),
                        .doorbell = os::Doorbell::unique(),
                        .relay = std::move(relay)},
         .limits = options.limits});
    try {
        core_->start(); // core_ is set before the fork: in a worker it says that this is a copy
    } catch (...) {
        core_->close();
        throw;
    }
}

ProcessPoolExecutor::~ProcessPoolExecutor() {
    if (core_->is_copy()) return;
    const bool unwinding = std::uncaught_exceptions() > exceptions_at_start_;
    try {
        core_->shutdown(true, unwinding);
    } catch (...) { // the wait failed: the workers end at the latest with this process
    }
    core_->close();
}

void ProcessPoolExecutor::shutdown(bool wait, bool cancel_futures) {
    core_->require_own_process();
    core_->shutdown(wait, cancel_futures);
}

void ProcessPoolExecutor::terminate_workers() {
    core_->require_own_process();
    core_->end_workers(proc::StopMode::terminate);
}

void ProcessPoolExecutor::kill_workers() {
    core_->require_own_process();
    core_->end_workers(proc::StopMode::kill);
}

bool ProcessPoolExecutor::join_for(Timeout timeout) {
    core_->require_own_process();
    return core_->join_until(detail::Deadline::after(timeout));
}

ShutdownReport ProcessPoolExecutor::shutdown_for(Timeout timeout) {
    core_->require_own_process();
    return core_->shutdown_for(detail::Deadline::after(timeout));
}

PoolStats ProcessPoolExecutor::stats() const {
    return core_->stats();
}

int ProcessPoolExecutor::completion_fd() {
    core_->require_own_process();
    return core_->open_completion_fd();
}

int ProcessPoolExecutor::max_workers() const {
    core_->require_own_process();
    return static_cast<int>(core_->workers());
}

PoolWithOptions::PoolWithOptions(executor::PoolCore& core, const TaskOptions& options)
    : core_(&core), options_(options) {
    core.require_own_process();
}

} // namespace prong
