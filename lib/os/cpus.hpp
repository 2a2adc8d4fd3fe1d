#pragma once

#include <sched.h>

namespace prong::os {

/// Returns the CPUs that this process may use, whichever thread calls: the union over all its
/// threads. If OpenMP has pinned the only thread to one CPU before `main` (OMP_PROC_BIND,
/// OMP_PLACES, GOMP_CPU_AFFINITY) and knows that there were more, returns the CPUs of the cpuset
/// cgroup. Returns an empty set if they cannot be determined: a machine with more than 1,024 CPUs.
cpu_set_t process_cpus();

/// Returns the default number of workers: the number of these CPUs, limited to the CPU quota of the
/// cgroup; at least 1.
unsigned available_cpus();

/// Returns the number of CPUs that are online; at least 1.
unsigned online_cpus() noexcept;

} // namespace prong::os
