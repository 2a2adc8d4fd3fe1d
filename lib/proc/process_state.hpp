#pragma once

#include "base/fd.hpp"
#include "os/child.hpp"

#include <prong/detail/deadline.hpp>

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace prong::detail {

/// The state of one process, shared by its `Process`, every `ProcessInfo` and the list of active
/// children. One mutex in process_state.cpp guards all fields.
struct ProcessState {
    std::string name;
    /// Its initial name: "Process-2:1" for the first child of the main process's second child. The
    /// names of its children begin with it. "" for the main process.
    std::string identity;
    std::string authkey; ///< "" until it is needed
    bool daemon = false;
    unsigned home = 0;    ///< `os::fork_depth()` of the process that created the object
    bool claimed = false; ///< `start` was called
    bool closed = false;
    pid_t pid = 0;
    /// Valid from `start` to `close`, in the processes that may watch this one. A worker opens one
    /// for the program when it first asks for its parent.
    os::PidFd pidfd;
    std::optional<int> exitcode;
};

} // namespace prong::detail

/// Starts, watches and ends processes, and keeps track of their relations.
///
/// Thread safety: any thread. No function holds the mutex while it waits for a process. `fork` is
/// called with the mutex locked by the forking thread, so a child never finds it locked.
///
/// Process safety: a state is valid in the process that created it. In other processes the
/// functions throw `std::logic_error`, except for the process itself and its parent.
namespace prong::proc {

using State = detail::ProcessState;
using StatePtr = std::shared_ptr<State>;

/// Creates a child that has not been started, named after its number.
StatePtr create();

/// Makes this process a new worker of a pool whose creator is the process `program`, from now on
/// its parent.
void enter_worker(unsigned worker, pid_t program);

/// Forks. The child calls `run` and does not return.
void start(const StatePtr& state, const std::function<void()>& run);

/// Blocks until a child or the parent has ended, and reaps a child. Returns false at the deadline.
bool wait_for_end(State& state, detail::Deadline deadline);

bool is_alive(State& state);
std::optional<int> exitcode(State& state);
/// The same, also after `close`.
std::optional<int> exitcode_of_closed(State& state);
int sentinel(State& state);
/// Returns a copy of the descriptor; an empty one if the process has ended.
base::UniqueFd copy_pidfd(const State& state);

/// Sends a signal to a child that has been started. Does nothing if it has ended.
void send_signal(State& state, int signal);

/// Closes the descriptor of a child that does not run.
void close(State& state);

/// Returns whether `state` is a child of this process that is not known to have ended.
bool is_running_child(State& state) noexcept;

pid_t pid(State& state);
std::string name(State& state);
void set_name(State& state, std::string name);
bool daemon(State& state);
void set_daemon(State& state, bool daemon);

/// Returns the key; the first call makes one for the family.
std::string authkey(State& state);
/// For a child that has not been started, and for this process.
void set_authkey(State& state, std::string key);
/// Makes the key of this process, for what is forked next to inherit.
void prepare_authkey() noexcept;

/// Returns `os::fork_depth()` of the last process, this one or one that it was forked from, that a
/// `Process` or a pool has started; 0 if there is none.
unsigned entered_at() noexcept;

StatePtr current();
StatePtr parent(); ///< Returns null in the main process.
std::vector<StatePtr> active_children();

/// Kills the daemons of this process, then waits for all its children. Called before it exits.
void end_children() noexcept;

} // namespace prong::proc
