#include "os/cpus.hpp"

#include "os/cgroup.hpp"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

namespace prong::os {
namespace {

/// "max 100000" or "200000 100000" in a file of cgroup v2, two files in v1; 0: no quota.
double quota_in(const CgroupFolder& folder) {
    double allowed = 0;
    double period = 0;
    if (folder.version == 2) {
        std::ifstream(folder.path + "/cpu.max") >> allowed >> period; // "max" is no number
    } else {
        std::ifstream(folder.path + "/cpu.cfs_quota_us") >> allowed; // -1: none
        std::ifstream(folder.path + "/cpu.cfs_period_us") >> period;
    }
    return allowed > 0 && period > 0 ? allowed / period : 0;
}

/// The least quota of this process's cgroup and those above it; 0: none.
double cgroup_cpu_quota() {
    double least = 0;
    for (const CgroupFolder& folder : cgroup_folders("cpu")) {
        const double quota = quota_in(folder);
        if (quota > 0 && (least == 0 || quota < least)) least = quota;
    }
    return least;
}

/// A list such as "0-3,8" in a file; empty if there is no such file.
cpu_set_t cpus_in(const std::string& path) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    std::ifstream file(path);
    std::size_t first = 0;
    while (file >> first) {
        std::size_t last = first;
        if (file.peek() == '-') file.ignore() >> last;
        for (; first <= last && first < CPU_SETSIZE; ++first) CPU_SET(first, &cpus);
        if (file.peek() == ',') file.ignore();
    }
    return cpus;
}

/// The CPUs of this process's cpuset cgroup, or all that are online.
cpu_set_t cgroup_cpus() {
    for (const CgroupFolder& folder : cgroup_folders("cpuset")) {
        const char* const file =
            folder.version == 2 ? "/cpuset.cpus.effective" : "/cpuset.effective_cpus";
        const cpu_set_t cpus = cpus_in(folder.path + file);
        if (CPU_COUNT(&cpus) != 0) return cpus;
    }
    return cpus_in("/sys/devices/system/cpu/online");
}

/// The CPUs of all threads of this process together.
cpu_set_t thread_cpus() {
    cpu_set_t all;
    CPU_ZERO(&all);
    const auto add = [&all](pid_t thread) {
        cpu_set_t cpus;
        if (sched_getaffinity(thread, sizeof(cpus), &cpus) == 0) CPU_OR(&all, &all, &cpus);
    };
    add(0);
    add(getpid());
    if (DIR* const directory = opendir("/proc/self/task")) {
        while (const dirent* const entry = readdir(directory)) {
            const auto thread = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
            if (thread != 0) add(thread);
        }
        closedir(directory);
    }
    return all;
}

/// Whether the environment has OpenMP pin the main thread before the program begins.
bool is_pinned_by_openmp() {
    const char* const binding = std::getenv("OMP_PROC_BIND");
    const std::string_view text = binding != nullptr ? binding : "false";
    return (text != "false" && text != "FALSE") || std::getenv("GOMP_CPU_AFFINITY") != nullptr;
}

} // namespace

cpu_set_t process_cpus() {
    const cpu_set_t cpus = thread_cpus();
    return CPU_COUNT(&cpus) == 1 && is_pinned_by_openmp() ? cgroup_cpus() : cpus;
}

unsigned available_cpus() {
    const cpu_set_t allowed = process_cpus();
    double cpus = CPU_COUNT(&allowed);
    if (cpus == 0) cpus = online_cpus(); // more CPUs than fit into a cpu_set_t
    const double quota = cgroup_cpu_quota();
    if (quota > 0) cpus = std::min(cpus, std::ceil(quota));
    return static_cast<unsigned>(std::max(cpus, 1.0));
}

unsigned online_cpus() noexcept {
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? static_cast<unsigned>(online) : 1;
}

} // namespace prong::os
