#include "os/process.hpp"

#include "base/errno.hpp"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>

namespace prong::os {
namespace {

/// A thread that is blocked in a write holds its stream's lock for as long as it likes; and
/// flushing the C++ stream above it takes that lock too.
void flush_unless_locked(std::ostream& above, std::FILE* stream) {
    if (ftrylockfile(stream) != 0) return;
    try {
        above.flush();
    } catch (...) { // the user asked this stream to throw; nobody is there to be told
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
        if (signal == SIGPIPE && ignored) continue;
        sigaction(signal, &standard, nullptr); // fails for SIGKILL and SIGSTOP, as it should
    }
}

/// "max 100000" or "200000 100000" in cgroup v2, two files in v1; 0: no quota.
double cgroup_cpu_quota() {
    double period = 0;
    std::string quota;
    if (std::ifstream file("/sys/fs/cgroup/cpu.max"); file >> quota >> period) {
        return quota == "max" || period <= 0 ? 0 : std::strtod(quota.c_str(), nullptr) / period;
    }
    double allowed = 0;
    std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (quota_file >> allowed && period_file >> period && allowed > 0 && period > 0) {
        return allowed / period;
    }
    return 0;
}

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

void exit_process(int status) noexcept {
    flush_streams();
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

base::UniqueFd open_pidfd(pid_t pid) {
    const auto fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0) base::throw_errno("pidfd_open");
    return base::UniqueFd(fd);
}

bool wait_readable(int fd, base::Deadline deadline) {
    using namespace std::chrono;
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    for (;;) {
        const auto slice = ceil<milliseconds>(deadline.left(hours(1)));
        const int ready = poll(&entry, 1, static_cast<int>(slice.count()));
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) base::throw_errno("poll");
        if (deadline.passed()) return false;
    }
}

std::optional<ProcessExit> reap(pid_t pid) noexcept {
    siginfo_t info{};
    if (base::retry_interrupted(
            [&] { return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED); }) != 0) {
        return std::nullopt;
    }
    return ProcessExit{.pid = pid,
                       .exitcode = info.si_code == CLD_EXITED ? info.si_status : -info.si_status};
}

bool set_parent_death_signal(int signal, pid_t parent) noexcept {
    return prctl(PR_SET_PDEATHSIG, signal) == 0 &&
           getppid() == parent; // it may have died before the prctl
}

unsigned thread_count() noexcept {
    DIR* const directory = opendir("/proc/self/task");
    if (directory == nullptr) return 1;
    unsigned count = 0;
    while (const dirent* const entry = readdir(directory)) count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

unsigned available_cpus() {
    cpu_set_t allowed;
    double cpus = 1;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
        cpus = CPU_COUNT(&allowed);
    } else {
        cpus = online_cpus(); // more CPUs than fit into a cpu_set_t
    }
    const double quota = cgroup_cpu_quota();
    if (quota > 0) cpus = std::min(cpus, std::ceil(quota));
    return static_cast<unsigned>(std::max(cpus, 1.0));
}

unsigned online_cpus() noexcept {
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? static_cast<unsigned>(online) : 1;
}

void close_network_sockets() noexcept {
    DIR* const directory = opendir("/proc/self/fd");
    if (directory == nullptr) return;
    while (const dirent* const entry = readdir(directory)) {
        char* end = nullptr;
        const long fd = std::strtol(entry->d_name, &end, 10);
        if (*end != '\0' || fd == dirfd(directory)) continue;
        sockaddr_storage address{};
        socklen_t length = sizeof(address);
        if (getsockname(static_cast<int>(fd), reinterpret_cast<sockaddr*>(&address), &length) !=
            0) {
            continue; // not a socket
        }
        const bool unnamed_local =
            address.ss_family == AF_UNIX && length <= offsetof(sockaddr, sa_data);
        if (!unnamed_local) close(static_cast<int>(fd));
    }
    closedir(directory);
}

} // namespace prong::os
