// Stands between prong and the C library (linker option --wrap): counts the calls of each process
// and makes the planned one fail. Prong itself has no hook for this.

#include "faults/plan.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>
#include <system_error>
#include <vector>

namespace prong::test {
namespace {

/// Of this process; none in the harness, and in what a task or a `Process` forks.
std::optional<Role> own_role;

std::vector<pid_t> own_children;

void enter_child() {
    if (own_role == Role::parent)
        own_role = board().first_child;
    else if (own_role == Role::supervisor)
        own_role = Role::worker;
    else
        own_role.reset();
}

void note_child(pid_t pid) {
    if (own_role == Role::parent) own_children.push_back(pid);
}

/// What the call should do this time instead of its work: 0, nothing else.
int planned(Call call) {
    if (!own_role || !board().armed.load(std::memory_order_relaxed)) return 0;
    auto& counter =
        board().calls[static_cast<std::size_t>(*own_role)][static_cast<std::size_t>(call)];
    const unsigned number = counter.fetch_add(1) + 1;
    const Plan& plan = board().plan;
    if (plan.role != *own_role || plan.call != call || number < plan.nth) return 0;
    const unsigned after = number - plan.nth;
    if (plan.error == torn && after == 1) return ENOBUFS;
    if (plan.times == Times::once && after != 0) return 0;
    if (plan.times == Times::alternately && after % 2 != 0) return 0;
    board().injected.fetch_add(1);
    return plan.error == torn ? partial : plan.error;
}

template <typename Result>
Result fail(int error, Result result) {
    errno = error;
    return result;
}

/// Calls `real` unless it is to fail.
template <typename Real, typename... Args>
auto call_unless_planned(Call call, Real real, Args... args) {
    const int error = planned(call);
    return error > 0 ? fail(error, static_cast<decltype(real(args...))>(-1)) : real(args...);
}

} // namespace

void become_parent() {
    own_role = Role::parent;
}

const std::vector<pid_t>& forked_by_parent() {
    return own_children;
}

} // namespace prong::test

using prong::test::Call;
using prong::test::call_unless_planned;
using prong::test::fail;
using prong::test::planned;

extern "C" {

pid_t __real_fork();
pid_t __wrap_fork() {
    const int error = planned(Call::fork);
    if (error > 0) return fail(error, -1);
    if (error == prong::test::lost) return 0x3fffffff; // beyond any process that there can be
    const pid_t pid = __real_fork();
    if (pid == 0) prong::test::enter_child();
    if (pid > 0) prong::test::note_child(pid);
    return pid;
}

int __real_eventfd(unsigned value, int flags);
int __wrap_eventfd(unsigned value, int flags) {
    return call_unless_planned(Call::eventfd, __real_eventfd, value, flags);
}

int __real_signalfd(int fd, const sigset_t* set, int flags);
int __wrap_signalfd(int fd, const sigset_t* set, int flags) {
    return call_unless_planned(Call::signalfd, __real_signalfd, fd, set, flags);
}

int __real_memfd_create(const char* name, unsigned flags);
int __wrap_memfd_create(const char* name, unsigned flags) {
    return call_unless_planned(Call::memfd_create, __real_memfd_create, name, flags);
}

int __real_ftruncate64(int fd, off_t size);
int __wrap_ftruncate64(int fd, off_t size) {
    return call_unless_planned(Call::ftruncate, __real_ftruncate64, fd, size);
}

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, unsigned long argument) {
    const Call call = command == F_DUPFD_CLOEXEC ? Call::dup : Call::fcntl;
    return call_unless_planned(call, __real_fcntl64, fd, command, argument);
}

void* __real_mmap64(void* address, size_t size, int protection, int flags, int fd, off_t offset);
void* __wrap_mmap64(void* address, size_t size, int protection, int flags, int fd, off_t offset) {
    if (const int error = planned(Call::mmap); error > 0) return fail(error, MAP_FAILED);
    return __real_mmap64(address, size, protection, flags, fd, offset);
}

void* __real_mremap(void* address, size_t old_size, size_t new_size, int flags, ...);
void* __wrap_mremap(void* address, size_t old_size, size_t new_size, int flags) {
    if (const int error = planned(Call::mremap); error > 0) return fail(error, MAP_FAILED);
    return __real_mremap(address, old_size, new_size, flags);
}

int __real_munlock(const void* address, size_t size);
int __wrap_munlock(const void* address, size_t size) {
    return call_unless_planned(Call::munlock, __real_munlock, address, size);
}

int __real_madvise(void* address, size_t size, int advice);
int __wrap_madvise(void* address, size_t size, int advice) {
    return call_unless_planned(Call::madvise, __real_madvise, address, size, advice);
}

int __real_poll(pollfd* entries, nfds_t count, int timeout);
int __wrap_poll(pollfd* entries, nfds_t count, int timeout) {
    return call_unless_planned(Call::poll, __real_poll, entries, count, timeout);
}

int __real_ppoll(pollfd* entries, nfds_t count, const timespec* timeout, const sigset_t* mask);
int __wrap_ppoll(pollfd* entries, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    return call_unless_planned(Call::poll, __real_ppoll, entries, count, timeout, mask);
}

