#include "proc/process_state.hpp"

#include <prong/process.hpp>

#include "diag/current_exception.hpp"
#include "os/child.hpp"
#include "os/fork_depth.hpp"
#include "os/fork_safe_mutex.hpp"
#include "os/process.hpp"
#include "os/random.hpp"
#include "os/socket.hpp"
#include "shm/family_memory.hpp"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace prong::proc {
namespace {

constexpr std::size_t authkey_bytes = 32; // as in Python

/// This process, its parent and its children.
struct Family {
    unsigned depth = 0; ///< `os::fork_depth()` of the process that this describes
    StatePtr current;
    StatePtr parent;
    std::vector<StatePtr> children; ///< started and not yet reaped
    unsigned created = 0;           ///< the number of the last child
    bool ends_children_at_exit = false;
};

// Never destroyed: other static objects may still need them.
constinit os::ForkSafeMutex mutex;
constinit Family* the_family = nullptr;
constinit unsigned last_entered = 0; ///< see `entered_at`

void lock_family() {
    const bool is_half_written = mutex.lock();
    if (!is_half_written || the_family == nullptr) return;
    // Only the list of children may be half written: the other members have not changed since the
    // process began.
    auto* const copy = new Family;
    copy->current = the_family->current;
    copy->parent = the_family->parent;
    the_family = copy;
}

void unlock_family() {
    mutex.unlock();
}

class Lock {
public:
    Lock() { lock_family(); }
    ~Lock() { unlock_family(); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
};

void forget_children(Family& family) {
    for (const StatePtr& child : family.children) child->pidfd.reset();
    family.children.clear();
    family.created = 0;
    family.depth = os::fork_depth();
}

/// Returns the family; the caller holds the mutex.
Family& family() {
    if (the_family == nullptr) {
        auto main = std::make_shared<State>();
        main->name = "MainProcess";
        main->pid = getpid();
        auto* const family = new Family;
        family->depth = os::fork_depth();
        family->current = std::move(main);
        the_family = family;
        // A child that another thread forks must find nothing half written.
        pthread_atfork(lock_family, unlock_family, unlock_family);
    }
    if (the_family->depth != os::fork_depth()) { // forked without `start`
        forget_children(*the_family);
        the_family->current->pid = getpid();
    }
    return *the_family;
}

void require_open(const State& state) {
    if (state.closed) throw std::logic_error("prong::Process: used after close()");
}

/// Throws unless this process created the state, so that it is a child once it has been started.
void require_own(const State& state) {
    if (state.home == os::fork_depth() && &state != family().current.get()) return;
    throw std::logic_error("prong::Process: " + state.name +
                           " is not a child of this process, only its parent may do this");
}

void require_started_child(const State& state) {
    require_open(state);
    require_own(state);
    if (!state.pidfd) throw std::logic_error("prong::Process: not started");
}

bool ended(const State& state) {
    return os::wait_for_end(state.pidfd, detail::Deadline::now());
}

/// Reaps a child that has ended, and stores its exit code.
void reap(State& state) {
    if (state.exitcode) return;
    state.exitcode = os::reap(state.pidfd).value_or(Process::unknown_exitcode);
    std::erase_if(family().children, [&](const StatePtr& child) { return child.get() == &state; });
}

void reap_if_ended(State& state) {
    if (!state.exitcode && ended(state)) reap(state);
}

/// Reaps all children that have ended; one system call finds them.
void reap_ended_children() {
    std::vector<StatePtr> children;
    std::vector<int> fds;
    for (const StatePtr& child : family().children) {
        if (!child->pidfd) continue; // another thread is just starting it
        const int fd = child->pidfd.open();
        if (fd < 0) continue; // reaped when its state is queried
        children.push_back(child);
        fds.push_back(fd);
    }
    for (const std::size_t position : os::wait_readable(fds, detail::Deadline::now()))
        reap(*children[position]);
}

/// Marks the process as started by this call, so that no other call starts it.
void claim(const StatePtr& state) {
    const Lock lock;
    require_open(*state);
    require_own(*state);
    if (state->claimed) throw std::logic_error("prong::Process: started twice");
    if (family().current->daemon) {
        throw std::logic_error("prong::Process: a daemon may have no children");
    }
    reap_ended_children();
    if (!std::exchange(family().ends_children_at_exit, true)) std::atexit(end_children);
    family().children.push_back(state);
    state->claimed = true;
}

void unclaim(const StatePtr& state) {
    const Lock lock;
    std::erase(family().children, state);
    state->claimed = false;
}

/// In the child: the process that was current is the parent now.
void enter_child(const StatePtr& state, os::PidFd parent) {
    const Lock lock;
    Family& family = *the_family;
    forget_children(family);
    family.parent = std::exchange(family.current, state);
    family.parent->pidfd = std::move(parent);
    state->pid = getpid();
    last_entered = family.depth;
}

/// Opens a pidfd for a process that is no child; leaves it empty if the process has ended.
void watch(State& state) {
    try {
        state.pidfd = os::PidFd::of(state.pid);
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::no_such_process) throw;
    }
}

/// Runs the child to its end. Nothing may unwind from here into the parent's stack.
[[noreturn]] void live(const StatePtr& state, os::Fork fork,
                       const std::function<void()>& run) noexcept {
    int exitcode = 0;
    try {
        enter_child(state, std::move(fork.process));
        if (state->daemon) os::die_with_parent(parent()->pid);
        os::leave_quietly_on_exit(); // runs last, before the parent's own handlers
        std::atexit(end_children);
        run();
    } catch (...) {
        exitcode = 1;
        os::flush_streams();
        os::write_to_stderr("prong: " + name(*state) + " (pid " + std::to_string(getpid()) +
                            ") ended by an exception: " + diag::text_of_current_exception() + "\n");
    }
    end_children();
    os::exit_process(exitcode);
}

} // namespace

