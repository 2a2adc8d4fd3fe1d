#pragma once

#include "../harness/suite.hpp"
#include "job.hpp"

#include <cstddef>
#include <functional>
#include <optional>

namespace bench {

std::vector<Workload> sync_workloads();

/// Returns the size of the messages of a workload with a queue; nothing for any other workload.
std::optional<std::size_t> message_bytes(const Workload& workload);

/// Returns what the processes do in a workload, of this many processes or pairs of them; nothing
/// if the library has no such thing.
using MakeJob = std::optional<Job> (*)(const Workload& workload, int size);
std::optional<Job> make_prong_job(const Workload& workload, int size);
std::optional<Job> make_pthread_job(const Workload& workload, int size);
std::optional<Job> make_boost_job(const Workload& workload, int size);

/// Operations per second, over about `seconds`, with new objects for each run. Throws if the
/// processes did something else.
Figures measure_rate(const Workload& workload, const std::function<Job()>& make, double seconds);

/// The time from SIGKILL of a lock's holder until a process that waits for the lock has it. Both
/// functions run in processes of their own.
Figures measure_death(const Workload& workload, double seconds, const std::function<void()>& lock,
                      const std::function<void()>& unlock);
Figures measure_prong_death(const Workload& workload, double seconds);
Figures measure_pthread_death(const Workload& workload, double seconds);

/// The time that a manager's call takes.
Figures measure_prong_manager(const Workload& workload, double seconds);

} // namespace bench
