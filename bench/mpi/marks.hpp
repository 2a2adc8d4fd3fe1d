#pragma once

#include <ostream>

namespace bench {

class Results;

inline const char* const mpi4py = "mpi4py.futures";
inline const char* const bare_mpi = "bare MPI";

void print_mpi_marks(std::ostream& out, const Results& results);

} // namespace bench
