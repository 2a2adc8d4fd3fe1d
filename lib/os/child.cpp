#include "os/child.hpp"

#include "base/errno.hpp"
#include "base/file.hpp"
#include "os/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace prong::os {
namespace {

// The word by which the parent opens the gate at which a new child waits.
constexpr std::uint64_t go = 1;

void open_gate(const base::UniqueFd& gate, std::uint64_t word) {
    if (base::retry_interrupted([&] { return write(gate.get(), &word, sizeof(word)); }) < 0)
        base::throw_errno("write");
}

/// Blocks the child until the parent opens the gate; exits if the parent dies.
void wait_at_gate(const base::UniqueFd& gate, const base::UniqueFd& parent) {
    pollfd entries[] = {{.fd = gate.get(), .events = POLLIN, .revents = 0},
                        {.fd = parent.get(), .events = POLLIN, .revents = 0}};
    base::retry_interrupted([&] { return poll(entries, 2, -1); });
    std::uint64_t word = 0;
    if (entries[0].revents != 0) {
        base::retry_interrupted([&] { return read(gate.get(), &word, sizeof(word)); });
    }
    if (word != go) _exit(1);
}

/// The kernel's `pidfd_info` in its first version, which our headers do not have.
struct PidfdInfo {
    std::uint64_t mask;
    std::uint64_t cgroup;
    std::uint32_t ids[11];
    std::int32_t exit_status; ///< as `waitpid` reports it
};
static_assert(sizeof(PidfdInfo) == 64);

constexpr std::uint64_t pidfd_info_exit = 1U << 3;

/// Returns the exit status of a process that other code has reaped or is about to reap.
std::optional<int> remembered_status(int pidfd) {
    PidfdInfo info{};
    for (bool waited = false;; waited = true) {
        info.mask = pidfd_info_exit;
        const int result = ioctl(pidfd, _IOWR(0xFF, 11, PidfdInfo), &info);
        if (result == 0 && (info.mask & pidfd_info_exit) != 0) return info.exit_status;
        if (waited || (result != 0 && errno != ESRCH)) return std::nullopt;
        // The process has ended but is not reaped yet. POLLHUP comes when it is, without being
        // requested.
        pollfd entry{.fd = pidfd, .events = 0, .revents = 0};
        base::retry_interrupted([&] { return poll(&entry, 1, 100); });
    }
}

int code_of_status(int status) {
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/// What /proc says about a descriptor.
struct FdInfo {
    bool is_readable = false;     ///< false: the file could not be read
    std::optional<pid_t> process; ///< of a pidfd: its number in /proc, -1 once it is reaped
};

FdInfo info_of(int fd) {
    const auto text = base::read_file("/proc/self/fdinfo/" + std::to_string(fd));
    if (!text) return {};
    FdInfo info{.is_readable = true, .process = std::nullopt};
    std::string_view rest = *text;
    while (!rest.empty()) {
        if (base::next_word(rest) != "Pid:") continue;
        const std::string_view number = base::next_word(rest);
        info.process =
            number == "-1" ? -1 : static_cast<pid_t>(base::to_number(number).value_or(0));
    }
    return info;
}

/// Returns when a process started, in clock ticks since boot; 0 if unknown.
std::uint64_t start_ticks(pid_t pid) {
    const auto text = base::read_file("/proc/" + std::to_string(pid) + "/stat");
    if (!text) return 0;
    std::string_view rest = *text;
    rest.remove_prefix(std::min(rest.rfind(')'), rest.size())); // the name may contain spaces
    std::string_view field;
    for (int i = 2; i <= 22; ++i) field = base::next_word(rest);
    return base::to_number(field).value_or(0);
}

/// Returns whether each pidfd has its own inode (since Linux 6.9), instead of one that it
/// shares with other kinds of descriptors.
bool has_own_inode(int pidfd) {
    constexpr auto pidfs_magic = 0x50494446; // missing in our headers
    struct statfs info {};
    return fstatfs(pidfd, &info) == 0 && info.f_type == pidfs_magic;
}

std::atomic<pid_t> watched_parent{0};
static_assert(std::atomic<pid_t>::is_always_lock_free);

/// Handles the signal for the end of the parent's *thread*. If the parent has other threads, one of
/// them is our parent by now, and its end will be signalled, too.
void on_end_of_parent_thread(int) {
    const int error = errno;
    if (getppid() != watched_parent.load(std::memory_order_relaxed)) kill(getpid(), SIGKILL);
    errno = error;
}

} // namespace

Fork fork_with_pidfd(ChildSignals signals) {
    base::UniqueFd gate(eventfd(0, EFD_CLOEXEC));
    if (!gate) base::throw_errno("eventfd");
    gate = lift(std::move(gate));
    const pid_t self = getpid();
    base::UniqueFd parent = open_pidfd(self); // before the fork the number is certainly ours
    const pid_t pid = fork_process(signals);
    if (pid == 0) {
        wait_at_gate(gate, parent);
        return {.pid = 0, .process = PidFd(std::move(parent), self)};
    }
    try {
        PidFd child = PidFd::of(pid);
        open_gate(gate, go);
        return {.pid = pid, .process = std::move(child)};
    } catch (...) {
        kill(pid, SIGKILL); // not reaped yet, so the number is the child's
        reap(pid);
        throw;
    }
}

PidFd::PidFd(base::UniqueFd fd, pid_t pid) noexcept : fd_(fd.release()), pid_(pid) {
    if (has_own_inode(fd_)) {
        id_ = FileId::of(fd_);
        return;
    }
    try {
        number_ = info_of(fd_).process.value_or(0);
        start_ = start_ticks(number_);
    } catch (const std::bad_alloc&) { // a lost descriptor is not reopened then
    }
}

void PidFd::swap(PidFd& other) noexcept {
    fd_ = other.fd_.exchange(fd_);
    std::swap(pid_, other.pid_);
    std::swap(id_, other.id_);
    std::swap(number_, other.number_);
    std::swap(start_, other.start_);
}

bool PidFd::is_ours(int fd) const noexcept {
    if (fd < 0) return false;
    if (id_) return FileId::of(fd) == id_;
    if (fcntl(fd, F_GETFD) < 0) return false;
    try {
        const FdInfo info = info_of(fd);
        const bool is_known = number_ != 0 && info.is_readable;
        return !is_known || info.process == number_ || info.process == -1;
    } catch (const std::bad_alloc&) { // assume that it is
        return true;
    }
}

int PidFd::open() const {
    int now = fd_.load(std::memory_order_relaxed);
    if (pid_ == 0 || is_ours(now)) return now;
    base::UniqueFd reopened;
    try {
        reopened = open_pidfd(pid_);
    } catch (const std::system_error& error) {
        if (error.code() == std::errc::no_such_process) return -1;
        throw;
    }
    // Checked after opening: another process may have been given the number before that.
    const bool is_same = id_ ? is_ours(reopened.get()) : start_ticks(number_) == start_;
    if (!is_same) return -1;
    return fd_.compare_exchange_strong(now, reopened.get()) ? reopened.release() : now;
}

base::UniqueFd PidFd::copy() const {
    const int fd = open();
    if (fd < 0) return {};
    base::UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy) base::throw_errno("fcntl(F_DUPFD_CLOEXEC)");
    return lift(std::move(copy));
}

