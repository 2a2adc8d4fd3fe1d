#pragma once

#include <prong/detail/deadline.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/error.hpp>
#include <prong/timeout.hpp>

#include <chrono>
#include <optional>
#include <utility>

/// \file
/// Locks between processes. A process that is killed while it holds one leaves no other waiting.
///
/// A lock lies in memory that the program shares with everything forked from it. Any process of
/// this family creates one at any time: `prong::Lock lock;`. Copies are handles to the same lock
/// and pass to tasks and processes as arguments, captures or results. The object that created it
/// owns it, in the process that created it: when that object is destroyed, the lock ends, and all
/// use of copies throws `ObjectGone`. Moving passes the ownership on.

namespace prong {

/// The result of `acquire` and `acquire_for`. Converts to true if the lock was acquired.
class Acquired {
public:
    /// A lock that was acquired or not.
    explicit Acquired(bool acquired) : acquired_(acquired) {}
    /// A lock that was acquired from a process that died.
    explicit Acquired(DeadHolder dead) : acquired_(true), dead_(std::move(dead)) {}

    /// Returns whether the lock was acquired.
    explicit operator bool() const noexcept { return acquired_; }
    /// Returns whether the previous holder died while it held the lock: what the lock protects may
    /// be half changed.
    [[nodiscard]] bool previous_died() const noexcept { return dead_.has_value(); }
    /// Returns the holder that died; pid 0 if none did.
    [[nodiscard]] DeadHolder who() const { return dead_.value_or(DeadHolder{}); }

private:
    bool acquired_;
    std::optional<DeadHolder> dead_;
};

namespace detail {

/// What Lock and RLock have in common.
class PRONG_API BasicLock {
public:
    /// Returns whether both refer to the same lock.
    friend bool operator==(const BasicLock&, const BasicLock&) = default;

protected:
    explicit BasicLock(ObjectKind kind) : object_(kind) {}
    BasicLock(ObjectKind kind, ObjectId id) : object_(kind, id) {}

    [[nodiscard]] Acquired acquire(ObjectKind kind, Deadline deadline) const;
    /// Without the report.
    [[nodiscard]] bool lock(ObjectKind kind, Deadline deadline) const;
    void release(ObjectKind kind) const;
    [[nodiscard]] bool is_abandoned() const;
    void clear_abandoned() const;
    [[nodiscard]] ObjectId id() const { return object_.id(); }

private:
    ObjectHandle object_;
};

/// A lock of one kind.
template <ObjectKind Kind>
class LockOf : public BasicLock {
public:
    /// Creates an unlocked lock, which this object owns. *Throws* `Error` if there is no room.
    LockOf() : BasicLock(Kind) {}

    /// Blocks until this thread holds the lock. Does not throw because a holder died: check
    /// `abandoned()`. *Throws* `ObjectGone` if the lock has ended.
    void lock() const { static_cast<void>(BasicLock::lock(Kind, Deadline::never())); }
    /// Acquires the lock if it is free, without blocking. Returns whether this thread holds it.
    [[nodiscard]] bool try_lock() const { return BasicLock::lock(Kind, Deadline::now()); }
    /// Like `lock`, but blocks at most `timeout`. Returns whether this thread holds the lock.
    [[nodiscard]] bool try_lock_for(Timeout timeout) const {
        return BasicLock::lock(Kind, Deadline::after(timeout));
    }
    /// Like `lock`, but blocks at most until `point`. Returns whether this thread holds the lock.
    template <typename Clock, typename Duration>
    [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> point) const {
        return try_lock_for(time_until(point));
    }
    /// Releases the lock. In a child that the program has forked by itself while this thread held
    /// the lock, does nothing: the lock is still the parent's. Does nothing if the lock has ended.
    /// *Throws* `std::logic_error` if this thread does not hold it.
    void unlock() const { BasicLock::release(Kind); }

    /// Blocks until this thread holds the lock, and reports whether the previous holder died.
    Acquired acquire() const { return BasicLock::acquire(Kind, Deadline::never()); }
    /// Like `acquire`, but blocks at most `timeout` (0: does not block).
    [[nodiscard]] Acquired acquire_for(Timeout timeout) const {
        return BasicLock::acquire(Kind, Deadline::after(timeout));
    }
    /// Does the same as `unlock`.
    void release() const { BasicLock::release(Kind); }

    /// Returns whether a holder has died since the last `mark_consistent()`: what the lock protects
    /// may be half changed.
    [[nodiscard]] bool abandoned() const { return is_abandoned(); }
    /// Makes `abandoned()` false, after this thread has repaired what the lock protects. *Throws*
    /// `std::logic_error` if this thread does not hold the lock.
    void mark_consistent() const { clear_abandoned(); }

private:
    friend struct HandleAccess;
    using Parts = ObjectId;
    explicit LockOf(Parts id) : BasicLock(Kind, id) {}
    [[nodiscard]] Parts parts() const { return id(); }
};

} // namespace detail

/// A lock that one thread of one process of the family holds at a time. Works with
/// `std::scoped_lock` and `std::unique_lock`. To lock it again in the thread that holds it throws
/// `std::logic_error`; `try_lock` and the timed functions return false then, at once.
///
/// Blocking: waits use no CPU after a short spin, and end if the holder dies: within about 0.1 ms;
/// within 20 ms if another thread held the lock when this one began to sleep, or without
/// `futex_waitv` (before Linux 5.16).
///
/// Thread safety: any number of threads may use one object at once, but not while it is assigned to
/// or destroyed.
///
/// Process safety: a process may be killed at any instruction. Exiting without `unlock` is a death.
/// A stopped process keeps the lock. Copies in a forked child refer to the same lock.
using Lock = detail::LockOf<detail::ObjectKind::lock>;

/// A lock like `Lock` that the thread that holds it may acquire again; it is free when it was
/// released as often.
using RLock = detail::LockOf<detail::ObjectKind::recursive_lock>;

} // namespace prong
