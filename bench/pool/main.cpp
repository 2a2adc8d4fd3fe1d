// Compares ways to run tasks. README.md says how to read the figures.

#include "../harness/isolated.hpp"
#include "marks.hpp"
#include "measure.hpp"

namespace {

using namespace bench;

std::vector<Workload> workloads() {
    const std::vector<int> sizes{1, 2, 4, 8, 16};
    return {
        {"noop", {{"noop_tasks_per_s", "no-op tasks", "tasks/s", true}}, sizes},
        {"round_trip",
         {{"round_trip_p50_us", "round trip, median", "µs", false},
          {"round_trip_p99_us", "round trip, p99", "µs", false}},
         {1, 2}},
        {"idle_round_trip",
         {{"idle_round_trip_p50_us", "round trip after 10 ms of idleness, median", "µs", false},
          {"idle_round_trip_p99_us", "round trip after 10 ms of idleness, p99", "µs", false}},
         {2}},
        {"cpu", {{"cpu_share", "tasks of 1 ms, use of the cores", "of 1", true}}, sizes},
        {"map", {{"map_items_per_s", "map over 1,000,000 numbers", "items/s", true}}, {2}},
        {"echo_1_mib", {{"echo_1_mib_ms", "echo of 1 MiB", "ms", false}}, {2}},
        {"echo_64_mib", {{"echo_64_mib_ms", "echo of 64 MiB", "ms", false}}, {2}},
        {"creation", {{"creation_ms", "creation, one task, shutdown", "ms", false}}, {2}},
        {"idle", {{"idle_cpu_share", "an idle pool's use of a CPU", "of 1", false}}, {2}, true},
    };
}

Entry in_process(std::string name, MakeCompetitor make) {
    return {std::move(name), [make](const Workload& workload, int workers, double seconds) {
                return isolated_figures([&] { return measure(make, workload, workers, seconds); });
            }};
}

Entry in_python(const std::string& script, const std::string& pool) {
    return {"CPython " + pool,
            [&script, pool](const Workload& workload, int workers, double seconds) {
                return run_python(
                    script, {pool, workload.id, std::to_string(workers), std::to_string(seconds)});
            }};
}

Suite make_suite(const std::string& script) {
    return {.title = "Ways to run tasks",
            .size_name = "workers",
            .workloads = workloads(),
            .entries =
                {
                    in_process(ours, make_prong),
                    in_process("asio threads", make_asio),
                    in_process("oneTBB threads", make_tbb),
                    in_process("message_queue processes", make_message_queue),
                    in_process("fork per task", make_fork_per_task),
                    in_python(script, "ProcessPoolExecutor"),
                    in_python(script, "Pool"),
                    {limits,
                     [](const Workload& workload, int workers, double seconds) {
                         return isolated_figures(
                             [&] { return measure_limits(workload, workers, seconds); });
                     }},
                },
            .print_marks = print_pool_marks};
}

} // namespace

int main(int argc, char** argv) {
    return run_suite(argc, argv, make_suite);
}
