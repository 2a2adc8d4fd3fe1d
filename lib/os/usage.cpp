#include "os/usage.hpp"

#include "base/file.hpp"
#include "os/cgroup.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include <array>
#include <cstdio>
#include <ctime>
#include <limits>
#include <optional>
#include <string>

namespace prong::os {
namespace {

struct MemoryPages {
    std::uint64_t reserved = 0;
    std::uint64_t resident = 0;
    std::uint64_t shared = 0;
};

MemoryPages memory_pages(const char* pid) noexcept {
    std::array<char, 64> path{};
    std::snprintf(path.data(), path.size(), "/proc/%s/statm", pid);
    MemoryPages pages;
    if (std::FILE* const file = std::fopen(path.data(), "re")) {
        if (std::fscanf(file, "%lu %lu %lu", &pages.reserved, &pages.resident, &pages.shared) != 3)
            pages = {};
        std::fclose(file);
    }
    return pages;
}

/// The number that stands behind "oom_kill" in a file of such lines.
std::optional<std::uint64_t> oom_kills_in(const std::string& path) {
    const auto text = base::read_file(path);
    return text ? base::number_after("oom_kill", *text) : std::nullopt;
}

/// In the memory cgroup of this process.
std::optional<std::uint64_t> oom_kills_of_cgroup() {
    for (const CgroupFolder& folder : cgroup_folders("memory")) {
        const char* const file = folder.version == 2 ? "/memory.events" : "/memory.oom_control";
        if (auto kills = oom_kills_in(folder.path + file)) return kills;
    }
    return std::nullopt;
}

} // namespace

std::uint64_t page_bytes() noexcept {
    return static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::uint64_t physical_memory() noexcept {
    return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * page_bytes();
}

std::uint64_t own_resident_bytes(pid_t pid) noexcept {
    const MemoryPages pages = memory_pages(std::to_string(pid).c_str());
    return (pages.resident - pages.shared) * page_bytes();
}

std::chrono::nanoseconds processor_time(pid_t pid) noexcept {
    clockid_t clock = 0;
    timespec time{};
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return {};
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

AddressSpace address_space() noexcept {
    AddressSpace space;
    if (std::FILE* const file = std::fopen("/proc/self/status", "re")) {
        std::array<char, 128> line{};
        while (std::fgets(line.data(), line.size(), file) != nullptr) {
            std::uint64_t kibibytes = 0;
            if (std::sscanf(line.data(), "VmPeak: %lu", &kibibytes) == 1)
                space.peak = kibibytes << 10;
            if (std::sscanf(line.data(), "VmSize: %lu", &kibibytes) == 1)
                space.reserved = kibibytes << 10;
        }
        std::fclose(file);
    }
    return space;
}

std::uint64_t address_space_left() noexcept {
    rlimit limit{};
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return std::numeric_limits<std::uint64_t>::max();
    return limit.rlim_cur - std::min<std::uint64_t>(limit.rlim_cur, address_space().reserved);
}

std::uint64_t OutOfMemoryKills::count() noexcept {
    try {
        if (const auto kills = oom_kills_of_cgroup()) return *kills;
        return oom_kills_in("/proc/vmstat").value_or(0);
    } catch (...) { // no memory to look
        return 0;
    }
}

bool OutOfMemoryKills::take_one() noexcept {
    const auto now = std::chrono::steady_clock::now();
    const std::uint64_t kills = count();
    if (now > untold_until_) untold_ = 0;
    if (kills > seen_) {
        untold_ += kills - seen_;
        untold_until_ = now + std::chrono::seconds(1);
    }
    seen_ = kills;
    if (untold_ == 0) return false;
    --untold_;
    return true;
}

} // namespace prong::os
