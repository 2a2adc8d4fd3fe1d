#pragma once

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace prong::test {

/// A way to make a child: some of them run no handler that `pthread_atfork` has registered.
struct WayToFork {
    const char* name;
    pid_t (*fork)();
};

inline constexpr WayToFork ways_to_fork[] = {
    {"fork", [] { return ::fork(); }},
    {"_Fork", [] { return ::_Fork(); }},
    {"clone", [] { return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }},
    {"clone, the parent waiting for exec or exit",
     [] { return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD | CLONE_VFORK, 0, 0, 0, 0)); }},
};

/// How a child has ended, in words, for a test to compare: "exit 3", "signal 11".
inline std::string end_of(pid_t child) {
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return "no child";
    return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                               : "exit " + std::to_string(WEXITSTATUS(status));
}

} // namespace prong::test
