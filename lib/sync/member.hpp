#pragma once

#include "os/fork_depth.hpp"
#include "os/futex.hpp"

#include <prong/detail/deadline.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/error.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

/// The processes of the family that use its shared objects, and which of them are dead.
///
/// Each such process has a slot. In it lies a robust mutex that the process holds for life, so the
/// kernel marks it as the process dies, before its memory is torn down: some 0.1 ms after SIGKILL,
/// however large the process is. The mutex is never unlocked, and no other process locks it while
/// its holder lives: others read its word.
///
/// A thread holds the mutex. When that thread ends before its process, the next thread that uses
/// shared objects takes over. Until then the slot is *unwatched*: the process's pidfd decides.
namespace prong::sync {

/// Names a process of the family: a slot (lower 12 bits) and the slot's generation (18 bits). It is
/// never 0, and the two highest bits are free. A process has another one after `fork`.
using MemberId = std::uint32_t;
inline constexpr MemberId member_mask = (1U << 30) - 1;

/// Names a thread of a process of the family: the process in the lower half, the thread's number in
/// the upper half.
using ThreadId = std::uint64_t;

inline MemberId member_of(ThreadId thread) noexcept {
    return static_cast<MemberId>(thread) & member_mask;
}

/// What a thread knows of itself.
struct ThisThread {
    unsigned depth; ///< `os::fork_depth()` of the process
    ThreadId id;
    ThreadId forking; ///< the thread of the parent that this one is a copy of
};
// Accessed without a call. It is small enough for a library that is loaded late.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ThisThread this_thread_cache;
/// Whether a thread holds the robust mutex in this process's slot.
extern constinit std::atomic<bool> is_watched;
/// Fills the cache.
ThreadId find_thread();

/// Returns the calling thread. The first call in a process takes a slot. Throws `prong::Error` if
/// 4096 living processes of the family have one.
inline ThreadId this_thread() {
    const ThisThread& cache = this_thread_cache;
    if (cache.depth == os::fork_depth() && is_watched.load(std::memory_order_relaxed))
        return cache.id;
    return find_thread();
}
inline MemberId this_member() {
    return member_of(this_thread());
}

/// Returns the thread of the parent that has forked this process, if copies of its guards may be
/// destroyed here; else 0. They must not unlock what the parent holds.
inline ThreadId forking_thread() noexcept {
    return this_thread_cache.forking;
}

using detail::Awaiting;
using detail::Pin;

/// The pins of other processes and threads at one time.
class Pinned {
public:
    /// The pins of now.
    Pinned();
    /// Returns whether all these pins have ended.
    [[nodiscard]] bool has_ended();

private:
    struct Seen {
        MemberId member;
        std::uint64_t word;
    };
    std::vector<Seen> seen_;
};

/// Returns whether the process lives. Takes two loads; a system call if it is unwatched. The first
/// call that finds it dead wakes all who wait for its end.
bool lives(MemberId member) noexcept;

/// Returns whether the thread, and so its process, lives. Takes a system call.
bool lives(ThreadId thread) noexcept;

/// Returns whether all threads of the process have ended. This is later than `lives` says: when one
/// thread's end is noticed, others may still run for a moment. Takes system calls.
bool has_ended(MemberId member) noexcept;

/// Returns number and name of a process, dead or alive; zero and an empty name when they have been
/// forgotten: 4096 processes later.
DeadHolder identify(MemberId member);

/// Returns whether the process, which is dead, has exited with exit code 0.
bool has_exited_in_order(MemberId member) noexcept;

/// Looks for deaths, and returns how many there were in the family.
std::uint32_t count_deaths() noexcept;
/// The same, without exits with exit code 0, unless an `Awaiting` existed in the process.
std::uint32_t count_crashes() noexcept;

/// The longest sleep: the process that should wake a thread may be dead.
inline constexpr std::chrono::milliseconds slice{20};

/// Sleeps while `word` holds `expected`, until it is woken, `suspect` (if it is not 0) dies, or the
/// deadline, and at most for a slice.
void sleep_on(const os::FutexWord& word, std::uint32_t expected, const detail::Deadline& deadline,
              MemberId suspect = 0) noexcept;

/// Wakes all who sleep on the word.
void wake_all(const os::FutexWord& word) noexcept;

} // namespace prong::sync
