#pragma once

#include "base/fd.hpp"
#include "os/process.hpp"

#include <sys/types.h>

#include <optional>

/// A child that is known by a descriptor: no signal can reach a stranger that was given its number,
/// and its end is seen even when somebody else collects its status.
namespace prong::os {

/// What `fork_with_pidfd` returns, in each of the two processes.
struct Fork {
    pid_t pid;            ///< the child's; 0 in the child
    base::UniqueFd pidfd; ///< in the parent: the child's; in the child: the parent's
};

/// Forks as `fork_process` does. The child goes on only when the parent holds its pidfd, so even
/// one that ends at once leaves its exit code; should the parent die before that, the child ends.
/// Throws `std::system_error`; no child is left then.
Fork fork_with_pidfd(ChildSignals signals = ChildSignals::unblocked);

/// Waits until a child has ended, and does not collect it. Needs no `poll`, and so cannot fail;
/// returns as well when somebody else has collected it.
void wait_for_end(int pidfd) noexcept;

/// Collects a child that has ended (its pidfd is readable): its exit code, or -N for signal N.
/// Empty when its status went to somebody else (a host that loops on `waitpid(-1)` or ignores
/// SIGCHLD) and the kernel (before Linux 6.15) does not remember it. Waits for a debugger that
/// holds it.
std::optional<int> reap(const base::UniqueFd& pidfd) noexcept;

/// Sends a signal; a process that has ended already is no error. Throws `std::system_error`.
void send_signal(const base::UniqueFd& pidfd, int signal);

/// Whether this child is stopped (SIGSTOP); false for a process that is no child.
bool is_stopped(const base::UniqueFd& pidfd) noexcept;

/// The child's side of a daemon: from now on it dies when the process `parent` ends, however that
/// ends, and not when only the thread that forked it does. This needs the signal `SIGRTMAX - 1`: a
/// child that blocks it, handles it otherwise or is stopped lives on. A system call of the child
/// may be interrupted when that thread ends.
void die_with_parent(pid_t parent);

} // namespace prong::os