StatePtr create() {
    prepare_authkey();
    const Lock lock;
    Family& family = proc::family();
    auto state = std::make_shared<State>();
    const std::string& ours = family.current->identity;
    state->identity = (ours.empty() ? "Process-" : ours + ":") + std::to_string(++family.created);
    state->name = state->identity;
    state->authkey = family.current->authkey;
    state->daemon = family.current->daemon;
    state->home = family.depth;
    return state;
}

void enter_worker(unsigned worker, pid_t program) {
    const Lock lock;
    Family& family = proc::family();
    auto state = std::make_shared<State>();
    state->identity = "PoolWorker-" + std::to_string(worker);
    state->name = state->identity;
    state->authkey = family.current->authkey;
    state->daemon = family.current->daemon;
    state->pid = getpid();
    family.parent = std::exchange(family.current, std::move(state));
    family.parent->pid = program;
    family.parent->pidfd.reset();
    last_entered = os::fork_depth();
}

void start(const StatePtr& state, const std::function<void()>& run) {
    claim(state);
    os::Fork fork{};
    try {
        shm::FamilyMemory::prepare_fork();
        fork = os::fork_with_pidfd();
    } catch (...) {
        unclaim(state);
        throw;
    }
    if (fork.pid == 0) live(state, std::move(fork), run);
    const Lock lock;
    state->pid = fork.pid;
    state->pidfd = std::move(fork.process);
}

bool wait_for_end(State& state, detail::Deadline deadline) {
    bool is_child = false;
    {
        const Lock lock;
        require_open(state);
        is_child = &state != family().parent.get();
        if (is_child) require_started_child(state);
        if (state.exitcode || !state.pidfd) return true;
    }
    try {
        if (!os::wait_for_end(state.pidfd, deadline)) return false;
    } catch (const std::system_error&) {
        if (!is_child || !deadline.is_never()) throw;
        os::wait_for_end(state.pidfd); // the destructor must not leave a zombie
    }
    const Lock lock;
    if (is_child) reap(state);
    return true;
}

