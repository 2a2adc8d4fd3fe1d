#include "marks.hpp"

#include "../harness/results.hpp"

namespace bench {

void print_pool_marks(std::ostream& out, const Results& results) {
    const Marks mark(out, results);
    const std::vector<std::string> threads{"asio threads", "oneTBB threads"};
    const std::vector<std::string> python{"CPython ProcessPoolExecutor", "CPython Pool"};
    const auto our = [&](const char* metric, int workers) {
        return results.median({ours, metric, workers});
    };
    const auto limit = [&](const char* metric, int workers) {
        return results.median({limits, metric, workers});
    };
    const auto queue = [&](const char* metric) {
        return results.median({"message_queue processes", metric, 2});
    };
    const auto noop = our("noop_tasks_per_s", 2);
    const auto noop_ratio = ratio(noop, mark.best(threads, "noop_tasks_per_s", 2, true));
    mark.at_least("no-op throughput, 2 workers, against asio's thread pool",
                  ratio(noop, results.median({"asio threads", "noop_tasks_per_s", 2})), 2, "x");
    mark.at_least("no-op throughput, 2 workers, against the best thread pool", noop_ratio, 4, "x");
    mark.at_least("no-op throughput, 2 workers, against the message queues",
                  ratio(noop, queue("noop_tasks_per_s")), 2, "x");
    mark.at_least("no-op throughput, 2 workers, against CPython's executor",
                  ratio(noop, results.median({python[0], "noop_tasks_per_s", 2})), 500, "x");
    mark.at_least("no-op throughput, 2 workers", noop, 4.5e6, "/s");
    mark.at_least("no-op throughput, 16 workers, against its own with 2",
                  ratio(our("noop_tasks_per_s", 16), noop), 0.7, "x");

    const auto asleep = our("round_trip_p50_us", 2);
    const auto python_trip = results.median({python[0], "round_trip_p50_us", 2});
    mark.at_least("round trip, shorter than CPython's executor", ratio(python_trip, asleep), 100,
                  "x");
    mark.at_most("round trip, 1 worker, against two processes spinning",
                 ratio(our("round_trip_p50_us", 1), limit("round_trip_p50_us", 1)), 2, "x");
    mark.at_most("round trip, 1 worker", our("round_trip_p50_us", 1), 0.6, " µs");
    mark.at_most("round trip after 10 ms of idleness, against two futexes",
                 ratio(our("idle_round_trip_p50_us", 2), limit("idle_round_trip_p50_us", 2)), 1.2,
                 "x");

    const auto map = our("map_items_per_s", 2);
    const auto python_map = mark.best(python, "map_items_per_s", 2, true);
    mark.at_least("map, against CPython's executor at its best chunk",
                  ratio(map, results.median({python[0], "map_items_per_s", 2})), 10, "x");
    mark.at_least("map, against the best Python pool at its best chunk", ratio(map, python_map), 30,
                  "x");
    mark.at_least("map, against blocks on asio's thread pool",
                  ratio(map, results.median({"asio threads", "map_items_per_s", 2})), 0.5, "x");
    mark.at_least("map", map, 200e6, " items/s");

    mark.at_most("echo of 64 MiB, against four bare copies",
                 ratio(our("echo_64_mib_ms", 2), limit("echo_64_mib_ms", 2)), 1.2, "x");
    mark.at_most("echo of 64 MiB", our("echo_64_mib_ms", 2), 33, " ms");
    mark.at_most("creation, one task, shutdown, against two bare forks",
                 ratio(our("creation_ms", 2), limit("creation_ms", 2)), 4, "x");
    mark.at_most("creation, one task, shutdown", our("creation_ms", 2), 2, " ms");
    mark.at_least("tasks of 1 ms, 2 workers, use of the cores", our("cpu_share", 2), 0.98, "");
    mark.at_most("an idle pool's use of a CPU", our("idle_cpu_share", 2), 0.001, "");
    if (noop && asleep) {
        out << "  Submitting all before taking the first result (asynchronous) is "
            << short_number(*noop * *asleep * 1e-6) << " times as fast as one at a time "
            << "(synchronous).\n";
    }
}

} // namespace bench
