#pragma once

#include "sync/cell.hpp"

#include <cstddef>
#include <cstdint>

namespace prong::sync {

/// Returns an object's memory beside its cell, of at least `bytes`. Throws `Error` if shared memory
/// is corrupt.
std::byte* further_memory(const Cell& cell, std::uint64_t bytes);

/// Wakes all threads that sleep on an object, so that they see its end.
void wake_sleepers(const Cell& cell) noexcept;

} // namespace prong::sync
