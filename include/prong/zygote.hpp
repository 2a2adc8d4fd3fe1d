#pragma once

#include <prong/detail/export.hpp>
#include <prong/inherit.hpp>

namespace prong {

/// Forks the zygote: a process that does nothing but wait, and from which the workers of all pools
/// made later are forked. Then a pool may be made at any time and by any thread, however busy the
/// program is: no lock that a thread holds at that moment can stay locked in a worker. It is also
/// cheaper where the program has grown large.
///
///     int main() {
///         prong::start_zygote(); // first of all
///         ...
///     }
/// Call it while the process is single-threaded, after initialising whatever workers should
/// inherit; in a daemon, after it has gone into the background. Does nothing while the zygote is
/// alive. The zygote keeps the descriptors that `inherit` says, for as long as it lives: pass
/// `Inherit::standard_only` if pipes, locked files or tools are open already. Default: all but
/// network sockets. Throws `std::logic_error` if there are other threads, `std::invalid_argument`
/// for descriptors that are not open, `std::system_error` when the system refuses descriptors or
/// processes.
///
/// Workers of later pools see the program as it is at the call: memory, environment, working
/// directory, limits, open files (not network sockets), exceptions registered. **Tasks run as the
/// user of this call**, even after the program has given up its rights, unless
/// `PoolOptions::initializer` gives them up in each worker. So
///
/// - a function whose module (shared object) is loaded after it is refused by `submit` and `map`;
/// - the hooks (`PoolOptions::initializer`, `on_worker_start`, `on_worker_exit`) must be
///   functions or lambdas without captures, with their arguments if there are any (`WorkerHook`),
///   else the pool's constructor throws `std::invalid_argument`;
/// - what is later put into global variables must be passed as an argument, or loaded by the
///   initializer.
/// The zygote ends with this process, however that ends. If it is killed, or this process closes
/// the descriptor that leads to it, existing pools go on, and making another one throws
/// `prong::Error` until this is called again. A process forked from this one has no zygote unless
/// it starts its own.
PRONG_API void start_zygote(const Inherit& inherit = Inherit::all_but_network);

} // namespace prong
