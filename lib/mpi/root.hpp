#pragma once

#include "executor/relay/relay_port.hpp"
#include "mpi/wire.hpp"

#include <prong/mpi.hpp>

namespace prong::mpi {

/// Runs the relay of a pool, as rank 0: sends the tasks that it claims to the other ranks, and ends
/// them as these answer. Launches the job first if `launches`. Returns the exit status. Throws
/// `Error` if the job cannot go on.
int run_root(executor::RelayPort& port, const MpiOptions& options, const SentPoolOptions& pool,
             bool launches);

} // namespace prong::mpi
