#include "results.hpp"

#include <algorithm>
#include <cmath>
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

/// The median, the spread, and how many times better prong is.
void print_figure(std::ostream& out, const Results& results, const Metric& metric,
                  const Results::Key& key) {
    const auto value = results.median(key);
    print_cell(out, value ? short_number(*value) : "-", 10);
    std::string percent;
    if (const auto spread = results.spread(key); spread && *value > 0) {
        percent = std::to_string(std::lround((spread->second - spread->first) / *value * 50)) + "%";
    }
    out << (percent.empty() ? "  " : " ±");
    print_cell(out, percent, 4);
    const auto our_value = results.median({ours, key.metric, key.size});
    const bool is_compared = value && our_value && key.competitor != ours;
    const auto times = is_compared ? advantage(metric, *our_value, *value) : 0;
    print_cell(out, is_compared && std::isfinite(times) ? short_number(times) + "x" : "", 8);
}

void print_table(std::ostream& out, const Results& results, const Suite& suite,
                 const std::string& size_name, const Metric& metric) {
    const std::set<int> sizes = results.sizes(metric.id);
    out << "\n"
        << metric.title << " (" << metric.unit << ", " << (metric.more_is_better ? "more" : "less")
        << " is better)\n";
    print_cell(out, size_name + ":", 28);
    for (const int size : sizes)
        print_cell(out, size_text(size_name, size), size == *sizes.begin() ? 10 : 24);
    out << "\n";
    for (const std::string& competitor : suite.names()) {
        if (std::ranges::none_of(sizes, [&](int size) {
                return results.median({competitor, metric.id, size}).has_value();
            }))
            continue;
        print_cell(out, competitor, 28);
        for (const int size : sizes)
            print_figure(out, results, metric, {competitor, metric.id, size});
        out << "\n";
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
        for (const Metric& metric : workload.metrics) {
            if (!results.sizes(metric.id).empty())
                print_table(out, results, suite, suite.size_name_of(workload), metric);
        }
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
    if (figure) print(*figure >= goal, text, *figure, "at least " + short_number(goal), unit);
}

void Marks::at_most(const std::string& text, std::optional<double> figure, double goal,
                    const std::string& unit) const {
    if (figure) print(*figure <= goal, text, *figure, "at most " + short_number(goal), unit);
}

void Marks::print(bool is_met, const std::string& text, double figure, const std::string& goal,
                  const std::string& unit) const {
    out_ << (is_met ? "  met     " : "  MISSED  ");
    print_cell(out_, short_number(figure), 8);
    out_ << "  " << goal << unit << ": " << text << "\n";
}

std::optional<double> ratio(std::optional<double> above, std::optional<double> below) {
    if (!above || !below || *below == 0) return std::nullopt;
    return *above / *below;
}

void write_csv(std::ostream& out, const Results& results) {
    out << "competitor,metric,size,repetition,value\n";
    for (const auto& [key, values] : results.all()) {
        for (std::size_t i = 0; i < values.size(); ++i) {
            out << key.competitor << "," << key.metric << "," << key.size << "," << i << ","
                << values[i] << "\n";
        }
    }
}

} // namespace bench