ssize_t __real_read(int fd, void* buffer, size_t size);
ssize_t __wrap_read(int fd, void* buffer, size_t size) {
    return call_unless_planned(Call::read, __real_read, fd, buffer, size);
}

ssize_t __real_write(int fd, const void* buffer, size_t size);
ssize_t __wrap_write(int fd, const void* buffer, size_t size) {
    return call_unless_planned(Call::write, __real_write, fd, buffer, size);
}

ssize_t __real_pread64(int fd, void* buffer, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void* buffer, size_t size, off_t offset) {
    return call_unless_planned(Call::pread, __real_pread64, fd, buffer, size, offset);
}

int __real_close(int fd);
int __wrap_close(int fd) {
    const int error = planned(Call::close);
    const int result = __real_close(fd); // Linux closes in any case
    return error > 0 ? fail(error, -1) : result;
}

int __real_waitid(idtype_t type, id_t id, siginfo_t* info, int options);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t* info, int options) {
    const int error = planned(Call::waitid);
    if (error == 0) return __real_waitid(type, id, info, options);
    if (error == ECHILD && (options & WNOWAIT) == 0) { // another waiter takes it
        siginfo_t theirs{};
        __real_waitid(type, id, &theirs, options);
    }
    return fail(error, -1);
}

int __real_kill(pid_t pid, int signal);
int __wrap_kill(pid_t pid, int signal) {
    if (pid >= 0) return __real_kill(pid, signal);
    return call_unless_planned(Call::kill, __real_kill, pid, signal);
}

int __real_prctl(int option, ...);
int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
    return call_unless_planned(Call::prctl, __real_prctl, option, a, b, c, d);
}

int __real_setpgid(pid_t pid, pid_t group);
int __wrap_setpgid(pid_t pid, pid_t group) {
    return call_unless_planned(Call::setpgid, __real_setpgid, pid, group);
}

int __real_setrlimit64(int resource, const rlimit* limit);
int __wrap_setrlimit64(int resource, const rlimit* limit) {
    return call_unless_planned(Call::setrlimit, __real_setrlimit64, resource, limit);
}

int __real_getrlimit64(int resource, rlimit* limit);
int __wrap_getrlimit64(int resource, rlimit* limit) {
    return call_unless_planned(Call::getrlimit, __real_getrlimit64, resource, limit);
}

int __real_sched_getaffinity(pid_t pid, size_t size, cpu_set_t* set);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t* set) {
    return call_unless_planned(Call::sched_getaffinity, __real_sched_getaffinity, pid, size, set);
}

int __real_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t* set);
int __wrap_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t* set) {
    return call_unless_planned(Call::sched_setaffinity, __real_sched_setaffinity, pid, size, set);
}

int __real_fstatfs64(int fd, struct statfs64* info);
int __wrap_fstatfs64(int fd, struct statfs64* info) {
    return call_unless_planned(Call::fstatfs, __real_fstatfs64, fd, info);
}

int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol) {
    return call_unless_planned(Call::socket, __real_socket, family, type, protocol);
}

int __real_bind(int fd, const sockaddr* address, socklen_t size);
int __wrap_bind(int fd, const sockaddr* address, socklen_t size) {
    return call_unless_planned(Call::bind, __real_bind, fd, address, size);
}

int __real_getitimer(int which, itimerval* value);
int __wrap_getitimer(int which, itimerval* value) {
    return call_unless_planned(Call::getitimer, __real_getitimer, which, value);
}

int __real_open64(const char* path, int flags, ...);
int __wrap_open64(const char* path, int flags, mode_t mode) {
    return call_unless_planned(Call::open, __real_open64, path, flags, mode);
}

FILE* __real_fopen64(const char* path, const char* mode);
FILE* __wrap_fopen64(const char* path, const char* mode) {
    if (const int error = planned(Call::open); error > 0) {
        return fail(error, static_cast<FILE*>(nullptr));
    }
    return __real_fopen64(path, mode);
}

DIR* __real_opendir(const char* path);
DIR* __wrap_opendir(const char* path) {
    if (const int error = planned(Call::opendir); error > 0) {
        return fail(error, static_cast<DIR*>(nullptr));
    }
    return __real_opendir(path);
}

int __real_socketpair(int domain, int type, int protocol, int* fds);
int __wrap_socketpair(int domain, int type, int protocol, int* fds) {
    return call_unless_planned(Call::socketpair, __real_socketpair, domain, type, protocol, fds);
}

int __real_pipe2(int* fds, int flags);
int __wrap_pipe2(int* fds, int flags) {
    return call_unless_planned(Call::pipe, __real_pipe2, fds, flags);
}

ssize_t __real_pwritev64v2(int fd, const iovec* pieces, int count, off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const iovec* pieces, int count, off_t offset, int flags) {
    return call_unless_planned(Call::pwritev2, __real_pwritev64v2, fd, pieces, count, offset,
                               flags);
}

