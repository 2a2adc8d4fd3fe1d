#pragma once

#include "shm/payload.hpp"
#include "sync/cell.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace prong::sync {

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

/// Ends the object, left by a dead process, whose cell this block is; does nothing if the block is
/// other memory of an object.
void end_left_object(const shm::Block& block) noexcept;

/// Wakes all threads that sleep on an object, so that they see its end.
void wake_sleepers(const Cell& cell) noexcept;

} // namespace prong::sync
