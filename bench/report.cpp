#include "results.hpp"

#include <algorithm>
#include <cstdio>
#include <set>

namespace bench {
namespace {

void print_cell(std::ostream& out, const std::string& text, std::size_t width) {
    out << std::string(width - std::min(width, text.size()), ' ') << text;
}

/// How many times better prong is.
double advantage(const Metric& metric, double our_value, double other) {
    return metric.more_is_better ? our_value / other : other / our_value;
}

void print_table(std::ostream& out, const Results& results, const Metric& metric,
                 const std::vector<std::string>& competitors, const std::vector<int>& sizes) {
    out << "\n"
        << metric.title << " (" << metric.unit << ", " << (metric.more_is_better ? "more" : "less")
        << " is better; in brackets how many times better prong is)\n";
    print_cell(out, "workers:", 34);
    for (const int workers : sizes) print_cell(out, std::to_string(workers), 21);
    out << "\n";
    for (const std::string& competitor : competitors) {
        std::string row;
        for (const int workers : sizes) {
            const auto value = results.median({competitor, metric.id, workers});
            const auto our_value = results.median({ours, metric.id, workers});
            std::string cell = value ? short_number(*value) : "-";
            if (value && our_value && competitor != ours) {
                cell += " (" + short_number(advantage(metric, *our_value, *value)) + "x)";
            }
            row += std::string(21 - std::min<std::size_t>(cell.size(), 21), ' ') + cell;
        }
        if (row.find_first_not_of(" -") == std::string::npos) continue;
        print_cell(out, competitor, 34);
        out << row << "\n";
    }
}

/// One line: what is aimed at, what was measured.
class Mark {
public:
    Mark(std::ostream& out, const Results& results) : out_(out), results_(results) {}

    /// The best of several competitors, seen from us the hardest to beat.
    std::optional<double> best(const std::vector<std::string>& names, const std::string& metric,
                               int workers, bool more_is_better) const {
        std::optional<double> best;
        for (const std::string& name : names) {
            const auto value = results_.median({name, metric, workers});
            if (value && (!best || (*value > *best) == more_is_better)) best = value;
        }
        return best;
    }

    /// `figure` must reach `goal`; a quantity that was not measured leaves the line out.
    void at_least(const std::string& text, std::optional<double> figure, double goal,
                  const std::string& unit) const {
        print(text + ": at least " + short_number(goal) + unit, figure, unit,
              figure && *figure >= goal);
    }
    void at_most(const std::string& text, std::optional<double> figure, double goal,
                 const std::string& unit) const {
        print(text + ": at most " + short_number(goal) + unit, figure, unit,
              figure && *figure <= goal);
    }

private:
    void print(const std::string& text, std::optional<double> figure, const std::string& unit,
               bool reached) const {
        if (!figure) return;
        out_ << (reached ? "  reached  " : "  MISSED   ") << text << ": measured "
             << short_number(*figure) << unit << "\n";
    }

    std::ostream& out_;
    const Results& results_;
};

std::optional<double> ratio(std::optional<double> above, std::optional<double> below) {
    if (!above || !below || *below == 0) return std::nullopt;
    return *above / *below;
}

} // namespace

std::string short_number(double value) {
    std::string unit;
    if (value >= 1e6)
        unit = " M";
    else if (value >= 1e4)
        unit = " k";
    if (unit == " M") value /= 1e6;
    if (unit == " k") value /= 1e3;
    char text[32];
    std::snprintf(text, sizeof(text),
                  value >= 100   ? "%.0f"
                  : value >= 10  ? "%.1f"
                  : value >= 0.1 ? "%.2f"
                                 : "%.2g",
                  value);
    return text + unit;
}

void print_tables(std::ostream& out, const Results& results,
                  const std::vector<std::string>& competitors, const std::vector<int>& sizes) {
    for (const Workload& workload : workloads()) {
        std::set<int> measured;
        for (const auto& [key, values] : results.all()) {
            if (key.metric == workload.metrics[0].id) measured.insert(key.workers);
        }
        if (measured.empty()) continue;
        const auto& columns = sizes.empty() ? workload.workers : sizes;
        for (const Metric& metric : workload.metrics) {
            print_table(out, results, metric, competitors, columns);
        }
    }
}

void print_marks(std::ostream& out, const Results& results) {
    const Mark mark(out, results);
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
    out << "\nMarks (ratios within this run; absolute figures depend on the machine)\n";

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

void write_csv(std::ostream& out, const Results& results) {
    out << "competitor,metric,workers,repetition,value\n";
    for (const auto& [key, values] : results.all()) {
        for (std::size_t i = 0; i < values.size(); ++i) {
            out << key.competitor << "," << key.metric << "," << key.workers << "," << i << ","
                << values[i] << "\n";
        }
    }
}

} // namespace bench
