// Compares ways to run tasks. README.md says how to read the figures.

#include "../harness/isolated.hpp"
#include "marks.hpp"
#include "measure.hpp"

#include <prong/zygote.hpp>

#include <string>
#include <utility>
#include <vector>

namespace {

using namespace bench;

/// A workload for payload of each size. The first time takes longer: its memory is not there yet.
Workload by_bytes(const std::string& id) {
    return {.id = id,
            .metrics = {{id + "_us", id + " of bytes, memory warm", "µs", false},
                        {id + "_first_us", id + " of bytes, first of a pool", "µs", false}},
            .sizes = {1, 1 << 10, 64 << 10, 1 << 20, 64 << 20, 200 << 20},
            .full_sizes = {8 << 10, 256 << 10, 8 << 20, 1 << 30},
            .size_name = "bytes",
            .long_from = 200 << 20,
            .most_if_slow = 64 << 20};
}

std::vector<Workload> workloads() {
    return {
        {.id = "noop",
         .metrics = {{"noop_tasks_per_s", "no-op tasks", "tasks/s", true}},
         .sizes = {1, 2, 16, 64, 200},
         .full_sizes = {4, 8, 32, 128},
         .long_from = 200,
         .most_if_slow = 16},
        {.id = "batch",
         .metrics = {{"batch_tasks_per_s", "no-op tasks by submit_batch", "tasks/s", true}},
         .sizes = {1, 2},
         .is_only_ours = true},
        {.id = "pending",
         .metrics = {{"pending_tasks_per_s", "pending no-op tasks, memory warm", "tasks/s", true},
                     {"pending_first_tasks_per_s", "pending no-op tasks, first of a pool",
                      "tasks/s", true}},
         .sizes = {1'000, 30'000, 1'000'000},
         .full_sizes = {10'000, 100'000, 10'000'000},
         .size_name = "tasks",
         .long_from = 1'000'000,
         .most_if_slow = 1'000},
        {.id = "threads",
         .metrics = {{"threads_tasks_per_s", "no-op tasks of several threads, 1 worker", "tasks/s",
                      true}},
         .sizes = {1, 2, 4},
         .size_name = "threads"},
        {.id = "round_trip",
         .metrics = {{"round_trip_p50_us", "round trip, median", "µs", false},
                     {"round_trip_p99_us", "round trip, p99", "µs", false}},
         .sizes = {1, 2},
         .full_sizes = {64}},
        {.id = "idle_round_trip",
         .metrics = {{"idle_round_trip_p50_us", "round trip after 10 ms of idleness, median", "µs",
                      false},
                     {"idle_round_trip_p99_us", "round trip after 10 ms of idleness, p99", "µs",
                      false}},
         .sizes = {2}},
        {.id = "as_completed",
         .metrics = {{"as_completed_us", "as_completed of tasks of 20 µs, CPU time a task", "µs",
                      false},
                     {"as_completed_delay_us", "from a task's end to as_completed", "µs", false},
                     {"as_completed_fast_us", "as_completed of no-op tasks, CPU time a task", "µs",
                      false},
                     {"wait_us", "wait for no-op tasks, CPU time a task", "µs", false}},
         .sizes = {1'000, 40'000},
         .full_sizes = {200'000},
         .size_name = "tasks",
         .most_if_slow = 1'000},
        {.id = "cpu",
         .metrics = {{"cpu_share", "tasks of 1 ms, use of the cores", "of 1", true}},
         .sizes = {2},
         .full_sizes = {1, 4, 8, 16}},
        {.id = "map",
         .metrics = {{"map_items_per_s", "map over 1,000,000 numbers, function pointer", "items/s",
                      true},
                     {"map_lambda_items_per_s", "map over 1,000,000 numbers, lambda", "items/s",
                      true}},
         .sizes = {2}},
        by_bytes("echo"),
        by_bytes("result"),
        {.id = "in_place",
         .metrics = {{"in_place_us", "echo of a SharedBuffer", "µs", false},
                     {"view_us", "result of bytes as a view", "µs", false}},
         .sizes = {1, 64 << 20, 200 << 20},
         .full_sizes = {1 << 10, 1 << 20, 1 << 30},
         .size_name = "bytes",
         .is_only_ours = true,
         .long_from = 200 << 20},
        {.id = "creation",
         .metrics = {{"creation_ms", "creation, one task, shutdown", "ms", false}},
         .sizes = {10, 100, 1'000},
         .full_sizes = {4'000},
         .size_name = "MiB in use",
         .long_from = 1'000,
         .most_if_slow = 10},
        {.id = "idle",
         .metrics = {{"idle_cpu_share", "an idle pool's use of a CPU", "of 1", false}},
         .sizes = {2},
         .is_only_ours = true,
         .long_from = 0},
        {.id = "flood",
         .metrics = {{"flood_tasks_mib", "memory 3 s after a flood of 1,000,000 tasks", "MiB",
                      false},
                     {"flood_payload_mib", "memory 3 s after a flood of payload", "MiB", false}},
         .sizes = {4'096},
         .size_name = "MiB of payload",
         .is_only_ours = true,
         .long_from = 0},
    };
}

Figures measure_prong(const Workload& workload, int size, double seconds) {
    if (workload.id == "as_completed") return measure_as_completed(size, seconds);
    if (workload.id == "idle") return measure_idleness(size, seconds);
    if (workload.id == "flood") return measure_flood(size);
    if (workload.id == "in_place") return measure_in_place(size, seconds);
    return measure(make_prong, workload, size, seconds);
}

Figures measure_with_zygote(const Workload& workload, int size, double seconds) {
    if (workload.id != "creation") return {};
    prong::start_zygote();
    return measure(make_prong, workload, size, seconds);
}

Entry in_process(std::string name, Figures (*measure)(const Workload&, int, double)) {
    return {std::move(name), [measure](const Workload& workload, int size, double seconds) {
                return isolated_figures([&] { return measure(workload, size, seconds); });
            }};
}

template <MakeCompetitor make>
Figures measure_other(const Workload& workload, int size, double seconds) {
    return measure(make, workload, size, seconds);
}

Entry in_python(const std::string& script, const std::string& pool) {
    return {"CPython " + pool,
            [&script, pool](const Workload& workload, int size, double seconds) {
                return run_python(
                    script, {pool, workload.id, std::to_string(size), std::to_string(seconds)});
            },
            true};
}

Suite make_suite(const std::string& script) {
    Suite suite{.title = "Ways to run tasks",
                .size_name = "workers",
                .workloads = workloads(),
                .entries =
                    {
                        in_process(ours, measure_prong),
                        in_process("prong with a zygote", measure_with_zygote),
                        in_process("asio threads", measure_other<make_asio>),
                        in_process("oneTBB threads", measure_other<make_tbb>),
                        in_process("message_queue processes", measure_other<make_message_queue>),
                        in_process("fork per task", measure_other<make_fork_per_task>),
                        in_python(script, "ProcessPoolExecutor"),
                        in_python(script, "Pool"),
                        in_process(limits, measure_limits),
                    },
                .print_marks = print_pool_marks};
    suite.entries[5].is_slow = true;
    return suite;
}

} // namespace

int main(int argc, char** argv) {
    return run_suite(argc, argv, make_suite);
}
