#pragma once

#include "base/deadline.hpp"
#include "base/fd.hpp"
#include "os/descriptor.hpp"
#include "os/process.hpp"

#include <sys/types.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

/// A child that is known by a descriptor: no signal can reach a stranger that was given its number,
/// and its end is seen even when somebody else collects its status.
namespace prong::os {

/// A process, known by a pidfd. User code may close the descriptor or reuse its number: each use
/// makes sure that it still refers to the process, and opens it anew if it does not.
///
/// Thread safety: any thread, but for moves and `reset`.
class PidFd {
public:
    PidFd() = default;
    /// `pid` is the number of the process behind `fd`, which has not been collected yet.
    PidFd(base::UniqueFd fd, pid_t pid) noexcept;
    PidFd(PidFd&& other) noexcept { swap(other); }
    PidFd& operator=(PidFd&& other) noexcept {
        swap(other);
        return *this;
    }
    ~PidFd() { reset(); }

    /// The process with this number. Throws `std::system_error`.
    static PidFd of(pid_t pid) { return {open_pidfd(pid), pid}; }

    /// Whether this object was given a process.
    [[nodiscard]] explicit operator bool() const noexcept { return pid_ != 0; }

    /// Returns the descriptor, opened anew if need be; -1 if the process has been collected. Throws
    /// `std::system_error` when the system refuses a descriptor.
    [[nodiscard]] int open() const;

    /// What `waitid` asks for: by descriptor, or by number where none can be had.
    [[nodiscard]] std::pair<idtype_t, id_t> id_for_wait() const noexcept;

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

    /// Closes the descriptor, unless its number refers to something else by now.
    void reset() noexcept;

    /// Gives the descriptor away.
    [[nodiscard]] base::UniqueFd release() noexcept;

private:
    void swap(PidFd& other) noexcept;
    [[nodiscard]] bool is_ours(int fd) const noexcept;

    mutable std::atomic<int> fd_ = -1;
    pid_t pid_ = 0;
    std::optional<FileId> id_; ///< where each process has one (since Linux 6.9); else the next two
    pid_t number_ = 0;         ///< the process's number in /proc
    std::uint64_t start_ = 0;  ///< when the process started, in clock ticks
};

/// What `fork_with_pidfd` returns, in each of the two processes.
struct Fork {
    pid_t pid;     ///< the child's; 0 in the child
    PidFd process; ///< in the parent: the child; in the child: the parent
};

/// Forks as `fork_process` does. The child goes on only when the parent holds its pidfd, so even
/// one that ends at once leaves its exit code; should the parent die before that, the child ends.
/// Throws `std::system_error`; no child is left then.
Fork fork_with_pidfd(ChildSignals signals = ChildSignals::unblocked);

/// Waits until the process has ended; returns whether it has. Throws `std::system_error` when the
/// system refuses to wait.
bool wait_for_end(const PidFd& process, base::Deadline deadline);

/// Waits until a child has ended, and does not collect it. Needs no `poll`, and so cannot fail;
/// returns as well when somebody else has collected it.
void wait_for_end(const PidFd& child) noexcept;

/// Collects a child that has ended: its exit code, or -N for signal N. Empty when another call
/// collected it (a host that loops on `waitpid(-1)` or ignores SIGCHLD) and the kernel (before
/// Linux 6.15) does not remember it. Waits for a debugger that holds it.
std::optional<int> reap(const PidFd& child) noexcept;

/// Sends a signal; a process that has ended already is no error. Throws `std::system_error`.
void send_signal(const PidFd& process, int signal);

/// Whether this child is stopped (SIGSTOP); false for a process that is no child.
bool is_stopped(const PidFd& child) noexcept;

/// The child's side of a daemon: from now on it dies when the process `parent` ends, however that
/// ends, and not when only the thread that forked it does. This needs the signal `SIGRTMAX - 1`: a
/// child that blocks it, handles it otherwise or is stopped lives on. A system call of the child
/// may be interrupted when that thread ends.
void die_with_parent(pid_t parent);

} // namespace prong::os
