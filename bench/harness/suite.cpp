#include "suite.hpp"

#include "results.hpp"

#include <CLI/CLI.hpp>

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

namespace bench {
namespace {

struct Options {
    bool quick = false;
    std::vector<int> sizes;
    std::string csv;
    std::string svg;
    std::string charts;
    std::string python_script;
    std::vector<std::string> only;
};

std::vector<int> sizes_of(const Workload& workload, const Options& options) {
    if (!options.sizes.empty() && workload.size_name.empty()) return options.sizes;
    std::vector<int> sizes = workload.sizes;
    if (!options.quick) {
        sizes.insert(sizes.end(), workload.full_sizes.begin(), workload.full_sizes.end());
        std::ranges::sort(sizes);
    }
    return sizes;
}

bool takes_part(const Entry& entry, const Workload& workload, int size) {
    if (workload.is_only_ours && entry.name != ours) return false;
    return !entry.is_slow || size <= workload.most_if_slow;
}

void measure(const Entry& entry, const Workload& workload, int size, double seconds,
             Results& results) {
    try {
        for (const auto& [metric, value] : entry.measure(workload, size, seconds))
            results.add({entry.name, metric, size}, value);
    } catch (const std::exception& error) {
        std::cerr << "  " << entry.name << ": " << error.what() << "\n";
        if (entry.name == ours) throw;
    }
}

void run(const Options& options, const Suite& suite, Results& results) {
    const int repetitions = options.quick ? 3 : 5;
    const double seconds = options.quick ? 0.06 : 0.5;
    for (int repetition = 1; repetition <= repetitions; ++repetition) {
        const bool is_short = options.quick && repetition > 1;
        for (const Workload& workload : suite.workloads) {
            if (!options.only.empty() &&
                std::ranges::find(options.only, workload.id) == options.only.end())
                continue;
            for (const int size : sizes_of(workload, options)) {
                if (is_short && size >= workload.long_from) continue;
                const std::string& size_name = suite.size_name_of(workload);
                std::cerr << "repetition " << repetition << " of " << repetitions << ": "
                          << workload.id << ", " << size_name << ": " << size_text(size_name, size)
                          << std::endl;
                for (const Entry& entry : suite.entries) {
                    if (is_short && entry.is_slow) continue;
                    if (takes_part(entry, workload, size))
                        measure(entry, workload, size, seconds, results);
                }
            }
        }
    }
}

/// Empty on a machine that does nothing else.
std::string warn_of_load() {
    double load = 0;
    if (getloadavg(&load, 1) != 1 || load < 0.25 * available_cpus()) return "";
    std::ostringstream note;
    note << "The load was " << load << " at the start: other programs were running, and figures "
         << "that need a free core mislead.\n";
    std::cerr << note.str();
    return note.str();
}

template <typename Write>
void write_file(const std::string& path, Write write) {
    if (path.empty()) return;
    std::ofstream file(path);
    write(file);
    file.flush();
    std::cout << (file ? "written: " : "COULD NOT WRITE: ") << path << "\n";
}

/// Workloads that were not measured have no chart.
void write_charts(const std::string& folder, const Results& results, const Suite& suite) {
    if (folder.empty()) return;
    std::filesystem::create_directories(folder);
    for (const Workload& workload : suite.workloads) {
        if (results.sizes(workload.metrics[0].id).empty()) continue;
        write_file(folder + "/" + workload.id + ".svg",
                   [&](std::ostream& out) { write_svg(out, results, suite, {workload}); });
    }
}

} // namespace

std::vector<std::string> Suite::names() const {
    std::vector<std::string> all;
    for (const Entry& entry : entries) all.push_back(entry.name);
    return all;
}

const std::string& Suite::size_name_of(const Workload& workload) const {
    return workload.size_name.empty() ? size_name : workload.size_name;
}

std::string size_text(const std::string& size_name, int size) {
    const int step = size_name == "bytes" ? 1024 : 1000;
    std::vector<std::string> units{"", " k", " M"};
    if (size_name == "bytes") units = {" B", " KiB", " MiB", " GiB"};
    std::size_t unit = 0;
    for (; unit + 1 < units.size() && size >= step && size % step == 0; ++unit) size /= step;
    return std::to_string(size) + units[unit];
}

int run_suite(int argc, char** argv, Suite (*make)(const std::string& script)) {
    Options options;
    const Suite suite = make(options.python_script);
    std::vector<std::string> ids;
    for (const Workload& workload : suite.workloads) ids.push_back(workload.id);

    CLI::App app(suite.title + "; see bench/README.md");
    app.add_flag("--quick", options.quick, "end within three minutes, with rougher figures");
    app.add_option("--" + suite.size_name, options.sizes,
                   "how many " + suite.size_name + ", such as 1,2,4, where that is measured")
        ->delimiter(',')
        ->check(CLI::Range(1, 1024));
    app.add_option("--only", options.only, "only these workloads")
        ->delimiter(',')
        ->check(CLI::IsMember(ids));
    app.add_option("--csv", options.csv, "every figure of every repetition goes here")->take_last();
    app.add_option("--svg", options.svg, "a page with all charts goes here")->take_last();
    app.add_option("--charts", options.charts, "a chart of each workload goes into this folder")
        ->take_last();
    app.add_option("--python-script", options.python_script, "python.py; without it no CPython");
    CLI11_PARSE(app, argc, argv);

    try {
        const std::string busy_note = warn_of_load();
        Results results;
        run(options, suite, results);
        std::cout
            << available_cpus()
            << " CPUs; medians of the repetitions, ± half the way from the least to the most; "
               "then how many times better prong is\n"
            << busy_note;
        print_tables(std::cout, results, suite);
        std::cout << "\nMarks (those without a unit are ratios within this run)\n";
        suite.print_marks(std::cout, results);
        write_file(options.csv, [&](std::ostream& out) { write_csv(out, results); });
        write_file(options.svg,
                   [&](std::ostream& out) { write_svg(out, results, suite, suite.workloads); });
        write_charts(options.charts, results, suite);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << argv[0] << ": " << error.what() << "\n";
        return 1;
    }
}

int available_cpus() {
    cpu_set_t allowed;
    return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
}

} // namespace bench
