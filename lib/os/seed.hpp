#pragma once

#include <cstdint>

namespace prong::os {

/// Returns a random number, never 0, from the kernel's generator or, where that is not available,
/// from the clocks and the process's number. Calls in different processes differ with very high
/// probability.
std::uint64_t fresh_seed() noexcept;

/// Seeds the generators of the C library (`rand`, `random`, `drand48` and the like). If the process
/// was forked while another thread was in `rand` or `random`, their lock stays locked for ever;
/// these two are left unseeded then, after one second.
void seed_c_library(std::uint64_t seed) noexcept;

} // namespace prong::os
