#pragma once

#include "competitor.hpp"

#include <map>
#include <string>
#include <vector>

namespace bench {

struct Metric {
    std::string id; ///< as in the CSV file
    std::string title;
    std::string unit;
    bool more_is_better;
};

/// What is measured together, in one life of a pool.
struct Workload {
    std::string id;
    std::vector<Metric> metrics;
    std::vector<int> workers; ///< pool sizes
};

const std::vector<Workload>& workloads();

using Figures = std::map<std::string, double>; // by the metric's id

/// Runs a workload for about `seconds`, after a check of the answers. Throws if one is wrong.
Figures measure(MakeCompetitor make, const Workload& workload, int workers, double seconds);

/// The same by CPython: `pool` is ProcessPoolExecutor or Pool.
Figures measure_python(const std::string& script, const std::string& pool, const Workload& workload,
                       int workers, double seconds);

/// What the hardware allows two processes without any pool: limits.cpp.
Figures measure_limits(const Workload& workload, int workers, double seconds);

/// The CPU time that the workers of an idle pool use, as a share of one CPU.
double idle_cpu_share(MakeCompetitor make, double seconds);

int available_cpus();

} // namespace bench
