#pragma once

#include "diag/crash_dump.hpp"
#include "executor/shared/loop_notifier.hpp"
#include "executor/shared/task_settings.hpp"
#include "os/futex.hpp"
#include "proc/stop_mode.hpp"
#include "ring/lanes.hpp"
#include "ring/worker_notifier.hpp"
#include "shm/flag.hpp"
#include "shm/payload.hpp"
#include "shm/region.hpp"

#include <prong/detail/wire.hpp>
#include <prong/stats.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
template <std::size_t Size>
class FixedText {
public:
    void set(std::string_view text) noexcept {
        const std::size_t length = std::min(text.size(), text_.size());
        std::memcpy(text_.data(), text.data(), length);
        length_.store(static_cast<std::uint32_t>(length), std::memory_order_release);
    }
    /// Returns the text. Safe even if another process has overwritten it with anything.
    [[nodiscard]] std::string get() const {
        const std::size_t length = length_.load(std::memory_order_acquire);
        return {text_.data(), std::min(length, text_.size())};
    }
    void clear() noexcept { length_.store(0, std::memory_order_release); }

private:
    std::atomic<std::uint32_t> length_;
    std::array<char, Size> text_;
};
using SharedText = FixedText<508>;

/// What parent and relay tell each other beside the tasks.
struct RelayWords {
    /// Changes when the parent has condemned a task that the relay holds, or asked it to stop.
    /// Written by the parent.
    std::atomic<std::uint64_t> requests;
    /// How many of the `RemoteWorker`s are in use. Written by the relay.
    std::atomic<std::uint32_t> remote_workers;
    /// No other relay would do better: the pool breaks when this one ends. Written by the relay.
    shm::Flag is_hopeless;
};

/// One of the tasks that the relay holds at a time. The number of the claim is the task's owner.
struct alignas(64) RelayClaim {
    ring::WorkerIntent intent;
    /// The rank that the task is sent to. Written by the relay before it sends anything.
    std::atomic<std::int32_t> rank;
    static constexpr std::int32_t not_sent = -1;
};

/// What the relay has last heard of a worker on another host. Written by the relay.
struct RemoteWorker {
    std::atomic<std::int32_t> rank;
    std::atomic<std::int32_t> index; ///< in its host's pool
    std::atomic<std::int32_t> pid;   ///< on its host; 0: no process
    std::atomic<WorkerState> state;
    std::atomic<std::int64_t> since_ns; ///< on this machine's steady clock
    std::atomic<std::uint64_t> finished;
    std::atomic<std::uint64_t> deaths;
    std::atomic<std::uint32_t> generation; ///< of the task that it runs; stored before `claim`
    std::atomic<std::uint32_t> claim;      ///< of that task, or `no_claim`
    FixedText<60> host;
    static constexpr std::uint32_t no_claim = ~0U;
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
    /// Changes when a claimed task is left unfinished, by a dead worker or by the relay that gives
    /// it back: before its next step becomes visible, and after one that requeues it.
    std::atomic<std::uint64_t> left_unfinished;
    /// How many intents hold a task that is to be claimed again, or more. Incremented by the
    /// supervisor and the relay; the supervisor counts anew.
    std::atomic<std::uint32_t> retries;
    // Counted by the supervisor and the relay: retries, tasks that ended with their worker, and
    // those of the latter whose worker was killed for the task.
    std::atomic<std::uint64_t> retried;
    std::atomic<std::uint64_t> died;
    std::atomic<std::uint64_t> killed;
    /// What the cells of parcels in results say of the pool (`sync::ParcelWords::home`). Written by
    /// the parent, before the first such task.
    std::atomic<std::uint64_t> parcel_home;
    LoopWords loops;
    RelayWords relay;
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
/// A pool with a relay has one more process, with the number that follows the last worker's, and
/// one owner of tasks for each claim of the relay; their numbers follow.
///
/// Layout: control, slots, wake words, the relay's claims and remote workers, ring entries,
/// records, task settings, payload.
class SharedState {
public:
    struct Sizes {
        unsigned workers;
        std::uint64_t ring_entries; ///< of each lane; a power of two
        std::uint64_t records;
        std::uint64_t payload_span; ///< a power of two: address space for blocks of each size
        std::uint64_t payload_most; ///< the largest argument list or result
        std::uint64_t max_nesting = detail::default_max_nesting; ///< of transferred values
        unsigned claims = 0; ///< how many tasks the relay may hold; 0: there is no relay
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
    /// Returns how the pool is to end. A worker may have overwritten the word: any unknown value
    /// counts as the strongest mode.
    [[nodiscard]] proc::StopMode stop_mode() const {
        return std::min(control_->stop_mode.load(std::memory_order_acquire), proc::StopMode::kill);
    }
    [[nodiscard]] WorkerSlot& slot(unsigned worker) const { return slots_[worker]; }
    [[nodiscard]] unsigned workers() const { return sizes_.workers; }
    [[nodiscard]] const Sizes& sizes() const { return sizes_; }

    // The relay, if there is one.

