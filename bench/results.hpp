#pragma once

#include "measure.hpp"
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
        int workers;
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

/// The names in the tables; `ours` is compared with each of the others.
inline const std::string ours = "prong";
inline const std::string limits = "(hardware)";

/// Three digits, with k or M where that is shorter.
std::string short_number(double value);

void print_tables(std::ostream& out, const Results& results,
                  const std::vector<std::string>& competitors, const std::vector<int>& sizes);

/// What prong aims at, each with the figure that was measured.
void print_marks(std::ostream& out, const Results& results);

void write_csv(std::ostream& out, const Results& results);

/// A chart of a panel for each metric.
void write_svg(std::ostream& out, const Results& results,
               const std::vector<std::string>& competitors);

} // namespace bench
