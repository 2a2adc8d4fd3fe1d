#pragma once

#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <span>

/// Bare futex words in shared memory: no owner, so nothing to recover when a process that waits or
/// wakes is killed. Every caller looks at its condition again after a return, whatever the reason.
namespace prong::os {

using FutexWord = std::atomic<std::uint32_t>;
static_assert(FutexWord::is_always_lock_free && sizeof(FutexWord) == 4);

/// The address of a word to sleep on: 32 bits, aligned.
class FutexAddress {
public:
    FutexAddress(const FutexWord& word) : address_(&word) {}
    /// The lower half of a larger word.
    FutexAddress(const std::atomic<std::uint64_t>& word) : address_(&word) {
        static_assert(std::endian::native == std::endian::little);
    }
    [[nodiscard]] const void* get() const { return address_; }

private:
    const void* address_;
};

/// Sleeps while the word holds `expected`, until a wake, a signal or the timeout; negative: no
/// timeout.
void futex_wait(FutexAddress word, std::uint32_t expected,
                std::chrono::nanoseconds timeout) noexcept;

/// Wakes at most `count` of those that sleep on the word, in any process.
void futex_wake(FutexAddress word, int count) noexcept;
inline constexpr int everyone = 0x7fffffff;

/// What `futex_wait_any` waits for on one word.
struct FutexWaiter {
    const FutexWord* word;
    std::uint32_t expected;
};

/// Sleeps while every word holds what is expected of it, at most `timeout`. At most 128 words;
/// where the kernel has no futex_waitv, sleeps on the first word for at most a millisecond.
void futex_wait_any(std::span<const FutexWaiter> waiters,
                    std::chrono::nanoseconds timeout) noexcept;

} // namespace prong::os
