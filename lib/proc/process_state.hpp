#pragma once

#include "base/deadline.hpp"
#include "base/fd.hpp"

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace prong::detail {

/// What is known of one process: shared by its `Process`, every `ProcessInfo` and the list of
/// active children. All fields are guarded by the one mutex of process_state.cpp.
struct ProcessState {
    std::string name;
    /// Its first name, "Process-2:1" for the first child of the main process's second; what its
    /// children's names begin with. "" for the main process.
    std::string identity;
    bool daemon = false;
    unsigned home = 0;    ///< `os::fork_depth()` of the process that created the object
    bool claimed = false; ///< `start` was called
    bool closed = false;
    pid_t pid = 0;
    /// From `start` to `close`, in the processes that may watch this one. A worker has one for the
    /// program when it first asks for its parent.
    base::UniqueFd pidfd;
    std::optional<int> exitcode;
};

} // namespace prong::detail

/// Processes that are started, watched and ended, and the family that they form.
///
/// Thread safety: every function may be called by any thread. The mutex is never held while waiting
/// for a process, and is held by whoever calls `fork`; a child never finds it locked.
///
/// Process safety: a state is good in the process that created it; in another one, unless that is
/// the process itself or its child, the functions throw `std::logic_error`.
namespace prong::proc {

using State = detail::ProcessState;
using StatePtr = std::shared_ptr<State>;

/// A child of this process that has not been started, named after its number.
StatePtr create();

/// In a new worker of a pool that the process `program` has made, which is its parent from now on.
void enter_worker(unsigned worker, pid_t program);

/// Forks. The child calls `run` and never returns from here.
void start(const StatePtr& state, const std::function<void()>& run);

/// Waits for the end of a child or of the parent, and collects a child. False: it has not ended.
bool wait_for_end(State& state, base::Deadline deadline);

bool is_alive(State& state);
std::optional<int> exitcode(State& state);
int sentinel(State& state);

/// To a child that has been started; no error if it has ended.
void send_signal(State& state, int signal);

/// Gives up the descriptor of a child that does not run.
void close(State& state);

/// Whether `state` is a child of this process that has not been seen to end.
bool is_running_child(State& state) noexcept;

pid_t pid(State& state);
std::string name(State& state);
void set_name(State& state, std::string name);
bool daemon(State& state);
void set_daemon(State& state, bool daemon);

StatePtr current();
StatePtr parent(); ///< null in the main process
std::vector<StatePtr> active_children();

/// What a process does before it ends: kills its daemons, then waits for all its children.
void end_children() noexcept;

} // namespace prong::proc
