#pragma once

#include <prong/detail/deadline.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/timeout.hpp>

/// \file
/// Events between processes.

namespace prong {

/// A flag that processes set, clear and wait for. Copies are handles to the same event, as of a
/// `Lock`.
///
/// Blocking: waits use no CPU. If a process is killed while it sets the event, those who wait
/// continue within 20 ms.
///
/// Thread safety: any number of threads may use one object at once, but not while it is assigned to
/// or destroyed.
///
/// Process safety: like `Lock`. No process owns anything of an event, so no death changes one.
class PRONG_API Event {
public:
    /// Creates an event that is not set, which this object owns. *Throws* `Error` if there is no
    /// room.
    Event() : object_(detail::ObjectKind::event) {}

    /// Sets the event, which ends all waits. *Throws* `ObjectGone` if the event has ended.
    void set() const;
    /// Clears the event: later waits block.
    void clear() const;
    /// Returns whether the event is set.
    [[nodiscard]] bool is_set() const;

    /// Blocks until the event is set, or was set and cleared meanwhile. Returns true, as in Python.
    bool wait() const;
    /// Like `wait`, but blocks at most `timeout`. Returns whether the event was set.
    [[nodiscard]] bool wait_for(Timeout timeout) const;

    /// Returns whether both refer to the same event.
    friend bool operator==(const Event&, const Event&) = default;

private:
    friend struct detail::HandleAccess;
    using Parts = detail::ObjectId;
    explicit Event(Parts id) : object_(detail::ObjectKind::event, id) {}
    [[nodiscard]] Parts parts() const { return object_.id(); }
    [[nodiscard]] bool wait(detail::Deadline deadline) const;

    detail::ObjectHandle object_;
};

} // namespace prong
