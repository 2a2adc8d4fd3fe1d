#include <prong/lock.hpp>

#include "os/fork_depth.hpp"
#include "sync/cell.hpp"
#include "sync/member.hpp"
#include "sync/spin.hpp"

#include <prong/error.hpp>

#include <array>
#include <cstddef>
#include <optional>
#include <stdexcept>

// The holder's word is free (0), or names a thread: one compare-and-swap acquires the lock and says
// who holds it. Bit 31 says that other threads may sleep. The word of a dead holder is replaced by
// a compare-and-swap from exactly that holder, so only one thread gets it.

namespace prong::detail {
namespace {

using sync::Cell;
using sync::LockWords;
using sync::ThreadId;

constexpr std::uint64_t has_waiters = std::uint64_t{1} << 31;

/// What happened when a thread wanted a lock.
enum class Acquisition { acquired, recovered, refused };

bool is_same(std::uint64_t holder, ThreadId thread) {
    return (holder & ~has_waiters) == thread;
}

/// What the calling thread has acquired and not released, as far as it remembers: the stamps of the
/// locks that it acquired last. So a guard's destructor can be told from misuse when the lock's
/// word names another thread: in a copy of the process, or because a process has corrupted it.
class Held {
public:
    void add(std::uint64_t lock) noexcept {
        newest_ = (newest_ + 1) % entries_.size();
        entries_[newest_] = {.lock = lock, .depth = os::fork_depth()};
    }
    /// Returns whether this thread, or the one that it is a copy of, has acquired the lock.
    bool remove(std::uint64_t lock) noexcept {
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            Entry& entry = entries_[(newest_ - i) % entries_.size()];
            if (entry.lock != lock) continue;
            entry.lock = 0;
            if (i == 0) --newest_;
            return entry.depth == os::fork_depth() || sync::forking_thread() != 0;
        }
        return false;
    }

private:
    struct Entry {
        std::uint64_t lock; ///< its stamp; 0: none
        unsigned depth;     ///< `os::fork_depth()` of the process
    };
    std::array<Entry, 8> entries_;
    std::size_t newest_;
};
// Accessed without a call. It is small enough for a library that is loaded late.
[[gnu::tls_model("initial-exec")]] constinit thread_local Held held{};

void note_death(LockWords& lock) noexcept {
    lock.abandoned.store(1, std::memory_order_release);
}

/// Acquires a lock that another thread holds, or held a moment ago. `dead` gets the holder that
/// died, if that is how the lock was acquired.
Acquisition acquire_contended(const ObjectHandle& object, LockWords& lock, ThreadId thread,
                              const Deadline& deadline, std::optional<ThreadId>& dead) {
    std::uint64_t waiters = 0; // kept once this thread has slept: others may sleep as well
    bool has_slept = false;
    sync::spin_until(deadline, [&] { return lock.holder.load(std::memory_order_relaxed) == 0; });
    for (;;) {
        std::uint64_t holder = lock.holder.load(std::memory_order_relaxed);
        if (holder == 0) {
            if (lock.holder.compare_exchange_strong(holder, thread | waiters,
                                                    std::memory_order_acquire))
                return Acquisition::acquired;
            continue;
        }
        const ThreadId other = holder & ~has_waiters;
        // A thread that ends is found after a slice; a process, as soon as it dies.
        if (has_slept ? !sync::lives(other) : !sync::lives(sync::member_of(other))) {
            if (!lock.holder.compare_exchange_strong(holder, thread | has_waiters,
                                                     std::memory_order_acquire))
                continue;
            dead = other;
            note_death(lock);
            return Acquisition::recovered;
        }
        if (deadline.passed()) return Acquisition::refused;
        if ((holder & has_waiters) == 0 &&
            !lock.holder.compare_exchange_strong(holder, holder | has_waiters,
                                                 std::memory_order_relaxed))
            continue;
        object.require();
        sync::sleep_on(sync::futex_of(lock.holder),
                       static_cast<std::uint32_t>(holder | has_waiters), deadline,
                       sync::member_of(other));
        object.require();
        has_slept = true;
        waiters = has_waiters;
    }
}

void wake_next(const LockWords& lock) {
    os::futex_wake(sync::futex_of(lock.holder), 1);
}

void release_if_held(LockWords& lock, ThreadId thread) {
    std::uint64_t holder = lock.holder.load(std::memory_order_relaxed);
    while (is_same(holder, thread)) { // others may set the bit
        if (!lock.holder.compare_exchange_weak(holder, 0)) continue;
        wake_next(lock);
        return;
    }
}

/// Returns how the lock was acquired, or that it was not.
Acquisition acquire_lock(const ObjectHandle& object, ObjectKind kind, const Deadline& deadline,
                         std::optional<ThreadId>& dead) {
    LockWords& lock = object.get().lock;
    const ThreadId thread = sync::this_thread();
    std::uint64_t holder = 0;
    Acquisition outcome = Acquisition::acquired;
    if (!lock.holder.compare_exchange_strong(holder, thread, std::memory_order_acquire)) {
        if (is_same(holder, thread)) {
            if (kind == ObjectKind::recursive_lock) {
                lock.depth.store(lock.depth.load(std::memory_order_relaxed) + 1,
                                 std::memory_order_relaxed);
                held.add(object.stamp());
                return Acquisition::acquired;
            }
            if (!deadline.is_never()) return Acquisition::refused;
            throw std::logic_error("prong::Lock: this thread holds it already and would wait for "
                                   "itself: use an RLock to acquire a lock again");
        }
        outcome = acquire_contended(object, lock, thread, deadline, dead);
    }
    if (outcome == Acquisition::refused) return outcome;
    if (object.find() == nullptr) { // the place may belong to another lock by now
        release_if_held(lock, thread);
        object.require();
    }
    if (kind == ObjectKind::recursive_lock) lock.depth.store(1, std::memory_order_relaxed);
    held.add(object.stamp());
    return outcome;
}

} // namespace

