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

void print_table(std::ostream& out, const Results& results, const Suite& suite,
                 const Metric& metric, const std::set<int>& sizes) {
    out << "\n"
        << metric.title << " (" << metric.unit << ", " << (metric.more_is_better ? "more" : "less")
        << " is better; in brackets how many times better prong is)\n";
    print_cell(out, suite.size_name + ":", 34);
    for (const int size : sizes) print_cell(out, std::to_string(size), 21);
    out << "\n";
    for (const std::string& competitor : suite.names()) {
        std::string row;
        for (const int size : sizes) {
            const auto value = results.median({competitor, metric.id, size});
            const auto our_value = results.median({ours, metric.id, size});
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

void print_tables(std::ostream& out, const Results& results, const Suite& suite) {
    for (const Workload& workload : suite.workloads) {
        std::set<int> sizes;
        for (const auto& [key, values] : results.all()) {
            if (key.metric == workload.metrics[0].id) sizes.insert(key.size);
        }
        if (sizes.empty()) continue;
        for (const Metric& metric : workload.metrics)
            print_table(out, results, suite, metric, sizes);
    }
}

std::optional<double> Marks::best(const std::vector<std::string>& names, const std::string& metric,
                                  int size, bool more_is_better) const {
    std::optional<double> best;
    for (const std::string& name : names) {
        const auto value = results_.median({name, metric, size});
        if (value && (!best || (*value > *best) == more_is_better)) best = value;
    }
    return best;
}

void Marks::at_least(const std::string& text, std::optional<double> figure, double goal,
                     const std::string& unit) const {
    print(text + ": at least " + short_number(goal) + unit, figure, unit,
          figure && *figure >= goal);
}

void Marks::at_most(const std::string& text, std::optional<double> figure, double goal,
                    const std::string& unit) const {
    print(text + ": at most " + short_number(goal) + unit, figure, unit, figure && *figure <= goal);
}

void Marks::print(const std::string& text, std::optional<double> figure, const std::string& unit,
                  bool reached) const {
    if (!figure) return;
    out_ << (reached ? "  reached  " : "  MISSED   ") << text << ": measured "
         << short_number(*figure) << unit << "\n";
}

std::optional<double> ratio(std::optional<double> above, std::optional<double> below) {
    if (!above || !below || *below == 0) return std::nullopt;
    return *above / *below;
}

void write_csv(std::ostream& out, const Results& results, const Suite& suite) {
    out << "competitor,metric," << suite.size_name << ",repetition,value\n";
    for (const auto& [key, values] : results.all()) {
        for (std::size_t i = 0; i < values.size(); ++i) {
            out << key.competitor << "," << key.metric << "," << key.size << "," << i << ","
                << values[i] << "\n";
        }
    }
}

} // namespace bench
