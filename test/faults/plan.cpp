#include "faults/plan.hpp"

#include "executor/helpers.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <vector>

namespace prong::test {
namespace {

constexpr std::array<std::string_view, role_count> roles{"parent", "supervisor", "worker", "child"};

constexpr std::array<std::string_view, call_count> calls{"fork",
                                                         "eventfd",
                                                         "signalfd",
                                                         "pidfd_open",
                                                         "pidfd_send_signal",
                                                         "memfd_create",
                                                         "ftruncate",
                                                         "fcntl",
                                                         "mmap",
                                                         "mremap",
                                                         "munlock",
                                                         "madvise",
                                                         "futex_wait",
                                                         "futex_waitv",
                                                         "poll",
                                                         "read",
                                                         "write",
                                                         "close",
                                                         "pread",
                                                         "dup",
                                                         "waitid",
                                                         "kill",
                                                         "prctl",
                                                         "setpgid",
                                                         "setrlimit",
                                                         "getrlimit",
                                                         "sched_getaffinity",
                                                         "sched_setaffinity",
                                                         "open",
                                                         "opendir",
                                                         "socketpair",
                                                         "socket",
                                                         "bind",
                                                         "getitimer",
                                                         "sendmsg",
                                                         "recv",
                                                         "getrandom",
                                                         "fstatfs",
                                                         "stat",
                                                         "shm_open",
                                                         "shm_unlink",
                                                         "fallocate",
                                                         "flock",
                                                         "accept",
                                                         "connect",
                                                         "listen",
                                                         "getsockname",
                                                         "setsockopt",
                                                         "send",
                                                         "epoll_create",
                                                         "epoll_ctl",
                                                         "epoll_wait",
                                                         "thread",
                                                         "pipe",
                                                         "pwritev2"};

constexpr std::array<std::string_view, 3> times{"once", "always", "alternately"};

constexpr Role everybody[] = {Role::parent, Role::supervisor, Role::worker, Role::child};
constexpr Role in_parent[] = {Role::parent};
constexpr Role in_supervisor[] = {Role::supervisor};
constexpr Role in_worker[] = {Role::worker};
constexpr Role in_child[] = {Role::child};
constexpr Role no_pool[] = {Role::parent, Role::child};
constexpr Role all_but_supervisor[] = {Role::parent, Role::worker, Role::child};

constexpr int no_process[] = {EAGAIN, ENOMEM};
constexpr int no_descriptor[] = {EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM};
constexpr int no_memory[] = {ENOMEM, EAGAIN, EPERM};
constexpr int no_file[] = {EACCES, ENOENT, EMFILE};
constexpr int denied[] = {EPERM, EINVAL, ENOSYS};
constexpr int interrupted[] = {EINTR};
constexpr int no_advice[] = {EINVAL, ENOSYS, EOPNOTSUPP, ENOMEM};
constexpr int no_nowait[] = {EOPNOTSUPP, EAGAIN, EBADF};
constexpr int no_wait[] = {EINTR, EAGAIN, ENOSYS, spurious};
constexpr int no_wait_for_many[] = {ENOSYS, EPERM, ENOMEM, EINTR, spurious};
constexpr int no_poll[] = {ENOMEM, EPERM};
constexpr int no_child[] = {ECHILD};
constexpr int no_dup[] = {EMFILE};
constexpr int no_group[] = {ESRCH, EPERM};
constexpr int transfer_again[] = {EINTR, EAGAIN, partial};
constexpr int no_room[] = {ENOSPC, ENOMEM, EFBIG};
constexpr int no_lock[] = {ENOLCK};
constexpr int no_buffer[] = {ENOMEM, ENOBUFS};
constexpr int no_socket[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS};
constexpr int no_client[] = {ECONNABORTED, EINTR, EPROTO, ENETDOWN};
constexpr int no_connection[] = {ENOMEM, ENOBUFS, EACCES, EADDRNOTAVAIL};
constexpr int no_thread[] = {EAGAIN};
constexpr int no_transfer[] = {ENOBUFS, ENOMEM, torn};

// A reservation that fails is repeated, smaller; so one such failure has no effect.
// ECHILD from waitid: another waiter (the host's waitpid(-1)) was faster.
// open: without /proc no process can measure how much memory a task uses.
// kill: of a worker's process group, which may have ended.
constexpr Fault faults[] = {
    {Call::fork, in_parent, no_process, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::fork, in_supervisor, no_process, Demand::works, Demand::may_fail, Times::always},
    {Call::eventfd, in_parent, no_descriptor, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::signalfd, everybody, no_descriptor, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::pidfd_open, in_parent, no_descriptor, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::pidfd_send_signal, everybody, denied, Demand::works, Demand::works, Times::always},
    {Call::memfd_create, in_parent, no_descriptor, Demand::works, Demand::may_fail, Times::always},
    {Call::memfd_create, in_supervisor, no_descriptor, Demand::works, Demand::works, Times::always},
    {Call::ftruncate, in_parent, denied, Demand::works, Demand::may_fail, Times::always},
    {Call::ftruncate, in_worker, denied, Demand::works, Demand::works, Times::always},
    {Call::ftruncate, everybody, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::fcntl, in_parent, denied, Demand::works, Demand::may_fail, Times::always},
    {Call::fcntl, in_supervisor, denied, Demand::works, Demand::works, Times::always},
    {Call::mmap, everybody, no_memory, Demand::works, Demand::may_fail, Times::always},
    {Call::mremap, everybody, no_memory, Demand::works, Demand::may_fail, Times::always},
    {Call::munlock, everybody, no_memory, Demand::works, Demand::works, Times::always},
    {Call::madvise, everybody, no_advice, Demand::works, Demand::works, Times::always},
    {Call::futex_wait, everybody, no_wait, Demand::works, Demand::works, Times::always},
    {Call::futex_waitv, everybody, no_wait_for_many, Demand::works, Demand::works, Times::always},
    {Call::poll, everybody, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::poll, everybody, no_poll, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::read, everybody, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::write, everybody, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::write, in_worker, no_file, Demand::works, Demand::works, Times::always},
    {Call::close, everybody, interrupted, Demand::works, Demand::works, Times::always},
    {Call::pread, everybody, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::dup, everybody, no_dup, Demand::works, Demand::works, Times::always},
    {Call::waitid, everybody, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::waitid, all_but_supervisor, no_child, Demand::works, Demand::works, Times::always},
    {Call::waitid, in_supervisor, no_child, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::kill, everybody, no_group, Demand::works, Demand::works, Times::always},
    {Call::prctl, in_supervisor, denied, Demand::works, Demand::works, Times::always},
    {Call::prctl, in_worker, denied, Demand::works, Demand::may_fail, Times::always},
    {Call::prctl, in_child, denied, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::setpgid, everybody, denied, Demand::works, Demand::works, Times::always},
    {Call::setrlimit, everybody, denied, Demand::works, Demand::works, Times::always},
    {Call::getrlimit, everybody, denied, Demand::works, Demand::works, Times::always},
    {Call::sched_getaffinity, everybody, denied, Demand::works, Demand::works, Times::always},
    {Call::sched_setaffinity, everybody, denied, Demand::works, Demand::works, Times::always},
    // As on kernels where a pidfd does not have its own inode.
    {Call::fstatfs, everybody, denied, Demand::works, Demand::works, Times::always},
    {Call::getrandom, in_worker, denied, Demand::works, Demand::works, Times::always},
    {Call::getrandom, no_pool, denied, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::open, everybody, no_file, Demand::works, Demand::works, Times::alternately},
    {Call::opendir, everybody, no_file, Demand::works, Demand::works, Times::always},
    {Call::pipe, in_parent, no_descriptor, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::pipe, in_supervisor, no_descriptor, Demand::works, Demand::works, Times::always},
    {Call::pwritev2, everybody, no_nowait, Demand::works, Demand::works, Times::always},
    {Call::pwritev2, everybody, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::socketpair, everybody, no_descriptor, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::socket, everybody, no_descriptor, Demand::works, Demand::works, Times::always},
    {Call::bind, everybody, denied, Demand::works, Demand::works, Times::always},
    {Call::getitimer, everybody, denied, Demand::works, Demand::works, Times::always},
    {Call::sendmsg, everybody, transfer_again, Demand::works, Demand::works, Times::alternately},
    {Call::sendmsg, everybody, no_transfer, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::stat, everybody, no_file, Demand::works, Demand::works, Times::always},
    {Call::shm_open, everybody, no_file, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::shm_unlink, everybody, no_file, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::fallocate, everybody, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::fallocate, everybody, no_room, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::flock, everybody, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::flock, everybody, no_lock, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::recv, everybody, transfer_again, Demand::works, Demand::works, Times::alternately},
    {Call::recv, no_pool, no_buffer, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::accept, no_pool, no_client, Demand::works, Demand::works, Times::alternately},
    // What a listener throws; a manager waits until it has a descriptor.
    {Call::accept, in_parent, no_socket, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::accept, in_child, no_socket, Demand::works, Demand::works, Times::alternately},
    {Call::connect, no_pool, no_connection, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::connect, no_pool, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::listen, no_pool, denied, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::getsockname, no_pool, no_memory, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::setsockopt, no_pool, denied, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::send, no_pool, no_buffer, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::epoll_create, no_pool, no_descriptor, Demand::may_fail, Demand::may_fail, Times::always},
    {Call::epoll_ctl, no_pool, no_memory, Demand::may_fail, Demand::may_fail, Times::alternately},
    {Call::epoll_wait, no_pool, interrupted, Demand::works, Demand::works, Times::alternately},
    {Call::thread, in_child, no_thread, Demand::works, Demand::may_fail, Times::always},
};

const Shared<Board> shared_board; // before any test, so not a leak

template <typename Names>
std::optional<std::size_t> position(const Names& names, std::string_view name) {
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) return std::nullopt;
    return static_cast<std::size_t>(found - names.begin());
}

int error_of_name(std::string_view name) {
    for (const int error : {spurious, partial, torn, lost}) {
        if (name_of_error(error) == name) return error;
    }
    for (int error = 1; error < 200; ++error) {
        if (name_of_error(error) == name) return error;
    }
    return 0;
}

std::vector<std::string_view> split(std::string_view text) {
    std::vector<std::string_view> parts;
    for (std::size_t end = text.find(':'); end != std::string_view::npos; end = text.find(':')) {
        parts.push_back(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
    parts.push_back(text);
    return parts;
}

} // namespace

std::string_view name_of(Role role) {
    return roles.at(static_cast<std::size_t>(role));
}

std::string_view name_of(Call call) {
    return calls.at(static_cast<std::size_t>(call));
}

std::string name_of_error(int error) {
    if (error == spurious) return "spurious";
    if (error == partial) return "partial";
    if (error == torn) return "torn";
    if (error == lost) return "lost";
    const char* const name = strerrorname_np(error);
    return name != nullptr ? name : std::to_string(error);
}

std::string to_string(const Plan& plan) {
    return std::string(name_of(plan.role)) + ":" + std::string(name_of(plan.call)) + ":" +
           std::to_string(plan.nth) + ":" + name_of_error(plan.error) + ":" +
           std::string(times.at(static_cast<std::size_t>(plan.times)));
}

std::optional<Plan> parse_plan(std::string_view text) {
    const auto parts = split(text);
    if (parts.size() != 5) return std::nullopt;
    const auto role = position(roles, parts[0]);
    const auto call = position(calls, parts[1]);
    const auto how_often = position(times, parts[4]);
    unsigned nth = 0;
    std::from_chars(parts[2].data(), parts[2].data() + parts[2].size(), nth);
    const int error = error_of_name(parts[3]);
    if (!role || !call || !how_often || nth == 0 || error == 0) return std::nullopt;
    return Plan{.role = static_cast<Role>(*role),
                .call = static_cast<Call>(*call),
                .nth = nth,
                .error = error,
                .times = static_cast<Times>(*how_often)};
}

std::span<const Fault> all_faults() {
    return faults;
}

Board& board() {
    return *shared_board;
}

void clear_board(const std::optional<Plan>& plan) {
    Board& board = test::board();
    board.armed = false;
    board.plan = plan.value_or(Plan{});
    for (auto& row : board.calls) {
        for (auto& count : row) count = 0;
    }
    board.injected = 0;
    board.violation_length = 0;
}

std::string findings() {
    const Board& board = test::board();
    const std::size_t length = board.violation_length;
    return {board.violations.data(), std::min(length, board.violations.size())};
}

} // namespace prong::test
