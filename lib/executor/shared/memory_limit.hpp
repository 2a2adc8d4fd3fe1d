#pragma once

#include "executor/shared/shared_state.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace prong::executor {

/// Such as "64.0 MiB".
std::string size_text(std::uint64_t bytes);

/// Throws `LimitExceeded` if this process has no memory for `bytes` more, before a large result
/// (`what`) is decoded.
void require_memory(std::uint64_t bytes, const char* what);

/// Moves what a writer has written to a larger payload block, which has room for `more` bytes:
/// exactly that for one large piece, twice as much as before for many small ones. The block's
/// offset is stored to `intent` before the block is taken. Throws `LimitExceeded` if it cannot be
/// had for `what`: it is larger than the pool's largest block, the machine has too little memory
/// left (looked up for large sizes only), or all blocks are in use.
shm::Block move_to_larger_block(const SharedState& state, std::span<const std::byte> written,
                                std::size_t more, shm::Owner owner,
                                std::atomic<std::uint64_t>& intent, const char* what);

} // namespace prong::executor
