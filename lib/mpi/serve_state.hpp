#pragma once

namespace prong::mpi {

/// Returns whether the program has called `serve`, so that other ranks of it serve.
bool has_served() noexcept;

/// Returns whether this process serves as another rank, or is a worker there.
bool is_of_other_rank() noexcept;

} // namespace prong::mpi
