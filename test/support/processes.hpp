#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace prong::test {

/// A line of the system's process table, from /proc/PID/stat.
struct ProcessInfo {
    pid_t pid;
    pid_t parent;
    pid_t group;
    pid_t session;
    char state; ///< 'Z' is a zombie, 'T' stopped, 'S' asleep, 'R' running
    std::string name;
};

/// Every process that this one can see.
std::vector<ProcessInfo> list_processes();

/// The children of `pid`, zombies too.
std::vector<ProcessInfo> children_of(pid_t pid);

/// The children of `pid`, their children and so on, parents before children, zombies too.
std::vector<ProcessInfo> descendants_of(pid_t pid);

/// The processes of a session, its leader and zombies too.
std::vector<ProcessInfo> processes_in_session(pid_t session);

/// Returns whether `pid` runs; false for a zombie.
bool is_running(pid_t pid);

/// Until a signal ends it.
[[noreturn]] inline void sleep_for_ever() {
    for (;;) pause();
}

} // namespace prong::test
