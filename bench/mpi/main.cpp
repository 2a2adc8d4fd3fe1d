// Compares pools on other ranks of MPI. README.md says how to read the figures.

#include "../harness/isolated.hpp"
#include "../harness/timing.hpp"
#include "../pool/workloads.hpp"
#include "marks.hpp"

#include <prong/mpi.hpp>
#include <prong/prong.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace bench;
using namespace std::chrono_literals;

void require(bool holds) {
    if (!holds) throw std::runtime_error("a wrong result");
}

/// `count` no-ops, of which `outstanding` at most have not ended.
double noops_per_second(prong::MpiPoolExecutor& pool, int count, int outstanding) {
    std::vector<prong::Future<int>> futures(static_cast<std::size_t>(outstanding));
    const Stopwatch watch;
    for (int i = 0; i < count; ++i) {
        auto& future = futures[static_cast<std::size_t>(i % outstanding)];
        if (future.valid()) require(future.get() == i - outstanding + 1);
        future = pool.submit(increment, i);
    }
    for (auto& future : futures) {
        if (future.valid()) require(future.get() > 0);
    }
    return count / watch.seconds();
}

template <typename Between>
double median_round_trip_us(prong::MpiPoolExecutor& pool, double seconds, Between between) {
    return 1e6 * quantile(sample(
                              seconds, 50, [&] { require(pool.submit(increment, 1).get() == 2); },
                              between),
                          0.5);
}

double map_per_second(prong::MpiPoolExecutor& pool) {
    const Stopwatch watch;
    int n = 0;
    for (const std::int64_t value : pool.map(square, std::views::iota(0, map_count)))
        require(value == square(n++));
    return map_count / watch.seconds();
}

double useful_share(prong::MpiPoolExecutor& pool, int ranks, double seconds) {
    const int cpus = std::min(ranks, available_cpus());
    const int count = static_cast<int>(seconds * 1000 * cpus) + 1;
    std::vector<prong::Future<int>> futures;
    const Stopwatch watch;
    for (int i = 0; i < count; ++i) futures.push_back(pool.submit(burn_millisecond, i));
    for (auto& future : futures) require(future.get() > 0);
    return count * 1e-3 / watch.seconds() / cpus;
}

