#pragma once

#include "base/deadline.hpp"
#include "os/process.hpp"
#include "proc/stop_mode.hpp"

#include <chrono>
#include <functional>
#include <string>

namespace prong::proc {

/// What a supervisor asks and tells those whose processes it keeps: the pool, over shared memory.
/// All of it is called in the supervisor, but for `work`.
class SupervisorDelegate {
public:
    virtual StopMode stop_mode() = 0;
    /// Whether anything is left to be claimed; asked when draining.
    virtual bool has_work() = 0;

    /// In a new worker process: starts up, works, returns the exit status.
    virtual int work(unsigned worker) = 0;

    /// A new worker is about to be forked; it has been.
    virtual void starting(unsigned worker) = 0;
    virtual void started(unsigned worker, pid_t pid) = 0;
    /// The worker has ended and is reaped: tidy up after it. Returns whether it had started up.
    virtual bool ended(unsigned worker, os::ProcessExit exit) = 0;
    /// Why no other worker shall take its place and the pool be given up; empty if one shall.
    virtual std::string reason_to_give_up() = 0;
    /// How many workers have ever started up, and why the last one that did not failed.
    virtual unsigned starts() = 0;
    virtual std::string failure(unsigned worker) = 0;

    /// Checks the workers: called after every event, and at the time that it returned last. Calls
    /// `kill(worker)` for each worker that is to be ended by SIGKILL.
    virtual base::Deadline attend(const std::function<void(unsigned)>& kill) = 0;

    /// The worker was stopped (SIGSTOP), or goes on.
    virtual void stopped(unsigned worker) = 0;
    virtual void continued(unsigned worker) = 0;

    /// No more workers can be kept; those that are left are being killed.
    virtual void broke(const std::string& cause) = 0;

protected:
    ~SupervisorDelegate() = default;
};

/// A worker that cannot start is tried so often in a row before the pool is given up. One that was
/// killed from outside before it was ready is no sign of that, unless it goes on and on.
inline constexpr unsigned start_attempts = 3;
inline constexpr unsigned killed_start_attempts = 50;

/// How long workers have to end after SIGTERM (`StopMode::terminate`) before they get SIGKILL.
inline constexpr std::chrono::seconds terminate_grace{3};

/// What wakes a supervisor.
struct SupervisorEvents {
    int parent_pidfd; ///< readable when the parent has ended
    int bell;         ///< `os::Doorbell::listen`; -1: none
};

/// Forks `workers` workers and keeps their number, until the crew's wish is fulfilled or the parent
/// is gone; then none of them is left, nor what they started in their process groups. Runs in a
/// process that was forked for this, in its only thread that does anything. SIGUSR1 or the bell
/// tells that the wish has changed, or that there is something to attend to. A worker that stops
/// because it used the terminal (SIGTTIN, SIGTTOU) would never go on: it is killed, and its end
/// told as by that signal. Returns the exit status.
int supervise(SupervisorDelegate& delegate, unsigned workers, const SupervisorEvents& events);

} // namespace prong::proc
