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
        {"idle", {{"idle_cpu_share", "an idle pool's use of a CPU", "of 1", false}}, {2}},
    };
}

Entry in_process(std::string name, MakeCompetitor make) {
    return {std::move(name), [make](const Workload& workload, int workers, double seconds) {
                return isolated_figures([&] { return measure(make, workload, workers, seconds); });
            }};
}

/// Only prong's pool promises to use no CPU while it is idle.
Entry without_idleness(Entry entry) {
    return {entry.name, [entry](const Workload& workload, int workers, double seconds) {
                if (workload.id == "idle") return Figures{};
                return entry.measure(workload, workers, seconds);
            }};
}

Suite make_suite(const std::string& script) {
    Suite suite{.title = "Ways to run tasks",
                .size_name = "workers",
                .workloads = workloads(),
                .entries = {in_process(ours, make_prong)},
                .print_marks = print_pool_marks};
    for (Entry& entry :
         std::vector{in_process("asio threads", make_asio), in_process("oneTBB threads", make_tbb),
                     in_process("message_queue processes", make_message_queue),
                     in_process("fork per task", make_fork_per_task)})
        suite.entries.push_back(without_idleness(std::move(entry)));
    for (const std::string pool : {"ProcessPoolExecutor", "Pool"}) {
        if (script.empty()) continue;
        suite.entries.push_back(without_idleness(
            {"CPython " + pool, [=](const Workload& workload, int workers, double seconds) {
                 return run_python(
                     script, {pool, workload.id, std::to_string(workers), std::to_string(seconds)});
             }}));
    }
    suite.entries.push_back({limits, [](const Workload& workload, int workers, double seconds) {
                                 return isolated_figures(
                                     [&] { return measure_limits(workload, workers, seconds); });
                             }});
    return suite;
}

} // namespace

int main(int argc, char** argv) {
    return run_suite(argc, argv, make_suite);
}
