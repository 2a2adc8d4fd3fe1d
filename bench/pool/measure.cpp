#include "measure.hpp"

#include "../harness/timing.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <stdexcept>
#include <thread>

namespace bench {
namespace {

/// Returns the seconds that `count` no-ops take from the first submit to the last result.
double time_noops(Competitor& pool, int count,
                  std::int64_t (Competitor::*run)(Task, int) = &Competitor::run_all) {
    const Stopwatch watch;
    require((pool.*run)(increment, count) == expected_sum(count), "no-op tasks");
    return watch.seconds();
}

/// The most no-ops in flight. (The workload `pending` has more.)
constexpr int most_noops = 100'000;

/// Returns how many no-ops `run` gets done in a second.
double noops_per_second(Competitor& pool, double seconds,
                        std::int64_t (Competitor::*run)(Task, int)) {
    int count = 1000;
    for (;;) {
        // The last and longest has warmed what it uses. One alone may have met a disturbance.
        const double elapsed = std::min(time_noops(pool, count, run), time_noops(pool, count, run));
        if (elapsed >= seconds / 3 || count == most_noops) break;
        const double wanted = count * std::min(8.0, 0.5 * seconds / elapsed + 0.1) + 1;
        count = static_cast<int>(std::min<double>(wanted, most_noops));
    }
    return count / quantile(sample(seconds, 3, [&] { time_noops(pool, count, run); }), 0.5);
}

Figures throughput(Competitor& pool, int /*workers*/, double seconds) {
    return {{"noop_tasks_per_s", noops_per_second(pool, seconds, &Competitor::run_all)}};
}

Figures batches(Competitor& pool, int /*workers*/, double seconds) {
    return {{"batch_tasks_per_s", noops_per_second(pool, seconds, &Competitor::run_batch)}};
}

/// The first flood touches the memory that the others find warm.
Figures pending(Competitor& pool, int count, double seconds) {
    time_noops(pool, 100);
    const double first = time_noops(pool, count);
    const std::vector<double> times = sample(seconds, 2, [&] { time_noops(pool, count); });
    return {{"pending_tasks_per_s", count / quantile(times, 0.5)},
            {"pending_first_tasks_per_s", count / first}};
}

Figures submitting_threads(Competitor& pool, int threads, double seconds) {
    const int count = 30'000 / threads;
    const auto run = [&] {
        const auto sum = pool.run_all_from(threads, increment, count);
        if (sum) require(*sum == threads * expected_sum(count), "tasks of several threads");
        return sum.has_value();
    };
    if (!run()) return {};
    const double median = quantile(sample(seconds, 3, run), 0.5);
    return {{"threads_tasks_per_s", count * threads / median}};
}

Figures round_trips(Competitor& pool, int /*workers*/, double seconds) {
    for (int n = 0; n < 100; ++n) require(pool.call(n) == n + 1, "round trip");
    return percentiles("round_trip", sample(seconds, 100, [&] { pool.call(1); }));
}

Figures idle_round_trips(Competitor& pool, int /*workers*/, double seconds) {
    for (int n = 0; n < 100; ++n) require(pool.call(n) == n + 1, "round trip");
    return percentiles("idle_round_trip", sample(
                                              seconds, idle_trips, [&] { pool.call(1); }, be_idle));
}

Figures utilisation(Competitor& pool, int workers, double seconds) {
    seconds = std::max(seconds, 0.2); // or the last task of all would weigh too much
    const int cpus = std::min(workers, available_cpus());
    const int count = static_cast<int>(1000 * seconds * cpus);
    require(pool.run_all(burn_millisecond, 10) == expected_sum(10), "1 ms tasks");
    const Stopwatch watch;
    pool.run_all(burn_millisecond, count);
    return {{"cpu_share", count / 1000.0 / (watch.seconds() * cpus)}};
}

template <typename Map>
double items_per_second(double seconds, Map map) {
    const std::vector<std::int64_t> squares = map(map_count);
    require(squares.size() == map_count, "map's size");
    for (int n = 0; n < map_count; ++n) {
        require(squares[static_cast<std::size_t>(n)] == square(n), "map");
    }
    return map_count / quantile(sample(seconds, 3, [&] { map(map_count); }), 0.5);
}

Figures mapping(Competitor& pool, int /*workers*/, double seconds) {
    return {{"map_items_per_s",
             items_per_second(seconds, [&](int count) { return pool.map_squares(count); })},
            {"map_lambda_items_per_s", items_per_second(seconds, [&](int count) {
                 return pool.map_squares_by_lambda(count);
             })}};
}

} // namespace

void require(bool right, const char* what) {
    if (!right) throw std::runtime_error(std::string("wrong answer: ") + what);
}

void be_idle() {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

Figures percentiles(const std::string& name, const std::vector<double>& times) {
    return {{name + "_p50_us", quantile(times, 0.5) * 1e6},
            {name + "_p99_us", quantile(times, 0.99) * 1e6}};
}

Figures measure(MakeCompetitor make, const Workload& workload, int size, double seconds) {
    const std::string& id = workload.id;
    if (id == "creation") return measure_creation(make, size, seconds);
    if (id == "echo") return measure_echo(make, size, seconds);
    if (id == "result") return measure_result(make, size, seconds);
    if (id == "pending") return pending(*make({.workers = two_workers}), size, seconds);
    if (id == "threads") return submitting_threads(*make({.workers = 1}), size, seconds);
    static const std::map<std::string, Figures (*)(Competitor&, int workers, double seconds)>
        by_workers{{"noop", throughput},        {"batch", batches},
                   {"round_trip", round_trips}, {"idle_round_trip", idle_round_trips},
                   {"cpu", utilisation},        {"map", mapping}};
    const auto found = by_workers.find(id);
    if (found == by_workers.end()) return {}; // only prong has it
    return found->second(*make({.workers = size}), size, seconds);
}

} // namespace bench
