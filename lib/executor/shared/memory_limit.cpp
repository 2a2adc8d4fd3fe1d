#include "executor/shared/memory_limit.hpp"

#include "os/usage.hpp"
#include "shm/memory_limit.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <string>

namespace prong::executor {
namespace {

void require_shared_memory(const SharedState& state, std::uint64_t bytes, const char* what) {
    const std::uint64_t most = state.payload.largest();
    if (bytes > most) {
        throw LimitExceeded(
            LimitKind::shared_memory,
            std::string(what) + " takes " + shm::size_text(bytes, most) +
                ", but the pool's limit for one is " + shm::size_text(most, bytes) +
                "; raise PoolOptions::max_payload_bytes, or RLIMIT_AS and RLIMIT_FSIZE, "
                "which bound shared memory");
    }
    if (bytes < shm::large_bytes) return;
    std::uint64_t available = shm::available_memory();
    if (!shm::is_available(bytes, available)) {
        state.payload.trim_all(); // what free blocks keep is available, too
        available = shm::available_memory();
    }
    shm::require_available(bytes, available, what);
}

[[noreturn]] void throw_no_shared_memory(const SharedState& state, std::uint64_t bytes,
                                         const char* what) {
    throw LimitExceeded(LimitKind::shared_memory,
                        std::string(what) + " takes " + shm::size_text(bytes) +
                            ", but all shared memory for this size (" +
                            shm::size_text(state.payload.largest()) +
                            ") is in use; take results of earlier tasks, or raise "
                            "PoolOptions::max_payload_bytes, or RLIMIT_AS and RLIMIT_FSIZE, which "
                            "bound shared memory");
}

} // namespace

void require_memory(std::uint64_t bytes, const char* what) {
    if (bytes < shm::large_bytes) return;
    shm::require_available(bytes, std::min(shm::available_memory(), os::address_space_left()),
                           what);
}

shm::Block move_to_larger_block(const SharedState& state, std::span<const std::byte> written,
                                std::size_t more, shm::Owner owner,
                                std::atomic<std::uint64_t>& intent, const char* what) {
    const std::uint64_t used = written.size();
    const std::uint64_t size = std::max(used + more, std::min(2 * used, state.payload.largest()));
    require_shared_memory(state, size, what);
    auto block = state.payload.allocate(size, owner, intent);
    if (!block) throw_no_shared_memory(state, size, what);
    block->capacity = std::min(block->capacity, state.payload.largest());
    std::ranges::copy(written, state.payload.at(block->offset));
    return *block;
}

} // namespace prong::executor
