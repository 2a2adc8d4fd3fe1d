#pragma once

#include "os/futex.hpp"
#include "sync/member.hpp"

#include <prong/detail/deadline.hpp>
#include <prong/detail/shared_object.hpp>

#include <cstdint>

/// Words that count changes in steps of 2, and have bit 0 if threads wait for the next one.
namespace prong::sync {

inline constexpr std::uint32_t has_waiters = 1;

/// Announces a change that was made: wakes `count` threads that wait for one, if any do.
inline void announce(os::FutexWord& changes, int count) noexcept {
    std::uint32_t seen = changes.load();
    // Without the bit, those who wait have yet to look whether anything has changed.
    while ((seen & has_waiters) != 0) {
        if (!changes.compare_exchange_weak(seen, seen + 1)) continue; // clears the bit
        os::futex_wake(changes, count);
        return;
    }
}

/// Waits until `is_met()`, which others announce. Returns false at the deadline. Throws
/// `ObjectGone` if the object ends.
template <typename Condition>
bool wait_for_change(const detail::ObjectHandle& object, os::FutexWord& changes,
                     const detail::Deadline& deadline, Condition is_met) {
    if (is_met()) return true;
    if (deadline.passed()) return false; // and leaves nothing for others to wake
    for (;;) {
        // From here on an announcement changes the word, so none is missed.
        const std::uint32_t seen = changes.fetch_or(has_waiters) | has_waiters;
        object.require();
        if (is_met()) return true; // others may still wait: the bit stays
        if (deadline.passed()) return false;
        sleep_on(changes, seen, deadline);
    }
}

} // namespace prong::sync
