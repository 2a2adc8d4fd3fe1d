#pragma once

#include "diag/throw_trace.hpp"

#include <array>
#include <atomic>
#include <cstdint>

namespace prong::diag {

/// The call stack of a worker that crashed. Written by its signal handler; read by the supervisor
/// after it has reaped the worker.
struct CrashDump {
    std::atomic<int> signal;                      ///< 0: none
    std::array<std::uint64_t, max_frames> frames; ///< addresses; 0 after the last one
};

/// Installs signal handlers that, on a crash of this process (SIGSEGV, SIGABRT, …), store the
/// signal and the addresses of the call stack in `dump` and then let the process die of the signal.
/// The unwinder collects the addresses without locks and without allocating memory.
void dump_crashes_to(CrashDump& dump) noexcept;

} // namespace prong::diag
