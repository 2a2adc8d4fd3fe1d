#include "os/seed.hpp"

#include <sys/random.h>
#include <unistd.h>

#include <chrono>

namespace prong::os {
namespace {

/// Changes all bits when one of the input's has changed, and never maps two inputs to one output.
std::uint64_t mix(std::uint64_t value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9; // the last step of SplitMix64
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

std::uint64_t ticks(auto clock) {
    return static_cast<std::uint64_t>(decltype(clock)::now().time_since_epoch().count());
}

} // namespace

std::uint64_t fresh_seed() noexcept {
    std::uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed)) {
        seed = mix(ticks(std::chrono::steady_clock())) ^ ticks(std::chrono::system_clock());
        seed = mix(seed ^ static_cast<std::uint64_t>(getpid()));
    }
    return seed != 0 ? seed : 1;
}

} // namespace prong::os
