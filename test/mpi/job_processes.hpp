#pragma once

#include "support/processes.hpp"

#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <map>
#include <string>
#include <vector>

namespace prong::test {

/// The processes of this program's job, as they are now. (A job on several hosts is in namespaces
/// of its own, so that this sees every host.)
struct Job {
    pid_t relay = 0;             ///< 0: none
    pid_t launcher = 0;          ///< 0: none, or it was there first
    std::vector<pid_t> daemons;  ///< what the launcher starts on other hosts, and MPICH on all
    std::vector<pid_t> servers;  ///< the ranks that serve
    std::vector<pid_t> programs; ///< all processes of this program but the test itself

    static Job now();
};

/// The name of a host, as its network namespace has it; empty outside of the script `hosts`.
std::string host_of(pid_t process);

/// All processes of a host, without the namespace's first.
std::vector<pid_t> processes_of(const std::string& host);

/// Sends a signal to all of them.
inline void signal_all(const std::vector<pid_t>& processes, int signal) {
    for (const pid_t process : processes) kill(process, signal);
}

/// The hosts that the script `hosts` has made; the program is on the first.
std::vector<std::string> test_hosts();

} // namespace prong::test
