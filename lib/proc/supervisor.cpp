#include "proc/supervisor.hpp"

#include "base/errno.hpp"
#include "diag/exit_text.hpp"
#include "os/descriptor.hpp"
#include "os/doorbell.hpp"

#include <cxxabi.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>
#include <span>
#include <stdio_ext.h>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace prong::proc {
namespace {

using Milliseconds = std::chrono::milliseconds;

/// A fork that fails for lack of processes or memory is retried after a delay, which doubles.
constexpr Milliseconds first_fork_delay{10};
constexpr Milliseconds longest_fork_delay{1000};
constexpr unsigned fork_attempts = 6; ///< with no worker alive, before the pool is given up

/// A worker that stops while draining is continued: at once the first time, then after this delay,
/// which doubles.
constexpr Milliseconds first_continue_delay{10};

/// How often the supervisor checks its events when `poll` fails.
constexpr Milliseconds look_interval{1};

sigset_t signals_of_interest() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGUSR1);
    return set;
}

class Supervisor {
public:
    Supervisor(SupervisorDelegate& delegate, unsigned workers, const SupervisorEvents& events)
        : delegate_(delegate), workers_(workers), own_pid_(getpid()), parent_(getppid()),
          events_(events) {
        // From now on only the parent's end, the stop mode and SIGKILL end this process.
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, nullptr); // usually they are blocked already
        const sigset_t interesting = signals_of_interest();
        signals_ = base::UniqueFd(signalfd(-1, &interesting, SFD_CLOEXEC | SFD_NONBLOCK));
        if (!signals_) base::throw_errno("signalfd");
        signals_ = os::lift(std::move(signals_));
    }

    int run() {
        for (;;) {
            apply_stop_mode();
            if (!is_ending()) fill_up();
            if (is_ending() && alive() == 0) return broken_ ? 1 : 0;
            wait_for_events();
            reap_all();
        }
    }

