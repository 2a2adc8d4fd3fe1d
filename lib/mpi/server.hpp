#pragma once

#include <prong/timeout.hpp>

namespace prong::mpi {

/// Serves as a rank other than 0: runs the tasks that rank 0 sends in a pool on this machine.
/// Returns the exit status when rank 0 says that it is over, or is not heard any more. Ends the
/// process if MPI_Init takes longer than `launch_timeout`: a launcher that was killed meanwhile may
/// leave it waiting.
int run_server(Timeout launch_timeout);

} // namespace prong::mpi
