#pragma once

#include "pool/shared_state.hpp"

#include <cstdint>

namespace prong::pool {

/// Throws `LimitExceeded` if so many bytes cannot be had for `what`: they are more than the pool's
/// largest block, or the machine has not so much memory left (looked up for large sizes only).
void require_shared_memory(const SharedState& state, std::uint64_t bytes, const char* what);

/// The same question for this process's own memory, before a large result is decoded.
void require_memory(std::uint64_t bytes, const char* what);

/// All blocks of the size are in use.
[[noreturn]] void throw_no_shared_memory(const SharedState& state, std::uint64_t bytes,
                                         const char* what);

} // namespace prong::pool
