#pragma once

#include <cstdint>

namespace prong::os {

/// A number that no other call has returned, in this process or another; from the kernel's random
/// numbers, or (where those are not to be had) from the clocks and the process's number. Never 0.
std::uint64_t fresh_seed() noexcept;

} // namespace prong::os
