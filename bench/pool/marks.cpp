#include "marks.hpp"

#include "../harness/results.hpp"

namespace bench {

void print_pool_marks(std::ostream& out, const Results& results) {
    const Marks mark(out, results);
    const std::vector<std::string> threads{"asio threads", "oneTBB threads"};
    const std::string queue = "message_queue processes";
    const std::string python = "CPython ProcessPoolExecutor";
    const auto of = [&](const std::string& competitor, const std::string& metric, int size) {
        return results.median({competitor, metric, size});
    };
    const auto our = [&](const std::string& metric, int size) { return of(ours, metric, size); };
    const auto against = [&](const std::string& other, const std::string& metric, int size) {
        return ratio(our(metric, size), of(other, metric, size));
    };
    const auto against_threads = [&](const std::string& metric, int size, bool more_is_better) {
        return ratio(our(metric, size), mark.best(threads, metric, size, more_is_better));
    };
    const auto sizes = [&](const std::string& metric, int size, int other) {
        return ratio(our(metric, size), our(metric, other));
    };

    const std::string noop = "noop_tasks_per_s";
    mark.at_least("no-op, 1 worker, of the hardware's floor", against(limits, noop, 1), 0.4);
    mark.at_least("no-op, 2 workers, of the best thread pool", against_threads(noop, 2, true), 5);
    mark.at_least("no-op, 2 workers, of message_queue processes", against(queue, noop, 2), 5);
    mark.at_least("no-op, 2 workers, of CPython's executor", against(python, noop, 2), 1'000);
    mark.at_least("no-op, 2 workers, of 1", sizes(noop, 2, 1), 0.85);
    mark.at_least("no-op, 64 workers, of 2", sizes(noop, 64, 2), 0.85);

    mark.at_most("round trip, 1 worker, p50, of the floor", against(limits, "round_trip_p50_us", 1),
                 3);
    mark.at_most("round trip, 1 worker, p99, of the floor", against(limits, "round_trip_p99_us", 1),
                 3);
    mark.at_most("round trip after 10 ms of idleness, p50, of two futexes",
                 against(limits, "idle_round_trip_p50_us", 2), 1.2);
    mark.at_most("round trip after 10 ms of idleness, p99, of two futexes",
                 against(limits, "idle_round_trip_p99_us", 2), 3);

    mark.at_least("map by function pointer, of message_queue's blocks",
                  against(queue, "map_items_per_s", 2), 0.7);
    mark.at_least("map by lambda, of a thread pool's blocks",
                  against("asio threads", "map_lambda_items_per_s", 2), 0.4);
    mark.at_least("map by function pointer, of CPython's at its best chunk",
                  against(python, "map_items_per_s", 2), 50);

    constexpr int mib = 1 << 20;
    mark.at_most("echo of 64 MiB by copies, of the best thread pool",
                 against_threads("echo_us", 64 * mib, false), 1);
    mark.at_most("echo of 64 MiB in place", our("in_place_us", 64 * mib), 2'000, " µs");
    mark.at_most("result of 64 MiB as a view", our("view_us", 64 * mib), 5'000, " µs");
    mark.at_most("result of 64 MiB, of memset and two warm copies",
                 against(limits, "result_us", 64 * mib), 2);
    for (const std::string name : {"echo", "result"}) {
        for (const int size : {200, 1024}) {
            const auto factor = sizes(name + "_us", size * mib, 64 * mib);
            mark.at_most(name + " of " + size_text("bytes", size * mib) + " per byte, of 64 MiB",
                         ratio(factor, size / 64.0), 1.2);
        }
    }

    mark.at_most("as_completed, CPU time a task, 40,000 pending of 1,000",
                 sizes("as_completed_us", 40'000, 1'000), 1.2);
    mark.at_most("as_completed, delay, 40,000 pending of 1,000",
                 sizes("as_completed_delay_us", 40'000, 1'000), 1.2);
    mark.at_most("as_completed of no-op tasks, CPU time a task, 40,000 pending",
                 our("as_completed_fast_us", 40'000), 3, " µs");
    mark.at_most("creation, one task, shutdown, of two bare forks",
                 against(limits, "creation_ms", 10), 3.5);
    mark.at_most("memory 3 s after a flood of 1,000,000 tasks", our("flood_tasks_mib", 4'096), 64,
                 " MiB");
    mark.at_most("memory 3 s after a flood of 4 GiB of payload", our("flood_payload_mib", 4'096),
                 64, " MiB");
}

} // namespace bench