bool is_alive(State& state) {
    const Lock lock;
    if (&state == family().current.get()) return true;
    if (&state == family().parent.get()) return state.pidfd && !ended(state);
    require_open(state);
    require_own(state);
    if (!state.pidfd) return false;
    reap_if_ended(state);
    return !state.exitcode;
}

std::optional<int> exitcode(State& state) {
    const Lock lock;
    require_open(state);
    require_own(state);
    if (state.pidfd) reap_if_ended(state);
    return state.exitcode;
}

std::optional<int> exitcode_of_closed(State& state) {
    const Lock lock;
    require_own(state);
    if (state.pidfd) reap_if_ended(state);
    return state.exitcode;
}

int sentinel(State& state) {
    const Lock lock;
    require_started_child(state);
    return state.pidfd.open();
}

base::UniqueFd copy_pidfd(const State& state) {
    const Lock lock;
    return state.pidfd.copy();
}

void send_signal(State& state, int signal) {
    const Lock lock;
    require_started_child(state);
    if (!state.exitcode) os::send_signal(state.pidfd, signal);
}

void close(State& state) {
    const Lock lock;
    if (state.closed) return;
    require_own(state);
    if (state.pidfd) reap_if_ended(state);
    if (state.claimed && !state.exitcode) {
        throw std::logic_error("prong::Process: close() while it runs; join() it first");
    }
    state.closed = true;
    state.pidfd.reset();
}

bool is_running_child(State& state) noexcept {
    const Lock lock;
    return state.home == os::fork_depth() && state.pidfd && !state.exitcode;
}

pid_t pid(State& state) {
    const Lock lock;
    require_open(state);
    return state.pid;
}

std::string name(State& state) {
    const Lock lock;
    return state.name;
}

void set_name(State& state, std::string name) {
    const Lock lock;
    state.name = std::move(name);
}

bool daemon(State& state) {
    const Lock lock;
    return state.daemon;
}

void set_daemon(State& state, bool daemon) {
    const Lock lock;
    require_open(state);
    require_own(state);
    if (state.claimed) throw std::logic_error("prong::Process: set_daemon() after start()");
    state.daemon = daemon;
}

std::string authkey(State& state) {
    const Lock lock;
    if (state.authkey.empty()) state.authkey = os::random_bytes(authkey_bytes);
    return state.authkey;
}

void set_authkey(State& state, std::string key) {
    const Lock lock;
    require_open(state);
    if (&state != family().current.get()) {
        require_own(state);
        if (state.claimed) throw std::logic_error("prong::Process: set_authkey() after start()");
    }
    state.authkey = std::move(key);
}

void prepare_authkey() noexcept {
    try {
        static_cast<void>(authkey(*current()));
    } catch (...) { // then each process makes a key of its own when it needs one
    }
}

unsigned entered_at() noexcept {
    const Lock lock;
    return last_entered;
}

StatePtr current() {
    const Lock lock;
    return family().current;
}

StatePtr parent() {
    const Lock lock;
    const StatePtr& parent = family().parent;
    if (parent && !parent->pidfd) watch(*parent);
    return parent;
}

std::vector<StatePtr> active_children() {
    const Lock lock;
    reap_ended_children();
    std::vector<StatePtr> started = family().children;
    std::erase_if(started, [](const StatePtr& child) { return !child->pidfd; });
    return started;
}

void end_children() noexcept {
    try {
        std::vector<StatePtr> awaited;
        for (const StatePtr& child : active_children()) {
            try {
                if (child->daemon) send_signal(*child, SIGKILL);
                awaited.push_back(child);
            } catch (const std::system_error&) { // it belongs to another user and may never end
            }
        }
        for (const StatePtr& child : awaited) wait_for_end(*child, detail::Deadline::never());
    } catch (...) { // the process ends in any case
    }
}

} // namespace prong::proc
