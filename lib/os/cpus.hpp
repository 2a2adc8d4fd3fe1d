#pragma once

#include <sched.h>

namespace prong::os {

/// The CPUs that this process may use, whichever thread asks: those of all its threads together.
/// A runtime that pins each thread to a CPU at the start (OpenMP with OMP_PROC_BIND or
/// GOMP_CPU_AFFINITY) leaves no trace of what the process was given before it has started its
/// threads; then those of the cpuset cgroup. Empty if none can be told: a machine with more than
/// 1,024 CPUs.
cpu_set_t process_cpus();

/// How many workers suit them: their number, cut to the CPU quota of the cgroup, at least 1.
unsigned available_cpus();

/// The CPUs of the machine that are online, at least 1.
unsigned online_cpus() noexcept;

} // namespace prong::os
