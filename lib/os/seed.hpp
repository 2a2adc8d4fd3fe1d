#pragma once

#include <cstdint>

namespace prong::os {

/// A random number, in all likelihood unlike that of any other call in any process; from the
/// kernel's random numbers, or (where those are not to be had) from the clocks and the process's
/// number. Never 0.
std::uint64_t fresh_seed() noexcept;

/// Seeds the generators of the C library (`rand`, `random`, `drand48` and the like). In a process
/// that was forked while another thread was in `rand` or `random` their lock stays locked for ever;
/// these two are then left as they are, after a second.
void seed_c_library(std::uint64_t seed) noexcept;

} // namespace prong::os
