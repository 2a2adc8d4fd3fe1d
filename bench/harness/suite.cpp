#include "suite.hpp"

#include "results.hpp"

#include <CLI/CLI.hpp>

#include <sched.h>

#include <algorithm>
#include <cstdlib>
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
    std::string python_script;
    std::vector<std::string> only;
};

bool wanted(const Options& options, const std::string& workload) {
    return options.only.empty() || std::ranges::find(options.only, workload) != options.only.end();
}

void run(const Options& options, const Suite& suite, Results& results) {
    const int repetitions = options.quick ? 3 : 5;
    const double seconds = options.quick ? 0.06 : 0.5;
    for (int repetition = 1; repetition <= repetitions; ++repetition) {
        for (const Workload& workload : suite.workloads) {
            if (!wanted(options, workload.id)) continue;
            for (const int size : options.sizes.empty() ? workload.sizes : options.sizes) {
                std::cerr << "repetition " << repetition << " of " << repetitions << ": "
                          << workload.id << ", " << size << " " << suite.size_name << "\n";
                for (const Entry& entry : suite.entries) {
                    if (workload.is_only_ours && entry.name != ours) continue;
                    try {
                        for (const auto& [metric, value] : entry.measure(workload, size, seconds))
                            results.add({entry.name, metric, size}, value);
                    } catch (const std::exception& error) {
                        std::cerr << "  " << entry.name << ": " << error.what() << "\n";
                        if (entry.name == ours) throw;
                    }
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

} // namespace

std::vector<std::string> Suite::names() const {
    std::vector<std::string> all;
    for (const Entry& entry : entries) all.push_back(entry.name);
    return all;
}

int run_suite(int argc, char** argv, Suite (*make)(const std::string& script)) {
    Options options;
    const Suite suite = make(options.python_script);
    std::string ids;
    for (const Workload& workload : suite.workloads) ids += " " + workload.id;

    CLI::App app(suite.title + "; see bench/README.md");
    app.add_flag("--quick", options.quick, "end within two minutes, with rougher figures");
    app.add_option("--" + suite.size_name, options.sizes,
                   "how many " + suite.size_name + ", such as 1,2,4, in every workload")
        ->delimiter(',')
        ->check(CLI::Range(1, 1024));
    app.add_option("--only", options.only, "only these of:" + ids)->delimiter(',');
    app.add_option("--csv", options.csv, "every figure of every repetition goes here")->take_last();
    app.add_option("--svg", options.svg, "a chart goes here")->take_last();
    app.add_option("--python-script", options.python_script, "python.py; without it no CPython");
    CLI11_PARSE(app, argc, argv);

    try {
        const std::string busy_note = warn_of_load();
        Results results;
        run(options, suite, results);
        std::cout << available_cpus() << " CPUs; medians of the repetitions\n" << busy_note;
        print_tables(std::cout, results, suite);
        std::cout << "\nMarks (ratios within this run; absolute figures depend on the machine)\n";
        suite.print_marks(std::cout, results);
        write_file(options.csv, [&](std::ostream& out) { write_csv(out, results, suite); });
        write_file(options.svg, [&](std::ostream& out) { write_svg(out, results, suite); });
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
