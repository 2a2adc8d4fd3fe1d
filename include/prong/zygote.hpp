#pragma once

#include <prong/detail/export.hpp>
#include <prong/inherit.hpp>

namespace prong {

/// Forks the zygote: an idle process from which the workers of all later pools are forked. Then any
/// thread of a busy program may create a pool at any time: no lock that a thread holds at that
/// moment can stay locked in a worker. Creating a pool is also cheaper in a program that uses much
/// memory.
///
///     int main() {
///         prong::start_zygote(); // before any thread starts
///         ...
///     }
///
/// Call it early in `main`: before any thread starts, but after initialising what workers should
/// inherit. Call it after daemonizing. Does nothing while the zygote is alive. The zygote keeps the
/// descriptors that `inherit` selects as long as it lives: pass `Inherit::standard_only` if pipes,
/// `popen` streams or locked files are open. *Default:* all but network sockets. *Throws*
/// `std::logic_error` if there are other threads, `std::invalid_argument` for descriptors that are
/// not open, `std::system_error` if the system refuses descriptors or processes.
///
/// Workers of later pools see the program as it is at the call: memory, environment, working
/// directory, limits, open files (not network sockets), registered exceptions. **Tasks run as the
/// user of this call**, even after the program drops privileges, unless `PoolOptions::initializer`
/// drops them in each worker. Therefore
///
/// - `submit` and `map` reject a function whose module is loaded later;
/// - the hooks (`PoolOptions::initializer`, `on_worker_start`, `on_worker_exit`) must be functions,
///   lambdas without captures or `with_captures(...)`, with arguments if needed (`WorkerHook`); for
///   others the pool's constructor throws `std::invalid_argument`;
/// - pass later values of global variables as arguments, or load them in the initializer.
///
/// The zygote ends with this process, even after SIGKILL. If it is killed, or this process closes
/// the descriptor that leads to it, existing pools continue. Creating another one then throws
/// `prong::Error` until this function is called again. A process forked from this one has no zygote
/// unless it starts its own.
PRONG_API void start_zygote(const Inherit& inherit = Inherit::all_but_network);

} // namespace prong
