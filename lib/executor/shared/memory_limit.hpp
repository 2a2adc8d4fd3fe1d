#pragma once

#include "executor/shared/shared_state.hpp"

#include <algorithm>
#include <cstdint>
#include <string>

namespace prong::executor {

/// How large a window that holds `used` bytes and needs `more` should become: exact for one large
/// piece, doubled for many small ones, but not beyond the limit for that alone.
inline std::uint64_t grown_size(std::uint64_t used, std::uint64_t more, std::uint64_t limit) {
    return std::max(used + more, std::min(2 * used, limit));
}

/// Such as "64.0 MiB".
std::string size_text(std::uint64_t bytes);

/// Throws `LimitExceeded` if so many bytes cannot be had for `what`: they are more than the pool's
/// largest block, or the machine has not so much memory left (looked up for large sizes only).
void require_shared_memory(const SharedState& state, std::uint64_t bytes, const char* what);

/// The same question for this process's own memory, before a large result is decoded.
void require_memory(std::uint64_t bytes, const char* what);

/// All blocks of the size are in use.
[[noreturn]] void throw_no_shared_memory(const SharedState& state, std::uint64_t bytes,
                                         const char* what);

} // namespace prong::executor
