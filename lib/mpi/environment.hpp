#pragma once

#include <optional>
#include <string>
#include <vector>

/// What the environment says of the job that this process was started for.
namespace prong::mpi {

/// Names the socket at which a relay waits for the stub of the job that it has launched; see
/// `Handover`.
inline constexpr const char* socket_variable = "PRONG_MPI_SOCKET";

/// Lists, separated by colons, all shared objects that the program had loaded.
inline constexpr const char* modules_variable = "PRONG_MPI_MODULES";

/// Limits how long MPI_Init may take in a job that a relay has launched, in ns; unset: no limit.
inline constexpr const char* launch_timeout_variable = "PRONG_MPI_LAUNCH_TIMEOUT";

/// Names the descriptor by which a process speaks to its launcher with PMI-1 and PMI-2.
inline constexpr const char* pmi_variable = "PMI_FD";

/// Returns the value of a variable, if it is set and not empty.
std::optional<std::string> variable(const char* name);

/// Returns the name of this machine.
std::string host_name();

/// Returns the rank for which a launcher has started this process; nothing if none has.
std::optional<int> launched_rank();

/// Returns all variables ("NAME=value") by which a launcher identifies the rank.
std::vector<std::string> launcher_variables();

void set_variables(const std::vector<std::string>& variables);
void unset_variables(const std::vector<std::string>& variables);

} // namespace prong::mpi
