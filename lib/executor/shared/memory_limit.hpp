#pragma once

#include "executor/shared/shared_state.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace prong::executor {

/// Throws `LimitExceeded` if this process has no memory for `bytes` more. Called before a large
/// result (`what`) is decoded.
void require_memory(std::uint64_t bytes, const char* what);

/// Moves the bytes that a writer has written to a larger payload block, which has room for `more`
/// bytes: exactly that much for one large piece, twice the previous size for many small ones.
/// Stores the block's offset to `intent` before taking the block. Throws `LimitExceeded` naming
/// `what` if the block is larger than the pool's largest one, the machine has too little memory
/// left (checked for large sizes only), or all blocks are in use.
shm::Block move_to_larger_block(const SharedState& state, std::span<const std::byte> written,
                                std::size_t more, shm::Owner owner,
                                std::atomic<std::uint64_t>& intent, const char* what);

} // namespace prong::executor
