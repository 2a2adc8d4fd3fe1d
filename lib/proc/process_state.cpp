#include "proc/process_state.hpp"

#include <prong/process.hpp>

#include "os/child.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"
#include "proc/exception_text.hpp"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace prong::proc {
namespace {

/// This process and its relatives.
struct Family {
    unsigned depth = 0; ///< `os::fork_depth()` of the process that this describes
    StatePtr current;
    StatePtr parent;
    std::vector<StatePtr> children; ///< started and not yet collected
    unsigned created = 0;           ///< gives children their numbers
    bool ends_children_at_exit = false;
};

// Neither has a destructor that runs: other static objects may still need them.
constinit std::mutex mutex;
constinit Family* the_family = nullptr;

using Lock = std::lock_guard<std::mutex>;

// Whoever forks, by whatever call, gives the child a mutex that is free.
[[maybe_unused]] const int lock_around_forks =
    pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });

void forget_children(Family& family) {
    for (const StatePtr& child : family.children) child->pidfd.reset();
    family.children.clear();
    family.created = 0;
    family.depth = os::fork_depth();
}

/// With the mutex held.
Family& family() {
    if (the_family == nullptr) {
        auto main = std::make_shared<State>();
        main->name = "MainProcess";
        main->pid = getpid();
        the_family = new Family;
        the_family->depth = os::fork_depth();
        the_family->current = std::move(main);
    }
    if (the_family->depth != os::fork_depth()) { // somebody called fork() himself
        forget_children(*the_family);
        the_family->current->pid = getpid();
    }
    return *the_family;
}

void require_open(const State& state) {
    if (state.closed) throw std::logic_error("prong::Process: used after close()");
}

/// Created by this process, so that it is our child once it has been started.
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
    return os::wait_for_end(state.pidfd, base::Deadline::now());
}

/// Takes the exit code of a child that has ended.
void collect(State& state) {
    if (state.exitcode) return;
    state.exitcode = os::reap(state.pidfd).value_or(Process::unknown_exitcode);
    std::erase_if(family().children, [&](const StatePtr& child) { return child.get() == &state; });
}

void collect_if_ended(State& state) {
    if (!state.exitcode && ended(state)) collect(state);
}

/// One system call for all of them.
void collect_ended_children() {
    std::vector<StatePtr> children;
    std::vector<int> fds;
    for (const StatePtr& child : family().children) {
        if (!child->pidfd) continue; // another thread is just starting it
        const int fd = child->pidfd.open();
        if (fd < 0) continue; // found out by who asks for it
        children.push_back(child);
        fds.push_back(fd);
    }
    for (const std::size_t position : os::wait_readable(fds, base::Deadline::now()))
        collect(*children[position]);
}

/// Notes that it will be started, by this call only.
void claim(const StatePtr& state) {
    const Lock lock(mutex);
    require_open(*state);
    require_own(*state);
    if (state->claimed) throw std::logic_error("prong::Process: started twice");
    if (family().current->daemon) {
        throw std::logic_error("prong::Process: a daemon may have no children");
    }
    collect_ended_children();
    if (!std::exchange(family().ends_children_at_exit, true)) std::atexit(end_children);
    family().children.push_back(state);
    state->claimed = true;
}

void unclaim(const StatePtr& state) {
    const Lock lock(mutex);
    std::erase(family().children, state);
    state->claimed = false;
}

/// In the child: what was the current process is the parent now.
void enter_child(const StatePtr& state, os::PidFd parent) {
    const Lock lock(mutex);
    Family& family = *the_family;
    forget_children(family);
    family.parent = std::exchange(family.current, state);
    family.parent->pidfd = std::move(parent);
    state->pid = getpid();
}

/// The child's whole life. Nothing may unwind out of here into the parent's stack.
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
        write_to_stderr("prong: " + name(*state) + " (pid " + std::to_string(getpid()) +
                        ") ended by an exception: " + text_of_current_exception() + "\n");
    }
    end_children();
    os::exit_process(exitcode);
}

} // namespace

