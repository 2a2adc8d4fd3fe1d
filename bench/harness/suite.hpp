#pragma once

#include <climits>
#include <functional>
#include <iosfwd>
#include <map>
#include <string>
#include <vector>

namespace bench {

struct Metric {
    std::string id; ///< as in the CSV file
    std::string title;
    std::string unit;
    bool more_is_better;
};

/// What is measured together, in one process.
struct Workload {
    std::string id;
    std::vector<Metric> metrics;
    std::vector<int> sizes;
    std::vector<int> full_sizes = {}; ///< those besides, without --quick
    std::string size_name = {};       ///< "bytes"; empty: that of the suite
    bool is_only_ours = false;        ///< others promise nothing of the kind
    int long_from = INT_MAX;          ///< sizes from here on have one repetition with --quick
    int most_if_slow = INT_MAX;       ///< the largest size for slow competitors
};

using Figures = std::map<std::string, double>; // by the metric's id

/// A competitor.
struct Entry {
    std::string name;
    /// Runs a workload for about `seconds`; no figures if it has no such thing.
    std::function<Figures(const Workload&, int size, double seconds)> measure;
    bool is_slow = false; ///< decades behind: has one repetition with --quick
};

class Results;

/// Workloads and competitors.
struct Suite {
    std::string title;
    std::string size_name; ///< "workers"
    std::vector<Workload> workloads;
    std::vector<Entry> entries;
    /// What prong aims at, each with the figure that was measured.
    void (*print_marks)(std::ostream&, const Results&);

    [[nodiscard]] std::vector<std::string> names() const;
    [[nodiscard]] const std::string& size_name_of(const Workload& workload) const;
};

/// A size as tables and charts show it: "64 KiB" if `size_name` is "bytes", else "40 k".
std::string size_text(const std::string& size_name, int size);

/// The names in the tables; `ours` is compared with each of the others.
inline const std::string ours = "prong";
inline const std::string limits = "(hardware)";

/// Runs every workload on every entry, in turn so that disturbances hit all alike, and prints
/// tables, the marks, a CSV file and charts, as the program's options say. Returns the program's
/// exit code. `make` makes the suite; it may keep a reference to the path of the Python script,
/// which is known when the first entry measures, and empty if there is none.
int run_suite(int argc, char** argv, Suite (*make)(const std::string& script));

int available_cpus();

} // namespace bench
