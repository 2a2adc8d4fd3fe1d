// Compares ways to await tasks in an event loop. README.md says how to read the figures.

#include "../harness/isolated.hpp"
#include "../harness/results.hpp"
#include "measure.hpp"

#include <utility>

namespace {

using namespace bench;

void print_marks(std::ostream& out, const Results& results) {
    const Marks mark(out, results);
    mark.at_least("awaited no-ops, 64 outstanding, in a second",
                  results.median({ours, "awaited_per_s", 64}), 3e6, "");
    mark.at_most("the program's CPU time for one of them",
                 results.median({ours, "awaited_cpu_us", 64}), 2, " µs");
    mark.at_most("the same, 100,000 outstanding", results.median({ours, "awaited_cpu_us", 100'000}),
                 2, " µs");
    mark.at_most("from a task's end to its handler, of a bare eventfd",
                 ratio(results.median({ours, "delay_p50_us", 1}),
                       results.median({limits, "delay_p50_us", 1})),
                 1.5);
}

Entry in_process(std::string name, Figures (*measure)(const Workload&, int, double)) {
    return {std::move(name), [measure](const Workload& workload, int size, double seconds) {
                return isolated_figures([&] { return measure(workload, size, seconds); });
            }};
}

Suite make_suite(const std::string& script) {
    return {
        .title = "Tasks in an event loop",
        .size_name = "outstanding",
        .workloads =
            {{.id = "awaited",
              .metrics = {{"awaited_per_s", "awaited no-ops", "tasks/s", true},
                          {"awaited_cpu_us", "the program's CPU time for each", "µs", false}},
              .sizes = {1, 64, 4'096, 100'000}},
             {.id = "delay",
              .metrics = {{"delay_p50_us", "from a task's end to its handler, median", "µs", false},
                          {"delay_p99_us", "from a task's end to its handler, p99", "µs", false}},
              .sizes = {1}}},
        .entries = {in_process(ours, measure_prong_loop),
                    in_process("asio threads", measure_thread_pool),
                    in_process("a helper thread and get", measure_helper_thread),
                    in_process("get in the loop", measure_blocking_get),
                    {"CPython asyncio",
                     [&script](const Workload& workload, int size, double seconds) {
                         return run_python(
                             script, {workload.id, std::to_string(size), std::to_string(seconds)});
                     },
                     true},
                    in_process(limits, measure_eventfd)},
        .print_marks = print_marks,
    };
}

} // namespace

int main(int argc, char** argv) {
    return run_suite(argc, argv, make_suite);
}
