#pragma once

#include <array>
#include <atomic>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Which system call of which process is to fail, and how.
namespace prong::test {

/// What a process of the program under test is. A `child` is one that a `Process` has started.
enum class Role { parent, supervisor, worker, child };
inline constexpr std::size_t role_count = 4;
std::string_view name_of(Role role);

/// The calls that prong makes and that can fail.
enum class Call {
    fork,
    eventfd,
    signalfd,
    pidfd_open,
    pidfd_send_signal,
    memfd_create,
    ftruncate,
    fcntl,
    mmap,
    mremap,
    munlock,
    madvise,
    futex_wait,
    futex_waitv,
    poll,
    read,
    write,
    close,
    pread,
    dup,
    waitid,
    kill,
    prctl,
    setpgid,
    setrlimit,
    getrlimit,
    sched_getaffinity,
    sched_setaffinity,
    open,
    opendir,
    socketpair,
    socket,
    bind,
    getitimer,
    sendmsg,
    recv,
    getrandom,
    fstatfs,
    stat,
    shm_open,
    shm_unlink,
    fallocate,
    flock,
    accept,
    connect,
    listen,
    getsockname,
    setsockopt,
    send,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    thread,
    pipe,
    pwritev2,
};
inline constexpr std::size_t call_count = 55;
std::string_view name_of(Call call);

// What a call may do beside failing with an errno.
inline constexpr int spurious = -1; ///< returns 0 without having waited
inline constexpr int partial = -2;  ///< transfers half of the bytes
inline constexpr int torn = -3;     ///< transfers half of the bytes, then fails with ENOBUFS
inline constexpr int lost = -4;     ///< does nothing and says that all is well: no kernel does that
std::string name_of_error(int error);

enum class Times {
    once,
    always,      ///< from the nth call on
    alternately, ///< every second call from the nth on, for errors after which a call is repeated
};

struct Plan {
    Role role;
    Call call;
    unsigned nth; ///< counts from 1, over all processes of the role
    int error;
    Times times;
};
/// "supervisor:fork:3:EAGAIN:once"
std::string to_string(const Plan& plan);
std::optional<Plan> parse_plan(std::string_view text);

/// What a program with such a fault may do.
enum class Demand {
    works,    ///< all that it does without the fault
    may_fail, ///< or throw an error that says what happened
};

/// One row of what is tried: these errors of this call in these processes.
struct Fault {
    Call call;
    std::span<const Role> roles;
    std::span<const int> errors;
    Demand once;
    Demand later; ///< when it recurs
    Times times;  ///< how it recurs
};
std::span<const Fault> all_faults();

/// What the processes under test and the harness share.
struct Board {
    Plan plan;
    Role first_child;        ///< the role of what the parent forks
    std::atomic<bool> armed; ///< nothing is counted before and after
    std::array<std::array<std::atomic<unsigned>, call_count>, role_count> calls;
    std::atomic<unsigned> injected;
    std::atomic<unsigned> violation_length;
    std::array<char, 4000> violations;
};

/// The board of this process and all that it has forked.
Board& board();
void clear_board(const std::optional<Plan>& plan);

/// What is on the board of violations.
std::string findings();

/// This process is the parent of the program under test from now on.
void become_parent();

/// What it has forked since.
const std::vector<int>& forked_by_parent();

} // namespace prong::test
