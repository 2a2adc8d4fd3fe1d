#pragma once

#include "base/fd.hpp"
#include "os/descriptor.hpp"
#include "os/process.hpp"

#include <prong/detail/deadline.hpp>

#include <sys/types.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

/// Children that are known by a descriptor. No signal can reach another process that was given the
/// child's number, and the child's end is seen even when other code reaps it.
namespace prong::os {

/// A process, known by a pidfd. User code may close the descriptor or reuse its number: each use
/// checks that it still refers to the process, and reopens it if it does not.
///
/// Thread safety: any thread, but for moves and `reset`.
class PidFd {
public:
    PidFd() = default;
    /// `pid` is the number of the process behind `fd`, which has not been reaped yet.
    PidFd(base::UniqueFd fd, pid_t pid) noexcept;
    PidFd(PidFd&& other) noexcept { swap(other); }
    PidFd& operator=(PidFd&& other) noexcept {
        swap(other);
        return *this;
    }
    ~PidFd() { reset(); }

    /// Returns the process with this number. Throws `std::system_error`.
    static PidFd of(pid_t pid) { return {open_pidfd(pid), pid}; }

    /// Returns whether this object was given a process.
    [[nodiscard]] explicit operator bool() const noexcept { return pid_ != 0; }

    /// Returns the descriptor, reopened if necessary; -1 if the process has been reaped. Throws
    /// `std::system_error` when the system refuses a descriptor.
    [[nodiscard]] int open() const;

    /// Returns a copy of the descriptor; an empty one if the process has been reaped. Throws
    /// `std::system_error`.
    [[nodiscard]] base::UniqueFd copy() const;

    /// Returns the arguments that identify the process to `waitid`: its descriptor, or its number
    /// where no descriptor is available.
    [[nodiscard]] std::pair<idtype_t, id_t> id_for_wait() const noexcept;

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

    /// Closes the descriptor, unless its number refers to something else by now.
    void reset() noexcept;

    /// Gives up ownership and returns the descriptor.
    [[nodiscard]] base::UniqueFd release() noexcept;

private:
    void swap(PidFd& other) noexcept;
    [[nodiscard]] bool is_ours(int fd) const noexcept;

    mutable std::atomic<int> fd_ = -1;
    pid_t pid_ = 0;
    std::optional<FileId> id_; ///< if each pidfd has its own inode (since Linux 6.9)
    pid_t number_ = 0;         ///< else: the process's number in /proc
    std::uint64_t start_ = 0;  ///< and when the process started, in clock ticks
};

/// What `fork_with_pidfd` returns, in each of the two processes.
struct Fork {
    pid_t pid;     ///< the child's; 0 in the child
    PidFd process; ///< in the parent: the child; in the child: the parent
};

/// Forks like `fork_process`. The child continues only when the parent has opened its pidfd, so the
/// exit code of a child that exits at once is not lost. If the parent dies before that, the child
/// exits. Throws `std::system_error`; then no child is left.
Fork fork_with_pidfd(ChildSignals signals = ChildSignals::unblocked);

/// Blocks until the process has ended or the deadline has passed. Returns whether the process has
/// ended. Throws `std::system_error` when the system refuses to wait.
bool wait_for_end(const PidFd& process, prong::detail::Deadline deadline);

/// Blocks until a child has ended, without reaping it. Needs no `poll`, and so cannot fail. Returns
/// as well when other code has reaped the child.
void wait_for_end(const PidFd& child) noexcept;

/// Reaps a child that has ended; returns its exit code, or -N for signal N. Returns nothing if
/// other code has reaped it (a host that loops on `waitpid(-1)` or ignores SIGCHLD) and the kernel
/// (before Linux 6.15) does not remember the status. Waits for a debugger that holds the child.
std::optional<int> reap(const PidFd& child) noexcept;

/// Sends a signal. Does nothing if the process has ended. Throws `std::system_error`.
void send_signal(const PidFd& process, int signal);

/// Returns whether this child is stopped (SIGSTOP); false for a process that is no child.
bool is_stopped(const PidFd& child) noexcept;

/// Makes this process die when the process `parent` ends, however that ends, and not when only the
/// thread that forked it ends. Uses the signal `SIGRTMAX - 1`: a child that blocks it, handles it
/// otherwise or is stopped lives on. A system call of the child may be interrupted when that thread
/// ends.
void die_with_parent(pid_t parent);

} // namespace prong::os