private:
    using Clock = std::chrono::steady_clock;

    struct Worker {
        pid_t pid = 0;          ///< 0: none
        int fatal_stop = 0;     ///< the terminal signal that has stopped it
        unsigned continued = 0; ///< how often it was continued while draining
        std::optional<Clock::time_point> continue_at = std::nullopt;
    };

    [[nodiscard]] unsigned alive() const {
        return static_cast<unsigned>(
            std::ranges::count_if(workers_, [](const Worker& worker) { return worker.pid != 0; }));
    }

    /// Returns whether exited workers are no longer replaced.
    [[nodiscard]] bool is_ending() const {
        return stop_mode_ >= StopMode::terminate ||
               (stop_mode_ == StopMode::drain && !delegate_.has_work());
    }

    void apply_stop_mode() {
        const StopMode mode = broken_ || parent_gone_ ? StopMode::kill : delegate_.stop_mode();
        if (mode <= stop_mode_) return;
        stop_mode_ = mode;
        if (stop_mode_ == StopMode::terminate) {
            signal_all(SIGTERM);
            kill_at_ = Clock::now() + terminate_grace;
        }
        if (stop_mode_ == StopMode::kill) signal_all(SIGKILL);
        signal_all(SIGCONT); // a stopped worker must not delay the end
    }

    void signal_all(int signal) {
        for (const Worker& worker : workers_) {
            // Not reaped yet, so the number is the worker's.
            if (worker.pid != 0) kill(worker.pid, signal);
        }
    }

    /// Sends the signals that are due. Returns when the next one is due.
    detail::Deadline act_in_time() {
        const auto now = Clock::now();
        auto next = Clock::time_point::max();
        if (kill_at_ && now >= *kill_at_) {
            signal_all(SIGKILL);
            kill_at_.reset();
        }
        if (kill_at_) next = *kill_at_;
        for (Worker& worker : workers_) {
            if (!worker.continue_at) continue;
            if (now >= *worker.continue_at) {
                kill(worker.pid, SIGCONT);
                worker.continue_at.reset();
            } else {
                next = std::min(next, *worker.continue_at);
            }
        }
        return detail::Deadline::at(next);
    }

    void fill_up() {
        for (unsigned worker = 0; worker < workers_.size(); ++worker) {
            if (workers_[worker].pid != 0 || !delegate_.is_wanted(worker)) continue;
            if (Clock::now() < next_fork_) return;
            if (!start(worker)) return;
            if (stop_mode_ != delegate_.stop_mode())
                return; // a pool that ends at once need not be complete
        }
    }

    bool start(unsigned worker) {
        delegate_.starting(worker);
        try {
            const pid_t pid = os::fork_process();
            if (pid == 0) become_worker(worker);
            workers_[worker] = {.pid = pid};
            setpgid(pid, pid); // the worker does the same: either may come first
            delegate_.started(worker, pid);
            fork_failures_ = 0;
            return true;
        } catch (const std::system_error& error) {
            ++fork_failures_;
            next_fork_ = Clock::now() + fork_delay();
            if (alive() == 0 && fork_failures_ >= fork_attempts) {
                give_up("no worker can be forked (" + std::string(error.what()) +
                        "); allow more processes or memory");
            }
            return false;
        }
    }

    [[nodiscard]] Milliseconds fork_delay() const {
        const unsigned doublings = std::min(fork_failures_ - 1, 10U);
        return std::min(first_fork_delay * (1 << doublings), longest_fork_delay);
    }

    /// Nothing may unwind from here into the user's program.
    [[noreturn]] void become_worker(unsigned worker) noexcept {
        setpgid(0, 0);
        if (!os::set_parent_death_signal(SIGKILL, own_pid_)) _exit(1);
        prctl(PR_SET_NAME, "prong-worker");
        signals_.reset();
        ::close(events_.parent_pidfd);
        if (events_.bell >= 0) ::close(events_.bell);
        try {
            os::exit_process(delegate_.work(worker));
        } catch (abi::__forced_unwind&) { // pthread_exit of the only thread
            os::exit_process(0);
        }
    }

    void wait_for_events() {
        const detail::Deadline alarm = delegate_.attend([this](unsigned worker) {
            if (workers_[worker].pid != 0) kill(workers_[worker].pid, SIGKILL);
        });
        const detail::Deadline due = act_in_time();
        // poll ignores negative descriptors.
        const int parent = parent_gone_ ? -1 : events_.parent_pidfd;
        std::array<pollfd, 3> events{{{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                                      {.fd = parent, .events = POLLIN, .revents = 0},
                                      {.fd = events_.bell, .events = POLLIN, .revents = 0}}};
        if (wait(events, std::min(alarm, due)) < 0 && errno != EINTR) {
            std::this_thread::sleep_for(look_interval); // fall back to polling in intervals
            events[1].revents = getppid() != parent_ ? POLLHUP : 0;
        }
        if (events[1].revents != 0) parent_gone_ = true;
        if (events[2].revents != 0) os::Doorbell::clear(events_.bell);
        std::array<signalfd_siginfo, 16> drained{};
        while (read(signals_.get(), drained.data(), sizeof(drained)) > 0) {
        }
    }

    /// Blocks until an event, the alarm, or the next attempt to fork. Returns like `poll`.
    int wait(std::span<pollfd> events, detail::Deadline alarm) const {
        const bool will_fork = !is_ending() && fork_failures_ != 0;
        if (alarm.is_never() && !will_fork) return poll(events.data(), events.size(), -1);
        const auto left = alarm.left(will_fork ? fork_delay() : Milliseconds(1'000'000));
        const timespec time{.tv_sec = left.count() / 1'000'000'000,
                            .tv_nsec = left.count() % 1'000'000'000};
        return ppoll(events.data(), events.size(), &time, nullptr);
    }

    void reap_all() {
        for (;;) {
            siginfo_t info{};
            // WNOWAIT: while the child is a zombie, no other process gets its number or its
            // group's.
            const int result = base::retry_interrupted([&] {
                return waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT);
            });
            if (result != 0 && alive() != 0) base::throw_errno("waitid");
            if (result != 0 || info.si_pid == 0) return;
            const int options = info.si_code == CLD_STOPPED || info.si_code == CLD_TRAPPED
                                    ? WSTOPPED
                                : info.si_code == CLD_CONTINUED ? WCONTINUED
                                                                : WEXITED;
            const auto found = std::ranges::find(workers_, info.si_pid, &Worker::pid);
            const bool ours = found != workers_.end(); // else a process that a task has left behind
            if (ours && options == WEXITED) kill(-info.si_pid, SIGKILL); // and its process group
            base::retry_interrupted([&] {
                return waitid(P_PID, static_cast<id_t>(info.si_pid), &info, options | WNOHANG);
            });
            if (ours) handle(static_cast<unsigned>(found - workers_.begin()), info, options);
        }
    }

    void handle(unsigned worker, const siginfo_t& info, int options) {
        if (options == WSTOPPED) {
            delegate_.stopped(worker);
            return handle_stop(workers_[worker], info);
        }
        if (options == WCONTINUED) return delegate_.continued(worker);
        const int fatal_stop = std::exchange(workers_[worker], {}).fatal_stop;
        int exitcode = os::exitcode_of(info);
        if (fatal_stop != 0 && exitcode == -SIGKILL) exitcode = -fatal_stop;
        const bool had_started =
            delegate_.ended(worker, {.pid = info.si_pid, .exitcode = exitcode});
        if (!had_started && stop_mode_ <= StopMode::drain) count_failed_start(worker, exitcode);
        const std::string reason = delegate_.reason_to_give_up();
        if (!reason.empty() && !broken_) give_up(reason);
    }

    void handle_stop(Worker& worker, const siginfo_t& info) {
        const bool by_terminal = info.si_status == SIGTTIN || info.si_status == SIGTTOU;
        if (by_terminal && info.si_code == CLD_STOPPED) { // not by a debugger
            worker.fatal_stop = info.si_status;
            kill(worker.pid, SIGKILL);
        } else if (stop_mode_ >= StopMode::drain) {
            // The delay grows for a worker that stops again and again.
            const auto delay = first_continue_delay * (1 << std::min(worker.continued, 7U));
            worker.continue_at = Clock::now() + (worker.continued == 0 ? delay.zero() : delay);
            ++worker.continued;
        }
    }

    void count_failed_start(unsigned worker, int exitcode) {
        const unsigned starts = delegate_.starts();
        failed_starts_ = starts == starts_seen_ ? failed_starts_ + 1 : 1;
        starts_seen_ = starts;
        std::string cause = delegate_.failure(worker);
        const bool killed = cause.empty() && (exitcode == -SIGKILL || exitcode == -SIGTERM);
        if (failed_starts_ < (killed ? killed_start_attempts : start_attempts) || broken_) return;
        if (cause.empty())
            cause = "the last one " + diag::exit_text(exitcode) + " before it was ready";
        give_up("workers cannot start (" + std::to_string(failed_starts_) +
                " tries in a row): " + cause);
    }

    void give_up(const std::string& cause) {
        broken_ = true;
        delegate_.broke(cause);
        apply_stop_mode();
    }

    SupervisorDelegate& delegate_;
    std::vector<Worker> workers_;
    pid_t own_pid_; ///< workers use it: their supervisor may be dead by then
    pid_t parent_;
    SupervisorEvents events_;
    base::UniqueFd signals_;
    StopMode stop_mode_ = StopMode::none;
    bool broken_ = false;
    bool parent_gone_ = false;
    unsigned failed_starts_ = 0; ///< in a row
    unsigned starts_seen_ = 0;
    unsigned fork_failures_ = 0; ///< in a row
    Clock::time_point next_fork_{};
    std::optional<Clock::time_point> kill_at_; ///< when workers that survive SIGTERM get SIGKILL
};

} // namespace

int supervise(SupervisorDelegate& delegate, unsigned workers, const SupervisorEvents& events) {
    __fpurge(stdout); // the parent writes what it could not flush before the fork
    setpgid(0, 0);    // Ctrl-C in the terminal is for the parent
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_NAME, "prong-supervise");
    return Supervisor(delegate, workers, events).run();
}

} // namespace prong::proc
