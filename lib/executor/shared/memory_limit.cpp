#include "executor/shared/memory_limit.hpp"

#include "os/usage.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

namespace prong::executor {
namespace {

/// From this size on, a check of the machine's memory costs little compared to the copy.
constexpr std::uint64_t large_bytes = 64 << 20;

/// Memory that is left to the rest of the machine.
constexpr std::uint64_t reserve_bytes = 64 << 20;

void require(std::uint64_t bytes, std::uint64_t available, const char* what) {
    if (available >= reserve_bytes && bytes <= available - reserve_bytes) return;
    throw LimitExceeded(LimitKind::shared_memory,
                        std::string(what) + " takes " + size_text(bytes) + ", but only " +
                            size_text(available) +
                            " of memory are available (machine, memory cgroup or RLIMIT_AS); free "
                            "some, or work in smaller pieces");
}

void require_shared_memory(const SharedState& state, std::uint64_t bytes, const char* what) {
    if (bytes > state.payload.largest()) {
        throw LimitExceeded(
            LimitKind::shared_memory,
            std::string(what) + " takes " + size_text(bytes) +
                ", but the pool's limit for one is " + size_text(state.payload.largest()) +
                "; raise PoolOptions::max_payload_bytes, or RLIMIT_AS and RLIMIT_FSIZE, "
                "which bound shared memory");
    }
    if (bytes >= large_bytes) require(bytes, shm::available_memory(), what);
}

[[noreturn]] void throw_no_shared_memory(const SharedState& state, std::uint64_t bytes,
                                         const char* what) {
    throw LimitExceeded(LimitKind::shared_memory,
                        std::string(what) + " takes " + size_text(bytes) +
                            ", but all shared memory for this size (" +
                            size_text(state.payload.largest()) +
                            ") is in use; take results of earlier tasks, or raise "
                            "PoolOptions::max_payload_bytes, or RLIMIT_AS and RLIMIT_FSIZE, which "
                            "bound shared memory");
}

} // namespace

std::string size_text(std::uint64_t bytes) {
    const char* const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    auto size = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; size >= 1024 && unit < 4; ++unit) size /= 1024;
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
    return text.data();
}

void require_memory(std::uint64_t bytes, const char* what) {
    if (bytes < large_bytes) return;
    require(bytes, std::min(shm::available_memory(), os::address_space_left()), what);
}

shm::Block move_to_larger_block(const SharedState& state, std::span<const std::byte> written,
                                std::size_t more, shm::Owner owner,
                                std::atomic<std::uint64_t>& intent, const char* what) {
    const std::uint64_t used = written.size();
    const std::uint64_t size = std::max(used + more, std::min(2 * used, state.payload.largest()));
    require_shared_memory(state, size, what);
    const auto block = state.payload.allocate(size, owner, intent);
    if (!block) throw_no_shared_memory(state, size, what);
    std::ranges::copy(written, state.payload.at(block->offset));
    return *block;
}

} // namespace prong::executor
