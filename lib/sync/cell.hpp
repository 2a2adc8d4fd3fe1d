#pragma once

#include "os/futex.hpp"
#include "sync/member.hpp"

#include <prong/detail/shared_object.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace prong::sync {

/// A lock's words (lock.cpp).
struct LockWords {
    std::atomic<std::uint64_t> holder;    ///< a ThreadId, and bit 31 if threads wait; 0: free
    std::atomic<std::uint32_t> depth;     ///< of a recursive lock; only the holder uses it
    std::atomic<std::uint32_t> abandoned; ///< 1: a holder has died
};

/// A semaphore's words (semaphore.cpp).
struct SemaphoreWords {
    std::atomic<std::uint64_t> value; ///< free permits, of a semaphore without owners
    std::atomic<std::uint32_t> bound; ///< permits, of a semaphore with owners
    os::FutexWord changes;            ///< number of releases, and bit 0 if threads wait
};

/// An event's word (event.cpp).
struct EventWords {
    os::FutexWord state; ///< how often it was set, and bit 0 while it is set
};

/// A condition's word (condition.cpp).
struct ConditionWords {
    os::FutexWord notifications;          ///< how many there were
    std::atomic<std::uint32_t> broadcast; ///< how many of them were for all
};

/// A barrier's words (barrier.cpp).
struct BarrierWords {
    /// Number of the phase, and bit 0 if it is broken; in the upper half, how many were completed.
    std::atomic<std::uint64_t> phase;
    std::atomic<std::uint32_t> parties;
    std::atomic<std::uint64_t> runner; ///< phase, and the member that runs its action
    std::atomic<std::uint64_t> dead;   ///< phase, and the party whose death broke it
};

/// A queue's words (queue.cpp). Each counts changes, and has bit 0 if threads wait for one.
struct QueueWords {
    os::FutexWord items;
    os::FutexWord room;
    os::FutexWord finished;
};

/// A value's words (value.cpp).
struct ValueWords {
    std::atomic<std::uint64_t>
        word; ///< a small value itself; else its version and which copy it is
    std::atomic<std::uint64_t> bytes; ///< of the value
};

/// An array's word (array.cpp).
struct ArrayWords {
    std::atomic<std::uint64_t> element_bytes;
};

/// The words of a buffer, and of a reference to one (lib/buffer).
struct ParcelWords {
    std::atomic<std::uint64_t> holder;     ///< whose it is (`buffer::Holder`)
    std::atomic<std::uint64_t> references; ///< of a buffer: how many (`buffer::References`)
    std::atomic<std::uint64_t> element_bytes;
    std::atomic<std::uint64_t> target; ///< of a reference: the stamp of the buffer in `data`
    /// Of a parcel that goes to a task or comes from one: the number of the pool in its parent, and
    /// the parent's `MemberId` in the lower half.
    std::atomic<std::uint64_t> home;
    /// Of a task's result: the record's index, and the task's generation in the lower half. Of mail
    /// in a queue: its stamp.
    std::atomic<std::uint64_t> item;
    std::atomic<std::uint32_t> kept; ///< 1: a task that may be tried again must not free it
};

} // namespace prong::sync

/// An object of the family. Each kind of object uses its own words, so that a late access to an
/// object that has ended cannot harm one of another kind in the same place.
struct alignas(64) prong::detail::SharedCell {
    std::atomic<std::uint64_t> stamp; ///< 0: there is no object
    std::atomic<std::uint64_t> data;  ///< offset of the object's further memory; 0: none
    std::atomic<std::uint64_t> data_bytes;
    std::atomic<ObjectKind> kind;
    sync::LockWords lock;
    sync::SemaphoreWords semaphore;
    sync::EventWords event;
    sync::ConditionWords condition;
    sync::BarrierWords barrier;
    sync::QueueWords queue;
    sync::ValueWords value;
    sync::ArrayWords array;
    sync::ParcelWords parcel;
};

namespace prong::sync {
using Cell = detail::SharedCell;
static_assert(sizeof(Cell) <= 256);
static_assert(std::is_standard_layout_v<Cell>); // `ObjectHandle::find`: the stamp is at its address

/// Returns the lower half of a word, which threads sleep on.
inline const os::FutexWord& futex_of(const std::atomic<std::uint64_t>& word) noexcept {
    return reinterpret_cast<const os::FutexWord&>(word);
}

} // namespace prong::sync
