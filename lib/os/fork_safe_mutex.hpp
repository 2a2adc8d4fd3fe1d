#pragma once

#include "os/futex.hpp"

namespace prong::os {

/// A mutex that no fork leaves locked: if a thread of the parent held it, by which the child does
/// not have that thread, it is free in the child.
///
/// Thread safety: any thread of one process; every process that is forked has a mutex of its own.
class ForkSafeMutex {
public:
    /// Waits until it is free. Returns true if a thread of the parent held it when this process
    /// was forked: what it guards may be half written.
    bool lock() noexcept;
    void unlock() noexcept;

private:
    /// `fork_depth()` of the process that has locked it, and whether threads wait; 0: none.
    FutexWord holder_{0};
};

} // namespace prong::os
