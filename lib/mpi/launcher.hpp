#pragma once

#include "os/child.hpp"

#include <prong/detail/deadline.hpp>
#include <prong/mpi.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// The program that starts a job: `mpirun` or `srun`.
namespace prong::mpi {

enum class LauncherKind : std::uint8_t { open_mpi, hydra, slurm };

/// Returns the launcher that a text printed by `--version` names.
std::optional<LauncherKind> launcher_kind(const std::string& version);

/// Runs the options' launcher to find out its kind. Throws `Error` if there is none, or if it
/// belongs to another MPI than the one that this library was built with, or `is_unwanted()`.
struct FoundLauncher {
    std::string program;
    LauncherKind kind;
};
FoundLauncher find_launcher(const MpiOptions& options, const std::function<bool()>& is_unwanted);

/// Returns how many ranks serve. Throws `std::invalid_argument`.
int serving_ranks(const MpiOptions& options);

using Variables = std::vector<std::pair<std::string, std::string>>;

/// Returns the command that starts `program` as rank 0 on this machine and as the serving ranks,
/// all with `variables` in their environment.
std::vector<std::string> launch_command(const FoundLauncher& launcher, const MpiOptions& options,
                                        const Variables& variables, const std::string& program);

/// Throws `Error` if the launcher will refuse to run as this user.
void require_permitted_user(LauncherKind kind, const MpiOptions& options);

/// A launcher that runs. It gets SIGTERM, on which it ends the job, when this process ends.
class Launcher {
public:
    /// Throws `std::system_error`.
    Launcher(const std::vector<std::string>& command, const Variables& variables);

    /// Returns how the launcher ended, in words; an empty text while it runs.
    [[nodiscard]] std::string end() const;

    /// Waits for the end until the deadline, then ends the launcher and with it the job.
    void finish(detail::Deadline deadline) noexcept;

private:
    std::string name_;
    os::PidFd process_;
    mutable std::optional<int> exitcode_;
};

} // namespace prong::mpi
