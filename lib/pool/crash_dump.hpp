#pragma once

#include "pool/shared_state.hpp"

namespace prong::pool {

/// From now on a crash of this process (SIGSEGV, SIGABRT, …) leaves its signal and the addresses of
/// its call stack in `dump` before the process dies of it. The addresses are collected by the
/// unwinder alone, without locks or memory of its own.
void dump_crashes_to(CrashDump& dump) noexcept;

} // namespace prong::pool
