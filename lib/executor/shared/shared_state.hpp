#pragma once

#include "diag/crash_dump.hpp"
#include "executor/shared/task_settings.hpp"
#include "os/futex.hpp"
#include "proc/stop_mode.hpp"
#include "ring/lanes.hpp"
#include "ring/worker_notifier.hpp"
#include "shm/flag.hpp"
#include "shm/payload.hpp"
#include "shm/region.hpp"

#include <prong/detail/wire.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace prong::executor {

/// Whether a supervisor that the zygote has forked may begin. Written by the parent.
enum class Admission : std::uint32_t {
    pending, ///< the parent has not received its pidfd yet
    granted,
    refused, ///< the parent will not receive it
};

/// How far a worker's start has come. One compare-and-swap leaves `starting`, so worker and
/// supervisor agree on the outcome.
enum class StartState : std::uint32_t {
    starting, ///< set by the supervisor before the fork
    ready,    ///< set by the worker when its hooks have returned
    expired,  ///< set by the supervisor, which kills the worker: its hooks exceeded `start_timeout`
};

/// A text in shared memory, cut to its fixed size.
class SharedText {
public:
    void set(std::string_view text) noexcept;
    /// Returns the text. Safe even if another process has overwritten it with anything.
    [[nodiscard]] std::string get() const;
    void clear() noexcept { length_.store(0, std::memory_order_release); }

private:
    std::atomic<std::uint32_t> length_;
    std::array<char, 508> text_;
};

/// The words in shared memory that belong to the pool as a whole.
struct Control {
    /// Written by the parent.
    alignas(128) std::atomic<proc::StopMode> stop_mode;
    /// An `Admission`, written by the parent.
    os::FutexWord admission;
    /// Set by the supervisor, after `cause`, when it gives up the pool.
    shm::Flag broken;
    SharedText cause;
    /// How many workers have started. Written by the workers; distinguishes a passing failure from
    /// a repeated one.
    std::atomic<std::uint32_t> starts;
    /// Changes when a task ends that is watched together with others.
    alignas(64) os::FutexWord completions;
    /// How many threads of the parent sleep on `completions`. Written by the parent.
    std::atomic<std::uint32_t> waiting_for_completions;
    /// When the supervisor will next check running tasks, on the steady clock. Written by the
    /// supervisor; a worker that needs it earlier notifies it.
    std::atomic<std::int64_t> next_alarm_ns;
    ring::LaneWords lanes;
    ring::NotifierWords notifier;
    /// How many tasks dead workers have left unfinished. Incremented by the supervisor before the
    /// task's end becomes visible.
    std::atomic<std::uint64_t> left_unfinished;
    /// How many dead workers' intents hold a task that is to be tried again, or more. Written by
    /// the supervisor.
    std::atomic<std::uint32_t> retries;
    // Counted by the supervisor: retries, tasks that ended with their worker, and those of the
    // latter whose worker was killed for the task.
    std::atomic<std::uint64_t> retried;
    std::atomic<std::uint64_t> died;
    std::atomic<std::uint64_t> killed;
};

/// A worker's slot in shared memory. It outlives the process: the successor continues the counts.
struct WorkerSlot {
    ring::WorkerIntent intent;

    // Written by the worker.
    std::atomic<std::uint64_t> finished; ///< tasks, failed ones included
    std::atomic<std::uint64_t> failed;   ///< tasks that threw
    std::atomic<std::int64_t> since_ns;  ///< when it claimed its task or became idle; coarse

    // Of a running task with options: written by the worker, read by the supervisor.
    std::atomic<std::int64_t> stop_at_ns; ///< 0: no time limit, or not yet known
    std::atomic<std::uint64_t> resident_at_start;
    std::atomic<std::int64_t> cpu_ns_at_start;

    // Written by the supervisor.
    /// 0: no process. The worker writes it, too: it may run a task before the supervisor continues.
    alignas(64) std::atomic<int> pid;
    shm::Flag stopped;
    std::atomic<std::uint64_t> deaths;

    std::atomic<StartState> start;
    /// Set by the worker when it exits normally.
    shm::Flag leaving;
    /// Why its initializer or `on_worker_start` failed. Written by the worker.
    SharedText failure;
    diag::CrashDump crash;
};

