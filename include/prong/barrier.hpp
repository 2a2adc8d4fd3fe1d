#pragma once

#include <prong/detail/deadline.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/lock.hpp>
#include <prong/timeout.hpp>
#include <prong/worker_hook.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

/// \file
/// Barriers between processes.

namespace prong {

/// A point at which a fixed number of threads, of any processes of the family, wait for each other,
/// again and again. Copies are handles to the same barrier, as of a `Lock`.
///
/// A barrier is *broken* if a wait exceeds its timeout, the action throws, `abort` is called, or a
/// party dies: a process that has arrived in this phase, or one that took part in the previous
/// phase and was killed, or exited with an error, since. All waits then throw `BrokenBarrier`,
/// until `reset`. A process that never took part cannot be missed: give waits a timeout if that may
/// happen.
///
/// Blocking: waits use no CPU. If the last party is killed while it wakes the others, they continue
/// within 20 ms.
///
/// Thread safety: any number of threads may use one object at once, but not while it is assigned to
/// or destroyed.
///
/// Process safety: like `Lock`.
class PRONG_API Barrier {
public:
    /// Creates a barrier for this many parties, which this object owns. In each phase one of the
    /// parties runs `action` after all have arrived and before any leaves. To pass the barrier to a
    /// task, the action must be a function or a lambda without captures, perhaps with arguments
    /// (`{f, arguments...}`). *Default:* no action. *Throws* `std::invalid_argument` for a number
    /// outside 1 to 65536, `Error` if there is no room.
    explicit Barrier(int parties, WorkerHook action = {})
        : object_(detail::ObjectKind::barrier, further_bytes(parties)), action_(std::move(action)) {
        initialise(parties);
    }

    /// Blocks until all parties have arrived. Returns this party's index, from 0 to the number of
    /// parties - 1; in each phase every index occurs once. *Throws* `BrokenBarrier`; what the
    /// action throws, in the party that runs it; `ObjectGone` if the barrier has ended.
    int wait() const;
    /// Like `wait`, but breaks the barrier after `timeout`, and throws `BrokenBarrier`.
    int wait_for(Timeout timeout) const;

    /// Breaks the barrier.
    void abort() const;
    /// Makes the barrier whole and empty. Waits of the current phase throw `BrokenBarrier`. The
    /// deaths of processes that took part before do not break it any more.
    void reset() const;

    /// Returns the number of parties.
    [[nodiscard]] int parties() const;
    /// Returns how many parties have arrived in this phase.
    [[nodiscard]] int n_waiting() const;
    /// Returns whether the barrier is broken.
    [[nodiscard]] bool broken() const;

    /// Returns whether both refer to the same barrier.
    friend bool operator==(const Barrier& a, const Barrier& b) { return a.object_ == b.object_; }

private:
    friend struct detail::HandleAccess;
    struct Encoded {
        detail::ObjectId id;
        std::uint64_t action_type; ///< the address of a detail::TaskType
        std::vector<std::byte> action;
    };
    using Parts = Encoded;
    explicit Barrier(Parts parts);
    [[nodiscard]] Parts parts() const;
    static std::uint64_t further_bytes(int parties);
    void initialise(int parties) const;
    [[nodiscard]] int wait(detail::Deadline deadline) const;

    detail::ObjectHandle object_;
    WorkerHook action_;
};

} // namespace prong
