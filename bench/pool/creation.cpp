// Pools that come and go, in programs of several sizes.

#include "../harness/timing.hpp"
#include "measure.hpp"

namespace bench {

Figures measure_creation(MakeCompetitor make, int mib, double seconds) {
    const std::size_t bytes = static_cast<std::size_t>(mib) << 20;
    if (!has_memory_for(bytes + bytes / 2)) return {};
    const UsedMemory program(bytes);
    const std::vector<double> times = sample(seconds, mib < 1000 ? 5 : 2, [&] {
        const auto pool = make({.workers = two_workers});
        require(pool->call(1) == 2, "the task after creation");
    });
    return {{"creation_ms", quantile(times, 0.5) * 1e3}};
}

} // namespace bench