    [[nodiscard]] bool has_relay() const { return sizes_.claims != 0; }
    /// Returns the relay's number among the processes.
    [[nodiscard]] unsigned relay() const { return sizes_.workers; }
    /// Returns how many processes the supervisor keeps.
    [[nodiscard]] unsigned processes() const { return sizes_.workers + (has_relay() ? 1U : 0U); }
    [[nodiscard]] std::span<RelayClaim> claims() const { return claims_; }
    /// Returns the owner number of the tasks of a claim.
    [[nodiscard]] unsigned owner_of_claim(unsigned claim) const { return processes() + claim; }
    [[nodiscard]] bool is_claim(unsigned owner) const {
        return owner >= processes() && owner < owners();
    }
    /// Returns a bound for the owner numbers.
    [[nodiscard]] unsigned owners() const { return processes() + sizes_.claims; }
    /// Returns the intent of an owner: a worker or a claim of the relay.
    [[nodiscard]] ring::WorkerIntent& intent(unsigned owner) const {
        return owner < processes() ? slots_[owner].intent : claims_[owner - processes()].intent;
    }
    [[nodiscard]] std::span<RemoteWorker> remote_workers() const { return remote_workers_; }

    /// Returns the settings of a task with options.
    [[nodiscard]] TaskSettings& settings(std::uint32_t index) const { return settings_[index]; }

    /// Returns the task that this owner has claimed and not finished, from its intent.
    [[nodiscard]] std::optional<ring::Claim> unfinished_task(unsigned owner) const {
        return ring::unfinished(records, static_cast<std::uint16_t>(owner), intent(owner));
    }

    /// Returns whether `matches(record)` holds for any task that waits in an intent: a dead worker
    /// or a lost rank has left it to be tried again, or the relay has taken it back.
    template <typename Matches>
    bool any_retried(Matches matches) const {
        for (unsigned owner = 0; owner < owners(); ++owner) {
            const ring::Record* const record = ring::retried(records, intent(owner));
            if (record != nullptr && matches(*record)) return true;
        }
        return false;
    }
    /// Returns how many such tasks there are.
    [[nodiscard]] std::uint32_t count_retried() const;
    /// Returns false if it is known without a search that there are none.
    [[nodiscard]] bool may_have_retried() const {
        return control_->retries.load(std::memory_order_relaxed) != 0;
    }
    /// Returns whether there are any.
    [[nodiscard]] bool has_retried() const {
        return may_have_retried() && any_retried([](const ring::Record&) { return true; });
    }

    /// Returns the bytes of a task's arguments or result, whose place the record names; nothing if
    /// that place is invalid. This is the trust boundary: a worker may have written anything to the
    /// record, and may still do so.
    using Bytes = std::optional<std::span<const std::byte>>;
    [[nodiscard]] Bytes arguments_of(const ring::Record& record) const noexcept {
        return bytes_until(record, ring::read_once(record.arguments_end),
                           ring::Record::bytes_offset);
    }
    [[nodiscard]] Bytes result_of(const ring::Record& record) const noexcept {
        return bytes_until(record, ring::read_once(record.result_end),
                           ring::result_begin(ring::read_once(record.arguments_end)));
    }
    /// Returns the bytes with this end that are in a payload block; nothing if they are not.
    [[nodiscard]] Bytes large_bytes_until(std::uint64_t end) const noexcept {
        if (end <= sizeof(ring::Record)) return std::nullopt;
        return payload_until(end);
    }

    /// Returns whether a task's arguments fill whole pages of a payload block.
    [[nodiscard]] bool has_large_arguments(const ring::Record& record) const noexcept;

    /// Returns the arguments' memory of a task that will not run any more to the system. The block
    /// still belongs to the parent.
    void discard_arguments(const ring::Record& record) const noexcept;

    /// Wakes the threads and loops that wait for a task that has ended, as the flags of its status
    /// say. Returns false if the supervisor has to be notified, which then notifies the loops.
    [[nodiscard]] bool announce(const ring::Record& record, std::uint8_t flags) const noexcept {
        constexpr auto watched = ring::Status::watched | ring::Status::watched_with_others;
        if ((flags & watched) == 0 && !loops.has_signal_reader()) return true;
        return announce_to_waiters(record, flags);
    }

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
    LoopNotifier loops;

private:
    bool announce_to_waiters(const ring::Record& record, std::uint8_t flags) const noexcept;
    struct Layout;
    SharedState(shm::Region memory, const Layout& layout, const Sizes& sizes);

    [[nodiscard]] Bytes bytes_until(const ring::Record& record, std::uint64_t end,
                                    std::uint64_t begin_in_record) const noexcept {
        if (end > sizeof(ring::Record)) return payload_until(end);
        if (begin_in_record > end) return std::nullopt;
        return std::span(reinterpret_cast<const std::byte*>(&record) + begin_in_record,
                         end - begin_in_record);
    }
    [[nodiscard]] Bytes payload_until(std::uint64_t end) const noexcept {
        const auto begin = payload.begin_of_bytes(end);
        if (!begin) return std::nullopt;
        return std::span<const std::byte>(payload.at(*begin), end - *begin);
    }

    Control* control_;
    std::span<WorkerSlot> slots_; ///< of workers and relay
    std::span<RelayClaim> claims_;
    std::span<RemoteWorker> remote_workers_;
    std::span<TaskSettings> settings_;
    Sizes sizes_;
    std::uint64_t entries_offset_;
};

} // namespace prong::executor
