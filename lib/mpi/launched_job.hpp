#pragma once

#include "mpi/handover.hpp"
#include "mpi/launcher.hpp"

#include <prong/detail/deadline.hpp>
#include <prong/mpi.hpp>

#include <functional>
#include <string>

namespace prong::mpi {

/// A job that the relay has launched.
class LaunchedJob {
public:
    /// Starts the launcher and takes over rank 0; MPI_Init may follow. Throws `Error` in words if
    /// that fails, does not happen before the deadline, or `is_unwanted()`.
    LaunchedJob(const MpiOptions& options, detail::Deadline deadline,
                const std::function<bool()>& is_unwanted);
    LaunchedJob(const LaunchedJob&) = delete;
    LaunchedJob& operator=(const LaunchedJob&) = delete;
    ~LaunchedJob();

    /// Returns why the job has ended, in words; an empty text while it runs. Costs two system
    /// calls.
    [[nodiscard]] std::string end() const;

    /// Lets rank 0 exit in order, and ends the launcher if it does not end by itself.
    void finish() noexcept;

private:
    Handover handover_;
    FoundLauncher found_;
    Launcher launcher_;
    bool is_finished_ = false;
};

} // namespace prong::mpi
