#pragma once

#include <prong/detail/deadline.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/error.hpp>
#include <prong/lock.hpp>
#include <prong/timeout.hpp>

#include <concepts>
#include <cstdint>
#include <utility>

/// \file
/// Condition variables between processes.

namespace prong {

/// A condition variable with its lock. Copies are handles to the same condition, as of a `Lock`.
///
///     std::unique_lock guard(condition.lock());
///     condition.wait(guard, [&] { return queue_length.get() != 0; });
///
/// A wait may end without a notification, and ends when any process of the family is killed, exits
/// with an error, or exits while one of its threads waits: so no notification is lost with the
/// process that it has woken. Use a predicate, or wait in a loop.
///
/// Blocking: waits use no CPU. If a process is killed while it notifies, those who wait continue
/// within 20 ms.
///
/// Thread safety: any number of threads may use one object at once, but not while it is assigned to
/// or destroyed.
///
/// Process safety: like `Lock`.
class PRONG_API Condition {
public:
    /// Creates a condition and its lock, which this object owns. *Throws* `Error` if there is no
    /// room.
    Condition() : object_(detail::ObjectKind::condition) {}
    /// Creates a condition for a lock that exists, which does not become this object's.
    explicit Condition(const Lock& lock) : lock_(lock), object_(detail::ObjectKind::condition) {}

    /// Returns the condition's lock.
    [[nodiscard]] Lock& lock() const noexcept { return lock_; }

    /// Releases the guard's lock, blocks until a notification or a death, and acquires the lock
    /// again. *Throws* `std::logic_error` if the guard does not hold the condition's lock;
    /// `ObjectGone` if the condition has ended, with the lock acquired again if that exists.
    template <typename Guard>
    void wait(Guard& guard) const {
        static_cast<void>(wait_once(guard, detail::Deadline::never()));
    }

    /// Waits until the predicate returns true. Calls it with the lock held.
    template <typename Guard, std::predicate Predicate>
    void wait(Guard& guard, Predicate predicate) const {
        while (!predicate()) wait(guard);
    }

    /// Like `wait`, but blocks at most `timeout`, and then for the lock. Returns false if the time
    /// is over.
    template <typename Guard>
    bool wait_for(Guard& guard, Timeout timeout) const {
        return wait_once(guard, detail::Deadline::after(timeout));
    }

    /// Waits until the predicate returns true, but at most `timeout`. Returns what the predicate
    /// returned last.
    template <typename Guard, std::predicate Predicate>
    bool wait_for(Guard& guard, Timeout timeout, Predicate predicate) const {
        const auto deadline = detail::Deadline::after(timeout);
        while (!predicate()) {
            if (!wait_once(guard, deadline)) return predicate();
        }
        return true;
    }

    /// Ends one wait, if there is any. The caller may hold the lock or not.
    void notify_one() const;
    /// Ends all waits.
    void notify_all() const;

    /// Returns whether both refer to the same condition.
    friend bool operator==(const Condition&, const Condition&) = default;

private:
    friend struct detail::HandleAccess;
    struct Ids {
        detail::ObjectId condition;
        detail::ObjectId lock;
    };
    using Parts = Ids;
    explicit Condition(Parts parts)
        : lock_(detail::HandleAccess::make<Lock>(parts.lock)),
          object_(detail::ObjectKind::condition, parts.condition) {}
    [[nodiscard]] Parts parts() const {
        return {.condition = object_.id(), .lock = detail::HandleAccess::parts(lock_)};
    }

    /// What was there before a wait began.
    struct Ticket {
        std::uint32_t broadcasts;
        std::uint32_t crashes;
    };
    [[nodiscard]] Ticket take_ticket() const;
    /// Blocks until something has changed since the ticket. Returns false at the deadline.
    [[nodiscard]] bool sleep(Ticket ticket, detail::Deadline deadline) const;
    [[noreturn]] static void refuse_guard();

    template <typename Guard>
    bool wait_once(Guard& guard, detail::Deadline deadline) const {
        if (!guard.owns_lock()) refuse_guard();
        if constexpr (requires { *guard.mutex() == lock_; }) {
            if (*guard.mutex() != lock_) refuse_guard();
        }
        const detail::Awaiting awaiting;
        const Ticket ticket = take_ticket();
        guard.unlock();
        bool has_changed = false;
        try {
            has_changed = sleep(ticket, deadline);
        } catch (const ObjectGone&) {
            try {
                guard.lock();
            } catch (const ObjectGone&) { // it has ended with the condition
            }
            throw;
        }
        guard.lock();
        return has_changed;
    }

    mutable Lock lock_;
    detail::ObjectHandle object_;
};

} // namespace prong
