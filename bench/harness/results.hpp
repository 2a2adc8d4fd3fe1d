#pragma once

#include "suite.hpp"
#include "timing.hpp"

#include <algorithm>
#include <compare>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// Every figure of a run, repetitions and all.
class Results {
public:
    struct Key {
        std::string competitor;
        std::string metric;
        int size;
        auto operator<=>(const Key&) const = default;
    };

    void add(const Key& key, double value) { values_[key].push_back(value); }

    /// Empty if it was not measured.
    [[nodiscard]] std::optional<double> median(const Key& key) const {
        const auto found = values_.find(key);
        if (found == values_.end()) return std::nullopt;
        return quantile(found->second, 0.5);
    }

    /// The least and the most; empty if there are no two values.
    [[nodiscard]] std::optional<std::pair<double, double>> spread(const Key& key) const {
        const auto found = values_.find(key);
        if (found == values_.end() || found->second.size() < 2) return std::nullopt;
        const auto [least, most] = std::ranges::minmax(found->second);
        return std::pair(least, most);
    }

    /// The sizes for which a metric was measured.
    [[nodiscard]] std::set<int> sizes(const std::string& metric) const {
        std::set<int> sizes;
        for (const auto& [key, values] : values_) {
            if (key.metric == metric) sizes.insert(key.size);
        }
        return sizes;
    }

    [[nodiscard]] const std::map<Key, std::vector<double>>& all() const { return values_; }

private:
    std::map<Key, std::vector<double>> values_;
};

/// Three digits, with k or M where that is shorter.
std::string short_number(double value);

void print_tables(std::ostream& out, const Results& results, const Suite& suite);

/// Prints marks, one line each: whether it is met, what was measured, what is aimed at. A quantity
/// that was not measured leaves the line out.
class Marks {
public:
    Marks(std::ostream& out, const Results& results) : out_(out), results_(results) {}

    /// Returns the best of several competitors, the hardest to beat.
    [[nodiscard]] std::optional<double> best(const std::vector<std::string>& names,
                                             const std::string& metric, int size,
                                             bool more_is_better) const;
    void at_least(const std::string& text, std::optional<double> figure, double goal,
                  const std::string& unit = "") const;
    void at_most(const std::string& text, std::optional<double> figure, double goal,
                 const std::string& unit = "") const;

private:
    void print(bool is_met, const std::string& text, double figure, const std::string& goal,
               const std::string& unit) const;

    std::ostream& out_;
    const Results& results_;
};

std::optional<double> ratio(std::optional<double> above, std::optional<double> below);

void write_csv(std::ostream& out, const Results& results);

/// A chart with a panel for each metric of these workloads.
void write_svg(std::ostream& out, const Results& results, const Suite& suite,
               const std::vector<Workload>& workloads);

} // namespace bench
