#pragma once

#include <prong/detail/export.hpp>

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
///
/// To be called while the program has one thread (`std::logic_error` if there are more), after what
/// the workers shall inherit is there and before anything else starts a thread; in a daemon, after
/// it has gone into the background. A second call does nothing. Throws `std::system_error` when
/// descriptors or processes are not to be had.
///
/// Workers of later pools see the program as it is at the call: memory, environment, working
/// directory, limits, open files (not network sockets), exceptions registered. They run as the user
/// that the program has at the call: a program that gives up its rights later has tasks that keep
/// them, unless `PoolOptions::initializer` gives them up in each worker. So
///
/// - a function whose module (shared object) is loaded after it is refused by `submit` and `map`;
/// - `PoolOptions::initializer` must be a plain function or a lambda without captures;
/// - what is later put into global variables must be passed as an argument, or loaded by the
///   initializer.
///
/// The zygote ends with this process, however that ends. If it is killed, pools that exist go on,
/// and making another one throws `prong::Error` until this is called again. A process forked from
/// this one has no zygote unless it starts its own.
PRONG_API void start_zygote();

} // namespace prong
