#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace prong::diag {

/// What a worker's native code was doing when it crashed; written in the signal handler.
struct CrashDump {
    std::atomic<int> signal;              ///< 0: none
    std::array<std::uint64_t, 32> frames; ///< addresses, ended by a 0 if there are fewer
};

/// From now on a crash of this process (SIGSEGV, SIGABRT, …) leaves its signal and the addresses of
/// its call stack in `dump` before the process dies of it. The addresses are collected by the
/// unwinder alone, without locks or memory of its own.
void dump_crashes_to(CrashDump& dump) noexcept;

} // namespace prong::diag
