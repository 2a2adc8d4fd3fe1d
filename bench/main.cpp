// Runs every workload on every competitor, in turn so that the machine's moods hit all alike, and
// prints tables, the marks, a CSV file and a chart. README.md says how to read them.

#include "isolated.hpp"
#include "results.hpp"

#include <CLI/CLI.hpp>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>

namespace {

using namespace bench;

struct Options {
    bool quick = false;
    std::vector<int> workers;
    std::string csv;
    std::string svg;
    std::string python_script;
    std::vector<std::string> only;
};

struct Entry {
    std::string name;
    std::function<Figures(const Workload&, int workers, double seconds)> measure;
};

Entry in_process(std::string name, MakeCompetitor make) {
    return {std::move(name), [make](const Workload& workload, int workers, double seconds) {
                return isolated_figures([&] { return measure(make, workload, workers, seconds); });
            }};
}

std::vector<Entry> entries(const Options& options) {
    std::vector<Entry> all{
        in_process(ours, make_prong),
        in_process("asio threads", make_asio),
        in_process("oneTBB threads", make_tbb),
        in_process("message_queue processes", make_message_queue),
        in_process("fork per task", make_fork_per_task),
    };
    if (!options.python_script.empty()) {
        for (const std::string pool : {"ProcessPoolExecutor", "Pool"}) {
            all.push_back({"CPython " + pool,
                           [pool, &options](const Workload& workload, int workers, double seconds) {
                               return measure_python(options.python_script, pool, workload, workers,
                                                     seconds);
                           }});
        }
    }
    all.push_back({limits, [](const Workload& workload, int workers, double seconds) {
                       return isolated_figures(
                           [&] { return measure_limits(workload, workers, seconds); });
                   }});
    return all;
}

bool wanted(const Options& options, const std::string& workload) {
    return options.only.empty() || std::ranges::find(options.only, workload) != options.only.end();
}

void run(const Options& options, const std::vector<Entry>& all, Results& results) {
    const int repetitions = options.quick ? 3 : 5;
    const double seconds = options.quick ? 0.06 : 0.5;
    for (int repetition = 1; repetition <= repetitions; ++repetition) {
        for (const Workload& workload : workloads()) {
            if (!wanted(options, workload.id)) continue;
            for (const int workers : options.workers.empty() ? workload.workers : options.workers) {
                std::cerr << "repetition " << repetition << " of " << repetitions << ": "
                          << workload.id << ", " << workers << " workers\n";
                for (const Entry& entry : all) {
                    try {
                        for (const auto& [metric, value] :
                             entry.measure(workload, workers, seconds)) {
                            results.add({entry.name, metric, workers}, value);
                        }
                    } catch (const std::exception& error) {
                        std::cerr << "  " << entry.name << ": " << error.what() << "\n";
                        if (entry.name == ours) throw;
                    }
                }
            }
        }
    }
    if (wanted(options, "idle")) {
        const double seconds_idle = options.quick ? 1 : 5;
        const auto figures = isolated_figures([&]() -> Figures {
            return {{"idle_cpu_share", idle_cpu_share(make_prong, seconds_idle)}};
        });
        results.add({ours, "idle_cpu_share", 2}, figures.at("idle_cpu_share"));
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

int main(int argc, char** argv) {
    Options options;
    CLI::App app("Measures prong against other ways to run tasks; see bench/README.md");
    app.add_flag("--quick", options.quick, "end within two minutes, with rougher figures");
    app.add_option("--workers", options.workers, "pool sizes for every workload, such as 1,2,4")
        ->delimiter(',')
        ->check(CLI::Range(1, 1024));
    app.add_option("--only", options.only,
                   "of noop, round_trip, idle_round_trip, cpu, map, echo_1_mib, echo_64_mib, "
                   "creation, idle: only these")
        ->delimiter(',');
    app.add_option("--csv", options.csv, "every figure of every repetition goes here")->take_last();
    app.add_option("--svg", options.svg, "a chart goes here")->take_last();
    app.add_option("--python-script", options.python_script, "python.py; without it no CPython");
    CLI11_PARSE(app, argc, argv);

    try {
        const std::vector<Entry> all = entries(options);
        std::vector<std::string> names;
        for (const Entry& entry : all) names.push_back(entry.name);
        const std::string busy_note = warn_of_load();
        Results results;
        run(options, all, results);
        std::cout << available_cpus() << " CPUs; medians of the repetitions\n" << busy_note;
        print_tables(std::cout, results, names, options.workers);
        print_marks(std::cout, results);
        write_file(options.csv, [&](std::ostream& out) { write_csv(out, results); });
        write_file(options.svg, [&](std::ostream& out) { write_svg(out, results, names); });
    } catch (const std::exception& error) {
        std::cerr << "prong_bench: " << error.what() << "\n";
        return 1;
    }
}
