#pragma once

#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <span>

/// Bare futex words in shared memory. They have no owner, so there is nothing to recover when a
/// process that waits or wakes is killed. Every caller checks its condition again after every
/// return.
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

/// Blocks while the word holds `expected`, until a wake, a signal or the timeout; a negative
/// timeout never expires. Returns whether it was a wake.
bool futex_wait(FutexAddress word, std::uint32_t expected,
                std::chrono::nanoseconds timeout) noexcept;

/// Wakes at most `count` threads that sleep on the word, in any process. Returns how many.
int futex_wake(FutexAddress word, int count) noexcept;
inline constexpr int everyone = 0x7fffffff;

/// A word that `futex_wait_any` waits for, and its expected value.
struct FutexWaiter {
    const FutexWord* word;
    std::uint32_t expected;
};

/// Blocks while every word holds its expected value, at most `timeout`. Takes at most 128 words.
/// Where the kernel has no futex_waitv, sleeps on the first word for at most a millisecond.
void futex_wait_any(std::span<const FutexWaiter> waiters,
                    std::chrono::nanoseconds timeout) noexcept;

} // namespace prong::os