/// CPU time of all processes of this program, by /proc.
double cpu_seconds_of_program() {
    double ticks = 0;
    for (const auto& process : std::filesystem::directory_iterator("/proc")) {
        std::error_code gone;
        if (!std::filesystem::equivalent(process.path() / "exe", "/proc/self/exe", gone)) continue;
        std::ifstream file(process.path() / "stat");
        std::string word;
        while (file >> word && !word.ends_with(')')) {
        }
        for (int i = 0; i < 11; ++i) file >> word;
        double user = 0;
        double system = 0;
        if (file >> user >> system) ticks += user + system;
    }
    return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double idle_share(int ranks) {
    const double before = cpu_seconds_of_program();
    const Stopwatch watch;
    std::this_thread::sleep_for(3s);
    return (cpu_seconds_of_program() - before) / watch.seconds() / (1 + ranks);
}

Figures measure_prong(const Workload& workload, int size, double seconds) {
    const std::string& id = workload.id;
    const int ranks = id == "echo" || id == "outstanding" ? 1 : size;
    prong::MpiPoolExecutor pool(prong::MpiOptions{.workers_per_host = 1, .ranks = ranks});
    noops_per_second(pool, 10'000, 1000); // all is warm then
    if (id == "noop") {
        constexpr int count = 200'000;
        return {{"noop_per_s", noops_per_second(pool, count, count)}};
    }
    if (id == "outstanding") {
        const int count = std::min(200'000, 5000 * size);
        return {{"outstanding_per_s", noops_per_second(pool, count, size)}};
    }
    if (id == "round_trip") return {{"round_trip_us", median_round_trip_us(pool, seconds, [] {})}};
    if (id == "idle_round_trip") {
        return {{"idle_round_trip_us",
                 median_round_trip_us(pool, seconds, [] { std::this_thread::sleep_for(10ms); })}};
    }
    if (id == "map") return {{"map_per_s", map_per_second(pool)}};
    if (id == "cpu") return {{"cpu_share", useful_share(pool, ranks, std::max(seconds, 0.3))}};
    if (id == "idle") return {{"idle_share", idle_share(ranks)}};
    const Bytes bytes = make_bytes(size);
    const auto times =
        sample(seconds, 5, [&] { require(pool.submit(echo, bytes).get().size() == bytes.size()); });
    return {{"echo_ms", quantile(times, 0.5) * 1e3}};
}

/// Runs the program beside this one under mpirun.
Figures measure_bare(const Workload& workload, int size, double seconds) {
    if (workload.id != "noop" && workload.id != "round_trip" && workload.id != "echo") return {};
    const int ranks = workload.id == "echo" ? 1 : size;
    const auto program =
        std::filesystem::canonical("/proc/self/exe").parent_path() / "bench_mpi_bare";
    return isolated([&](int output) {
        dup2(output, STDOUT_FILENO);
        execlp("mpirun", "mpirun", "-n", std::to_string(1 + ranks).c_str(), "--bind-to", "none",
               program.c_str(), workload.id.c_str(), std::to_string(size).c_str(),
               std::to_string(seconds).c_str(), nullptr);
        throw std::runtime_error("cannot start mpirun");
    });
}

Suite make_suite(const std::string& script) {
    return {
        .title = "Pools on other ranks of MPI",
        .size_name = "ranks",
        .workloads =
            {
                {.id = "noop",
                 .metrics = {{"noop_per_s", "no-op tasks", "tasks/s", true}},
                 .sizes = {1, 2},
                 .full_sizes = {4, 8, 16}},
                {.id = "outstanding",
                 .metrics = {{"outstanding_per_s", "no-op tasks", "tasks/s", true}},
                 .sizes = {1, 64, 4000},
                 .full_sizes = {8, 500, 30'000},
                 .size_name = "outstanding",
                 .is_only_ours = true},
                {.id = "round_trip",
                 .metrics = {{"round_trip_us", "one task, median", "µs", false}},
                 .sizes = {1, 2}},
                {.id = "idle_round_trip",
                 .metrics = {{"idle_round_trip_us", "one task after 10 ms, median", "µs", false}},
                 .sizes = {2}},
                {.id = "map",
                 .metrics = {{"map_per_s", "map of a million numbers", "elements/s", true}},
                 .sizes = {2}},
                {.id = "cpu",
                 .metrics = {{"cpu_share", "tasks of 1 ms: useful share of the cores", "", true}},
                 .sizes = {2}},
                {.id = "echo",
                 .metrics = {{"echo_ms", "bytes to a rank and back", "ms", false}},
                 .sizes = {1 << 20, 64 << 20},
                 .size_name = "bytes"},
                {.id = "idle",
                 .metrics = {{"idle_share", "CPU time of an idle rank", "cores", false}},
                 .sizes = {2},
                 .is_only_ours = true},
            },
        .entries =
            {
                {ours,
                 [](const Workload& workload, int size, double seconds) {
                     return isolated_figures(
                         [&] { return measure_prong(workload, size, seconds); });
                 }},
                {mpi4py,
                 [&script](const Workload& workload, int size, double seconds) {
                     return run_python(
                         script, {workload.id, std::to_string(size), std::to_string(seconds)});
                 }},
                {bare_mpi, measure_bare},
            },
        .print_marks = print_mpi_marks,
    };
}

} // namespace

int main(int argc, char** argv) {
    prong::mpi::serve(argc, argv);
    for (const char* const name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
                                   "OMPI_MCA_rmaps_base_oversubscribe"})
        setenv(name, "1", 0);
    return run_suite(argc, argv, make_suite);
}