void PidFd::reset() noexcept {
    const int fd = fd_.exchange(-1);
    if (is_ours(fd)) close(fd);
    pid_ = 0;
}

std::pair<idtype_t, id_t> PidFd::id_for_wait() const noexcept {
    try {
        return {static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(open())};
    } catch (const std::system_error&) { // no descriptor: a child keeps its number until reaped
        return {P_PID, static_cast<id_t>(pid_)};
    }
}

base::UniqueFd PidFd::release() noexcept {
    pid_ = 0;
    return base::UniqueFd(fd_.exchange(-1));
}

bool wait_for_end(const PidFd& process, prong::detail::Deadline deadline) {
    for (;;) {
        const int fd = process.open();
        if (fd < 0) return true;
        if (!wait_readable(fd, deadline)) return false;
        if (process.open() == fd) return true; // else the number's next file was ready
    }
}

void wait_for_end(const PidFd& child) noexcept {
    siginfo_t info{};
    const auto [type, id] = child.id_for_wait();
    base::retry_interrupted([&] { return waitid(type, id, &info, WEXITED | WNOWAIT); });
}

std::optional<int> reap(const PidFd& child) noexcept {
    siginfo_t info{};
    const auto [type, id] = child.id_for_wait();
    if (base::retry_interrupted([&] { return waitid(type, id, &info, WEXITED); }) == 0) {
        return exitcode_of(info);
    }
    if (type != P_PIDFD) return std::nullopt;
    const auto status = remembered_status(static_cast<int>(id));
    return status ? std::optional(code_of_status(*status)) : std::nullopt;
}

void send_signal(const PidFd& process, int signal) {
    const int pidfd = process.open();
    if (pidfd < 0) return;
    if (syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return;
    const int error = errno;
    if (error == ESRCH) return;
    // A sandbox may forbid it. Then signal by number: a child that is not reaped still has it.
    const bool is_reaped = info_of(pidfd).process == -1;
    if (is_reaped || kill(process.pid(), signal) == 0 || errno == ESRCH) return;
    base::throw_errno("pidfd_send_signal", error);
}

bool is_stopped(const PidFd& child) noexcept {
    siginfo_t info{};
    const auto [type, id] = child.id_for_wait();
    const int result = waitid(type, id, &info, WSTOPPED | WNOHANG | WNOWAIT);
    return result == 0 && info.si_pid != 0 && info.si_code == CLD_STOPPED; // not by a debugger
}

void die_with_parent(pid_t parent) {
    watched_parent.store(parent, std::memory_order_relaxed);
    // A signal that programs hardly use, but not the last one, which valgrind reserves.
    const int signal = SIGRTMAX - 1;
    struct sigaction action {};
    action.sa_handler = on_end_of_parent_thread;
    action.sa_flags = SA_RESTART;
    if (sigaction(signal, &action, nullptr) != 0) base::throw_errno("sigaction");
    if (set_parent_death_signal(signal, parent)) return;
    if (getppid() == parent) base::throw_errno("prctl");
    kill(getpid(), SIGKILL);
}

} // namespace prong::os
