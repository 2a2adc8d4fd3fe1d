#pragma once

#include <prong/detail/deadline.hpp>

#include <sys/types.h>

#include <atomic>

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

/// Decides who becomes rank 0: a relay, or the process that dismisses the ranks. In memory that
/// they share.
class RankZero {
public:
    /// Called by the relay before MPI_Init. Returns false if the ranks are being dismissed.
    bool begin_joining() noexcept;
    /// The relay is rank 0 now.
    void end_joining() noexcept;
    /// Returns whether the caller is to dismiss the ranks. Waits for a relay that is joining, until
    /// it has joined or died, or the time is over.
    bool begin_dismissal(detail::Deadline deadline) noexcept;

private:
    static constexpr pid_t undecided = 0;
    static constexpr pid_t joined = -1;
    static constexpr pid_t dismissed = -2;

    std::atomic<pid_t> state_ = undecided; ///< or the relay that is joining
};

/// Like those of `RankZero`, for this job.
bool begin_joining() noexcept;
void end_joining() noexcept;

/// Becomes rank 0, and tells the others to leave. Returns the exit status.
int run_dismissal();

} // namespace prong::mpi
