#include "proc/supervisor.hpp"

#include "base/errno.hpp"
#include "base/exit_text.hpp"

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
#include <stdio_ext.h>
#include <system_error>
#include <thread>
#include <vector>

namespace prong::proc {
namespace {

using Milliseconds = std::chrono::milliseconds;

/// A fork that fails for want of processes or memory is tried again after a while, which doubles.
constexpr Milliseconds first_fork_delay{10};
constexpr Milliseconds longest_fork_delay{1000};
constexpr unsigned fork_attempts = 6; ///< with no worker alive, before the pool is given up

/// How often the supervisor looks around when `poll` is not to be had.
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
    Supervisor(Crew& crew, unsigned workers, int parent_pidfd)
        : crew_(crew), pids_(workers), own_pid_(getpid()), parent_(getppid()),
          parent_pidfd_(parent_pidfd) {
        // From now on only the parent's end, the crew's wish and SIGKILL end this process.
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, nullptr); // most likely they are blocked already
        const sigset_t interesting = signals_of_interest();
        signals_ = base::UniqueFd(signalfd(-1, &interesting, SFD_CLOEXEC | SFD_NONBLOCK));
        if (!signals_) base::throw_errno("signalfd");
    }

    int run() {
        for (;;) {
            follow_wish();
            if (!is_ending()) fill_up();
            if (is_ending() && alive() == 0) return broken_ ? 1 : 0;
            wait_for_events();
            collect();
        }
    }

private:
    [[nodiscard]] unsigned alive() const {
        return static_cast<unsigned>(
            std::ranges::count_if(pids_, [](pid_t pid) { return pid != 0; }));
    }

    /// Whether nobody is to be replaced any more.
    [[nodiscard]] bool is_ending() const {
        return wish_ >= Crew::Wish::terminate || (wish_ == Crew::Wish::drain && !crew_.has_work());
    }

    void follow_wish() {
        const Crew::Wish wish = broken_ || parent_gone_ ? Crew::Wish::kill : crew_.wish();
        if (wish <= wish_) return;
        wish_ = wish;
        if (wish_ == Crew::Wish::terminate) signal_all(SIGTERM);
        if (wish_ == Crew::Wish::kill) signal_all(SIGKILL);
        signal_all(SIGCONT); // nobody should wait for ever for one that is stopped
    }

    void signal_all(int signal) {
        for (const pid_t pid : pids_) {
            if (pid != 0) kill(pid, signal); // not reaped yet, so it is still ours
        }
    }

    void fill_up() {
        for (unsigned worker = 0; worker < pids_.size(); ++worker) {
            if (pids_[worker] != 0) continue;
            if (std::chrono::steady_clock::now() < next_fork_) return;
            if (!start(worker)) return;
            if (wish_ != crew_.wish()) return; // a pool that is ended at once need not be complete
        }
    }

