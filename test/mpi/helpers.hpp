#pragma once

#include "mpi/job_processes.hpp"
#include "support/environment.hpp"
#include "support/error_of.hpp"
#include "support/eventually.hpp"

#include <prong/mpi.hpp>
#include <prong/prong.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace prong::test {

using prong::Future;
using prong::MpiOptions;
using prong::MpiPoolExecutor;
using prong::RankLost;
using prong::TaskOptions;
using prong::WorkerDied;
using namespace std::chrono_literals;

/// Wraps round.
inline int square(int n) {
    const auto number = static_cast<unsigned>(n);
    return static_cast<int>(number * number);
}

/// The name of the machine that calls it.
inline std::string host_name() {
    std::array<char, 256> name{};
    gethostname(name.data(), name.size() - 1);
    return name.data();
}

/// Appends a line, whole, from whichever process.
inline void append_line(const std::string& path, const std::string& text) {
    const std::string line = text + "\n";
    const int file = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file == -1 || write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
        throw std::runtime_error("cannot write to " + path);
    close(file);
}

inline std::vector<std::string> lines_of(const std::string& path) {
    std::ifstream file(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

/// A task that says where it runs, then waits until the gate is open; returns `value`.
inline int pass(const std::string& gate, int value) {
    append_line(gate + ".arrivals", std::to_string(value) + " " + std::to_string(getpid()));
    if (!eventually([&] { return std::filesystem::exists(gate); }, 1min))
        throw std::logic_error("gate not opened");
    return value;
}

/// A gate for tasks on all hosts of a test: a file.
class FileGate {
public:
    [[nodiscard]] std::string path() const { return folder_.path() / "gate"; }
    void open() const { std::ofstream(path()).flush(); }
    [[nodiscard]] std::size_t arrivals() const { return lines_of(path() + ".arrivals").size(); }
    [[nodiscard]] bool await_arrivals(std::size_t count) const {
        return eventually([&] { return arrivals() >= count; });
    }

private:
    TempDir folder_;
};

/// For tasks that must succeed although a rank may still be lost.
inline PoolWithOptions retrying(const MpiPoolExecutor& pool) {
    return pool.with(TaskOptions{.max_retries = 100});
}

/// How a task that may be lost with its rank has ended.
enum class Ending { right, wrong, lost, pending };

inline Ending ending_of(Future<int>& future, int value,
                        std::chrono::milliseconds limit = std::chrono::minutes(1)) {
    if (!future.wait_for(limit)) return Ending::pending;
    try {
        return future.get() == value ? Ending::right : Ending::wrong;
    } catch (const RankLost&) {
        return Ending::lost;
    }
}

} // namespace prong::test
