#pragma once

#include "../harness/timing.hpp"

#include <cstdint>
#include <ctime>
#include <vector>

/// What every competitor runs, and the right answers.
namespace bench {

using Bytes = std::vector<char>;

/// The no-op: it does nothing but give an answer that can be checked.
inline int increment(int n) {
    return n + 1;
}

/// A millisecond of this thread's CPU time, however many threads share the CPU.
inline int burn_millisecond(int n) {
    timespec start{};
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    do {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    } while ((now.tv_sec - start.tv_sec) * 1'000'000'000 + (now.tv_nsec - start.tv_nsec) <
             1'000'000);
    return n + 1;
}

/// Takes 20 µs. Returns when it ended.
inline std::int64_t run_briefly() {
    const std::int64_t end = now_ns() + 20'000;
    std::int64_t now = 0;
    while ((now = now_ns()) < end) {
    }
    return now;
}

inline std::int64_t square(int n) {
    return std::int64_t{n} * n;
}

inline Bytes echo(Bytes bytes) {
    return bytes;
}

inline Bytes make_bytes(int size) {
    return Bytes(static_cast<std::size_t>(size), 'x');
}

using Task = int (*)(int);

/// The sum of what `increment` and `burn_millisecond` give for 0 to `count` - 1.
constexpr std::int64_t expected_sum(int count) {
    return std::int64_t{count} * (count + 1) / 2;
}

inline constexpr int map_count = 1'000'000;

} // namespace bench
