#pragma once

/// The end of a job that the launcher has started, and that the program has not used: the other
/// ranks wait for rank 0 in MPI_Init, and the launcher for them.
namespace prong::mpi {

/// Names the process that dismisses the ranks in place of the program.
inline constexpr const char* dismissal_variable = "PRONG_MPI_DISMISSAL";

/// Arranges that the other ranks are dismissed if this program exits with 0 and has not created its
/// pool. (Other exit codes and signals make the launcher end them.)
void dismiss_ranks_at_exit();

/// Becomes rank 0, and tells the others to leave. Returns the exit status.
int run_dismissal();

} // namespace prong::mpi
