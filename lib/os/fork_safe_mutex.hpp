#pragma once

#include "os/futex.hpp"

namespace prong::os {

/// A mutex that no fork leaves locked: if another thread of the parent had locked it, it is free in
/// the child, which does not have that thread.
///
/// Thread safety: any thread of one process. Each forked process has its own copy.
class ForkSafeMutex {
public:
    /// Blocks until the mutex is free, then locks it. Returns true if a thread of the parent had
    /// locked it when this process was forked: what it guards may be half written.
    bool lock() noexcept;
    void unlock() noexcept;

private:
    /// `fork_depth()` of the process that has locked it, and a bit if threads wait; 0: unlocked.
    FutexWord holder_{0};
};

} // namespace prong::os
