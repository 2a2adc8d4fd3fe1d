#pragma once

#include <sys/types.h>

#include <string>

namespace prong::test {

/// While it lives, a test that does not end in time is stopped: the stacks of this process and of
/// its descendants go to stderr, then the process aborts. PRONG_TEST_DEADLINE_S sets the seconds
/// (120 if unset; 0: no limit).
///
/// A timer and a signal, no thread and no process: nothing that a test could fork, reap or count.
class Watchdog {
public:
    explicit Watchdog(const std::string& test_name);
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;
    ~Watchdog();
};

/// The argument by which the test program, started anew by the watchdog, dumps the stacks of the
/// process that is named by the next argument.
inline constexpr const char* dump_stacks_option = "--dump-stacks";

/// Writes the stacks of `pid` and its descendants to stderr, with a debugger if there is one, then
/// kills the descendants.
void dump_stacks(pid_t pid);

} // namespace prong::test
