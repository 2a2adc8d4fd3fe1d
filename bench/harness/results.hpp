#pragma once

#include "suite.hpp"
#include "timing.hpp"

#include <compare>
#include <map>
#include <optional>
#include <ostream>
#include <string>
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

    [[nodiscard]] const std::map<Key, std::vector<double>>& all() const { return values_; }

private:
    std::map<Key, std::vector<double>> values_;
};

/// Three digits, with k or M where that is shorter.
std::string short_number(double value);

void print_tables(std::ostream& out, const Results& results, const Suite& suite);

/// Prints marks: what is aimed at, what was measured, one line each. A quantity that was not
/// measured leaves the line out.
class Marks {
public:
    Marks(std::ostream& out, const Results& results) : out_(out), results_(results) {}

    /// Returns the best of several competitors, the hardest to beat.
    [[nodiscard]] std::optional<double> best(const std::vector<std::string>& names,
                                             const std::string& metric, int size,
                                             bool more_is_better) const;
    void at_least(const std::string& text, std::optional<double> figure, double goal,
                  const std::string& unit) const;
    void at_most(const std::string& text, std::optional<double> figure, double goal,
                 const std::string& unit) const;

private:
    void print(const std::string& text, std::optional<double> figure, const std::string& unit,
               bool reached) const;

    std::ostream& out_;
    const Results& results_;
};

std::optional<double> ratio(std::optional<double> above, std::optional<double> below);

void write_csv(std::ostream& out, const Results& results, const Suite& suite);

/// A chart of a panel for each metric.
void write_svg(std::ostream& out, const Results& results, const Suite& suite);

} // namespace bench
