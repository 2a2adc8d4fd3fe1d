#include "os/process.hpp"

#include "base/errno.hpp"
#include "os/descriptor.hpp"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace prong::os {
namespace {

/// Skips a locked stream: a thread that is blocked in a write keeps its stream locked indefinitely,
/// and flushing the C++ stream above it takes that lock too.
void flush_unless_locked(std::ostream& above, std::FILE* stream) {
    if (ftrylockfile(stream) != 0) return;
    try {
        above.flush();
    } catch (...) { // the user made this stream throw; the fork must not fail for that
    }
    fflush_unlocked(stream);
    funlockfile(stream);
}

void reset_signals() {
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) {
        struct sigaction inherited {};
        if (sigaction(signal, nullptr, &inherited) != 0) continue;
        const bool ignored =
            (inherited.sa_flags & SA_SIGINFO) == 0 && inherited.sa_handler == SIG_IGN;
        // Terminal signals stay ignored also in the programs that a worker's tasks start.
        const bool stays = signal == SIGPIPE || signal == SIGTTIN || signal == SIGTTOU;
        if (stays && ignored) continue;
        sigaction(signal, &standard, nullptr); // fails for SIGKILL and SIGSTOP, as it should
    }
}

/// See `before_exit_in_order`.
constinit std::atomic<void (*)() noexcept> at_exit_in_order{nullptr};

} // namespace

pid_t fork_process(ChildSignals signals) {
    flush_streams();
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t pid = fork();
    const int error = errno;
    if (pid == 0) {
        reset_signals();
        sigset_t none;
        sigemptyset(&none);
        if (signals == ChildSignals::unblocked) pthread_sigmask(SIG_SETMASK, &none, nullptr);
        return 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) base::throw_errno("fork", error);
    return pid;
}

bool has_disposition(int signal, void (*disposition)(int)) noexcept {
    struct sigaction action {};
    return sigaction(signal, nullptr, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
           action.sa_handler == disposition;
}

void before_exit_in_order(void (*function)() noexcept) noexcept {
    at_exit_in_order.store(function);
}

void exit_process(int status) noexcept {
    flush_streams();
    const auto last = at_exit_in_order.load();
    if (status == 0 && last != nullptr) last();
    _exit(status);
}

void leave_quietly_on_exit() {
    on_exit([](int status, void*) { exit_process(status); }, nullptr);
}

void flush_streams() noexcept {
    const std::ios_base::Init streams_exist; // also before `main`
    flush_unless_locked(std::cout, stdout);
    flush_unless_locked(std::clog, stderr);
}

void write_to_stderr(const std::string& text) noexcept {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data(), text.size());
}

base::UniqueFd open_pidfd(pid_t pid) {
    const auto fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0) base::throw_errno("pidfd_open");
    return lift(base::UniqueFd(fd));
}

bool wait_readable(int fd, prong::detail::Deadline deadline) {
    using namespace std::chrono;
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    for (;;) {
        const auto slice = ceil<milliseconds>(deadline.left(hours(1)));
        const int ready = poll(&entry, 1, static_cast<int>(slice.count()));
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) base::throw_errno("poll");
        if (ready == 0 && deadline.passed()) return false;
    }
}

std::optional<ProcessExit> reap(pid_t pid) noexcept {
    siginfo_t info{};
    if (base::retry_interrupted(
            [&] { return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED); }) != 0) {
        return std::nullopt;
    }
    return ProcessExit{.pid = pid, .exitcode = exitcode_of(info)};
}

bool set_parent_death_signal(int signal, pid_t parent) noexcept {
    return prctl(PR_SET_PDEATHSIG, signal) == 0 &&
           getppid() == parent; // the parent may have died before the prctl
}

unsigned thread_count() noexcept {
    DIR* const directory = opendir("/proc/self/task");
    if (directory == nullptr) return 1;
    unsigned count = 0;
    while (const dirent* const entry = readdir(directory)) count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

} // namespace prong::os
