// Counts the words in all text files under some directories (default: the system's C and C++
// headers), in this process and through pools of 1, 2 and 4 worker processes: one task at a time
// (synchronous), all at once (asynchronous) and by map. With --mpi also by the workers of other
// machines. Shows that all agree and what each took.

#include <prong/prong.hpp>
#ifdef WITH_MPI
#include <prong/mpi.hpp>
#endif

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace fs = std::filesystem;

namespace {

using Count = std::uint64_t;

/// Lets a map with `std::string` keys look up a `std::string_view` without a copy.
struct TextHash : std::hash<std::string_view> {
    using is_transparent = void;
};
using Words = std::unordered_map<std::string, Count, TextHash, std::equal_to<>>;

/// What a worker finds in one file. A plain struct crosses to the other process as it is.
struct FileWords {
    std::string words;         ///< each different word, with a space behind it
    std::vector<Count> counts; ///< how often, in the same order
    Count bytes = 0;
    std::string problem; ///< why the file was not counted, if it was not
};

bool is_word_character(unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c >= 0x80; // UTF-8 letters too
}

/// Calls `found(word)` for each word of a text.
template <typename Callback>
void for_each_word(std::string_view text, Callback found) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t begin = at;
        while (at < text.size() && is_word_character(static_cast<unsigned char>(text[at]))) ++at;
        if (at != begin)
            found(text.substr(begin, at - begin));
        else
            ++at;
    }
}

/// The task: reads one file and counts its words.
FileWords count_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return {.words = {}, .counts = {}, .bytes = 0, .problem = std::strerror(errno)};
    std::ostringstream content;
    content << file.rdbuf();
    const std::string_view text = content.view();
    if (text.find('\0') != std::string_view::npos) return {}; // not a text file

    std::unordered_map<std::string_view, Count> counts;
    for_each_word(text, [&](std::string_view word) { ++counts[word]; });
    FileWords result{.words = {}, .counts = {}, .bytes = text.size(), .problem = {}};
    for (const auto& [word, count] : counts) {
        result.words.append(word).push_back(' ');
        result.counts.push_back(count);
    }
    return result;
}

/// A line that is redrawn in place, on a terminal only.
class ProgressBar {
public:
    ProgressBar(std::string title, std::size_t total) : title_(std::move(title)), total_(total) {}
    ~ProgressBar() {
        if (shown_) std::fputs("\r\033[K", stderr);
    }
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    void step() {
        ++done_;
        const std::size_t cells = total_ == 0 ? width : done_ * width / total_;
        if (isatty(STDERR_FILENO) == 0 || (shown_ && cells == cells_)) return;
        shown_ = true;
        cells_ = cells;
        const std::string bar = std::string(cells, '#') + std::string(width - cells, '.');
        std::fprintf(stderr, "\r\033[K%-28s [%s]", title_.c_str(), bar.c_str());
    }

private:
    static constexpr std::size_t width = 40;

    std::string title_;
    std::size_t total_;
    std::size_t done_ = 0;
    std::size_t cells_ = 0;
    bool shown_ = false;
};

struct Totals {
    Words words;
    Count bytes = 0;
    std::vector<std::string> problems;

    void add(const std::string& path, const FileWords& file) {
        bytes += file.bytes;
        if (!file.problem.empty()) problems.push_back(path + ": " + file.problem);
        auto count = file.counts.begin();
        for_each_word(file.words, [&](std::string_view word) {
            const auto known = words.find(word);
            if (known != words.end())
                known->second += *count++;
            else
                words.emplace(word, *count++);
        });
    }
    bool operator==(const Totals&) const = default;
};

using Files = std::vector<std::string>;

Totals in_process(const Files& files, ProgressBar& progress) {
    Totals totals;
    for (const std::string& path : files) {
        totals.add(path, count_file(path));
        progress.step();
    }
    return totals;
}

Totals one_at_a_time(prong::ProcessPoolExecutor& pool, const Files& files, ProgressBar& progress) {
    Totals totals;
    for (const std::string& path : files) {
        totals.add(path, pool.submit(count_file, path).get());
        progress.step();
    }
    return totals;
}

Totals all_at_once(prong::ProcessPoolExecutor& pool, const Files& files, ProgressBar& progress) {
    std::vector<prong::Future<FileWords>> futures;
    for (const std::string& path : files) futures.push_back(pool.submit(count_file, path));
    Totals totals;
    for (std::size_t i = 0; i < files.size(); ++i) {
        totals.add(files[i], futures[i].get());
        progress.step();
    }
    return totals;
}

Totals by_map(prong::ProcessPoolExecutor& pool, const Files& files, ProgressBar& progress) {
    Totals totals;
    auto path = files.begin();
    for (const FileWords& file : pool.map(count_file, files)) {
        totals.add(*path++, file);
        progress.step();
    }
    return totals;
}

/// All regular files under the directories; what cannot be entered is reported and left out.
Files find_files(const std::vector<std::string>& directories, std::vector<std::string>& problems) {
    Files files;
    for (const std::string& directory : directories) {
        std::error_code error;
        fs::recursive_directory_iterator entry(
            directory, fs::directory_options::skip_permission_denied, error);
        std::error_code ignored;
        if (fs::is_regular_file(directory, ignored))
            files.push_back(directory);
        else if (error)
            problems.push_back(directory + ": " + error.message());
        for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
            if (entry->is_regular_file(ignored)) files.push_back(entry->path());
        }
    }
    std::ranges::sort(files);
    return files;
}

