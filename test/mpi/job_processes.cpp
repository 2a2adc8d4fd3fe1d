#include "mpi/job_processes.hpp"

#include "support/at_start.hpp"

#include <prong/mpi.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <set>
#include <sstream>

namespace prong::test {
namespace {

namespace fs = std::filesystem;

fs::path proc(pid_t process) {
    return "/proc/" + std::to_string(process);
}

/// Whether both files are there and the same.
bool is_same(const fs::path& one, const fs::path& other) {
    std::error_code gone;
    return fs::equivalent(one, other, gone) && !gone;
}

/// The processes of this run of the program: others may run at the same time, in namespaces that
/// this one sees into.
std::vector<ProcessInfo> processes_of_run() {
    const bool is_rank = std::getenv("OMPI_COMM_WORLD_RANK") != nullptr || //
                         std::getenv("PMI_RANK") != nullptr;
    std::vector<ProcessInfo> found = descendants_of(is_rank ? getppid() : getpid());
    for (const ProcessInfo& orphan : children_of(1)) {
        if (orphan.pid != getpid()) found.push_back(orphan); // its supervisor has ended before it
    }
    return found;
}

} // namespace

void at_start(int argc, char** argv) {
    mpi::serve(argc, argv);
}

Job Job::now() {
    std::map<pid_t, ProcessInfo> all;
    std::set<pid_t> own{getpid()};
    for (const ProcessInfo& process : processes_of_run()) {
        if (process.state == 'Z') continue;
        all.emplace(process.pid, process);
        if (is_same(proc(process.pid) / "exe", "/proc/self/exe")) own.insert(process.pid);
    }
    const auto has_child = [&](pid_t pid, bool own_child) {
        return std::ranges::any_of(all, [&](const auto& other) {
            return other.second.parent == pid && (!own_child || own.contains(other.first));
        });
    };
    Job job;
    for (const auto& [pid, process] : all) {
        const bool has_own_parent = own.contains(process.parent);
        if (pid == getpid()) continue;
        if (own.contains(pid)) {
            job.programs.push_back(pid);
            if (process.name == "prong-relay") job.relay = pid;
            if (!has_own_parent && has_child(pid, false)) job.servers.push_back(pid);
        } else if (has_own_parent && process.parent != getpid()) {
            job.launcher = pid; // a child of the relay, or of the supervisor if that has died
        } else if ((process.name == "orted" || process.name == "hydra_pmi_proxy") &&
                   has_child(pid, true)) {
            job.daemons.push_back(pid);
        }
    }
    return job;
}

std::string host_of(pid_t process) {
    for (const std::string& host : test_hosts()) {
        if (is_same(proc(process) / "ns/net", "/run/netns/" + host)) return host;
    }
    return {};
}

std::vector<pid_t> processes_of(const std::string& host) {
    std::vector<pid_t> found;
    for (const ProcessInfo& process : list_processes()) {
        if (host_of(process.pid) == host) found.push_back(process.pid);
    }
    return found;
}

std::vector<std::string> test_hosts() {
    const char* const text = std::getenv("PRONG_TEST_HOSTS");
    std::istringstream words(text == nullptr ? "" : text);
    return {std::istream_iterator<std::string>(words), {}};
}

} // namespace prong::test
