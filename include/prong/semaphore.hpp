#pragma once

#include <prong/detail/deadline.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/timeout.hpp>

#include <cstdint>
#include <optional>

/// \file
/// Semaphores between processes. Copies are handles to the same semaphore, as of a `Lock`.

namespace prong {

/// Counts permits that no process owns: any process may release what another has acquired, so
/// permits serve as signals. The permits of a process that dies do not come back; to limit
/// something, use a `BoundedSemaphore`.
///
/// Blocking: waits use no CPU. If a process is killed while it wakes another, that one continues
/// within 20 ms.
///
/// Thread safety: any number of threads may use one object at once, but not while it is assigned to
/// or destroyed.
///
/// Process safety: like `Lock`.
class PRONG_API Semaphore {
public:
    /// Creates a semaphore with one permit, which this object owns. *Throws* `Error` if there is no
    /// room.
    Semaphore() : Semaphore(1) {}
    /// Creates a semaphore with this many permits, which this object owns. *Throws*
    /// `std::invalid_argument` for a negative number, `Error` if there is no room.
    explicit Semaphore(std::int64_t permits)
        : object_(detail::ObjectKind::semaphore, further_bytes(permits)) {
        initialise(permits);
    }

    /// Blocks until there is a permit, and takes it. *Throws* `ObjectGone` if the semaphore has
    /// ended.
    void acquire() const;
    /// Takes a permit if there is one, without blocking. Returns whether it took one.
    [[nodiscard]] bool try_acquire() const;
    /// Like `acquire`, but blocks at most `timeout`. Returns whether it took a permit.
    [[nodiscard]] bool try_acquire_for(Timeout timeout) const;
    /// Adds permits. *Throws* `std::invalid_argument` if `permits` is less than 1.
    void release(std::int64_t permits = 1) const;
    /// Returns the number of free permits, which may change at once.
    [[nodiscard]] std::int64_t value() const;

    /// Returns whether both refer to the same semaphore.
    friend bool operator==(const Semaphore&, const Semaphore&) = default;

private:
    friend struct detail::HandleAccess;
    using Parts = detail::ObjectId;
    explicit Semaphore(Parts id) : object_(detail::ObjectKind::semaphore, id) {}
    [[nodiscard]] Parts parts() const { return object_.id(); }
    static std::uint64_t further_bytes(std::int64_t permits);
    void initialise(std::int64_t permits) const;
    [[nodiscard]] bool acquire(detail::Deadline deadline) const;

    detail::ObjectHandle object_;
};

class Permit;

/// Limits how many hold a permit at a time. A permit belongs to the process that acquired it: any
/// thread of this process may release it, and it comes back when the process dies.
///
/// Blocking, thread safety, process safety: like `Semaphore`. The permits of a dead process come
/// back within 20 ms.
class PRONG_API BoundedSemaphore {
public:
    /// The largest number of permits.
    static constexpr std::int64_t most_permits = 4096;

    /// Creates a semaphore with one permit, which this object owns. *Throws* `Error` if there is no
    /// room.
    BoundedSemaphore() : BoundedSemaphore(1) {}
    /// Creates a semaphore with this many permits, which this object owns. *Throws*
    /// `std::invalid_argument` for a number outside 1 to `most_permits`, `Error` if there is no
    /// room.
    explicit BoundedSemaphore(std::int64_t permits)
        : object_(detail::ObjectKind::bounded_semaphore, further_bytes(permits)) {
        initialise(permits);
    }

    /// Blocks until there is a permit, and takes it. *Throws* `ObjectGone` if the semaphore has
    /// ended.
    void acquire() const;
    /// Takes a permit if there is one, without blocking. Returns whether it took one.
    [[nodiscard]] bool try_acquire() const;
    /// Like `acquire`, but blocks at most `timeout`. Returns whether it took a permit.
    [[nodiscard]] bool try_acquire_for(Timeout timeout) const;
    /// Gives permits of this process back. *Throws* `std::logic_error` if this process has fewer,
    /// and `std::invalid_argument` if `permits` is less than 1; then gives none back.
    void release(std::int64_t permits = 1) const;
    /// Returns the number of free permits, which may change at once.
    [[nodiscard]] std::int64_t value() const;

    /// Blocks until there is a permit, and takes it until the result is destroyed.
    [[nodiscard]] Permit permit() const;

    /// Returns whether both refer to the same semaphore.
    friend bool operator==(const BoundedSemaphore&, const BoundedSemaphore&) = default;

private:
    friend struct detail::HandleAccess;
    using Parts = detail::ObjectId;
    explicit BoundedSemaphore(Parts id) : object_(detail::ObjectKind::bounded_semaphore, id) {}
    [[nodiscard]] Parts parts() const { return object_.id(); }
    static std::uint64_t further_bytes(std::int64_t permits);
    void initialise(std::int64_t permits) const;
    [[nodiscard]] bool acquire(detail::Deadline deadline) const;

    detail::ObjectHandle object_;
};

/// A permit of a `BoundedSemaphore`, which its destructor gives back. The copy in a forked process
/// gives nothing back.
///
/// Thread safety: one thread at a time.
class PRONG_API Permit {
public:
    /// Takes over the permit; `other` has none then.
    Permit(Permit&& other) noexcept;
    /// Gives this permit back, then takes over the other one.
    Permit& operator=(Permit&& other) noexcept;
    /// Gives the permit back.
    ~Permit();

private:
    friend class BoundedSemaphore;
    explicit Permit(const BoundedSemaphore& semaphore);
    void give_back() noexcept;

    std::optional<BoundedSemaphore> semaphore_;
    unsigned depth_; ///< `os::fork_depth()` of the process that has it
};

} // namespace prong
