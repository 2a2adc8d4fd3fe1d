#pragma once

#include <cstdint>
#include <string>

namespace prong::shm {

/// From this size on, a check of the machine's memory costs little compared to touching it.
inline constexpr std::uint64_t large_bytes = 64 << 20;

/// Returns whether `bytes` leave enough of the `available` memory to the rest of the machine.
[[nodiscard]] bool is_available(std::uint64_t bytes, std::uint64_t available);

/// Throws `LimitExceeded` if `bytes` for `what` leave too little of the `available` memory.
void require_available(std::uint64_t bytes, std::uint64_t available, const char* what);

/// Returns a size as text, such as "64.0 MiB".
std::string size_text(std::uint64_t bytes);
/// Like the above, but in bytes if the size that it stands beside would read the same.
std::string size_text(std::uint64_t bytes, std::uint64_t beside);

} // namespace prong::shm
