#include "measure.hpp"

#include "../harness/timing.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace bench {
namespace {

void require(bool right, const char* what) {
    if (!right) throw std::runtime_error(std::string("wrong answer: ") + what);
}

Figures throughput(Competitor& pool, double seconds) {
    const auto timed = [&](int count) {
        const Stopwatch watch;
        require(pool.run_all(increment, count) == expected_sum(count), "no-op tasks");
        return watch.seconds();
    };
    int count = 1000;
    for (double elapsed = timed(count); elapsed < seconds / 2 && count < 4'000'000;) {
        count = static_cast<int>(count * std::min(8.0, 0.75 * seconds / elapsed + 0.1) + 1);
        elapsed = timed(count); // the last and longest of these has warmed what it uses
    }
    return {{"noop_tasks_per_s", count / timed(count)}};
}

Figures round_trips(Competitor& pool, double seconds, bool idle) {
    for (int n = 0; n < 100; ++n) require(pool.call(n) == n + 1, "round trip");
    const std::vector<double> times = sample(
        seconds, 20, [&] { pool.call(1); },
        [&] {
            if (idle) std::this_thread::sleep_for(std::chrono::milliseconds(10));
        });
    const std::string name = idle ? "idle_round_trip" : "round_trip";
    return {{name + "_p50_us", quantile(times, 0.5) * 1e6},
            {name + "_p99_us", quantile(times, 0.99) * 1e6}};
}

Figures utilisation(Competitor& pool, double seconds, int workers) {
    seconds = std::max(seconds, 0.2); // or the last task of all would weigh too much
    const int cpus = std::min(workers, available_cpus());
    const int count = static_cast<int>(1000 * seconds * cpus);
    require(pool.run_all(burn_millisecond, 10) == expected_sum(10), "1 ms tasks");
    const Stopwatch watch;
    pool.run_all(burn_millisecond, count);
    return {{"cpu_share", count / 1000.0 / (watch.seconds() * cpus)}};
}

Figures mapping(Competitor& pool, double seconds) {
    const std::vector<std::int64_t> squares = pool.map_squares(map_count);
    require(squares.size() == map_count, "map's size");
    for (int n = 0; n < map_count; ++n) {
        require(squares[static_cast<std::size_t>(n)] == square(n), "map");
    }
    const std::vector<double> times = sample(seconds, 3, [&] { pool.map_squares(map_count); });
    return {{"map_items_per_s", map_count / quantile(times, 0.5)}};
}

Figures echoing(Competitor& pool, double seconds, const std::string& metric, std::size_t mib) {
    Bytes bytes(mib << 20);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 >> 3);
    require(pool.echo(bytes) == bytes, "echo");
    const std::vector<double> times = sample(seconds, 3, [&] { pool.echo(bytes); });
    return {{metric, quantile(times, 0.5) * 1e3}};
}

Figures creation(MakeCompetitor make, int workers, double seconds) {
    const std::vector<double> times = sample(seconds, 5, [&] {
        const auto pool = make({.workers = workers});
        require(pool->call(1) == 2, "the task after creation");
    });
    return {{"creation_ms", quantile(times, 0.5) * 1e3}};
}

/// Nanoseconds on a CPU since the start, of this process's children and theirs.
double descendants_cpu_seconds(pid_t parent) {
    double sum = 0;
    for (const auto& task :
         std::filesystem::directory_iterator("/proc/" + std::to_string(parent) + "/task")) {
        std::ifstream children(task.path() / "children");
        for (pid_t child = 0; children >> child;) {
            double nanoseconds = 0;
            std::ifstream("/proc/" + std::to_string(child) + "/schedstat") >> nanoseconds;
            sum += nanoseconds * 1e-9 + descendants_cpu_seconds(child);
        }
    }
    return sum;
}

/// The CPU time that idle workers use, as a share of one CPU.
Figures idleness(Competitor& pool, double seconds) {
    seconds = std::max(seconds, 1.0);
    pool.run_all(increment, 1000);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const double before = descendants_cpu_seconds(getpid());
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    return {{"idle_cpu_share", (descendants_cpu_seconds(getpid()) - before) / seconds}};
}

} // namespace

Figures measure(MakeCompetitor make, const Workload& workload, int workers, double seconds) {
    const std::string& id = workload.id;
    if (id == "creation") return creation(make, workers, seconds);
    const std::size_t mib = id == "echo_1_mib" ? 1 : id == "echo_64_mib" ? 64 : 0;
    const auto pool = make({.workers = workers, .payload_bytes = mib << 20});
    if (mib > 0) return echoing(*pool, seconds, workload.metrics[0].id, mib);
    if (id == "noop") return throughput(*pool, seconds);
    if (id == "round_trip") return round_trips(*pool, seconds, false);
    if (id == "idle_round_trip") return round_trips(*pool, seconds, true);
    if (id == "cpu") return utilisation(*pool, seconds, workers);
    if (id == "map") return mapping(*pool, seconds);
    if (id == "idle") return idleness(*pool, seconds);
    throw std::logic_error("no such workload: " + id);
}

} // namespace bench