bool BasicLock::lock(ObjectKind kind, Deadline deadline) const {
    std::optional<ThreadId> dead;
    return acquire_lock(object_, kind, deadline, dead) != Acquisition::refused;
}

Acquired BasicLock::acquire(ObjectKind kind, Deadline deadline) const {
    std::optional<ThreadId> dead;
    const Acquisition outcome = acquire_lock(object_, kind, deadline, dead);
    if (dead) return Acquired(sync::identify(sync::member_of(*dead)));
    return Acquired(outcome != Acquisition::refused);
}

void BasicLock::release(ObjectKind kind) const {
    sync::Cell* const cell = object_.find();
    if (cell == nullptr) return; // a guard's destructor must not throw
    LockWords& lock = cell->lock;
    const ThreadId thread = sync::this_thread();
    std::uint64_t holder = lock.holder.load(std::memory_order_relaxed);
    if (!is_same(holder, thread)) {
        if (held.remove(object_.stamp())) return;
        throw std::logic_error(holder == 0
                                   ? "prong::Lock: unlock() of a lock that is not locked"
                                   : "prong::Lock: unlock() by a thread that does not hold it");
    }
    held.remove(object_.stamp());
    if (kind == ObjectKind::recursive_lock) {
        const std::uint32_t depth = lock.depth.load(std::memory_order_relaxed) - 1;
        lock.depth.store(depth, std::memory_order_relaxed);
        if (depth != 0) return;
    }
    holder = lock.holder.exchange(0, std::memory_order_release);
    if ((holder & has_waiters) != 0) wake_next(lock);
}

bool BasicLock::is_abandoned() const {
    return object_.get().lock.abandoned.load(std::memory_order_acquire) != 0;
}

void BasicLock::clear_abandoned() const {
    LockWords& lock = object_.get().lock;
    if (!is_same(lock.holder.load(std::memory_order_relaxed), sync::this_thread()))
        throw std::logic_error("prong::Lock: mark_consistent() by a thread that does not hold it");
    lock.abandoned.store(0, std::memory_order_release);
}

} // namespace prong::detail
