#include "os/cpus.hpp"

#include "base/file.hpp"
#include "os/cgroup.hpp"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>

/// Present if the program uses OpenMP.
extern "C" __attribute__((weak)) int omp_get_num_procs();

namespace prong::os {
namespace {

/// Reads the quota in CPUs: "max 100000" or "200000 100000" in one file of cgroup v2, two files in
/// v1. Returns 0 if there is no quota.
double quota_in(const CgroupFolder& folder) {
    const bool is_new = folder.version == 2;
    std::string text =
        base::read_file(folder.path + (is_new ? "/cpu.max" : "/cpu.cfs_quota_us")).value_or("");
    if (!is_new)
        text.append(" ").append(base::read_file(folder.path + "/cpu.cfs_period_us").value_or(""));
    std::string_view rest = text;
    const auto allowed = base::to_number(base::next_word(rest)); // not "max", -1: no quota
    const auto period = base::to_number(base::next_word(rest));
    if (!allowed || !period || *period == 0) return 0;
    return static_cast<double>(*allowed) / static_cast<double>(*period);
}

/// Returns the least quota of this process's cgroup and those above it, in CPUs; 0 if there is
/// none.
double cgroup_cpu_quota() {
    double least = 0;
    for (const CgroupFolder& folder : cgroup_folders("cpu")) {
        const double quota = quota_in(folder);
        if (quota > 0 && (least == 0 || quota < least)) least = quota;
    }
    return least;
}

/// Reads a list such as "0-3,8"; returns an empty set if there is no such file.
cpu_set_t cpus_in(const std::string& path) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    const std::string text = base::read_file(path).value_or("");
    for (std::string_view rest = text; !rest.empty();) {
        std::string_view range = base::next_word(rest, ",\n");
        const auto first = base::to_number(base::next_word(range, "-"));
        const auto last = base::to_number(base::next_word(range, "-"));
        if (!first) break;
        for (auto cpu = *first; cpu <= last.value_or(*first) && cpu < CPU_SETSIZE; ++cpu)
            CPU_SET(static_cast<std::size_t>(cpu), &cpus);
    }
    return cpus;
}

/// Returns the CPUs of this process's cpuset cgroup, or all that are online.
cpu_set_t cgroup_cpus() {
    for (const CgroupFolder& folder : cgroup_folders("cpuset")) {
        const char* const file =
            folder.version == 2 ? "/cpuset.cpus.effective" : "/cpuset.effective_cpus";
        const cpu_set_t cpus = cpus_in(folder.path + file);
        if (CPU_COUNT(&cpus) != 0) return cpus;
    }
    return cpus_in("/sys/devices/system/cpu/online");
}

/// Returns the union of the CPUs of all threads.
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

/// Returns whether OpenMP has pinned the main thread before `main`: it still knows how many CPUs
/// there were.
bool is_pinned_by_openmp() {
    return omp_get_num_procs != nullptr && omp_get_num_procs() > 1;
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
    const long online = sysconf(_SC_NPROCESSORS_ONLN); // reads a file
    return online > 0 ? static_cast<unsigned>(online) : 1;
}

} // namespace prong::os