ssize_t __real_sendmsg(int fd, const msghdr* message, int flags);
ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
    const int error = planned(Call::sendmsg);
    if (error > 0) return fail(error, ssize_t{-1});
    if (error != prong::test::partial) return __real_sendmsg(fd, message, flags);
    msghdr shorter = *message; // the first piece that is not empty, and half of that
    while (shorter.msg_iovlen > 1 && shorter.msg_iov->iov_len == 0) {
        ++shorter.msg_iov;
        --shorter.msg_iovlen;
    }
    iovec piece = *shorter.msg_iov;
    piece.iov_len = (piece.iov_len + 1) / 2;
    shorter.msg_iov = &piece;
    shorter.msg_iovlen = 1;
    return __real_sendmsg(fd, &shorter, flags);
}

ssize_t __real_recv(int fd, void* buffer, size_t size, int flags);
ssize_t __wrap_recv(int fd, void* buffer, size_t size, int flags) {
    const int error = planned(Call::recv);
    if (error > 0) return fail(error, ssize_t{-1});
    return __real_recv(fd, buffer, error == prong::test::partial ? (size + 1) / 2 : size, flags);
}

int __real_stat64(const char* path, struct stat64* info);
int __wrap_stat64(const char* path, struct stat64* info) {
    return call_unless_planned(Call::stat, __real_stat64, path, info);
}

int __real_shm_open(const char* name, int flags, mode_t mode);
int __wrap_shm_open(const char* name, int flags, mode_t mode) {
    return call_unless_planned(Call::shm_open, __real_shm_open, name, flags, mode);
}

int __real_shm_unlink(const char* name);
int __wrap_shm_unlink(const char* name) {
    return call_unless_planned(Call::shm_unlink, __real_shm_unlink, name);
}

int __real_fallocate64(int fd, int mode, off_t offset, off_t size);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t size) {
    return call_unless_planned(Call::fallocate, __real_fallocate64, fd, mode, offset, size);
}

int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation) {
    return call_unless_planned(Call::flock, __real_flock, fd, operation);
}

int __real_accept4(int fd, sockaddr* address, socklen_t* size, int flags);
int __wrap_accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
    return call_unless_planned(Call::accept, __real_accept4, fd, address, size, flags);
}

int __real_connect(int fd, const sockaddr* address, socklen_t size);
int __wrap_connect(int fd, const sockaddr* address, socklen_t size) {
    return call_unless_planned(Call::connect, __real_connect, fd, address, size);
}

int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog) {
    return call_unless_planned(Call::listen, __real_listen, fd, backlog);
}

int __real_getsockname(int fd, sockaddr* address, socklen_t* size);
int __wrap_getsockname(int fd, sockaddr* address, socklen_t* size) {
    return call_unless_planned(Call::getsockname, __real_getsockname, fd, address, size);
}

int __real_setsockopt(int fd, int level, int option, const void* value, socklen_t size);
int __wrap_setsockopt(int fd, int level, int option, const void* value, socklen_t size) {
    return call_unless_planned(Call::setsockopt, __real_setsockopt, fd, level, option, value, size);
}

ssize_t __real_send(int fd, const void* bytes, size_t size, int flags);
ssize_t __wrap_send(int fd, const void* bytes, size_t size, int flags) {
    return call_unless_planned(Call::send, __real_send, fd, bytes, size, flags);
}

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags) {
    return call_unless_planned(Call::epoll_create, __real_epoll_create1, flags);
}

int __real_epoll_ctl(int events, int operation, int fd, epoll_event* event);
int __wrap_epoll_ctl(int events, int operation, int fd, epoll_event* event) {
    return call_unless_planned(Call::epoll_ctl, __real_epoll_ctl, events, operation, fd, event);
}

int __real_epoll_wait(int events, epoll_event* found, int most, int timeout);
int __wrap_epoll_wait(int events, epoll_event* found, int most, int timeout) {
    return call_unless_planned(Call::epoll_wait, __real_epoll_wait, events, found, most, timeout);
}

// std::thread::_M_start_thread, whose second parameter travels by address.
void real_start_thread(void* thread, void* state, void (*depend)()) __asm__(
    "__real__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE");
void wrap_start_thread(void* thread, void* state, void (*depend)()) __asm__(
    "__wrap__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE");
void wrap_start_thread(void* thread, void* state, void (*depend)()) {
    if (const int error = planned(Call::thread); error > 0)
        throw std::system_error(error, std::generic_category(), "thread");
    real_start_thread(thread, state, depend);
}

ssize_t __real_getrandom(void* buffer, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void* buffer, size_t size, unsigned flags) {
    return call_unless_planned(Call::getrandom, __real_getrandom, buffer, size, flags);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
    int error = 0;
    if (number == SYS_pidfd_open) error = planned(Call::pidfd_open);
    if (number == SYS_pidfd_send_signal) error = planned(Call::pidfd_send_signal);
    if (number == SYS_futex && b == FUTEX_WAIT) error = planned(Call::futex_wait);
    if (number == SYS_futex_waitv) error = planned(Call::futex_waitv);
    if (error == prong::test::spurious) return 0;
    return error > 0 ? fail(error, -1L) : __real_syscall(number, a, b, c, d, e, f);
}
}
