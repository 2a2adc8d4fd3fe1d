#include "os/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

namespace prong::os {
namespace {

timespec to_timespec(std::chrono::nanoseconds duration) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
    return {.tv_sec = seconds.count(), .tv_nsec = (duration - seconds).count()};
}

} // namespace

bool futex_wait(FutexAddress word, std::uint32_t expected,
                std::chrono::nanoseconds timeout) noexcept {
    const timespec time = to_timespec(timeout);
    const timespec* const limit = timeout.count() < 0 ? nullptr : &time;
    return syscall(SYS_futex, word.get(), FUTEX_WAIT, expected, limit, nullptr, 0) == 0;
}

int futex_wake(FutexAddress word, int count) noexcept {
    const long woken = syscall(SYS_futex, word.get(), FUTEX_WAKE, count, nullptr, nullptr, 0);
    return static_cast<int>(woken);
}

void futex_wait_any(std::span<const FutexWaiter> waiters,
                    std::chrono::nanoseconds timeout) noexcept {
    std::array<futex_waitv, FUTEX_WAITV_MAX> entries{};
    const std::size_t count = std::min(waiters.size(), entries.size());
    for (std::size_t i = 0; i < count; ++i) {
        entries[i].val = waiters[i].expected;
        entries[i].uaddr = reinterpret_cast<std::uintptr_t>(waiters[i].word);
        entries[i].flags = FUTEX_32;
    }
    timespec until{};
    clock_gettime(CLOCK_MONOTONIC, &until);
    const timespec wait = to_timespec(timeout);
    until.tv_sec += wait.tv_sec + (until.tv_nsec + wait.tv_nsec) / 1'000'000'000;
    until.tv_nsec = (until.tv_nsec + wait.tv_nsec) % 1'000'000'000;
    const long result = syscall(SYS_futex_waitv, entries.data(), count, 0, &until, CLOCK_MONOTONIC);
    if (result == -1 && (errno == ENOSYS || errno == EPERM)) {
        const std::chrono::nanoseconds moment = std::chrono::milliseconds(1);
        futex_wait(*waiters[0].word, waiters[0].expected, std::min(timeout, moment));
    }
}

} // namespace prong::os
