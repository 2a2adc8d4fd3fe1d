#pragma once

#include "base/deadline.hpp"
#include "base/fd.hpp"

#include <sys/types.h>

#include <optional>

/// Processes as the kernel sees them: fork, identity, signals to them, their end.
namespace prong::os {

/// How a process ended: the code that it exited with, or -N for signal N.
struct ProcessExit {
    pid_t pid;
    int exitcode;
};

/// What signals a child starts with.
enum class ChildSignals {
    unblocked, ///< all of them
    blocked,   ///< none until it says so
};

/// Forks. The parent's standard streams are flushed before, and all signals are blocked around it;
/// the child starts with every handler reset (`SIGPIPE` stays ignored if it was). Returns 0 in the
/// child. Throws `std::system_error`.
pid_t fork_process(ChildSignals signals = ChildSignals::unblocked);

/// Ends this process without running the parent's exit handlers and destructors: flushes the
/// standard streams, then `_exit`.
[[noreturn]] void exit_process(int status) noexcept;

/// Makes `exit()` called anywhere in this process from now on end it as `exit_process` does,
/// before handlers that were registered by the parent run a second time.
void leave_quietly_on_exit();

/// Writes out what the standard streams (C and C++) hold, as far as no other thread has them
/// locked.
void flush_streams() noexcept;

/// A descriptor that becomes readable when the process has ended. Throws `std::system_error`.
base::UniqueFd open_pidfd(pid_t pid);

/// Waits until `fd` is readable or its other side is gone.
bool wait_readable(int fd, base::Deadline deadline);

/// Collects a child that has ended or will soon; waits for its end. Empty when somebody else has
/// collected it (a host that loops on `waitpid(-1)` or ignores SIGCHLD).
std::optional<ProcessExit> reap(pid_t pid) noexcept;

/// Asks the kernel to send `signal` to this process when the thread that forked it ends. Returns
/// false if it will not, or the parent is no longer `parent`.
bool set_parent_death_signal(int signal, pid_t parent) noexcept;

/// How many threads this process has; 1 where the system does not tell.
unsigned thread_count() noexcept;

/// The CPUs that this process may use: affinity and cgroup quota, at least 1.
unsigned available_cpus();

/// The CPUs of the machine that are online, at least 1.
unsigned online_cpus() noexcept;

/// Closes the network sockets that were inherited: a worker must keep neither a listening port
/// bound nor a peer from seeing the end of its connection. Unnamed local sockets and pipes stay.
void close_network_sockets() noexcept;

} // namespace prong::os
