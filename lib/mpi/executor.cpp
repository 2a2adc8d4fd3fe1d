#include "base/file.hpp"
#include "executor/relay/relay_port.hpp"
#include "mpi/environment.hpp"
#include "mpi/launcher.hpp"
#include "mpi/root.hpp"
#include "mpi/serve_state.hpp"
#include "mpi/wire.hpp"
#include "ring/worker_notifier.hpp"

#include <prong/mpi.hpp>

#include <atomic>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace prong {
namespace {

/// How many tasks may be at other ranks. Each rank holds a few milliseconds' worth.
constexpr unsigned claims = 1 << 14;

std::atomic<bool> job_is_taken = false;

/// Whether the pool that this thread creates has taken the job.
thread_local bool has_taken_job = false;

void check(const MpiOptions& options) {
    const auto refuse = [](const std::string& why) {
        throw std::invalid_argument("MpiOptions::" + why);
    };
    const int workers = options.workers_per_host.value_or(1);
    constexpr int most_workers = ring::WorkerSet::capacity; // of a pool
    if (workers < 1 || workers > most_workers)
        refuse("workers_per_host must be 1 to " + std::to_string(most_workers));
    if (options.relaunches < 0) refuse("relaunches must not be negative");
    if (options.local_workers < 0) refuse("local_workers must not be negative");
    for (const std::string& host : options.hosts) {
        // The launcher would take it for several hosts, or for an option.
        if (host.empty() || host.starts_with('-') || host.find(',') != std::string::npos)
            refuse("hosts has \"" + host + "\", which is no name or address");
    }
    if (options.pool.max_workers)
        refuse("pool.max_workers must not be set: workers_per_host and local_workers say how many");
    const Timeout::Value& timeout = options.rank_timeout.value();
    if (!timeout || timeout->count() == 0) refuse("rank_timeout must be more than 0, and limited");
    static_cast<void>(mpi::serving_ranks(options));
}

/// Returns whether the pool starts the job; false if `mpirun` has started the program.
bool has_to_launch() {
    if (!mpi::has_served()) {
        throw std::logic_error(
            "main must call prong::mpi::serve before it creates a prong::MpiPoolExecutor");
    }
    if (mpi::is_of_other_rank()) {
        throw std::logic_error("a task on another rank cannot create a prong::MpiPoolExecutor: "
                               "create it in the program");
    }
    if (!mpi::launched_rank()) return true;
    if (job_is_taken.exchange(true)) {
        throw std::logic_error("a program that was started as a job of MPI can create only one "
                               "prong::MpiPoolExecutor: the ranks end with it");
    }
    has_taken_job = true;
    return false;
}

/// Returns the descriptor by which PMI-1 and PMI-2 tell a rank of the others.
std::vector<int> descriptor_of_launcher() {
    const auto text = mpi::variable(mpi::pmi_variable);
    const auto fd = text ? base::to_number(*text) : std::nullopt;
    return fd ? std::vector{static_cast<int>(*fd)} : std::vector<int>();
}

executor::RelayOptions relay_of(const MpiOptions& options) {
    check(options);
    mpi::SentPoolOptions pool = mpi::sent(options.pool, options.workers_per_host);
    const bool launches = has_to_launch();
    const bool may_relaunch = launches && options.on_rank_loss == OnRankLoss::recover;
    return {.claims = claims,
            .relaunches = may_relaunch ? static_cast<unsigned>(options.relaunches) : 0,
            .run =
                [options, pool, launches](executor::RelayPort& port) {
                    return mpi::run_root(port, options, pool, launches);
                },
            .kept = launches ? std::vector<int>() : descriptor_of_launcher()};
}

PoolOptions local_options(const MpiOptions& options) {
    PoolOptions local = options.pool;
    local.max_workers = options.local_workers;
    return local;
}

} // namespace

// NOLINTNEXTLINE(performance-unnecessary-value-param): as ProcessPoolExecutor
MpiPoolExecutor::MpiPoolExecutor(MpiOptions options) try
    : ProcessPoolExecutor(local_options(options), relay_of(options)) {
    has_taken_job = false;
} catch (...) {
    if (std::exchange(has_taken_job, false)) job_is_taken = false;
}

} // namespace prong
