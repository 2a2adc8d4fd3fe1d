#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>
#include <prong/error.hpp>
#include <prong/pool_options.hpp>
#include <prong/process_pool_executor.hpp>
#include <prong/timeout.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// \file
/// The executor on many machines, by MPI. Link the library `prong-mpi`; `<prong/prong.hpp>` does
/// not bring this header.

namespace prong {

/// What happens when a rank is lost: its process or host has ended, cannot be reached or run tasks
/// any more, or has not answered for `MpiOptions::rank_timeout`. Its tasks end with `RankLost` or
/// are retried in either case.
enum class OnRankLoss : unsigned char {
    /// The other ranks continue. If the launcher ends them too, or no rank is left, the job is
    /// launched again (`MpiOptions::relaunches`). A job of `mpirun` is not: the pool breaks when no
    /// rank is left, and the launcher may end the program, too (Open MPI's unless it was given
    /// `--enable-recovery`).
    recover,
    break_pool, ///< every future that has not ended gets `BrokenProcessPool`
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(OnRankLoss action);

/// Options of an executor on many machines. All fields have sensible defaults; name the ones that
/// differ: `MpiOptions{.hosts = {"node1", "node2"}}`. Designated initialisers must follow the order
/// of the fields.
///
/// A program that was started by `mpirun` or `srun` already has its ranks: `launcher`,
/// `launcher_arguments`, `hosts`, `ranks` and `relaunches` have no effect there, but values out of
/// range throw.
struct MpiOptions {
    /// Number of workers of each rank that serves. Normally a host has one such rank; two on a host
    /// have twice as many. *Default:* the number of CPUs that the rank may use, divided by the
    /// number of ranks on its host. Fewer than 1 or more than 1024 throw `std::invalid_argument`.
    std::optional<int> workers_per_host = std::nullopt;

    /// The program that starts the job: that of Open MPI or MPICH, whichever prong-mpi was built
    /// with, or Slurm's `srun`. *Default:* `mpirun.openmpi` or `mpirun.mpich` on the path, or else
    /// `mpirun`. A script must `exec` it. That of Open MPI starts nothing as root unless
    /// `OMPI_ALLOW_RUN_AS_ROOT=1` and `OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1` are set.
    std::string launcher = {};

    /// Hosts that serve, by names or addresses that the launcher can reach, with ssh if nothing
    /// else is configured. Each must have this program, the same build, at the same path.
    /// The program's own machine runs tasks only if it is among them, or has `local_workers`.
    /// *Default:* this machine; in a batch job, its hosts, of which `ranks` says how many serve.
    std::vector<std::string> hosts = {};

    /// Number of ranks that serve, spread over `hosts`. *Default:* one for each of `hosts`; 1
    /// without hosts, also in a batch job. 0 throws `std::invalid_argument`.
    std::optional<int> ranks = std::nullopt;

    /// Selects whether the pool survives the loss of a rank. *Default:* it does.
    OnRankLoss on_rank_loss = OnRankLoss::recover;

    /// How often the job may be launched again after its end, in the pool's whole life. Beyond that
    /// the pool breaks with `BrokenProcessPool`. Queued tasks wait meanwhile. A rank that cannot
    /// serve at all (another build, an initializer that throws) breaks it at once. No effect with
    /// `OnRankLoss::break_pool`. *Default:* 3.
    int relaunches = 3;

    /// Number of workers on this machine beside those of the ranks. They take tasks from the same
    /// queue. *Default:* none.
    int local_workers = 0;

    /// A rank that has been silent for this time is lost. A rank that has not heard from the
    /// program for this time ends. *Default:* 10 s. 0 and no limit throw `std::invalid_argument`.
    Timeout rank_timeout = std::chrono::seconds(10);

    /// Limits the time from the start of the launcher (under `mpirun`, from the creation of the
    /// pool) until all ranks serve. If MPI has not started by then, the launch has failed, and
    /// counts as an end of the job (`relaunches`). A rank that has not answered by then is lost.
    /// *Default:* 60 s. `std::nullopt`: no limit.
    Timeout launch_timeout = std::chrono::seconds(60);

