#pragma once

#include <sched.h>

namespace prong::os {

/// The CPUs that this process may use, whichever thread asks: those of all its threads together.
/// OpenMP may have pinned the only thread to one CPU before the program began (OMP_PROC_BIND,
/// OMP_PLACES, GOMP_CPU_AFFINITY), and knows that there were more: then those of the cpuset cgroup.
/// Empty if none can be told: a machine with more than 1,024 CPUs.
cpu_set_t process_cpus();

/// How many workers suit them: their number, cut to the CPU quota of the cgroup, at least 1.
unsigned available_cpus();

/// The CPUs of the machine that are online, at least 1.
unsigned online_cpus() noexcept;

} // namespace prong::os
