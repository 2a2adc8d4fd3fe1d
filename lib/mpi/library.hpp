#pragma once

#include "mpi/launcher.hpp"

namespace prong::mpi {

/// The MPI that this library was built with.
extern const LauncherKind library_kind;

} // namespace prong::mpi
