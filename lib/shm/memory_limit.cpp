#include "shm/memory_limit.hpp"

#include <prong/error.hpp>

#include <array>
#include <cstdio>

namespace prong::shm {
namespace {

/// Memory that is left to the rest of the machine.
constexpr std::uint64_t reserve_bytes = 64 << 20;

} // namespace

bool is_available(std::uint64_t bytes, std::uint64_t available) {
    return available >= reserve_bytes && bytes <= available - reserve_bytes;
}

void require_available(std::uint64_t bytes, std::uint64_t available, const char* what) {
    if (is_available(bytes, available)) return;
    throw LimitExceeded(LimitKind::shared_memory,
                        std::string(what) + " takes " + size_text(bytes) + ", but only " +
                            size_text(available) +
                            " of memory are available (machine, memory cgroup or RLIMIT_AS); free "
                            "some, or work in smaller pieces");
}

std::string size_text(std::uint64_t bytes) {
    const char* const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    auto size = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; size >= 1024 && unit < 4; ++unit) size /= 1024;
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
    return text.data();
}

std::string size_text(std::uint64_t bytes, std::uint64_t beside) {
    const std::string text = size_text(bytes);
    return text == size_text(beside) ? std::to_string(bytes) + " bytes" : text;
}

} // namespace prong::shm
