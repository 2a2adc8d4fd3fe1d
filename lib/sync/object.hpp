#pragma once

#include "shm/family_memory.hpp"
#include "sync/cell.hpp"

#include <cstddef>
#include <cstdint>

namespace prong::sync {

/// Returns an object's memory beside its cell, of at least `bytes`. Throws `Error` if shared memory
/// is corrupt.
std::byte* further_memory(const Cell& cell, std::uint64_t bytes);

/// Returns the owner of the blocks that a queue's items lie in.
shm::Owner owner_of_items(std::uint64_t stamp) noexcept;

/// Ends all objects that belong to a process that is dead.
void end_objects_of(MemberId dead);

} // namespace prong::sync
