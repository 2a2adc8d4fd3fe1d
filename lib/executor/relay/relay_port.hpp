#pragma once

#include "proc/stop_mode.hpp"
#include "ring/record.hpp"

#include <prong/detail/export.hpp>
#include <prong/detail/task_type.hpp>
#include <prong/pool_options.hpp>
#include <prong/stats.hpp>
#include <prong/task_options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace prong::executor {

class SharedState;
struct WorkerSurroundings;

/// A task that the relay has claimed.
struct RelayTask {
    std::uint32_t claim;          ///< names the task until it has been ended; below `claims()`
    const detail::TaskType* type; ///< its address in this program
    std::span<const std::byte> arguments; ///< in shared memory, until the task has been ended
    /// The options for the pool that runs the task: no retries, and of the deadline what is left.
    /// Empty: none.
    std::optional<TaskOptions> options;
    unsigned attempt; ///< from 1
};

/// A worker on another host.
struct RelayWorker {
    WorkerStats stats;                  ///< without `host` and `task`
    std::optional<std::uint32_t> claim; ///< of the task that it runs, if the relay holds that
};

/// How a task ended, as it travels.
struct TaskEnd {
    /// Any final state but `lost`; after `cancelled` call `take_back`.
    ring::TaskState state;
    /// The result, the exception or the failure report.
    std::span<const std::byte> bytes;
    /// How many of the bytes, at their end, are captured output.
    std::uint64_t output_length = 0;
};

/// The relay's side of a pool: claims tasks that are to run on other hosts, and ends them.
///
/// Each task occupies one of the relay's claims, which owns it as a worker owns its task. So the
/// relay may be killed at any instruction: the supervisor repairs what all claims have left.
///
/// Thread safety: one thread. Process safety: the relay.
class PRONG_API RelayPort {
public:
    RelayPort(SharedState& state, const WorkerSurroundings& surroundings);
    RelayPort(const RelayPort&) = delete;
    RelayPort& operator=(const RelayPort&) = delete;
    ~RelayPort();

    // Tasks.

    /// Returns how many tasks the relay may hold.
    [[nodiscard]] std::uint32_t claims() const noexcept;
    /// Returns how many tasks it holds.
    [[nodiscard]] std::uint32_t held() const noexcept;

    /// Takes a task that has just been claimed. Returns whether to claim another one.
    using Take = std::function<bool(const RelayTask&)>;
    /// Claims tasks one by one, until none is queued, until there is no room or until `take` wants
    /// no more. Returns how many. Also makes tasks that are left known to the local workers, so
    /// call it after each `nap`.
    std::size_t claim(const Take& take);

    /// Notes the rank that the task is sent to. Call it before sending the first byte: a task of a
    /// dead relay that no rank had is tried again without being counted as an attempt.
    void assign(std::uint32_t claim, int rank) noexcept;

    /// Returns shared memory for the bytes of the task's end, which `end` then finds in place. Also
    /// for results that arrive in pieces. Returns an empty span if there is no room: then call
    /// `end_without_room`.
    std::span<std::byte> reserve_end(std::uint32_t claim, std::size_t size);

    /// Ends the task. `host` is where it ran. Requeues it instead if its worker has died and it is
    /// to be tried again. A killed task ends as such, however it ended there.
    ///
    /// `OnWorkerDeath::break_pool`: if its worker has died and it is not to be tried again, leaves
    /// the task as it is and returns why the pool breaks (`give_up`); otherwise returns nothing.
    std::string end(std::uint32_t claim, const TaskEnd& end, std::string_view host = {},
                    OnWorkerDeath on_death = OnWorkerDeath::replace);
    /// Ends the task with `LimitExceeded`: shared memory has no room for its result.
    void end_without_room(std::uint32_t claim);

    /// Requeues a task that was assigned to a lost rank if it has retries left, else ends it with
    /// `RankLost`. Returns whether it is requeued.
    bool lose(std::uint32_t claim, std::string_view host, std::string_view cause);

    /// Takes back a task that the rank has not started, and will not start: requeues it, or cancels
    /// it if it was asked to stop.
    void take_back(std::uint32_t claim);

    /// What the program asks of a task that the relay holds.
    struct Request {
        std::uint32_t claim;
        bool is_kill; ///< else: to stop
    };
    /// Returns what was asked since the last call, each request once. Costs a load if there is
    /// none. A task that is to be killed is then ended by `end` or `take_back`.
    std::vector<Request> take_requests();

    // The pool.

    /// Returns whether a worker of this machine has nothing to do.
    [[nodiscard]] bool has_idle_worker() const noexcept;
    /// Returns how the program wants the pool to end. From `terminate` on, leave at once.
    [[nodiscard]] proc::StopMode stop_mode() const noexcept;
    /// Returns whether the relay is to leave: no task will come any more, and none is held.
    [[nodiscard]] bool is_over() const;
    /// Returns whether the pool's supervisor has died; then leave at once.
    [[nodiscard]] bool is_orphaned() const noexcept;

    /// Sleeps, at most for `most` (if it is negative, without limit). Ends at once when the stop
    /// mode changes, when a request arrives and, if it `wants_tasks`, when a task is queued.
    void nap(std::chrono::nanoseconds most, bool wants_tasks);

    /// Stores what `PoolStats` shows of the workers of a rank: the present state of all that it has
    /// reported; none once it is lost.
    void publish(int rank, std::string_view host, std::span<const RelayWorker> workers);

    /// Says why the relay is about to exit with an error; appears in `BrokenProcessPool`.
    void set_failure(std::string_view cause) noexcept;
    /// The same for an error that would come again: the relay is not replaced, the pool breaks.
    void give_up(std::string_view cause) noexcept;

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

/// The relay of a pool.
struct RelayOptions {
    /// How many tasks it may hold at a time; 0: the pool has no relay.
    unsigned claims = 0;
    /// How often the supervisor replaces a relay that has ended with an error or was killed. The
    /// next end breaks the pool; so does `RelayPort::give_up`.
    unsigned relaunches = 0;
    /// Runs the relay process, which may start other processes and threads. Returns the exit
    /// status: 0 only when the pool is over. What it throws is the cause of its failure.
    std::function<int(RelayPort&)> run = {};
    /// Descriptors that the relay keeps, and workers do not.
    std::vector<int> kept = {};
    /// Whether all tasks run in processes of this fork family: then they may hold addresses and
    /// names of shared objects.
    bool is_family = false;

    static constexpr unsigned most_claims = 1 << 15;
};

} // namespace prong::executor
