#pragma once

#include "../harness/suite.hpp"

namespace bench {

// Each runs a workload for about `seconds`; no figures if it has no such thing.
Figures measure_prong_loop(const Workload& workload, int size, double seconds);
Figures measure_blocking_get(const Workload& workload, int size, double seconds);
Figures measure_helper_thread(const Workload& workload, int size, double seconds);
Figures measure_thread_pool(const Workload& workload, int size, double seconds);
Figures measure_eventfd(const Workload& workload, int size, double seconds);

} // namespace bench
