#pragma once

#include "base/deadline.hpp"
#include "base/fd.hpp"

#include <sys/types.h>

#include <csignal>
#include <optional>
#include <string>

/// Processes as the kernel sees them: fork, identity, signals to them, their end.
namespace prong::os {

/// How a process ended: the code that it exited with, or -N for signal N.
struct ProcessExit {
    pid_t pid;
    int exitcode;
};

/// What `waitid` tells of a process that has ended, as an exit code, or -N for signal N.
[[nodiscard]] inline int exitcode_of(const siginfo_t& info) noexcept {
    return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

/// What signals a child starts with.
enum class ChildSignals {
    unblocked, ///< all of them
    blocked,   ///< none until it says so
};

/// Forks. The parent's standard streams are flushed before, and all signals are blocked around it;
/// the child starts with every handler reset (`SIGPIPE`, `SIGTTIN` and `SIGTTOU` stay ignored if
/// they were). Returns 0 in the child. Throws `std::system_error`.
pid_t fork_process(ChildSignals signals = ChildSignals::unblocked);

/// Whether a signal has this disposition: SIG_DFL or SIG_IGN.
[[nodiscard]] bool has_disposition(int signal, void (*disposition)(int)) noexcept;

/// Ends this process without running the parent's exit handlers and destructors: flushes the
/// standard streams, then `_exit`.
[[noreturn]] void exit_process(int status) noexcept;

/// Makes `exit()` called anywhere in this process from now on end it as `exit_process` does,
/// before handlers that were registered by the parent run a second time.
void leave_quietly_on_exit();

/// Writes out what the standard streams (C and C++) hold, as far as no other thread has them
/// locked.
void flush_streams() noexcept;

/// Writes all at once, past the streams, so that lines of several processes do not mix.
void write_to_stderr(const std::string& text) noexcept;

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

} // namespace prong::os