/// The shared memory of parent, supervisor and workers, and where its parts lie. The parent creates
/// it before it forks; the other processes inherit the mapping and this object.
///
/// Layout: control, worker slots, wake_words, ring entries, records, task settings, payload.
class SharedState {
public:
    struct Sizes {
        unsigned workers;
        std::uint64_t ring_entries; ///< of each lane; a power of two
        std::uint64_t records;
        std::uint64_t payload_span; ///< a power of two: address space for blocks of each size
        std::uint64_t payload_most; ///< the largest argument list or result
        std::uint64_t max_nesting = detail::default_max_nesting; ///< of transferred values
    };

    /// Returns the largest sizes that the machine's memory and RLIMIT_AS allow. `most_bytes`: the
    /// largest argument list or result, or 0 for the default.
    static Sizes choose_sizes(unsigned workers, std::uint64_t most_bytes);

    /// Creates the shared memory. Halves the sizes until the address space has room for them.
    /// Throws `std::system_error`.
    static SharedState create(Sizes sizes);
    /// Maps the same memory in a process that has not inherited it. Throws `std::system_error`.
    static SharedState attach(base::UniqueFd memory, const Sizes& sizes);

    [[nodiscard]] Control& control() const { return *control_; }
    [[nodiscard]] WorkerSlot& slot(unsigned worker) const { return slots_[worker]; }
    [[nodiscard]] unsigned workers() const { return sizes_.workers; }
    [[nodiscard]] const Sizes& sizes() const { return sizes_; }
    /// Returns the settings of a task with options.
    [[nodiscard]] TaskSettings& settings(std::uint32_t index) const { return settings_[index]; }

    /// Returns the task that this worker has claimed and not finished, from its intent.
    [[nodiscard]] std::optional<ring::Claim> unfinished_task(unsigned worker) const {
        return ring::unfinished(records, static_cast<std::uint16_t>(worker), slot(worker).intent);
    }

    /// Returns whether `matches(record)` holds for any task that a dead worker has left to be tried
    /// again.
    template <typename Matches>
    bool any_retried(Matches matches) const {
        for (unsigned worker = 0; worker < workers(); ++worker) {
            const ring::Record* const record = ring::retried(records, slot(worker).intent);
            if (record != nullptr && matches(*record)) return true;
        }
        return false;
    }
    /// Returns how many such tasks there are.
    [[nodiscard]] std::uint32_t count_retried() const;

    /// Returns the bytes of a task's arguments or result, whose place the record names; nothing if
    /// that place is invalid. This is the trust boundary: a worker may have written anything to the
    /// record, and may still do so.
    using Bytes = std::optional<std::span<const std::byte>>;
    [[nodiscard]] Bytes arguments_of(const ring::Record& record) const noexcept {
        return bytes_at(record, ring::read_once(record.arguments_offset),
                        ring::read_once(record.arguments_length));
    }
    [[nodiscard]] Bytes result_of(const ring::Record& record) const noexcept {
        return bytes_at(record, ring::read_once(record.result_offset),
                        ring::read_once(record.result_length));
    }
    /// Does the same for an offset that is known from private memory.
    [[nodiscard]] Bytes bytes_at(const ring::Record& record, std::uint64_t offset,
                                 std::uint64_t length) const noexcept;

    /// Returns whether a task's arguments fill whole pages of a payload block.
    [[nodiscard]] bool has_large_arguments(const ring::Record& record) const noexcept;

    /// Returns the arguments' memory of a task that will not run any more to the system. The block
    /// still belongs to the parent.
    void discard_arguments(const ring::Record& record) const noexcept;

    /// Wakes the threads that wait for a task that has ended, as the flags of its status say.
    void announce(const ring::Record& record, std::uint8_t flags) const noexcept;

    /// Makes the threads that wait for several tasks check these again.
    void notify_completion() const noexcept;

    /// Returns pages of the rings that will not be read again to the system.
    void retire_entries() noexcept;

    /// Returns the memory of all records from `first` up to `last` to the system. No record may be
    /// in use.
    void discard_records(std::uint32_t first, std::uint32_t last) noexcept;

    shm::Region region;
    std::span<ring::Record> records;
    ring::Lanes lanes;
    shm::Payload payload;
    ring::WorkerNotifier notifier;

private:
    struct Layout;
    SharedState(shm::Region memory, const Layout& layout, const Sizes& sizes);

    Control* control_;
    std::span<WorkerSlot> slots_;
    std::span<TaskSettings> settings_;
    Sizes sizes_;
    std::uint64_t entries_offset_;
};

} // namespace prong::executor
