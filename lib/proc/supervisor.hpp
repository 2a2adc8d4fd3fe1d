#pragma once

#include "os/process.hpp"
#include "proc/stop_mode.hpp"

#include <prong/detail/deadline.hpp>

#include <chrono>
#include <functional>
#include <string>

namespace prong::proc {

/// What a supervisor needs from the pool whose workers it keeps. The pool implements it over shared
/// memory. All functions but `work` are called in the supervisor.
class SupervisorDelegate {
public:
    virtual StopMode stop_mode() = 0;
    /// Returns whether any task is left to be claimed. Called while draining.
    virtual bool has_work() = 0;

    /// Returns whether a worker without a process is to have one.
    virtual bool is_wanted(unsigned /*worker*/) { return true; }
    /// Runs a new worker process. Returns its exit status.
    virtual int work(unsigned worker) = 0;

    /// Called before a worker is forked; `started` after it.
    virtual void starting(unsigned worker) = 0;
    virtual void started(unsigned worker, pid_t pid) = 0;
    /// Cleans up after a worker that has been reaped. Returns whether its start had succeeded.
    virtual bool ended(unsigned worker, os::ProcessExit exit) = 0;
    /// Returns why the pool must be given up instead of replacing the worker; an empty text if it
    /// need not.
    virtual std::string reason_to_give_up() = 0;
    /// Returns how many workers have ever started, and why the last one that did not failed.
    virtual unsigned starts() = 0;
    virtual std::string failure(unsigned worker) = 0;

    /// Checks the workers: called after every event, and at the time that it returned last. Calls
    /// `kill(worker)` for each worker that is to be ended by SIGKILL.
    virtual detail::Deadline attend(const std::function<void(unsigned)>& kill) = 0;

    /// Called when a worker was stopped (SIGSTOP), and when it continues.
    virtual void stopped(unsigned worker) = 0;
    virtual void continued(unsigned worker) = 0;

    /// Called when the pool is given up; the remaining workers are being killed.
    virtual void broke(const std::string& cause) = 0;

protected:
    ~SupervisorDelegate() = default;
};

/// How many failed starts in a row break the pool. A worker that was killed from outside before it
/// was ready is counted against the larger number.
inline constexpr unsigned start_attempts = 3;
inline constexpr unsigned killed_start_attempts = 50;

/// How long workers may run on after SIGTERM (`StopMode::terminate`) before they get SIGKILL.
inline constexpr std::chrono::seconds terminate_grace{3};

/// The descriptors that wake a supervisor.
struct SupervisorEvents {
    int parent_pidfd; ///< readable when the parent has ended
    int bell;         ///< `os::Doorbell::listen`; -1: none
};

/// Forks workers and replaces those that exit, until the stop mode is reached or the parent has
/// ended; then no worker is left, nor any process of the workers' process groups. Runs in the only
/// active thread of a process that was forked for this. SIGUSR1 or the bell makes it check the stop
/// mode and call `attend`. Kills a worker that was stopped by the terminal (SIGTTIN, SIGTTOU),
/// because it would never continue, and reports that signal as its end. Returns the exit status.
int supervise(SupervisorDelegate& delegate, unsigned workers, const SupervisorEvents& events);

} // namespace prong::proc
