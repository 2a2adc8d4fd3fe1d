#pragma once

#include "shm/family_memory.hpp"
#include "sync/cell.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace prong::sync {

/// Cells have blocks of this size to themselves: see `SharedCell`.
inline constexpr std::uint64_t cell_bytes = std::uint64_t{1} << shm::Payload::smallest_shift;

/// Returns a new cell, all zero, whose block belongs to `owner`. Throws `Error` if there is no
/// room.
Cell& allocate_cell(shm::Owner owner);

/// Returns an object's memory beside its cell, of at least `bytes`. Throws `Error` if shared memory
/// is corrupt.
std::byte* further_memory(const Cell& cell, std::uint64_t bytes);
[[noreturn]] void throw_corrupt();

/// Returns the same as an array. `count` comes from shared memory and must be 1 to `most`.
template <typename T>
std::span<T> further_array(const Cell& cell, std::uint32_t count, std::uint32_t most) {
    if (count == 0 || count > most) throw_corrupt();
    return {reinterpret_cast<T*>(further_memory(cell, count * sizeof(T))), count};
}

/// Returns the owner of the blocks that a queue's items lie in.
shm::Owner owner_of_items(std::uint64_t stamp) noexcept;

/// Ends all objects that belong to a process that is dead.
void end_objects_of(MemberId dead);

} // namespace prong::sync