    /// Arguments for the launcher, before those of prong: `{"--mca", "btl_tcp_if_include",
    /// "eth1"}`. *Default:* none.
    std::vector<std::string> launcher_arguments = {};

    /// Options of the pool, and of the workers on every host: hooks, limits, replacement.
    /// `max_pending` and `max_payload_bytes` are those of the program, and `inherit` concerns only
    /// `local_workers`: others keep only standard output and error. Hooks must be
    /// functions, lambdas without captures or `with_captures`, with arguments if needed
    /// (`WorkerHook`). `max_workers` throws `std::invalid_argument`: `workers_per_host` and
    /// `local_workers` say how many.
    PoolOptions pool = {};
};

/// Pool of worker processes on many machines; everything that `ProcessPoolExecutor` offers works
/// alike: futures, `map`, `wait`, event loops, limits, captured output.
///
///     int main(int argc, char** argv) {
///         prong::mpi::serve(argc, argv);
///         prong::MpiPoolExecutor pool(prong::MpiOptions{.hosts = {"node1", "node2"}});
///         std::cout << pool.submit(square, 7).get() << "\n";
///     }
///
/// Each host runs a pool of its own. A task that crashes there fails with `WorkerDied`, whose
/// `host()` names the machine, and costs one worker. If a rank or host is lost, the tasks that it
/// has, running or waiting there, end with `RankLost`, or run elsewhere
/// (`TaskOptions::max_retries`; this counts as an attempt).
///
/// Tasks are sent ahead: a rank holds up to 4096, also those that run. One that waits there counts
/// as running, so `cancel()` returns false (`kill()` and `request_stop()` reach it), and
/// `TaskOptions::priority` orders only those that are still in the program's queue. Tasks that
/// would wait at a rank for more than 50 ms, or 20 ms while another worker is idle, come back:
/// `cancel()` reaches them again, and they run before all that is queued.
///
/// Workers of ranks see the program's memory as it was at `serve`, not at the creation of the pool.
/// Their environment lacks the variables by which the launcher identifies a rank (`PMI*`, `OMPI_*`,
/// `MPI*`, `HYD*`, `ORTE_*`). Shared objects that the program has loaded before it creates the pool
/// are loaded at the ranks as well; under `mpirun` only those that are loaded before `serve`.
/// `submit` throws `std::invalid_argument` for what cannot leave the machine: `SharedBuffer`,
/// queues, locks and other objects that the processes of one machine share.
///
/// The program itself never calls MPI: a child process does. A program that `mpirun` has started
/// can create one such pool in its life, because the ranks end with the pool; another one throws
/// `std::logic_error`, as does one that a task on another rank creates.
///
/// Thread safety and process safety: like `ProcessPoolExecutor`. The job ends with the program,
/// also if it is killed: ranks on other hosts when they notice, at the latest after `rank_timeout`,
/// or while the job starts after `launch_timeout`.
class PRONG_API MpiPoolExecutor : public ProcessPoolExecutor {
public:
    /// Creates the pool. Starts the job unless `mpirun` has started the program, and does not wait
    /// for it: if it fails, futures and `submit` throw `BrokenProcessPool` with the cause. *Throws*
    /// `std::logic_error` if the program has not called `mpi::serve`, `std::invalid_argument` for
    /// options out of range, and what the constructor of `ProcessPoolExecutor` throws.
    explicit MpiPoolExecutor(MpiOptions options = {});
};

/// The executor on many machines: what `main` calls.
namespace mpi {

/// Returns in the program of the user. In every other process of the job, which the launcher has
/// started with the same executable, it serves tasks and then exits. Call it on the first line of
/// `main`: what stands before it runs on every host. Processes that serve fork a zygote for their
/// workers before they start MPI. Does not change the arguments. Under `mpirun` the
/// program's exit waits for a pool that is joining the job. If none has joined, the program then
/// executes itself once more, to end the other ranks. Both take at most two minutes.
///
/// *Throws* `std::logic_error` if there are other threads.
PRONG_API void serve(int argc, char** argv);

} // namespace mpi

} // namespace prong