StatePtr create() {
    const Lock lock(mutex);
    Family& family = proc::family();
    auto state = std::make_shared<State>();
    const std::string& ours = family.current->identity;
    state->identity = (ours.empty() ? "" : ours + ":") + std::to_string(++family.created);
    state->name = "Process-" + state->identity;
    state->daemon = family.current->daemon;
    state->home = family.depth;
    return state;
}

void start(const StatePtr& state, const std::function<void()>& run) {
    claim(state);
    os::Fork fork{};
    try {
        fork = os::fork_with_pidfd();
    } catch (...) {
        unclaim(state);
        throw;
    }
    if (fork.pid == 0) live(state, std::move(fork), run);
    const Lock lock(mutex);
    state->pid = fork.pid;
    state->pidfd = std::move(fork.process);
}

bool wait_for_end(State& state, base::Deadline deadline) {
    bool is_child = false;
    {
        const Lock lock(mutex);
        require_open(state);
        is_child = &state != family().parent.get();
        if (is_child) require_started_child(state);
        if (state.exitcode) return true;
    }
    try {
        if (!os::wait_for_end(state.pidfd, deadline)) return false;
    } catch (const std::system_error&) {
        if (!is_child || !deadline.is_never()) throw;
        os::wait_for_end(state.pidfd); // a destructor must not leave it behind
    }
    const Lock lock(mutex);
    if (is_child) collect(state);
    return true;
}

bool is_alive(State& state) {
    const Lock lock(mutex);
    if (&state == family().current.get()) return true;
    if (&state == family().parent.get()) return !ended(state);
    require_open(state);
    require_own(state);
    if (!state.pidfd) return false;
    collect_if_ended(state);
    return !state.exitcode;
}

std::optional<int> exitcode(State& state) {
    const Lock lock(mutex);
    require_open(state);
    require_own(state);
    if (state.pidfd) collect_if_ended(state);
    return state.exitcode;
}

int sentinel(State& state) {
    const Lock lock(mutex);
    require_started_child(state);
    return state.pidfd.open();
}

void send_signal(State& state, int signal) {
    const Lock lock(mutex);
    require_started_child(state);
    if (!state.exitcode) os::send_signal(state.pidfd, signal);
}

void close(State& state) {
    const Lock lock(mutex);
    if (state.closed) return;
    require_own(state);
    if (state.pidfd) collect_if_ended(state);
    if (state.claimed && !state.exitcode) {
        throw std::logic_error("prong::Process: close() while it runs; join() it first");
    }
    state.closed = true;
    state.pidfd.reset();
}

bool is_running_child(State& state) noexcept {
    const Lock lock(mutex);
    return state.home == os::fork_depth() && state.pidfd && !state.exitcode;
}

pid_t pid(State& state) {
    const Lock lock(mutex);
    require_open(state);
    return state.pid;
}

std::string name(State& state) {
    const Lock lock(mutex);
    return state.name;
}

void set_name(State& state, std::string name) {
    const Lock lock(mutex);
    state.name = std::move(name);
}

bool daemon(State& state) {
    const Lock lock(mutex);
    return state.daemon;
}

void set_daemon(State& state, bool daemon) {
    const Lock lock(mutex);
    require_open(state);
    require_own(state);
    if (state.claimed) throw std::logic_error("prong::Process: set_daemon() after start()");
    state.daemon = daemon;
}

StatePtr current() {
    const Lock lock(mutex);
    return family().current;
}

StatePtr parent() {
    const Lock lock(mutex);
    return family().parent;
}

std::vector<StatePtr> active_children() {
    const Lock lock(mutex);
    collect_ended_children();
    std::vector<StatePtr> started = family().children;
    std::erase_if(started, [](const StatePtr& child) { return !child->pidfd; });
    return started;
}

void end_children() noexcept {
    try {
        const auto children = active_children();
        for (const StatePtr& child : children) {
            if (child->daemon) send_signal(*child, SIGKILL);
        }
        for (const StatePtr& child : children) wait_for_end(*child, base::Deadline::never());
    } catch (...) { // the process ends in any case
    }
}

} // namespace prong::proc
