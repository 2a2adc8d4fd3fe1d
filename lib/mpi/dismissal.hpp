#pragma once

/// The end of a job that the launcher has started, and that the program has not used: the other
/// ranks wait for rank 0 in MPI_Init, and the launcher for them.
namespace prong::mpi {

/// Names the process that dismisses the ranks in place of the program.
inline constexpr const char* dismissal_variable = "PRONG_MPI_DISMISSAL";

/// Is set in the program that the launcher has started as rank 0, and so in all that it starts.
inline constexpr const char* program_variable = "PRONG_MPI_PROGRAM";

/// Arranges that the other ranks are dismissed when this program exits, unless its pool has joined
/// the job. (If a signal ends it, the launcher ends them.) Does nothing in programs that it starts,
/// nor when it is called again.
void dismiss_ranks_at_exit();

/// This process of the program is about to call MPI_Init, and to join the job as rank 0.
void begin_joining() noexcept;
/// It has joined.
void end_joining() noexcept;

/// Becomes rank 0, and tells the others to leave. Returns the exit status.
int run_dismissal();

} // namespace prong::mpi