    bool start(unsigned worker) {
        crew_.starting(worker);
        try {
            const pid_t pid = os::fork_process();
            if (pid == 0) become_worker(worker);
            pids_[worker] = pid;
            setpgid(pid, pid); // also done by the worker: whoever comes first
            crew_.started(worker, pid);
            fork_failures_ = 0;
            return true;
        } catch (const std::system_error& error) {
            ++fork_failures_;
            next_fork_ = std::chrono::steady_clock::now() + fork_delay();
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

    /// Nothing leaves it: beyond it is the user's program.
    [[noreturn]] void become_worker(unsigned worker) noexcept {
        setpgid(0, 0);
        if (!os::set_parent_death_signal(SIGKILL, own_pid_)) _exit(1);
        prctl(PR_SET_NAME, "prong-worker");
        signals_.reset();
        close(parent_pidfd_);
        try {
            os::exit_process(crew_.work(worker));
        } catch (abi::__forced_unwind&) { // pthread_exit of the only thread
            os::exit_process(0);
        }
    }

    void wait_for_events() {
        const base::Deadline alarm = crew_.attend([this](unsigned worker) {
            if (pids_[worker] != 0) kill(pids_[worker], SIGKILL);
        });
        std::array<pollfd, 2> events{{{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                                      {.fd = parent_pidfd_, .events = POLLIN, .revents = 0}}};
        if (wait(events.data(), parent_gone_ ? 1 : 2, alarm) < 0 && errno != EINTR) {
            std::this_thread::sleep_for(look_interval); // then without it
            events[1].revents = getppid() != parent_ ? POLLHUP : 0;
        }
        if (events[1].revents != 0) parent_gone_ = true;
        std::array<signalfd_siginfo, 16> drained{};
        while (read(signals_.get(), drained.data(), sizeof(drained)) > 0) {
        }
    }

    /// Until an event, the alarm, or the time for another try to fork. As `poll`.
    int wait(pollfd* events, nfds_t count, base::Deadline alarm) const {
        const bool will_fork = !is_ending() && fork_failures_ != 0;
        if (alarm.is_never() && !will_fork) return poll(events, count, -1);
        const auto left = alarm.left(will_fork ? fork_delay() : Milliseconds(1'000'000));
        const timespec time{.tv_sec = left.count() / 1'000'000'000,
                            .tv_nsec = left.count() % 1'000'000'000};
        return ppoll(events, count, &time, nullptr);
    }

    void collect() {
        for (;;) {
            siginfo_t info{};
            // Not reaped yet: while it is a zombie nobody else gets its number or its group's.
            const int result = base::retry_interrupted([&] {
                return waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT);
            });
            if (result != 0 && alive() != 0) base::throw_errno("waitid");
            if (result != 0 || info.si_pid == 0) return;
            const int options = info.si_code == CLD_STOPPED || info.si_code == CLD_TRAPPED
                                    ? WSTOPPED
                                : info.si_code == CLD_CONTINUED ? WCONTINUED
                                                                : WEXITED;
            const auto found = std::ranges::find(pids_, info.si_pid);
            const bool ours = found != pids_.end(); // else a process that a task left behind
            if (ours && options == WEXITED) kill(-info.si_pid, SIGKILL); // and what it started
            base::retry_interrupted([&] {
                return waitid(P_PID, static_cast<id_t>(info.si_pid), &info, options | WNOHANG);
            });
            if (ours) handle(static_cast<unsigned>(found - pids_.begin()), info, options);
        }
    }

    void handle(unsigned worker, const siginfo_t& info, int options) {
        if (options == WSTOPPED) {
            if (wish_ >= Crew::Wish::drain) kill(info.si_pid, SIGCONT);
            return crew_.stopped(worker);
        }
        if (options == WCONTINUED) return crew_.continued(worker);
        pids_[worker] = 0;
        const int exitcode = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
        const bool had_started = crew_.ended(worker, {.pid = info.si_pid, .exitcode = exitcode});
        if (!had_started && wish_ <= Crew::Wish::drain) count_failed_start(worker, exitcode);
        const std::string reason = crew_.reason_to_give_up();
        if (!reason.empty() && !broken_) give_up(reason);
    }

    void count_failed_start(unsigned worker, int exitcode) {
        const unsigned starts = crew_.starts();
        failed_starts_ = starts == starts_seen_ ? failed_starts_ + 1 : 1;
        starts_seen_ = starts;
        const bool killed = exitcode == -SIGKILL || exitcode == -SIGTERM;
        if (failed_starts_ < (killed ? killed_start_attempts : start_attempts) || broken_) return;
        std::string cause = crew_.failure(worker);
        if (cause.empty())
            cause = "the last one " + base::exit_text(exitcode) + " before it was ready";
        give_up("workers cannot start (" + std::to_string(failed_starts_) +
                " tries in a row): " + cause);
    }

    void give_up(const std::string& cause) {
        broken_ = true;
        crew_.broke(cause);
        follow_wish();
    }

    Crew& crew_;
    std::vector<pid_t> pids_; ///< by worker; 0: none
    pid_t own_pid_;           ///< not asked for in a worker, whose supervisor may be gone by then
    pid_t parent_;
    int parent_pidfd_;
    base::UniqueFd signals_;
    Crew::Wish wish_ = Crew::Wish::keep;
    bool broken_ = false;
    bool parent_gone_ = false;
    unsigned failed_starts_ = 0; ///< in a row
    unsigned starts_seen_ = 0;
    unsigned fork_failures_ = 0; ///< in a row
    std::chrono::steady_clock::time_point next_fork_{};
};

} // namespace

int supervise(Crew& crew, unsigned workers, int parent_pidfd) {
    __fpurge(stdout); // what could not be flushed before the fork is the parent's to write
    setpgid(0, 0);    // Ctrl-C in the terminal is for the parent
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_NAME, "prong-supervise");
    return Supervisor(crew, workers, parent_pidfd).run();
}

} // namespace prong::proc