void print_top_words(const Totals& totals, std::size_t top) {
    std::vector<std::pair<std::string, Count>> words(totals.words.begin(), totals.words.end());
    top = std::min(top, words.size());
    std::ranges::partial_sort(
        words, words.begin() + static_cast<std::ptrdiff_t>(top), [](const auto& a, const auto& b) {
            return std::pair(b.second, a.first) < std::pair(a.second, b.first);
        });
    for (std::size_t i = 0; i < top; ++i) {
        std::printf("%10llu  %s\n", static_cast<unsigned long long>(words[i].second),
                    words[i].first.c_str());
    }
}

using Clock = std::chrono::steady_clock;
using Method = Totals (*)(prong::ProcessPoolExecutor&, const Files&, ProgressBar&);

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Prints a line of the table; returns whether every pool found what `expected` says.
bool compare(const char* name, Method method, const std::vector<int>& workers, const Files& files,
             const Totals& expected, double in_process_seconds) {
    std::printf("%-24s", name);
    bool agrees = true;
    for (const int count : workers) {
        Totals totals;
        const auto start = Clock::now();
        {
            prong::ProcessPoolExecutor pool(count);
            ProgressBar progress(name + std::string(", ") + std::to_string(count), files.size());
            totals = method(pool, files, progress);
        }
        const double seconds = seconds_since(start);
        agrees = agrees && totals == expected;
        std::printf("  %7.2f s %4.1fx", seconds, in_process_seconds / seconds);
        std::fflush(stdout);
    }
    std::printf("\n");
    return agrees;
}

#ifdef WITH_MPI
/// The same for the workers of other machines, which have the same files at the same paths.
bool compare_hosts(const std::vector<std::string>& hosts, const Files& files,
                   const Totals& expected, double in_process_seconds) {
    prong::MpiPoolExecutor pool(prong::MpiOptions{.hosts = hosts});
    pool.submit(is_word_character, 'x').wait(); // the ranks have started
    const auto start = Clock::now();
    ProgressBar progress("map, by MPI", files.size());
    const Totals totals = by_map(pool, files, progress);
    const double seconds = seconds_since(start);
    std::printf("%-24s  %7.2f s %4.1fx\n", "map, by MPI", seconds, in_process_seconds / seconds);
    return totals == expected;
}
#endif

} // namespace

int main(int argc, char** argv) {
#ifdef WITH_MPI
    prong::mpi::serve(argc, argv); // on other machines: does not return
    bool by_mpi = false;
    std::vector<std::string> hosts;
#endif
    std::vector<std::string> directories{"/usr/include"};
    std::vector<int> workers{1, 2, 4};
    std::size_t top = 10;
    CLI::App app("Counts words in text files, in this process and through process pools.");
    app.add_option("directories", directories, "where the files are")->capture_default_str();
    app.add_option("--workers", workers, "pool sizes to compare")
        ->delimiter(',')
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--top", top, "how many words to show")->capture_default_str();
#ifdef WITH_MPI
    app.add_flag("--mpi", by_mpi, "also count by the workers of MPI's ranks");
    app.add_option("--hosts", hosts, "where the ranks are, if not here")->delimiter(',');
#endif
    CLI11_PARSE(app, argc, argv);

    std::vector<std::string> problems;
    const Files files = find_files(directories, problems);

    const auto start = Clock::now();
    Totals expected;
    {
        ProgressBar progress("in this process", files.size());
        in_process(files, progress); // fills the page cache for all later runs
    }
    const auto warm_start = Clock::now();
    {
        ProgressBar progress("in this process, again", files.size());
        expected = in_process(files, progress);
    }
    const double in_process_seconds = seconds_since(warm_start);

    Count words = 0;
    for (const auto& [word, count] : expected.words) words += count;
    std::printf("%zu files, %.1f MB, %llu words, %zu different (first reading: %.2f s)\n",
                files.size(), static_cast<double>(expected.bytes) / 1e6,
                static_cast<unsigned long long>(words), expected.words.size(),
                std::chrono::duration<double>(warm_start - start).count());
    problems.insert(problems.end(), expected.problems.begin(), expected.problems.end());
    for (const std::string& problem : problems) std::printf("not counted: %s\n", problem.c_str());
    print_top_words(expected, top);

    std::printf("\n%-24s", "worker processes");
    for (const int count : workers) std::printf("  %15d", count);
    std::printf("\n%-24s  %7.2f s  1.0x\n", "none: in this process", in_process_seconds);
    std::fflush(stdout);
    bool agree = compare("submit().get(), each", one_at_a_time, workers, files, expected,
                         in_process_seconds);
    agree &=
        compare("submit all, then get", all_at_once, workers, files, expected, in_process_seconds);
    agree &= compare("map", by_map, workers, files, expected, in_process_seconds);
#ifdef WITH_MPI
    if (by_mpi) agree &= compare_hosts(hosts, files, expected, in_process_seconds);
#endif
    std::printf(agree ? "all agree\n" : "THE RESULTS DIFFER\n");
    return agree ? 0 : 1;
}
