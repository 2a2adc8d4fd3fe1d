#pragma once

#include "../harness/suite.hpp"
#include "competitor.hpp"

namespace bench {

/// Runs a workload for about `seconds`, after a check of the answers. Throws if one is wrong.
Figures measure(MakeCompetitor make, const Workload& workload, int workers, double seconds);

/// What the hardware allows two processes without any pool: limits.cpp.
Figures measure_limits(const Workload& workload, int workers, double seconds);

} // namespace bench
