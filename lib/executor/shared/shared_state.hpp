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

/// Whether a supervisor that was forked by the zygote may begin.
enum class Admission : std::uint32_t {
    pending, ///< the parent has not got its pidfd yet
    granted,
    refused, ///< and never will
};

/// A text that crosses processes: a fixed place, cut when it is too long.
class SharedText {
public:
    void set(std::string_view text) noexcept;
    /// Safe whatever another process has written over it.
    [[nodiscard]] std::string get() const;
    void clear() noexcept { length_.store(0, std::memory_order_release); }

private:
    std::atomic<std::uint32_t> length_;
    std::array<char, 508> text_;
};

/// The pool's words in shared memory that belong to no record.
struct Control {
    /// Written by the parent.
    alignas(128) std::atomic<proc::StopMode> stop_mode;
    /// An `Admission`, written by the parent.
    os::FutexWord admission;
    /// Set by the supervisor, after `cause`, when it gives the pool up.
    shm::Flag broken;
    SharedText cause;
    /// How many times a worker has become ready. Tells a passing failure from one that repeats.
    std::atomic<std::uint32_t> starts;
    /// Changes when a task has ended that somebody waits for together with others.
    alignas(64) os::FutexWord completions;
    /// How many threads of the parent sleep on it. Written by the parent only.
    std::atomic<std::uint32_t> waiting_for_completions;
    /// When the supervisor will look after running tasks next, on the steady clock; a worker that
    /// needs it sooner tells it.
    std::atomic<std::int64_t> next_alarm_ns;
    ring::LaneWords lanes;
    ring::NotifierWords notifier;
    /// How many tasks a dead worker has left unfinished; counted before anybody can know.
    std::atomic<std::uint64_t> left_unfinished;
    /// How many dead workers' notes hold a task that is to be tried again, or more. Written by the
    /// supervisor.
    std::atomic<std::uint32_t> retries;
    // Counted by the supervisor: tasks that were tried again, that ended with their worker, and
    // those of them whose worker was killed for what they did.
    std::atomic<std::uint64_t> retried;
    std::atomic<std::uint64_t> died;
    std::atomic<std::uint64_t> killed;
};

/// A worker's place in shared memory. Survives the process: its successor goes on with the counts.
struct WorkerSlot {
    ring::WorkerIntent intent;

    // Written by the worker only, beside what it notes for each task.
    std::atomic<std::uint64_t> finished; ///< tasks, failed ones included
    std::atomic<std::uint64_t> failed;   ///< those that threw
    std::atomic<std::int64_t> since_ns;  ///< when it has claimed its task, or begun to wait; coarse

    // Of a task with options that is running: written by the worker, watched by the supervisor.
    std::atomic<std::int64_t> stop_at_ns; ///< 0: no limit of time, or none yet
    std::atomic<std::uint64_t> resident_at_start;
    std::atomic<std::int64_t> cpu_ns_at_start;

    // Written by the supervisor.
    alignas(64) std::atomic<int> pid; ///< 0: no process
    shm::Flag stopped;
    std::atomic<std::uint64_t> deaths;

    /// Set by the worker when its initializer has returned.
    shm::Flag ready;
    /// Set by the worker when it ends of its own accord.
    shm::Flag leaving;
    /// Why its initializer failed.
    SharedText failure;
    diag::CrashDump crash;
};

/// Everything that parent, supervisor and workers share. Made by the parent before it forks; the
/// others inherit the mapping and this object, which holds where the parts lie.
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
        std::uint64_t max_nesting = detail::default_max_nesting; ///< of values that cross
    };

    /// The largest sizes that the machine's memory and RLIMIT_AS allow. `most_bytes`: the largest
    /// argument list or result, or 0 for what is usual.
    static Sizes choose_sizes(unsigned workers, std::uint64_t most_bytes);

    /// Halves the sizes until the address space has room for them. Throws `std::system_error`.
    static SharedState create(Sizes sizes);
    /// The same memory in a process that has not inherited it. Throws `std::system_error`.
    static SharedState attach(base::UniqueFd memory, const Sizes& sizes);

    [[nodiscard]] Control& control() const { return *control_; }
    [[nodiscard]] WorkerSlot& slot(unsigned worker) const { return slots_[worker]; }
    [[nodiscard]] unsigned workers() const { return sizes_.workers; }
    [[nodiscard]] const Sizes& sizes() const { return sizes_; }
    /// What a task with options has beside its record.
    [[nodiscard]] TaskSettings& settings(std::uint32_t index) const { return settings_[index]; }

    /// What this worker has claimed and not finished, as its note tells.
    [[nodiscard]] std::optional<ring::Claim> unfinished_task(unsigned worker) const {
        return ring::unfinished(records, static_cast<std::uint16_t>(worker), slot(worker).intent);
    }

    /// Whether `matches(record)` for any task that a dead worker has left to be tried again.
    template <typename Matches>
    bool any_retried(Matches matches) const {
        for (unsigned worker = 0; worker < workers(); ++worker) {
            const ring::Record* const record = ring::retried(records, slot(worker).intent);
            if (record != nullptr && matches(*record)) return true;
        }
        return false;
    }
    /// How many such tasks there are.
    [[nodiscard]] std::uint32_t count_retried() const;

    /// The bytes of a task's arguments or result where the record says that they lie; empty if
    /// that cannot be. This is the trust boundary: a worker may have written anything to the
    /// record, and may be about to.
    using Bytes = std::optional<std::span<const std::byte>>;
    [[nodiscard]] Bytes arguments_of(const ring::Record& record) const noexcept {
        return bytes_at(record, ring::read_once(record.arguments_offset),
                        ring::read_once(record.arguments_length));
    }
    [[nodiscard]] Bytes result_of(const ring::Record& record) const noexcept {
        return bytes_at(record, ring::read_once(record.result_offset),
                        ring::read_once(record.result_length));
    }
    /// The same for an offset that is known from elsewhere.
    [[nodiscard]] Bytes bytes_at(const ring::Record& record, std::uint64_t offset,
                                 std::uint64_t length) const noexcept;

    /// Whether a task's arguments lie in whole pages of a payload block.
    [[nodiscard]] bool has_large_arguments(const ring::Record& record) const noexcept;

    /// Gives the memory of the arguments of a task that will not run any more back to the system.
    /// The block stays the parent's.
    void discard_arguments(const ring::Record& record) const noexcept;

    /// A task has ended: wakes those who wait for it, as the flags of its status say.
    void announce(const ring::Record& record, std::uint8_t flags) const noexcept;

    /// Gives pages of the ring that nobody will read again back to the system.
    void retire_entries() noexcept;

    /// Gives the memory of all records from `first` up to `last` back to the system; nobody uses
    /// any record.
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
