#pragma once

#include "base/fd.hpp"

#include <prong/detail/deadline.hpp>

#include <sys/types.h>

#include <csignal>
#include <optional>
#include <string>

/// Processes: fork, identity, signals, exit.
namespace prong::os {

/// How a process ended: its exit code, or -N for signal N.
struct ProcessExit {
    pid_t pid;
    int exitcode;
};

/// Converts the result of `waitid` for a process that has ended to an exit code, or -N for signal
/// N.
[[nodiscard]] inline int exitcode_of(const siginfo_t& info) noexcept {
    return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

/// The signal mask that a child starts with.
enum class ChildSignals {
    unblocked, ///< no signal is blocked
    blocked,   ///< all signals are blocked
};

/// Forks, after flushing the parent's standard streams and with all signals blocked meanwhile. The
/// child starts with all handlers reset; `SIGPIPE`, `SIGTTIN` and `SIGTTOU` stay ignored if they
/// were. Returns 0 in the child. Throws `std::system_error`.
pid_t fork_process(ChildSignals signals = ChildSignals::unblocked);

/// Returns whether a signal has this disposition: SIG_DFL or SIG_IGN.
[[nodiscard]] bool has_disposition(int signal, void (*disposition)(int)) noexcept;

/// Exits without running the exit handlers and destructors inherited from the parent: flushes the
/// standard streams, then calls `_exit`.
[[noreturn]] void exit_process(int status) noexcept;

/// Makes `exit_process(0)` call the function, after the streams are flushed. One function.
void before_exit_in_order(void (*function)() noexcept) noexcept;

/// Makes `exit()` behave like `exit_process` from now on, so that handlers that the parent
/// registered do not run a second time.
void leave_quietly_on_exit();

/// Flushes the standard streams (C and C++), except those that another thread has locked.
void flush_streams() noexcept;

/// Writes the text in one call, past the streams, so that lines of several processes do not mix.
void write_to_stderr(const std::string& text) noexcept;

/// Opens a descriptor that becomes readable when the process has ended. Throws `std::system_error`.
base::UniqueFd open_pidfd(pid_t pid);

/// Blocks until `fd` is readable or its peer is closed. Returns false when the deadline passes
/// first.
bool wait_readable(int fd, prong::detail::Deadline deadline);

/// Blocks until a child has ended, and reaps it. Returns nothing if other code has reaped it (a
/// host that loops on `waitpid(-1)` or ignores SIGCHLD).
std::optional<ProcessExit> reap(pid_t pid) noexcept;

/// Asks the kernel to send `signal` to this process when the thread that forked it ends. Returns
/// false if the kernel refuses, or the parent is no longer `parent`.
bool set_parent_death_signal(int signal, pid_t parent) noexcept;

/// Returns how many threads this process has; 1 where the system does not say.
unsigned thread_count() noexcept;

} // namespace prong::os
