#include "marks.hpp"

#include "../harness/results.hpp"

namespace bench {

void print_mpi_marks(std::ostream& out, const Results& results) {
    const Marks marks(out, results);
    const auto more_than = [&](const std::string& metric, int size) {
        return ratio(results.median({ours, metric, size}), results.median({mpi4py, metric, size}));
    };
    const auto shorter_than = [&](const std::string& metric, int size) {
        return ratio(results.median({mpi4py, metric, size}), results.median({ours, metric, size}));
    };
    marks.at_least("no-op tasks, against mpi4py", more_than("noop_per_s", 2), 100, "x");
    marks.at_least("one task, shorter than mpi4py's", shorter_than("round_trip_us", 2), 10, "x");
    marks.at_least("one task after 10 ms, shorter than mpi4py's",
                   shorter_than("idle_round_trip_us", 2), 5, "x");
    marks.at_least("map, against mpi4py's with its best chunks", more_than("map_per_s", 2), 5, "x");
    marks.at_most("echo of 64 MiB, against bare MPI",
                  ratio(results.median({ours, "echo_ms", 64 << 20}),
                        results.median({bare_mpi, "echo_ms", 64 << 20})),
                  1.5, "x");
    marks.at_least("tasks of 1 ms: useful share of the cores",
                   results.median({ours, "cpu_share", 2}), 0.95);
    marks.at_most("CPU time of an idle rank", results.median({ours, "idle_share", 2}), 0.03,
                  " cores");
}

} // namespace bench
